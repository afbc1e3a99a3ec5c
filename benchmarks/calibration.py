"""How much more do small models get right where their label prior is taken off? Prompts by people, three ways.

    python benchmarks/calibration.py DATA --json FILE [--store FILE] [--tasks subj,agnews,sst-5] [--models A,B,...]
        [--rows 60] [--report]

DATA is a folder with subj, sst-5, agnews and banking-20, each with train.jsonl, dev.jsonl and test.jsonl of {"input",
"targets"}, and prompts.txt with instructions by people, one a line. Every prompt of a task is scored on the same rows
of test with each way to compare labels: `sum`, `calibrated` (on inputs that say nothing) and `batch` (on 16 rows of
train, 20 of five labels). The likelihoods of a row are computed once; `calibrated` adds three texts a prompt and
`batch` those rows.

Nothing is chosen here, so the means over prompts are what a prompt may be expected to have. A file is written after
each task and model, and what it has is not repeated; all answers are in --store. `--report` prints what there is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, pstdev

from corpus import digits, published
from methods import Results, expect, read, write
from sensitivity import MODELS, TASKS, first_rows, task_of

from localprompt.run.session import open_session
from localprompt.stats.intervals import paired_difference
from localprompt.tasks import Task
from localprompt.types import LabelScore, Prompt

WAYS: tuple[LabelScore, ...] = ("sum", "calibrated", "batch")


def measured(task: Task, prompts: list[Prompt], model: str, store: Path | None) -> Results:
    """Return each way's scores, a line a prompt with a digit a row, and what each added to what was computed before."""
    found: Results = {"model": "", "scores": {}, "tokens_computed": {}}
    with open_session(model, store=store) as session:
        found["model"] = session.lm.facts.fingerprint
        for way in WAYS:
            before = session.budget.spend.tokens_computed
            evaluations = session.evaluator(replace(task, label_score=way)).evaluate(prompts, task.test)
            found["scores"][way] = [digits(each) for each in evaluations]
            found["tokens_computed"][way] = session.budget.spend.tokens_computed - before
    return found


def report(results: Results) -> None:
    """Print the tables."""
    cells = ("task", "model", "prompts", "rows", *(f"{way}: mean (worst, best)" for way in WAYS), "batch less sum")
    for row in (cells, ["---"] * len(cells), *rows_of(results)):
        print("| " + " | ".join(row) + " |")


def rows_of(results: Results) -> Iterator[list[str]]:
    """Yield the cells of each task and model; the interval is over rows, of the mean over prompts."""
    for name, of_models in results.items():
        for model, found in of_models.items():
            scores = {way: [[float(score) for score in each] for each in found["scores"][way]] for way in WAYS}
            by_row = {way: [fmean(row) for row in zip(*scores[way], strict=True)] for way in WAYS}
            gain = paired_difference(by_row["sum"], by_row["batch"])
            n_prompts, n_rows = len(scores["sum"]), len(by_row["sum"])
            yield [
                *(name, Path(model).name.removesuffix(".gguf"), str(n_prompts), str(n_rows)),
                *(_cell([fmean(each) for each in scores[way]]) for way in WAYS),
                f"{gain.mean:+.3f} [{gain.low:+.2f}, {gain.high:+.2f}]",
            ]


def _cell(means: list[float]) -> str:
    return f"{fmean(means):.3f} ± {pstdev(means):.3f} ({min(means):.2f}, {max(means):.2f})"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    results = read(options.json) or {}
    for model in options.models.split(",") if not options.report else ():
        for name in options.tasks.split(","):
            known = results.setdefault(name, {})
            if model in known:
                rows = len(known[model]["scores"]["sum"][0])
                expect(options.json, f"{name}, {model}", {"rows": rows}, {"rows": options.rows})
                continue
            task = first_rows(task_of(options.data, name), options.rows)
            prompts = [Prompt(text) for text in published(options.data / name)]
            known[model] = measured(task, prompts, model, options.store)
            write(options.json, results)
            report({name: {model: known[model]}})
    report(results)


if __name__ == "__main__":
    main()
