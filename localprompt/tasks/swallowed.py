"""Rows that a stray quote mark of a CSV file has joined into one field. Level 3.

A quote mark at the beginning of an ordinary field opens a quoted one, which ends where the next stray quote mark
happens to stand; the rows between become text. A field that is meant to have several lines, such as code or an address,
looks otherwise: its lines are no rows of this table.
"""

from __future__ import annotations

from localprompt.tasks.tables import Table, TableRow, quoting_error

_MAX_SHOWN = 5
_ROWS_PER_VALUE = 5
"""A column whose values repeat so often on average is a choice of few, such as the label."""
_TELLING = 4
"""Lines that look like rows by their commas alone; fewer do so by chance."""


def check_quoting(source: str, table: Table) -> None:
    """Raise if a field in quote marks holds what are rows of the table.

    Raises:
        TaskError: naming where the first such fields begin and end, and how many rows each holds.
    """
    found = [
        f"line {row.line}: a quote mark opens a field that ends only in line {row.end} and joins {count} rows"
        for row, count in _swallowing(table)
    ]
    if found:
        more = f"; and {len(found) - _MAX_SHOWN} more" if len(found) > _MAX_SHOWN else ""
        raise quoting_error(source, "; ".join(found[:_MAX_SHOWN]) + more)


def _swallowing(table: Table) -> list[tuple[TableRow, int]]:
    """Return the rows, the header too, that are several rows joined by quote marks, and how many each joins."""
    joins = [(row, joined) for row in (table.header, *table.rows) if (joined := _joined(table, row))]
    choices = _choices(table, {row.line for row, _ in joins}) if joins else {}
    return [(row, len(joined)) for row, joined in joins if row is table.header or _are_rows(table, joined, choices)]


def _joined(table: Table, row: TableRow) -> list[dict[int, str]]:
    """Return the rows that the lines of a row would be by themselves; none if one of them would be no row.

    Of each there are the cells, by their places, that stand inside the quote marks.
    """
    broken = [place for place, cell in enumerate(row.cells) if "\n" in cell]
    width = len(table.header.cells)
    if len(broken) != 1 or width < 2:
        return []
    place = broken[0]
    first, *middle, last = (line.split(table.delimiter) for line in row.cells[place].split("\n"))
    lines = [first, *(cells for cells in middle if "".join(cells).strip()), last]
    widths = [width - place, *[width] * (len(lines) - 2), place + 1]
    if len(row.cells) != width or [len(cells) for cells in lines] != widths:
        return []
    return [dict(enumerate(cells, start=0 if number else place)) for number, cells in enumerate(lines)]


def _choices(table: Table, suspects: set[int]) -> dict[int, set[str]]:
    """Return the values of each column that has few of them, by its place."""
    width = len(table.header.cells)
    sure = [row.cells for row in table.rows if row.line not in suspects and len(row.cells) == width]
    columns = [{cell.strip() for cell in column} for column in zip(*sure, strict=True)]
    few = len(sure) / _ROWS_PER_VALUE
    return {place: values for place, values in enumerate(columns) if len(values) <= few and values != {""}}


def _are_rows(table: Table, joined: list[dict[int, str]], choices: dict[int, set[str]]) -> bool:
    chosen = [cell.strip() in choices[place] for cells in joined for place, cell in cells.items() if place in choices]
    if chosen:
        return sum(chosen) * 2 > len(chosen)
    # In a text a comma stands before a space or ends a line; between columns only if it does so in the header too.
    by_chance = not _is_spaced(dict(enumerate(table.header.cells))) and any(map(_is_spaced, joined))
    return len(joined) >= _TELLING and not by_chance


def _is_spaced(cells: dict[int, str]) -> bool:
    return any(place > 0 and (not cell or cell[0].isspace()) for place, cell in cells.items())
