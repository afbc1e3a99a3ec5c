"""Tables for a terminal. Level 10. Cells are shown as text: never as markup, never with control characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from localprompt.cli.printable import printable_line


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), wide: Sequence[str] = ()
) -> Table:
    """Return a table with a line a row.

    Args:
        columns: their names.
        rows: the cells of each row.
        right: columns of numbers, which stand on the right.
        wide: columns that take several lines on a narrow terminal; cut short they would say nothing.
    """
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name not in wide,
            overflow="fold" if name in wide else "ellipsis",
        )
    for row in rows:
        made.add_row(*(Text(printable_line(cell)) for cell in row))
    return made


def facts_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Return names with what is known under each."""
    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(Text(printable_line(name)), Text(printable_line(value)))
    return made
