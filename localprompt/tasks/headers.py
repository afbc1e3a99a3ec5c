"""Whether a table has the columns that a task names, and what is the matter where it has not. Level 3."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from localprompt.errors import TaskError, nearest
from localprompt.tasks.records import column_name
from localprompt.tasks.tables import Table, quoting_error

_DIVIDERS = {",": "commas", ";": "';'", "\t": "tabs", "|": "'|'"}
_CALLED = {",": ", or call it .csv", "\t": ", or call it .tsv"}
_JSON = re.compile(r'\s*(\{\s*["}]|\[\s*[{\["])')
_SEP = re.compile(r"""["']?sep=(.)["']?[,;\t|]*\s*""", re.IGNORECASE)
_LOOKED_AT = 10
"""Lines, or rows, that tell what the others are."""
_LONG = 60
"""Characters that no name of a column has."""

Needed = Sequence[Sequence[str]]
"""Names of columns; of each group one is enough."""


def check_kind(source: str, text: str, delimiter: str, needed: Needed) -> None:
    """Raise if a text is no table with that delimiter: JSON, Excel's `sep=` line, or a table divided in another way.

    Raises:
        TaskError: naming the fault once, with what to do.
    """
    lines = [line.strip("\r") for line in text.split("\n") if line.strip()][:_LOOKED_AT]
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


def check_header(source: str, table: Table, needed: Needed) -> None:
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
        problem = f"line {header.line}: a quote mark makes the header go on to line {header.end}"
        raise quoting_error(source, f"{problem}, and it has no column {missing[0]!r}")
    for row in table.rows[:_LOOKED_AT]:
        if _has(row.cells, needed):
            raise TaskError(f"{source}, line {row.line}: the header stands only here", "remove the lines before it")
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


def _is_data(table: Table) -> bool:
    """Return whether the header has a value of the rows below it, or a text too long for a name."""
    for place, name in enumerate(table.header.cells):
        below = {row.cells[place].strip() for row in table.rows if len(row.cells) > place}
        if name.strip() and (name.strip() in below or len(name) > _LONG):
            return True
    return False
