"""The report of a comparison has what its finished runs say, which methods differ, and why a run is missing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

from localprompt.comparison.plan import compare
from localprompt.comparison.table import Comparison, Row, pairs_of
from localprompt.errors import ModelError
from localprompt.reports.comparison_report import ComparisonReport, mean_curve
from localprompt.reports.comparison_verdict import methods_verdict
from localprompt.reports.page import page
from localprompt.reports.report import find
from localprompt.run.resume import resume
from localprompt.stats.anytime import area_under_best_so_far
from localprompt.store import Store
from localprompt.tasks import Task, load_task
from localprompt.types import Prompt

METHODS = ("ape", "random")
LIMIT = 6000
SMALL = {"ape": {"queries": 2, "per_query": 7}, "random": {"proposals": 14}}
OTHER = Prompt("Say something kind about the alpha.")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "it.db") as store:
        yield store


def _task(**changes: Any) -> Task:
    return replace(toy.task(dev=12, test=12), **changes)


def _compared(home: Store, *tasks: Task, lm: Any = None, **choices: Any) -> Comparison:
    chosen = {"methods": METHODS, "n_seeds": 2, **choices}
    settings = {name: SMALL[name] for name in chosen["methods"] if name in SMALL}
    model = lm or toy.model()
    return compare(tasks or (_task(),), model, max_tokens=LIMIT, settings=settings, store=home, **chosen)


def _report(home: Store, name: str | None = None) -> ComparisonReport:
    name = name or home.studies.all("comparison")[0].id
    found = find(home, name)[1]
    assert isinstance(found, ComparisonReport)
    return found


def test_a_finished_comparison_is_reported_as_it_was_returned_without_a_model(home: Store) -> None:
    result = _compared(home, _task(), _task(name="other", fingerprint="other"))
    found = _report(home, result.id[:6])
    assert found.result == result
    assert (found.status, found.state) == ("finished", ())
    assert [each.task for each in found.tasks] == ["toy", "other"]
    assert found.over_tasks is not None
    assert found.headline.startswith("Over all tasks: ")
    plain = json.loads(json.dumps(found.to_json()))
    assert (plain["report"], plain["result"]["comparison"]) == ("comparison", result.id)
    assert [run["run_id"] for run in plain["runs"]] == [run.result.run_id for run in result.runs]
    assert all(f"report {run.run_id}" in run.command for run in found.runs)
    assert result.id in page(plain)


def test_the_shape_is_fixed(home: Store) -> None:
    plain = _report(home, _compared(home).id).to_json()
    assert list(plain) == [
        *("comparison_id", "status", "created", "updated", "headline", "tone", "state", "result", "tasks"),
        *("over_tasks", "runs", "configuration", "commands", "report", "version"),
    ]
    assert list(plain["tasks"][0]) == ["task", "verdict", "seed_score", "pairs", "curves"]
    assert list(plain["tasks"][0]["pairs"][0]) == ["task", "first", "second", "difference", "adjusted_p", "is_shown"]
    names = ["run_id", "task", "method", "seed", "status", "why", "best_so_far", "command"]
    assert list(plain["runs"][0]) == names


def test_the_curve_of_a_run_has_its_area_and_that_of_a_method_their_mean(home: Store) -> None:
    result = _compared(home)
    found = _report(home, result.id)
    for run, reported in zip(result.runs, found.runs, strict=True):
        (start, first), *steps = reported.best_so_far
        assert start == 0
        assert area_under_best_so_far(first, steps, LIMIT) == run.area
    for curve in found.tasks[0].curves:
        row = next(row for row in result.rows if row.method == curve.method)
        assert row.area is not None
        assert area_under_best_so_far(curve.steps[0][1], curve.steps[1:], LIMIT) == pytest.approx(row.area.mean)


def test_a_mean_curve_steps_wherever_one_of_its_curves_does() -> None:
    assert mean_curve([((0, 0.0), (10, 1.0)), ((0, 0.5), (5, 0.0), (5, 1.0))]) == ((0, 0.25), (5, 0.5), (10, 1.0))


def _row(method: str, mean: float, **changes: Any) -> Row:
    like = _LIKE[0]
    return replace(like, method=method, test=replace(like.test, mean=mean, low=None, high=None, n=3), **changes)


_LIKE: list[Row] = []


@pytest.fixture
def runs(home: Store) -> Comparison:
    result = _compared(home)
    _LIKE[:] = result.rows
    return result


def _scored(runs: Comparison, **scores: tuple[float, ...]) -> tuple[list[Row], tuple[Any, ...]]:
    """Rows and pairs of methods whose found prompts have such scores on the test examples, with every seed."""
    n = len(next(iter(scores.values())))
    made = [
        replace(run, result=replace(run.result, method=method), seed_scores=(0.0,) * n, best_scores=each, copies=())
        for method, each in scores.items()
        for run in runs.runs[::2]
    ]
    rows = [_row(method, sum(each) / n) for method, each in scores.items()]
    return rows, pairs_of(rows, made, ["toy"])


def test_a_method_wins_that_is_beyond_chance_ahead_of_every_other(runs: Comparison) -> None:
    rows, pairs = _scored(runs, a=(0.0,) * 40, b=(1.0,) * 20 + (0.0,) * 20, c=(1.0,) * 40)
    assert [(pair.first, pair.second, pair.is_shown) for pair in pairs] == [
        ("a", "b", True),
        ("a", "c", True),
        ("b", "c", True),
    ]
    found = methods_verdict(rows, pairs, 0.0)
    assert found.tone == "good"
    assert (
        found.headline == "c is better than every other method: 1.000 on test, 0.500 ahead of b (p < 0.001 after Holm)"
    )
    assert (
        "On these test examples c is better than a by 1.000 (p < 0.001) and b by 0.500 (p < 0.001); p after Holm."
        in (found.reasons)
    )


def test_a_method_that_one_seed_alone_puts_ahead_has_not_won(runs: Comparison) -> None:
    rows, pairs = _scored(runs, a=(0.0,) * 40, b=(1.0,) * 40)
    rows = [replace(row, test=replace(row.test, n=1)) for row in rows]
    found = methods_verdict(rows, pairs, 0.0)
    assert found.tone == "open"
    assert "in these runs, not for sure with others" in found.headline
    assert "With one seed a method nobody knows how far other seeds would end from these." in found.reasons
    rows, pairs = _scored(runs, a=(0.0,) * 40, b=(1.0,) * 40)
    rows[0] = replace(rows[0], test=replace(rows[0].test, n=1), runs=1)  # its other runs failed
    found = methods_verdict(rows, pairs, 0.0)
    assert found.tone == "open"
    assert "in these runs, not for sure with others" in found.headline
    assert "Other seeds may end in another order: over these b is not clearly ahead." in found.reasons


def test_what_chance_or_noise_explains_is_no_win(runs: Comparison) -> None:
    rows, pairs = _scored(runs, a=(0.0,) * 38 + (1.0,) * 2, b=(0.0,) * 40)
    assert "No method is shown to be better than another: a scores highest (0.050), 0.050 ahead of b, which chance" in (
        methods_verdict(rows, pairs, 0.0).headline
    )
    rows, _ = _scored(runs, a=(0.0,) * 40, b=(1.0,) * 20 + (0.0,) * 20)
    noisy = [replace(row, noise=0.5) for row in rows]
    made = [
        replace(run, result=replace(run.result, method=method), best_scores=scores, copies=())
        for method, scores in (("a", (0.0,) * 40), ("b", (1.0,) * 20 + (0.0,) * 20))
        for run in runs.runs[:1]
    ]
    pairs = pairs_of(noisy, made, ["toy"])
    assert not pairs[0].is_shown
    assert methods_verdict(noisy, pairs, 0.0).headline.endswith("which noise or one answer to everything may explain")


def test_methods_that_score_the_same_are_not_ranked(runs: Comparison) -> None:
    rows, pairs = _scored(runs, a=(1.0, 0.0), b=(0.0, 1.0))
    found = methods_verdict(rows, pairs, 0.0)
    assert found.headline == "No method is better than another: all of them score 0.500 on test"
    assert {row.test.low for row in rows} == {None}
    assert not [each for each in found.reasons if "interval" in each]


def test_a_single_method_is_held_against_the_seed_prompt(home: Store) -> None:
    result = _compared(home, methods=["random"])
    found = _report(home, result.id)
    assert found.headline.startswith("Better prompts were found: the prompts of random have +1.000 on test")
    assert (found.tone, found.tasks[0].pairs, found.over_tasks) == ("good", (), None)


def test_commands_allow_code_where_a_task_needs_it(home: Store, tmp_path: Path) -> None:
    (tmp_path / "judge_of_comparisons.py").write_text("def right(p, t):\n    return float(p in t)\n", encoding="utf-8")
    path = toy.write_task(tmp_path, 8, 12, 12, keys="metric: judge_of_comparisons:right\n")
    of_code = load_task(path, allow_code=True)
    found = _report(home, _compared(home, of_code, _task(), n_seeds=1).id)
    assert found.status == "finished"
    lines = list(found.commands.values())
    assert [" --allow-code" in line for line in lines] == [True, True, False]
    assert not any("MODEL" in line for line in lines)
    lm, diary = toy.model(name="other", answer=toy.failing(KeyboardInterrupt())), toy.Diary()
    with pytest.raises(KeyboardInterrupt):
        compare([of_code, _task()], lm, methods=["manual"], n_seeds=1, max_tokens=LIMIT, store=home, observer=diary)
    assert " --model MODEL --allow-code " in diary.notes[-1]


def test_an_interrupted_comparison_has_its_finished_runs_and_says_so(home: Store) -> None:
    whole = _compared(home)
    first = whole.runs[0].result.run_id
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        connection.execute("UPDATE runs SET status = 'running', result = NULL WHERE id != ?", [first])
    found = _report(home, whole.id)
    assert found.result is not None
    assert [run.result.run_id for run in found.result.runs] == [first]
    assert [run.status for run in found.runs] == ["finished", *["interrupted"] * 3]
    assert found.status == "interrupted"
    assert found.state[0].startswith("The comparison is not finished: 1 of 4 runs are finished")
    assert f"compare --resume {whole.id} --model MODEL " in found.commands["go on with it"]
    assert whole.id in page(found.to_json())
    with home.runs.hold(found.runs[1].run_id):
        held = _report(home, whole.id)
    assert (held.status, held.runs[1].status) == ("running", "running")


def test_before_the_first_run_ends_there_is_no_verdict(home: Store) -> None:
    lm = toy.model(answer=toy.failing(KeyboardInterrupt(), after=10))
    with pytest.raises(KeyboardInterrupt):
        _compared(home, lm=lm)
    found = _report(home)
    assert (found.headline, found.tasks, found.over_tasks) == ("No run is finished yet", (), None)
    assert {run.status for run in found.runs} == {"paused"}
    assert found.comparison_id in page(found.to_json())


def test_a_failed_run_is_named_with_its_error(home: Store) -> None:
    lm = toy.model(answer=toy.failing(ModelError("the engine is gone", ""), after=10))
    result = _compared(home, lm=lm, n_seeds=1)
    found = _report(home, result.id)
    assert {run.status for run in found.runs} == {"failed"}
    assert found.result is not None
    assert [each.error for each in found.result.failures] == ["the engine is gone"] * 2
    assert found.status == "failed"


def test_runs_that_are_gone_or_not_like_the_others_are_left_out_and_named(home: Store) -> None:
    lm = toy.model()
    result = _compared(home, lm=lm)
    _, two, three, _ = [run.result.run_id for run in result.runs]
    home.runs.delete(three)
    resume(two, model=lm, task=_task(), max_tokens=2 * LIMIT, force=True, store=home)
    found = _report(home, result.id)
    assert [run.status for run in found.runs] == ["finished", "left out", "gone", "finished"]
    assert [run.why for run in found.runs[2:]] == ["it was deleted", ""]
    assert "differ in max_tokens" in found.runs[1].why
    assert found.result is not None
    assert len(found.result.runs) == 2


def test_a_first_run_that_is_not_like_the_others_leaves_itself_out_and_none_of_them(home: Store) -> None:
    lm = toy.model()
    result = _compared(home, lm=lm, methods=("random",))
    resume(result.runs[0].result.run_id, model=lm, task=_task(), max_tokens=2 * LIMIT, force=True, store=home)
    found = _report(home, result.id)
    assert [run.run_id for run in found.runs] == [run.result.run_id for run in result.runs]
    assert [run.status for run in found.runs] == ["left out", "finished"]
    assert found.result is not None
    assert (found.result.max_tokens, [run.result.seed for run in found.result.runs]) == (LIMIT, [1])


def test_no_code_of_a_task_is_run(home: Store, tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("def score(prediction, targets):\n    return float(prediction in targets)\n")
    path = toy.write_task(tmp_path, 10, 12, 12, keys="metric: score:score\n")
    result = compare([path], toy.model(), methods=("random",), n_seeds=1, max_tokens=LIMIT, allow_code=True, store=home)
    (tmp_path / "score.py").write_text("raise SystemExit\n")
    found = _report(home, result.id)
    assert found.result is not None
    assert found.result.rows == result.rows


def test_nothing_is_written(home: Store) -> None:
    result = _compared(home)
    before = home.runs.all(), home.studies.all("comparison")
    _report(home, result.id)
    assert (home.runs.all(), home.studies.all("comparison")) == before
