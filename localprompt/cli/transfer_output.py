"""A transfer study for people: a verdict, the matrix of prompts and models, then what each loses. Level 10."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from localprompt.cli.output import answers_note, print_parts, shown
from localprompt.cli.printable import printable
from localprompt.cli.sensitivity_output import agreement_lines, variance_table
from localprompt.cli.tables import p_cell, signed, table, two, within
from localprompt.comparison.transfer_results import Cell, MeasuredModel, TaskTransfer, Transfer
from localprompt.interface.advice import command
from localprompt.interface.rounding import percent_text
from localprompt.search.observer import pluralize

_LEGEND = "`*`: the best prompt of a model, chosen on dev; `o`: found on that model"
_LETTERS = 26
_ABREAST = 6
"""Models beside each other, in 80 columns with room for the prompts."""


def print_transfer(found: Transfer, store: Path | None) -> None:
    """Print the verdict of each task and its tables, then notes, last the command that shows the page of `store`."""
    print_parts(list(_parts(found, store)))


def _parts(found: Transfer, store: Path | None) -> Iterator[RenderableType]:
    many = len(found.tasks) > 1
    for task in found.tasks:
        yield Text(printable(f"{task.task}: {task.verdict}" if many else task.verdict), style="bold")
    for task in found.tasks:
        yield from _task(task, found.models)
    yield Text("")
    for note in (*_notes(found), *found.notes):
        yield Text(printable(f"note: {note}"))
    if found.id:
        page = f"{command('report', found.id, store=store)} writes a page with every prompt"
        yield Text(printable(f"transfer {found.id}: {page}"), style="dim")


def _task(task: TaskTransfer, models: Sequence[MeasuredModel]) -> Iterator[RenderableType]:
    yield Text(printable(f"\n{task.task}: scores on {pluralize(len(task.example_ids), 'test row')} ({_LEGEND})\n"))
    letters = [f"{chr(ord('A') + place)}" if len(models) <= _LETTERS else f"{place}" for place in range(len(models))]
    for letter, model in zip(letters, models, strict=True):
        yield Text(printable(f"{letter}: {model.model}{f' ({model.quantisation})' if model.quantisation else ''}"))
    for begin in range(0, len(models), _ABREAST):
        rows, some = [], slice(begin, begin + _ABREAST)
        for place, given in enumerate(task.prompts):
            cells = [task.cell(place, model) for model in range(len(models))]
            means = [cell.score.mean for cell in cells]
            ends = (two(min(means)), two(sum(means) / len(means)))
            rows.append((f"{place}", *map(_score, cells[some]), *ends, f"{given.origin}: {shown(given.prompt)}"))
        yield Text("")
        yield table(("", *letters[some], "lowest", "mean", "prompt"), rows, right=("lowest", "mean"), wide=("prompt",))
    for number, model in enumerate(models):
        yield Text(printable(f"\n{letters[number]}: {model.model}\n"), style="bold")
        yield _of_model([cell for cell in task.cells if cell.model == number])
    yield Text("\nOne prompt for all models:\n")
    yield _for_all(task, letters)
    yield from agreement_lines(task.rank_agreement, "prompt")
    if task.variance is not None:
        yield Text("")
        yield variance_table(task.variance)


def _of_model(cells: Sequence[Cell]) -> RenderableType:
    columns = ("", "score", "95 %", "from seed", "gap", "95 % ", "p", "regret")
    rows = []
    for cell in cells:
        gain = "" if cell.gain is None else signed(cell.gain.difference.mean)
        gap = ("", "", "")
        if cell.gap is not None:
            lost = cell.gap.difference
            gap = (signed(lost.mean), within(lost, sign="+"), p_cell(cell.gap.adjusted_p))
        regret = "" if cell.regret is None else f"{percent_text(cell.regret.value)} %"
        rows.append((f"{cell.prompt}", two(cell.score.mean), within(cell.score), gain, *gap, regret))
    return table(columns, rows, right=columns[1:])


def _for_all(task: TaskTransfer, letters: Sequence[str]) -> RenderableType:
    columns = ("best in", "prompt", "mean", "95 %", "lowest", "95 % ", "of", "cost", "p")
    rows = [
        (
            "the mean" if each.by == "mean" else "the lowest",
            *(f"{each.prompt}", two(each.score.mean), within(each.score)),
            *(two(each.lowest.value), within(each.lowest), letters[each.lowest_model]),
            *(signed(each.cost.mean), p_cell(each.cost.p)),
        )
        for each in task.best_for_all
    ]
    return table(columns, rows, right=("prompt", *columns[2:6], "cost", "p"))


def _score(cell: Cell) -> str:
    return f"{two(cell.score.mean)}{'*' * cell.is_best}{'o' * cell.is_own}"


def _notes(found: Transfer) -> Iterator[str]:
    yield "gap: score less that of the model's best prompt; p: after Holm, for all of a task; regret: its share lost"
    for task in found.tasks:
        unreadable = sum(cell.unreadable for cell in task.cells)
        if unreadable:
            share = percent_text(unreadable / (len(task.cells) * len(task.example_ids)))
            yield f"{task.task}: {share} % of the answers on test could not be read; they score 0"
        if failed := sum(cell.failed for cell in task.cells):
            yield f"{task.task}: the models could not be asked {pluralize(failed, 'question')}; these score 0"
        if task.smallest_difference is not None:
            points, n = f"{100 * task.smallest_difference:.0f}", len(task.example_ids)
            what = f"two prompts must differ by about {points} points for {n} rows to show it reliably"
            yield f"{task.task}: {what}" if len(found.tasks) > 1 else what
    yield answers_note(model.spend for model in found.models)
