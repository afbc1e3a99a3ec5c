"""`localprompt leaderboard`: models by how well they answer however they are asked. Level 10."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.options import HomePath, listed, model_options
from localprompt.cli.sensitivity import size_options
from localprompt.cli.spreadsheets import check_folder, write_csv
from localprompt.cli.streams import say_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from localprompt.battery.leaderboard import Leaderboard, OverTasks, Standing

_ALPHA = 0.05


@click.command()
@click.argument("tasks", metavar="[TASK...]", nargs=-1, type=click.Path())
@click.option("--models", metavar="A,B,...", help="Measure these; by default the store is read, without a model.")
@size_options
@click.option("--csv", "csv_file", type=HomePath(dir_okay=False), help="Write a row a task and model to FILE.")
@model_options
def leaderboard(
    *, tasks: Sequence[str], models: str | None, size: str | None, csv_file: Path | None, as_json: bool, **choices: Any
) -> None:
    """Rank models by their mean score over variants of a prompt, with the worst variant and the spread.

    TASK is a task file, or the name of a task that the store has sensitivity studies of; by default all of these.
    """
    from localprompt.battery import leaderboard as boards  # noqa: PLC0415 - `--help` must start fast
    from localprompt.cli.output import print_parts  # noqa: PLC0415
    from localprompt.cli.progress import measuring_progress  # noqa: PLC0415

    check_folder(csv_file)
    with measuring_progress(is_kept=choices["use_cache"]) as observer:
        found = boards.leaderboard(tasks, listed(models) or (), size=size or "standard", **choices, observer=observer)
    if as_json:
        say_json(found.to_json())
    else:
        print_parts(list(_parts(found)))
    rows = found.to_csv()
    write_csv(csv_file, list(rows[0]), rows, "call again with --csv FILE to write it elsewhere")


def _parts(found: Leaderboard) -> Iterator[RenderableType]:
    from rich.text import Text  # noqa: PLC0415 - as above

    from localprompt.cli.output import shown  # noqa: PLC0415
    from localprompt.cli.printable import printable  # noqa: PLC0415
    from localprompt.cli.tables import signed, table, two, within  # noqa: PLC0415
    from localprompt.interface.rounding import percent_text  # noqa: PLC0415
    from localprompt.stats.equality import holm  # noqa: PLC0415

    def named(each: Standing | OverTasks) -> str:
        return f"{each.model} {each.quantisation}".strip()

    def starred(text: str, p: float) -> str:
        return f"{text}{'*' if p < _ALPHA else ' '}"

    for board in found.tasks:
        yield Text(printable(f"{board.task}: {board.n_rows} {board.split} rows, {found.size}"), style="bold")
        yield Text(printable(f"Variants of: {shown(board.prompt)}\n"))
        columns = ("model", "mean", "95 %", "behind", "worst", "spread", "chance")
        adjusted = [1.0, *holm([each.behind.p for each in board.models if each.behind])]
        rows = []
        for each, p in zip(board.models, adjusted, strict=True):
            mean, spread, chance = two(each.score.mean), each.spread, each.spread.by_chance
            behind = "" if each.behind is None else starred(signed(each.behind.mean), p)
            spreads = (two(spread.worst), starred(two(spread.value), chance.p), two(chance.median))
            rows.append((named(each), mean, within(each.score), behind, *spreads))
        yield table(columns, rows, right=columns[1:], wide=("model",))
        yield Text("")
    if found.over_tasks:
        yield Text(f"Over {len(found.tasks)} tasks of the same weight\n", style="bold")
        over = ("model", "mean", "95 %", "worst", "spread")
        lines = [
            (named(each), two(each.score.mean), within(each.score), two(each.worst), two(each.largest_spread))
            for each in found.over_tasks
        ]
        yield table(over, lines, right=over[1:], wide=("model",))
        yield Text("")
    for board in found.tasks:
        unread = [
            f"{each.model} {percent_text(each.unreadable_share)} %" for each in board.models if each.unreadable_share
        ]
        if unread:
            yield Text(printable(f"note: {board.task}: answers that could not be read: {', '.join(unread)}"))
    yield Text("note: chance: the spread of equally good prompts; `*`: more than chance (p < 0.05; behind: after Holm)")
    if any(len(board.models) > 1 for board in found.tasks):
        yield Text("note: the first model is ahead on these rows, partly by luck")
    for note in found.notes:
        yield Text(printable(f"note: {note}"))
