"""CSV and TSV: the lines of a table, and its header. Level 3.

CSV has quoting (RFC 4180): a field in quote marks may hold commas and line breaks, and a quote mark written twice. TSV
has none (IANA text/tab-separated-values): a quote mark is a character like any other.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from localprompt.errors import TaskError
from localprompt.tasks.records import BadRow, Record, by_column

_QUOTES = (
    'a quote mark that is text is written twice, in a field in quotes: """Twas"; '
    "texts of many lines are safer in a .jsonl file"
)


@dataclass(frozen=True, slots=True)
class TableRow:
    """The cells of a row, and the first and last line that it takes."""

    line: int
    end: int
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is written; rows whose cells are all empty, as spreadsheets leave them, are not in it."""

    delimiter: str
    header: TableRow
    rows: Sequence[TableRow] = field(repr=False)


def read_table(source: str, text: str, delimiter: str) -> Table:
    """Return the table that a text holds; one divided by commas has quoting.

    Raises:
        TaskError: if a quoted field never ends, or ends in the middle of a text; if there is no row at all.
    """
    rows = _quoted_rows(source, text, delimiter) if delimiter == "," else _plain_rows(text, delimiter)
    filled = [row for row in rows if any(cell.strip() for cell in row.cells)]
    if not filled:
        raise TaskError(f"{source}: holds no rows", "a data file has one example a row")
    return Table(delimiter, filled[0], filled[1:])


def table_records(table: Table) -> Iterator[Record]:
    """Yield each row by the names of the columns; cells without a column, or of one without a name, may be missing."""
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


def quoting_error(source: str, problem: str) -> TaskError:
    """Return the error about quote marks in a CSV file that are doubtful, with what to do."""
    return TaskError(f"{source}, {problem}", _QUOTES)


def _ragged(table: Table, row: TableRow) -> str:
    found, wanted = len(row.cells), len(table.header.cells)
    reason = f"{found} column{'s'[: found != 1]}, the header has {wanted}"
    if row.end > row.line:
        return f"a quoted field goes on to line {row.end}; then the row has {reason}"
    if table.delimiter == "\t" and any(cell.count('"') % 2 for cell in row.cells):
        reason += " (a quote mark joins neither cells nor lines in a TSV file)"
    return reason


def _plain_rows(text: str, delimiter: str) -> Iterator[TableRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        yield TableRow(number, number, line.removesuffix("\r").split(delimiter))


def _quoted_rows(source: str, text: str, delimiter: str) -> Iterator[TableRow]:
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield TableRow(line, reader.line_num, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise _torn(source, str(error), line, reader.line_num) from None


def _torn(source: str, error: str, line: int, end: int) -> TaskError:
    """Return in words why the csv module cannot read on, in line `end`, a row that begins in `line`."""
    opened = f"line {line}: a quote mark opens a field that"
    if "unexpected end" in error:
        return quoting_error(source, f"{opened} never ends")
    if "expected after" in error:
        return quoting_error(source, f"{opened} ends in line {end} in the middle of a text")
    if "field limit" in error and end > line:
        return quoting_error(source, f"{opened} has not ended in line {end}, {csv.field_size_limit()} characters later")
    if "new-line" in error:
        return TaskError(f"{source}, line {end}: a carriage return in the middle", "end lines with line feeds (\\n)")
    return TaskError(f"{source}, line {end}: {error}", "mend or remove this line")
