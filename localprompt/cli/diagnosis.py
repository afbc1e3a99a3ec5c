"""What the seed prompt does with a model, for people. Level 10."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from localprompt.cli.output import print_parts
from localprompt.cli.printable import cut, printable, printable_line
from localprompt.cli.tables import table, within
from localprompt.interface.rounding import score_text
from localprompt.run.diagnosis import Diagnosis, Trial
from localprompt.run.estimate import Estimate
from localprompt.search.observer import pluralize
from localprompt.tasks import Task
from localprompt.types import Prompt

_WIDTH = 40
"""Characters of an instruction or an answer in a table."""
_COMPLETION = 200
"""Characters of a completion."""
_MOST_ANSWERS = 10


def print_diagnosis(found: Diagnosis, task: Task) -> None:
    """Print scores, answers, what is wrong with them, what a search would take, and what follows."""
    print_parts(list(_parts(found, task)))


def _parts(found: Diagnosis, task: Task) -> Iterator[RenderableType]:
    n = found.trials[0].score.n
    yield Text(printable(f"\nScores with {found.model} on {n} dev rows, the same rows for each prompt:\n"))
    yield _scores(found, task)
    if len(task.seeds) > 1:
        yield Text(f"\nBelow, the seed prompt is number {_number(found.seed_prompt, task)}, the best on these rows.")
    if found.answer_counts:
        yield Text("\nAnswers with the seed prompt:\n")
        yield _answers(found)
    if found.wrong and not task.labels:
        yield Text("\nWrong answers with the seed prompt, as the model wrote them:")
        yield from _wrong(found, task)
    yield Text("")
    for warning in found.warnings:
        yield Text(printable(f"warning: {warning}"), style="yellow")
    for note in found.notes:
        yield Text(printable(f"note: {note}"))
    yield Text(_minutes(found.expected))
    yield Text("\nWhat follows:", style="bold")
    yield from (Text(printable(f"- {sentence}")) for sentence in found.conclusions)


def _scores(found: Diagnosis, task: Task) -> RenderableType:
    columns = ("prompt", "score", "95 % interval", "no answer")
    rows = [
        (_name(trial.prompt, task), score_text(trial.score.mean), within(trial.score), _unread(trial))
        for trial in found.trials
    ]
    return table(columns, rows, right=columns[1:], wide=columns[:1])


def _unread(trial: Trial) -> str:
    return f"{trial.unparsed}" + (f" and {trial.failed} failed" if trial.failed else "")


def _name(prompt: Prompt, task: Task) -> str:
    """Return what a prompt is to the task, and how it begins."""
    number = _number(prompt, task)
    name = "seed prompt" + (f" {number}" if len(task.seeds) > 1 else "") + ": " if number else ""
    name += cut(prompt.instruction, _WIDTH) or "(no instruction)"
    return f"{name} + {pluralize(len(prompt.demos), 'example')}" if prompt.demos else name


def _number(prompt: Prompt, task: Task) -> int:
    """Return which seed prompt has the instruction, from 1 on; 0 for none."""
    instructions = ["", *(seed.instruction for seed in task.seeds)]
    return instructions.index(prompt.instruction, 1) if prompt.instruction in instructions[1:] else 0


def _answers(found: Diagnosis) -> RenderableType:
    columns = ("answer", "given for rows", "right for rows", "both")
    counts = found.answer_counts
    rows: list[tuple[str, ...]] = [
        (cut(each.answer, _WIDTH), str(each.given), str(each.wanted), str(each.right))
        for each in counts[:_MOST_ANSWERS]
    ]
    if left := counts[_MOST_ANSWERS:]:
        sums = map(sum, zip(*((each.given, each.wanted, each.right) for each in left), strict=True))
        rows.append((f"{len(left)} others", *map(str, sums)))
    return table(columns, rows, right=columns[1:])


def _wrong(found: Diagnosis, task: Task) -> Iterator[RenderableType]:
    targets = {example.id: example.targets[0] for example in task.dev}
    for outcome in found.wrong:
        written = printable_line(repr(cut(outcome.completion or "", _COMPLETION)))
        unread = ", which holds no answer" if outcome.prediction is None else ""
        yield Text(printable(f"  {outcome.example_id}: {written}{unread}; right: {targets[outcome.example_id]!r}"))


def _minutes(expected: Estimate) -> str:
    calls = f"{expected.proposals + expected.evaluations:,} model calls"
    text = "A search with default settings is expected to "
    if expected.seconds is None or expected.final_seconds is None:
        return f"{text}make about {calls}."
    minutes, final = expected.seconds / 60, expected.final_seconds / 60
    return f"{text}take {minutes:.1f} minutes on this machine (about {calls}), and its final evaluation {final:.1f}."
