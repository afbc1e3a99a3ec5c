"""What the runs of a comparison say together, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localprompt.comparison import table as comparison
from localprompt.comparison.table import ComparedRun, Comparison, FailedRun, MethodSettings, Row
from localprompt.run.results import HeldOutScores, NoiseFloor, RunResult
from localprompt.stats.intervals import interval, paired_difference
from localprompt.stats.seeds import over_seeds
from localprompt.types import Prompt, Spend


def finished(task: str, method: str, seed: int, best: list[float], **changes: object) -> ComparedRun:
    before = [0.0] * len(best)
    test = HeldOutScores(interval(before), interval(best), paired_difference(before, best), 0, 0)
    result = RunResult(
        run_id=f"{task}{method}{seed}",
        status="finished",
        task=task,
        model="m",
        proposer="m",
        method=method,
        seed=seed,
        seed_prompt=Prompt(""),
        best=Prompt("=Do it."),
        op="forward",
        dev=None,
        test=test,
        noise=None,
        spend=Spend(tokens_requested=100 * (seed + 1), calls=10, seconds=2.0, answers=10, answers_cached=4),
        expected=None,
        discards={"empty": 3, "long": 1},
        stopped="",
        notes=(),
    )
    run = ComparedRun(result=result, seed_scores=tuple(before), best_scores=tuple(best), area=0.5, proposals=16)
    return replace(run, **changes)  # type: ignore[arg-type]


def rows_of(given: list[ComparedRun]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The rows where every task has a run."""
    return comparison.rows_of(given, list(dict.fromkeys(run.result.task for run in given)))


def test_a_row_is_the_mean_of_its_runs() -> None:
    ((row,), over_tasks) = rows_of(
        [finished("t", "ape", 0, [1, 1, 0, 0]), finished("t", "ape", 1, [1, 1, 1, 0], area=0.7)]
    )
    assert (row.task, row.method, row.test) == ("t", "ape", over_seeds([0.5, 0.75]))
    assert row.area == over_seeds([0.5, 0.7])
    assert (row.tokens_requested, row.calls, row.seconds) == (150, 10, 2.0)
    assert (row.hit_rate, row.discard_rate) == (0.4, 0.25)
    assert over_tasks == ()


def test_an_example_is_one_observation_however_many_seeds_there_are() -> None:
    one = [finished("t", "ape", 0, [1, 1, 1, 0])]
    three = [finished("t", "ape", seed, [1, 1, 1, 0]) for seed in range(3)]
    ((alone,), _), ((together,), _) = rows_of(one), rows_of(three)
    assert together.from_seed == alone.from_seed == paired_difference([0, 0, 0, 0], [1, 1, 1, 0])
    assert (together.from_seed.n, together.test.n) == (4, 3)


def test_every_method_is_compared_with_random_on_the_same_examples() -> None:
    given = [
        finished("t", "ape", 0, [1, 1, 0, 0]),
        finished("t", "random", 0, [1, 0, 0, 0]),
        finished("t", "random", 1, [0, 0, 1, 0]),
    ]
    ape, baseline = rows_of(given)[0]
    assert ape.from_random == paired_difference([0.5, 0, 0.5, 0], [1, 1, 0, 0])
    assert baseline.from_random is None
    assert rows_of(given[:1])[0][0].from_random is None


def test_a_row_has_the_largest_noise_floor_of_the_runs_that_it_compares() -> None:
    def noisy(method: str, seed: int, floor: float | None) -> ComparedRun:
        run = finished("t", method, seed, [1, 0])
        noise = None if floor is None else NoiseFloor(floor, 1, 100)
        return replace(run, result=replace(run.result, noise=noise))

    given = [noisy("ape", 0, 0.01), noisy("ape", 1, None), noisy("opro", 0, None), noisy("random", 0, 0.02)]
    assert [row.noise for row in rows_of(given)[0]] == [0.02, 0.02, 0.02]
    assert [row.noise for row in rows_of(given[:3])[0]] == [0.01, None]


def test_tasks_have_equal_weight_however_many_examples_they_have() -> None:
    given = [finished("small", "ape", 0, [1.0]), finished("large", "ape", 0, [0.0, 0.0, 1.0, 0.0])]
    rows, (over,) = rows_of(given)
    assert [row.task for row in rows] == ["small", "large"]
    assert (over.task, over.test.mean, over.test.n) == (None, 0.625, 1)
    assert over.from_seed.mean == pytest.approx(0.625)


def test_only_seeds_that_ended_on_every_task_count_over_all_tasks() -> None:
    given = [
        finished("a", "ape", 0, [1.0]),
        finished("a", "ape", 1, [0.0]),
        finished("b", "ape", 1, [1.0]),
        finished("b", "random", 0, [1.0]),
    ]
    rows, over_tasks = rows_of(given)
    assert [(row.task, row.method, row.test.n) for row in rows] == [
        ("a", "ape", 2),
        ("b", "ape", 1),
        ("b", "random", 1),
    ]
    assert [(row.method, row.test.mean, row.test.n) for row in over_tasks] == [("ape", 0.5, 1)]


def test_a_task_on_which_no_run_ended_is_not_left_out_over_all_tasks() -> None:
    given = [finished(task, method, 0, [1.0]) for task in ("a", "b") for method in ("ape", "random")]
    assert [row.method for row in comparison.rows_of(given, ["a", "b"])[1]] == ["ape", "random"]
    rows, over_tasks = comparison.rows_of(given, ["a", "b", "c"])
    assert [(row.task, row.method) for row in rows] == [(run.result.task, run.result.method) for run in given]
    assert over_tasks == ()
    ape = [*given, finished("c", "ape", 0, [1.0])]
    (over,) = comparison.rows_of(ape, ["a", "b", "c"])[1]
    assert (over.method, over.runs, over.from_random) == ("ape", 3, None)


def test_a_run_without_an_area_leaves_the_others_theirs() -> None:
    given = [finished("t", "ape", 0, [1.0]), finished("t", "ape", 1, [1.0], area=None)]
    ((row,), _) = rows_of(given)
    assert row.area == over_seeds([0.5])
    assert rows_of(given[1:])[0][0].area is None


def test_a_row_of_csv_is_no_formula() -> None:
    given = [finished("t", "ape", 0, [1.0, 0.0])]
    rows, over = rows_of(given)
    methods = {"ape": MethodSettings("local", {"queries": 4}, {"queries": 4, "per_query": 6})}
    (row,) = Comparison("c", "m", "m", 100, None, methods, tuple(given), (), rows, over).runs_to_csv()
    assert (row["preset"], row["changed"], row["discards"]) == ("local", '{"queries": 4}', '{"empty": 3, "long": 1}')
    assert (row["instruction"], row["test"], row["proposals"], row["discarded"]) == ('"=Do it."', 0.5, 16, 4)


def test_the_table_is_a_spreadsheet_with_intervals_differences_and_discards() -> None:
    given = [
        *(finished(task, "ape", seed, [1.0, 0.0, seed]) for task in ("s", "t") for seed in (0, 1)),
        *(finished(task, "random", 0, [0.0, 1.0, 0.0], proposals=0, area=None) for task in ("s", "t")),
    ]
    failures = (FailedRun("r", "t", "random", 1, "it broke", "mend it"),)
    methods = {method: MethodSettings("paper", {}, {}) for method in ("ape", "random")}
    table = Comparison("c", "m", "w", 100, 9, methods, tuple(given), failures, *rows_of(given))
    lines = table.to_csv()
    assert [(line["task"], line["method"], line["runs"], line["failed"]) for line in lines] == [
        ("s", "ape", 2, 0),
        ("s", "random", 1, 0),
        ("t", "ape", 2, 0),
        ("t", "random", 1, 1),
        (None, "ape", 4, 0),
        (None, "random", 2, 1),
    ]
    assert [row.runs for row in table.over_tasks] == [4, 2]
    ape, baseline = lines[:2]
    over = over_seeds([1 / 3, 2 / 3])
    assert (ape["test"], ape["test_low"], ape["test_high"]) == (over.mean, over.low, over.high)
    from_random = paired_difference([0.0, 1.0, 0.0], [1.0, 0.0, 0.5])
    assert (ape["from_random"], ape["from_random_p"]) == (from_random.mean, from_random.p)
    assert (ape["proposals"], ape["discarded"], ape["discard_rate"]) == (32, 8, 0.25)
    assert ape["discards"] == '{"empty": 6, "long": 2}'
    assert (ape["preset"], ape["proposer"], ape["max_tokens"], ape["max_calls"]) == ("paper", "w", 100, 9)
    assert (baseline["from_random"], baseline["area_low"], baseline["discard_rate"]) == (None, None, 0.0)
    assert {frozenset(line) for line in lines} == {frozenset(ape)}
    plain = table.to_json()
    assert (plain["rows"][0]["discards"], plain["rows"][0]["discard_rate"]) == ({"empty": 6, "long": 2}, 0.25)
    assert plain["methods"]["ape"] == {"preset": "paper", "changed": {}, "settings": {}}
