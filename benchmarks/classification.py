"""Do the methods find clearly better prompts than what people have? Classification, against baselines people would try.

    python benchmarks/classification.py DATA --json FILE [--store FILE] [--tasks subj,agnews] [--seeds 3] [--report]
        [--label-score batch] [--variants "auto choice=uniform;auto without=cross,guess"]

DATA is a folder with subj, sst-5, agnews and banking-20, each with train.jsonl, dev.jsonl and test.jsonl of {"input",
"targets"}, and prompts.txt with instructions by people, one a line, the published one first. One model answers and
writes prompts. Everybody chooses by the same 300 rows of dev; everything of a task is tested on the same rows of test,
at most 300 of them, mixed with a fixed seed.

What people have, measured once a task:

- no instruction; the published instruction
- best of prompts: the best on dev of all of prompts.txt
- best of examples: the best on dev of eight random sets of worked examples without an instruction. A set has each label
  equally often, and as many examples as the smallest multiple of the number of labels that is 8 or more; their order is
  random.

What a search finds, from the published instruction, with `--tokens` as its budget (max_tokens of `optimize`): `random`,
`auto` and the four methods with worked examples (shots=auto), and the four without (shots=0). `--variants` adds
searches with other settings, each a method and KEY=VALUE, and a table of what they lose against the method itself.

The file is written after every baseline and every search; what it has is not repeated. Baselines come first, each on
all tasks before the next; so do the searches, and one seed of everything before the next. `--seeds 0` measures the
baselines alone. The scores of all rows of dev and test are in the file, a digit a row, so that other differences can
be taken later. `--report` prints what there is so far and loads no model. All answers are in --store, so what was
interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from corpus import LABELS, digits, published, scored_on_dev, task_in
from methods import AUTO, METHODS, Check, Results, carry_out, chosen, code_hash, expect, read, write

import localprompt
from localprompt.errors import LocalPromptError
from localprompt.lm.base import LanguageModel
from localprompt.run.results import is_significant
from localprompt.stats.intervals import Difference, interval, paired_difference
from localprompt.stats.seeds import over_seeds
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Demo, Evaluation, Prompt

TASKS = (*LABELS, "banking-20")
ROWS = {"train": 300, "dev": 300, "test": 300}
TOKENS = 40_000
"""Of one search: about five minutes where a model computes 140 a second."""
SETS = 8
"""Random sets of worked examples that people would try."""
LEAST_SHOTS = 8

NOTHING, PUBLISHED, BEST_PROMPT, BEST_SET = "no instruction", "published", "best of prompts", "best of examples"
BASELINES = (NOTHING, PUBLISHED, BEST_SET, BEST_PROMPT)
AIMS = {PUBLISHED: 0.15, BEST_PROMPT: 0.05, BEST_SET: 0.02}
"""Baseline to how much a method should be better on test, over all tasks."""
LEVEL = 0.01
"""How far `auto` may be behind the best single method on the mean."""
WITHOUT = " shots=0"
"""Behind a method's name: its searches without worked examples."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, or reported."""

    data: Path
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: int
    tokens: int
    label_score: str = "sum"
    """How everybody compares labels."""
    variants: tuple[str, ...] = ()
    """Methods with settings of their own, such as `auto choice=uniform`."""
    baselines: tuple[str, ...] = BASELINES

    @property
    def columns(self) -> tuple[str, ...]:
        """The ways to search: each method, the four of the papers without worked examples, and the variants."""
        without = (f"{method}{WITHOUT}" for method in self.methods if method in METHODS)
        return (*self.methods, *without, *self.variants)

    def searches(self) -> Iterator[tuple[int, str, str]]:
        """Return seed, task and column of each search: a column on all tasks, then the next; a seed, then the next."""
        for seed in range(self.seeds):
            for column in self.columns:
                for task in self.tasks:
                    yield seed, task, column


def task_of(data: Path, name: str, label_score: str = "sum") -> Task:
    """Return a task that starts from the published instruction; the labels of banking-20 are those of its rows."""
    folder = data / name
    labels = LABELS.get(name) or labels_in(folder / "train.jsonl")
    keys = {"labels": list(labels), "label_score": label_score, "prompts": published(folder)[:1]}
    return task_in(folder, keys, ROWS)


def labels_in(file: Path) -> tuple[str, ...]:
    """Return the different targets of a file's rows, sorted."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return tuple(sorted({target for row in rows for target in row["targets"]}))


def baselines_of(data: Path, task: Task) -> dict[str, list[Prompt]]:
    """Return baseline to the prompts of which it is the best on dev."""
    return {
        NOTHING: [Prompt("")],
        PUBLISHED: list(task.seeds),
        BEST_PROMPT: [Prompt(text) for text in published(data / task.name)],
        BEST_SET: [Prompt("", demos) for demos in sets_of(task)],
    }


def sets_of(task: Task) -> list[tuple[Demo, ...]]:
    """Return random sets of worked examples from train, each with every label equally often, in random order."""
    rng = random.Random(0)
    each = math.ceil(LEAST_SHOTS / len(task.labels))
    by_label = {label: [row for row in task.train if row.targets[0] == label] for label in task.labels}
    sets = []
    for _ in range(SETS):
        rows = [row for group in by_label.values() for row in rng.sample(group, each)]
        rng.shuffle(rows)
        sets.append(tuple(Demo(row.inputs, row.targets[0]) for row in rows))
    return sets


def run_all(plan: Plan, lm: LanguageModel, store: Store, file: Path) -> list[str]:
    """Carry out what is missing in the file, writing it after each; return what failed."""
    results = read(file) or {"model": lm.facts.fingerprint, "tasks": {}}
    expect(file, "", results, {"model": lm.facts.fingerprint})
    tasks = {name: task_of(plan.data, name, plan.label_score) for name in plan.tasks}
    failed: list[str] = []
    for baseline in plan.baselines:
        for name, task in tasks.items():
            known, prompts = known_of(results, file, task)["baselines"], baselines_of(plan.data, task)[baseline]
            if baseline not in known:
                found = _tried(f"{name}, {baseline}", failed, lambda: measured(task, prompts, lm, store))  # noqa: B023
                _keep(found, known, baseline, results, file)
    for seed, name, column in plan.searches():
        known, key = known_of(results, file, tasks[name]), f"{column} {seed}"
        if key in known["searches"]:
            expect(file, f"{name}, {key}", known["searches"][key], {"max_tokens": plan.tokens})
            continue
        found = _tried(
            f"{name}, {key}",
            failed,
            lambda: search(tasks[name], lm, store, column=column, seed=seed, tokens=plan.tokens),  # noqa: B023 - called at once
        )
        _keep(found, known["searches"], key, results, file)
    return failed


def known_of(results: Results, file: Path, task: Task) -> Results:
    """Return what the results have of a task; end the program if they are of other rows."""
    rows = {split: len(getattr(task, split)) for split in ROWS}
    now = {"task": task.fingerprint, "rows": rows}
    known: Results = results["tasks"].setdefault(task.name, {**now, "baselines": {}, "searches": {}})
    expect(file, task.name, known, now)
    return known


def measured(task: Task, prompts: Sequence[Prompt], lm: LanguageModel, store: Store) -> Results:
    """Return the best of prompts on dev, the first of equals, with its scores, and the dev scores of all of them."""
    with localprompt.open_session(lm, store=store) as session:
        evaluator = session.evaluator(task)
        on_dev = evaluator.evaluate(prompts, task.dev)
        best = max(on_dev, key=lambda each: each.mean)
        (on_test,) = evaluator.evaluate([best.prompt], task.test)
        spend = session.budget.spend
    others = [{**shown(each.prompt), "dev": digits(each)} for each in on_dev] if len(on_dev) > 1 else []
    return {**scored(best, on_test), "spend": asdict(spend), "chosen_from": others}


def search(task: Task, lm: LanguageModel, store: Store, *, column: str, seed: int, tokens: int) -> Results:
    """Return what one search found, and what it cost."""
    method, *pairs = column.split()
    settings = {"shots": "auto", **dict(pair.split("=", 1) for pair in pairs)}
    run = localprompt.optimize(task, lm, method=method, settings=settings, seed=seed, max_tokens=tokens, store=store)
    on_dev = scored_on_dev(store, run.run_id, task)
    on_test = {each.prompt.id: each for each in store.runs.evaluations(run.run_id, "test")}
    return {
        **scored(on_dev.get(run.best.id, Evaluation(run.best, ())), on_test[run.best.id]),
        "settings": settings,
        "max_tokens": tokens,
        "op": run.op,
        "noise": run.noise.floor if run.noise else None,
        "spend": asdict(run.spend),
        "discards": dict(run.discards),
        "stopped": run.stopped,
        "run": run.run_id,
    }


def scored(dev: Evaluation, test: Evaluation) -> Results:
    """Return a prompt with its scores on both, a digit a row in the order of the data."""
    return {**shown(test.prompt), "dev": digits(dev), "test": digits(test)}


def shown(prompt: Prompt) -> Results:
    """Return what tells a prompt from another; its worked examples are in the store."""
    return {"id": prompt.id, "prompt": prompt.instruction, "demos": len(prompt.demos)}


def variants(text: str) -> tuple[str, ...]:
    """Read methods with settings; repetitions count once."""
    found = tuple(dict.fromkeys(" ".join(each.split()) for each in text.split(";")))
    for each in found:
        method, *pairs = each.split() or [""]
        if method not in (*METHODS, AUTO) or not all("=" in pair for pair in pairs):
            raise argparse.ArgumentTypeError(f"{each!r} is no METHOD KEY=VALUE, such as 'auto choice=uniform'")
    return found


def _tried(what: str, failed: list[str], step: Callable[[], Results]) -> Results | None:
    """Return what a step found with seconds and versions, or nothing: one must not end hours of them."""
    began = time.perf_counter()
    try:
        found = step()
    except LocalPromptError as error:  # told again at the end
        failed.append(f"{what}: {error}")
        print(failed[-1], file=sys.stderr, flush=True)
        return None
    seconds = round(time.perf_counter() - began, 1)
    print(f"{what:32} test {share(found['test']):.3f} {seconds:5.0f} s  {found['prompt']!r}", flush=True)
    return {"code": code_hash(), "version": localprompt.__version__, "seconds": seconds, **found}


def _keep(found: Results | None, place: Results, key: str, results: Results, file: Path) -> None:
    if found is not None:
        place[key] = found
        write(file, results)


def share(scores: str) -> float:
    """Return the mean of scores, a digit a row."""
    return scores.count("1") / len(scores)


def values(scores: str) -> list[float]:
    """Return scores, a digit a row, as numbers."""
    return [float(each) for each in scores]


Scores = Mapping[tuple[str, str], Sequence[str]]
"""(task, baseline or column) to test scores: one text a seed, of a baseline the only one. Nothing that is missing."""


def scores_of(plan: Plan, results: Results) -> Scores:
    """Return the test scores that there are by now."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in plan.tasks:
        for baseline, each in results["tasks"].get(name, {"baselines": {}})["baselines"].items():
            found[name, baseline] = [each["test"]]
    for _, name, column, each in done(plan, results):
        found.setdefault((name, column), []).append(each["test"])
    return found


def done(plan: Plan, results: Results) -> Iterator[tuple[int, str, str, Results]]:
    """Return seed, task and column of each search of the plan that there is, with what it found."""
    for seed, name, column in plan.searches():
        each = results["tasks"].get(name, {"searches": {}})["searches"].get(f"{column} {seed}")
        if each:
            yield seed, name, column, each


def by_row(runs: Sequence[str]) -> list[float]:
    """Return each row's mean over the seeds, so that a row stays one observation however many seeds there are."""
    return [statistics.fmean(map(float, each)) for each in zip(*runs, strict=True)]


def difference(scores: Scores, tasks: Sequence[str], found: str, baseline: str) -> Difference | None:
    """Return how much better one is than another, paired by row, tasks with equal weight; None where one is missing."""
    if any((task, each) not in scores for task in tasks for each in (found, baseline)):
        return None
    before, after = ([by_row(scores[task, each]) for task in tasks] for each in (baseline, found))
    n = sum(map(len, after))
    weights = [n / (len(tasks) * len(rows)) for rows in after for _ in rows]
    return paired_difference(
        [score for rows in before for score in rows], [score for rows in after for score in rows], weights=weights
    )


def mean_of(scores: Scores, tasks: Sequence[str], column: str) -> float | None:
    """Return the mean over tasks, each with equal weight; None where one is missing."""
    if any((task, column) not in scores for task in tasks):
        return None
    return statistics.fmean(share("".join(scores[task, column])) for task in tasks)


def means(plan: Plan, scores: Scores) -> str:
    """Return the mean test score of every task and column as Markdown, a row a column."""
    lines = ["Test mean [95 % interval over the rows] (lowest to highest seed)", ""]
    lines += [_line("", *plan.tasks, "mean"), _line(*["---"] * (len(plan.tasks) + 2))]
    for column in (*BASELINES, *plan.columns):
        cells = [_cell(scores[task, column]) if (task, column) in scores else "" for task in plan.tasks]
        mean = mean_of(scores, plan.tasks, column)
        lines.append(_line(column, *cells, "" if mean is None else f"{mean:.3f}{_over_seeds(plan, scores, column)}"))
    return "\n".join(lines)


def _cell(runs: Sequence[str]) -> str:
    found = interval(by_row(runs))
    spread = f" ({min(map(share, runs)):.2f} to {max(map(share, runs)):.2f})" if len(runs) > 1 else ""
    return f"{found.mean:.3f} [{found.low:.2f}, {found.high:.2f}]{spread}"


def _over_seeds(plan: Plan, scores: Scores, column: str) -> str:
    """Return the interval of the mean over tasks in which further seeds would lie; empty where it is not known."""
    runs = [scores[task, column] for task in plan.tasks]
    if len({len(each) for each in runs}) > 1:  # the seed that is going on
        return ""
    found = over_seeds([statistics.fmean(map(share, each)) for each in zip(*runs, strict=True)])
    return "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f} over {found.n} seeds]"


def gains(plan: Plan, scores: Scores, baseline: str) -> str:
    """Return how much better each column is than a baseline as Markdown, on each task and over all of them."""
    lines = [f"Test mean less that of {baseline}, paired [95 % interval over the rows]", ""]
    lines += [_line("", *plan.tasks, "all"), _line(*["---"] * (len(plan.tasks) + 2))]
    for column in plan.columns:
        if column == baseline:
            continue
        cells = [
            difference(scores, tasks, column, baseline) for tasks in (*((task,) for task in plan.tasks), plan.tasks)
        ]
        if any(cells):
            lines.append(_line(column, *(_gain(each) if each else "" for each in cells)))
    return "\n".join(lines)


def _gain(found: Difference) -> str:
    return f"{found.mean:+.3f} [{found.low:+.2f}, {found.high:+.2f}]"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def chosen_prompts(plan: Plan, results: Results) -> str:
    """Return which prompts were the best on dev, with the dev and test scores of each, as Markdown."""
    lines = [_line("task", "", "dev", "test", "examples", "instruction"), _line(*["---"] * 6)]
    for name in plan.tasks:
        known = results["tasks"].get(name, {"baselines": {}})["baselines"]
        rows = [*known.items(), *((f"{column} {seed}", r) for seed, t, column, r in done(plan, results) if t == name)]
        for which, each in rows:
            dev = f"{share(each['dev']):.3f}" if each["dev"] else ""
            text = each["prompt"].replace("\n", " ").replace("|", "\\|")
            lines.append(_line(name, which, dev, f"{share(each['test']):.3f}", str(each["demos"]), text))
    return "\n".join(lines)


def costs(plan: Plan, results: Results) -> str:
    """Return what the searches of each column cost as Markdown; what the store knew took no time."""
    head = ("", "searches", "cut off by the budget", "seconds (median)", "tokens decoded (median)", "ended at the seed")
    lines = [_line(*head), _line(*["---"] * len(head))]
    for column in plan.columns:
        runs = [each for _, _, which, each in done(plan, results) if which == column]
        if runs:
            seconds = statistics.median(each["seconds"] for each in runs)
            tokens = statistics.median(each["spend"]["tokens_decoded"] for each in runs)
            cut, seeds = sum(bool(each["stopped"]) for each in runs), sum(each["op"] == "seed" for each in runs)
            lines.append(_line(column, str(len(runs)), str(cut), f"{seconds:.0f}", f"{tokens:.0f}", str(seeds)))
    return "\n".join(lines)


def checks(plan: Plan, results: Results, scores: Scores) -> list[Check]:
    """Return the aims that can be judged by now."""
    found = []
    for baseline, aim in AIMS.items():
        over = {each: difference(scores, plan.tasks, each, baseline) for each in (*METHODS, AUTO)}
        known = {method: each for method, each in over.items() if each}
        if known:
            figures = ", ".join(f"{method} {_gain(each)}" for method, each in known.items())
            met = max(each.mean for each in known.values()) >= aim
            found.append(Check(f"the best method at least {aim} over {baseline}", met, figures))
    pairs = {method: difference(scores, plan.tasks, method, f"{method}{WITHOUT}") for method in METHODS}
    if shots := {method: each for method, each in pairs.items() if each}:
        figures = ", ".join(f"{method} {_gain(each)}" for method, each in shots.items())
        met = min(each.mean for each in shots.values()) > 0
        found.append(Check("every method better with worked examples than without", met, figures))
    single = {each: mean for each in METHODS if (mean := mean_of(scores, plan.tasks, each)) is not None}
    auto = mean_of(scores, plan.tasks, AUTO)
    if auto is not None and single:
        best = max(single, key=single.__getitem__)
        gain = difference(scores, plan.tasks, AUTO, best)
        figures = f"{auto:.3f}, {best} {single[best]:.3f}: {_gain(gain) if gain else ''}"
        met = auto >= single[best] - LEVEL
        found.append(Check(f"{AUTO} at most {LEVEL} behind the best single method", met, figures))
    return [*found, *never_worse(plan, results)]


def never_worse(plan: Plan, results: Results) -> list[Check]:
    """Return whether no search ended below its seed by more than chance and noise explain; nothing without searches."""
    low, n = [], 0
    for seed, name, column, each in done(plan, results):
        before = results["tasks"][name]["baselines"].get(PUBLISHED)
        if before is None or column.split()[0] not in (*METHODS, AUTO):
            continue
        n += 1
        gain = paired_difference(values(before["test"]), values(each["test"]))
        if gain.mean < 0 and is_significant(gain, each["noise"] or 0.0):
            low.append(f"{column} {seed} on {name} {_gain(gain)}")
    aim = "no search below its seed by more than noise"
    return [Check(aim, not low, "; ".join(low) or f"none of {n}")] if n else []


def report(plan: Plan, results: Results) -> str:
    """Return everything there is to say about the results by now."""
    scores = scores_of(plan, results)
    searches = list(done(plan, results))
    parts = [means(plan, scores)]
    if searches:
        against = (*AIMS, *dict.fromkeys(each.split()[0] for each in plan.variants))
        parts += [*(gains(plan, scores, baseline) for baseline in against), costs(plan, results)]
    parts.append(chosen_prompts(plan, results))
    codes = {each["code"] for _, _, _, each in searches}
    if len(codes) > 1:
        parts.append(f"These searches come from {len(codes)} versions of the code.")
    judged = "\n".join(map(str, checks(plan, results, scores)))
    n_planned = len(list(plan.searches()))
    parts.append(f"Aims, judged by {len(searches)} of {n_planned} searches:\n\n{judged or 'nothing can be judged yet'}")
    return "\n\n".join(parts)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    methods = (AUTO, *METHODS, "random")
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--tasks", type=chosen(TASKS), default=TASKS)
    parser.add_argument("--methods", type=chosen(methods), default=methods)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0; 0 measures the baselines alone")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="budget of one search")
    parser.add_argument("--json", type=Path, required=True, help="the results; goes on with what it holds")
    parser.add_argument("--store", type=Path, default=Path("classification.sqlite"), help="every answer")
    parser.add_argument("--label-score", default="sum", help="how everybody compares labels; a file is of one")
    parser.add_argument("--baselines", type=chosen(BASELINES), default=BASELINES, help="by default all, half the time")
    parser.add_argument("--variants", type=variants, default=(), help="METHOD KEY=VALUE ..., with ; between them")
    parser.add_argument("--report", action="store_true", help="only print what there is")
    options = parser.parse_args()
    plan = Plan(
        options.data,
        options.tasks,
        options.methods,
        options.seeds,
        options.tokens,
        options.label_score,
        options.variants,
        options.baselines,
    )
    carry_out(options, partial(run_all, plan), partial(report, plan))


if __name__ == "__main__":
    main()
