"""PE2's own choices; what holds for every optimiser is in contracts/."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import toy
from tracing import golden, trace

from localprompt.errors import BudgetExhausted, ConfigError
from localprompt.lm.budget import Budget
from localprompt.lm.metered import MeteredLM
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure
from localprompt.optimizers.pe2 import PE2
from localprompt.search.evaluator import Evaluator
from localprompt.search.problem import Problem
from localprompt.tasks import Layout, Task
from localprompt.tasks.metrics import find_metric
from localprompt.types import Demo, Prompt, Sampling

HALF = Prompt("Speak of the alpha.")
REASON, REFINE = "Example 1:", "than before:"


def _thinking(prompt: str, seed: int) -> str:
    """A proposer that sees in the right answers what the prompt lacks, and writes what its own reasoning says."""
    if prompt.endswith(REASON):
        right = re.findall(r"Right answer: (\D+)", prompt)[-1]
        return f"\na) Something else, and {right}. b) No. e) Yes, it should ask for the {right}."
    if prompt.endswith(REFINE):
        (wanted,) = re.findall(r"it should ask for the (\w+)\.", prompt)[-1:]
        return f"Turn every alpha into the {wanted} that has its number.</prompt>"
    return toy.answer(prompt, seed)


def _growing(prompt: str, seed: int) -> str:
    """A proposer whose every new prompt is another one, and of which none is of any use."""
    if prompt.endswith(REFINE):
        return f"Write letter number {seed} of the word.</prompt>"
    return f" write so and so, {seed} times." if prompt.endswith(" was to") else _thinking(prompt, seed)


def _run(lm: ScriptedLM, given: Task | None = None, *, seeds: tuple[Prompt, ...] = (HALF,), **settings: Any) -> Problem:
    problem = toy.problem(lm, replace(given or toy.task(), seeds=seeds))
    PE2(**settings).run(problem)
    return problem


def _asked(lm: ScriptedLM, ending: str) -> list[str]:
    return [text for text in lm.seen if text.endswith(ending)]


@pytest.mark.parametrize("has_chat", [True, False])
@pytest.mark.parametrize("negatives", ["hard", "random"])
@pytest.mark.parametrize("backtrack", [True, False])
def test_it_reasons_its_way_to_the_best_prompt(backtrack: bool, negatives: str, has_chat: bool) -> None:
    lm = toy.model(answer=_thinking, has_chat=has_chat)
    problem = _run(lm, backtrack=backtrack, negatives=negatives)
    winner = problem.ranking.winner()
    assert winner.candidate.prompt == Prompt(toy.BEST)
    assert (winner.candidate.op, winner.candidate.parents) == ("refine", (HALF.id,))
    assert winner.evaluation is not None
    assert (winner.evaluation.mean, len(winner.evaluation.outcomes)) == (1.0, len(problem.dev))


def test_the_papers_sizes_find_it_too() -> None:
    problem = toy.problem(toy.model(answer=_thinking))
    configure("pe2", {}, "paper").run(problem)
    assert problem.ranking.winner().candidate.prompt == Prompt(toy.BEST)


SEARCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat": ({"backtrack": False, "max_words": 19}, {}),
    "raw_labels": ({"max_words": 20}, {"has_chat": False, "logprob": toy.parity}),
}
"""Trace to the settings and the kind of model."""


def _proposer(best: str) -> Callable[[str, int], str]:
    """Return a proposer that finds `best` when it is asked again in the second step; what it says comes in turn."""
    guesses = cycle((" speak of the alpha, and of even numbers.", "", " write it as it is."))
    reasons = cycle(("b) No. e) Yes: be kind.", "b) No. e) Yes: say what becomes of it."))
    new = cycle(
        (
            "Say something kind about the alpha, as a friend would do.",
            "Copy it!",
            "First read the whole of the input with care, then think of what it might mean, and only then write one.",
            "Mind that the right answers are wrong.",
            best,
        )
    )

    def write(prompt: str, seed: int) -> str:
        if prompt.endswith(REASON):
            return f"\na) It gave up. {next(reasons)}"
        return f" {next(new)}" if prompt.endswith(REFINE) else next(guesses)

    return write


@pytest.mark.parametrize("name", SEARCHES)
def test_a_small_search_goes_as_its_trace_says(name: str) -> None:
    settings, kind = SEARCHES[name]
    few = {"steps": 2, "beam": 1, "expand": 1, "rewrites": 2, "init_prompts": 2, "init_demos": 2, "score_examples": 4}
    labels = ("even", "odd") if "logprob" in kind else ()
    best = "Say whether it is even or odd." if labels else toy.BEST
    given = toy.task(dev=12, labels=labels)
    found = trace(PE2(**{**few, "finalists": 1, **settings}), given, _proposer(best), **kind)
    assert found == golden(f"pe2/{name}", found)


def test_a_closed_set_of_outputs_is_listed_in_induction_and_inspection_and_a_prompt_may_list_it_too() -> None:
    said = "Every right answer is one of these: same, not the same.</prompt>"
    lm = toy.model(answer=lambda p, s: said if p.endswith(REFINE) else _growing(p, s))
    problem = _run(lm, toy.task(labels=("same", "not the same")), seeds=(Prompt(""),), steps=1)
    induced, inspected = _asked(lm, " was to")[0], _asked(lm, REASON)[0]
    assert "\n\nEvery output is one of these: not the same, same.\n\nWhich instruction" in induced
    assert "\n\nEvery right answer is one of these: not the same, same.\n\nThe right answers are" in inspected
    assert Prompt("Every right answer is one of these: same, not the same.") in [
        c.prompt for c in problem.ranking.candidates
    ]
    assert not problem.proposer.discards["echoes the meta-prompt"]


def test_a_prompt_that_names_one_of_a_closed_set_of_outputs_gives_an_answer_away() -> None:
    lm = toy.model(answer=lambda p, s: " always answer same." if p.endswith(REFINE) else _growing(p, s))
    rows = toy.task(labels=("same", "other"))  # as targets of a task without labels
    problem = _run(lm, replace(rows, labels=()), steps=1)
    assert problem.proposer.discards["gives an answer away"]


def test_nothing_is_listed_where_the_outputs_are_many() -> None:
    lm = toy.model(answer=_growing)
    _run(lm, seeds=(Prompt(""),), steps=1)
    assert not any("is one of these" in text for text in lm.seen)


def test_a_conversation_shows_the_real_layout_the_errors_and_the_reasoning() -> None:
    lm = toy.model(answer=_thinking)
    _run(lm)
    for text in _asked(lm, REASON):
        assert "```\nSpeak of the alpha.\n\nInput: <input>\nOutput:\n```" in text
        numbers = [int(n) for n in re.findall(r"Input: alpha(\d+)\nModel's answer: no idea\n", text)]
        assert len(numbers) == 2
        assert all(n % 2 == 1 and f"Right answer: omega{n}\n" in text for n in numbers)
    for text in _asked(lm, REFINE):
        assert (
            "[assistant] Example 1:\na) Something else, and omega. b) No. e) Yes, it should ask for the omega." in text
        )
        assert "\n[user] Step 2." in text


def test_the_layout_of_a_chat_task_is_shown_with_all_its_turns() -> None:
    layout = Layout("Input: {{input}}\nOutput:", "", mode="chat", system="{{instruction}}")
    lm = toy.model(answer=lambda prompt, seed: "Say so." if "Step 1" in prompt else " omega")
    given = replace(toy.task(), layout=layout, seeds=(HALF,))
    problem = Problem(given, Evaluator(lm, given, Budget()), MeteredLM(lm, Budget()), rng=random.Random(0))
    PE2(steps=1).run(problem)
    assert "```\nSpeak of the alpha.\n\nInput: <input>\nOutput:\n```" in _asked(lm, REASON)[0]


def test_a_model_without_a_chat_template_sees_who_speaks_and_is_stopped_before_the_next_request() -> None:
    def answer(prompt: str, seed: int) -> str:
        if prompt.endswith(REASON):
            return " e) Yes, it should ask for the omega.\nRequest:\nAnd now something else."
        return _thinking(prompt, seed)

    lm = toy.model(answer=answer, has_chat=False)
    _run(lm)
    text = _asked(lm, REFINE)[0]
    assert re.findall(r"^(?:Request|Reply):$", text, re.MULTILINE) == ["Request:", "Reply:"] * 3
    assert "something else" not in text


def test_reasoning_that_the_token_limit_cuts_ends_with_a_whole_sentence() -> None:
    def answer(prompt: str, seed: int) -> str:
        return " one two three. four five six." if prompt.endswith(REASON) else _thinking(prompt, seed)

    def reasoning(batch_size: int) -> str:
        lm = toy.model(answer=lambda p, s: answer(p, s) if p.endswith(REASON) else toy.answer(p, s))
        _run(lm, steps=1, batch_size=batch_size, reasoning_tokens=2)
        return _asked(lm, REFINE)[0].partition("[assistant] Example 1:\n")[2].partition("\n[user]")[0]

    assert reasoning(1) == "one two"  # no sentence was whole
    assert reasoning(2) == "one two three."
    assert reasoning(3) == "one two three. four five six."


@pytest.mark.parametrize(("disjoint", "enough"), [(True, 4), (False, 2)])
def test_errors_are_looked_for_on_train_only_until_there_are_enough(disjoint: bool, enough: int) -> None:
    lm = toy.model(answer=_growing)
    _run(lm, toy.task(train=20, dev=4), steps=1, beam=1, train_batch=1, batch_size=2, expand=2, disjoint=disjoint)
    first, _, _ = "\0".join(lm.seen).partition(REASON)
    asked = {int(n) for n in re.findall(r"Input: alpha(\d+)\nOutput:", first)} & set(range(20))
    wrong = {n for n in asked if n % 2 == 1}
    assert len(wrong) == enough
    assert len(asked) < 20


def test_errors_are_looked_for_where_no_prompt_of_the_beam_shows_the_answer() -> None:
    problem = toy.problem(toy.model(answer=_growing), replace(toy.task(train=12), layout=toy.SHOWING))
    shown = tuple(Demo(each.inputs, each.targets[0]) for each in problem.train[:8])
    tried = PE2(batch_size=8)._answered(problem, [Prompt("Say it.", shown)])
    assert {case.example.id for case in tried[0]} == {each.id for each in problem.train[8:]}


def test_the_batches_of_a_prompt_share_no_error() -> None:
    lm = toy.model(answer=_growing)
    _run(lm, steps=1, beam=1, expand=3, batch_size=3, rewrites=1)
    batches = [re.findall(r"Input: alpha(\d+)\nModel's", text) for text in dict.fromkeys(_asked(lm, REASON))]
    assert [len(set(batch)) for batch in batches] == [3, 3, 3]
    assert len({number for batch in batches for number in batch}) == 9


def test_where_errors_are_few_they_come_again_after_all_were_shown() -> None:
    lm = toy.model(answer=_growing)
    _run(lm, toy.task(train=6), steps=1, beam=1, expand=2, batch_size=2, rewrites=1)  # 3 of the 6 are wrong
    batches = [set(re.findall(r"Input: alpha(\d+)\nModel's", text)) for text in dict.fromkeys(_asked(lm, REASON))]
    assert [len(batch) for batch in batches] == [2, 2]
    assert batches[0] | batches[1] == {"1", "3", "5"}


def test_hard_batches_hold_errors_alone_and_random_ones_right_answers_too() -> None:
    def right_answers(negatives: str) -> int:
        lm = toy.model(answer=_growing)
        _run(lm, steps=6, negatives=negatives)
        return sum(text.count("Model's answer: omega") for text in _asked(lm, REASON))

    assert right_answers("hard") == 0
    assert right_answers("random") > 0


def test_an_answer_that_is_right_in_part_is_an_error_and_called_so() -> None:
    given = replace(toy.task(), metric=find_metric("token_f1"))

    def answer(prompt: str, seed: int) -> str:
        said = toy.answer(prompt, seed)
        return (
            said if toy.is_asked_to_write(prompt) else said.replace(" omega", " the big omega").replace("no idea", "")
        )

    lm = toy.model(answer=answer)
    _run(lm, given, steps=1, seeds=(Prompt(toy.BEST),))
    assert re.search(
        r"Model's answer: the big omega\d+ \(right in part\)\nRight answer: omega\d+\n", _asked(lm, REASON)[0]
    )


def test_all_acceptable_answers_are_shown_and_a_missing_one_is_named() -> None:
    given = toy.task()
    train = tuple(replace(each, targets=(*each.targets, "o")) for each in given.train)
    lm = toy.model(answer=lambda prompt, seed: toy.answer(prompt, seed) if toy.is_asked_to_write(prompt) else "")
    _run(lm, replace(given, train=train), steps=1)
    shown = _asked(lm, REASON)[0]
    assert re.search(r"Right answer: omega\d+ or o\n", shown)
    assert "Model's answer:" in shown
    assert "Model's answer: \n" not in shown


def test_an_empty_prompt_is_called_so() -> None:
    lm = toy.model(answer=_thinking)
    problem = _run(lm, seeds=(Prompt(""),), init="seeds")
    assert problem.ranking.winner().candidate.prompt == Prompt(toy.BEST)
    assert "The prompt now:\n(empty: there is no prompt yet)\n" in _asked(lm, REASON)[0]


@pytest.mark.parametrize("copy", ["(empty: there is no prompt yet)", "Empty: there is no prompt yet."])
def test_what_stands_for_an_empty_prompt_is_no_new_one(copy: str) -> None:
    """Small models copied it, and with worked examples it was found to be the best of a search."""

    def copying(prompt: str, seed: int) -> str:
        return toy.answer(prompt, seed) if not toy.is_asked_to_write(prompt) else copy if seed % 2 else toy.BEST

    problem = _run(toy.model(answer=copying), seeds=(Prompt(""),), init="seeds", steps=1)
    assert problem.proposer.discards["echoes the meta-prompt"] >= 1
    assert not [each for each in problem.ranking.candidates if "no prompt yet" in each.prompt.instruction]


def test_a_prompt_with_too_many_words_is_counted_out() -> None:
    problem = _run(toy.model(answer=_thinking), max_words=9, steps=1)
    assert problem.proposer.discards["too many words"] >= 1
    assert problem.ranking.winner().candidate.prompt == HALF


def test_what_breaks_a_limit_is_asked_for_once_more() -> None:
    replies = iter(["Turn every alpha into another word of your own that you like.", toy.BEST])
    lm = toy.model(answer=lambda p, s: f"{next(replies)}</prompt>" if p.endswith(REFINE) else _thinking(p, s))
    problem = _run(lm, steps=1, expand=1, rewrites=1, beam=1, max_words=10)
    assert problem.proposer.discards == {"too many words": 1}
    assert problem.ranking.winner().candidate.prompt == Prompt(toy.BEST)


def _sampled(lm: toy.Watched) -> dict[str, Sampling]:
    """How the texts were sampled, by how their requests end."""
    endings = (REASON, REFINE, " was to")
    return {end: call.sampling for call in lm.asked for end in endings if call.prompts[0].endswith(end)}


@pytest.mark.parametrize(("preset", "top_p"), [("local", 0.95), ("paper", 1.0)])
def test_all_that_the_proposer_writes_is_drawn_with_top_p(preset: str, top_p: float) -> None:
    lm = toy.Watched(answer=_growing)
    settings = {"steps": "2", "backtrack": "false", "init_prompts": "2"}
    configure("pe2", settings, preset).run(toy.problem(lm))
    assert {ending: how.top_p for ending, how in _sampled(lm).items()} == dict.fromkeys(
        (" was to", REASON, REFINE), top_p
    )


def test_a_model_without_a_chat_template_is_stopped_at_the_next_request_in_every_reply() -> None:
    lm = toy.Watched(answer=_growing, has_chat=False)
    _run(lm, steps=2, backtrack=False)
    assert [ending for ending, how in _sampled(lm).items() if "\nRequest:" in how.stop] == [REASON, REFINE]


def test_a_budget_with_room_for_one_measures_one_on_all_of_dev() -> None:
    seeds = (HALF, Prompt("Say so."))
    problem = toy.problem(toy.model(), replace(toy.task(dev=40), seeds=seeds), budget=Budget(max_calls=50))
    with pytest.raises(BudgetExhausted):
        PE2(init="seeds", score_examples=None).run(problem)
    assert [each.candidate.prompt for each in problem.ranking.finalists()] == [HALF]


def test_a_long_parent_may_have_long_children() -> None:
    long = Prompt("Speak of the alpha. " + "Be brief and kind. " * 30)
    longer = "".join(f"Be very long. Be kind to {n}. " for n in range(15))
    lm = toy.model(answer=lambda p, s: longer if p.endswith(REFINE) else _thinking(p, s))
    problem = _run(lm, seeds=(long,), steps=1, rewrites=1)
    assert "Use at most 124 words." in _asked(lm, REFINE)[0]
    (child,) = [each.prompt for each in problem.ranking.candidates if each.op == "refine"]
    assert len(child.instruction.split()) == 105


def test_demos_of_a_prompt_stay_with_its_children() -> None:
    demos = (Demo({"input": "alpha900"}, "a kind word"),)
    lm = toy.model(answer=_thinking)
    problem = _run(lm, replace(toy.task(), layout=toy.SHOWING), seeds=(replace(HALF, demos=demos),))
    assert "Input: alpha900\nOutput: a kind word\n\nInput: <input>" in _asked(lm, REASON)[0]
    assert problem.ranking.winner().candidate.prompt == Prompt(toy.BEST, demos)


def test_it_stops_with_a_reason_where_there_is_no_error_to_learn_from() -> None:
    given = toy.task(train=1)  # alpha0, which the seed gets right
    lm = toy.model(answer=_thinking)
    diary = toy.Diary()
    PE2().run(toy.problem(lm, replace(given, seeds=(HALF,)), observer=diary))
    (note,) = diary.notes
    assert "no errors are left to learn from" in note
    assert not _asked(lm, REASON)


def test_it_stops_with_a_reason_where_nothing_can_be_better() -> None:
    lm = toy.model(answer=_thinking)
    diary = toy.Diary()
    PE2(steps=9).run(toy.problem(lm, replace(toy.task(), seeds=(HALF,)), observer=diary))
    assert diary.notes == ["step 1 of 9: stopped: a prompt is right on all of dev"]
    assert len(_asked(lm, REASON)) == 2


def test_the_best_of_all_steps_are_expanded_with_backtracking_and_the_newest_without() -> None:
    def parents(backtrack: bool) -> list[tuple[str, ...]]:
        problem = _run(toy.model(answer=_growing), steps=3, beam=1, backtrack=backtrack)
        return [each.parents for each in problem.ranking.candidates if each.op == "refine"]

    assert set(parents(True)) == {(HALF.id,)}
    assert len(set(parents(False))) == 3


def test_first_prompts_are_induced_where_the_seed_is_empty() -> None:
    def origins(**settings: Any) -> set[str]:
        problem = _run(toy.model(answer=_growing), steps=1, **settings)
        return {candidate.op for candidate in problem.ranking.candidates}

    empty = (Prompt(""),)
    assert "induce" in origins(seeds=empty)
    assert "induce" not in origins(seeds=empty, init="seeds")
    assert "induce" not in origins()
    assert "induce" in origins(init="induce")


@pytest.mark.parametrize(("preset", "sets"), [("local", 4), ("paper", 1)])
def test_first_guesses_have_a_set_of_examples_each_or_as_in_the_paper_one_for_all(preset: str, sets: int) -> None:
    lm = toy.model(answer=_growing)
    problem = toy.problem(lm)
    configure("pe2", {"steps": "1", "init_prompts": "4"}, preset).run(problem)
    asked = _asked(lm, " was to")
    assert (len(asked), len(set(asked))) == (4, sets)
    assert len([each for each in problem.ranking.candidates if each.op == "induce"]) == 4


def test_only_the_best_of_a_generation_are_scored_on_all_of_dev() -> None:
    def scored(**settings: Any) -> list[int]:
        given = toy.task(dev=30)
        lm = toy.model(answer=_growing)
        problem = _run(lm, given, steps=1, expand=4, **settings)
        children = [each.prompt.instruction for each in problem.ranking.candidates if each.op == "refine"]
        return sorted(sum(text.startswith(f"{child}\n") for text in _asked(lm, "Output:")) for child in children)

    assert scored(score_examples=6, finalists=2) == [6] * 6 + [30] * 2
    assert scored(score_examples=None) == [30] * 8


def test_texts_are_shortened_until_a_request_fits_the_context() -> None:
    given = toy.task()
    train = tuple(replace(each, inputs={"input": f"{each.inputs['input']} {'x ' * 150}"}) for each in given.train)
    lm = toy.model(answer=_growing)
    lm.n_ctx = 700
    _run(lm, replace(given, train=train), steps=1, reasoning_tokens=20)
    assert " ... " in _asked(lm, REASON)[0]
    assert all(len(ids) <= 700 for ids in lm.tokenize(_asked(lm, REFINE)))


def test_the_paper_shows_texts_in_full_where_there_is_room_and_shortens_them_where_not() -> None:
    given = toy.task()
    long = f"{'x ' * 1500}y"
    train = tuple(replace(each, inputs={"input": f"{each.inputs['input']} {long}"}) for each in given.train)

    def inspected(n_ctx: int) -> str:
        lm = toy.model(answer=_growing)
        lm.n_ctx = n_ctx
        configure("pe2", {"steps": "1", "reasoning_tokens": "20"}, "paper").run(
            toy.problem(lm, replace(given, train=train, seeds=(HALF,)))
        )
        return _asked(lm, REASON)[0]

    assert f" {long}\nModel's answer" in inspected(10_000)
    assert " ... " in inspected(1700)


@pytest.mark.parametrize(("preset", "about"), [("local", 1500), ("paper", 8100)])
def test_a_run_on_a_hundred_dev_rows_costs_what_its_docstring_says_where_no_ties_are_broken(
    preset: str, about: int
) -> None:
    lm = toy.model(answer=_growing)
    problem = toy.problem(lm, toy.task(train=40, dev=100))
    configure("pe2", {}, preset).run(problem)
    assert lm.n_generated == pytest.approx(about, rel=0.1)


def test_meta_prompts_can_be_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "task.txt").write_text("Mend this.\n", encoding="utf-8")
    (tmp_path / "inspect_chat.txt").write_text("{{instruction}} {{layout}} {{examples}}\n\nWell,\n", encoding="utf-8")
    lm = toy.model()
    _run(lm, templates=tmp_path, steps=1)
    assert any(text.startswith("[user] Mend this.\n") and text.endswith("[assistant] Well,") for text in lm.seen)


def test_a_task_without_training_examples_is_refused() -> None:
    with pytest.raises(ConfigError, match="learns from errors"):
        _run(toy.model(), toy.task(train=0))


@pytest.mark.parametrize("settings", [{"steps": 0}, {"score_examples": 0}, {"temperature": -1.0}, {"example_chars": 9}])
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        PE2(**settings)


def test_first_guesses_keep_to_the_limit_of_words() -> None:
    problem = _run(toy.model(), seeds=(Prompt(""),), steps=1, max_words=6)
    induced = [each.prompt.instruction for each in problem.ranking.candidates if each.op == "induce"]
    assert induced
    assert max(len(text.split()) for text in induced) <= 6
    assert problem.proposer.discards["too many words"] > 0
