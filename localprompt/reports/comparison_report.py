"""What a report says of a comparison, in a fixed shape. Level 9. docs/comparing.md has every name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from localprompt.comparison.execute import curve_of
from localprompt.comparison.plan import PlannedRun, stored_comparison
from localprompt.comparison.table import BASELINE, Comparison, Row
from localprompt.errors import LocalPromptError
from localprompt.interface.advice import command
from localprompt.interface.rounding import p_text, score_text
from localprompt.interface.version import __version__
from localprompt.run.config import RunConfig
from localprompt.store import Store, Study
from localprompt.store.plain import plain
from localprompt.tasks.stored import from_plain, without_functions


@dataclass(frozen=True, slots=True)
class ReportedCurve:
    """The dev score of the best prompt so far of one run; each prompt counts with its mean over all of dev."""

    run_id: str
    task: str
    method: str
    seed: int
    start: float
    """Of the seed prompt."""
    steps: tuple[tuple[float, ...], ...]
    """Tokens until then and the score from then on."""
    limit: int
    """Tokens that the search was allowed."""


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run without a result that takes part."""

    run_id: str
    task: str
    method: str
    seed: int
    status: str
    stopped: str
    """Why it ended early; empty where it did not."""


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """All that a report says of a comparison."""

    comparison_id: str
    status: str
    created: float
    """Seconds since 1970, as `updated`."""
    updated: float
    headline: str
    """What it shows, in a sentence or two."""
    result: Comparison | None
    """Of the runs that are finished; None where none is, or something of it cannot be read."""
    curves: tuple[ReportedCurve, ...]
    unfinished: tuple[UnfinishedRun, ...]
    damage: tuple[str, ...]
    """What cannot be read."""
    configuration: Mapping[str, Any]
    """Versions, fingerprints and machine of the first run, by name."""
    command: str
    """That goes on with it."""
    kind: Literal["comparison"] = field(default="comparison", metadata={"key": "report"})
    version: str = __version__
    """Of localprompt, that made the report."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        found: dict[str, Any] = plain(self)
        return {**found, "result": None if self.result is None else self.result.to_json()}


def comparison_report(store: Store, study: Study) -> ComparisonReport:
    """Return the report of a comparison; what of it cannot be read is said in it."""
    found, left, curves, damage = None, list[PlannedRun](), tuple[ReportedCurve, ...](), ""
    configuration: Mapping[str, Any] = {}
    try:
        result, left = stored_comparison(store, study)
        curves = tuple(_curves(store, result))
        found = result if result.runs else None
        configuration = _configuration(store, study)
    except LocalPromptError as error:
        damage = error.message
    return ComparisonReport(
        comparison_id=study.id,
        status=study.status,
        created=study.created,
        updated=study.updated,
        headline=_headline(found, len(left)),
        result=found,
        curves=curves,
        unfinished=tuple(_unfinished(each) for each in left),
        damage=(damage,) if damage else (),
        configuration=configuration,
        command=command("compare", "--resume", study.id, store=store.path).strip("`"),
    )


def _curves(store: Store, found: Comparison) -> Sequence[ReportedCurve]:
    curves = list[ReportedCurve]()
    for result in (run.result for run in found.runs):
        record = store.runs.get(result.run_id)
        task = from_plain(without_functions(record.configuration["task"]))
        if curve := curve_of(store, task, record, result):
            place = result.run_id, result.task, result.method, result.seed
            curves.append(ReportedCurve(*place, curve.start, tuple(curve.steps), curve.limit))
    return curves


def _unfinished(planned: PlannedRun) -> UnfinishedRun:
    record = planned.record
    return UnfinishedRun(record.id, planned.task.name, record.method, record.seed, record.status, record.stopped)


def _configuration(store: Store, study: Study) -> dict[str, Any]:
    config = RunConfig.read(store.runs.get(study.runs[0]).configuration)
    return {
        "version": config.version,
        "machine": dict(config.machine),
        "model": {"name": config.model.name, "fingerprint": config.model.fingerprint},
        "proposer": None
        if config.proposer is None
        else {"name": config.proposer.name, "fingerprint": config.proposer.fingerprint},
    }


def _headline(found: Comparison | None, n_left: int) -> str:
    """Return what the rows show: whether the best method is ahead of the seed prompt, and of the baseline."""
    waiting = f" {n_left} of the runs are not finished." if n_left else ""
    if found is None:
        return f"Nothing can be compared yet.{waiting}"
    rows = found.over_tasks or found.rows
    tasks = {row.task for row in found.rows}
    if not found.over_tasks and len(tasks) > 1:
        return f"No method has ended on all of the tasks yet.{waiting}"
    best = max(rows, key=lambda row: row.test.mean)
    where = "over all tasks" if best.task is None else f"on {best.task}"
    seed, score = best.from_seed, score_text(best.test.mean)
    by = f"{score_text(seed.mean, sign='+')} compared with the seed prompt ({p_text(seed.p)})"
    if not (best.is_shown(seed) and seed.mean > 0):
        text = f"No method is shown to be better than the seed prompt {where}"
        return (
            f"{text}: {best.method} scores highest on test with {score}, {by}, which chance alone may explain.{waiting}"
        )
    text = f"{best.method} scores highest on test {where} with {score}, {by}, more than chance explains."
    return f"{text} {_beside_baseline(best)}{waiting}"


def _beside_baseline(best: Row) -> str:
    """Return whether the best method is shown to be better than one that learns from no score."""
    if best.method == BASELINE:
        return "It is the baseline, which learns from no score: no method is shown to be better than that."
    if best.from_random is None:
        return f"Without a run of {BASELINE}, which learns from no score, nobody can say what its feedback was worth."
    random = best.from_random
    against = f"It is {score_text(random.mean, sign='+')} compared with {BASELINE} ({p_text(random.p)})"
    if best.is_shown(random) and random.mean > 0:
        return f"{against}, more than chance explains."
    return f"{against}, so it is not shown to be better than that baseline."
