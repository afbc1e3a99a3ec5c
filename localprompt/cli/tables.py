"""Tables for a terminal. Level 10. Cells are shown as text: never as markup, never with control characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from rich.table import Table
from rich.text import Text

from localprompt.cli.printable import printable_line
from localprompt.interface.rounding import p_text, score_text


class _Known(Protocol):
    """What has ends, as far as they are known."""

    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), wide: Sequence[str] = ()
) -> Table:
    """Return a table with a line a row.

    Args:
        columns: their names.
        rows: the cells of each row.
        right: columns of numbers, which stand on the right.
        wide: columns that take several lines on a narrow terminal, so that no number is cut; none: all of texts.
    """
    made = Table(box=None, pad_edge=False, header_style="bold")
    wide = wide or [name for name in columns if name not in right]
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


def two(score: float | None) -> str:
    """Return the cell of a score, with two digits; empty where none is known."""
    return "" if score is None else score_text(score, 2)


def signed(difference: float) -> str:
    """Return the cell of a difference, with its sign and two digits."""
    return score_text(difference, 2, "+")


def within(found: _Known | None, digits: int = 2, sign: str = "") -> str:
    """Return the cell of an interval, `0.50 to 0.71`; empty where an end is not known."""
    if found is None or found.low is None or found.high is None:
        return ""
    return f"{score_text(found.low, digits, sign)} to {score_text(found.high, digits, sign)}"


def p_cell(p: float) -> str:
    """Return the cell of a p-value, whose column says what it is."""
    return p_text(p, 3).removeprefix("p = ").removeprefix("p ")
