"""A corpus of searches to decide by: what each search knew of its finalists on dev, and what they are worth on test.

    python benchmarks/corpus.py DATA --json FILE --store FILE [--model qwen2.5-coder-1.5b-instruct] [--tasks subj]

DATA is a folder with `classification/` and `instruction_induction/`, where every task has train.jsonl, dev.jsonl and
test.jsonl of {"input", "targets"}, and a classification task also has prompts.txt, the first of which is the published
instruction. Each method starts from the published or hand-written instruction, chooses by 60 rows of dev, and its seed
and its three best finalists on dev are measured on 300 rows of test, or all there are.

Each row of the file holds the scores of all dev rows and all test rows of these prompts, so that another rule for the
winner, or for the noise, is tried by arithmetic alone. The store keeps every reply, so that a rule that discards
replies is tried by searching again with the answers known. Searches that the file has are not repeated, nor are the
prompts that another search of the task has measured on test. A file is of one model and one data set.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from induction import HAND_WRITTEN
from methods import METHODS, chosen, code_hash, read, write

import localprompt
from localprompt.errors import LocalPromptError
from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.search.evaluator import Evaluator
from localprompt.store import Store
from localprompt.tasks import Task, load_task
from localprompt.types import Evaluation, Prompt

LABELS: Mapping[str, tuple[str, ...]] = {
    "subj": ("subjective", "objective"),
    "sst-5": ("terrible", "bad", "okay", "good", "great"),
    "agnews": ("World", "Sports", "Business", "Tech"),
}
INDUCTION = ("larger_animal", "sentiment", "word_in_context")
TASKS = (*LABELS, *INDUCTION)
TRAIN, DEV, TEST = 100, 60, 300
FINALISTS = 3
BUDGETS = {"subj": 45_000, "sst-5": 70_000, "agnews": 90_000}
"""Computed tokens; the searches of 2026-11-28 had as much, counted as 150, 300 and 400 thousand requested ones."""
INDUCTION_BUDGET = 12_000


@dataclass(frozen=True, slots=True)
class Search:
    """One search of the corpus."""

    task: str
    method: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the file."""
        return f"{self.task} {self.method} {self.seed}"


def searches(tasks: Sequence[str], methods: Sequence[str], n_seeds: int) -> Iterator[Search]:
    """Return all searches: one seed is complete before the next begins."""
    for seed in range(n_seeds):
        for task in tasks:
            for method in methods:
                yield Search(task, method, seed)


def task_of(data: Path, name: str) -> Task:
    """Return a task that starts from what people wrote for it."""
    kind = "classification" if name in LABELS else "instruction_induction"
    folder = data / kind / name
    if name in LABELS:
        keys: dict[str, object] = {"labels": list(LABELS[name]), "prompts": published(folder)[:1]}
    else:
        keys = {"metric": "exact_match", "max_tokens": 8, "prompts": [HAND_WRITTEN[name]]}
    return task_in(folder, keys, {"train": TRAIN, "dev": DEV, "test": TEST})


def published(folder: Path) -> list[str]:
    """Return the instructions of a classification task's folder, the published one first."""
    return (folder / "prompts.txt").read_text(encoding="utf-8").splitlines()


def task_in(folder: Path, keys: Mapping[str, object], most: Mapping[str, int]) -> Task:
    """Return the task of a folder's rows, mixed, at most so many of each split; `keys` are those beside the data."""
    sizes = {}
    for split, n in most.items():
        with (folder / f"{split}.jsonl").open("rb") as file:
            sizes[split] = min(n, sum(1 for line in file if line.strip()))
    files = {split: str(folder.resolve() / f"{split}.jsonl") for split in sizes}
    data_keys = {**files, "fields": {"input": "input", "target": "targets"}, "split": sizes}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "task.yaml"
        path.write_text(json.dumps({"name": folder.name, "data": data_keys, **keys}), encoding="utf-8")  # JSON is YAML
        return load_task(path)


def run_all(planned: Sequence[Search], data: Path, lm: LanguageModel, store: Store, file: Path) -> list[str]:
    """Carry out what is missing in the file, writing it after every search; return the searches that failed."""
    corpus = read(file) or {
        "model": lm.facts.fingerprint,
        "version": localprompt.__version__,
        "test": {},
        "searches": {},
    }
    if corpus["model"] != lm.facts.fingerprint:
        sys.exit(f"{file}: made with another model; choose another --json")
    failed: list[str] = []
    for search in planned:
        if search.key in corpus["searches"]:
            continue
        task = task_of(data, search.task)
        known = corpus["test"].setdefault(search.task, {"task": task.fingerprint, "scores": {}})
        if known["task"] != task.fingerprint:
            sys.exit(f"{file}: the task {search.task} was another one; choose another --json")
        try:
            found, finalists = carry_out(search, task, lm, store)
            missing = [prompt for prompt in finalists if prompt.id not in known["scores"]]
            for evaluation in Evaluator(lm, task, Budget()).evaluate(missing, task.test) if missing else ():
                known["scores"][evaluation.prompt.id] = digits(evaluation)
        except LocalPromptError as error:  # one search must not end hours of them; it is told again at the end
            failed.append(f"{search.key}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
            continue
        corpus["searches"][search.key] = {"code": code_hash(), **found}
        write(file, corpus)
        print(told(search, found, known["scores"]), flush=True)
    return failed


def carry_out(search: Search, task: Task, lm: LanguageModel, store: Store) -> tuple[dict[str, Any], list[Prompt]]:
    """Return what a search found, as plain data, and the prompts to measure on test: the seed, then its finalists."""
    run = localprompt.optimize(
        task,
        lm,
        method=search.method,
        seed=search.seed,
        max_tokens=BUDGETS.get(search.task, INDUCTION_BUDGET),
        store=store,
    )
    on_dev = scored_on_dev(store, run.run_id, task)
    most = max(len(each.outcomes) for each in on_dev.values())
    whole = [each for each in on_dev.values() if len(each.outcomes) == most]
    others = [each for each in whole if each.prompt.id not in {prompt.id for prompt in task.seeds}]
    best = sorted(others, key=lambda each: -each.mean)[:FINALISTS]
    winner = [each for each in others if each.prompt.id == run.best.id and each not in best]
    seeds = [on_dev[prompt.id] for prompt in task.seeds if prompt.id in on_dev]
    ops = {candidate.prompt.id: candidate.op for candidate in store.runs.candidates(run.run_id)}
    shown = [*seeds, *best, *winner]
    found = {
        "run": run.run_id,
        "winner": run.best.id,
        "noise": run.noise.floor if run.noise else None,
        "requested": run.spend.tokens_requested,
        "computed": run.spend.tokens_computed,
        "decoded": run.spend.tokens_decoded,
        "seconds": round(run.spend.seconds, 1),
        "stopped": run.stopped,
        "n_on_all_of_dev": len(whole),
        "discards": dict(run.discards),
        "prompts": [
            {"id": each.prompt.id, "op": ops.get(each.prompt.id), "text": each.prompt.instruction, "dev": digits(each)}
            for each in shown
        ],
    }
    return found, [each.prompt for each in shown]


def scored_on_dev(store: Store, run_id: str, task: Task) -> dict[str, Evaluation]:
    """Return what a run knows of its prompts on dev, by prompt id; without outcomes where it knows nothing."""
    dev = {example.id for example in task.dev}
    return {
        each.prompt.id: Evaluation(each.prompt, tuple(o for o in each.outcomes if o.example_id in dev))
        for each in store.runs.evaluations(run_id)
    }


def digits(evaluation: Evaluation) -> str:
    """Return the scores in the order of the examples' ids, a digit each: these metrics are 0 or 1."""
    ordered = sorted(evaluation.outcomes, key=lambda each: int(each.example_id.rpartition(":")[2]))
    return "".join(f"{outcome.score:.0f}" for outcome in ordered)


def told(search: Search, found: Mapping[str, Any], test: Mapping[str, str]) -> str:
    """Return a search as a line: dev and test of the seed and its finalists, the winner marked."""

    def share(scores: str) -> str:
        return f"{scores.count('1') / len(scores):.3f}" if scores else "-"

    cells = [
        f"{'*' if each['id'] == found['winner'] else ''}{share(each['dev'])}/{share(test[each['id']])}"
        for each in found["prompts"]
    ]
    return f"{search.key:28} dev/test {' '.join(cells)}  {found['seconds']:.0f} s"


def main() -> None:
    """Run the searches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--tasks", type=chosen(TASKS), default=TASKS)
    parser.add_argument("--methods", type=chosen(METHODS), default=METHODS)
    parser.add_argument("--seeds", type=int, default=2, help="how many, from 0")
    parser.add_argument("--json", type=Path, required=True, help="the table; goes on with what it holds")
    parser.add_argument("--store", type=Path, required=True, help="every answer; not a file for a repository")
    options = parser.parse_args()
    planned = list(searches(options.tasks, options.methods, options.seeds))
    with localprompt.load_model(options.model) as lm, Store(options.store) as store:
        failed = run_all(planned, options.data, lm, store, options.json)
    if failed:
        sys.exit("\n".join(["", "failed; start again to try them again:", *failed]))


if __name__ == "__main__":
    main()
