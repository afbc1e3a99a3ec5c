"""Does `--objective robust` find prompts that small changes break less, and what does it cost in the plain score?

    python benchmarks/robust.py TASK TASK --json FILE [--store FILE] [--objective worst] [--seeds 3] [--report]

TASK is a task file, or a folder of classification data (train, dev and test.jsonl, prompts.txt with instructions, the
first eight of which are the seed prompts). For each task and seed there are two searches with the same budget of
computed tokens, one for the plain score and one for the other objective, which is a smaller search then. Both winners
are measured on the same rows of test in two sets of ways to ask:

- `searched`: the five ways that the robust search was about
- `others`: eight formats of the layout that another seed draws, the same for both prompts

Of each set there are the mean over the ways and the worst way, and the difference of the two prompts: of the means
paired by rows, of the worst ways by bootstrap over rows. Aims: worst way at least +0.05, mean at least -0.02.

The file is written after every pair of searches; what it has is not repeated. `--report` loads no model.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from classification import labels_in
from corpus import LABELS, published, task_in
from methods import code_hash, expect, read, write

import localprompt
from localprompt.errors import LocalPromptError
from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.metered import MeteredLM
from localprompt.run.session import Session
from localprompt.search.evaluator import Evaluator
from localprompt.search.problem import Problem
from localprompt.stats.intervals import paired_difference
from localprompt.stats.resampling import estimate, n_different, resampled_means
from localprompt.store import Store
from localprompt.tasks import Task, load_task
from localprompt.tasks.copies import numbered
from localprompt.types import Prompt
from localprompt.variants.format import Format
from localprompt.variants.robust import SPEAKS_OF_ALL, WEIGHTS, Objective, RobustEvaluator
from localprompt.variants.variant import Origin

Results = dict[str, Any]

PROMPTS = 8
"""Seed prompts from prompts.txt."""
OTHERS = 8
"""Formats that the search did not see."""
ANOTHER_SEED = 1000
AIMS = {"worst": 0.05, "mean": -0.02}


def task_of(path: Path, rows: int) -> Task:
    """Return the task of a file or of a folder of classification data, with at most so many rows of each split."""
    if path.is_dir():
        labels = LABELS.get(path.name) or labels_in(path / "train.jsonl")
        keys = {"labels": list(labels), "prompts": published(path)[:PROMPTS]}
        return task_in(path, keys, dict.fromkeys(("train", "dev", "test"), rows))
    task = load_task(path)
    return replace(task, train=task.train[:rows], dev=task.dev[:rows], test=task.test[:rows])


def run_pair(
    task: Task, lm: LanguageModel, store: Store, *, objective: Objective, seed: int, choices: Results
) -> Results:
    """Return what the two searches found, and both winners on test in all ways to ask."""
    kinds: tuple[Objective, Objective] = ("score", objective)
    runs = [localprompt.optimize(task, lm, objective=kind, seed=seed, store=store, **choices) for kind in kinds]
    with localprompt.open_session(lm, store=store) as session:
        ways = [ways_of(task, run.best, session, seed) for run in runs]
    found = [
        {
            "objective": kind,
            "run": run.run_id,
            "prompt": run.best.instruction,
            "demos": len(run.best.demos),
            "spend": asdict(run.spend),
            "final": asdict(run.final_evaluation),
            **scores,
        }
        for kind, run, scores in zip(kinds, runs, ways, strict=True)
    ]
    copies = numbered(task.test)
    plain, other = ways
    sets = ("searched", "others")
    return {"runs": found, **{name: compared(plain[name]["scores"], other[name]["scores"], copies) for name in sets}}


def ways_of(task: Task, prompt: Prompt, session: Session, seed: int) -> Results:
    """Return a prompt's score on each row of test, by set and way to ask; the prompt as it is comes first."""
    robust = RobustEvaluator(session.lm, task, session.budget, 1.0, seed)
    (searched,) = robust.neighbourhoods([prompt], task.test)
    evaluator = Evaluator(session.lm, task, session.budget)
    problem = Problem(task, evaluator, MeteredLM(session.lm, session.budget), rng=random.Random(seed))
    origin = Origin(SPEAKS_OF_ALL, task, problem, seed + ANOTHER_SEED)
    formats = [each for each in Format().variants(origin, OTHERS) if each.change not in robust.changes(prompt)]
    others = [Evaluator(session.lm, each.task, Budget()).evaluate([prompt], task.test)[0] for each in formats]
    return {
        "searched": {"changes": robust.changes(prompt), "scores": [each.scores for each in searched]},
        "others": {"changes": [each.change for each in formats], "scores": [each.scores for each in others]},
    }


def compared(plain: Sequence[Sequence[float]], robust: Sequence[Sequence[float]], copies: Sequence[int]) -> Results:
    """Return mean and worst way of both prompts, and their differences with intervals."""
    tables = [np.asarray(each, dtype=np.float64) for each in (plain, robust)]
    worst = [float(table.mean(axis=1).min()) for table in tables]
    resampled = [resampled_means(table, copies).min(axis=1) for table in tables]  # the same rows for both
    by_worst = estimate(worst[1] - worst[0], resampled[1] - resampled[0], n_different(len(copies), copies))
    means = [table.mean(axis=0) for table in tables]
    by_mean = paired_difference(means[0].tolist(), means[1].tolist(), copies)
    return {
        "mean": [float(each.mean()) for each in means],
        "worst": worst,
        "mean_difference": [by_mean.mean, by_mean.low, by_mean.high],
        "worst_difference": [by_worst.value, by_worst.low, by_worst.high],
    }


def report(results: Results) -> str:
    """Return a line for each pair of searches and set of ways to ask, then the means and the aims."""
    lines = []
    for key, pair in results["pairs"].items():
        for run in pair["runs"]:
            tokens = run["spend"]["tokens_computed"]
            lines.append(
                f"{key}, {run['objective']}: {tokens:,} tokens, {run['demos']} examples, {run['prompt'][:100]!r}"
            )
        for name in ("searched", "others"):
            found, n = pair[name], len(pair["runs"][0][name]["scores"])
            for what in ("mean", "worst"):
                first, second = found[what]
                value, low, high = (each or 0.0 for each in found[f"{what}_difference"])
                by = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
                lines.append(f"{key}, {name} ({n} ways), {what}: {first:.3f} to {second:.3f}, {by}")
    for name in ("searched", "others"):
        for what, aim in AIMS.items():
            gains = [pair[name][f"{what}_difference"][0] for pair in results["pairs"].values()]
            if gains:
                mean = statistics.fmean(gains)
                lines.append(f"{name}, {what}: {mean:+.3f} over {len(gains)} pairs, aim {aim:+.2f}: {mean >= aim}")
    return "\n".join(lines)


def run_all(options: argparse.Namespace, lm: LanguageModel, store: Store, results: Results) -> list[str]:
    """Carry out what is missing in the file, writing it after each pair; return what failed."""
    failed: list[str] = []
    settings = dict(each.split("=", 1) for each in options.set)
    choices = {"method": options.method, "settings": settings, "max_tokens": options.tokens}
    for seed in range(options.seeds):
        for path in options.tasks:
            task = task_of(path, options.rows)
            key = f"{task.name} {seed}"
            now = {"task": task.fingerprint, "objective": options.objective, **choices}
            if key in results["pairs"]:
                expect(options.json, key, results["pairs"][key], now)
                continue
            began = time.perf_counter()
            try:
                found = run_pair(task, lm, store, objective=options.objective, seed=seed, choices=choices)
            except LocalPromptError as error:  # told again at the end
                failed.append(f"{key}: {error}")
                continue
            seconds = round(time.perf_counter() - began, 1)
            results["pairs"][key] = {**now, "code": code_hash(), "seconds": seconds, **found}
            write(options.json, results)
            print(f"{key}: {seconds:.0f} s", flush=True)
    return failed


def main() -> None:
    """Run, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--method", default="random")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--objective", choices=list(WEIGHTS), default="robust")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=40_000)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    results = read(options.json) or {"model": options.model, "rows": options.rows, "pairs": {}}
    expect(options.json, "", results, {"model": options.model, "rows": options.rows})
    failed: list[str] = []
    if not options.report:
        with localprompt.load_model(options.model) as lm, Store(options.store) as store:
            failed = run_all(options, lm, store, results)
    print(report(results))
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
