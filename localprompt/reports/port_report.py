"""What a report says of a port, in a fixed shape. Level 9."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.interface.version import __version__
from localprompt.run.ported import Port
from localprompt.store import Store, Study
from localprompt.store.plain import plain


@dataclass(frozen=True, slots=True)
class PortReport:
    """All that a report says of a prompt that was moved to another model."""

    port_id: str
    status: str
    created: float
    """Seconds since 1970, as `updated`."""
    updated: float
    runs: tuple[str, ...]
    """Ids of the old run and of the new search, as far as it was begun."""
    result: Port | None
    """None where there is none yet, or it is damaged."""
    damage: tuple[str, ...]
    """What cannot be read."""
    command: str
    """That repeats it, or goes on with it; MODEL stands for the new model."""
    kind: Literal["port"] = field(default="port", metadata={"key": "report"})
    version: str = __version__
    """Of localprompt, that made the report."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        found: dict[str, Any] = plain(self)
        return {**found, "result": None if self.result is None else self.result.to_json()}


def port_report(store: Store, study: Study) -> PortReport:
    """Return the report of a port; one whose result is damaged has none, and says so."""
    found, damage = None, ""
    try:
        found = None if study.result is None else Port.from_json(study.result)
    except StoreError as error:
        damage = error.message
    old = str(study.configuration.get("run", "RUN"))
    return PortReport(
        port_id=study.id,
        status=study.status,
        created=study.created,
        updated=study.updated,
        runs=tuple(dict.fromkeys((old, *study.runs))),
        result=found,
        damage=(damage,) if damage else (),
        command=command("port", old, "--model", "MODEL", store=store.path).strip("`"),
    )
