"""`localprompt runs`: what the store holds. Level 8."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.options import debug_option, store_option
from localprompt.cli.printable import printable, printable_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from localprompt.store import RunRecord, Store

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on standard output.")
_SHOWN_REASONS = 8
_LINEAGE = 6


@click.group()
def runs() -> None:
    """Look at the runs in the store, and look after it."""


@runs.command("list")
@store_option
@debug_option
@_json_option
def list_(store: Path | None, as_json: bool) -> None:
    """List the runs, newest first."""
    with _open(store) as opened:
        rows = [_listed(opened, record) for record in opened.runs.all()]
        path = opened.path
    if as_json:
        click.echo(json.dumps(rows))
    elif rows:
        _print(_list_table(rows))
    else:
        click.echo(f"no runs in {printable_line(str(path))}")


@runs.command()
@click.argument("run")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Candidates to show.")
@store_option
@debug_option
@_json_option
def show(run: str, top: int, store: Path | None, as_json: bool) -> None:
    """Show a run: configuration, result, best candidates with their lineage, discards, spend.

    RUN is the beginning of a run's id. With --json all candidates are printed.
    """
    with _open(store) as opened:
        facts = _facts(opened, opened.runs.get(run))
    if as_json:
        click.echo(json.dumps(facts))
    else:
        _print_run(facts, top)


@runs.command()
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_option
@debug_option
@_json_option
def delete(names: tuple[str, ...], yes: bool, store: Path | None, as_json: bool) -> None:
    """Delete runs; their answers go with the next `runs vacuum`, unless another run used them."""
    with _open(store) as opened:
        records = list({record.id: record for record in map(opened.runs.get, names)}.values())
        ids = [record.id for record in records]
        if not yes:
            click.confirm(f"Delete {', '.join(ids)}?", abort=True, err=True)
        for run_id in ids:
            opened.runs.delete(run_id)
    click.echo(json.dumps({"deleted": ids}) if as_json else f"deleted {', '.join(ids)}")


@runs.command()
@store_option
@debug_option
@_json_option
@click.pass_context
def check(ctx: click.Context, store: Path | None, as_json: bool) -> None:
    """Look through the whole store for damage; exit 1 if there is any."""
    with _open(store) as opened:
        problems = opened.check()
        path = opened.path
    if as_json:
        click.echo(json.dumps({"store": str(path), "problems": problems}))
    else:
        click.echo("\n".join(map(printable_line, problems)) or f"{printable_line(str(path))} is sound")
    if problems:
        ctx.exit(1)


@runs.command()
@store_option
@debug_option
@_json_option
def vacuum(store: Path | None, as_json: bool) -> None:
    """Drop answers that no run used, and give free space back; refused while a run is going on."""
    with _open(store) as opened:
        before, after = opened.vacuum()
    report = {"bytes_before": before, "bytes_after": after}
    click.echo(json.dumps(report) if as_json else f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now")


@runs.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@store_option
@debug_option
@_json_option
def export(run: str, file: Path, store: Path | None, as_json: bool) -> None:
    """Write the run RUN with the answers it used to the new file FILE."""
    with _open(store) as opened:
        record = opened.runs.get(run)
        opened.runs.export(record.id, file)
    report = {"run": record.id, "file": str(file)}
    click.echo(json.dumps(report) if as_json else f"run {record.id} is in {printable_line(str(file))}")


@runs.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@store_option
@debug_option
@_json_option
def import_(file: Path, store: Path | None, as_json: bool) -> None:
    """Take in a run that `runs export` wrote; its answers serve that run alone, and no comparison takes it in."""
    with _open(store) as opened:
        record = opened.runs.import_(file)
        row = _listed(opened, record)
    click.echo(json.dumps(row) if as_json else f"run {record.id} is in the store")


def _open(path: Path | None) -> Store:
    from localprompt.store import Store  # noqa: PLC0415 - `--help` must start fast

    return Store(path)


def _listed(store: Store, record: RunRecord) -> dict[str, Any]:
    result = record.result
    return {
        "id": record.id,
        "status": _status(store, record),
        "imported": record.imported,
        "created": record.created,
        "updated": record.updated,
        "task": record.task,
        "model": record.model,
        "proposer": record.proposer,
        "method": record.method,
        "seed": record.seed,
        "stopped": record.stopped,
        "test": {which: _number(result, "test", which, "mean") for which in ("seed", "best")},
        "verdict": _at(result, "verdict"),
    }


def _status(store: Store, record: RunRecord) -> str:
    """Return the status, which a process that was killed had no time to change."""
    return "interrupted" if record.status == "running" and not store.runs.is_held(record.id) else record.status


def _facts(store: Store, record: RunRecord) -> dict[str, Any]:
    candidates, discards = store.runs.candidates(record.id), store.runs.discards(record.id)
    dev: dict[str, list[float]] = {}
    for evaluation in store.runs.evaluations(record.id):
        scores = [outcome.score for outcome in evaluation.outcomes if outcome.example_id.startswith("dev:")]
        dev[evaluation.prompt.id] = scores
    rows = [
        {
            "id": each.prompt.id,
            "prompt": asdict(each.prompt),
            "op": each.op,
            "parents": list(each.parents),
            "dev": {"mean": sum(scores) / len(scores) if scores else None, "n": len(scores)},
        }
        for each in candidates
        for scores in [dev.get(each.prompt.id, [])]
    ]
    return {
        **_listed(store, record),
        "configuration": record.configuration,
        "result": record.result,
        "spend": _at(record.result, "spend"),
        # Scores on few examples are flattering, so those on more stand first.
        "candidates": sorted(rows, key=lambda row: (row["dev"]["n"], row["dev"]["mean"] or 0.0), reverse=True),
        "discards": dict(Counter(each.reason for each in discards).most_common()),
        "discarded": [asdict(each) for each in discards],
        "events": [asdict(event) for event in store.runs.events(record.id)],
    }


def _print_run(facts: dict[str, Any], top: int) -> None:
    console = _console()
    for part in [_summary(facts), *_candidate_parts(facts["candidates"], top), *_closing(facts)]:
        console.print(part)


def _summary(facts: dict[str, Any]) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    stopped = f": {facts['stopped']}" if facts["stopped"] else ""
    rows = {
        "run": facts["id"],
        "status": f"{_state(facts)}{stopped}",
        "created": _when(facts["created"]),
        "updated": _when(facts["updated"]),
        "task": facts["task"],
        "model": facts["model"],
        "proposer": facts["proposer"],
        "method": f"{facts['method']}, seed {facts['seed']}",
        "result": _result(facts),
        "spend": ", ".join(f"{name} {_short(value)}" for name, value in _items(facts["spend"])) or "not known",
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in [*rows.items(), *_configuration(facts["configuration"])]:
        table.add_row(printable_line(name), Text(printable_line(value)))
    return table


def _configuration(configuration: object) -> list[tuple[str, str]]:
    """Return settings by name; what is long, such as a whole task, is for --json."""
    lines = []
    for name, value in _items(configuration):
        parts = _items(value)
        flat = {f"{name}.{key}": part for key, part in parts} if parts else {name: value}
        lines += [(key, _short(part)) for key, part in flat.items()]
    return lines


def _candidate_parts(candidates: Sequence[dict[str, Any]], top: int) -> list[RenderableType]:
    from rich.text import Text  # noqa: PLC0415

    by_id = {each["id"]: each for each in candidates}
    parts: list[RenderableType] = [Text(f"\n{len(candidates)} candidates, the best first:", style="bold")]
    for each in candidates[:top]:
        score = "not scored" if each["dev"]["mean"] is None else f"dev {each['dev']['mean']:.3f} on {each['dev']['n']}"
        demos = len(each["prompt"]["demos"])
        shots = f", {demos} demos" if demos else ""
        parts.append(Text(printable_line(f"{each['id']}  {score}{shots}  {_lineage(each, by_id)}"), style="dim"))
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


def _closing(facts: dict[str, Any]) -> list[RenderableType]:
    from rich.text import Text  # noqa: PLC0415

    reasons = list(facts["discards"].items())
    shown = ", ".join(f"{n} {printable_line(reason)}" for reason, n in reasons[:_SHOWN_REASONS])
    more = f" and {len(reasons) - _SHOWN_REASONS} more reasons" if len(reasons) > _SHOWN_REASONS else ""
    parts: list[RenderableType] = [Text(f"\nproposals not used: {shown}{more}")] if reasons else []
    notes = [event["text"] for event in facts["events"] if event["kind"] == "note"]
    return parts + [Text(f"Note: {printable_line(note)}", style="yellow") for note in notes]


def _list_table(rows: Sequence[dict[str, Any]]) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "created", "status", "task", "method", "model"):
        table.add_column(name, no_wrap=True)
    table.add_column("test score, seed to found")
    for row in rows:
        names = (_state(row), row["task"], row["method"], row["model"])
        cells = [row["id"], _when(row["created"]), *names, _result(row)]
        table.add_row(*(Text(printable_line(cell)) for cell in cells))
    return table


def _state(row: dict[str, Any]) -> str:
    return f"{row['status']}, imported" if row["imported"] else str(row["status"])


def _result(row: dict[str, Any]) -> str:
    seed, best = row["test"]["seed"], row["test"]["best"]
    if seed is None or best is None:
        return "-"
    return f"{seed:.3f} to {best:.3f}, {row['verdict']}"


def _at(value: object, *keys: str) -> Any:
    """Return what stands under the keys of a result, None where nothing does: results of other versions differ."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _number(value: object, *keys: str) -> float | None:
    """Return the number that stands there, None where there is none that can be shown."""
    found = _at(value, *keys)
    try:
        number = float(found) if isinstance(found, (int, float)) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _items(value: object) -> list[tuple[str, object]]:
    return list(value.items()) if isinstance(value, dict) else []


def _short(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, tz=timezone.utc).astimezone():%Y-%m-%d %H:%M}"


def _print(part: RenderableType) -> None:
    _console().print(part)


def _console() -> Console:
    import sys  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415

    # Piped output is for grep: one line a row, however long.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)
