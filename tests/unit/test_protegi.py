"""ProTeGi's own choices; what holds for every optimiser is in contracts/."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from typing import Any, get_args

import pytest
import toy
from tracing import golden, trace

from localprompt.errors import BudgetExhausted, ConfigError, ContextOverflow
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure
from localprompt.optimizers.protegi import ProTeGi, reasons_in
from localprompt.search.problem import Problem
from localprompt.search.racing import RaceName
from localprompt.types import Demo, Evaluation, Example, Generation, Prompt

SMALL: dict[str, Any] = {"rounds": 1, "minibatch": 8, "groups": 1, "errors": 2, "gradients": 1, "spread": False}


GRADIENTS = ("because the instruction", "holds for other inputs:")
EMPTY_GRADIENTS = ("right answer, one must", "its right answer, in one sentence:")


def is_gradient(text: str) -> bool:
    return text.endswith((*GRADIENTS, *EMPTY_GRADIENTS))


def is_edit(text: str) -> bool:
    return "What is the matter: " in text or "What has to be done: " in text


def is_paraphrase(text: str) -> bool:
    return toy.is_asked_to_write(text) and not is_gradient(text) and not is_edit(text)


def _learning(prompt: str, seed: int) -> str:
    """A model that finds the reason, and a good edit only if it is shown the reason."""
    if not toy.is_asked_to_write(prompt):
        return toy.answer(prompt, seed)
    in_tag = prompt.endswith("<instruction>")
    end = "</instruction>" if in_tag else "\n\nNext:"
    if is_gradient(prompt):
        if prompt.endswith(EMPTY_GRADIENTS):
            return " look at the number." if seed % 2 else " find out what becomes of it."
        subject = "" if prompt.endswith("because the instruction") else " It"
        return f"{subject} never speaks of numbers." if seed % 2 else f"{subject} is silent about what becomes of it."
    if is_edit(prompt):
        learned = "what becomes of it." in prompt
        return f"{toy.BEST if learned else f'Count from {seed} on.'}{end}"
    return f"Say it in way {seed}.{end}"


def _writing(prompt: str, seed: int) -> str:
    """A model that writes something new each time, and never anything of use."""
    return f"Say it in way {seed}.</instruction>" if toy.is_asked_to_write(prompt) else toy.answer(prompt, seed)


def _run(lm: ScriptedLM, *seeds: Prompt, **settings: Any) -> Problem:
    problem = toy.problem(lm, replace(toy.task(), seeds=seeds or (Prompt("Say it."),)))
    ProTeGi(**settings).run(problem)
    return problem


def _written(lm: ScriptedLM, kind: Callable[[str], bool] = toy.is_asked_to_write) -> list[str]:
    return [text for text in lm.seen if kind(text)]


ONE_REASON = {"rounds": 2, "beam": 2, "minibatch": 8, "groups": 1, "errors": 2, "gradients": 1, "successors": 2}
RACING = {"evaluations": 24, "arms_per_round": 2, "examples_per_pull": 2}
GUESSING = {"init": "induce", "init_prompts": 2, "init_demos": 2}
TWO_REASONS = {"init": "seeds", "spread": False, "gradients": 2, "successors": 3}
SEARCHES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "chat_guesses": ("", GUESSING, {}),
    "chat_empty": ("", TWO_REASONS, {}),
    "chat_labels": ("Say it.", {}, {"logprob": toy.parity}),
    "raw_guesses": ("", GUESSING, {"has_chat": False}),
    "raw_empty": ("", TWO_REASONS, {"has_chat": False}),
    "raw_labels": ("Say it.", {}, {"has_chat": False, "logprob": toy.parity}),
}
"""Trace to the seed instruction, the settings and the kind of model."""


def _proposer(best: str) -> Callable[[str, int], str]:
    """Return a proposer that writes `best` for a certain reason; what it says comes in turn."""
    faults = cycle(("", " is silent about what becomes of it.", " never speaks of numbers."))
    rules = cycle((" look at the number.", " find out what becomes of it."))
    edits = cycle(("Count on from the number.", "Say the number."))
    others = cycle((" say something kind about the alpha.", "", " say it once more.", " say it.", " in short, speak."))

    def write(prompt: str, seed: int) -> str:
        if prompt.endswith(GRADIENTS):
            subject = "" if prompt.endswith(GRADIENTS[0]) else " It"
            return f"{subject}{fault}" if (fault := next(faults)) else ""
        if prompt.endswith(EMPTY_GRADIENTS):
            return next(rules)
        if is_edit(prompt):
            edit = best if "what becomes of it" in prompt else next(edits)
            return f"{edit}</instruction>" if prompt.endswith("<instruction>") else f" {edit}"
        return next(others)

    return write


@pytest.mark.parametrize("name", SEARCHES)
def test_a_small_search_goes_as_its_trace_says(name: str) -> None:
    seed, settings, kind = SEARCHES[name]
    labels = ("even", "odd") if "logprob" in kind else ()
    best = "Say whether it is even or odd." if labels else toy.BEST
    given = replace(toy.task(dev=12, labels=labels), seeds=(Prompt(seed),))
    found = trace(ProTeGi(**{**ONE_REASON, **RACING, **settings}), given, _proposer(best), **kind)
    assert found == golden(f"protegi/{name}", found)


@pytest.mark.parametrize("has_chat", [True, False])
def test_a_reason_leads_to_the_best_instruction(has_chat: bool) -> None:
    winner = _run(toy.model(answer=_learning, has_chat=has_chat)).ranking.winner()
    assert winner.candidate.prompt == Prompt(toy.BEST)
    assert winner.candidate.op == "edit"
    assert winner.candidate.parents == (Prompt("Say it.").id,)


@pytest.mark.parametrize("selection", get_args(RaceName))
@pytest.mark.parametrize("scorer", ["exec", "likelihood"])
def test_every_race_finds_it_with_both_scorers(selection: str, scorer: str) -> None:
    problem = _run(toy.model(), Prompt(""), selection=selection, scorer=scorer)
    assert problem.ranking.winner().candidate.prompt == Prompt(toy.BEST)


def test_all_of_the_beam_answers_one_minibatch_of_train() -> None:
    lm = toy.model(answer=_learning)
    beam = (Prompt("Say it."), Prompt("Say this."), Prompt("Say that."))
    _run(lm, *beam, rounds=1, minibatch=8, gradients=1, paraphrases=0)
    train = [f"alpha{n}\n" for n in range(20)]
    answered = [
        {word for word in train for text in lm.seen if text.startswith(prompt.instruction) and word in text}
        for prompt in beam
    ]
    assert len(answered[0]) == 8
    assert answered[0] == answered[1] == answered[2]


def test_errors_are_looked_for_where_no_prompt_of_the_beam_shows_the_answer() -> None:
    problem = toy.problem(toy.model(answer=_writing), replace(toy.task(train=12), layout=toy.SHOWING))
    shown = [Demo(each.inputs, each.targets[0]) for each in problem.train[:8]]
    beam = [Prompt("Say it.", tuple(shown[:4])), Prompt("Say this.", tuple(shown[4:]))]
    evaluations = [problem.evaluate([prompt], problem.dev)[0] for prompt in beam]
    evaluate, asked = problem.evaluate, list[str]()

    def watched(prompts: Any, examples: Any = None) -> Any:
        asked.extend(each.inputs["input"] for each in examples)
        return evaluate(prompts, examples)

    problem.evaluate = watched  # type: ignore[assignment, method-assign]
    ProTeGi().step(problem, evaluations)
    assert sorted(asked) == sorted(each.inputs["input"] for each in problem.train[8:])


def test_what_is_asked_for_goes_to_the_model_in_one_call_a_step() -> None:
    lm = toy.Watched(answer=_writing)
    beam = (Prompt("Say it."), Prompt("Say this."), Prompt("Say that."))
    _run(lm, *beam, rounds=1, edits=2, paraphrases=2)
    asked = [call.prompts for call in lm.asked if toy.is_asked_to_write(call.prompts[0])]
    assert [len(call) for call in asked] == [3 * 2 * 2, 3 * 2 * 2 * 2, (3 * 2 * 2 * 2 + 3) * 2]
    assert all(map(is_gradient, asked[0]))
    assert all(map(is_edit, asked[1]))
    assert all(map(is_paraphrase, asked[2]))


def test_without_errors_no_reasons_are_asked_for_only_paraphrases() -> None:
    lm = toy.model(answer=_learning)
    # With this instruction the even half of dev is right, and here all of train is even.
    given = replace(toy.task(), seeds=(Prompt("Say a word about the alpha."),))
    given = replace(given, train=tuple(each for each in given.train if int(each.inputs["input"][5:]) % 2 == 0))
    diary = toy.Diary()
    problem = toy.problem(lm, given, observer=diary)
    ProTeGi(rounds=1).run(problem)
    assert not _written(lm, is_gradient)
    assert not _written(lm, is_edit)
    assert _written(lm, is_paraphrase)
    assert diary.notes == ["round 1 of 1: no errors in the minibatch, so there are only paraphrases, no gradients"]


def test_a_perfect_seed_ends_the_search() -> None:
    lm = toy.model()
    problem = _run(lm, Prompt(toy.BEST))
    assert not _written(lm)
    assert problem.ranking.winner().evaluation is not None


@pytest.mark.parametrize("has_chat", [True, False])
def test_nobody_is_asked_what_an_empty_seed_says_wrongly_or_how_else_to_say_it(has_chat: bool) -> None:
    lm = toy.model(answer=_learning, has_chat=has_chat)
    problem = _run(lm, Prompt(""), Prompt("Say it."), rounds=1)
    empty = [text for text in _written(lm, is_gradient) if text.endswith(EMPTY_GRADIENTS)]
    given = [text for text in _written(lm, is_gradient) if text.endswith(GRADIENTS)]
    assert len(empty) == len(given) > 0
    assert all("without an" in text and "The instruction:" not in text for text in empty)
    assert all("Say it." in text and "without an" not in text for text in given)
    empty = [text for text in _written(lm, is_edit) if "What has to be done: " in text]
    assert empty
    assert all("without an" in text and "better" not in text for text in empty)
    if has_chat:
        assert any("done: To get from any input to its right answer, one must look at" in text for text in empty)
    said = [each.prompt.instruction for each in problem.ranking.candidates if each.prompt.instruction]
    assert _written(lm, is_paraphrase)
    assert all(any(text in asked for text in said) for asked in _written(lm, is_paraphrase))
    assert problem.ranking.winner().candidate.prompt == Prompt(toy.BEST)


def test_a_single_seed_gets_the_groups_and_successors_of_a_whole_beam() -> None:
    alone, spread = toy.model(answer=_learning), toy.model(answer=_learning)
    one_share = {"rounds": 1, "minibatch": 20, "groups": 2, "errors": 3, "gradients": 1}
    _run(alone, **one_share, spread=False)
    _run(spread, **one_share, spread=True)
    assert len(_written(alone, is_gradient)) == 2
    assert len(_written(spread, is_gradient)) == 6


def test_groups_share_errors_only_where_there_are_not_enough() -> None:
    def shown(train: int) -> list[list[str]]:
        lm = toy.model(answer=_learning)
        given = replace(toy.task(train=train), seeds=(Prompt("Say it."),))
        ProTeGi(rounds=1, groups=3, errors=2, gradients=1, spread=False).run(toy.problem(lm, given))
        lines = [text.splitlines() for text in _written(lm, is_gradient)]
        return [[line for line in each if line.startswith("Input: ")] for each in lines]

    enough = shown(6)
    assert [len(group) for group in enough] == [2, 2, 2]
    assert len({line for group in enough for line in group}) == 6
    few = shown(4)
    assert [len(group) for group in few] == [2, 2, 2]
    assert len({line for group in few for line in group}) == 4
    assert [len(group) for group in shown(1)] == [1]
    again = shown(3)
    assert [len(set(group)) for group in again] == [2, 2, 2]
    assert {line for group in again[:2] for line in group} == {line for group in again for line in group}
    assert len(again[0] + again[1]) - len({*again[0], *again[1]}) == 1


@pytest.mark.parametrize(("train", "errors"), [(1, 1), (3, 3), (20, 4)])
def test_the_paper_draws_each_group_from_all_errors_so_one_fills_them_all(train: int, errors: int) -> None:
    lm = toy.model(answer=lambda p, s: f" never speaks of {s}." if is_gradient(p) else _learning(p, s))
    problem = toy.problem(lm, replace(toy.task(train=train), seeds=(Prompt("Say it."),)))
    configure("protegi", {"rounds": "1", "paraphrases": "0"}, "paper").run(problem)
    asked = _written(lm, is_gradient)
    groups = [tuple(line for line in text.splitlines() if line.startswith("Input: ")) for text in asked]
    assert [len(set(group)) for group in groups] == [errors] * 16
    assert len(_written(lm, is_edit)) == 16
    assert train < 20 or len(set().union(*groups)) < 16, "with 20 errors disjoint groups would hold 16 of them"


@pytest.mark.parametrize(("settings", "preset", "split"), [({}, "local", "dev"), ({}, "paper", "train")])
def test_a_race_scores_on_dev_or_as_in_the_paper_on_train(settings: dict[str, Any], preset: str, split: str) -> None:
    problem = toy.problem(toy.model(answer=_writing), replace(toy.task(train=40, dev=9), seeds=(Prompt("Say it."),)))
    few = {"minibatch": "2", "evaluations": "200", "examples_per_pull": "12", "beam": "2", "rounds": "1"}
    scored: dict[str, set[str]] = {}
    evaluate = problem.evaluate

    def counting(prompts: Any, examples: Any = None) -> Any:
        found = evaluate(prompts, examples)
        for each in found:
            scored.setdefault(each.prompt.id, set()).update(out.example_id.partition(":")[0] for out in each.outcomes)
        return found

    problem.evaluate = counting  # type: ignore[assignment, method-assign]
    configure("protegi", {**few, **settings}, preset).run(problem)
    left = [scored[each.prompt.id] for each in problem.ranking.candidates if len(scored.get(each.prompt.id, ())) == 1]
    assert left
    assert all(splits == {split} for splits in left)
    assert len(problem.ranking.finalists()) >= 2, "the seed and the beam, on all of dev"


@pytest.mark.parametrize(("n_train", "leaks"), [(40, False), (8, True)], ids=["rows are left", "all are shown"])
def test_a_race_on_train_asks_no_row_whose_answer_a_prompt_shows(n_train: int, leaks: bool) -> None:
    problem = toy.problem(toy.model(answer=_writing), replace(toy.task(train=n_train), layout=toy.SHOWING))
    demos = tuple(Demo(each.inputs, each.targets[0]) for each in problem.train[:8])
    evaluate, raced = problem.evaluate, set[str]()

    def watched(prompts: Any, examples: Any = None) -> Any:
        raced.update(each.inputs["input"] for each in examples)
        return evaluate(prompts, examples)

    problem.evaluate = watched  # type: ignore[assignment, method-assign]
    ProTeGi(race_on="train")._select(problem, [Prompt(f"Say it {n} times.", demos) for n in range(8)])
    assert raced
    assert bool(raced & {demo.inputs["input"] for demo in demos}) == leaks


def test_what_the_budget_leaves_after_the_first_reasons_is_spent_on_edits() -> None:
    said = iter([" It is vague.", "", ""])
    lm = toy.model(answer=lambda p, s: next(said) if is_gradient(p) else _learning(p, s))
    n_calls = 40 + 8 + 3 + 1  # the seed on dev, the minibatch, a reason for each of three groups, one edit
    problem = toy.problem(lm, replace(toy.task(), seeds=(Prompt("Say it."),)), budget=Budget(max_calls=n_calls))
    with pytest.raises(BudgetExhausted):
        ProTeGi(**{**SMALL, "groups": 3}).run(problem)
    assert problem.proposer.discards["no reason"] == 2
    assert [each.op for each in problem.ranking.candidates] == ["seed", "edit"]


def test_paraphrases_descend_from_what_they_say_again() -> None:
    problem = _run(toy.model(answer=_learning), **SMALL)
    by_id = {candidate.prompt.id: candidate for candidate in problem.ranking.candidates}
    parents = {by_id[each.parents[0]].op for each in problem.ranking.candidates if each.op == "paraphrase"}
    assert parents == {"seed", "edit"}


def test_only_the_instruction_is_edited() -> None:
    demos = (Demo({"input": "alpha1"}, "Say it."),)
    given = replace(toy.task(), seeds=(Prompt("Say it.", demos),), layout=toy.SHOWING)
    problem = toy.problem(toy.model(answer=_learning), given)
    ProTeGi(rounds=1).run(problem)
    assert len(problem.ranking.candidates) > 3
    assert all(candidate.prompt.demos == demos for candidate in problem.ranking.candidates)


def test_random_sampling_keeps_so_many_successors_of_each_prompt() -> None:
    # In its pool: 2 edits, and 2 paraphrases of each of them and of the prompt itself.
    raced: list[int] = []
    problem = toy.problem(
        toy.model(answer=_writing), replace(toy.task(), seeds=(Prompt("Say it."), Prompt("Say that.")))
    )
    evaluate = problem.evaluate

    def counting(prompts: Sequence[Prompt], examples: Sequence[Example] | None = None) -> list[Evaluation]:
        raced.append(len(prompts))
        return evaluate(prompts, examples)

    problem.evaluate = counting  # type: ignore[assignment, method-assign]
    ProTeGi(rounds=1, groups=1, paraphrases=2, successors=4, spread=False).run(problem)
    assert max(raced) == 2 + 8  # all of the beam and its successors see the first examples of the race


def test_a_task_with_labels_shows_the_reason_finder_all_of_them() -> None:
    lm = toy.model(answer=_learning)
    given = replace(toy.task(labels=("red", "green", "blue")), seeds=(Prompt("Say it."),))
    ProTeGi(**SMALL).run(toy.problem(lm, given))
    asked = _written(lm, is_gradient)
    assert asked
    assert all("The right answer is always one of these: blue, green, red.\n" in text for text in asked)


def test_a_list_of_labels_is_shown_whole_however_little_is_shown_of_an_error() -> None:
    labels = tuple(f"intent number {number}" for number in range(10, 40))
    given = replace(toy.task(labels=labels), seeds=(Prompt("Say it."),))
    lm = toy.model(answer=_learning)
    ProTeGi(**{**SMALL, "shown_chars": 40}).run(toy.problem(lm, given))
    whole = f"The right answer is always one of these: {', '.join(labels)}.\n"
    assert all(whole in text for text in _written(lm, is_gradient))

    lm = toy.model(answer=_learning)
    lm.n_ctx = 220  # too small for a request with the list, but not for one without it
    ProTeGi(**{**SMALL, "max_tokens": 60}).run(toy.problem(lm, given))
    asked = _written(lm, is_gradient)
    assert asked
    assert not any("always one of these" in text for text in asked)


def test_a_closed_set_of_outputs_is_shown_to_reason_finder_and_editor_and_may_be_named() -> None:
    # Few different targets and many examples, but no labels: the answers are generated.
    names = replace(toy.task(labels=("red", "blue")), labels=(), answer=toy.task().answer, seeds=(Prompt("Say it."),))
    new = "Write red or blue."
    lm = toy.model(answer=lambda p, s: f"{new}</instruction>" if is_edit(p) else _learning(p, s))
    problem = toy.problem(lm, names)
    ProTeGi(**SMALL).run(problem)
    asked = [*_written(lm, is_gradient), *_written(lm, is_edit)]
    assert asked
    assert all("The right answer is always one of these: blue, red.\n" in text for text in asked)
    assert Prompt(new) in [each.prompt for each in problem.ranking.candidates]


def test_an_answer_that_could_not_be_read_is_shown_as_none() -> None:
    lm = toy.model(answer=lambda p, s: "" if p.endswith("Output:") else _learning(p, s))
    _run(lm, **SMALL)
    assert all("Given answer: (none)\n" in text for text in _written(lm, is_gradient))


def test_errors_are_shortened_and_then_left_out_where_the_context_is_small() -> None:
    given = replace(toy.task(), seeds=(Prompt("Say it."),))
    long = {"input": "alpha1 " + "and so on and on " * 25}
    given = replace(given, train=tuple(replace(example, inputs=long) for example in given.train))

    def shown(n_ctx: int) -> str:
        lm = toy.model(answer=_learning)
        lm.n_ctx = n_ctx
        ProTeGi(**{**SMALL, "errors": 4}, shown_chars=500, max_tokens=20).run(toy.problem(lm, given))
        return _written(lm, is_gradient)[0]

    wide, narrow, narrower = shown(4000), shown(300), shown(150)
    assert len(wide) > len(narrow) > len(narrower)
    assert [text.count("Input: ") for text in (wide, narrow)] == [4, 4]
    assert 1 <= narrower.count("Input: ") < 4
    with pytest.raises(ContextOverflow, match="needs at least"):
        shown(30)


@pytest.mark.parametrize(
    ("reply", "reasons"),
    [
        (" is too short. It says nothing.", ["It fails because it is too short. It says nothing."]),
        (" is too short. It cannot", ["It fails because it is too short."]),
        ("\n1. It is vague.\n2. It is wrong.", ["It is vague.", "It is wrong."]),
        ("<reason>It is vague.</reason> <reason> So. </reason>", ["It is vague.", "So."]),
        (" is vague.\n\nHere is a better one: Say it.", ["It fails because it is vague."]),
        ("", []),
        ("<think>hm</think>\n", []),
        ("<reason></reason>", []),
        (" ... ", []),
    ],
)
def test_a_reason_is_read_from_tags_from_a_list_or_from_all_of_a_reply(reply: str, reasons: list[str]) -> None:
    finished = "length" if reply.endswith("cannot") else "stop"
    assert reasons_in(Generation(reply, 9, finished), "It fails because it") == reasons  # type: ignore[arg-type]


def test_a_reply_without_a_reason_is_counted() -> None:
    lm = toy.model(answer=lambda p, s: "" if is_gradient(p) else _learning(p, s))
    problem = _run(lm, rounds=1, groups=1, gradients=2, spread=False)
    assert problem.proposer.discards["no reason"] == 2 + 2
    assert not _written(lm, is_edit)


@pytest.mark.parametrize("has_chat", [True, False])
def test_who_gave_no_reason_is_asked_once_more_and_may_begin_with_a_blank_line(has_chat: bool) -> None:
    lm = toy.model(
        answer=lambda p, s: "\n\nIt is vague.\n\nSo be it." if is_gradient(p) else _learning(p, s), has_chat=has_chat
    )
    problem = _run(lm, rounds=1, groups=1, gradients=2, spread=False)
    assert len(_written(lm, is_gradient)) == 4
    assert problem.proposer.discards["no reason"] == 2
    assert all(" It is vague.\n" in text for text in _written(lm, is_edit))
    assert len(_written(lm, is_edit)) > 0


def test_a_reason_is_no_proposal_and_a_missing_one_is_discarded() -> None:
    # compare counts what is not a seed as used, and all discards as not used.
    problem = _run(toy.model(answer=_learning), rounds=1)
    assert {each.op for each in problem.ranking.candidates} == {"seed", "edit", "paraphrase"}
    assert problem.proposer.discards["no reason"] == 0


def test_equal_reasons_are_edited_once() -> None:
    lm = toy.model(answer=lambda p, s: " is vague." if is_gradient(p) else _learning(p, s))
    _run(lm, rounds=1, groups=1, gradients=4, spread=False)
    assert len(_written(lm, is_gradient)) == 4
    assert len(dict.fromkeys(_written(lm, is_edit))) == 1


def test_an_instruction_of_several_paragraphs_may_become_one_of_several() -> None:
    new = "Take your time.\n\nTurn every alpha into the omega that has its number."
    lm = toy.model(answer=lambda p, s: f"{new}</instruction>" if is_edit(p) else _learning(p, s))
    problem = _run(lm, Prompt("Say it.\n\nSay it well."), rounds=1, paraphrases=0)
    assert problem.ranking.winner().candidate.prompt == Prompt(new)


def test_a_search_cut_short_knows_no_worse_prompt_than_its_seed() -> None:
    given = replace(toy.task(), seeds=(Prompt("Speak of the alpha."),))
    for max_calls in range(40, 900, 90):
        problem = toy.problem(toy.model(answer=_writing), given, budget=Budget(max_calls=max_calls))
        with suppress(BudgetExhausted):
            ProTeGi().run(problem)
        assert problem.ranking.winner().candidate.prompt == given.seeds[0]


def test_a_budget_that_ends_among_the_last_measurements_loses_none_that_was_made() -> None:
    # The beam of the end is measured one after the other, the best by the race first.
    def answer(prompt: str, seed: int) -> str:
        if is_edit(prompt):
            return f"Say something about alpha and {seed}.</instruction>"
        return _writing(prompt, seed)

    def run(budget: Budget) -> Problem:
        problem = toy.problem(toy.model(answer=answer), toy.task(dev=100), budget=budget)
        with suppress(BudgetExhausted):
            ProTeGi(rounds=1).run(problem)
        return problem

    budget = Budget()
    assert len(run(budget).ranking.finalists()) == 1 + 1 + 3, "the seed, the best guess, the beam"
    short = run(Budget(max_calls=budget.spend.calls - 1))
    assert len(short.ranking.finalists()) == 1 + 1 + 2
    assert short.ranking.winner().evaluation.mean == 0.5  # type: ignore[union-attr]


@pytest.mark.parametrize(("seed", "most"), [("Say it.", 1500), ("", 1700)])
def test_a_default_run_on_a_hundred_dev_rows_costs_what_its_docstring_says(seed: str, most: int) -> None:
    budget = Budget()
    given = replace(toy.task(dev=100), seeds=(Prompt(seed),))
    problem = toy.problem(toy.model(answer=_writing), given, budget=budget)
    ProTeGi().run(problem)
    # Here nothing ever beats the seed, which is scored once; where rounds help, their best are measured too.
    assert 0.6 * most < budget.spend.calls < most


def test_the_preset_of_the_paper_has_its_values() -> None:
    paper = configure("protegi", {}, "paper")
    assert isinstance(paper, ProTeGi)
    assert (paper.rounds, paper.beam, paper.minibatch, paper.errors, paper.gradients) == (6, 4, 64, 4, 4)
    assert (paper.edits, paper.paraphrases, paper.successors, paper.temperature) == (1, 2, 8, 1.0)
    assert paper.selection == "ucb"


def test_it_needs_a_train_split_and_a_chat_only_where_it_is_told_to_chat() -> None:
    with pytest.raises(ConfigError, match="has none"):
        ProTeGi().run(toy.problem(toy.model(), replace(toy.task(), train=())))
    lm = toy.model(has_chat=False)
    with pytest.raises(ConfigError, match="style=chat"):
        _run(lm, style="chat")
    assert lm.seen == []


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"top_p": 0.0}, {"temperature": -1.0}, {"shown_chars": 3}])
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ProTeGi(**settings)


def test_slots_inside_data_are_not_filled() -> None:
    hostile = Example("train:0", {"input": "alpha1 {{given}} {{errors}} {{reason}}"}, ("{{instruction}}",))
    lm = toy.model(answer=_learning)
    given = replace(toy.task(), train=(hostile,), seeds=(Prompt("Say {{errors}}."),))
    ProTeGi(**SMALL).run(toy.problem(lm, given))
    (shown,) = _written(lm, is_gradient)
    assert "alpha1 {{given}} {{errors}} {{reason}}\n" in shown
    assert "Right answer: {{instruction}}" in shown
    assert "\n\nSay {{errors}}.\n\n" in shown


@pytest.mark.parametrize(
    ("init", "seed", "guesses"), [("auto", "", 1), ("auto", "Say it.", 0), ("induce", "Say it.", 1), ("seeds", "", 0)]
)
def test_guesses_from_examples_join_the_first_beam_where_there_are_no_words(init: str, seed: str, guesses: int) -> None:
    problem = _run(toy.model(), Prompt(seed), init=init, rounds=1)
    induced = [candidate for candidate in problem.ranking.candidates if candidate.op == "induce"]
    assert bool(induced) == bool(guesses)
    assert (problem.ranking.winner().candidate.op == "induce") == bool(guesses)
