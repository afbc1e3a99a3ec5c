"""Rows of data become examples, in three splits. Level 2.

Reading is all or nothing: a file with a bad row gives an error that names line and reason of the first few, never fewer
examples. A row keeps the number of its line, which is its name from then on (`train:17`).
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from localprompt.errors import TaskError, nearest
from localprompt.types import Example

_T = TypeVar("_T")
SPLITS = ("train", "dev", "test")
DEFAULT_SIZES = (0.2, 0.4, 0.4)
"""Few rows to show in prompts, many to choose by and to prove with."""

_MAX_BYTES = 256 * 1024 * 1024
_MAX_TEXT = 131_072
_MAX_SHOWN = 5
_ROWS_PER_TARGET = 5


@dataclass(frozen=True, slots=True)
class Fields:
    """Which column of the data fills which slot."""

    inputs: Mapping[str, str]
    """Input slot to column."""
    target: str | None = None
    """Column of the answers; None: `target`, or `targets` where the row has no `target`."""
    separator: str | None = None
    """Divides several acceptable answers inside one text; None: a text is one answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that was read; `line` counts from 1."""

    line: int
    inputs: Mapping[str, str]
    targets: tuple[str, ...]


class _BadRow(Exception):  # noqa: N818 - becomes part of one TaskError
    """Why a row cannot be used."""


Read = Iterator[tuple[int, "Mapping[str, Any] | _BadRow"]]
"""Line number and what stands there."""


def read_file(path: Path, fields: Fields) -> list[Row]:
    """Return the rows of a .jsonl, .csv or .tsv file (UTF-8, with or without byte-order mark) in its order.

    CSV and TSV begin with a header row. Empty lines are skipped. Numbers become text as they are written.

    Raises:
        TaskError: naming file, line and reason of up to five bad rows.
    """
    readers = {".jsonl": _jsonl, ".csv": _csv, ".tsv": _tsv}
    if path.suffix.lower() not in readers:
        raise TaskError(f"{path}: unknown kind of data file {path.suffix!r}", f"known: {', '.join(readers)}")
    return _rows(str(path), "line", readers[path.suffix.lower()](_content(path)), fields)


def read_dataset(
    name: str, part: str, fields: Fields, *, config: str | None = None, revision: str | None = None
) -> list[Row]:
    """Return the rows of one part (such as `test` or `train[:500]`) of a Hugging Face data set in its order.

    Class labels become their names.

    Raises:
        TaskError: if the optional extra is missing, the data set cannot be had, or a row is bad.
    """
    try:
        import datasets  # noqa: PLC0415 - optional
    except ImportError as error:
        hint = "pip install 'datasets>=3'"
        raise TaskError(f"the data set {name!r} needs the package datasets, which is not installed", hint) from error
    try:
        table = datasets.load_dataset(name, config, split=part, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:
        raise TaskError(
            f"the data set {name!r}, part {part!r}, cannot be had ({error})", "check name and part"
        ) from error
    names = {column: feature.names for column, feature in table.features.items() if hasattr(feature, "names")}

    def rows() -> Read:
        for number, row in enumerate(table, start=1):
            yield number, {key: _class_name(value, names.get(key)) for key, value in row.items()}

    return _rows(f"{name}[{part}]", "row", rows(), fields)


def divide(rows: Sequence[Row], sizes: Sequence[float], *, seed: int, stratify: bool) -> list[list[Row]]:
    """Return disjoint splits of the rows, one a size, each without duplicates of position.

    A size of at least 1 is a count, one below 1 a fraction of the rows, rounded down, though never to none. With
    `stratify`, and also where targets repeat five times on average, each split and each beginning of a split has every
    target nearly in proportion. The result depends on rows, sizes and seed alone.

    Raises:
        TaskError: if the sizes ask for more rows than there are.
    """
    counts = [int(size) if size >= 1 else max(1, int(size * len(rows) + 1e-9)) for size in sizes]
    if sum(counts) > len(rows):
        asked = " + ".join(map(str, counts))
        raise TaskError(f"the split asks for {asked} = {sum(counts)} rows of {len(rows)}", "make the splits smaller")
    distinct = len({row.targets[0] for row in rows})
    by_target = stratify or distinct * _ROWS_PER_TARGET <= len(rows)
    in_order = mixed(rows, lambda row: row.targets[0] if by_target else "", random.Random(seed))
    starts = [sum(counts[:index]) for index in range(len(counts))]
    return [in_order[start : start + count] for start, count in zip(starts, counts, strict=True)]


def to_examples(split: str, rows: Sequence[Row]) -> tuple[Example, ...]:
    """Return the rows as examples called `SPLIT:LINE`, same order and length."""
    return tuple(Example(f"{split}:{row.line}", row.inputs, row.targets) for row in rows)


def mixed(items: Sequence[_T], kind: Callable[[_T], str], rng: random.Random) -> list[_T]:
    """Return the items shuffled so that every contiguous piece holds each kind nearly in proportion.

    Item i of the n of a kind gets the place (i + u) / n, with one random u a kind: systematic sampling.
    """
    groups: dict[str, list[_T]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    placed: list[tuple[float, _T]] = []
    for group in groups.values():
        rng.shuffle(group)
        offset = rng.uniform(0, 1)
        placed += [((index + offset) / len(group), item) for index, item in enumerate(group)]
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def _rows(source: str, unit: str, read: Read, fields: Fields) -> list[Row]:
    rows, problems = [], []
    for line, values in read:
        try:
            if isinstance(values, _BadRow):
                raise values
            rows.append(_row(line, values, fields))
        except _BadRow as bad:
            problems.append(f"{unit} {line}: {bad}")
    if problems:
        more = f"; and {len(problems) - _MAX_SHOWN} more bad rows" if len(problems) > _MAX_SHOWN else ""
        raise TaskError(
            f"{source}, {'; '.join(problems[:_MAX_SHOWN])}{more}", "nothing was read; mend or remove these rows"
        )
    if not rows:
        raise TaskError(f"{source}: holds no rows", "a data file has one example a row")
    return rows


def _row(line: int, values: Mapping[str, Any], fields: Fields) -> Row:
    inputs = {slot: _text(_value(values, column), column) for slot, column in fields.inputs.items()}
    if not any(text.strip() for text in inputs.values()):
        raise _BadRow(f"empty {' and '.join(map(repr, fields.inputs.values()))}")
    column = fields.target or ("target" if "target" in values or "targets" not in values else "targets")
    return Row(line, inputs, _targets(_value(values, column), column, fields.separator))


def _targets(value: object, column: str, separator: str | None) -> tuple[str, ...]:
    texts = [_text(item, column) for item in value] if isinstance(value, list) else [_text(value, column)]
    if separator is not None:
        texts = [piece for text in texts for piece in text.split(separator)]
    targets = tuple(dict.fromkeys(text.strip() for text in texts))
    if not all(targets) or not targets:
        raise _BadRow(f"empty target in {column!r}")
    return targets


def _value(values: Mapping[str, Any], column: str) -> object:
    if column not in values:
        raise _BadRow(f"no {column!r} ({nearest(column, values) if values else 'the row is empty'})")
    return values[column]


def _text(value: object, column: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise _BadRow(f"{column!r} is {'null' if value is None else 'a ' + type(value).__name__}, not text or a number")
    if len(value) > _MAX_TEXT:
        raise _BadRow(f"{column!r} is longer than {_MAX_TEXT} characters")
    if re.search("[\x00\ud800-\udfff]", value):
        raise _BadRow(f"{column!r} holds a character that is no text (NUL or half of a surrogate pair)")
    return value


def _class_name(value: object, names: Sequence[str] | None) -> object:
    return names[value] if names is not None and isinstance(value, int) and 0 <= value < len(names) else value


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise TaskError(f"{path}: no such data file", "paths are relative to the task file")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from error
    if len(content) > _MAX_BYTES:
        raise TaskError(f"{path}: larger than {_MAX_BYTES // 2**20} MiB", "take a sample of its rows")
    return content.removeprefix(b"\xef\xbb\xbf")


def _jsonl(content: bytes) -> Read:
    for line, raw in enumerate(content.split(b"\n"), start=1):
        if raw.strip():
            try:
                yield line, _json_object(raw)
            except _BadRow as bad:
                yield line, bad


def _json_object(raw: bytes) -> Mapping[str, Any]:
    try:
        # Numbers stay as they are written (1.50); NaN and Infinity are no JSON, though Python reads them.
        value = json.loads(raw.decode(), parse_int=str, parse_float=str, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise _BadRow("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _BadRow(f"invalid JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise _BadRow("invalid JSON (nested too deep)") from None
    if not isinstance(value, dict):
        raise _BadRow("not a JSON object")
    return value


def _no_constant(name: str) -> str:
    raise _BadRow(f"invalid JSON ({name} is not a number)")


def _csv(content: bytes) -> Read:
    yield from _table(content, ",")


def _tsv(content: bytes) -> Read:
    yield from _table(content, "\t")


def _table(content: bytes, delimiter: str) -> Read:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        yield content.count(b"\n", 0, error.start) + 1, _BadRow("not UTF-8")
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            start, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):  # spreadsheets leave rows of empty cells
                continue
            if header is None:
                header = _header(cells)
            elif len(cells) == len(header):
                yield start, dict(zip(header, cells, strict=True))
            else:
                yield start, _BadRow(f"{len(cells)} columns, the header has {len(header)}")
    except csv.Error as error:
        yield line, _BadRow(f"{error}; a quote mark inside a quoted field is written twice")
    except _BadRow as bad:
        yield 1, bad


def _header(cells: list[str]) -> list[str]:
    twice = [name for name, count in Counter(cells).items() if count > 1]
    if twice:
        raise _BadRow(f"the header has the column {twice[0]!r} twice")
    return cells
