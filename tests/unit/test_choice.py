"""Who wins and who comes second: by rows that the search did not use, beside those that it did."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
import toy

from localprompt.errors import OutOfAnswers
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers.manual import Manual
from localprompt.optimizers.registry import configure
from localprompt.run import api as runs
from localprompt.run import resume as resuming
from localprompt.run.choice import choose, rows_to_decide
from localprompt.run.results import RunResult
from localprompt.search.evaluator import Evaluator
from localprompt.search.evidence import MOST_ROWS
from localprompt.search.problem import Problem
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Demo, Prompt

LUCKY, SOUND = Prompt("Lucky."), Prompt("Sound.")
"""On dev, rows 100 to 119, the one answers 16 and the other 14; on train one in four and three in four."""
TASK = replace(toy.task(train=100, dev=20), seeds=(Prompt("Half."),))


def _answer(prompt: str, seed: int) -> str:
    number = int(re.findall(r"alpha(\d+)", prompt)[-1])
    is_dev = 100 <= number < 120
    right = {
        "Lucky.": number < 116 if is_dev else number % 4 == 0,
        "Sound.": number < 114 if is_dev else number % 4 != 0,
        "Half.": number % 2 == 0,
    }
    return f" omega{number}" if right[prompt.splitlines()[0]] else " no"


def _searched(task: Task = TASK, prompts: Sequence[Prompt] = (LUCKY, SOUND)) -> tuple[Problem, toy.Watched]:
    lm = toy.Watched(answer=_answer)
    problem = toy.problem(lm, task)
    problem.evaluate([*task.seeds, *prompts])
    lm.asked.clear()
    return problem, lm


def _chosen(problem: Problem, lm: ScriptedLM, task: Task = TASK) -> Prompt:
    return choose(problem, Evaluator(lm, task, Budget())).winner.candidate.prompt


def test_rows_that_the_search_did_not_use_overrule_luck_on_dev() -> None:
    problem, lm = _searched()
    choice = choose(problem, Evaluator(lm, TASK, Budget()))
    assert choice.winner.candidate.prompt == SOUND
    assert choice.winner.mean == 0.7, "what is said of dev is of dev alone"
    assert {len(each.outcomes) for each in choice.evidence} == {MOST_ROWS}
    without = replace(TASK, train=())
    assert _chosen(*_searched(without), without) == LUCKY


def test_rows_that_were_drawn_or_scored_are_no_evidence() -> None:
    problem, lm = _searched()
    used = [*problem.minibatch(30), *problem.train[:20]]
    problem.evaluate([LUCKY], problem.train[:10])
    problem.likelihood([LUCKY], problem.train[10:20])
    unseen = {example.id for example in problem.train} - {example.id for example in used}
    assert {example.id for example in problem.unseen} == unseen
    choice = choose(problem, Evaluator(lm, TASK, Budget()))
    assert {outcome.example_id for each in choice.evidence for outcome in each.outcomes} <= unseen


def test_rows_that_a_contender_shows_are_no_evidence() -> None:
    row, other = TASK.train[0], TASK.train[1]
    shows = replace(SOUND, demos=(Demo(row.inputs, row.targets[0]),))
    task = replace(TASK, train=(row, other), layout=toy.SHOWING)
    problem, lm = _searched(task, [LUCKY, shows])
    choice = choose(problem, Evaluator(lm, task, Budget()))
    assert {outcome.example_id for each in choice.evidence for outcome in each.outcomes} == {other.id}


def test_where_nobody_is_near_the_seed_nothing_is_measured() -> None:
    task = replace(TASK, seeds=(LUCKY,))
    problem, lm = _searched(task, [Prompt("Half.")])
    choice = choose(problem, Evaluator(lm, task, Budget()))
    assert (choice.winner.candidate.prompt, choice.evidence, lm.asked) == (LUCKY, (), [])
    assert choice.runner_up is not None
    assert (choice.runner_up.prompt, choice.runner_up.n_unseen) == (Prompt("Half."), 0)


def test_a_replay_without_answers_on_unseen_rows_chooses_by_dev() -> None:
    problem, _ = _searched()
    missing = toy.model(answer=toy.failing(OutOfAnswers("the run has no more answers")))
    assert _chosen(problem, missing) == LUCKY


def test_a_replay_chooses_as_the_run_did() -> None:
    found = runs.optimize(toy.task(train=60), toy.model())
    assert found.runner_up is not None
    assert found.runner_up.n_unseen > 0
    with Store() as store:
        (kept, *_) = store.runs.evaluations(found.run_id, "evidence")
    assert len(kept.outcomes) == found.runner_up.n_unseen
    again = resuming.replay(found.run_id)
    assert (again.best, again.runner_up, again.final_evaluation.calls) == (
        found.best,
        found.runner_up,
        found.final_evaluation.calls,
    )


def _cut_off(monkeypatch: pytest.MonkeyPatch, *before: Prompt, late: Prompt = SOUND) -> None:
    """Let a search measure some prompts on all of dev, and another on twelve rows before it asks for the others."""

    def run(self: Manual, problem: Problem) -> None:
        problem.evaluate([*problem.seeds, *before])
        problem.evaluate([late], problem.dev[:12])
        problem.evaluate([late])

    monkeypatch.setattr(Manual, "run", run)


def _same_again(found: RunResult) -> bool:
    again = resuming.replay(found.run_id)
    spent = again.final_evaluation.calls == found.final_evaluation.calls
    parts = ("best", "runner_up", "dev", "noise", "test", "trajectory", "refused")
    return spent and all(getattr(again, part) == getattr(found, part) for part in parts)


@pytest.mark.parametrize("is_behind", [False, True])
def test_what_a_budget_cut_off_before_all_of_dev_can_still_win(
    is_behind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cut_off(monkeypatch, *([LUCKY] if is_behind else []))
    limit = 12 + 20 * (1 + is_behind) + 4
    found = runs.optimize(TASK, toy.model(answer=_answer), method="manual", max_calls=limit)
    assert "calls" in found.stopped
    assert found.spend.calls <= limit
    known = [each["instruction"] for each in found.candidates if each["n"] == len(TASK.dev)]
    assert known == (["Half.", "Lucky."] if is_behind else ["Half.", "Sound."])
    assert is_behind or found.best == SOUND
    assert _same_again(found)


def test_what_was_cut_off_and_comes_third_is_measured_by_the_replay_too(monkeypatch: pytest.MonkeyPatch) -> None:
    beginning = Prompt("Beginning.")

    def answer(prompt: str, seed: int) -> str:
        number = int(re.findall(r"alpha(\d+)", prompt)[-1])
        first = prompt.splitlines()[0]
        is_right = number < 112 if first == "Beginning." else number % 2 == 0 if first == "Half." else number % 2 == 1
        return f" omega{number}" if is_right and (first != "Beginning." or number >= 100) else " no"

    _cut_off(monkeypatch, Prompt("Odd."), late=beginning)
    found = runs.optimize(TASK, toy.model(answer=answer), method="manual", max_calls=56)
    assert beginning.instruction in [each["instruction"] for each in found.candidates if each["n"] == len(TASK.dev)]
    assert found.runner_up is not None
    assert beginning not in (found.best, found.runner_up.prompt)
    assert _same_again(found)


def test_what_was_cut_off_and_does_not_fit_a_dev_row_cannot_win(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = toy.model(answer=_answer)
    lm.n_ctx = 185
    long = replace(TASK.dev[-1], inputs={"input": "so " * 40 + "alpha119"})
    task = replace(TASK, dev=(*TASK.dev[:-1], long))
    _cut_off(monkeypatch, late=Prompt("Sound.\n" + "Take care. " * 80))
    found = runs.optimize(task, lm, method="manual", max_calls=36)
    assert found.best == found.seed_prompt
    assert found.discards == {"too long for the context with an example of dev": 1}
    assert _same_again(found)


@pytest.mark.parametrize("method", ["ape", "protegi", "opro", "pe2"])
def test_a_method_leaves_rows_of_a_large_train(method: str) -> None:
    task = toy.task(train=400)
    problem = toy.problem(toy.model(), task)
    configure(method, {}).run(problem)
    assert len(problem.unseen) >= MOST_ROWS


def test_rows_to_decide_are_those_at_which_the_difference_is_two_errors() -> None:
    gains = [1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]  # mean 0.1, standard deviation 0.568
    assert rows_to_decide(gains) == 124  # (1.96 * 0.568 / 0.1) ** 2
    assert rows_to_decide([-gain for gain in gains]) == 124
    assert rows_to_decide([1.0, -1.0]) is None
    assert rows_to_decide([1.0]) is None
    assert rows_to_decide([0.5, 0.5, 0.5]) == 2


def test_a_seed_stays_where_another_prompt_is_ahead_by_less_than_one_standard_error() -> None:
    def answer(prompt: str, seed: int) -> str:
        """The seed answers all but one row of dev, whatever speaks of the alpha all."""
        if toy.is_asked_to_write(prompt):
            return " say something about the alpha."
        number = re.findall(r"alpha(\d+)", prompt)[-1]
        return f" omega{number}" if "about" in prompt or ("Solid" in prompt and number != "25") else " no"

    given = replace(toy.task(), seeds=(Prompt("Solid."),))
    result = runs.optimize(given, toy.model(answer=answer), method="ape")
    assert (result.best, result.verdict) == (given.seeds[0], "no better prompt found")
    assert result.notes == ()
    second = result.runner_up
    assert second is not None
    assert (round(second.difference.mean, 3), second.prompt.instruction) == (0.023, "Say something about the alpha.")


def test_a_result_from_before_runners_up_is_read() -> None:
    plain = runs.optimize(toy.task(), toy.model(), method="ape").to_json()
    read = RunResult.from_json(plain)
    assert read.runner_up is not None
    assert read.to_json() == plain
    assert plain.pop("runner_up")["prompt"]["instruction"] == "Say something kind about the alpha."
    assert RunResult.from_json(plain).runner_up is None
