"""Do prompts carry over from one small local model to another? The published prompts of two tasks on several models.

    python benchmarks/transfer.py DATA --json FILE [--store FILE] [--tasks subj,agnews] [--models A,B,...] [--rows 300]
        [--report]

DATA is a folder with subj and agnews, each with train.jsonl, dev.jsonl and test.jsonl of {"input", "targets"}, and
prompts.txt with instructions by people, one a line, the published one first: that is the seed prompt. The best prompt
of each model, and the one for all models, are chosen on dev and reported on test, at most `--rows` rows each.

The results of a task are written to FILE when it is done: what a copy of FILE has is not measured again, on another
machine either. Within a task the answers are in --store, so what was interrupted goes on where it was. `--report`
prints what there is as Markdown and loads no model.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from corpus import LABELS, published, task_in
from methods import expect, read, write

import localprompt
from localprompt.cli.progress import progress
from localprompt.comparison.transfer_results import Cell, TaskTransfer, Transfer
from localprompt.interface.rounding import p_text, percent_text, score_text
from localprompt.tasks import Task

TASKS = ("subj", "agnews")
MODELS = ("qwen2.5-coder-1.5b-instruct", "qwen2.5-coder-0.5b-instruct", "gemma-3-270m", "smollm2-135m-instruct")
ROWS = 300


def task_of(data: Path, name: str, rows: int) -> Task:
    """Return a task that starts from the published instruction."""
    keys = {"labels": list(LABELS[name]), "prompts": published(data / name)[:1]}
    return task_in(data / name, keys, {"train": 1, "dev": rows, "test": rows})


def report(results: Mapping[str, Any]) -> None:
    """Print the matrix of each task, what each model's best prompt loses on the others, and the verdict."""
    for found in (Transfer.read(each) for each in results.values()):
        for task in found.tasks:
            models = range(len(found.models))
            names = [found.models[model].model for model in models]
            print(f"\n{task.task}: {len(task.prompts)} prompts chosen on {task.n_dev} rows of dev, scores on", end=" ")
            print(f"{len(task.example_ids)} rows of test; bold: the model's best on dev. {task.verdict}\n")
            _print_row("prompt", *names)
            _print_row(*["---"] * (1 + len(names)))
            for place, given in enumerate(task.prompts):
                _print_row(given.prompt.instruction, *(_score(task.cell(place, model)) for model in models))
            print("\nGap of the best prompt of the row's model on the column's model, p after Holm, and regret:\n")
            _print_row("best of", *names)
            _print_row(*["---"] * (1 + len(names)))
            for source in models:
                _print_row(names[source], *_gaps(task, task.best(source).prompt, len(names)))
            print()
            for each in task.best_for_all:
                score, cost, lowest = each.score, each.cost, each.lowest
                print(f"Best for all by {each.by}: {task.prompts[each.prompt].prompt.instruction!r},", end=" ")
                print(
                    f"{_two(score.mean)} [{_two(score.low)}, {_two(score.high)}], lowest {_two(lowest.value)},", end=" "
                )
                print(f"cost {score_text(cost.mean, 2, '+')} ({p_text(cost.p, 3)})")
            taus = [
                f"{pair.first} / {pair.second} {pair.tau:+.2f}" for pair in task.rank_agreement if pair.tau is not None
            ]
            print("\nKendall's tau: " + "; ".join(taus))
            if task.variance is not None:
                shares = ((name, getattr(task.variance, name)) for name in task.variance.__slots__)
                print("Variance: " + ", ".join(f"{name} {share.value:.1%}" for name, share in shares if share))


def _gaps(task: TaskTransfer, prompt: int, n_models: int) -> Iterator[str]:
    for model in range(n_models):
        cell = task.cell(prompt, model)
        if cell.gap is None:
            yield ""
            continue
        regret = "" if cell.regret is None else f", {percent_text(cell.regret.value)} %"
        yield f"{score_text(cell.gap.difference.mean, 2, '+')} ({p_text(cell.gap.adjusted_p, 3)}){regret}"


def _score(cell: Cell) -> str:
    text = f"{_two(cell.score.mean)} [{_two(cell.score.low)}, {_two(cell.score.high)}]"
    return f"**{text}**" if cell.is_best else text


def _print_row(*cells: str) -> None:
    print("|", " | ".join(cell.replace("|", "\\|") for cell in cells), "|")


def _two(score: float) -> str:
    return score_text(score, 2)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    results = read(options.json)
    for name in options.tasks.split(",") if not options.report else ():
        task = task_of(options.data, name, options.rows)
        if name in results:
            expect(options.json, name, results[name]["tasks"][0], {"n_dev": len(task.dev)})
        else:
            with progress() as observer:
                found = localprompt.transfer(
                    [task],
                    options.models.split(","),
                    prompts=published(options.data / name),
                    store=options.store,
                    observer=observer,
                )
            results[name] = found.to_json()
            write(options.json, results, indent=None)
    report(results)


if __name__ == "__main__":
    main()
