"""`localprompt runs`: what the store holds. Level 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from localprompt.cli.options import HomePath, store_options
from localprompt.cli.printable import printable_line
from localprompt.cli.run_facts import Order, facts_of, listed, matching, ordered, outcome, state, when
from localprompt.cli.streams import console, say, say_json
from localprompt.interface.advice import command
from localprompt.interface.paths import default_store

if TYPE_CHECKING:
    from rich.console import RenderableType

    from localprompt.store import Store

_STUDIES = 20
"""That a list of runs ends with, the newest, unless it is told how many."""


@click.group()
def runs() -> None:
    """Inspect the runs in the store, and maintain it."""


@runs.command("list")
@click.option("--task", help="Only those with this in the task's name.")
@click.option("--model", help="Only those with this in the model's name.")
@click.option("--method", help="Only those with this in the method's name.")
@click.option("--status", help="Only those with this in the status, such as paused, failed, interrupted, damaged.")
@click.option("--sort", type=click.Choice(get_args(Order)), default="created", show_default=True, help="Their order.")
@click.option("--limit", type=click.IntRange(min=1), help="At most N of them.", metavar="N")
@store_options
def list_(*, sort: Order, limit: int | None, store: Path | None, as_json: bool, **filters: str | None) -> None:
    """List the runs, newest first, and name those that are damaged; below, the newest studies, such as comparisons.

    Names are found by any part of them, in small letters or capitals. Scores and gains on test are sorted from the
    highest on.
    """
    from localprompt.store.database import in_words, is_begun  # noqa: PLC0415 - `--help` must start fast

    path, every, studies = store or default_store(), [], list[str]()
    with in_words(f"the store {path}"):
        is_there = is_begun(path)
    if is_there:
        with _open(path) as opened:
            every = [listed(run, opened.runs.status_of(run)) for run in opened.runs.every()]
            studies = [f"{each.id} ({each.kind}, {each.status})" for each in opened.studies.all()[: limit or _STUDIES]]
    else:
        say(printable_line(f"there is no store {path}; `localprompt optimize` begins one"), err=True)
    wanted = {name: text for name, text in filters.items() if text is not None}
    rows = ordered(matching(every, wanted), sort)[:limit]
    if every and not rows:
        texts = " and ".join(f"{text!r} in its {name}" for name, text in wanted.items())
        say(printable_line(f"no run has {texts}"), err=as_json)
    if as_json:
        say_json(rows)
    elif rows:
        console(wide=True).print(_list_table(rows))
    elif not every:
        say(f"no runs in {printable_line(str(path))}")
    if studies and not wanted and not as_json:
        say(printable_line(f"newest studies: {', '.join(studies)}; `localprompt report ID` shows one"))
    for row in rows:
        if row["status"] == "damaged":
            remove = command("runs", "delete", row["run_id"], store=path)
            say(printable_line(f"the run {row['run_id']} is damaged ({row['stopped']}); {remove} removes it"), err=True)


@runs.command()
@click.argument("run")
@click.option("--candidates", is_flag=True, help="Show all prompts, with their ids and where they come from.")
@click.option("--rows", is_flag=True, help="Show all test rows, with both answers.")
@click.option("--settings", is_flag=True, help="Show how it was set up, too: settings, model, machine, identity.")
@store_options
def show(run: str, *, candidates: bool, rows: bool, settings: bool, store: Path | None, as_json: bool) -> None:
    """Show a run: its verdict, prompts and test scores, the best prompts on dev, test rows that changed, its cost.

    RUN is the beginning of a run's id. With --json everything is printed, all candidates too.
    """
    from localprompt.cli.show import print_history  # noqa: PLC0415 - `--help` must start fast
    from localprompt.run.history import read_history  # noqa: PLC0415

    with _open(store) as opened:
        history, path = read_history(opened, opened.runs.find(run)), opened.path
    if as_json:
        say_json(facts_of(history))
    else:
        print_history(history, path, candidates=candidates, rows=rows, settings=settings)


@runs.command()
@click.argument("first", metavar="RUN1")
@click.argument("second", metavar="RUN2")
@click.option("--rows", is_flag=True, help="Show all test rows that one gets right and the other does not.")
@store_options
def diff(first: str, second: str, *, rows: bool, store: Path | None, as_json: bool) -> None:
    """Show what differs between two runs: set-up, verdicts and scores, found prompts, test rows, cost.

    RUN1 and RUN2 are beginnings of ids. Nothing is measured anew; rows are compared where both tasks have the same.
    """
    from localprompt.cli.diff import difference_json, print_difference  # noqa: PLC0415 - `--help` must start fast
    from localprompt.run.difference import run_difference  # noqa: PLC0415
    from localprompt.run.history import read_history  # noqa: PLC0415

    with _open(store) as opened:
        histories = [read_history(opened, opened.runs.find(name)) for name in (first, second)]
    found = run_difference(*histories)
    if as_json:
        say_json(difference_json(histories, found))
    else:
        print_difference(histories, found, rows=rows)


@runs.command()
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_options
def delete(names: tuple[str, ...], yes: bool, store: Path | None, as_json: bool) -> None:
    """Delete runs, all or none; their answers go with the next `runs vacuum`, unless another run used them."""
    with _open(store) as opened:
        ids = list(dict.fromkeys(map(opened.runs.find, names)))
        if not yes:
            click.confirm(f"Delete {', '.join(ids)}?", abort=True, err=True)
        opened.runs.delete(*ids)
    _report({"deleted": ids}, f"deleted {', '.join(ids)}", as_json=as_json)


@runs.command()
@store_options
@click.pass_context
def check(ctx: click.Context, store: Path | None, as_json: bool) -> None:
    """Look through the whole store for damage; exit 1 if there is any."""
    with _open(store) as opened:
        problems = opened.check()
        path = opened.path
    sound = f"{printable_line(str(path))} is sound"
    text = "\n".join(map(printable_line, problems)) or sound
    _report({"store": str(path), "problems": problems}, text, as_json=as_json)
    if problems:
        ctx.exit(1)


@runs.command()
@store_options
def vacuum(store: Path | None, as_json: bool) -> None:
    """Drop answers that no run used, and give free space back; refused while a run is going on.

    Only searches are runs: what `evaluate`, `sensitivity`, `transfer` and `tasks` asked goes too, and is computed again
    where they ask it again. The results of studies stay.
    """
    with _open(store) as opened:
        before, after = opened.vacuum()
    text = f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now"
    _report({"bytes_before": before, "bytes_after": after}, text, as_json=as_json)


@runs.command()
@click.argument("run")
@click.argument("file", type=HomePath())
@store_options
def export(run: str, file: Path, store: Path | None, as_json: bool) -> None:
    """Write the run RUN with the answers it used to the new file FILE."""
    with _open(store) as opened:
        record = opened.runs.get(run)
        opened.runs.export(record.id, file)
    text = f"run {record.id} is in {printable_line(str(file))}"
    _report({"run_id": record.id, "file": str(file)}, text, as_json=as_json)


@runs.command("import")
@click.argument("file", type=HomePath())
@store_options
def import_(file: Path, store: Path | None, as_json: bool) -> None:
    """Import a run that `runs export` wrote; its answers serve that run alone, and comparisons ignore it."""
    with _open(store, create=True) as opened:
        record = opened.runs.import_(file)
        row = listed(record, opened.runs.status_of(record))
    _report(row, f"run {record.id} is in the store", as_json=as_json)


def _open(path: Path | None, *, create: bool = False) -> Store:
    from localprompt.store import Store  # noqa: PLC0415 - `--help` must start fast

    return Store(path, create=create)


def _report(plain: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        say_json(plain)
    else:
        say(text)


def _list_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    from localprompt.cli.tables import table  # noqa: PLC0415

    columns = ("run", "created", "status", "task", "method", "model", "test score, seed to found")
    cells = [
        (row["run_id"], when(row["created"]), state(row), row["task"], row["method"], row["model"], outcome(row))
        for row in rows
    ]
    return table(columns, cells, wide=columns[1:])  # an id is copied whole
