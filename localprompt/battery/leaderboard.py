"""Models side by side by how well they answer however they are asked: from sensitivity studies. Level 8."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from localprompt.battery.ask import find_size
from localprompt.battery.results import ModelSensitivity, Sensitivity, check_whole
from localprompt.battery.sensitivity import KIND, sensitivity
from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.interface.arguments import checked
from localprompt.run.models import Named
from localprompt.run.session import StoreSource, opened_store
from localprompt.run.spec import TaskSource, loaded_task
from localprompt.stats.intervals import Difference, Interval, interval, paired_difference
from localprompt.stats.resampling import Values
from localprompt.stats.sensitivity import Spread
from localprompt.store import Study
from localprompt.store.plain import PlainRecord
from localprompt.tasks import Task
from localprompt.types import Prompt


@dataclass(frozen=True, slots=True)
class Standing:
    """One model on one task."""

    model: str
    fingerprint: str
    quantisation: str
    """Empty where it is not known."""
    study: str
    """Id of the sensitivity study; empty where nothing is kept."""
    n_variants: int
    """The original too, and none that only draws its answers again."""
    score: Interval
    """Mean over variants and rows."""
    original: Interval
    """The prompt as it is."""
    spread: Spread
    """Best minus worst variant, what these score, and what chance alone gives."""
    unreadable_share: float
    """Share that could not be read of the answers that its score is the mean of; they score 0."""
    behind: Difference | None
    """Its score minus the first model's, paired over rows; None for the first."""


@dataclass(frozen=True, slots=True)
class TaskBoard:
    """The models on one task, the best mean score first; all were asked variants of one prompt on the same rows."""

    task: str
    split: str
    prompt: Prompt
    """The original."""
    n_rows: int
    models: tuple[Standing, ...]


@dataclass(frozen=True, slots=True)
class OverTasks:
    """One model over all tasks, each of the same weight."""

    model: str
    quantisation: str
    score: Interval
    """Mean of its scores."""
    worst: float
    """Lowest score of a variant on a task."""
    largest_spread: float
    """Of a task."""
    unreadable_share: float
    """Mean of the shares."""


@dataclass(frozen=True, slots=True)
class Leaderboard(PlainRecord):
    """Models on tasks."""

    size: str
    tasks: tuple[TaskBoard, ...]
    over_tasks: tuple[OverTasks, ...]
    """Models that were measured on all of several tasks, the best first."""
    notes: tuple[str, ...]

    def to_csv(self) -> list[dict[str, object]]:
        """Return a row for each task and model."""
        return [
            {
                **{"task": board.task, "split": board.split, "size": self.size, "rows": board.n_rows},
                **{"model": each.model, "quantisation": each.quantisation, "variants": each.n_variants},
                **{"mean": each.score.mean, "low": each.score.low, "high": each.score.high},
                **{f"behind_{name}": getattr(each.behind, name, None) for name in ("mean", "low", "high", "p")},
                **{"original": each.original.mean, "worst": each.spread.worst, "best": each.spread.best},
                **{"spread": each.spread.value, "spread_low": each.spread.low, "spread_high": each.spread.high},
                **{"by_chance": each.spread.by_chance.median, "p": each.spread.by_chance.p},
                **{"unreadable_share": each.unreadable_share, "study": each.study},
            }
            for board in self.tasks
            for each in board.models
        ]


@dataclass(frozen=True, slots=True)
class _Found:
    """One finished study that can be read, with what must be the same in what is compared."""

    alike: tuple[str, ...]
    result: Sensitivity


@checked
def leaderboard(
    tasks: Sequence[TaskSource] = (),
    models: Sequence[Named] = (),
    *,
    size: str = "standard",
    store: StoreSource = None,
    **options: Any,
) -> Leaderboard:
    """Return models by their mean score over variants of a prompt, with the worst variant and the spread.

    Without models, what the store has of sensitivity studies is read: of each task those on the same rows and with the
    same prompt as the newest one, and of each model the newest of these. With models, these alone are measured, by
    `sensitivity`, which asks nothing again that the store knows.

    Args:
        tasks: task files, loaded tasks, or names of tasks in the store; none: all that are in the store.
        models: as of `sensitivity`; all are asked the same variants of a task.
        size: of the studies, as of `sensitivity`.
        store: where the studies are kept: open, by path, or the default one.
        options: others of `sensitivity`, where models are measured.

    Raises:
        ConfigError: for an unknown size, models without tasks, and settings of the engine without models.
        StoreError: if the store has no such study, or cannot be read.
        TaskError, ModelError, ContextOverflow: as `sensitivity`.
    """
    find_size(size)
    if options.get("unlabelled"):
        raise ConfigError("models are ranked by their scores, and unlabelled rows have none", "leave out unlabelled")
    if models and not tasks:
        raise ConfigError("there is no task to measure on", "name one or more task files, or leave out the models")
    if options.get("engine") and not models:
        raise ConfigError(
            "settings of the engine choose no study of the store", "name models, or leave the settings out"
        )
    notes: list[str] = []
    if models:
        named = [_name(task, allow_code=options.get("allow_code", False)) for task in tasks]
        for name in named:
            if named.count(name) > 1:
                raise TaskError(f"two tasks are called {name}", "give one of them another `name`")
        found = [_Found((), sensitivity(task, models, size=size, store=store, **options)) for task in tasks]
    else:
        with opened_store(store, create=False) as home:
            names = [_name(task, allow_code=options.get("allow_code", False)) for task in tasks]
            found = _stored(home.studies.all(KIND), names, size, notes)
        if not found:
            hint = "with --models they are measured now; or --store names another store"
            why = (f" for {' or '.join(names)}" if names else "") + "".join(f"; {note}" for note in notes)
            raise StoreError(f"there is no finished sensitivity study of size {size}{why}", hint)
    by_task: dict[str, list[_Found]] = {}
    for each in found:
        by_task.setdefault(each.result.task, []).append(each)
    boards = [_board(studies, notes) for studies in by_task.values()]
    return Leaderboard(size, tuple(boards), tuple(_over(boards)), tuple(notes))


def _name(task: TaskSource, *, allow_code: bool) -> str:
    is_read = isinstance(task, Task) or Path(task).is_file()
    return loaded_task(task, allow_code=allow_code).name if is_read else str(task)


def _stored(studies: Sequence[Study], names: Sequence[str], size: str, notes: list[str]) -> list[_Found]:
    """Return the finished studies of the tasks and the size, newest first, and note what is passed over."""
    found, n_left_out = [], 0
    for study in studies:
        told: Mapping[str, Any] = study.configuration
        if names and told.get("task") not in names:
            continue
        if study.result is None or told.get("size") != size or told.get("unlabelled"):
            n_left_out += 1
            continue
        try:
            result = Sensitivity.read(study.result)
            check_whole(replace(result, unlabelled=False))  # a board is of scores
        except StoreError as error:
            notes.append(f"the study {study.id} was passed over: {error.message}")
        else:
            alike = [str(told.get(key)) for key in ("task", "fingerprint", "prompt", "split")]
            found.append(_Found(tuple(alike), result))
    if n_left_out:
        notes.append(f"left out: {n_left_out} that are unfinished, of another size, or without right answers")
    missing = [name for name in names if name not in {each.result.task for each in found}]
    if missing and found:
        notes.append(f"no finished study of size {size} of these tasks: {', '.join(missing)}")
    return found


def _board(studies: Sequence[_Found], notes: list[str]) -> TaskBoard:
    """Return the models of one task, given its studies, newest first."""
    first = studies[0].result
    same = [each.result for each in studies if each.alike == studies[0].alike]
    if len(same) < len(studies):
        notes.append(f"{first.task}: left out {len(studies) - len(same)} older with other rows, another seed or prompt")
    newest: dict[str, tuple[ModelSensitivity, Sensitivity]] = {}
    for result in same:
        for model in result.models:
            newest.setdefault(model.fingerprint, (model, result))
    names = [(model.model, model.quantisation) for model, _ in newest.values()]
    for fingerprint, (model, result) in newest.items():
        if names.count((model.model, model.quantisation)) > 1:
            named = f"{model.model} ({fingerprint[-6:]})"
            notes.append(f"{first.task}: {named} has a name in common with another file, or with other engine settings")
            newest[fingerprint] = replace(model, model=named), result
    texts = ([result.variants[place] for place in result.worded(model)] for model, result in newest.values())
    if len({tuple(text.prompt.id + text.shown for text in asked) for asked in texts}) > 1:
        notes.append(f"{first.task}: not all models were asked the same variants; measure them together with --models")
    bare = [model.model for model, _ in newest.values() if not model.overall.variants]
    notes += [f"{first.task}: {name} was asked no other wording" for name in bare]
    by_score = sorted(newest.values(), key=lambda each: -_by_row(*each).mean())
    leader = _by_row(*by_score[0])
    standings = [_standing(model, result, None if i == 0 else leader) for i, (model, result) in enumerate(by_score)]
    return TaskBoard(first.task, first.split, first.variants[0].prompt, len(first.rows), tuple(standings))


def _standing(model: ModelSensitivity, found: Sensitivity, leader: Values | None) -> Standing:
    own, copies, spread = model.own, found.copies or None, model.overall.spread
    original, scores, worded = own.variants[0].score, _by_row(model, found).tolist(), found.worded(model)
    assert spread is not None  # those without right answers are left out
    assert original is not None
    return Standing(
        model=model.model,
        fingerprint=model.fingerprint,
        quantisation=model.quantisation,
        study=found.id,
        n_variants=len(worded),
        score=interval(scores, copies),
        original=original,
        spread=spread,
        unreadable_share=sum(own.variants[i].unreadable for i in worded.values()) / (len(worded) * own.rows),
        behind=None if leader is None else paired_difference(leader.tolist(), scores, copies),
    )


def _by_row(model: ModelSensitivity, found: Sensitivity) -> Values:
    """Return the mean score of each row over the variants; rounding may put it a little above 1."""
    means: Values = np.clip(np.mean([model.own.scores[i] for i in found.worded(model).values()], axis=0), 0, 1)
    return means


def _over(boards: Sequence[TaskBoard]) -> list[OverTasks]:
    by_model: dict[str, list[Standing]] = {}
    for standing in (each for board in boards for each in board.models):
        by_model.setdefault(standing.fingerprint, []).append(standing)
    whole = [each for each in by_model.values() if len(each) == len(boards) > 1]
    return sorted((_over_tasks(each) for each in whole), key=lambda each: -each.score.mean)


def _over_tasks(standings: Sequence[Standing]) -> OverTasks:
    """Return a model over its tasks.

    The interval of the mean recovers variances from those of the tasks (MOVER; Zou and Donner 2008, Statist. Med. 27).
    """
    n, scores = len(standings), [each.score for each in standings]
    mean = math.fsum(each.mean for each in scores) / n
    low = mean - math.hypot(*(each.mean - each.low for each in scores)) / n
    high = mean + math.hypot(*(each.high - each.mean for each in scores)) / n
    return OverTasks(
        model=standings[0].model,
        quantisation=standings[0].quantisation,
        score=Interval(mean, max(0.0, low), min(1.0, high), sum(each.n for each in scores)),
        worst=min(each.spread.worst for each in standings),
        largest_spread=max(each.spread.value for each in standings),
        unreadable_share=math.fsum(each.unreadable_share for each in standings) / n,
    )
