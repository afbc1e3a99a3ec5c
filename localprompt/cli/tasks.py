"""`localprompt tasks`: look at a task before spending on it. Level 9."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.options import HomePath, allow_code_option, report_options
from localprompt.cli.printable import printable
from localprompt.cli.streams import say, say_json

if TYPE_CHECKING:
    from localprompt.tasks import Task
    from localprompt.tasks.template import Rendering
    from localprompt.types import Example

_SHOWN = 3
_CHANGED = 0.2
"""Share of the answers that are taken to change where the smallest gain is no larger."""


@click.group()
def tasks() -> None:
    """Check task files."""


@tasks.command()
@click.argument("file", type=HomePath())
@click.option("--model", help="A card's name, a GGUF file, scripted:FILE; also show its template and count tokens.")
@allow_code_option
@report_options
def check(file: Path, model: str | None, allow_code: bool, as_json: bool) -> None:
    """Show examples exactly as the model sees them, and what is doubtful about the task."""
    from localprompt.stats.power import smallest_detectable_gain  # noqa: PLC0415 - slow to start
    from localprompt.tasks import load_task  # noqa: PLC0415
    from localprompt.tasks.check import find_doubts  # noqa: PLC0415

    task = load_task(file, allow_code=allow_code)
    splits = {"train": task.train, "dev": task.dev, "test": task.test}
    counts = {name: _counts(task, examples) for name, examples in splits.items()}
    examples, doubts = _rendered(task, task.dev[:_SHOWN], model)
    report = {
        "task": task.name,
        "fingerprint": task.fingerprint,
        "labels": list(task.labels),
        "splits": counts,
        "smallest_gain": smallest_detectable_gain(counts["test"]["different"]),
        "warnings": [*find_doubts(task), *doubts],
        "examples": examples,
    }
    if as_json:
        say_json(report)
    else:
        say(printable(_text(report)))


def _counts(task: Task, examples: Sequence[Example]) -> dict[str, Any]:
    from localprompt.tasks.copies import n_different  # noqa: PLC0415 - as above

    counts = Counter(example.targets[0] for example in examples)
    return {
        "n": len(examples),
        "different": n_different(examples),
        "labels": {label: counts[label] for label in task.labels},
    }


def _rendered(task: Task, examples: Sequence[Example], model: str | None) -> tuple[list[dict[str, Any]], Sequence[str]]:
    """Return the examples as the model sees them, and what is doubtful about the model's file."""
    renderings = [task.layout.render(task.seeds[0], example.inputs) for example in examples]
    texts, n_tokens, doubts = (
        _as_the_model_sees(renderings, model) if model else ([r.text for r in renderings], None, ())
    )
    return [
        {
            "example_id": example.id,
            "messages": [asdict(message) for message in rendering.messages],
            "opening": rendering.opening,
            "text": text,
            "answer": task.layout.separator + example.targets[0],
            "n_tokens": n_tokens[index] if n_tokens else None,
        }
        for index, (example, rendering, text) in enumerate(zip(examples, renderings, texts, strict=True))
    ], doubts


def _as_the_model_sees(renderings: Sequence[Rendering], model: str) -> tuple[list[str], list[int], Sequence[str]]:
    from localprompt.lm.loading import open_model  # noqa: PLC0415 - slow to start

    with open_model(model) as lm:
        texts = [lm.chat(r.messages, r.opening) if r.messages else r.text for r in renderings]
        return texts, [len(ids) for ids in lm.tokenize(texts)], getattr(lm, "doubts", ())


def _text(report: dict[str, Any]) -> str:
    lines = [f"{report['task']}: " + ", ".join(f"{split['n']} {name}" for name, split in report["splits"].items())]
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
    return "\n".join(lines)


def _smallest_gain(gain: float, *, n: int, different: int, **_: object) -> str:
    examples = f"The {n} test examples" + (f", {different} of them different," if different < n else "")
    change = "a fifth of the answers change" if gain <= _CHANGED else "no answer gets worse"
    rounded = f"{math.ceil(1000 * gain) / 1000:.3f}"
    return f"{examples} can show a gain of {rounded} or more (exact two-sided test, 5 % level, power 80 % if {change})."


def _example_lines(example: dict[str, Any]) -> list[str]:
    tokens = f", {example['n_tokens']} tokens" if example["n_tokens"] is not None else ""
    lines = [f"--- {example['example_id']}{tokens} ---"]
    if example["text"]:
        lines.append(example["text"])
    else:
        lines += [f"[{message['role']}]\n{message['content']}" for message in example["messages"]]
        lines += [f"[assistant begins]\n{example['opening']}"] if example["opening"] else []
    return [*lines, f"--- right answer: {example['answer']!r}"]
