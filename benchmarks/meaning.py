"""Do variants of a prompt mean the same? Writes fifty of each family for a person to read, and counts what they found.

    python benchmarks/meaning.py DATA --json FILE [--store FILE] [--models A,B,...] [--families paraphrase,synonym]
        [--seed 0] [--report]

DATA is a folder with subj, sst-5 and agnews, each with train.jsonl, dev.jsonl, test.jsonl and prompts.txt, as for
`sensitivity.py`. The prompts are theirs and the seed prompts of `examples/`, in turn: three variants of each where a
model writes, one or two drawn from eight elsewhere. Families in which a model writes are written by each of the models.

FILE holds for each writer and family a list of {"task", "original", "change", "text", "verdict"}; `text` is what the
model is shown, with `<input>` for a row where the family changes more than the instruction. A person sets `verdict` to
`kept`, or to a word or two for what is lost, such as `lacks the labels`. What the file has is not written again.
`--report` counts the verdicts, and prints what was lost and each text without a verdict.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpus import LABELS, published, task_in
from methods import read, write

import localprompt
from localprompt.battery.ask import make_variants
from localprompt.lm.base import LanguageModel
from localprompt.lm.scripted import ScriptedLM
from localprompt.run.session import Session
from localprompt.tasks import Task, load_task
from localprompt.types import Prompt
from localprompt.variants.families import FAMILIES, find_families
from localprompt.variants.variant import Family, Variant

TASKS = ("subj", "sst-5", "agnews")
EXAMPLES = Path(__file__).parents[1] / "examples"
MODELS = ("qwen2.5-coder-1.5b-instruct", "qwen2.5-coder-0.5b-instruct")
WRITTEN = ("paraphrase", "synonym")
"""Families in which a model writes."""
NO_WRITER = "no model"
WANTED = 50
PER_PROMPT, DRAWN_FROM = 3, 8
"""Variants asked of a family in which a model writes, as studies of standard size do, and of another, to draw from."""


def originals(data: Path) -> list[tuple[Task, Prompt]]:
    """Return all prompts with their tasks, those of different tasks by turns."""
    found = []
    for name in TASKS:
        prompts = published(data / name)
        keys = {"labels": list(LABELS[name]), "prompts": prompts}
        task = task_in(data / name, keys, {"train": 40, "dev": 1, "test": 5})
        found += [(place / len(prompts), task, Prompt(text)) for place, text in enumerate(prompts)]
    for path in sorted(EXAMPLES.glob("*/task.yaml")):
        task = load_task(path)
        found += [(0.0, task, prompt) for prompt in task.seeds if prompt.instruction]
    return [(task, prompt) for _, task, prompt in sorted(found, key=lambda each: each[0])]


def written(asked: Sequence[tuple[Task, Prompt]], family: Family, session: Session, seed: int) -> Iterator[Any]:
    """Yield the rows of a family: what a model writes prompt after prompt until there are enough, others drawn."""
    missing, rng = WANTED, random.Random(seed)
    for place, (task, prompt) in enumerate(asked):
        is_written, n = family.name in WRITTEN, math.ceil(missing / (len(asked) - place))
        most, begun = PER_PROMPT if is_written else DRAWN_FROM, replace(task, seeds=(prompt,))
        made = list(make_variants(begun, [family], most, session, seed).variants[1:])
        if not is_written:
            made = rng.sample(made, min(n, len(made)))
        for variant in made if missing > 0 else ():
            missing -= 1
            same = variant.task == begun and variant.prompt.demos == prompt.demos
            yield {
                "task": task.name,
                "original": prompt.instruction,
                "change": variant.change,
                "text": variant.prompt.instruction if same else shown(variant),
                "verdict": "",
            }
        if missing <= 0:
            return


def shown(variant: Variant) -> str:
    """Return what a model is shown of a variant and one row."""
    rendering = variant.task.layout.render(variant.prompt, {name: f"<{name}>" for name in variant.task.inputs})
    turns = "".join(f"[{turn.role}] {turn.content}\n" for turn in rendering.messages)
    labels = f"\n({', '.join(variant.task.labels)})" if variant.family == "labels" else ""
    return f"{turns}[assistant] {rendering.opening}{labels}" if turns else f"{rendering.text}{labels}"


def report(results: dict[str, Any]) -> None:
    """Print the share of each family and writer that keeps the meaning, then what was lost and what is unread."""
    for writer, families in results.items():
        for family, rows in families.items():
            verdicts = Counter(row["verdict"] or "unread" for row in rows)
            print(f"{family}, {writer}: {verdicts['kept']} of {len(rows)}; {dict(verdicts)}")
            for number, row in enumerate(rows):
                if row["verdict"] != "kept":
                    print(f"  {number} {row['verdict'] or '?'} | {row['original']} | {row['change']} | {row['text']}")


def write_missing(options: argparse.Namespace, lm: LanguageModel, writer: str, names: Sequence[str]) -> None:
    """Write what the file lacks of a writer, after each family."""
    results, asked = read(options.json) or {}, originals(options.data)
    of_writer = results.setdefault(writer, {})
    with localprompt.open_session(lm, store=options.store) as session:
        for family in find_families(names):
            if family.name not in of_writer:
                rows = of_writer[family.name] = []
                for row in written(asked, family, session, options.seed):
                    rows.append(row)
                    print(f"{writer}, {family.name} {len(rows)}: {row['change']} | {row['text']}", flush=True)
                write(options.json, results)


def main() -> None:
    """Write what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--families", default=",".join(family.name for family in FAMILIES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    names = options.families.split(",")
    if not options.report:
        write_missing(options, ScriptedLM(), NO_WRITER, [name for name in names if name not in WRITTEN])
        by_models = [name for name in names if name in WRITTEN]
        for model in options.models.split(",") if by_models else ():
            with localprompt.load_model(model) as lm:
                write_missing(options, lm, model, by_models)
    report(read(options.json) or {})


if __name__ == "__main__":
    main()
