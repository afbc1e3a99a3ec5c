"""What a report says of a port, in a fixed shape. Level 9. docs/comparing.md has every name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.interface.version import __version__
from localprompt.run.config import RunConfig
from localprompt.run.ported import Port
from localprompt.store import Store, Study
from localprompt.store.plain import PlainRecord
from localprompt.store.records import DamagedRun


@dataclass(frozen=True, slots=True)
class PortReport(PlainRecord):
    """All that a report says of a prompt that was moved to another model."""

    port_id: str
    status: str
    """As in the store, or interrupted: the process of the new search has ended, and the search has not."""
    created: float
    """Seconds since 1970, as `updated`."""
    updated: float
    old_run_id: str
    """Of the run that found the old prompt; empty where that cannot be read."""
    run_id: str | None
    """Of the new search; None where it was not begun."""
    run_status: str
    """Of the new search: as in the store, `damaged`, `gone` or `not begun`."""
    result: Port | None
    """None where there is none yet, or it is damaged."""
    damage: tuple[str, ...]
    """What cannot be read."""
    commands: Mapping[str, str]
    """What can be done next, and the command that does it; MODEL stands for the new model."""
    kind: Literal["port"] = field(default="port", metadata={"key": "report"})
    version: str = __version__
    """Of localprompt, that made the report."""


def port_report(store: Store, study: Study) -> PortReport:
    """Return the report of a port; one whose result is damaged has none, and says so."""
    found, damage = None, ""
    try:
        found = None if study.result is None else Port.from_json(study.result)
    except StoreError as error:
        damage = error.message
    old, run_id = study.configuration.get("run"), next(iter(study.runs), None)
    old = old if isinstance(old, str) else ""
    run_status, config = _new_search(store, run_id)
    is_left = study.status == "running" and run_status not in ("running", "not begun")
    return PortReport(
        port_id=study.id,
        status="interrupted" if is_left else study.status,
        created=study.created,
        updated=study.updated,
        old_run_id=old,
        run_id=run_id,
        run_status=run_status,
        result=found,
        damage=(damage,) if damage else (),
        commands=_commands(store, old, run_id, config),
    )


def _new_search(store: Store, run_id: str | None) -> tuple[str, RunConfig | None]:
    """Return the status of the new search, and how it is set up."""
    if run_id is None:
        return "not begun", None
    try:
        run = store.runs.look(run_id)
        if isinstance(run, DamagedRun):
            return "damaged", None
        return store.runs.status_of(run), RunConfig.read(run.configuration)
    except StoreError:
        return "gone", None


def _commands(store: Store, old: str, run_id: str | None, config: RunConfig | None) -> dict[str, str]:
    needed = ["--model", "MODEL"]
    if config is not None:  # what came loaded is among the options to resume it
        needed = ["--model", config.sources.model] if config.sources.model else []
        needed += config.resume_options
    found: dict[str, tuple[str, ...]] = {"go on with it, or show it again": ("port", old or "RUN", *needed)}
    if old:
        found["see the run that found the old prompt"] = ("report", old)
    if run_id is not None:
        found["see the new search"] = ("report", run_id)
    return {what: command(*words, store=store.path).strip("`") for what, words in found.items()}
