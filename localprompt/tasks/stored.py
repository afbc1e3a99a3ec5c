"""A task as plain data and back, so that a run can be repeated without its task file. Level 3.

What comes back may have come from anywhere, so its shape is checked, and a metric that is code needs permission again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.store.records import item, list_of, plain_prompt, read_prompt, read_texts, text_of, texts_of
from localprompt.tasks.answers import Extraction, answer_spec, find_answer
from localprompt.tasks.data import SPLITS
from localprompt.tasks.metrics import CodeMetric, Metric, find_metric, metric_hash, metric_spec
from localprompt.tasks.task import Task
from localprompt.tasks.template import Layout, Mode
from localprompt.types import Example, Sampling

_TEXTS = ("name", "description", "label_score", "fingerprint")
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
        **{key: getattr(task, key) for key in _TEXTS},
        **{key: list(getattr(task, key)) for key in _LISTS},
        **{key: [[each.id, dict(each.inputs), list(each.targets)] for each in getattr(task, key)] for key in SPLITS},
        "seeds": [plain_prompt(prompt) for prompt in task.seeds],
        "layout": asdict(task.layout),
        "answer": list(answer_spec(answer)) if isinstance(answer, Extraction) else None,
        "metric": {"name": metric, "folder": folder, "hash": digest} if metric else None,
        "sampling": {**asdict(task.sampling), "stop": list(task.sampling.stop)},
    }


def from_plain(plain: Mapping[str, Any], *, allow_code: bool = False) -> Task:
    """Return the task that `to_plain` made plain.

    Raises:
        StoreError: if the data is damaged.
        TaskError: if its answers are judged by objects that have no name, or by code that was not allowed or has
            changed since.
    """
    try:
        return _read_task({"doubts": [], **plain}, allow_code)  # older runs have no doubts
    except (TypeError, ValueError, ConfigError) as error:
        raise StoreError(f"the task of the run is damaged ({error})", "give the task itself") from error


def _read_task(plain: Mapping[str, Any], allow_code: bool) -> Task:
    parts: dict[str, Any] = {
        **{key: text_of(item(plain, key)) for key in _TEXTS},
        **{key: read_texts(item(plain, key)) for key in _LISTS},
        **{key: tuple(map(_read_example, list_of(item(plain, key)))) for key in SPLITS},
        "seeds": tuple(map(read_prompt, list_of(item(plain, "seeds")))),
    }
    for name in ("seeds", "dev", "test"):
        if not parts[name]:
            raise ValueError(f"it has no {name}")
    layout: dict[str, Any] = texts_of(item(plain, "layout"))
    sampling = Sampling(**item(plain, "sampling"))
    if not all(parts["labels"]):
        raise ValueError("a label is empty")
    if layout.get("mode") not in get_args(Mode):
        raise ValueError("no layout")
    if max(sampling.max_tokens, sampling.top_k) > _MAX_COUNT:
        raise ValueError("its sampling cannot be")
    answer, metric = (
        find_answer(*read_texts(_named(plain, "answer"))),
        _read_metric(_named(plain, "metric"), allow_code),
    )
    return Task(**parts, layout=Layout(**layout), answer=answer, metric=metric, sampling=sampling)


def _read_example(plain: Any) -> Example:
    name, inputs, targets = list_of(plain)
    if not targets:
        raise ValueError("an example has no targets")
    return Example(text_of(name), texts_of(inputs), read_texts(targets))


def _read_metric(plain: Any, allow_code: bool) -> Metric:
    name, folder = text_of(item(plain, "name")), text_of(item(plain, "folder"))
    metric = find_metric(name, folder=Path(folder), allow_code=allow_code)
    if metric_hash(metric) != text_of(item(plain, "hash")):
        raise TaskError(f"the code of the metric {name!r} has changed since the run began", "give the task itself")
    return metric


def _named(plain: Mapping[str, Any], what: str) -> Any:
    found = item(plain, what)
    if found is None:
        raise TaskError(f"the task's {what} is a Python object, which is not kept with a run", "give the task itself")
    return found
