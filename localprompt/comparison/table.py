"""What the runs of a comparison say together: a row per method, on each task and over all of them. Level 8."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

from localprompt.run.results import RunResult, is_significant
from localprompt.stats.equality import holm
from localprompt.stats.intervals import Difference, paired_difference
from localprompt.stats.seeds import OverSeeds, over_seeds
from localprompt.store.plain import plain

Flat = dict[str, str | int | float | None]
"""A line of a spreadsheet, by column."""

_ROUNDING = 1e-9

BASELINE = "random"
"""The method that every other one is compared with: it proposes without learning from scores."""


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One finished run and what the comparison needs of it beside its result."""

    result: RunResult
    seed_scores: tuple[float, ...]
    """Of the seed prompt on each test example, in the order of the test split."""
    best_scores: tuple[float, ...]
    """Of the found prompt on the same examples."""
    area: float | None
    """Under the best-so-far score on dev over the token budget.

    None where it cannot be known: the seed prompt was not scored on all of dev, or answers were lost since.
    """
    proposals: int
    """Proposed prompts, used or not; the seed prompts are none."""
    copies: tuple[int, ...] = ()
    """Of each test example a number, which copies of an example share. Empty where there are none."""
    best_so_far: tuple[tuple[int, float], ...] = ()
    """What the area is under: tokens, and the score on all of dev from there on. Empty where there is no area."""

    @property
    def discarded(self) -> int:
        """Proposals that were not used."""
        return sum(self.result.discards.values())


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that did not end; resuming the comparison tries it again."""

    run_id: str
    task: str
    method: str
    seed: int
    error: str
    hint: str


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """How a method was configured, in every run of a comparison."""

    preset: str
    """The one that it is nearest to."""
    changed: Mapping[str, Any]
    """Settings that differ from the preset, by name; of files their names."""
    settings: Mapping[str, Any]
    """All of them, by name; files with their text."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one task, or over all tasks."""

    task: str | None
    """None: over all tasks, each with equal weight; of seeds with which the method ended on every task."""
    method: str
    runs: int
    """That count; over all tasks that is one a seed and task."""
    test: OverSeeds
    """Score of the found prompt on test, a value a seed."""
    from_seed: Difference
    """Found less seed prompt, paired over test examples; an example's score is its mean over the runs."""
    from_random: Difference | None
    """The same of the prompts that `random` found; None for `random` itself and where it has no run."""
    noise: float | None
    """Largest noise floor of the runs behind both differences: smaller ones say nothing. None where none was measured.
    """
    area: OverSeeds | None
    """Under the best-so-far score on dev, a value a seed that has one."""
    tokens_requested: float
    tokens_computed: float
    """Mean of a run, as `calls` and `seconds`."""
    calls: float
    seconds: float
    hit_rate: float
    """Share of the answers that were known already, of this run or another one."""
    proposals: int
    """Of all runs, used or not."""
    discards: Mapping[str, int]
    """Reason to number of proposals that were not used, of all runs, most frequent first."""
    constant: float | None = None
    """What always giving one answer would score on test; None where no answer is frequent."""

    @property
    def discarded(self) -> int:
        """Proposals that were not used, of all runs."""
        return sum(self.discards.values())

    def is_shown(self, difference: Difference) -> bool:
        """Return whether a difference of this row says something.

        Neither chance nor noise explains it, and if it is a gain, one answer to everything would not score as much.
        """
        is_constant = self.constant is not None and self.test.mean <= self.constant + _ROUNDING
        return is_significant(difference, self.noise or 0.0) and not (difference.mean > 0 and is_constant)

    @property
    def discard_rate(self) -> float:
        """Share of the proposals that were not used; 0.0 where there were none."""
        return self.discarded / self.proposals if self.proposals else 0.0


@dataclass(frozen=True, slots=True)
class MethodPair:
    """Two methods on one task, or over all tasks."""

    task: str | None
    """None: over all tasks, as in `Row`."""
    first: str
    second: str
    difference: Difference
    """Of the prompts that `second` found less those of `first`, as `Row.from_random`."""
    adjusted_p: float
    """After Holm, for all pairs of the task."""
    is_shown: bool
    """Neither chance nor noise explains it, and it is no gain to a score that one answer to everything would have."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several methods on several tasks, with the same budget, seed prompts and splits."""

    id: str = field(metadata={"key": "comparison"})
    """12 hexadecimal digits; the same runs make the same comparison."""
    model: str
    proposer: str
    max_tokens: int
    max_calls: int | None
    methods: Mapping[str, MethodSettings]
    """By name, in the order of the runs."""
    runs: tuple[ComparedRun, ...]
    failures: tuple[FailedRun, ...]
    rows: tuple[Row, ...]
    """A row per task and method, in the order of the runs."""
    over_tasks: tuple[Row, ...]
    """A row a method that has a run on each task; empty where there is one task."""
    notes: tuple[str, ...] = ()
    """What is doubtful about the tasks, each sentence behind the name of its task."""

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        runs = [
            {**run.result.to_json(), "area": run.area, "proposals": run.proposals, "discarded": run.discarded}
            for run in self.runs
        ]
        rows, over_tasks = ([_plain(row) for row in rows] for rows in (self.rows, self.over_tasks))
        return {**plain(self), "runs": runs, "rows": rows, "over_tasks": over_tasks}

    def to_csv(self) -> list[Flat]:
        """Return one flat record a row, all with the same keys.

        First those of each task, then those over all tasks, which name no task, then methods of which every run on a
        task failed.
        """
        rows = [(row.task, row.method, row) for row in (*self.rows, *self.over_tasks)]
        known = {(row.task, row.method) for row in self.rows}
        lost = dict.fromkeys(
            (each.task, each.method) for each in self.failures if (each.task, each.method) not in known
        )
        return [self._flat_row(*each) for each in (*rows, *((task, method, None) for task, method in lost))]

    def runs_to_csv(self) -> list[Flat]:
        """Return one flat record a run, failed ones last, all with the same keys.

        The instruction is written as JSON: a spreadsheet takes what stands in quotation marks for text, and never for
        a formula.
        """
        done = [_flat(run) for run in self.runs]
        failed: list[Flat] = [{**asdict(failure), "status": "failed"} for failure in self.failures]
        columns = {**dict.fromkeys(RUN_COLUMNS), "comparison": self.id, "model": self.model, "proposer": self.proposer}
        return [{**columns, **self._settings(str(row["method"])), **row} for row in (*done, *failed)]

    def _flat_row(self, task: str | None, method: str, row: Row | None) -> Flat:
        failed = sum(each.method == method and task in (None, each.task) for each in self.failures)
        return {
            **{"comparison": self.id, "task": task, "method": method, **self._settings(method)},
            **{"model": self.model, "proposer": self.proposer},
            **{"max_tokens": self.max_tokens, "max_calls": self.max_calls},
            **{"runs": row.runs if row else 0, "failed": failed},
            **_parts(row, "test"),
            **_parts(row, "from_seed", "p"),
            **_parts(row, "from_random", "p"),
            **_parts(row, "area"),
            **{name: getattr(row, name, None) for name in _MEANS},
            "discards": json.dumps(row.discards) if row else None,
        }

    def _settings(self, method: str) -> Flat:
        settings = self.methods[method]
        return {"preset": settings.preset, "changed": json.dumps(settings.changed)}


_MEANS = (
    *("noise", "constant", "tokens_requested", "tokens_computed", "calls", "seconds", "hit_rate"),
    *("proposals", "discarded", "discard_rate"),
)
RUN_COLUMNS = (
    *("comparison", "task", "method", "preset", "changed", "model", "proposer", "seed", "run_id", "status"),
    *("error", "hint"),
    *("dev", "test", "test_of_seed_prompt", "difference", "p", "area"),
    *("tokens_requested", "tokens_computed", "tokens_decoded", "calls", "seconds", "answers", "answers_cached"),
    *("proposals", "discarded", "discards", "stopped", "op", "demos", "instruction"),
)


def rows_of(runs: Sequence[ComparedRun], tasks: Sequence[str]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Return the rows of each task, and those over all tasks, in the order in which tasks and methods come.

    Args:
        runs: those that ended.
        tasks: all that are compared on, also those on which no run ended: no row over all tasks may leave one out.
    """
    methods = dict.fromkeys(run.result.method for run in runs)
    by_task = (_row([task], method, runs) for task in tasks for method in methods)
    over = (_row(tasks, method, runs) for method in methods) if len(tasks) > 1 else ()
    return tuple(row for row in by_task if row), tuple(row for row in over if row)


def pairs_of(rows: Sequence[Row], runs: Sequence[ComparedRun], tasks: Sequence[str]) -> tuple[MethodPair, ...]:
    """Return how each two methods differ; of each pair that one is first that scores less.

    Args:
        rows: of the methods, on one task or over all tasks.
        runs: those that ended.
        tasks: those of the rows.
    """
    ordered = sorted(rows, key=lambda row: row.test.mean)
    places = list(itertools.combinations(ordered, 2))
    found = [_difference(tasks, low.method, high.method, runs) for low, high in places]
    adjusted = holm([each.p for each in found])
    return tuple(
        MethodPair(
            high.task,
            low.method,
            high.method,
            difference,
            p,
            replace(high, noise=max(low.noise or 0.0, high.noise or 0.0)).is_shown(replace(difference, p=p)),
        )
        for (low, high), difference, p in zip(places, found, adjusted, strict=True)
    )


def _difference(tasks: Sequence[str], first: str, second: str, runs: Sequence[ComparedRun]) -> Difference:
    before, after = (_paired(tasks, method, runs) for method in (first, second))
    scores = [_by_example(each, "best_scores") for each in (before, after)]
    return paired_difference(scores[0], scores[1], _copies(after), _weights(after))


def _row(tasks: Sequence[str], method: str, runs: Sequence[ComparedRun]) -> Row | None:
    found = _paired(tasks, method, runs)
    if not found:
        return None
    mine = [run for group in found.values() for run in group]
    baseline = {} if method == BASELINE else _paired(tasks, BASELINE, runs)
    best, seed = _by_example(found, "best_scores"), _by_example(found, "seed_scores")
    areas = [[run.area for run in group if run.area is not None] for group in found.values()]
    areas = [each for each in areas if len(each) == len(tasks)]
    compared = [*mine, *(run for group in baseline.values() for run in group)]
    floors = [run.result.noise.floor for run in compared if run.result.noise]
    answers, discards = sum(run.result.spend.answers for run in mine), Counter[str]()
    for run in mine:
        discards.update(run.result.discards)
    return Row(
        task=tasks[0] if len(tasks) == 1 else None,
        method=method,
        runs=len(mine),
        test=over_seeds([fmean([fmean(run.best_scores) for run in group]) for group in found.values()]),
        from_seed=paired_difference(seed, best, _copies(found), _weights(found)),
        from_random=_difference(tasks, BASELINE, method, runs) if baseline else None,
        noise=max(floors, default=None),
        constant=_constant(found),
        area=over_seeds([fmean(each) for each in areas]) if areas else None,
        tokens_requested=fmean([run.result.spend.tokens_requested for run in mine]),
        tokens_computed=fmean([run.result.spend.tokens_computed for run in mine]),
        calls=fmean([run.result.spend.calls for run in mine]),
        seconds=fmean([run.result.spend.seconds for run in mine]),
        hit_rate=sum(run.result.spend.answers_cached for run in mine) / answers if answers else 0.0,
        proposals=sum(run.proposals for run in mine),
        discards=dict(discards.most_common()),
    )


def _paired(tasks: Sequence[str], method: str, runs: Sequence[ComparedRun]) -> Mapping[int, Sequence[ComparedRun]]:
    """Return seed to the method's runs with it, one a task in their order; only seeds with a run on each task."""
    found = {
        (run.result.seed, run.result.task): run
        for run in runs
        if run.result.method == method and run.result.task in tasks
    }
    seeds = dict.fromkeys(seed for seed, _ in found)
    groups = {seed: [found[seed, task] for task in tasks if (seed, task) in found] for seed in seeds}
    return {seed: group for seed, group in groups.items() if len(group) == len(tasks)}


def _by_example(groups: Mapping[int, Sequence[ComparedRun]], scores: str) -> list[float]:
    """Return each test example's mean score over the seeds, tasks one behind the other.

    Averaging over seeds first keeps an example one observation: seeds that find the same prompt are no further
    evidence.
    """
    return [
        fmean(column)
        for same_task in zip(*groups.values(), strict=True)
        for column in zip(*(getattr(run, scores) for run in same_task), strict=True)
    ]


def _constant(groups: Mapping[int, Sequence[ComparedRun]]) -> float | None:
    """Return the mean over tasks of what one answer to everything would score; None where it is known of no task."""
    tests = [run.result.test for run in next(iter(groups.values()))]
    scores = [test.constant.score if test and test.constant else None for test in tests]
    return None if set(scores) == {None} else fmean([score or 0.0 for score in scores])


def _weights(groups: Mapping[int, Sequence[ComparedRun]]) -> list[float]:
    """Return the weight of each such example: so each task has the same weight, however many examples it has."""
    sizes = [len(run.best_scores) for run in next(iter(groups.values()))]
    return [sum(sizes) / (len(sizes) * size) for size in sizes for _ in range(size)]


def _copies(groups: Mapping[int, Sequence[ComparedRun]]) -> list[int]:
    """Return the numbers of such examples: those with the same one are copies of each other."""
    numbers: dict[tuple[int, int], int] = {}
    runs = next(iter(groups.values()))
    return [
        numbers.setdefault((place, number), len(numbers))
        for place, run in enumerate(runs)
        for number in run.copies or range(len(run.best_scores))
    ]


def _plain(row: Row) -> dict[str, Any]:
    return {**asdict(row), "discarded": row.discarded, "discard_rate": row.discard_rate}


def _parts(row: Row | None, name: str, *more: str) -> Flat:
    """Return a mean of a row, its interval and what `more` names as columns; empty where the row has no such mean."""
    value = getattr(row, name, None)
    parts: Flat = {f"{name}_{part}": getattr(value, part, None) for part in ("low", "high", *more)}
    return {name: getattr(value, "mean", None), **parts}


def _flat(run: ComparedRun) -> Flat:
    result, test = run.result, run.result.test
    return {
        **{name: getattr(result, name) for name in ("task", "method", "seed", "run_id", "status", "stopped", "op")},
        "dev": result.dev.mean if result.dev else None,
        "test": test.best.mean if test else None,
        "test_of_seed_prompt": test.seed.mean if test else None,
        "difference": test.difference.mean if test else None,
        "p": test.difference.p if test else None,
        "area": run.area,
        **asdict(result.spend),
        "proposals": run.proposals,
        "discarded": run.discarded,
        "discards": json.dumps(result.discards),
        "demos": len(result.best.demos),
        "instruction": json.dumps(result.best.instruction),
    }
