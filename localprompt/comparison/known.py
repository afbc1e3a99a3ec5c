"""What a store has of a comparison, read back without a model, also where it is not finished. Level 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from localprompt.comparison.execute import compared_run, settings_of
from localprompt.comparison.plan import PlannedRun, check_alike, summed_up
from localprompt.comparison.table import ComparedRun, Comparison, FailedRun, MethodSettings
from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.run.config import RunConfig
from localprompt.run.results import RunResult
from localprompt.store import RunRecord, Store, Study
from localprompt.store.records import DamagedRun
from localprompt.tasks import Task
from localprompt.tasks.stored import from_plain, without_functions


@dataclass(frozen=True, slots=True)
class KnownRun:
    """One run of a comparison, however far it is."""

    run_id: str
    task: str
    """Empty for a run that is gone, as `method`."""
    method: str
    seed: int | None
    """None for a run that is gone or damaged."""
    status: str
    """As in the store, or `interrupted`: its process is gone; `damaged`; `gone`; or `left out`: finished, and not to be
    compared with the others."""
    why: str
    """Why it is not finished, or left out; empty where it counts."""


@dataclass(frozen=True, slots=True)
class KnownComparison:
    """A comparison as far as it is."""

    runs: tuple[KnownRun, ...]
    """All of them, in their order."""
    comparison: Comparison | None
    """What those that are finished say together; None where no run can be read."""

    @property
    def status(self) -> str:
        """`finished` where all runs are, `running` where a process has one of them, else that of the first other."""
        statuses = dict.fromkeys(each.status for each in self.runs)
        if "running" in statuses or not statuses:
            return "running" if statuses else "damaged"
        return next((each for each in statuses if each != "finished"), "finished")


def known_comparison(home: Store, study: Study) -> KnownComparison:
    """Return a comparison as the store has it. Nothing is written, and no code of a task is run.

    Raises:
        StoreError: if the store cannot be read.
    """
    there = {each.id: each for each in home.runs.every()}
    planned, known, done = list[PlannedRun](), list[KnownRun](), list[ComparedRun]()
    # What all have in common is told by one that went on as it was begun.
    for run_id in sorted(study.runs, key=lambda each: _went_on_otherwise(there.get(each))):
        run = there.get(run_id)
        if not isinstance(run, RunRecord):
            gone = KnownRun(run_id, "", "", None, "gone", "it was deleted")
            known.append(KnownRun(run_id, run.task, run.method, None, "damaged", run.why) if run else gone)
            continue
        status, why = _state(home, run)
        try:
            read = PlannedRun(_task_of(run), run)
            if status == "finished":
                check_alike(home, study.id, [*planned[:1], read])
                done.append(compared_run(home, read.task, run, RunResult.from_json(run.result or {})))
            planned.append(read)
        except StoreError as error:
            status, why = "left out" if status == "finished" else status, error.message
        known.append(KnownRun(run.id, run.task, run.method, run.seed, status, why))
    lost = [each for each in known if each.status == "failed"]
    failed = [FailedRun(each.run_id, each.task, each.method, each.seed or 0, each.why, "") for each in lost]
    found = summed_up(study.id, planned, _settings(planned), done, failed) if planned else None
    known.sort(key=lambda each: study.runs.index(each.run_id))
    return KnownComparison(tuple(known), found and replace(found, notes=_notes(found.notes, planned)))


def _went_on_otherwise(run: RunRecord | DamagedRun | None) -> bool:
    """Return whether a run has other limits than it was begun with, or began again with something else."""
    found = run.configuration if isinstance(run, RunRecord) else {}
    begun = found.get("identity")
    return isinstance(begun, Mapping) and (begun.get("limits") != found.get("limits") or bool(found.get("anew")))


def _state(home: Store, run: RunRecord) -> tuple[str, str]:
    if run.imported:
        return "left out", "it was imported: nobody can tell here whether its numbers are true"
    if run.status == "finished" and run.result is not None:
        return "finished", ""
    if (status := home.runs.status_of(run)) == "interrupted":
        return status, "its process has ended, and the run has not"
    return run.status, run.stopped


def _task_of(run: RunRecord) -> Task:
    stored = RunConfig.read(run.configuration).task
    try:
        return from_plain(stored)
    except TaskError:  # judged by code, which a reader of results does not run
        return from_plain(without_functions(stored))


def _settings(planned: Sequence[PlannedRun]) -> Mapping[str, MethodSettings]:
    found = dict[str, MethodSettings]()
    for each in planned:
        config = RunConfig.read(each.record.configuration)
        found[config.method] = MethodSettings("", {}, config.settings)
        with suppress(ConfigError, StoreError):  # this version may not have that method, or a setting of it
            found[config.method] = settings_of(config)
    return found


def _notes(notes: Sequence[str], planned: Sequence[PlannedRun]) -> tuple[str, ...]:
    """Return the notes without those on tasks that are judged by code: they say what the code takes for equal."""
    judged = {each.task.name for each in planned if RunConfig.read(each.record.configuration).needs_code}
    return tuple(note for note in notes if not any(note.startswith(f"{name}: ") for name in judged))
