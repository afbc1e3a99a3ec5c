"""What does APE find on the instruction-induction tasks, against no instruction and a good hand-written one?

    python benchmarks/induction.py DATA [--model qwen2.5-coder-1.5b-instruct] [--tasks a,b] [--variants default,logprob]

DATA is a folder with one folder a task, each with train.jsonl, dev.jsonl and test.jsonl of {"input", "targets"}: the
tasks of Honovich et al. 2022. All prompts of a task are measured on the same test rows. Seconds are wall-clock of the
whole `optimize` call but the model's loading. All runs share the answers in --store, which take no time: the share of
answers that a run found there is told, and seconds are comparable only where it is small. The first variant of a task
meets a fresh store. Results go to --json after every task, and tasks found there are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import localprompt
from localprompt.lm.budget import Budget
from localprompt.lm.local import LocalModel, load_model
from localprompt.optimizers.ape import APE
from localprompt.search.evaluator import Evaluator
from localprompt.stats.intervals import interval
from localprompt.store import Store
from localprompt.tasks import Task, load_task
from localprompt.types import Prompt

HAND_WRITTEN = {
    "antonyms": "Write the word that means the opposite of the input word.",
    "first_word_letter": "Write the first letter of the input word.",
    "larger_animal": "Write the larger of the two animals.",
    "orthography_starts_with": "Write all words of the sentence that begin with the letter in brackets.",
    "rhymes": "Write a word that rhymes with the input word.",
    "sentiment": "Say whether the sentiment of the movie review is positive or negative.",
    "singular_to_plural": "Write the plural form of the input word.",
    "sum": "Add the two numbers.",
    "taxonomy_animal": "Write only the animals of the list, in any order.",
    "translation_en-fr": "Translate the word from English to French.",
    "word_in_context": (
        "Say whether the word has the same meaning in both sentences. Answer with 'same' or 'not the same'."
    ),
}
METRICS = {"orthography_starts_with": "set_match", "taxonomy_animal": "set_match"}
FEW_KNOWN = 0.1
"""A smaller share of known answers is not told: seeds and duplicates are known in any run."""
MAX_TOKENS = {"orthography_starts_with": 24, "taxonomy_animal": 32}

VARIANTS: Mapping[str, Mapping[str, object]] = {
    "default": {},
    "resampling": {"resample_rounds": 2},
    "three-rounds": {"resample_rounds": 3},
    "logprob": {"scoring": "logprob"},
    "logprob-sequence": {"scoring": "logprob", "norm": "sequence"},
    "ucb": {"selection": "ucb"},
    "raw": {"style": "raw"},
    "fim": {"mode": "fim"},
    "cloze": {"mode": "cloze"},
    "sir": {"mode": "sir"},
    "no-tiebreak": {"tiebreak": False},
    "few-shot": {"shots": 5},
}
"""Name to hyperparameters of APE that differ from its defaults."""


def task_of(data: Path, name: str) -> Task:
    """Return a benchmark task in the default raw layout."""
    folder = (data / name).resolve()
    keys = {
        "name": name,
        "data": {split: str(folder / f"{split}.jsonl") for split in ("train", "dev", "test")}
        | {"fields": {"input": "input", "target": "targets"}},
        "metric": METRICS.get(name, "exact_match"),
        "max_tokens": MAX_TOKENS.get(name, 8),
    }
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "task.yaml"
        path.write_text(json.dumps(keys))  # JSON is YAML
        return load_task(path)


def measure(lm: LocalModel, task: Task, variants: list[str], seed: int, store: Store) -> dict[str, Any]:
    """Return test scores of the empty and the hand-written prompt, and of what each variant of APE found."""
    fixed = {"empty": Prompt(""), "hand-written": Prompt(HAND_WRITTEN[task.name])}
    evaluations = Evaluator(lm, task, Budget()).evaluate(list(fixed.values()), task.test)
    scores: dict[str, Any] = {
        name: vars_of(interval(each.scores)) | {"prompt": each.prompt.instruction}
        for name, each in zip(fixed, evaluations, strict=True)
    }
    for variant in variants:
        began = time.perf_counter()
        run = localprompt.optimize(task, lm, method="ape", settings=VARIANTS[variant], seed=seed, store=store)
        if run.test is None:
            raise RuntimeError(f"{variant} did not reach its end: {run.stopped}")
        scores[variant] = vars_of(run.test.best) | {
            "prompt": run.best.instruction,
            "op": run.op,
            "dev": run.dev.mean if run.dev else None,
            "seconds": time.perf_counter() - began,
            "spend": run.to_json()["spend"],
            "discards": dict(run.discards),
        }
        print(f"{task.name:24} {variant:18} {scores[variant]}", flush=True)
    return scores


def vars_of(score: object) -> dict[str, float]:
    """Return mean, low, high and n of an interval."""
    return {name: getattr(score, name) for name in ("mean", "low", "high", "n")}


def known_share(scores: Mapping[str, Any]) -> str:
    """Return how many of a run's answers were known before; nothing where these are few."""
    spend = scores.get("spend", {})
    share = spend.get("answers_cached", 0) / max(1, spend.get("answers", 0))
    return f" ({share:.0%} known)" if share >= FEW_KNOWN else ""


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the results as Markdown: a row a task, 95 % intervals in brackets, seconds of each search."""
    columns = list(dict.fromkeys(name for scores in results.values() for name in scores))
    lines = ["| task | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for task, scores in results.items():
        cells = []
        for name in columns:
            each = scores.get(name)
            seconds = f", {each['seconds']:.0f} s{known_share(each)}" if each and "seconds" in each else ""
            cells.append(f"{each['mean']:.2f} [{each['low']:.2f}, {each['high']:.2f}]{seconds}" if each else "")
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the mean of each column over the tasks that have it, beside the hand-written mean of the same tasks."""
    lines = []
    columns = list(dict.fromkeys(name for scores in results.values() for name in scores))
    for name in columns:
        tasks = [task for task, scores in results.items() if name in scores]
        mean = statistics.fmean(results[task][name]["mean"] for task in tasks)
        hand = statistics.fmean(results[task]["hand-written"]["mean"] for task in tasks)
        seconds = [results[task][name]["seconds"] for task in tasks if "seconds" in results[task][name]]
        wait = f", median {statistics.median(seconds):.0f} s a task" if seconds else ""
        lines.append(f"{name:18} mean {mean:.3f} over {len(tasks)} tasks = {mean / hand:.3f} x hand-written{wait}")
    return "\n".join(lines)


def read(path: Path, conditions: Mapping[str, object]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the results of a file; end the program if they come from another model, seed or other defaults."""
    if not path.exists():
        return {}
    saved = json.loads(path.read_text())
    results: dict[str, dict[str, dict[str, float]]] = saved.pop("results")
    if saved != conditions:
        sys.exit(f"{path} holds results of {saved}, this run is {conditions}: choose another --json")
    return results


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--tasks", default=",".join(HAND_WRITTEN))
    parser.add_argument("--variants", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("induction.json"))
    parser.add_argument("--store", type=Path, default=Path("induction.sqlite"))
    options = parser.parse_args()
    with load_model(options.model) as lm, Store(options.store) as store:
        conditions = {"model": lm.fingerprint, "seed": options.seed, "ape": str(APE())}
        results = read(options.json, conditions)
        for name in options.tasks.split(","):
            missing = [v for v in options.variants.split(",") if v not in results.get(name, {})]
            if missing:
                task = task_of(options.data, name)
                results[name] = results.get(name, {}) | measure(lm, task, missing, options.seed, store)
                options.json.write_text(json.dumps({**conditions, "results": results}, indent=1, ensure_ascii=False))
    print(table(results), summary(results), sep="\n\n")


if __name__ == "__main__":
    main()
