"""What differs between two runs, for people and as JSON. Level 10."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from localprompt.cli.changed_rows import row_parts
from localprompt.cli.output import difference_text, print_parts, shown
from localprompt.cli.printable import cut, printable, printable_line
from localprompt.cli.run_facts import listed
from localprompt.cli.tables import table, within
from localprompt.interface.rounding import score_text
from localprompt.reports.verdict import search_seconds
from localprompt.run.difference import RunDifference
from localprompt.run.history import RunHistory
from localprompt.run.results import RunResult
from localprompt.store.plain import plain
from localprompt.store.records import DamagedRun

_SHOWN = 3
_CHARS = 60
"""Of a value of the set-up."""
_MARKS = {"same": ("", "", ""), "removed": ("[-", "-]", "red"), "added": ("{+", "+}", "green")}
"""Before and after words, and their colour."""


def difference_json(runs: Sequence[RunHistory], found: RunDifference) -> dict[str, Any]:
    """Return the difference as plain data, with both runs as lists show them and their results."""
    first, second = (
        {**listed(each.run, each.status), "result": None if isinstance(each.run, DamagedRun) else each.run.result}
        for each in runs
    )
    return {
        "first": first,
        "second": second,
        "setup": plain(found.setup),
        "wording": plain(found.wording),
        "difference": plain(found.difference),
        "verdict": found.verdict or None,
        "not_compared": found.not_compared,
        "changed_rows": [row.to_json() for row in found.rows if row.before.score != row.after.score],
    }


def print_difference(runs: Sequence[RunHistory], found: RunDifference, *, rows: bool) -> None:
    """Print which run found the better prompt, then set-up, prompts, rows, and with `rows` all that differ."""
    parts: list[RenderableType] = [_verdict(found), Text(""), *_runs(runs), Text(""), *_setup(runs, found), Text("")]
    print_parts([*parts, *_prompts(runs, found), *_rows(found, len(found.rows) if rows else _SHOWN)])


def _verdict(found: RunDifference) -> Text:
    if found.difference is None:
        return Text(f"not compared row by row: {found.not_compared}", style="bold")
    text = Text(found.verdict, style="bold")
    numbers = difference_text(found.difference)
    return text.append(f": second - first is {numbers} on the {len(found.rows)} test rows of both", style="not bold")


def _runs(runs: Sequence[RunHistory]) -> list[RenderableType]:
    """Return what each found, and what it cost."""
    named = list(zip(("first", "second"), runs, strict=True))
    scores = ("", "run", "seed", "found", "95 % interval", "examples")
    spends = ("", "verdict", "tokens", "calls", "seconds")
    return [
        table(scores, ((name, each.run.id, *_scores(each.result)) for name, each in named), right=scores[2:]),
        Text(""),
        table(spends, ((name, *_spend(each)) for name, each in named), right=spends[2:], wide=spends[1:2]),
    ]


def _scores(result: RunResult | None) -> tuple[str, ...]:
    if result is None or (test := result.test) is None:
        return ("-",) * 4
    return score_text(test.seed.mean), score_text(test.best.mean), within(test.best, 3), str(test.best.n)


def _spend(history: RunHistory) -> tuple[str, ...]:
    if (result := history.result) is None:
        return (f"no result, {history.status}", *("-",) * 3)
    spend = result.spend + result.final_evaluation
    tokens = spend.tokens_computed or spend.tokens_requested  # runs of before were not counted so
    seconds = (search_seconds(history) or 0.0) + result.final_evaluation.seconds
    return result.verdict, f"{tokens:,}", f"{spend.calls:,}", f"{seconds:.0f}"


def _setup(runs: Sequence[RunHistory], found: RunDifference) -> list[RenderableType]:
    if any(isinstance(each.run, DamagedRun) for each in runs):
        return [Text("how a run was set up cannot be read: it is damaged", style="red")]
    if not found.setup:
        return [Text("both were set up alike")]
    lines = [(each.name, _short(each.first), _short(each.second)) for each in found.setup]
    return [table(("set-up", "first", "second"), lines, wide=("first", "second"))]


def _short(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
    return cut(text, _CHARS)


def _prompts(runs: Sequence[RunHistory], found: RunDifference) -> list[RenderableType]:
    """Return what becomes of the words of the first found prompt, and of its worked examples."""
    first, second = (each.result.best if each.result else None for each in runs)
    if first is None or second is None:
        return []
    if first == second:
        return [Text("both found the same prompt:", style="bold"), Text(printable(shown(first)))]
    text = Text()
    for each in found.wording:
        before, after, colour = _MARKS[each.change]
        text.append(f"{before}{printable(each.text)}{after}", style=colour)
    parts: list[RenderableType] = [
        Text("from the first found instruction to the second:", style="bold"),
        text if text.plain else Text("(both have no instruction)", style="dim"),
    ]
    if first.demos or second.demos:
        both = len([demo for demo in first.demos if demo in second.demos])
        parts.append(Text(f"worked examples: {len(first.demos)} and {len(second.demos)}, {both} of them in both"))
    return parts


def _rows(found: RunDifference, most: int) -> list[RenderableType]:
    if not found.rows:
        return []
    first, second = ([row for row in found.rows if row.change == change] for change in ("broken", "fixed"))
    counts = f"{len(first)} better with the first, {len(second)} with the second"
    parts: list[RenderableType] = [Text(f"\ntest rows: {counts}, {len(found.rows) - len(first) - len(second)} alike")]
    for name, better in (("first", first), ("second", second)):
        parts += [part for row in better[:most] for part in row_parts(row, name, ("first", "second"))]
    note = "both were measured on these rows, so a run that is chosen by them looks better than it is"
    return [*parts, Text(printable_line(f"Note: {note}."), style="yellow")]
