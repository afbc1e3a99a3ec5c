"""Test rows that the found prompt fixes or breaks, from what the store keeps of a run. Level 10."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from localprompt.cli.printable import printable_line
from localprompt.cli.run_facts import at
from localprompt.errors import StoreError
from localprompt.run.results import RunResult
from localprompt.store.plain import plain
from localprompt.tasks.stored import read_example
from localprompt.types import Example, Outcome

if TYPE_CHECKING:
    from localprompt.store import Store

_SHOWN = 3
_LONGEST = 160
"""Characters of an input, a target or an answer."""


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A test row on which seed prompt and found prompt have different scores."""

    example: Example
    before: Outcome
    """With the seed prompt."""
    after: Outcome
    """With the found prompt."""

    @property
    def is_fixed(self) -> bool:
        """True if the found prompt has the higher score, False if it has the lower one."""
        return self.after.score > self.before.score

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain data."""
        found: dict[str, Any] = plain(self)
        example = found.pop("example")
        return {"example_id": example.pop("id"), **example, **found}


def changed_rows(store: Store, run_id: str) -> list[ChangedRow]:
    """Return the test rows that changed, in the order of the task; none where the store does not know them.

    Of a cross-validated task they are those of all folds, each with the prompts of the search that was tested on it.
    """
    with suppress(StoreError, TypeError, ValueError):  # of another version, or damaged: `runs check` says that
        record = store.runs.get(run_id)
        if folds := at(record.configuration, "cross_validation", "runs"):
            return [row for fold in folds for row in changed_rows(store, fold)]
        result = RunResult.from_json(record.result or {})
        examples = map(read_example, at(record.configuration, "task", "test") or ())
        known = {each.prompt.id: each.outcomes for each in store.runs.evaluations(run_id, "test")}
        before, after = (
            {outcome.example_id: outcome for outcome in known.get(prompt.id, ())}
            for prompt in (result.seed_prompt, result.best)
        )
        both = before.keys() & after
        rows = [ChangedRow(each, before[each.id], after[each.id]) for each in examples if each.id in both]
        return [row for row in rows if row.before.score != row.after.score]
    return []


def changed_parts(rows: Sequence[ChangedRow]) -> list[RenderableType]:
    """Return how many rows were fixed and broken, and up to three of them, one of which is a broken one."""
    fixed, broken = ([row for row in rows if row.is_fixed is which] for which in (True, False))
    shown = [*fixed[: _SHOWN - bool(broken)], *broken][:_SHOWN]
    such = ", such as" if len(shown) < len(rows) else ""
    parts: list[RenderableType] = (
        [Text(f"test rows that changed: {len(fixed)} fixed, {len(broken)} broken{such}")] if rows else []
    )
    for row in shown:
        target, before, after = map(_cut, (row.example.targets[0], _answer(row.before), _answer(row.after)))
        what = "fixed " if row.is_fixed else "broken"
        parts += [
            Text(f"{what}  {_inputs(row.example)}"),
            Text(f"        target {target}, before {before}, after {after}", style="dim"),
        ]
    return parts


def _inputs(example: Example) -> str:
    named = [value if len(example.inputs) == 1 else f"{name}: {value}" for name, value in example.inputs.items()]
    return " | ".join(map(_cut, named))


def _answer(outcome: Outcome) -> str:
    return "(failed)" if outcome.failed else "(no answer)" if outcome.prediction is None else outcome.prediction


def _cut(text: str) -> str:
    return printable_line(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
