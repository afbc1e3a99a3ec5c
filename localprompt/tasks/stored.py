"""A task as plain data and back, so that a run can be repeated without its task file. Level 3.

What comes back may have come from anywhere, so its shape is checked, and a metric that is code needs permission again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.store.records import item, list_of, plain_prompt, read_prompt, read_texts, text_of, texts_of
from localprompt.tasks.answers import Answer, Extraction, find_answer
from localprompt.tasks.metrics import CodeMetric, Metric, find_metric, metric_hash, metric_spec
from localprompt.tasks.task import Task
from localprompt.tasks.template import Layout
from localprompt.types import Example, Sampling

_MAX_COUNT = 2**31 - 1
"""What llama.cpp can count to."""


def to_plain(task: Task) -> dict[str, Any]:
    """Return everything of a task, its rows too, as JSON.

    `answer` or `metric` is None where it is a Python object without a name; such a task cannot be read back.
    """
    answer, metric = task.answer, task.metric
    return {
        "name": task.name,
        "description": task.description,
        "inputs": list(task.inputs),
        "labels": list(task.labels),
        "label_score": task.label_score,
        "train": _plain_examples(task.train),
        "dev": _plain_examples(task.dev),
        "test": _plain_examples(task.test),
        "seeds": [plain_prompt(prompt) for prompt in task.seeds],
        "layout": asdict(task.layout),
        "answer": [answer.kind, answer.argument] if isinstance(answer, Extraction) else None,
        "metric": _plain_metric(metric),
        "sampling": {**asdict(task.sampling), "stop": list(task.sampling.stop)},
        "fingerprint": task.fingerprint,
        "doubts": list(task.doubts),
    }


def from_plain(plain: Mapping[str, Any], *, allow_code: bool = False) -> Task:
    """Return the task that `to_plain` made plain.

    Raises:
        StoreError: if the data is damaged.
        TaskError: if its answers are judged by objects that have no name, or by code that was not allowed or has
            changed since.
    """
    try:
        return _read_task(plain, allow_code)
    except (TypeError, ValueError, ConfigError) as error:
        raise StoreError(f"the task of the run is damaged ({error})", "give the task itself") from error


def _read_task(plain: Mapping[str, Any], allow_code: bool) -> Task:
    task = Task(
        name=text_of(item(plain, "name")),
        description=text_of(item(plain, "description")),
        inputs=read_texts(item(plain, "inputs")),
        labels=read_texts(item(plain, "labels")),
        label_score=text_of(item(plain, "label_score")),
        train=_read_examples(item(plain, "train")),
        dev=_read_examples(item(plain, "dev")),
        test=_read_examples(item(plain, "test")),
        seeds=tuple(read_prompt(prompt) for prompt in list_of(item(plain, "seeds"))),
        layout=_read_layout(item(plain, "layout")),
        answer=_read_answer(item(plain, "answer")),
        metric=_read_metric(item(plain, "metric"), allow_code),
        sampling=_read_sampling(item(plain, "sampling")),
        fingerprint=text_of(item(plain, "fingerprint")),
        doubts=read_texts(plain.get("doubts", [])),  # older runs have none
    )
    for name, part in {"seeds": task.seeds, "dev": task.dev, "test": task.test}.items():
        if not part:
            raise ValueError(f"it has no {name}")
    if not all(task.labels):
        raise ValueError("a label is empty")
    return task


def _plain_examples(examples: Sequence[Example]) -> list[list[Any]]:
    return [[example.id, dict(example.inputs), list(example.targets)] for example in examples]


def _read_examples(plain: Any) -> tuple[Example, ...]:
    examples = []
    for row in list_of(plain):
        name, inputs, targets = list_of(row)
        if not targets:
            raise ValueError("an example has no targets")
        examples.append(Example(text_of(name), texts_of(inputs), read_texts(targets)))
    return tuple(examples)


def _plain_metric(metric: Metric) -> dict[str, str] | None:
    name, found = metric_spec(metric)
    folder = str(metric.folder) if isinstance(metric, CodeMetric) else ""
    return {"name": name, "folder": folder, "hash": found} if name else None


def _read_metric(plain: Any, allow_code: bool) -> Metric:
    if plain is None:
        raise _unnamed("metric")
    name, folder = text_of(item(plain, "name")), text_of(item(plain, "folder"))
    metric = find_metric(name, folder=Path(folder), allow_code=allow_code)
    if metric_hash(metric) != text_of(item(plain, "hash")):
        raise TaskError(f"the code of the metric {name!r} has changed since the run began", "give the task itself")
    return metric


def _read_answer(plain: Any) -> Answer:
    if plain is None:
        raise _unnamed("answer")
    kind, argument = read_texts(plain)
    return find_answer(kind, argument)


def _unnamed(what: str) -> TaskError:
    return TaskError(f"the task's {what} is a Python object, which is not kept with a run", "give the task itself")


def _read_layout(plain: Any) -> Layout:
    fields = texts_of(plain)
    if fields.get("mode") not in ("raw", "chat"):
        raise ValueError("no layout")
    return Layout(**fields)  # type: ignore[arg-type]  # the mode was checked


def _read_sampling(plain: Any) -> Sampling:
    sampling = Sampling(**{**plain, "stop": read_texts(item(plain, "stop"))})
    text_of(sampling.grammar)
    counts = (sampling.max_tokens, sampling.top_k)
    if any(type(count) is not int or count > _MAX_COUNT for count in counts) or math.isinf(sampling.temperature):
        raise ValueError("its sampling cannot be")
    return sampling
