"""CSV and TSV: whether a text is the table that a task needs, and the lines of it. Level 3.

CSV has quoting (RFC 4180): a field in quote marks may hold commas and line breaks, and a quote mark written twice. TSV
has none (IANA text/tab-separated-values): a quote mark is a character like any other.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from localprompt.errors import TaskError, nearest
from localprompt.tasks.records import BadRow, Record, by_column, column_name

Needed = Sequence[Sequence[str]]
"""Names of columns; of each group one is enough."""

_DIVIDERS = {",": "commas", ";": "';'", "\t": "tabs", "|": "'|'"}
_CALLED = {",": ", or call it .csv", "\t": ", or call it .tsv"}
_JSON = re.compile(r'\s*(\{\s*["}]|\[\s*[{\["])')
_SEP = re.compile(r"""["']?sep=(.)["']?[,;\t|]*\s*""", re.IGNORECASE)
_LOOKED_AT = 10
"""Lines, or rows, that tell what the others are."""
_LONG = 60
"""Characters that no name of a column has."""
_QUOTES = (
    'mend it: a quote mark that is text is written twice, in a field in quotes: """Twas"; '
    "texts of many lines are safer in a .jsonl file"
)
_RETURN = "a carriage return in the middle", "remove it, or put the text that has it in quote marks"


@dataclass(frozen=True, slots=True)
class _Row:
    """The cells of a row, and the first and last line that it takes."""

    line: int
    end: int
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table as it is written; rows whose cells are all empty, as spreadsheets leave them, are not in it."""

    delimiter: str
    header: _Row
    rows: Sequence[_Row] = field(repr=False)


def read_table(source: str, text: str, delimiter: str, needed: Needed) -> Iterator[Record]:
    """Yield each row by the names of the columns; cells without a column, or of one without a name, may be missing.

    A table divided by commas has quoting.

    Raises:
        TaskError: naming the one fault of the whole, with what to do: it is no table or divided otherwise; the header
            is missing, comes later, or lacks a column that is needed; a field in quote marks does not end.
    """
    _check_kind(source, text, delimiter, needed)
    rows = _quoted_rows(source, text, delimiter) if delimiter == "," else _plain_rows(text, delimiter)
    filled = [row for row in rows if any(cell.strip() for cell in row.cells)]
    if not filled:
        return
    table = _Table(delimiter, filled[0], filled[1:])
    _check_header(source, table, needed)
    yield from _records(table)


def _check_kind(source: str, text: str, delimiter: str, needed: Needed) -> None:
    """Raise if a text is no table with that delimiter: JSON, Excel's `sep=` line, or a table divided in another way.

    Raises:
        TaskError: naming the fault once, with what to do.
    """
    # What the csv module refuses in a line has its own error, if this is a table at all.
    lines = [row.replace("\r", " ")[: csv.field_size_limit()] for row in text.split("\n") if row.strip()][:_LOOKED_AT]
    if not lines or _has(_divided(lines[0], delimiter), needed):
        return
    if _JSON.match(lines[0]) or lines[0].strip() in ("{", "["):
        kind = "a JSON array" if lines[0].lstrip()[0] == "[" else "JSON objects"
        raise TaskError(f"{source}: holds {kind}, not a table", "call it .jsonl, with one object per line")
    wanted = _DIVIDERS[delimiter]
    excel = _SEP.fullmatch(lines[0])
    if excel is not None:
        aside = f", and save the table with {wanted}" if excel[1] != delimiter else ""
        raise TaskError(f"{source}: the first line is Excel's sep= line, not the header", f"remove that line{aside}")
    for divider, name in _DIVIDERS.items():
        if divider != delimiter and _is_divided(lines, delimiter, divider, needed):
            hint = f"save it with {wanted}{_CALLED.get(divider, '')}"
            raise TaskError(f"{source}: its columns are divided by {name}, not by {wanted}", hint)
    if delimiter == "\t" and _has([cell.strip('"') for cell in lines[0].split("\t")], needed):
        hint = "save it without quote marks, or as .csv with commas"
        raise TaskError(f"{source}: its fields stand in quote marks, which a TSV file does not have", hint)


def _check_header(source: str, table: _Table, needed: Needed) -> None:
    """Raise unless the header has each of the columns that are needed, and only once.

    Raises:
        TaskError: naming the fault once: a header that is missing or comes later, a column that is missing or twice.
    """
    header = table.header
    names = [column_name(cell) for cell in header.cells]
    where = f"{source}, line {header.line}"
    missing = []
    for group in needed:
        name = next((name for name in group if name in names), None)
        if name is None:
            missing.append(group[0])
        elif names.count(name) > 1:
            raise TaskError(f"{where}: the header has the column {name!r} twice", "rename or remove one of them")
    if not missing:
        return
    if header.end > header.line:
        problem = f"a quote mark makes the header continue to line {header.end}, and it has no column {missing[0]!r}"
        raise TaskError(f"{where}: {problem}", _QUOTES)
    for row in table.rows[:_LOOKED_AT]:
        if _has(row.cells, needed):
            raise TaskError(f"{source}, line {row.line}: the header appears only here", "remove the lines before it")
    if _is_data(table):
        first = table.delimiter.join(header.cells)[:_LONG]
        hint = f"begin it with the names of the columns, such as {table.delimiter.join(g[0] for g in needed)!r}"
        raise TaskError(f"{where}: no header row, the first line is data ({first!r})", hint)
    hint = "the first line is the header; data.fields names other columns, such as {input: text, target: label}"
    raise TaskError(f"{where}: no column {missing[0]!r} ({nearest(missing[0], {*names} - {''})})", hint)


def _is_divided(lines: Sequence[str], delimiter: str, divider: str, needed: Needed) -> bool:
    """Return whether another divider makes the columns, or makes columns where the right one makes none."""
    if _has(_divided(lines[0], divider), needed):
        return True
    widths = {len(_divided(line, divider)) for line in lines}
    return len(lines) > 1 and len(widths) == 1 and widths != {1} and len(_divided(lines[0], delimiter)) == 1


def _divided(line: str, divider: str) -> list[str]:
    return next(csv.reader([line], delimiter=divider), []) if divider != "\t" else line.split("\t")


def _has(cells: Sequence[str], needed: Needed) -> bool:
    names = {column_name(cell) for cell in cells}
    return all(names & set(group) for group in needed)


def _is_data(table: _Table) -> bool:
    """Return whether the header has a value of the rows below it, or a text too long for a name."""
    for place, name in enumerate(table.header.cells):
        below = {row.cells[place].strip() for row in table.rows if len(row.cells) > place}
        if name.strip() and (name.strip() in below or len(name) > _LONG):
            return True
    return False


def _records(table: _Table) -> Iterator[Record]:
    names = table.header.cells
    needed = len(names) - next((n for n, name in enumerate(reversed(names)) if name.strip()), 0)
    for row in table.rows:
        lines = row.end - row.line + 1
        cells = list(row.cells)
        if cells == list(names):
            yield Record(row.line, BadRow("the header stands here again; were files put together?"), lines)
        elif len(cells) < needed or any(cell.strip() for cell in cells[len(names) :]):
            yield Record(row.line, BadRow(_ragged(table, row)), lines)
        else:
            yield Record(row.line, by_column(zip(names, cells, strict=False)), lines)


def _ragged(table: _Table, row: _Row) -> str:
    found, wanted = len(row.cells), len(table.header.cells)
    reason = f"{found} column{'s'[: found != 1]}, the header has {wanted}"
    if row.end > row.line:
        return f"a quoted field continues to line {row.end}; then the row has {reason}"
    if table.delimiter == "\t" and any(cell.count('"') % 2 for cell in row.cells):
        reason += " (a quote mark joins neither cells nor lines in a TSV file)"
    return reason


def _plain_rows(text: str, delimiter: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        yield _Row(number, number, line.removesuffix("\r").split(delimiter))


def _quoted_rows(source: str, text: str, delimiter: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(len(text) + 1)  # columns that nobody needs may be of any length
    line = 1
    try:
        for cells in reader:
            yield _Row(line, reader.line_num, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        end = f" to {reader.line_num}" if reader.line_num > line else ""
        why, hint = _RETURN if "new-line" in str(error) else (error, _QUOTES)
        raise TaskError(f"{source}, line {line}{end}: this row cannot be read ({why})", hint) from None
    finally:
        csv.field_size_limit(limit)
