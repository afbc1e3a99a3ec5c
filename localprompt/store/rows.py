"""Rows of the store as records. Level 2. Each value is checked: it may be damaged, or have come from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgpack

from localprompt.store.plain import read
from localprompt.store.records import DamagedRun, Event, Mark, RunRecord, RunStatus, named
from localprompt.types import Candidate, Discard, Exchange, Outcome, Prompt

_ID = re.compile("[0-9a-f]{12}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_END_OF_TIME = 4e9
"""Seconds since 1970: what every calendar can show, also after a change of time zone."""
_KEY_BYTES = 64
_LARGEST = 1e18
"""Of scores: those of many rows are added up and squared."""
UNREADABLE = (ValueError, TypeError, RecursionError)
"""What reading a damaged row raises."""

RUN_COLUMNS = (
    "id, status, created, updated, task, model, proposer, method, seed, configuration, result, stopped, imported"
)
"""What `read_run` reads, in its order."""

COLUMNS = {
    "candidates": "number, prompt_id, prompt, op, parents, is_proposed",
    "evaluations": "number, kind, prompt_id, prompt, tokens, seconds",
    "outcomes": "example_id, evaluation, number, prediction, score, margin, completion",
    "discards": "number, text, reason",
    "events": "number, at, kind, text, tokens, seconds",
    "requests": "number, prompt, replies, kind",
    "imported_answers": "key, kind, value",
}
"""Tables that belong to a run, with their columns behind `run`, in an order in which they can be filled."""


def read_row(table: str, row: Sequence[Any]) -> Any:
    """Return what a row of one of `COLUMNS` is: a record, of an evaluation and an outcome behind its number.

    Raises:
        ValueError, TypeError, RecursionError: if a value is not what it should be.
    """
    _check_texts(row)
    return _READERS[table](*row)


def read_run(row: Sequence[Any]) -> RunRecord:
    """Return the run of a row.

    Raises:
        ValueError: naming the column, if a value is not what it should be.
    """
    run = RunRecord(**read_columns(RUN_COLUMNS, row))
    if "identity" not in run.configuration:
        raise ValueError("configuration: an object with the key 'identity' was expected")
    return run


def read_columns(columns: str, row: Sequence[Any]) -> dict[str, Any]:
    """Return the values of a row of runs or studies by column.

    Raises:
        ValueError: naming the column, if a value is not what it should be.
    """
    found = {}
    for name, value in zip(columns.split(", "), row, strict=True):
        try:
            _check_texts([value])
            found[name] = _COLUMN_READERS[name](value) if name in _COLUMN_READERS else value
        except UNREADABLE as error:
            raise ValueError(f"{name}: {error}") from error
    return found


def read_damaged(row: Sequence[Any], why: str) -> DamagedRun:
    """Return what is known of a run whose row cannot be read."""
    found = dict(zip(RUN_COLUMNS.split(", "), row, strict=True))
    names = {name: named(str(found[name])) for name in ("task", "model", "proposer", "method")}
    return DamagedRun(id=found["id"], why=why, **names)


def read_answer(key: bytes, kind: str, value: bytes) -> None:
    """Check an answer of a model.

    Raises:
        ValueError: if its key is none, or its value no msgpack.
    """
    if len(key) > _KEY_BYTES:
        raise ValueError("the key is too long")
    msgpack.unpackb(value, raw=True, strict_map_key=False)


def _check_texts(row: Sequence[Any]) -> None:
    """Check that texts of a row were UTF-8 in the store, which holds no lone surrogates."""
    for value in row:
        if isinstance(value, str) and not value.isascii() and _SURROGATE.search(value):
            raise ValueError("a text is not UTF-8")


def _loaded(kind: Any, text: str | None) -> Any:
    return None if text is None else read(kind, json.loads(text))


def _text(text: str | None) -> str | None:
    """Return a text of the store. A large run has a million, and most need no parser of JSON."""
    if text is not None:
        inner = text[1:-1]
        if text == f'"{inner}"' and inner.isascii() and inner.isprintable() and "\\" not in inner and '"' not in inner:
            return inner
    parsed: str | None = _loaded(str, text)
    return parsed


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError(f"{text!r} is no id")
    return text


def _time(seconds: float) -> float:
    if not 0 <= seconds < _END_OF_TIME:
        raise ValueError(f"{seconds} is no time")
    return seconds


def _prompt(prompt_id: str, text: str) -> Prompt:
    prompt: Prompt = _loaded(Prompt, text)
    if prompt.id != prompt_id:
        raise ValueError("the prompt is not the one that its id names")
    return prompt


def _candidate(number: int, prompt_id: str, prompt: str, op: str, *rest: Any) -> Candidate:
    parents, is_proposed = rest
    return Candidate(_prompt(prompt_id, prompt), op, _loaded(tuple[str, ...], parents), is_proposed=is_proposed == 1)


def _outcome(example_id: str, evaluation: int, number: int, prediction: str | None, *rest: Any) -> tuple[int, Outcome]:
    score, margin, completion = rest
    if not abs(score) <= _LARGEST >= abs(margin or 0.0):  # NaN lies nowhere
        raise ValueError("a number is not finite, or too large")
    # What was answered has a completion or a label, and what is scored by its likelihood is not as probable as that.
    failed = prediction is None and completion is None and score == 0
    return evaluation, Outcome(example_id, _text(prediction), score, margin, failed, _text(completion))


def _mark(tokens: int | None, seconds: float | None) -> Mark | None:
    return None if tokens is None or seconds is None else Mark(read(int, tokens), read(float, seconds))


_object = partial(_loaded, Mapping[str, Any])

_COLUMN_READERS: Mapping[str, Callable[[Any], Any]] = {
    "id": _id,
    "status": partial(read, RunStatus),
    "created": _time,
    "updated": _time,
    "seed": int,
    "configuration": _object,
    "result": _object,
    "imported": bool,
}

_READERS: Mapping[str, Callable[..., Any]] = {
    "candidates": _candidate,
    "evaluations": lambda number, kind, prompt_id, prompt, *spent: (number, _prompt(prompt_id, prompt), _mark(*spent)),
    "outcomes": _outcome,
    "discards": lambda number, text, reason: Discard(_loaded(str, text), reason),
    "events": lambda number, at, kind, text, *spent: Event(_time(at), kind, _loaded(str, text), _mark(*spent)),
    "requests": lambda number, prompt, replies, kind: Exchange(
        _loaded(str, prompt), _loaded(tuple[str, ...], replies), kind
    ),
    "imported_answers": read_answer,
}
