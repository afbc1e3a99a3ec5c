"""Test rows with the seed prompt and with the found prompt, for people. Level 10."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from localprompt.cli.printable import cut, printable_line
from localprompt.interface.rounding import score_text
from localprompt.run.history import TestRow
from localprompt.types import Example, Outcome

_LONGEST = 160
"""Characters of an input, a target or an answer."""


def changed_parts(rows: Sequence[TestRow], most: int = 3) -> list[RenderableType]:
    """Return how many test rows were fixed and broken, and the first of each kind."""
    fixed, broken = ([row for row in rows if row.change == change] for change in ("fixed", "broken"))
    shown = [*fixed[:most], *broken[:most]]
    if not shown:
        return []
    such = ", such as" if len(shown) < len(fixed) + len(broken) else ""
    heading = Text(f"test rows that changed: {len(fixed)} fixed, {len(broken)} broken{such}")
    return [heading, *(line for row in shown for line in row_parts(row, row.change))]


def all_rows_parts(rows: Sequence[TestRow]) -> list[RenderableType]:
    """Return how many rows there are of each kind, and all of them with both answers and margins in nats."""
    counts = Counter(row.change for row in rows)
    kinds = ", ".join(f"{n} {change}" for change, n in counts.most_common()) or "none is known with both prompts"
    lines = (line for row in rows for line in row_parts(row, row.change, with_margins=True))
    return [Text(f"test rows: {kinds}"), *lines]


def row_parts(
    row: TestRow, heading: str, names: tuple[str, str] = ("before", "after"), *, with_margins: bool = False
) -> list[RenderableType]:
    """Return a row as two lines: its input behind a heading, and the right answer beside the two that were given."""
    answers = zip(names, (row.before, row.after), strict=True)
    margins = _margin if with_margins else lambda _: ""
    told = ", ".join(f"{name} {_cut(_answer(outcome))}{margins(outcome)}" for name, outcome in answers)
    return [
        Text(f"{heading:6}  {_inputs(row.example)}"),
        Text(f"        target {_cut(row.example.targets[0])}, {told}", style="dim"),
    ]


def _inputs(example: Example) -> str:
    named = [value if len(example.inputs) == 1 else f"{name}: {value}" for name, value in example.inputs.items()]
    return " | ".join(map(_cut, named))


def _answer(outcome: Outcome) -> str:
    return "(failed)" if outcome.failed else "(no answer)" if outcome.prediction is None else outcome.prediction


def _margin(outcome: Outcome) -> str:
    return "" if outcome.margin is None else f" (margin {score_text(outcome.margin, 1, '+')})"


def _cut(text: str) -> str:
    return printable_line(cut(text, _LONGEST))
