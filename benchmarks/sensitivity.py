"""How far does wording move small local models? The published tasks and prompts, several models and levels.

    python benchmarks/sensitivity.py DATA --json FILE [--store FILE] [--tasks subj,agnews,sst-5] [--models A,B,...]
        [--size standard] [--rows 100] [--report] [--battery FILE]

DATA is a folder with subj, sst-5 and agnews, each with train.jsonl, dev.jsonl and test.jsonl of {"input", "targets"},
and prompts.txt with instructions by people, one a line, the published one first: that is the prompt whose wording is
varied, and the others are variants that people wrote (family `given`). The models are asked the same variants on the
same test rows; the first one writes the paraphrases and synonyms. `--rows` takes fewer rows than the size has.

A level below is made from a level above by `localprompt models quantize`, and its name says so. The ladder from an
unquantised file, which shows quantisation alone:

    localprompt models quantize MODEL-F16.gguf --to Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q3_K_M,Q2_K

The results of a task are written to FILE when it is done: what a copy of FILE has is not measured again, on another
machine either. Within a task the answers are in --store, so what was interrupted goes on where it was. `--report`
prints what there is and loads no model. `--battery FILE` writes what the first model is asked for the first task,
prompts and labels, for `benchmarks/peers.py --battery FILE`: that times the same questions put to a llama.cpp server.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from classification import labels_in
from corpus import LABELS, published, task_in
from methods import expect, read, write

import localprompt
from localprompt.battery.ask import find_size, make_variants
from localprompt.battery.results import ModelSensitivity, Sensitivity
from localprompt.battery.sensitivity import plan_battery
from localprompt.cli.progress import progress
from localprompt.interface.rounding import p_text, score_text
from localprompt.run.session import open_session
from localprompt.run.spec import order_of
from localprompt.tasks import Task

TASKS = ("subj", "agnews", "sst-5")
MODELS = ("qwen2.5-coder-1.5b-instruct", "qwen2.5-coder-0.5b-instruct", "gemma-3-270m", "smollm2-135m-instruct")
COLUMNS = (
    "task",
    "model",
    "as published",
    "mean",
    "worst",
    "best",
    "spread",
    "equal prompts",
    "p",
    "answers changed",
    "calibrated",
    "constrained",
    "free",
    "unreadable",
)


def task_of(data: Path, name: str) -> Task:
    """Return a task with the prompts that people wrote for it."""
    folder = data / name
    labels = LABELS.get(name) or labels_in(folder / "train.jsonl")
    keys = {"labels": list(labels), "prompts": published(folder)[:1]}
    return task_in(folder, keys, {"train": 300, "dev": 300, "test": 10_000})


def first_rows(task: Task, n: int | None) -> Task:
    """Return a task with the test rows that a study of `n` rows takes, so that larger studies have them too."""
    return task if n is None else replace(task, test=tuple(order_of(task, task.test, 0)[:n]))


def rows_of(found: Sensitivity) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each model."""
    for model in found.models:
        spread, original = model.overall.spread, model.own.variants[0].score
        flips = model.overall.flip_rate
        if spread is None or original is None or flips is None:
            continue
        within = "" if spread.low is None or spread.high is None else f" [{_two(spread.low)}, {_two(spread.high)}]"
        yield (
            found.task,
            f"{model.model} {model.quantisation}",
            _two(original.mean),
            _two(spread.mean),
            _two(spread.worst),
            _two(spread.best),
            f"{_two(spread.value)}{within}",
            _two(spread.by_chance.median),
            p_text(spread.by_chance.p, 3).removeprefix("p = ").removeprefix("p "),
            f"{flips.mean:.0%}",
            *(_of_scorer(model, name) for name in ("calibrated", "constrained", "free")),
            _unreadable(model),
        )


def _of_scorer(model: ModelSensitivity, name: str) -> str:
    for each in model.scorers:
        spread = each.families[0].spread
        if each.scorer == name and spread is not None:
            return f"{_two(spread.value)} ({_two(spread.by_chance.median)})"
    return ""


def _unreadable(model: ModelSensitivity) -> str:
    free = [each for each in model.scorers if each.scorer == "free"]
    if not free:
        return ""
    unread = sum(variant.unreadable for variant in free[0].variants)
    return f"{unread / (len(free[0].variants) * free[0].rows):.0%}"


def _two(score: float) -> str:
    return score_text(score, 2)


def report(results: Mapping[str, Any]) -> None:
    """Print the table, verdicts, families and shares of variance."""
    found = [Sensitivity.read(each) for each in results.values()]
    for cells in (COLUMNS, ["---"] * len(COLUMNS), *(row for each in found for row in rows_of(each))):
        print("|", " | ".join(cells), "|")
    for each in found:
        print(f"\n{each.task} ({len(each.rows)} rows, {len(each.variants) - 1} variants): {each.verdict}")
        _families(each)
        if each.variance is not None:
            shares = ((name, getattr(each.variance, name)) for name in each.variance.__slots__)
            print("  variance: " + ", ".join(f"{name} {share.value:.1%}" for name, share in shares if share))
        taus = [f"{pair.first} / {pair.second} {pair.tau:+.2f}" for pair in each.rank_agreement if pair.tau is not None]
        print("  rank agreement: " + "; ".join(taus))


def _families(found: Sensitivity) -> None:
    for family in found.models[0].own.families:
        cells = []
        for model in found.models:
            spread = next(each.spread for each in model.own.families if each.family == family.family)
            cells.append("" if spread is None else f"{_two(spread.value)} ({_two(spread.by_chance.median)})")
        print(f"  {family.family} ({family.variants}): {' | '.join(cells)}")


def write_battery(task: Task, prompts: Sequence[str], model: str, size: str, file: Path) -> None:
    """Write the texts that a model is asked to score, and the labels."""
    plan = plan_battery(task, prompts=prompts, size=size)
    with open_session(model) as session:
        collected = make_variants(plan.task, plan.families, find_size(size).variants, session, plan.seed)
        texts = []
        for variant in collected.variants:
            if variant.task.labels == task.labels:  # the server is asked for the same labels everywhere
                for row in variant.task.test:
                    rendering = variant.task.layout.render(variant.prompt, row.inputs)
                    is_chat = bool(rendering.messages)
                    texts.append(session.lm.chat(rendering.messages, rendering.opening) if is_chat else rendering.text)
    labels = [f"{task.layout.separator}{label}" for label in task.labels]
    file.write_text(json.dumps({"prompts": [str(text) for text in texts], "labels": labels}), encoding="utf-8")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--size", default="standard")
    parser.add_argument("--rows", type=int, help="at most, of those of the size")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--battery", type=Path)
    options = parser.parse_args()
    names, models = options.tasks.split(","), options.models.split(",")
    if options.battery is not None:
        folder = options.data / names[0]
        write_battery(task_of(options.data, names[0]), published(folder), models[0], options.size, options.battery)
        return
    results = read(options.json)
    for name in names if not options.report else ():
        if name in results:
            expect(options.json, name, results[name], {"size": options.size})
        else:
            with progress() as observer:
                found = localprompt.sensitivity(
                    first_rows(task_of(options.data, name), options.rows),
                    models,
                    prompts=published(options.data / name),
                    size=options.size,
                    store=options.store,
                    observer=observer,
                )
            results[name] = found.to_json()
            write(options.json, results, indent=None)
            report({name: results[name]})
    report(results)


if __name__ == "__main__":
    main()
