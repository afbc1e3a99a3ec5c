"""A task as plain data and back, so that a run can be repeated without its task file. Level 3.

What comes back may have come from anywhere, so its shape is checked, and a metric that is code needs permission again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.store.plain import plain, read
from localprompt.tasks.answers import Extraction, answer_spec, find_answer
from localprompt.tasks.data import SPLITS
from localprompt.tasks.metrics import CodeMetric, Metric, find_metric, metric_hash, metric_spec
from localprompt.tasks.task import Task
from localprompt.tasks.template import Layout
from localprompt.types import Example, LabelScore, Prompt, Sampling

_TEXTS = ("name", "description", "fingerprint")
_LISTS = ("inputs", "labels", "doubts")
_MAX_COUNT = 2**31 - 1
"""What llama.cpp can count to."""


def to_plain(task: Task) -> dict[str, Any]:
    """Return everything of a task, its rows too, as JSON.

    `answer` or `metric` is None where it is a Python object without a name; such a task cannot be read back.
    """
    answer, (metric, digest) = task.answer, metric_spec(task.metric)
    folder = str(task.metric.folder) if isinstance(task.metric, CodeMetric) else ""
    return {
        **{key: str(getattr(task, key)) for key in (*_TEXTS, "label_score")},
        **{key: list(getattr(task, key)) for key in _LISTS},
        **{key: [[each.id, dict(each.inputs), list(each.targets)] for each in getattr(task, key)] for key in SPLITS},
        "seeds": plain(task.seeds),
        "layout": plain(task.layout),
        "answer": list(answer_spec(answer)) if isinstance(answer, Extraction) else None,
        "metric": {"name": metric, "folder": folder, "hash": digest} if metric else None,
        "sampling": plain(task.sampling),
        **({"folds": task.folds} if task.folds else {}),
    }


def from_plain(stored: Mapping[str, Any], *, allow_code: bool = False) -> Task:
    """Return the task that `to_plain` made plain.

    Raises:
        StoreError: if the data is damaged.
        TaskError: if its answers are judged by objects that have no name, or by code that was not allowed or has
            changed since.
    """
    try:
        return _read_task({"doubts": [], "folds": 0, **stored}, allow_code)  # older runs have no doubts
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise StoreError(f"the task of the run is damaged ({error})", "give the task itself") from error


def without_functions(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored task without code of a user: for readers of its rows, who judge no answers."""
    answer, (name, digest) = find_answer("whole"), metric_spec(find_metric("exact_match"))
    return {**stored, "answer": list(answer_spec(answer)), "metric": {"name": name, "folder": "", "hash": digest}}


def _read_task(stored: Mapping[str, Any], allow_code: bool) -> Task:
    def part(kind: Any, key: str) -> Any:
        return read(kind, stored.get(key), key)

    parts: dict[str, Any] = {
        **{key: part(str, key) for key in _TEXTS},
        **{key: part(tuple[str, ...], key) for key in _LISTS},
        **{key: tuple(map(read_example, part(tuple[Any, ...], key))) for key in SPLITS},
        "seeds": part(tuple[Prompt, ...], "seeds"),
        "label_score": part(LabelScore, "label_score"),
        "layout": part(Layout, "layout"),
        "sampling": part(Sampling, "sampling"),
        "folds": part(int, "folds"),
    }
    for name in ("seeds", "dev", *(() if parts["folds"] else ("test",))):
        if not parts[name]:
            raise ValueError(f"it has no {name}")
    if not all(parts["labels"]):
        raise ValueError("a label is empty")
    if max(parts["sampling"].max_tokens, parts["sampling"].top_k) > _MAX_COUNT:
        raise ValueError("its sampling cannot be")
    kind, argument = read(tuple[str, ...], _named(stored, "answer"), "answer")
    metric = read(Mapping[str, str], _named(stored, "metric"), "metric")
    return Task(**parts, answer=find_answer(kind, argument), metric=_found_metric(metric, allow_code))


def read_example(stored: Any) -> Example:
    """Return the example that `to_plain` made plain.

    Raises:
        ValueError: if the data is not of that shape.
    """
    name, inputs, targets = read(tuple[Any, ...], stored, "an example")
    if not targets:
        raise ValueError("an example has no targets")
    return Example(read(str, name), read(Mapping[str, str], inputs), read(tuple[str, ...], targets))


def _found_metric(stored: Mapping[str, str], allow_code: bool) -> Metric:
    name, folder, digest = (read(str, stored.get(key), f"metric.{key}") for key in ("name", "folder", "hash"))
    metric = find_metric(name, folder=Path(folder), allow_code=allow_code)
    if metric_hash(metric) != digest:
        raise TaskError(f"the code of the metric {name!r} has changed since the run started", "pass the task itself")
    return metric


def _named(stored: Mapping[str, Any], what: str) -> Any:
    if stored[what] is None:
        raise TaskError(f"the task's {what} is a Python object, which is not kept with a run", "pass the task itself")
    return stored[what]
