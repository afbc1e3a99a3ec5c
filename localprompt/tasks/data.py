"""Rows of data become examples, in three splits. Level 3.

Reading is all or nothing: a file with a bad row gives an error that names line and reason of the first few, never fewer
examples. A row keeps the number of its line, which is its name from then on (`train:17`). Inputs stay as they are
written; what is compared (names of columns, targets) is composed, since nobody sees the difference.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from localprompt.errors import TaskError, nearest
from localprompt.tasks.content import read_text
from localprompt.tasks.records import TWICE, BadRow, Record, by_column, column_name, composed, read_json_lines
from localprompt.tasks.tables import read_table
from localprompt.types import Example

_T = TypeVar("_T")
SPLITS = ("train", "dev", "test")
DEFAULT_SIZES = (0.2, 0.4, 0.4)
"""Few rows to show in prompts, many to choose by and to prove with."""
TRAIN_OF_ALL = 1 / 3
"""Train beside dev as with `DEFAULT_SIZES`, where no rows are kept for test."""
LEAST_FOLDS = 2
LEAST_DIFFERENT = 4
"""Different rows that cross-validation needs."""

_MAX_TEXT = 131_072
_MAX_SHOWN = 5
_MAX_NAMED = 3
_ROWS_PER_TARGET = 5
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_OTHER_KINDS = {
    ".json": "write one object per line and call it .jsonl: jq -c '.[]' FILE",
    ".ndjson": "call it .jsonl",
    **dict.fromkeys((".xls", ".xlsx", ".ods"), "save the sheet as CSV (UTF-8)"),
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst"), "unpack it and name the file that was in it"),
}
_SPACED = re.compile(r'\s+"[^"]*"\s*')
"""What a field in quote marks becomes where a space stands before it."""
_QUOTED = re.compile(r'"(?=.*"".*")(?:[^"]|"")*"', re.DOTALL)
"""A field with a quote mark inside, as CSV writes it."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which column of the data fills which slot."""

    inputs: Mapping[str, str]
    """Input slot to column."""
    target: str | None = None
    """Column of the answers; None: `target`, or `targets` where the row has no `target`."""
    separator: str | None = None
    """Divides several acceptable answers inside one text; None: a text is one answer."""
    has_targets: bool = True
    """False: answers are not read, whether there are any or not; the target of each row is empty."""

    def __post_init__(self) -> None:
        # A name that was typed and one that was copied may be written with other code points.
        object.__setattr__(self, "inputs", {slot: column_name(column) for slot, column in self.inputs.items()})
        object.__setattr__(self, "target", self.target and column_name(self.target))


@dataclass(frozen=True, slots=True)
class Row:
    """A row that was read."""

    line: int
    """Where it begins; counts from 1."""
    inputs: Mapping[str, str]
    """Slot to text, as it is written."""
    targets: tuple[str, ...]
    """Composed (NFC), without blank space around them."""
    lines: int = 1
    """How many lines it takes."""
    is_spaced: bool = False
    """True if a text stood in quote marks behind a space, where CSV takes them for a part of it."""


def read_file(path: Path, fields: Fields) -> list[Row]:
    """Return the rows of a .jsonl, .csv or .tsv file (UTF-8, with or without byte-order mark) in its order.

    CSV and TSV begin with a header row; CSV has quoting, TSV has none. Empty lines are skipped, and so are columns that
    the task does not name. Names of columns count as the same whether they are composed or not. Numbers become text as
    they are written.

    Raises:
        TaskError: naming what is wrong with the whole file, or file, line and reason of up to five bad rows.
    """
    source, kind = str(path), path.suffix.lower()
    if kind not in _DELIMITERS and kind != ".jsonl":
        hint = _OTHER_KINDS.get(kind, f"known: .jsonl, {', '.join(_DELIMITERS)}")
        raise TaskError(f"{path}: unknown kind of data file {path.suffix!r}", hint)
    text = read_text(path)
    if kind == ".jsonl":
        return _rows(source, "line", read_json_lines(source, text), fields)
    needed = [[column] for column in fields.inputs.values()]
    if fields.has_targets:
        needed.append([fields.target] if fields.target else ["target", "targets"])
    return _rows(source, "line", read_table(source, text, _DELIMITERS[kind], needed), fields)


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
        problem = f"the data set {name!r}, part {part!r}, cannot be had ({error})"
        raise TaskError(problem, "check name and part") from error
    names = {column: feature.names for column, feature in table.features.items() if hasattr(feature, "names")}

    records = (
        Record(number, by_column((key, _class_name(value, names.get(key))) for key, value in row.items()))
        for number, row in enumerate(table, start=1)
    )
    return _rows(f"{name}[{part}]", "row", records, fields)


def read_frame(name: str, frame: object, fields: Fields) -> list[Row]:
    """Return the rows of a table of pandas (`to_dict("records")`) or polars (`to_dicts()`) in its order.

    Numbers become text as Python writes them: a column of whole numbers in which pandas has gaps reads 3.0.

    Raises:
        TaskError: if it is no such table, or a row is bad.
    """
    try:
        plain: Any = frame
        rows = plain.to_dicts() if hasattr(plain, "to_dicts") else plain.to_dict("records")
    except (AttributeError, TypeError, ValueError) as error:
        hint = "give a table of pandas or polars"
        raise TaskError(f"the data {name!r} is a {type(frame).__name__}, not a table", hint) from error
    names = Counter(map(str, getattr(frame, "columns", ())))
    lost = [(column, None) for column, n in names.items() if n > 1]  # of two columns of a name a row of pandas has one
    records = (
        Record(number, by_column([*((str(key), _of_frame(value)) for key, value in row.items()), *lost]))
        for number, row in enumerate(rows, start=1)
    )
    return _rows(name, "row", records, fields)


def _of_frame(value: Any) -> object:
    """Return a value in Python's own types: a gap is None, and a list that was read from Parquet an array of numpy."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list):
        return [_of_frame(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


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
        problem = f"the split asks for {asked} = {sum(counts)} rows of {len(rows)}"
        raise TaskError(problem, "give more rows, or make the splits smaller: each has a row at least")
    distinct = len({row.targets[0] for row in rows})
    by_target = stratify or distinct * _ROWS_PER_TARGET <= len(rows)
    in_order = mixed(rows, lambda row: row.targets[0] if by_target else "", random.Random(seed))
    starts = [sum(counts[:index]) for index in range(len(counts))]
    return [in_order[start : start + count] for start, count in zip(starts, counts, strict=True)]


def divide_all(rows: Sequence[Row], folds: int, *, seed: int, stratify: bool) -> list[list[Row]]:
    """Return all rows as train, about a third of them, and dev, for a search of a cross-validated task.

    Raises:
        TaskError: if there are too few rows for so many folds.
    """
    check_folds(folds, len({tuple(sorted(row.inputs.items())) for row in rows}))
    n_train = round(len(rows) * TRAIN_OF_ALL)
    return divide(rows, [n_train, len(rows) - n_train], seed=seed, stratify=stratify)


def check_folds(folds: int, n_different: int) -> None:
    """Check that each fold gets a row of its own, and that the others have one for train and one for dev.

    Raises:
        TaskError: if that is not so.
    """
    if folds < LEAST_FOLDS or n_different < max(folds, LEAST_DIFFERENT):
        problem = f"{folds} folds of {n_different} different rows cannot be made"
        raise TaskError(problem, f"from {LEAST_FOLDS} folds on, as many rows as folds, and at least {LEAST_DIFFERENT}")


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


def in_proportion(examples: Sequence[Example], rng: random.Random, *, has_labels: bool) -> list[Example]:
    """Return examples in an order of chance; with labels, every piece of it holds each of them in proportion."""
    if has_labels:
        return mixed(examples, lambda example: example.targets[0], rng)
    return rng.sample(examples, len(examples))


def reading_doubts(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return one sentence for each thing that makes it doubtful that the rows of a file were read as they are meant."""
    doubts = []
    if long := [f"{row.line} to {row.line + row.lines - 1}" for row in rows if row.lines > 1]:
        lines = f"{len(rows)} rows take {sum(row.lines for row in rows)} lines"
        why = f"since quoted fields continue from line {first_few(long)}"
        doubts.append(f"{name}: {lines}, {why}: see that each is one text")
    kind = Path(name).suffix.lower()
    if kind == ".csv" and all(row.is_spaced for row in rows):
        doubts.append(f"{name}: all rows have quote marks as part of a text: put no space before a quoted field")
    quoted = [str(row.line) for row in rows if any(map(_QUOTED.fullmatch, (*row.inputs.values(), *row.targets)))]
    if kind == ".tsv" and quoted:
        where = f"{len(quoted)} rows have fields quoted as in CSV (line {first_few(quoted)})"
        doubts.append(f"{name}: {where}, but a TSV has no quoting: the quote marks are part of the text")
    return tuple(doubts)


def first_few(items: Iterable[str]) -> str:
    """Return the first three of the items, for a message."""
    items = list(items)
    return ", ".join(items[:_MAX_NAMED]) + (", ..." if len(items) > _MAX_NAMED else "")


def _rows(source: str, unit: str, records: Iterable[Record], fields: Fields) -> list[Row]:
    rows: list[Row] = []
    problems: list[tuple[int, str]] = []
    for record in records:
        try:
            rows.append(_row(record, fields))
        except BadRow as bad:
            problems.append((record.line, str(bad)))
    if not rows and len(problems) > 1 and len({reason for _, reason in problems}) == 1:
        line, reason = problems[0]
        cause = "name your columns in `fields`" if reason.startswith("no '") else "see how the file was made"
        hint = f"nothing was read; all rows have the same fault, so {cause}"
        raise TaskError(f"{source}, {unit} {line}: {reason}, and so in all {len(problems)} rows", hint)
    if problems:
        more = f"; and {len(problems) - _MAX_SHOWN} more bad rows" if len(problems) > _MAX_SHOWN else ""
        shown = "; ".join(f"{unit} {line}: {reason}" for line, reason in problems[:_MAX_SHOWN])
        raise TaskError(f"{source}, {shown}{more}", "nothing was read; mend or remove these rows")
    if not rows:
        raise TaskError(f"{source}: holds no rows", "a data file has one example a row")
    return rows


def _row(record: Record, fields: Fields) -> Row:
    values = record.values
    if isinstance(values, BadRow):
        raise values
    inputs = {slot: _text(_value(values, column), column) for slot, column in fields.inputs.items()}
    if not any(text.strip() for text in inputs.values()):
        raise BadRow(f"empty {' and '.join(map(repr, fields.inputs.values()))}")
    column = fields.target or ("target" if "target" in values or "targets" not in values else "targets")
    targets = _targets(_value(values, column), column, fields.separator) if fields.has_targets else ("",)
    texts = [text for name in (*fields.inputs.values(), column) if isinstance(text := values.get(name), str)]
    return Row(record.line, inputs, targets, record.lines, any(map(_SPACED.fullmatch, texts)))


def _targets(value: object, column: str, separator: str | None) -> tuple[str, ...]:
    texts = [_text(item, column) for item in value] if isinstance(value, list) else [_text(value, column)]
    if separator is not None:
        texts = [piece for text in texts for piece in composed(text).split(composed(separator))]
    targets = tuple(dict.fromkeys(composed(text).strip() for text in texts))
    if not all(targets) or not targets:
        raise BadRow(f"empty target in {column!r}")
    return targets


def _value(values: Mapping[str, Any], column: str) -> object:
    if column not in values:
        raise BadRow(f"no {column!r} ({nearest(column, values) if values else 'the row is empty'})")
    if values[column] is TWICE:
        raise BadRow(f"{column!r} is there twice")
    return values[column]


def _text(value: object, column: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):  # `str` refuses a whole number of very many digits
        value = str(value if isinstance(value, float) else Decimal(value))
    if not isinstance(value, str):
        raise BadRow(f"{column!r} is {'null' if value is None else 'a ' + type(value).__name__}, not text or a number")
    if len(value) > _MAX_TEXT:
        raise BadRow(f"{column!r} is longer than {_MAX_TEXT} characters")
    if re.search("[\x00\ud800-\udfff]", value):
        raise BadRow(f"{column!r} holds a character that is no text (NUL or half of a surrogate pair)")
    return value


def _class_name(value: object, names: Sequence[str] | None) -> object:
    return names[value] if names is not None and isinstance(value, int) and 0 <= value < len(names) else value
