"""A run of the store for people: first what it found, then what it cost; the rest behind options. Level 10."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from localprompt.cli.changed_rows import all_rows_parts, changed_parts
from localprompt.cli.output import (
    boxed,
    discard_parts,
    estimate_text,
    note_parts,
    print_parts,
    shown,
    test_parts,
    turn_parts,
)
from localprompt.cli.printable import cut, printable, printable_line
from localprompt.cli.run_facts import at, discards_of, listed, outcome, state, when
from localprompt.cli.streams import say_json
from localprompt.cli.tables import facts_table, table
from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.interface.rounding import score_text
from localprompt.reports.run_report import fates_of, higher_limit
from localprompt.reports.verdict import verdict_of
from localprompt.run.config import resume_command
from localprompt.run.history import RunHistory, read_history
from localprompt.run.results import RunResult
from localprompt.search.observer import pluralize
from localprompt.store import Store
from localprompt.store.records import DamagedRun
from localprompt.types import Candidate, Prompt

_Run = Mapping[str, Any]
"""As `listed` makes it."""
_LINEAGE = 6
_CHARS = 40
"""Of an instruction in a table of lengths."""
_TOP = 5
_TOP_CHARS = 160
"""Of an instruction in the table of the best prompts."""
_DEMOS = 2
_STYLES = {"significant improvement": "bold green", "significantly worse": "bold red"}
"""Of verdicts."""


def print_run(result: RunResult, store: Path | None, *, as_json: bool = False) -> None:
    """Print what a search found as `print_history` does; where the store cannot be read, at least the prompt."""
    if as_json:
        say_json(result.to_json())
        return
    try:
        with Store(store, create=False) as opened:
            history, path = read_history(opened, result.run_id), opened.path
    except StoreError as error:
        print_parts([boxed("Best prompt", result.best), *note_parts([error.message])])
    else:
        print_history(replace(history, result=result), path)


def print_history(
    history: RunHistory, store: Path, *, candidates: bool = False, rows: bool = False, settings: bool = False
) -> None:
    """Print what is known of a run, and of three things all: its candidates, its test rows, its set-up."""
    result, run = history.result, listed(history.run, history.status)
    configuration = {} if isinstance(history.run, DamagedRun) else history.run.configuration
    most_demos = None if candidates else _DEMOS
    parts: list[RenderableType] = [*_heading(run, result, configuration), Text("")]
    parts += _found(result, most_demos) if result else _so_far(history, most_demos)
    parts += _candidate_parts(history) + _front(result) if candidates else _best(history)
    changed = all_rows_parts(history.test_rows) if rows else changed_parts(history.test_rows)
    parts += [Text(""), *changed, *([Text("")] if changed else [])]
    parts += _findings(history, result) if result else [Text(f"spend: {_plain_spend(history)}")]
    parts += [*discard_parts(discards_of(history)), *_notes(history), *_go_on(run, result, configuration, store)]
    parts += [Text(""), _settings(configuration)] if settings else []
    parts += _more(history, store)
    print_parts(parts)


def _findings(history: RunHistory, result: RunResult) -> list[RenderableType]:
    """Return what the verdict rests on, what each operator of the search gained, and what all of it cost."""
    verdict = verdict_of(history, None)
    reasons = [Text(printable(text.replace("\u2212", "-"))) for text in verdict.reasons]
    cost = [Text(text, style="dim") for text in verdict.cost]
    if result.expected is not None:
        cost.append(Text(f"It was expected to take {estimate_text(result.expected)}.", style="dim"))
    return [*reasons, *turn_parts(result.turns), *cost]


def _more(history: RunHistory, store: Path) -> list[RenderableType]:
    """Return where the rest is; nothing for a run that cannot be read."""
    if isinstance(history.run, DamagedRun):
        return []
    n = len(history.candidates)
    rest = f"--candidates (all {n}), --rows, --settings or --json" if n else "--settings or --json"
    texts = (
        f"{command('runs', 'show', history.run.id, store=store)} with {rest} says more",
        f"{command('report', history.run.id, store=store)} makes a page of it",
    )
    return [Text(printable(text), style="dim") for text in texts]


def _heading(
    run: Mapping[str, Any], result: RunResult | None, configuration: Mapping[str, Any]
) -> list[RenderableType]:
    seed = "" if run["seed"] is None else f", seed {run['seed']}"
    proposer = "" if run["proposer"] == run["model"] else f", prompts by {run['proposer']}"
    why = result.stopped if result and result.stopped else run["stopped"]  # a replay may end elsewhere
    stopped = f": {why}" if why else ""
    times = f" ({when(run['created'])} to {when(run['updated'])})" if run["created"] is not None else ""
    objective = at(configuration, "objective")
    aim = "" if objective is None else f", objective {objective}"
    about = f"run {run['run_id']}: {run['task']}, {run['method']}{seed}, {run['model']}{proposer}{aim}"
    return [
        _verdict(run, result),
        Text(printable_line(about), style="bold"),
        Text(printable_line(f"{state(run)}{stopped}{times}"), style="dim"),
    ]


def _verdict(run: _Run, result: RunResult | None) -> Text:
    """Return what came out: the verdict, and the scores on test behind it."""
    if result is None:
        is_there = run["status"] == "damaged" or run["verdict"] is not None
        none = "no result that can be read" if is_there else "no result yet"
        return Text(printable_line(outcome(run) if run["test"] else none), style="bold")
    text = Text(result.verdict, style=_STYLES.get(result.verdict, "bold yellow"))
    if result.test is None:
        return text
    seed, best = (score_text(each.mean) for each in (result.test.seed, result.test.best))
    scores = f"{seed} to {best} on test" if result.found_better else f"the seed prompt scores {seed} on test"
    if not result.found_better and best != seed:
        scores = f"the search on all rows keeps the seed prompt; those without a fold went from {seed} to {best} on it"
    return text.append(f": {scores}", style="not bold")


def _found(result: RunResult, most_demos: int | None) -> list[RenderableType]:
    """Return the found prompt, the seed prompt, and their scores on test."""
    seed = boxed("Seed prompt", result.seed_prompt, most_demos)  # where nothing better was found it is the found one
    prompts = [boxed("Found prompt", result.best, most_demos), seed] if result.found_better else [seed]
    return [*prompts, *test_parts(result)]


def _front(result: RunResult | None) -> list[RenderableType]:
    """Return a table of what each length of prompt buys on dev; nothing where only one prompt is not beaten."""
    if result is None or len(result.front) < 2:
        return []
    marks = {result.seed_prompt.id: "seed", result.best.id: "found"}
    columns = ("", "dev score", "tokens", "demos", "instruction")
    rows = [
        (
            marks.get(each.prompt.id, ""),
            score_text(each.mean),
            f"{each.tokens:,}",
            str(len(each.prompt.demos)),
            cut(each.prompt.instruction, _CHARS) or "(no instruction)",
        )
        for each in result.front
    ]
    heading = Text("\nprompts that no other beats in both score and length:", style="bold")
    return [heading, table(columns, rows, right=columns[1:4])]


def _so_far(history: RunHistory, most_demos: int | None) -> list[RenderableType]:
    """Return the best prompt on dev of a run without a result that can be read."""
    best = next((each for each in history.ranked if history.dev_scores.get(each.prompt.id)), None)
    if best is None:
        return [Text("no prompt was scored yet")]
    title = f"Best prompt so far, {_dev_text(history, best.prompt)}"
    return [boxed(title, best.prompt, most_demos)]


def _dev_text(history: RunHistory, prompt: Prompt) -> str:
    scores = history.dev_scores.get(prompt.id, ())
    return f"{score_text(sum(scores) / len(scores))} on {len(scores)} dev examples" if scores else "not scored"


def _best(history: RunHistory) -> list[RenderableType]:
    """Return the best prompts on dev as a table."""
    if not history.candidates:
        return []
    marks = fates_of(history.result)
    columns = ("", "dev score", "examples", "made by", "prompt")
    rows = []
    for each in history.ranked[:_TOP]:
        scores = history.dev_scores.get(each.prompt.id, ())
        score = score_text(sum(scores) / len(scores)) if scores else "-"
        prompt = cut(each.prompt.instruction, _TOP_CHARS)
        short = shown(Prompt(prompt, each.prompt.demos))
        rows.append((marks.get(each.prompt.id, ""), score, str(len(scores)), each.op, short))
    heading = Text(f"\nthe best of {pluralize(len(history.candidates), 'prompt')} on dev:", style="bold")
    return [heading, table(columns, rows, right=columns[1:3], wide=columns[-1:])]


def _candidate_parts(history: RunHistory) -> list[RenderableType]:
    by_id = {each.prompt.id: each for each in history.candidates}
    heading = f"\n{pluralize(len(by_id), 'candidate')}, the best first:"
    parts: list[RenderableType] = [Text(heading, style="bold")]
    for each in history.ranked:
        demos = len(each.prompt.demos)
        shots = f", {pluralize(demos, 'demo')}" if demos else ""
        line = f"{each.prompt.id}  {_dev_text(history, each.prompt)}{shots}  {_lineage(each, by_id)}"
        parts.append(Text(printable_line(line), style="dim"))
        parts.append(Text(printable(each.prompt.instruction) or "(no instruction)"))
    return parts


def _lineage(candidate: Candidate, by_id: Mapping[str, Candidate]) -> str:
    """Return how a prompt came about, back to the first of its ancestors: `resample < forward < seed`."""
    steps: list[str] = []
    each: Candidate | None = candidate
    while each is not None and len(steps) < _LINEAGE:
        parents = each.parents
        steps.append(f"{each.op} of {len(parents)}" if len(parents) > 1 else each.op)
        each = by_id.get(parents[0]) if parents else None
    return " < ".join(steps) + (" < ..." if each is not None else "")


def _plain_spend(history: RunHistory) -> str:
    """Return the spend of a result that cannot be read as a record, or what is known of a search without one."""
    spend = None if isinstance(history.run, DamagedRun) else at(history.run.result, "spend")
    marks = [*history.first_measured.values(), *(each.spent for each in history.events if each.spent)]
    if not spend and marks:
        return f"{max(mark.tokens for mark in marks):,} tokens, {max(mark.seconds for mark in marks):.0f} s so far"
    return printable_line(", ".join(f"{name} {_short(value)}" for name, value in _items(spend)) or "not known")


def _notes(history: RunHistory) -> list[RenderableType]:
    noted = [event.text for event in history.events if event.kind == "note"]
    texts = dict.fromkeys([*(history.result.notes if history.result else ()), *noted])
    damage = [Text(f"Damage: {printable_line(text)}", style="red") for text in history.damage]
    return [*note_parts(texts), *damage]


def _go_on(run: _Run, result: RunResult | None, configuration: Mapping[str, Any], store: Path) -> list[RenderableType]:
    """Return how to go on with a run that did not reach its end, or what to do about one that cannot be read."""
    if run["status"] == "damaged":
        look = command("runs", "check", store=store)
        remove = command("runs", "delete", run["run_id"], store=store)
        text = f"{look} says how far the damage goes; {remove} removes the run"
    elif run["status"] in ("paused", "failed", "interrupted") or run["stopped"] or (result and result.stopped):
        text = f"{resume_command(run['run_id'], configuration, store)}{higher_limit(run['status'], result)} continues"
    else:
        return []
    return [Text(printable(text), style="yellow")]


def _settings(configuration: Mapping[str, Any]) -> RenderableType:
    """Return the configuration by name; what is long, such as a whole task, is for --json."""
    rows: list[tuple[str, object]] = []
    for name, value in _items(configuration):
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
    return cut(text, 100)
