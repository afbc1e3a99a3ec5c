"""A run of the store for people: first what it found, then what it cost; how it was set up if wanted. Level 10."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from localprompt.cli.changed_rows import ChangedRow, changed_parts
from localprompt.cli.output import (
    boxed,
    cost_parts,
    discard_parts,
    evidence_parts,
    note_parts,
    print_parts,
    runner_up_parts,
)
from localprompt.cli.printable import printable, printable_line
from localprompt.cli.run_facts import at, outcome, state, when
from localprompt.cli.tables import facts_table, table
from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.interface.rounding import score_text
from localprompt.run.config import resume_command
from localprompt.run.results import RunResult
from localprompt.search.observer import pluralize
from localprompt.store.plain import read
from localprompt.types import Prompt

_LINEAGE = 6
_CHARS = 40
"""Of an instruction in a table."""


def print_facts(facts: dict[str, Any], store: Path, changed: Sequence[ChangedRow], *, top: int, settings: bool) -> None:
    """Print what is known of a run, its changed rows and `top` best candidates, and with `settings` its set-up."""
    result = _result(facts)
    parts: list[RenderableType] = [*_heading(facts), Text("")]
    if result:
        parts += [*evidence_parts(result), *changed_parts(changed), *runner_up_parts(result), *_front(result)]
    else:
        parts += _so_far(facts)
    parts += _candidate_parts(facts["candidates"], top)
    parts.append(Text(""))
    parts += cost_parts(result) if result else [Text(printable_line(f"spend: {_plain_spend(facts)}"))]
    parts += [*discard_parts(facts["discards"]), *_notes(facts, result), *_go_on(facts, store)]
    if settings:
        parts += [Text(""), _settings(facts)]
    elif facts["configuration"] is not None:
        more = command("runs", "show", facts["run_id"], "--settings", store=store)
        parts.append(Text(printable(f"{more} says how it was set up"), style="dim"))
    print_parts(parts)


def _result(facts: dict[str, Any]) -> RunResult | None:
    """Return the result, None where there is none or it is another version's."""
    try:
        return None if facts["result"] is None else RunResult.from_json(facts["result"])
    except StoreError:
        return None


def _heading(facts: dict[str, Any]) -> list[RenderableType]:
    seed = "" if facts["seed"] is None else f", seed {facts['seed']}"
    proposer = "" if facts["proposer"] == facts["model"] else f", prompts by {facts['proposer']}"
    stopped = f": {facts['stopped']}" if facts["stopped"] else ""
    times = f" ({when(facts['created'])} to {when(facts['updated'])})" if facts["created"] is not None else ""
    objective = at(facts["configuration"], "objective")
    aim = "" if objective is None else f", objective {objective}"
    about = f"run {facts['run_id']}: {facts['task']}, {facts['method']}{seed}, {facts['model']}{proposer}{aim}"
    return [Text(printable_line(about), style="bold"), Text(printable_line(f"{state(facts)}{stopped}{times}"))]


def _front(result: RunResult) -> list[RenderableType]:
    """Return a table of what each length of prompt buys on dev; nothing where only one prompt is not beaten."""
    if len(result.front) < 2:
        return []
    marks = {result.seed_prompt.id: "seed", result.best.id: "found"}
    columns = ("", "dev score", "tokens", "demos", "instruction")
    rows = [
        (
            marks.get(each.prompt.id, ""),
            score_text(each.mean),
            f"{each.tokens:,}",
            str(len(each.prompt.demos)),
            textwrap.shorten(each.prompt.instruction, _CHARS, placeholder=" …") or "(no instruction)",
        )
        for each in result.front
    ]
    heading = Text("\nprompts that no other beats in both score and length:", style="bold")
    return [heading, table(columns, rows, right=columns[1:4])]


def _so_far(facts: dict[str, Any]) -> list[RenderableType]:
    """Return what is known of a run without a result that can be read: its best prompt on dev."""
    parts: list[RenderableType] = [Text(printable_line(f"test: {outcome(facts)}"))] if facts["test"] else []
    best = next((each for each in facts["candidates"] if each["dev"]["n"]), None)
    if best is None:
        return [*parts, Text("no prompt was scored yet")]
    score = f"{score_text(best['dev']['mean'])} on {best['dev']['n']} dev examples"
    return [*parts, boxed(f"Best prompt so far, {score}", read(Prompt, best["prompt"]))]


def _candidate_parts(candidates: Sequence[dict[str, Any]], top: int) -> list[RenderableType]:
    by_id = {each["prompt_id"]: each for each in candidates}
    heading = f"\n{pluralize(len(candidates), 'candidate')}, the best first:"
    parts: list[RenderableType] = [Text(heading, style="bold")]
    for each in candidates[:top]:
        mean, n = each["dev"]["mean"], each["dev"]["n"]
        score = "not scored" if mean is None else f"dev {score_text(mean)} on {n}"
        demos = len(each["prompt"]["demos"])
        shots = f", {demos} demos" if demos else ""
        line = f"{each['prompt_id']}  {score}{shots}  {_lineage(each, by_id)}"
        parts.append(Text(printable_line(line), style="dim"))
        parts.append(Text(printable(each["prompt"]["instruction"]) or "(no instruction)"))
    return parts


def _lineage(candidate: dict[str, Any], by_id: dict[str, dict[str, Any]]) -> str:
    """Return how a prompt came about, back to the first of its ancestors: `resample < forward < seed`."""
    steps: list[str] = []
    each: dict[str, Any] | None = candidate
    while each is not None and len(steps) < _LINEAGE:
        parents = each["parents"]
        steps.append(f"{each['op']} of {len(parents)}" if len(parents) > 1 else each["op"])
        each = by_id.get(parents[0]) if parents else None
    return " < ".join(steps) + (" < ..." if each is not None else "")


def _plain_spend(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in _items(facts["spend"])) or "not known"


def _notes(facts: dict[str, Any], result: RunResult | None) -> list[RenderableType]:
    noted = [event["text"] for event in facts["events"] if event["kind"] == "note"]
    texts = dict.fromkeys([*(result.notes if result else ()), *noted])
    damage = [Text(f"Damage: {printable_line(text)}", style="red") for text in facts["damage"]]
    return [*note_parts(texts), *damage]


def _go_on(facts: dict[str, Any], store: Path) -> list[RenderableType]:
    """Return how to go on with a run that did not reach its end, or what to do about one that cannot be read."""
    if facts["status"] == "damaged":
        look = command("runs", "check", store=store)
        remove = command("runs", "delete", facts["run_id"], store=store)
        text = f"{look} says how far the damage goes; {remove} removes the run"
    elif facts["status"] in ("paused", "failed", "interrupted") or facts["stopped"]:
        further = " with a higher limit" if facts["status"] == "finished" else ""
        text = f"{resume_command(facts['run_id'], facts['configuration'], store)}{further} continues"
    else:
        return []
    return [Text(printable(text), style="yellow")]


def _settings(facts: dict[str, Any]) -> RenderableType:
    """Return the configuration by name; what is long, such as a whole task, is for --json."""
    rows: list[tuple[str, object]] = []
    for name, value in _items(facts["configuration"]):
        parts = _items(value)
        rows += [(f"{name}.{key}", part) for key, part in parts] if parts else [(name, value)]
    return facts_table((name, _short(value)) for name, value in rows)


def _items(value: object) -> list[tuple[str, object]]:
    return list(value.items()) if isinstance(value, dict) else []


def _short(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        text = f"{value:,}"
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
