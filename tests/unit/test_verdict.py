"""What a run found in sentences: right numbers, no more than was shown, and every state said first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import toy

import localprompt
from localprompt.reports.verdict import Verdict, verdict_of
from localprompt.run.history import RunHistory, TestRow, read_history
from localprompt.run.results import HeldOutScores, NoiseFloor, RunnerUp, RunResult
from localprompt.stats.intervals import Difference, Interval, interval, paired_difference
from localprompt.store import RunRecord, Store
from localprompt.store.records import DamagedRun
from localprompt.tasks.constant import ConstantAnswer
from localprompt.types import Example, Outcome, Prompt, Spend

SEED, BEST = Prompt("before"), Prompt("after")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> RunHistory:
    with Store(tmp_path_factory.mktemp("store") / "it.db") as store:
        found = localprompt.optimize(toy.task(), toy.model(), store=store)
        return read_history(store, found.run_id)


def compared(before: list[float], after: list[float], **changes: Any) -> HeldOutScores:
    scores = HeldOutScores(interval(before), interval(after), paired_difference(before, after), 0, 0)
    return replace(scores, **changes)


def with_test(history: RunHistory, before: list[float], after: list[float], **changes: Any) -> RunHistory:
    """The run with other scores on test, and with `changes` in its result."""
    assert history.result is not None
    rows = [
        TestRow(Example(f"test:{n}", {"input": ""}, ("x",)), *(Outcome(f"test:{n}", "x", score) for score in pair))
        for n, pair in enumerate(zip(before, after, strict=True))
    ]
    found = {"seed_prompt": SEED, "best": BEST, "runner_up": None, "noise": NoiseFloor(0.0, 0, 90), **changes}
    result = replace(history.result, **{"test": compared(before, after), **found})
    return replace(history, result=result, test_rows=tuple(rows))


def of(history: RunHistory) -> Verdict:
    return verdict_of(history, None)


def test_a_gain_is_told_in_questions_and_per_cent(history: RunHistory) -> None:
    found = of(with_test(history, [1.0] * 27 + [0.0] * 18, [1.0] * 43 + [0.0] * 2))
    assert found.headline == "The found prompt answers 16 more of 45 test questions correctly: 60 % \u2192 96 %"
    assert (found.tone, found.state, found.is_counted) == ("good", (), True)
    assert found.reasons[0].startswith("On the same 45 examples the difference is +35.6 points (95 % interval +")
    assert found.reasons[0].endswith("points, p < 0.0001): more than chance explains.")
    assert found.reasons[1] == "Measuring again changed none of 90 dev scores."


def test_fractional_scores_are_no_numbers_of_answers(history: RunHistory) -> None:
    found = of(with_test(history, [0.5] * 40, [0.75] * 40))
    assert found.headline == "The found prompt scores 0.250 more on 40 test examples: 0.500 \u2192 0.750"
    assert not found.is_counted
    assert "+0.250" in found.reasons[0]


def test_what_chance_may_explain_is_no_gain(history: RunHistory) -> None:
    found = of(with_test(history, [1.0] * 10 + [0.0] * 10, [1.0] * 11 + [0.0] * 9))
    assert found.headline == (
        "No difference is shown: the found prompt answers 1 more of 20 test questions correctly (50 % \u2192 55 %)"
    )
    assert found.tone == "open"
    assert "chance alone may explain that" in found.reasons[0]


def test_what_noise_may_explain_is_no_gain(history: RunHistory) -> None:
    scores = [0.0] * 40, [1.0] * 10 + [0.0] * 30
    found = of(with_test(history, *scores, noise=NoiseFloor(0.25, 9, 90)))
    assert found.headline.startswith("No difference is shown: ")
    assert found.reasons[1] == (
        "Measuring again changed 9 of 90 dev scores and moved the score of a prompt by up to 25 points; "
        "the difference is no more than that."
    )
    beyond = of(with_test(history, *scores, noise=NoiseFloor(0.1, 9, 90)))
    assert beyond.tone == "good"
    assert beyond.reasons[1].endswith("the difference is more than that.")


def test_a_loss_is_a_loss(history: RunHistory) -> None:
    found = of(with_test(history, [1.0] * 40, [0.0] * 20 + [1.0] * 20))
    assert found.headline == (
        "The found prompt is worse: it answers 20 fewer of 40 test questions correctly: 100 % \u2192 50 %"
    )
    assert found.tone == "bad"


def test_a_gain_that_one_constant_answer_has_too_is_none(history: RunHistory) -> None:
    scores = [0.0] * 40, [1.0] * 20 + [0.0] * 20
    found = of(with_test(history, *scores, test=compared(*scores, constant=ConstantAnswer("billing", 0.5))))
    assert found.headline.endswith("(0 % \u2192 50 %), but one constant answer would do as well")
    assert found.tone == "open"
    assert "Always answering 'billing' would score 50 %, as much as the found prompt or more." in found.reasons


def test_one_point_is_a_point_and_none_are_points(history: RunHistory) -> None:
    scores = [0.0] * 100, [1.0] + [0.0] * 99
    for floor, told in ((0.01, "1 point;"), (0.02, "2 points;")):
        found = of(with_test(history, *scores, noise=NoiseFloor(floor, 1, 100)))
        assert found.reasons[0].startswith("On the same 100 examples the difference is +1 point (95 % interval ")
        assert told in found.reasons[1]
    second = RunnerUp(
        Prompt("other"), "forward", Interval(0.6, 0.5, 0.7, 63), Difference(-0.01, -0.07, 0.0, 0.9, 100), 0, None
    )
    found = of(with_test(history, *scores, runner_up=second))
    assert found.reasons[-1] == (
        "The runner-up is 1 point behind the found prompt on 100 examples (95 % interval \u22127 to 0 points)."
    )


def test_a_seed_that_stays_says_what_the_runner_up_lacks(history: RunHistory) -> None:
    second = RunnerUp(
        Prompt("other"), "forward", Interval(0.6, 0.5, 0.7, 63), Difference(0.008, -0.128, 0.144, 0.9, 123), 60, 30_001
    )
    scores = [1.0] * 15 + [0.0] * 5
    found = of(with_test(history, scores, scores, best=SEED, runner_up=second))
    assert found.headline == (
        "No better prompt was found: the seed prompt stays, with 15 of 20 test questions answered correctly (75 %)"
    )
    assert found.reasons[-1] == (
        "The runner-up is 0.8 points ahead of the seed prompt on 123 examples (60 of them rows that the search did not "
        "use, 95 % interval \u221212.8 to +14.4 points); that is within one standard error, so the seed prompt stays; "
        "about 31,000 examples in all would decide."
    )
    assert not any("chance" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"dev": None}, "Nothing was compared: "),
        ({"test": None}, "A prompt was found that is better on dev; it was not measured on test"),
    ],
)
def test_what_was_not_measured_is_not_claimed(history: RunHistory, changes: dict[str, Any], start: str) -> None:
    found = of(with_test(history, [0.0], [1.0], **changes))
    assert found.headline.startswith(start)
    assert found.tone == "open"


def test_missing_answers_and_dead_engines_are_told(history: RunHistory) -> None:
    scores = [0.0] * 9, [1.0] * 9
    test = compared(*scores, seed_unparsed=1, best_unparsed=2)
    reasons = of(with_test(history, *scores, test=test, failed=2)).reasons
    assert "3 completions held no answer, 1 with the seed prompt and 2 with the found prompt: they score 0." in reasons
    assert "2 requests killed the engine: they count as unanswered." in reasons


def test_the_cost_is_that_of_the_search_and_of_what_came_after(history: RunHistory) -> None:
    spent = Spend(calls=684, seconds=280.0, answers=100, answers_cached=9, tokens_computed=30_174)
    found = of(with_test(history, [0.0], [1.0], spend=spent, final_evaluation=Spend(calls=1, seconds=7.0)))
    assert found.cost == (
        "The search computed 30,174 tokens in 684 model calls and 4.7 minutes; 9 % of the answers were known.",
        "The final evaluation (noise, choice, test) made 1 model call in 7 seconds.",
    )


@pytest.mark.parametrize(
    ("changes", "status", "start"),
    [
        ({"status": "running"}, "running", "The run goes on"),
        ({"status": "running"}, "interrupted", "The run was interrupted"),
        ({"status": "paused", "stopped": "12 minutes are over"}, "paused", "The run is paused: 12 minutes are over."),
        ({"status": "failed", "stopped": "no room"}, "failed", "The run failed: no room."),
        ({"stopped": "6 tokens are left"}, "finished", "The search was cut short: 6 tokens are left."),
        ({"imported": True}, "finished", "The run was imported from a file"),
    ],
)
def test_the_state_of_a_run_is_said(history: RunHistory, changes: dict[str, Any], status: str, start: str) -> None:
    assert isinstance(history.run, RunRecord)
    (state,) = of(replace(history, run=replace(history.run, **changes), status=status)).state
    assert state.startswith(start)


def test_a_run_without_a_result_tells_its_best_prompt_so_far(history: RunHistory) -> None:
    assert isinstance(history.run, RunRecord)
    begun = replace(history, run=replace(history.run, status="running", result=None), result=None, test_rows=())
    assert (
        verdict_of(begun, (0.5, 40)).headline == "No result yet: the best prompt so far scores 50 % on 40 dev examples"
    )
    assert verdict_of(begun, None).headline == "No prompt was scored yet"
    other = replace(begun, run=replace(history.run, result={}))
    assert verdict_of(other, None).headline == "The result of this run cannot be read"


def test_a_damaged_run_says_why_it_cannot_be_read(history: RunHistory) -> None:
    damaged = DamagedRun("0" * 12, "its seed is no number", *"abcd")
    found = of(replace(history, run=damaged, result=None, config=None, damage=("no candidates",)))
    assert found.headline == "This run cannot be read"
    assert found.state[0].startswith("The record of this run is damaged: its seed is no number.")
    assert "No candidates." in found.state


def test_no_result_of_the_store_is_without_a_verdict(history: RunHistory) -> None:
    assert isinstance(history.result, RunResult)
    found = of(history)
    assert found.headline == "The found prompt answers 40 more of 40 test questions correctly: 0 % \u2192 100 %"
    assert len(found.cost) == 2
