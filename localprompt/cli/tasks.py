"""`localprompt tasks`: look at a task before spending on it. Level 10."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.options import MODELS, HomePath, engine_and_store_options
from localprompt.cli.printable import printable
from localprompt.cli.streams import say, say_json, tell

if TYPE_CHECKING:
    from localprompt.lm.base import LanguageModel
    from localprompt.tasks import Task
    from localprompt.types import Example

_SHOWN = 3
_FEW = 60
"""Rows below which cross-validation is offered."""
_CHANGED = 0.2
"""Share of the answers that are taken to change where the smallest gain is no larger."""


@click.group()
def tasks() -> None:
    """Check task files."""


@tasks.command()
@click.argument("file", type=HomePath())
@click.option("--model", help=f"Also show its template, count tokens, try the seed prompt: {MODELS}.")
@engine_and_store_options
def check(
    *, file: Path, model: str | None, engine: dict[str, Any], allow_code: bool, store: Path | None, as_json: bool
) -> None:
    """Show examples exactly as the model sees them, and what is doubtful about the task.

    With a model also what the seed prompt does with it on 20 dev rows, beside no instruction and two worked examples,
    and what a search would take: in seconds where rows are short.
    """
    from localprompt.tasks import load_task  # noqa: PLC0415 - slow to start
    from localprompt.tasks.task import check_one_split  # noqa: PLC0415

    if model is None and (engine or store):
        raise click.UsageError("--engine and --store are for a model: name it with --model")
    task = load_task(file, allow_code=allow_code)
    if model is not None:
        check_one_split(task, "all its rows are tested, so none are there to try the seed prompt on")
        _check_with(file, task, model, engine, store, as_json=as_json)
    elif as_json:
        say_json(_report(file, task, None))
    else:
        say(printable(_text(_report(file, task, None))))


@tasks.command()
@click.argument("file", type=HomePath())
@click.option("--model", required=True, help=MODELS)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Dev rows that choose, and train rows that confirm, at most.",
)
@engine_and_store_options
def tune(
    *, file: Path, model: str, rows: int, engine: dict[str, Any], allow_code: bool, store: Path | None, as_json: bool
) -> None:
    """Find the layout and the label score that suit a model best, with the seed prompt.

    Layouts race on dev rows, where labels are compared also with batch calibration or by prefix; the best is compared
    with the task as it is on train rows that chose nothing. Prints the keys for the task file, and changes no file.
    """
    from localprompt.cli.progress import progress  # noqa: PLC0415 - slow to start
    from localprompt.cli.ways import print_ways  # noqa: PLC0415
    from localprompt.run.ways import tune as tuned  # noqa: PLC0415
    from localprompt.tasks import load_task  # noqa: PLC0415

    task = load_task(file, allow_code=allow_code)
    with progress() as observer:
        found = tuned(task, model, rows=rows, engine=engine, store=store, observer=observer)
    tell(found, print_ways, as_json=as_json)


def _check_with(
    file: Path, task: Task, model: str, engine: dict[str, Any], store: Path | None, *, as_json: bool
) -> None:
    from localprompt.cli.diagnosis import print_diagnosis  # noqa: PLC0415 - as above
    from localprompt.cli.progress import progress  # noqa: PLC0415
    from localprompt.lm.loading import open_model  # noqa: PLC0415
    from localprompt.run.diagnosis import diagnose  # noqa: PLC0415

    with ExitStack() as stack:
        with progress() as observer:
            observer.stage(f"loading {model}")
            lm = stack.enter_context(open_model(model, **engine))
            report = _report(file, task, lm)
        if not as_json:  # outside of the progress bar, which takes standard output for its own
            say(printable(_text(report)))
        with progress() as observer:
            found = diagnose(task, lm, store=store, observer=observer)
    if as_json:
        say_json({**report, "diagnosis": found.to_json()})
    else:
        print_diagnosis(found, task)


def _report(file: Path, task: Task, lm: LanguageModel | None) -> dict[str, Any]:
    from localprompt.stats.power import smallest_detectable_gain  # noqa: PLC0415 - as above
    from localprompt.tasks.check import find_doubts  # noqa: PLC0415

    splits = {"train": task.train, "dev": task.dev, "test": task.tested}
    counts = {name: _counts(task, examples) for name, examples in splits.items()}
    examples, doubts = _rendered(task, task.dev[:_SHOWN], lm)
    return {
        "task": task.name,
        "fingerprint": task.fingerprint,
        "labels": list(task.labels),
        "splits": counts,
        "folds": task.folds,
        "smallest_gain": smallest_detectable_gain(counts["test"]["different"]),
        "cross_validation": _offer(file, task),
        "warnings": [*find_doubts(task), *doubts],
        "examples": examples,
    }


def _offer(file: Path, task: Task) -> dict[str, Any] | None:
    """Return what cross-validation could show of a small task.

    None where there are enough rows, or rows in several files, or it is done.
    """
    from localprompt.stats.power import smallest_detectable_gain  # noqa: PLC0415 - as above
    from localprompt.tasks.task import rows_of_one_file  # noqa: PLC0415

    if task.folds or len(task.train) + len(task.dev) + len(task.test) >= _FEW:
        return None
    n_rows, n_different = rows_of_one_file(file)
    gain = smallest_detectable_gain(n_different) if n_rows < _FEW else None
    return None if gain is None else {"rows": n_rows, "smallest_gain": gain}


def _counts(task: Task, examples: Sequence[Example]) -> dict[str, Any]:
    from localprompt.tasks.copies import n_different  # noqa: PLC0415 - as above

    counts = Counter(example.targets[0] for example in examples)
    return {
        "n": len(examples),
        "different": n_different(examples),
        "labels": {label: counts[label] for label in task.labels},
    }


def _rendered(
    task: Task, examples: Sequence[Example], lm: LanguageModel | None
) -> tuple[list[dict[str, Any]], Sequence[str]]:
    """Return the examples as the model sees them, and what is doubtful about the model's file."""
    renderings = [task.layout.render(task.seeds[0], example.inputs) for example in examples]
    texts = [lm.chat(r.messages, r.opening) if lm is not None and r.messages else r.text for r in renderings]
    n_tokens: Sequence[int | None] = [None] * len(texts) if lm is None else lm.count_tokens(texts)
    return [
        {
            "example_id": example.id,
            "messages": [asdict(message) for message in rendering.messages],
            "opening": rendering.opening,
            "text": text,
            "answer": task.layout.separator + example.targets[0],
            "n_tokens": n,
        }
        for example, rendering, text, n in zip(examples, renderings, texts, n_tokens, strict=True)
    ], getattr(lm, "doubts", ())


def _text(report: dict[str, Any]) -> str:
    sizes = {name: split["n"] for name, split in report["splits"].items()}
    if report["folds"]:
        how = f"{sizes['test']} rows, each tested once in {report['folds']} folds"
        lines = [f"{report['task']}: {how}; the last search has {sizes['train']} train, {sizes['dev']} dev"]
    else:
        lines = [f"{report['task']}: " + ", ".join(f"{n} {name}" for name, n in sizes.items())]
    if report["labels"]:
        width = max(map(len, report["labels"]))
        lines += ["", " " * width + "".join(f"{name:>8}" for name in report["splits"])]
        for label in report["labels"]:
            counts = "".join(f"{split['labels'][label]:>8}" for split in report["splits"].values())
            lines.append(f"{label:<{width}}{counts}")
    for example in report["examples"]:
        lines += ["", *_example_lines(example)]
    lines += ["", *(f"warning: {warning}" for warning in report["warnings"])]
    gain = report["smallest_gain"]
    if gain is not None:
        lines.append(_smallest_gain(gain, **report["splits"]["test"]))
    if (offer := report["cross_validation"]) is not None:
        shown = f"so that a gain of {_rounded_up(offer['smallest_gain'])} or more can be shown"
        lines.append(f"{offer['rows']} rows: `data.split: cv` tests each of them once, {shown} (docs/tasks.md).")
    return "\n".join(lines)


def _smallest_gain(gain: float, *, n: int, different: int, **_: object) -> str:
    examples = f"The {n} test examples" + (f", {different} of them different," if different < n else "")
    change = "a fifth of the answers change" if gain <= _CHANGED else "no answer gets worse"
    shown = f"can show a gain of {_rounded_up(gain)} or more"
    return f"{examples} {shown} (exact two-sided test, 5 % level, power 80 % if {change})."


def _rounded_up(gain: float) -> str:
    return f"{math.ceil(1000 * gain) / 1000:.3f}"


def _example_lines(example: dict[str, Any]) -> list[str]:
    tokens = f", {example['n_tokens']} tokens" if example["n_tokens"] is not None else ""
    lines = [f"--- {example['example_id']}{tokens} ---"]
    if example["text"]:
        lines.append(example["text"])
    else:
        lines += [f"[{message['role']}]\n{message['content']}" for message in example["messages"]]
        lines += [f"[assistant begins]\n{example['opening']}"] if example["opening"] else []
    return [*lines, f"--- right answer: {example['answer']!r}"]
