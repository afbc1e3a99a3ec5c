"""What a report says of a comparison, in a fixed shape. Level 9. docs/comparing.md has every name."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Literal

from localprompt.comparison.known import KnownComparison, KnownRun, known_comparison
from localprompt.comparison.plan import needed_options
from localprompt.comparison.table import ComparedRun, Comparison, MethodPair, Row, pairs_of
from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.interface.version import __version__
from localprompt.reports.comparison_verdict import MethodsVerdict, methods_verdict
from localprompt.run.config import RunConfig
from localprompt.search.observer import pluralize
from localprompt.store import Store, Study
from localprompt.store.plain import PlainRecord

Steps = tuple[tuple[int, float], ...]
"""(tokens, score from there on)."""


@dataclass(frozen=True, slots=True)
class MethodCurve:
    """The best-so-far score of a method: the mean of its runs."""

    method: str
    runs: int
    """That have such a score."""
    steps: Steps


@dataclass(frozen=True, slots=True)
class ComparedTask:
    """One task of a comparison, or all of them together."""

    task: str | None
    """None: all tasks together."""
    verdict: MethodsVerdict
    seed_score: float
    """Of the seed prompt on test, the mean of the runs; over all tasks their mean."""
    pairs: tuple[MethodPair, ...]
    curves: tuple[MethodCurve, ...]
    """One a method; none over all tasks."""


@dataclass(frozen=True, slots=True)
class ReportedRun(KnownRun):
    """A run of a comparison, however far it is, with its curve."""

    best_so_far: Steps
    """Tokens of the search, and the score of its best prompt on all of dev; empty where that is not known."""
    command: str
    """That makes its page."""


@dataclass(frozen=True, slots=True)
class ComparisonReport(PlainRecord):
    """All that a report says of a comparison."""

    comparison_id: str
    status: str
    """finished: all of its runs are; else running, interrupted, paused, failed, gone, damaged or left out."""
    created: float
    """Seconds since 1970, as `updated`."""
    updated: float
    headline: str
    tone: str
    """good, bad or open, as in the verdicts."""
    state: tuple[str, ...]
    """Why it is not simply finished, in sentences; empty where it is."""
    result: Comparison | None
    """What the finished runs say; None where no run can be read."""
    tasks: tuple[ComparedTask, ...]
    """Those with a finished run."""
    over_tasks: ComparedTask | None
    """None for one task, and where no method has a seed that is finished on every task."""
    runs: tuple[ReportedRun, ...]
    """All of them, in their order."""
    configuration: Mapping[str, Any]
    """What all runs share: versions, fingerprints, machine, by name."""
    commands: Mapping[str, str]
    """What can be done next, and the command that does it."""
    kind: Literal["comparison"] = field(default="comparison", metadata={"key": "report"})
    version: str = __version__
    """Of localprompt, that made the report."""


def comparison_report(home: Store, study: Study) -> ComparisonReport:
    """Return the report of a comparison; where it is not finished, of the runs that are.

    Raises:
        StoreError: if the store cannot be read.
    """
    known, configs = known_comparison(home, study), _configs(home, study)
    found = known.comparison
    by_id = {run.result.run_id: run for run in found.runs} if found else {}
    tasks = tuple(_tasks(found)) if found else ()
    over = _over_tasks(found) if found else None
    headline, tone = _headline(tasks, over)
    return ComparisonReport(
        comparison_id=study.id,
        status=known.status,
        created=study.created,
        updated=study.updated,
        headline=headline,
        tone=tone,
        state=tuple(_state(known)),
        result=found,
        tasks=tasks,
        over_tasks=over,
        runs=tuple(_run(each, by_id.get(each.run_id), home) for each in known.runs),
        configuration=_configuration(configs[0]) if configs else {},
        commands=_commands(home, study, known, configs),
    )


def mean_curve(curves: Sequence[Steps]) -> Steps:
    """Return the mean of step functions, with a step wherever one of them has one.

    Args:
        curves: each with its first step at 0 and at the latest steps of equal tokens; one or more.
    """
    places = sorted({tokens for curve in curves for tokens, _ in curve})
    starts = [[tokens for tokens, _ in curve] for curve in curves]

    def at(tokens: int) -> float:
        scores = (curve[bisect_right(own, tokens) - 1][1] for curve, own in zip(curves, starts, strict=True))
        return math.fsum(scores) / len(curves)

    return tuple((tokens, at(tokens)) for tokens in places)


def _tasks(found: Comparison) -> Iterator[ComparedTask]:
    for task in dict.fromkeys(row.task for row in found.rows):
        assert task is not None
        rows = [row for row in found.rows if row.task == task]
        runs = [run for run in found.runs if run.result.task == task]
        curves = {
            row.method: [run.best_so_far for run in runs if run.result.method == row.method and run.best_so_far]
            for row in rows
        }
        drawn = (MethodCurve(method, len(each), mean_curve(each)) for method, each in curves.items() if each)
        yield _compared(task, rows, found.runs, [task], tuple(drawn))


def _over_tasks(found: Comparison) -> ComparedTask | None:
    tasks = [task for task in dict.fromkeys(row.task for row in found.rows) if task is not None]
    return _compared(None, found.over_tasks, found.runs, tasks, ()) if found.over_tasks else None


def _compared(
    task: str | None, rows: Sequence[Row], runs: Sequence[ComparedRun], tasks: Sequence[str], curves: tuple[Any, ...]
) -> ComparedTask:
    pairs = pairs_of(rows, runs, tasks)
    seed = fmean([fmean([fmean(run.seed_scores) for run in runs if run.result.task == each]) for each in tasks])
    return ComparedTask(task, methods_verdict(rows, pairs, seed), seed, pairs, curves)


def _headline(tasks: Sequence[ComparedTask], over: ComparedTask | None) -> tuple[str, str]:
    if not tasks:
        return "No run is finished yet", "open"
    if over is not None:
        return f"Over all tasks: {_within(over.verdict.headline)}", over.verdict.tone
    if len(tasks) == 1:
        return tasks[0].verdict.headline, tasks[0].verdict.tone
    return "No method has finished a seed on every task, so there is no verdict over all tasks yet", "open"


def _within(sentence: str) -> str:
    """Return a sentence as a part of another one; names keep their case."""
    first, _, rest = sentence.partition(" ")
    return f"{first.lower() if first in ('No', 'Better', 'Worse') else first} {rest}"


def _state(known: KnownComparison) -> Iterator[str]:
    n_done = sum(each.status == "finished" for each in known.runs)
    if n_done == len(known.runs):
        return
    whole = "The comparison goes on" if known.status == "running" else "The comparison is not finished"
    yield f"{whole}: {n_done} of {pluralize(len(known.runs), 'run')} are finished, and what is shown is of these alone."
    for status in dict.fromkeys(each.status for each in known.runs if each.status != "finished"):
        some = [each for each in known.runs if each.status == status]
        verb = "" if status == "failed" else "is " if len(some) == 1 else "are "
        yield f"{pluralize(len(some), 'run')} {verb}{status}."


def _run(known: KnownRun, done: ComparedRun | None, home: Store) -> ReportedRun:
    page = _line("report", known.run_id, home=home)
    steps = done.best_so_far if done else ()
    return ReportedRun(**asdict(known), best_so_far=steps, command=page)


def _commands(home: Store, study: Study, known: KnownComparison, configs: Sequence[RunConfig]) -> dict[str, str]:
    is_done, options = known.status == "finished", needed_options(configs)
    if is_done:  # without a model
        options = [word for word in options if word == "--allow-code"]
    again = ("compare", "--resume", study.id, *options)
    return {
        "show the tables on a terminal" if is_done else "go on with it": _line(*again, home=home),
        "write the tables and the runs as spreadsheets": _line(
            *again, "--csv", "TABLE.csv", "--csv-runs", "RUNS.csv", home=home
        ),
        "print everything as JSON": _line("report", study.id, "--json", home=home),
    }


def _line(*words: str, home: Store) -> str:
    return command(*words, store=home.path).strip("`")


def _configs(home: Store, study: Study) -> list[RunConfig]:
    """Return how the runs were set up, those that can be read."""
    found = list[RunConfig]()
    for run_id in study.runs:
        with suppress(StoreError):
            found.append(RunConfig.read(home.runs.get(run_id).configuration))
    return found


def _configuration(config: RunConfig) -> dict[str, Any]:
    """Return what a run has as all others have it."""
    models = {
        role: {"fingerprint": each.fingerprint, "came from": getattr(config.sources, role) or "loaded"}
        for role, each in config.roles.items()
    }
    program = {"localprompt": config.version, "machine": dict(config.machine)}
    return {**program, "model": None, "proposer": None, **models, "answers are shared": config.use_cache}
