"""What a report says of a transfer study, in a fixed shape. Level 9. docs/comparing.md has the measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from localprompt.comparison.transfer_results import Transfer
from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.interface.version import __version__
from localprompt.reports.sensitivity_report import engine_options, texts
from localprompt.store import Store, Study
from localprompt.store.plain import PlainRecord


@dataclass(frozen=True, slots=True)
class TransferReport(PlainRecord):
    """All that a report says of prompts on several models."""

    study_id: str
    status: str
    created: float
    """Seconds since 1970, as `updated`."""
    updated: float
    tasks: tuple[str, ...]
    """As the study was begun, also where there is no result."""
    models: tuple[str, ...]
    """As they were named, those that came loaded by their fingerprints."""
    result: Transfer | None
    """None where there is none yet, or it is damaged."""
    damage: tuple[str, ...]
    """What cannot be read."""
    configuration: Mapping[str, Any]
    """What the study was begun with, by name."""
    command: str
    """That repeats it, or goes on with it; words in capitals stand for what was given."""
    kind: Literal["transfer"] = field(default="transfer", metadata={"key": "report"})
    version: str = __version__
    """Of localprompt, that made the report."""


def transfer_report(store: Store, study: Study) -> TransferReport:
    """Return the report of a transfer study; one whose result is damaged has none, and says so."""
    found, damage = None, ""
    try:
        found = None if study.result is None else Transfer.read(study.result)
    except StoreError as error:
        damage = error.message
    if found and any(len(each.cells) != len(each.prompts) * len(found.models) for each in found.tasks):
        found, damage = None, "the result is damaged (its lists do not fit each other)"
    tasks, models = study.configuration.get("tasks"), texts(study.configuration, "models")
    tasks, named = tasks if isinstance(tasks, list) else [], ",".join(models) or "MODELS"
    options = ("--models", named, "--prompts", "PROMPTS", *engine_options(study.configuration))
    return TransferReport(
        study_id=study.id,
        status=study.status,
        created=study.created,
        updated=study.updated,
        tasks=tuple(each[0] for each in tasks if isinstance(each, list) and each and isinstance(each[0], str)),
        models=models,
        result=found,
        damage=(damage,) if damage else (),
        configuration=study.configuration,
        command=command("transfer", "TASK", *options, store=store.path).strip("`"),
    )
