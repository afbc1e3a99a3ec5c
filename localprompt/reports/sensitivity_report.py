"""What a report says of a sensitivity study, in a fixed shape. Level 9. docs/sensitivity.md has every name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from localprompt.battery.ask import SIZES
from localprompt.battery.results import ModelSensitivity, Sensitivity, check_whole
from localprompt.battery.verdict import is_moved, verdict
from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.interface.version import __version__
from localprompt.store import Store, Study
from localprompt.store.plain import PlainRecord
from localprompt.types import Prompt
from localprompt.variants.families import FAMILIES

_NO_TEXT = re.compile("@.*|[0-9a-f]{6,}", re.DOTALL)
"""What `--prompt` takes for a file or a run."""


@dataclass(frozen=True, slots=True)
class AnswerOfRow:
    """An answer to a row, and which wordings get it."""

    answer: str
    """Empty where there is none that can be read."""
    variants: tuple[int, ...]
    """Their places; 0 is the original."""


@dataclass(frozen=True, slots=True)
class MovedRow:
    """A row whose answer depends on the wording, by the task's own scorer."""

    row: int
    """Its place among the rows of the result."""
    example_id: str
    changed: float
    """Share of the variants that get another answer than the original."""
    score: float | None
    """Mean over the original and the variants; None without right answers."""
    answers: tuple[AnswerOfRow, ...]
    """That to the original first, then the most frequent."""


@dataclass(frozen=True, slots=True)
class ReportedModel:
    """What a report says of one model beside its measures."""

    model: str
    verdict: str
    """In a sentence or two."""
    is_moved: bool | None
    """Whether the wording moves the score by more than chance does; None without right answers or other wordings."""
    rows: tuple[MovedRow, ...]
    """Those that change most first."""
    unchanged: int | None
    """Rows that every wording gets the same answer to; None without answers or other wordings."""


@dataclass(frozen=True, slots=True)
class SensitivityReport(PlainRecord):
    """All that a report says of a sensitivity study."""

    study_id: str
    status: str
    task: str
    created: float
    """Seconds since 1970, as `updated`."""
    updated: float
    planned: tuple[str, ...]
    """Models as they were named when the study began."""
    result: Sensitivity | None
    """None where there is none yet, or it is damaged."""
    models: tuple[ReportedModel, ...]
    """In the order of those of the result; empty without one."""
    damage: tuple[str, ...]
    """What cannot be read."""
    configuration: Mapping[str, Any]
    """What the study was begun with: fingerprints, size, seed, version, by name."""
    command: str
    """That repeats it, or goes on with it; TASK stands for the task's file, and PROMPT for what no option can hold: a
    prompt with worked examples, or, before there is a result, every prompt."""
    kind: Literal["sensitivity"] = field(default="sensitivity", metadata={"key": "report"})
    version: str = __version__
    """Of localprompt, that made the report."""


def sensitivity_report(store: Store, study: Study) -> SensitivityReport:
    """Return the report of a sensitivity study; one whose result is damaged has none, and says so."""
    found, models, damage = None, tuple[ReportedModel, ...](), ""
    try:
        if study.result is not None:
            result = Sensitivity.read(study.result)
            check_whole(result)
            found, models = result, tuple(_model(result, each) for each in result.models)
    except StoreError as error:
        damage = error.message
    except (ValueError, IndexError):
        found, damage = None, "the result is damaged (its lists do not fit each other)"
    return SensitivityReport(
        study_id=study.id,
        status=study.status,
        task=str(study.configuration.get("task", "")),
        created=study.created,
        updated=study.updated,
        planned=texts(study.configuration, "models"),
        result=found,
        models=models,
        damage=(damage,) if damage else (),
        configuration=study.configuration,
        command=_command(study.configuration, found, store.path),
    )


def _model(found: Sensitivity, model: ModelSensitivity) -> ReportedModel:
    overall, rows = model.overall, _moved_rows(found, model)
    return ReportedModel(
        model=model.model,
        verdict=verdict(replace(found, models=(model,))),
        is_moved=is_moved(model) if overall.spread and overall.variants else None,
        rows=rows,
        unchanged=len(found.rows) - len(rows) if model.own.answers and overall.variants else None,
    )


def _moved_rows(found: Sensitivity, model: ModelSensitivity) -> tuple[MovedRow, ...]:
    """Return the rows that some wording gets another answer to, those that change most first."""
    own, moved, worded = model.own, list[MovedRow](), found.worded(model)
    for row, codes in enumerate(zip(*own.answers, strict=True)):
        given: dict[int, list[int]] = {}
        for variant, place in worded.items():
            given.setdefault(codes[place], []).append(variant)
        if len(given) == 1:
            continue
        (first, same), *others = given.items()
        others.sort(key=lambda each: -len(each[1]))
        moved.append(
            MovedRow(
                row=row,
                example_id=found.rows[row],
                changed=1 - (len(same) - 1) / (len(worded) - 1),
                score=fmean(own.scores[place][row] for place in worded.values()) if own.scores else None,
                answers=tuple(
                    AnswerOfRow(model.answers[code] if code >= 0 else "", tuple(variants))
                    for code, variants in ((first, same), *others)
                ),
            )
        )
    return tuple(sorted(moved, key=lambda each: (-each.changed, each.row)))


def _command(configuration: Mapping[str, Any], found: Sensitivity | None, store: Path) -> str:
    """Return the command that repeats a study, or goes on with it; the same arguments have the same id."""
    options = [word for model in texts(configuration, "models") for word in ("--model", model)]
    options += [word for text in _prompts(found) for word in ("--prompt", text)]
    size, split, seed = (configuration.get(name) for name in ("size", "split", "seed"))
    options += [f"--{size}"] if size in SIZES else []
    families = [name for name in texts(configuration, "families") if name != "given"]
    if families != [each.name for each in FAMILIES]:
        options += ["--families", ",".join(families)]
    options += ["--scorers", ",".join(texts(configuration, "scorers"))]
    options += ["--split", f"{split}", "--seed", f"{seed}"]
    options += ["--unlabelled"] if configuration.get("unlabelled") else []
    return command("sensitivity", "TASK", *options, *engine_options(configuration), store=store).strip("`")


def _prompts(found: Sensitivity | None) -> list[str]:
    """Return the original and the further prompts as `--prompt` takes them."""
    if found is None:
        return ["PROMPT"]
    given = [each.prompt for each in found.variants[1:] if each.family == "given"]
    return [_option(prompt) for prompt in (found.variants[0].prompt, *given)]


def _option(prompt: Prompt) -> str:
    return "PROMPT" if prompt.demos or _NO_TEXT.fullmatch(prompt.instruction) else prompt.instruction


def engine_options(configuration: Mapping[str, Any]) -> list[str]:
    """Return the options that give a study the settings of the engine that it was begun with."""
    engine = configuration.get("engine")
    given = engine.items() if isinstance(engine, Mapping) else ()
    said = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in given}
    return [word for name, value in said.items() for word in ("--engine", f"{name}={value}")]


def texts(configuration: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the texts of a list of a configuration; none where it is no list."""
    value = configuration.get(name)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
