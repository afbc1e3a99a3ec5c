"""Small searches, with a scripted and with a real model, that can be interrupted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENGINE = ("n_ctx=1024", "n_ubatch=128", "n_threads=2", "use_extra_bufts=false")
"""All that would be measured otherwise: a resumed run takes the settings of its beginning anyway."""

SMALL = {
    "ape": ("queries=3", "per_query=4", "stages=4,8", "resample_rounds=1"),
    "opro": ("steps=3", "per_step=4"),
    "pe2": ("steps=2",),
    "protegi": ("rounds=2", "minibatch=12", "evaluations=60"),
    "random": (),
}
SMALL_REAL = ("queries=2", "per_query=3", "demos=3", "stages=4,8", "finalists=2", "resample_keep=1", "variants=2")


@dataclass(frozen=True, slots=True)
class Search:
    """One search to be interrupted."""

    name: str
    task: Path
    model: str
    method: str
    settings: tuple[str, ...]
    engine: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """What begins it."""
        settings = [part for each in self.settings for part in ("--set", each)]
        engine = [part for each in self.engine for part in ("--engine", each)]
        return ["optimize", str(self.task), "--model", self.model, "--method", self.method, *settings, *engine]


def searches(folder: Path, model: str) -> tuple[list[Search], list[Search]]:
    """Return scripted and real searches; their tasks are written below `folder`."""
    chosen, written = _task(folder / "chosen", {"labels": ["even", "odd"]}), _task(folder / "written", {})
    real = [_real_task(folder / "real-chosen", labelled=True), _real_task(folder / "real-written", labelled=False)]
    scripted = [
        Search(f"{method}, {task.parent.name}", task, "watched:script", method, settings)
        for method, settings in SMALL.items()
        for task in (chosen, written)
    ]
    return scripted, [
        Search(f"{model}, {task.parent.name[5:]}", task, model, "ape", SMALL_REAL, ENGINE) for task in real
    ]


def _task(folder: Path, keys: dict[str, Any]) -> Path:
    labels = keys.get("labels")
    rows = [(f"alpha{n}", labels[n % 2] if labels else f"omega{n}") for n in range(50)]
    return _written(folder, "Turn alphas into omegas.", {**keys}, rows, (10, 20, 20))


_ANIMALS = (
    "cat dog cow horse sheep goat pig hen duck goose lion tiger bear wolf fox deer hare mouse rat bat owl eagle crow "
    "swan frog toad snake lizard shark whale trout salmon bee wasp ant fly moth spider crab snail"
)


def _real_task(folder: Path, *, labelled: bool) -> Path:
    words = _ANIMALS.split()
    short = [("short" if len(word) < 5 else "long") if labelled else word[0] for word in words]
    keys = {"labels": ["short", "long"]} if labelled else {"max_tokens": 4}
    described = "Say whether the word is short or long." if labelled else "Give the first letter of the word."
    return _written(folder, described, keys, list(zip(words, short, strict=True)), (8, 16, 16))


def _written(
    folder: Path, description: str, keys: dict[str, Any], rows: Sequence[tuple[str, str]], sizes: tuple[int, int, int]
) -> Path:
    folder.mkdir(parents=True)
    start = 0
    for split, size in zip(("train", "dev", "test"), sizes, strict=True):
        lines = [json.dumps({"input": text, "target": target}) for text, target in rows[start : start + size]]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        start += size
    task = {"description": description, "data": {split: f"{split}.jsonl" for split in ("train", "dev", "test")}, **keys}
    (folder / "task.yaml").write_text(json.dumps(task))  # JSON is YAML
    return folder / "task.yaml"
