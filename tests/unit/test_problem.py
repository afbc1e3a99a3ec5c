"""What an optimiser may touch."""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import toy

from localprompt.errors import BudgetExhausted, ConfigError, ContextOverflow
from localprompt.lm.budget import Budget
from localprompt.lm.metered import MeteredLM
from localprompt.proposals.metaprompts import MetaPrompt
from localprompt.proposals.parsing import ReplyFormat, grammar_for
from localprompt.proposals.validation import LeakCheck, Memory, filter_replies, retry_temperature, with_stop_and_grammar
from localprompt.search.evaluator import Evaluator
from localprompt.search.filtering import spend_remaining
from localprompt.search.observer import Announcer
from localprompt.search.problem import Problem
from localprompt.search.proposer import Request
from localprompt.tasks import Layout
from localprompt.types import (
    Candidate,
    Demo,
    Discard,
    Evaluation,
    Example,
    Exchange,
    Generation,
    Message,
    Prompt,
    Proposal,
    Sampling,
    Spend,
)

HALF, BEST = Prompt("Say something about the alpha."), Prompt(toy.BEST)


def test_the_winner_is_the_best_of_those_scored_on_most_of_dev() -> None:
    problem = toy.problem(toy.model())
    problem.evaluate([BEST, HALF], problem.dev[:4])
    assert problem.ranking.winner().candidate.prompt == BEST
    problem.evaluate([HALF, Prompt("")])
    winner = problem.ranking.winner()
    assert winner.candidate.prompt == HALF
    assert winner.evaluation is not None
    assert len(winner.evaluation.outcomes) == len(problem.dev)


def test_of_equal_prompts_the_shorter_wins_then_the_earlier() -> None:
    problem = toy.problem(toy.model())
    problem.evaluate([BEST, Prompt("omega one"), Prompt("omega two")])
    assert problem.ranking.winner().candidate.prompt == Prompt("omega one")


def test_without_a_score_the_first_seed_stands() -> None:
    standing = toy.problem(toy.model()).ranking.winner()
    assert standing.candidate == Candidate(Prompt(""), "seed", is_proposed=False)
    assert standing.evaluation is None


def test_scores_on_train_decide_nothing() -> None:
    problem = toy.problem(toy.model())
    problem.evaluate([BEST], problem.train)
    assert problem.ranking.winner().evaluation is None


def test_nothing_reachable_from_a_problem_is_a_test_example() -> None:
    problem = toy.problem(toy.model())
    todo, seen, found = [problem], {id(problem)}, set()
    while todo:
        thing = todo.pop()
        if isinstance(thing, Example):
            found.add(thing.id.partition(":")[0])
        # Modules and their globals lead everywhere, so the walk stays with objects' own contents.
        parts = [part for part in gc.get_referents(thing) if type(part).__name__ not in ("module", "type", "function")]
        for part in parts:
            if id(part) not in seen:
                seen.add(id(part))
                todo.append(part)
    assert found == {"train", "dev"}


def test_each_completion_has_a_seed_of_its_own_from_the_generator() -> None:
    lm = toy.model(answer=lambda prompt, seed: f"{prompt} {seed}")
    groups = toy.problem(lm, seed=1).proposer.complete(["a", "b"], Sampling(max_tokens=9), n=3)
    texts = [[reply.text for reply in group] for group in groups]
    assert [[text[0] for text in group] for group in texts] == [["a"] * 3, ["b"] * 3]
    assert len({text[2:] for group in texts for text in group}) == 6
    again = toy.problem(lm, seed=1).proposer.complete(["a", "b"], Sampling(max_tokens=9), n=3)
    other = toy.problem(lm, seed=2).proposer.complete(["a", "b"], Sampling(max_tokens=9), n=3)
    assert again == groups != other


def test_a_minibatch_has_different_examples_and_at_most_all() -> None:
    problem = toy.problem(toy.model(), toy.task(train=5))
    assert len({example.id for example in problem.minibatch(3)}) == 3
    assert sorted(example.id for example in problem.minibatch(9)) == [f"train:{n}" for n in range(5)]


def test_discards_are_counted_by_reason() -> None:
    problem = toy.problem(toy.model())
    replies = [Generation(text, 1, "stop") for text in ("", " ", "word", "Do what I say.")]
    problem.proposer.discard(
        filter_replies(replies, ReplyFormat("line"), LeakCheck(problem.train), Memory([])).discarded
    )
    assert problem.proposer.discards == {"empty": 2, "too short": 1}


def test_proposals_and_answers_share_one_budget() -> None:
    budget = Budget()
    problem = toy.problem(toy.model(), budget=budget)
    problem.proposer.complete(["write"], Sampling(max_tokens=9), n=2)
    problem.evaluate([BEST], problem.dev[:3])
    problem.likelihood([BEST], problem.dev[:4])
    assert budget.spend.calls == 2 + 3 + 4


def test_the_first_origin_of_a_prompt_stays() -> None:
    problem = toy.problem(toy.model())
    problem.record([Candidate(BEST, "forward"), Candidate(BEST, "resample", ("x",))])
    assert [candidate.op for candidate in problem.ranking.candidates] == ["seed", "forward"]


def test_a_seed_that_is_there_twice_is_one_prompt_in_every_search() -> None:
    twice = replace(toy.task(), seeds=(HALF, Prompt(""), HALF))
    assert toy.problem(toy.model(), twice).seeds == (HALF, Prompt(""))
    lm, budget = toy.model(), Budget()
    warm = Problem(twice, Evaluator(lm, twice, budget), MeteredLM(lm, budget), rng=random.Random(0), warm=(BEST, HALF))
    assert warm.seeds == (HALF, Prompt(""), BEST)
    assert [each.op for each in warm.ranking.candidates] == ["seed", "seed", "warm"]


LINE, WARM = ReplyFormat("line"), Sampling(max_tokens=20, temperature=0.5)


def _asked(*texts: str, reading: ReplyFormat = LINE, demos: tuple[Demo, ...] = ()) -> list[Request]:
    return [Request(text, reading, Prompt("", demos)) for text in texts]


def writer(*texts: str, **changes: Any) -> toy.Watched:
    """A model that writes the given texts one after the other."""
    return toy.Watched(answer=toy.in_turn(*texts), **changes)


def test_what_looks_like_a_placeholder_may_stay_where_a_seed_has_it() -> None:
    task = replace(toy.task(), seeds=(Prompt(""), Prompt("Answer as {label}: <text>.")))
    lm = writer("Give {label}: <text>.", "Give {name}: <text>.", "Give {label}, then {name}.", "Give it ...")
    (proposal,) = toy.problem(lm, task).proposer.propose(_asked("a"), WARM, "", n=4)
    assert proposal.accepted == ("Give {label}: <text>.",)
    assert [each.reason for each in proposal.discarded] == ["placeholder"] * 3


def test_a_proposal_a_prompt_comes_back_in_order() -> None:
    lm = writer("Do one.", "Do two.", "x", "Do three.")
    proposals = toy.problem(lm).proposer.propose(_asked("a", "b"), WARM, "", n=2)
    assert [each.accepted for each in proposals] == [("Do one.", "Do two."), ("Do three.",)]
    assert [each.reason for each in proposals[1].discarded] == ["too short"]
    assert [call[:2] for call in lm.asked] == [(["a", "a", "b", "b"], WARM)]
    assert toy.problem(lm).proposer.propose([], WARM, "") == []


def test_a_prompt_without_a_usable_reply_is_asked_once_more_and_warmer() -> None:
    lm = writer("Do one.", "x", "", "", "Do two.")
    problem = toy.problem(lm)
    proposals = problem.proposer.propose(_asked("a", "b", "c"), WARM, "")
    assert [each.accepted for each in proposals] == [("Do one.",), (), ("Do two.",)]
    assert [[each.reason for each in one.discarded] for one in proposals] == [[], ["too short", "empty"], ["empty"]]
    assert [call[:2] for call in lm.asked[1:]] == [(["b", "c"], replace(WARM, temperature=0.8))]
    assert len({seed for call in lm.asked for seed in call.seeds}) == 5
    assert problem.proposer.discards == {"empty": 2, "too short": 1}


def test_nothing_known_proposed_or_rejected_before_is_accepted() -> None:
    lm = writer("Say omega one.", "Do it now.", "Do one.", "Please do one!", "Do two.", "Do three words.", "Do four.")
    problem = toy.problem(lm)
    problem.record([Candidate(Prompt(text), "forward") for text in ("say OMEGA one", "do it now")])
    problem.proposer.discard([Discard("Do two!", "too far"), Discard("Do three words", "truncated")])
    proposals = problem.proposer.propose(_asked("a", "b"), WARM, "", n=3)
    assert [each.accepted for each in proposals] == [("Do one.",), ("Do three words.",)]
    assert [each.reason for each in proposals[0].discarded] == ["duplicate", "duplicate"]
    assert [each.reason for each in proposals[1].discarded] == ["near-duplicate", "rejected before"]


def test_a_method_may_object_to_a_text_for_one_parent_and_take_it_for_another() -> None:
    def objection(text: str, parent: Prompt) -> str:
        asked.append((text, parent))
        return "too far" if parent == HALF and "two" in text else ""

    asked: list[tuple[str, Prompt]] = []
    problem = toy.problem(writer("Do two.", "Do two.", "Do one."))
    requests = [Request("a", LINE, HALF), Request("b", LINE, BEST)]
    proposals = problem.proposer.propose(requests, WARM, "", objection=objection)
    assert [each.accepted for each in proposals] == [("Do one.",), ("Do two.",)]
    assert proposals[0].discarded == (Discard("Do two.", "too far"),)
    assert asked == [("Do two.", HALF), ("Do two.", BEST), ("Do one.", HALF)]
    assert problem.proposer.discards == {"too far": 1}


def test_what_a_method_objected_to_is_no_rejected_idea() -> None:
    problem = toy.problem(writer("Do two.", "x", "Do two."))
    problem.proposer.propose(_asked("a"), WARM, "", objection=lambda text, parent: "too far")
    (proposal,) = problem.proposer.propose(_asked("a"), WARM, "")
    assert proposal.accepted == ("Do two.",)


DEMOS = (Demo({"input": "alpha900"}, "omega900"),)
SHOWING = replace(toy.task(), layout=toy.SHOWING)


def test_a_known_or_rejected_instruction_is_new_beside_other_worked_examples() -> None:
    texts = ("Say omega one.", "Do it.", "x", "Do two.")
    problem = toy.problem(writer(*texts, *texts, *texts), SHOWING)
    problem.record([Candidate(Prompt("say OMEGA one"), "forward")])
    problem.proposer.discard([Discard("Do two!", "too far")])
    (bare,) = problem.proposer.propose(_asked("a"), WARM, "", n=4)
    (beside,) = problem.proposer.propose(_asked("a", demos=DEMOS), WARM, "", n=4)
    assert (bare.accepted, beside.accepted) == (("Do it.",), ("Say omega one.", "Do it.", "Do two."))
    problem.record([Candidate(Prompt(text, DEMOS), "forward") for text in beside.accepted])
    replies = writer("Do it.", "Do two.", "Do two.", "Do it.")
    again = toy.problem(replies)
    again.record(problem.ranking.candidates)
    found = again.proposer.propose([*_asked("a"), *_asked("b", demos=DEMOS)], WARM, "", n=1)
    assert [each.accepted for each in found] == [("Do it.",), ()]
    assert again.proposer.discards == {"duplicate": 2}


def test_an_instruction_has_room_beside_the_worked_examples_of_its_parent() -> None:
    lm = writer("Say the omega of it.", "Say the omega of it.")
    lm.n_ctx = 40
    demos = DEMOS * 20
    problem = toy.problem(lm, SHOWING)
    (with_demos,) = problem.proposer.propose(_asked("a", demos=demos), WARM, "")
    assert [each.reason for each in with_demos.discarded] == ["too long for the context"] * 2
    lm = writer("Say the omega of it.")
    lm.n_ctx = 40
    (bare,) = toy.problem(lm).proposer.propose(_asked("a"), WARM, "")
    assert bare.accepted == ("Say the omega of it.",)


def test_of_worked_examples_as_many_fit_as_the_context_holds_beside_the_longest_dev_example() -> None:
    many = tuple(Demo({"input": f"alpha{n}"}, f"omega{n}") for n in range(50))
    given = SHOWING
    long = replace(given.dev[3], inputs={"input": "alpha23 " * 20})
    lm = toy.model()
    lm.n_ctx = 100
    problem = toy.problem(lm, replace(given, dev=(*given.dev[:3], long, *given.dev[4:])))
    n = problem.demos_that_fit(BEST, many)
    assert 0 < n < 50
    (fitting,), (overlong,) = (problem.evaluate([Prompt(toy.BEST, many[:k])], [long]) for k in (n, n + 1))
    assert [each.outcomes[0].failed for each in (fitting, overlong)] == [False, True]
    assert problem.demos_that_fit(BEST, many[:n]) == problem.demos_that_fit(Prompt("", many[:1]), many[1:n]) + 1 == n
    assert problem.demos_that_fit(Prompt("", many), many) == 0


def test_no_worked_example_fits_a_layout_without_a_place_for_them() -> None:
    assert toy.problem(toy.model()).demos_that_fit(BEST, DEMOS) == 0
    assert toy.problem(toy.model(), SHOWING).demos_that_fit(BEST, DEMOS) == 1


def test_an_open_tag_ends_the_reply_and_binds_a_proposer_that_knows_grammars() -> None:
    reading = ReplyFormat("line", max_chars=50, tag="rule")
    for can, grammar in ((True, " ?[^<\\s][^<\\n]{2,50}</rule>"), (False, "")):
        lm = writer("do one.</rule> So be it.", supports_grammar=can)
        problem = toy.problem(lm)
        prompt = problem.proposer.chat([Message("user", "Write.")], "<rule>")
        (proposal,) = problem.proposer.propose(_asked(prompt, reading=reading), WARM, "")
        assert proposal.accepted == ("Do one.",)
        assert lm.asked[0][1] == replace(WARM, stop=("</rule>",), grammar=grammar)


def test_a_line_is_bound_to_begin_at_once_where_the_proposer_knows_grammars() -> None:
    for can, grammar in ((True, grammar_for(LINE)), (False, "")):
        lm = writer("do one.", supports_grammar=can)
        toy.problem(lm).proposer.propose(_asked("a"), WARM, "")
        assert lm.asked[0][1] == replace(WARM, grammar=grammar)


@pytest.mark.parametrize("prompts", [["Write a <rule> here"], ["<rule>", "Write."]])
def test_a_tag_that_is_not_open_changes_nothing(prompts: list[str]) -> None:
    lm = writer("<rule>Do one.</rule>", "<rule>Do two.</rule>", supports_grammar=True)
    proposals = toy.problem(lm).proposer.propose(_asked(*prompts, reading=ReplyFormat("line", tag="rule")), WARM, "")
    assert all(len(each.accepted) == 1 for each in proposals)
    assert lm.asked[0][1] == WARM


def test_a_meta_prompt_for_a_chat_becomes_a_chat_and_any_other_is_filled() -> None:
    text, problem = "Say {{it}}.\n\nIt is", toy.problem(toy.model())
    asked = problem.proposer.request(MetaPrompt("edit_chat", text), it="{{this}}")
    assert asked == problem.proposer.chat([Message("user", "Say {{this}}.")], "It is")
    assert problem.proposer.request(MetaPrompt("edit", text), it="{{this}}") == "Say {{this}}.\n\nIt is"


def test_a_proposer_is_asked_in_a_chat_where_it_has_a_template_unless_the_style_says_otherwise() -> None:
    model, base = toy.problem(toy.model()), toy.problem(toy.model(has_chat=False))
    assert [model.proposer.chats(style) for style in ("auto", "raw", "chat")] == [True, False, True]
    assert [base.proposer.chats(style) for style in ("auto", "raw")] == [False, False]
    with pytest.raises(ConfigError, match="style=chat needs a proposer with a chat template"):
        base.proposer.chats("chat")


def test_what_is_shown_is_what_the_task_makes_of_a_prompt() -> None:
    problem = toy.problem(toy.model(), SHOWING)
    demo = Demo({"input": "a"}, "b")
    shown = problem.shown(Prompt("Do it.", (demo,)), {"input": "{{demos}}"})
    assert shown == "Do it.\n\nInput: a\nOutput: b\n\nInput: {{demos}}\nOutput:"


def test_the_turns_of_a_chat_are_shown_as_text() -> None:
    layout = Layout("{{input}}", "", mode="chat", system="{{instruction}}", opening="Answer:")
    problem = toy.problem(toy.model(), replace(toy.task(), layout=layout))
    assert problem.shown(Prompt("Do it."), {"input": "alpha1"}) == "Do it.\n\nalpha1\n\nAnswer:"
    assert problem.shown(Prompt(""), {"input": "alpha1"}) == "alpha1\n\nAnswer:"


def test_the_first_version_that_fits_is_chosen_and_the_poorer_ones_are_not_made() -> None:
    made = []

    def versions() -> object:
        for n in (5000, 90, 10):
            made.append(n)
            yield "word " * n

    problem = toy.problem(toy.model())
    assert problem.proposer.first_fitting(versions(), max_tokens=4000) == "word " * 90  # type: ignore[arg-type]
    assert made == [5000, 90]


def test_a_request_that_never_fits_is_refused_with_its_numbers() -> None:
    with pytest.raises(ContextOverflow, match=r"needs at least 100 tokens, and 4000 to generate.* has 4096"):
        toy.problem(toy.model()).proposer.first_fitting(["word " * 200, " word" * 100], max_tokens=4000)


def test_outputs_are_the_labels_or_the_few_targets_that_recur() -> None:
    assert toy.problem(toy.model(), toy.task(labels=("red", "blue"))).outputs == ("blue", "red")
    assert toy.problem(toy.model()).outputs == ()
    rows = tuple(replace(each, targets=("yes" if n % 2 else "no",)) for n, each in enumerate(toy.task().train))
    assert toy.problem(toy.model(), replace(toy.task(), train=rows)).outputs == ("no", "yes")
    assert toy.problem(toy.model(), replace(toy.task(), train=rows[:9])).outputs == ()


class Record:
    """A journal that is a list."""

    def __init__(self) -> None:
        self.rows: list[tuple[object, ...]] = []

    def spend(self, spend: Spend) -> None:
        """What was spent is in the result."""

    def candidates(self, candidates: Sequence[Candidate]) -> None:
        self.rows += [("candidate", each.prompt.instruction, each.op) for each in candidates]

    def evaluations(self, kind: str, evaluations: Sequence[Evaluation]) -> None:
        self.rows += [(kind, each.prompt.instruction, len(each.outcomes)) for each in evaluations]

    def discards(self, discards: Sequence[Discard]) -> None:
        self.rows += [("discard", each.text, each.reason) for each in discards]

    def exchanges(self, exchanges: Sequence[Exchange]) -> None:
        self.rows += [("asked", each.prompt, each.replies) for each in exchanges]

    def event(self, kind: str, text: str) -> None:
        self.rows.append((kind, text))


def test_the_journal_is_told_everything_once_and_in_order() -> None:
    record, given, budget, lm = Record(), toy.task(), Budget(), writer("x", "Do one.")
    evaluator = Evaluator(toy.model(), given, budget)
    announcer = Announcer(journal=record)
    problem = Problem(given, evaluator, MeteredLM(lm, budget), rng=random.Random(0), announcer=announcer)
    problem.begin("round 1")
    problem.note("all is well")
    problem.proposer.propose(_asked("a"), WARM, "")
    problem.record([Candidate(BEST, "forward"), Candidate(BEST, "resample"), Candidate(HALF, "forward")])
    problem.evaluate([HALF, Prompt("More.")], problem.dev[:3])
    problem.likelihood([BEST], problem.dev[:2], norm="sequence")
    assert record.rows == [
        ("candidate", "", "seed"),
        ("note", "round 1: all is well"),
        ("stage", "round 1: asking the proposer for 1 text"),
        ("asked", "a", ("x",)),
        ("discard", "X", "too short"),
        ("asked", "a", ("Do one.",)),
        ("candidate", toy.BEST, "forward"),
        ("candidate", HALF.instruction, "forward"),
        ("stage", "round 1: scoring 2 prompts on 3 dev examples"),
        ("candidate", "More.", "evaluated"),
        ("metric", HALF.instruction, 3),
        ("metric", "More.", 3),
        ("stage", "round 1: measuring the likelihood of answers under 1 prompt on 2 dev examples"),
        ("likelihood sequence", toy.BEST, 2),
    ]


def test_a_prompt_that_does_not_fit_is_discarded_by_that_name_and_cannot_win() -> None:
    lm = toy.model(answer=lambda prompt, seed: toy.BEST + "".join(f" then say {n}" for n in range(9)))
    lm.n_ctx = 40
    problem = toy.problem(lm)
    problem.evaluate(problem.seeds)
    long, short = Prompt("Word of the omega. " * 20), Prompt("Say the omega.")
    refused, accepted = problem.evaluate([long, short])
    assert (refused.mean, all(outcome.failed for outcome in refused.outcomes)) == (0.0, True)
    assert not any(outcome.failed for outcome in accepted.outcomes)
    problem.evaluate([long])
    problem.likelihood([long])
    assert problem.proposer.discards == {"too long for the context with an example of dev": 1}
    assert long not in [standing.candidate.prompt for standing in problem.ranking.finalists()]
    reading = ReplyFormat(cut="whole")
    (proposal,) = problem.proposer.propose(_asked("Write:", reading=reading), Sampling(max_tokens=39), "")
    assert {each.reason for each in proposal.discarded} == {"too long for the context"}


def test_dev_is_shuffled_and_every_piece_of_it_has_the_labels_in_proportion() -> None:
    rows = [Example(f"dev:{n}", {"input": str(n)}, ("yes" if n < 16 else "no",)) for n in range(20)]
    given = replace(toy.task(labels=("yes", "no")), dev=tuple(rows))
    mixed = (problem := toy.problem(toy.model(), given)).shuffled(problem.dev)
    assert sorted(each.id for each in mixed) == sorted(each.id for each in rows)
    assert [sum(each.targets == ("no",) for each in mixed[i : i + 5]) for i in (0, 5, 10, 15)] == [1, 1, 1, 1]
    unlabelled_problem = toy.problem(toy.model(), replace(given, labels=()), seed=3)
    unlabelled = unlabelled_problem.shuffled(unlabelled_problem.dev)
    assert unlabelled == random.Random(3).sample(rows, 20)


def test_what_is_known_of_a_prompt_is_all_that_it_was_scored_on() -> None:
    problem = toy.problem(toy.model())
    for start in (10, 0, 5):  # a race pulls other examples each time
        problem.evaluate([Prompt(toy.BEST)], problem.dev[start : start + 10])
    known = problem.ranking.winner().evaluation
    assert known is not None
    assert [each.example_id for each in known.outcomes] == [each.id for each in problem.dev[:20]]


def test_a_prompt_too_long_for_the_context_loses_what_it_won_on_a_few_examples() -> None:
    def answer(prompt: str, seed: int) -> str:
        return toy.answer(prompt, seed) if "omega" in prompt else " no"

    given = toy.task()
    wordy = replace(given.dev[-1], inputs={"input": "alpha " * 40})
    lm = toy.model(answer=answer)
    lm.n_ctx = 70
    problem = toy.problem(lm, replace(given, dev=(*given.dev[:-1], wordy)))
    long = Prompt(f"{toy.BEST} {'so ' * 20}")
    problem.evaluate([long], problem.dev[:6])
    spend_remaining(problem)
    assert problem.proposer.discards == {"too long for the context with an example of dev": 1}
    winner = problem.ranking.winner()
    assert winner.candidate.op == "seed"
    assert winner.evaluation is not None
    assert len(winner.evaluation.outcomes) == len(problem.dev)


def test_seeds_alone_are_compared_on_a_few_examples_too_where_all_of_dev_does_not_fit_the_budget() -> None:
    seeds = (Prompt("Be kind."), Prompt(toy.BEST))
    problem = toy.problem(toy.model(), replace(toy.task(), seeds=seeds), budget=Budget(max_calls=20))
    with suppress(BudgetExhausted):
        spend_remaining(problem)
    assert problem.ranking.winner().candidate.prompt == seeds[1]


def test_a_training_example_that_no_prompt_fits_is_no_fault_of_the_prompts() -> None:
    given = toy.task()
    long = replace(given.train[0], inputs={"input": "alpha " * 100})
    lm = toy.model()
    lm.n_ctx = 60
    problem = toy.problem(lm, replace(given, train=(long, *given.train[1:])))
    (evaluation,) = problem.evaluate([Prompt(toy.BEST)], problem.train)
    assert [outcome.failed for outcome in evaluation.outcomes].count(True) == 1
    assert not problem.proposer.discards


def test_what_a_cut_off_search_left_of_its_budget_measures_the_most_promising() -> None:
    good, half, bad = Prompt(toy.BEST), Prompt("Say the alpha."), Prompt("Be kind.")
    budget = Budget(max_calls=3 * 6 + 34 + 40 + 20)
    problem = toy.problem(toy.model(), budget=budget)
    problem.evaluate([bad, half, good], problem.dev[:6])
    spend_remaining(problem)
    assert [
        (each.candidate.prompt, each.evaluation and each.evaluation.mean) for each in problem.ranking.finalists()
    ] == [(Prompt(""), 0.0), (good, 1.0)]
    assert budget.spend.calls == 3 * 6 + 34 + 40  # the best and the seed; nothing can be better


def test_a_seed_that_had_bad_luck_on_a_few_examples_is_measured_on_all_of_dev_before_it_is_given_up() -> None:
    def answer(prompt: str, seed: int) -> str:
        """Good is wrong on the first six words of dev and right on the others, lucky the other way round."""
        number = int(prompt.rpartition("alpha")[2].split()[0])
        right = (number < 26) == ("lucky" in prompt)
        return f" omega{number}" if right else " no"

    problem = toy.problem(toy.model(answer=answer), replace(toy.task(), seeds=(Prompt("The good one."),)))
    problem.evaluate([*problem.seeds, Prompt("The lucky one.")], problem.dev[:6])
    spend_remaining(problem)
    assert problem.ranking.winner().candidate.prompt == problem.seeds[0]


def test_where_one_measurement_fits_it_is_that_of_a_seed_with_words() -> None:
    given = replace(toy.task(), seeds=(Prompt("Say the alpha."),))  # right on every second word
    problem = toy.problem(toy.model(), given, budget=Budget(max_calls=2 + 39 + 20))
    problem.evaluate([Prompt(toy.BEST), *problem.seeds], problem.dev[:1])
    with suppress(BudgetExhausted):
        spend_remaining(problem)
    assert [each.candidate.op for each in problem.ranking.finalists()] == ["seed"]


def test_settling_goes_on_while_something_is_ahead_and_the_budget_lasts() -> None:
    def answer(prompt: str, seed: int) -> str:
        """Lucky is right on the first six words of dev and on no other, solid on all of dev but one of these."""
        number = int(prompt.rpartition("alpha")[2].split()[0])
        right = number < 26 if "lucky" in prompt else "solid" in prompt and number > 20
        return f" omega{number}" if right else " no"

    lucky, solid = Prompt("The lucky one."), Prompt("The solid one.")
    calls = {}
    for limit in (12 + 34, 12 + 34 + 40 + 34):
        budget = Budget(max_calls=limit)
        problem = toy.problem(toy.model(answer=answer), budget=budget)
        problem.evaluate([lucky, solid], problem.dev[:6])
        with suppress(BudgetExhausted):
            spend_remaining(problem)
        calls[limit] = (budget.spend.calls, problem.ranking.winner().candidate.prompt)
    assert calls == {46: (46, lucky), 120: (120, solid)}


def test_where_a_stage_never_fitted_everything_is_compared_on_a_few_examples() -> None:
    budget = Budget(max_calls=4 * 3 + 5 + 5)
    problem = toy.problem(toy.model(), toy.task(dev=9), seed=1, budget=budget)
    problem.record([Candidate(prompt, "any") for prompt in (HALF, BEST)])
    spend_remaining(problem)
    assert problem.ranking.winner().candidate.prompt == BEST
    assert budget.spend.calls == 4 * 3 + 5 + 5  # the seed and two more on 4 examples, best and seed on the other 5


def test_where_only_the_seed_was_scored_what_is_new_is_compared_with_it_on_a_few_examples() -> None:
    budget = Budget(max_calls=9 + 2 * 4 + 5)
    problem = toy.problem(toy.model(), toy.task(dev=9), seed=1, budget=budget)
    problem.evaluate(problem.seeds)
    problem.record([Candidate(prompt, "any") for prompt in (HALF, BEST)])
    spend_remaining(problem)
    assert problem.ranking.winner().candidate.prompt == BEST


def test_a_retry_that_does_not_fit_the_budget_loses_nothing_that_was_accepted() -> None:
    def answer(prompt: str, seed: int) -> str:
        return "Turn it around." if prompt == "good" else "..."

    def propose(limit: int) -> tuple[list[Proposal], int]:
        budget = Budget(max_calls=limit)
        problem = toy.problem(toy.model(answer=answer), budget=budget)
        found = problem.proposer.propose(_asked("good", "bad"), Sampling(max_tokens=9), "", n=2)
        return found, budget.spend.calls

    for limit, spent in ((4, 4), (6, 6)):
        found, calls = propose(limit)
        assert ([each.accepted for each in found], calls) == ([("Turn it around.",), ()], spent)


def test_a_repeated_request_is_warmer_but_never_hotter_than_makes_sense() -> None:
    assert [retry_temperature(t) for t in (0.0, 1.0, 1.5, 2.0)] == [0.3, 1.3, 1.5, 2.0]


def test_prompts_of_unequal_length_share_one_grammar() -> None:
    readings = [ReplyFormat("paragraph", 500, tag="prompt"), ReplyFormat("paragraph", 640, tag="prompt")]
    sampling = with_stop_and_grammar(Sampling(9), [("say it <prompt>", reading) for reading in readings], grammar=True)
    assert sampling.grammar == grammar_for(readings[1])


def test_settling_ends_with_a_prompt_that_is_too_long_for_the_context() -> None:
    lm = toy.model()
    problem = toy.problem(lm)
    long = Prompt("so " * 50)
    problem.evaluate([long], problem.dev[:6])
    lm.n_ctx = 40
    spend_remaining(problem)
    assert problem.proposer.discards == {"too long for the context with an example of dev": 1}


def test_the_id_of_a_prompt_is_that_of_stores_of_before_and_tells_case_and_demos_apart() -> None:
    demos = (Demo({"input": "1"}, "2"),)
    found = [Prompt("Say it.").id, Prompt("say it.").id, Prompt("Say it.", demos).id]
    assert found == ["7951733c60866675", "6eb68cf6cc87d8a6", "627229e43a1a159f"]
