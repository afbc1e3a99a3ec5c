"""Do the four methods find better prompts than people, chance and each other, at equal cost?

    python benchmarks/methods.py DATA [--tasks a,b] [--methods ape,random] [--starts empty,hand] [--seeds 3] [--report]

DATA is a folder with `instruction_induction/`, `bbh/` and `gsm8k/`, where every task has train.jsonl, dev.jsonl and
test.jsonl of {"input", "targets"}. Each method runs on each task with each seed from an empty and from a hand-written
prompt, with the same number of computed tokens; one model answers and writes prompts. `random` paraphrases without
feedback, `manual` chooses among four wordings by people whatever the start.

Why these six of the instruction-induction tasks (Honovich et al. 2022): they are the ones with short answers that an
instruction can still change, one of a kind: meaning (antonyms), form (singular_to_plural), knowledge (larger_animal),
translation, judgement of a sentence (sentiment), and a fixed set of answers whose names have to be found
(word_in_context, the only input of more than one sentence). Inputs have 6 to 109 characters on average, so a search
takes minutes. Left out: first_word_letter and sum, where hand-written prompts score 0.99 and more (singular_to_plural
at 0.98 stands for these); rhymes, whose rows count the input itself as a rhyme; taxonomy_animal and
orthography_starts_with, whose answers are lists of up to 32 tokens that take several times as long; informal_to_formal,
which has 15 test rows. Of BIG-Bench Hard the two with the shortest inputs: one is counted, one chosen from labels.

Results go to --json after every run, and runs found there are not repeated; a file made under other conditions is
refused. Each run has the hash of the code and meta-prompts that made it, and the report says if they differ. All runs
share the answers in --store, so a benchmark that was interrupted goes on where it was. Seconds are wall-clock of
`optimize` with its test measurement; answers that were known take none, hence the share of those.
`--report` prints what there is so far and loads no model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasks_of import SPLITS, TASKS, sizes, task_of

import localprompt
from localprompt.errors import LocalPromptError
from localprompt.lm.base import LanguageModel
from localprompt.optimizers import configure, presets
from localprompt.store import Store
from localprompt.tasks import Task

METHODS = ("ape", "protegi", "opro", "pe2")
AUTO = "auto"
"""Takes part where `--methods` names it."""
BASELINES = ("random", "manual")
FIXED = ("empty", "hand-written")
AIM_BEST = 1.15
AIM_DISCARDS = 0.30

Results = dict[str, Any]
"""As in the file: `model`, `version`, and `tasks`, name to `conditions`, `fixed` and `runs`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, or reported."""

    data: Path
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    starts: tuple[str, ...]
    seeds: int
    preset: str
    max_tokens: int | None
    rows: Mapping[str, int | None]

    def runs(self) -> Iterator[tuple[int, str, str, str]]:
        """Return seed, task, start and method of each run: a table of one seed is complete before the next begins."""
        for seed in range(self.seeds):
            for task in self.tasks:
                for start in self.starts:
                    for method in self.methods:
                        yield seed, task, start, method

    def settings_of(self, method: str) -> str:
        """Return all hyperparameters of a method."""
        return str(configure(method, {}, self.preset_of(method)))

    def preset_of(self, method: str) -> str:
        """Return the preset, or `local` for a baseline that has no other."""
        return self.preset if self.preset in presets(method) else "local"


def conditions(plan: Plan, name: str, task: Task) -> dict[str, object]:
    """Return what all numbers of a task depend on."""
    return {
        "rows": {split: len(getattr(task, split)) for split in SPLITS},
        "max_tokens": plan.max_tokens or TASKS[name].budget,
        "task": task.fingerprint,
        "prompts": list(TASKS[name].prompts),
    }


def run_all(plan: Plan, lm: LanguageModel, store: Store, file: Path) -> list[str]:
    """Carry out what is missing in the file, writing it after every run; return the runs that failed."""
    results = read(file) or {"model": lm.facts.fingerprint, "version": localprompt.__version__, "tasks": {}}
    expect(file, "", results, {"model": lm.facts.fingerprint, "version": localprompt.__version__})
    failed, code = [], code_hash()
    for seed, name, start, method in plan.runs():
        task = task_of(plan.data, name, start, sizes(plan.data, name, plan.rows))
        now = conditions(plan, name, task)
        known = results["tasks"].get(name) or {"conditions": now, "fixed": {}, "runs": {}}
        expect(file, name, known["conditions"], now)
        key, settings = f"{method} {start} {seed}", plan.settings_of(method)
        if key in known["runs"]:
            expect(file, f"{name}, {key}", known["runs"][key], {"settings": settings})
            continue
        try:
            known["fixed"] = known["fixed"] or measure_fixed(task, lm, store)
            found = search(plan, task, lm, store, method=method, seed=seed)
        except LocalPromptError as error:  # one run must not end a benchmark of hours; it is told again at the end
            failed.append(f"{name}, {key}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
            continue
        known["runs"][key] = {"settings": settings, "code": code, **found}
        results["tasks"][name] = known
        write(file, results)
        print(f"{name:20} {key:18} {found['mean']:.2f} {found['seconds']:5.0f} s  {found['prompt']!r}", flush=True)
    return failed


def measure_fixed(task: Task, lm: LanguageModel, store: Store) -> dict[str, object]:
    """Return the test scores of the empty prompt and of the reference."""
    texts = dict(zip(FIXED, ("", TASKS[task.name].prompts[0]), strict=True))
    return {
        name: {**asdict(localprompt.evaluate(task, lm, text, store=store).score), "prompt": text}
        for name, text in texts.items()
    }


def search(plan: Plan, task: Task, lm: LanguageModel, store: Store, *, method: str, seed: int) -> dict[str, object]:
    """Return what one method found, and what it cost."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        wordings = Path(temporary) / "prompts.txt"
        wordings.write_text("\n".join(TASKS[task.name].prompts), encoding="utf-8")
        run = localprompt.optimize(
            task,
            lm,
            method=method,
            preset=plan.preset_of(method),
            settings={"prompts": wordings} if method == "manual" else {},
            seed=seed,
            max_tokens=plan.max_tokens or TASKS[task.name].budget,
            store=store,
        )
    seconds = time.perf_counter() - began
    assert run.test is not None  # without a limit in minutes, a run ends with it
    return {
        **asdict(run.test.best),
        "prompt": run.best.instruction,
        "op": run.op,
        "start": run.test.seed.mean,
        "p": run.test.difference.p,
        "dev": run.dev.mean if run.dev else None,
        "noise": run.noise.floor if run.noise else None,
        "seconds": seconds,
        "spend": asdict(run.spend),
        "proposed": sum(each.is_proposed for each in store.runs.candidates(run.run_id)),
        "discards": dict(run.discards),
        "stopped": run.stopped,
        "run": run.run_id,
    }


def code_hash(folder: Path = Path(localprompt.__file__).parent) -> str:
    """Return a short hash of the package's sources: its code and its meta-prompts."""
    sources = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.suffix in (".py", ".txt")
    }
    texts = {name: sources[name].read_text(encoding="utf-8") for name in sorted(sources)}
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]


def versions(cells: Cells) -> str:
    """Return how many versions of the code the runs come from as a sentence; empty where it is one."""
    found = Counter(run.get("code") for cell in cells.values() for run in cell.runs)
    if len(found) < 2:
        return ""
    n_unknown = found.pop(None, 0)
    text = f"These runs come from {len(found)} version{'s'[: len(found) > 1]} of the code"
    text += f" and, {n_unknown} of them, from versions that were not recorded" if n_unknown else ""
    return f"{text}: their differences are not only those of the methods."


def read(file: Path) -> Results:
    """Return the results of a file, none where there is no such file."""
    results: Results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return results


def write(file: Path, results: Results, indent: int | None = 1) -> None:
    """Write the results so that the file is whole whenever this ends; without blanks where there is no indent."""
    half = file.with_name(f"{file.name}.new")
    separators = (",", ":") if indent is None else None
    half.write_text(json.dumps(results, indent=indent, separators=separators, ensure_ascii=False), encoding="utf-8")
    half.replace(file)


def expect(file: Path, where: str, saved: Mapping[str, object], now: Mapping[str, object]) -> None:
    """End the program if saved results are of other conditions than now."""
    for name, value in now.items():
        if saved.get(name) != value:
            place = f"{file}, {where}" if where else str(file)
            sys.exit(f"{place}: {name} was\n  {saved.get(name)}\nand is now\n  {value}\nChoose another --json.")


@dataclass(frozen=True, slots=True)
class Cell:
    """One task, start and method: the runs of all seeds, at least one."""

    runs: tuple[Mapping[str, Any], ...]

    @property
    def mean(self) -> float:
        """Mean test score over seeds."""
        return statistics.fmean(run["mean"] for run in self.runs)

    def __str__(self) -> str:
        """Mean, mean interval over the test rows, lowest and highest seed, and median seconds."""
        low, high = (statistics.fmean(run[end] for run in self.runs) for end in ("low", "high"))
        scores = [run["mean"] for run in self.runs]
        spread = f" ({min(scores):.2f} to {max(scores):.2f})" if len(scores) > 1 else ""
        seconds = statistics.median(run["seconds"] for run in self.runs)
        return f"{self.mean:.2f} [{low:.2f}, {high:.2f}]{spread}, {seconds:.0f} s"


Cells = Mapping[tuple[str, str, str], Cell]
"""(task, start, method) to what was found."""


def cells_of(plan: Plan, results: Results) -> Cells:
    """Return the cells of the plan that have a run."""
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for seed, name, start, method in plan.runs():
        runs = results["tasks"].get(name, {"runs": {}})["runs"]
        if f"{method} {start} {seed}" in runs:
            found.setdefault((name, start, method), []).append(runs[f"{method} {start} {seed}"])
    return {key: Cell(tuple(runs)) for key, runs in found.items()}


def table(plan: Plan, results: Results, cells: Cells, start: str) -> str:
    """Return the test scores of all searches from one start as Markdown, a row a task."""
    columns = [*FIXED, *plan.methods]
    explained = "test mean [95 % interval over the rows] (lowest to highest seed), seconds of a search"
    lines = [f"Started from the {start} prompt: {explained}", ""]
    lines += ["| task | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in plan.tasks:
        fixed = results["tasks"].get(name, {}).get("fixed", {})
        row = [
            f"{fixed[f]['mean']:.2f} [{fixed[f]['low']:.2f}, {fixed[f]['high']:.2f}]" if fixed else "" for f in FIXED
        ]
        row += [str(cells.get((name, start, method), "")) for method in plan.methods]
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def costs(plan: Plan, cells: Cells) -> str:
    """Return what each method spent and how much of what it proposed was of no use, over all its runs, as Markdown."""
    head = (
        "method",
        "runs",
        "cut off by the budget",
        "tokens computed",
        "known answers",
        "proposed",
        "discarded",
        "most frequent reasons",
    )
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for method in plan.methods:
        runs = runs_of(cells, method)
        if not runs:
            continue
        # Rows of before this was counted have nothing here.
        tokens = statistics.median(run["spend"].get("tokens_computed", 0) for run in runs)
        cached, answers = (sum(run["spend"][name] for run in runs) for name in ("answers_cached", "answers"))
        reasons = {
            reason: sum(run["discards"].get(reason, 0) for run in runs) for run in runs for reason in run["discards"]
        }
        most = sorted(reasons.items(), key=lambda item: -item[1])[:3]
        row = (
            method,
            str(len(runs)),
            str(sum(bool(run["stopped"]) for run in runs)),
            f"{tokens:.0f} (median)",
            f"{cached / max(answers, 1):.0%}",
            str(sum(run["proposed"] for run in runs)),
            f"{discard_share(runs):.0%}",
            ", ".join(f"{reason} {count}" for reason, count in most),
        )
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def runs_of(cells: Cells, method: str) -> list[Mapping[str, Any]]:
    """Return all runs of a method."""
    return [run for (_, _, each), cell in cells.items() if each == method for run in cell.runs]


def discard_share(runs: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of proposals that were not used; textual gradients that were not usable count as proposals."""
    discarded: int = sum(sum(run["discards"].values()) for run in runs)
    used: int = sum(run["proposed"] for run in runs)
    return discarded / max(1, discarded + used)


@dataclass(frozen=True, slots=True)
class Check:
    """One aim."""

    aim: str
    met: bool
    figures: str

    def __str__(self) -> str:
        """The aim as a line."""
        return f"- {'met' if self.met else 'MISSED'}: {self.aim}: {self.figures}"


def means_of(plan: Plan, results: Results, cells: Cells, start: str) -> dict[str, float]:
    """Return each column's mean over the induction tasks of the plan, without columns that lack one of them."""
    names = [name for name in plan.tasks if TASKS[name].is_induction]
    scores: dict[str, list[float]] = {}
    for name in names:
        for column, fixed in results["tasks"].get(name, {}).get("fixed", {}).items():
            scores.setdefault(column, []).append(fixed["mean"])
        for method in plan.methods:
            if (name, start, method) in cells:
                scores.setdefault(method, []).append(cells[name, start, method].mean)
    return {column: statistics.fmean(each) for column, each in scores.items() if len(each) == len(names)}


def averages(plan: Plan, means: Mapping[str, float], start: str) -> str:
    """Return the means over the induction tasks and their ratios to the hand-written prompts as a line."""
    hand = means.get("hand-written", 0.0)
    parts = [f"{name} {times(mean, hand)}" for name, mean in means.items()]
    n_tasks = sum(TASKS[name].is_induction for name in plan.tasks)
    return f"Mean over {n_tasks} induction tasks, from the {start} prompt: {', '.join(parts) or 'not measured yet'}"


def times(mean: float, hand: float) -> str:
    """Return a mean and, where there is one, its ratio to the hand-written prompts'."""
    return f"{mean:.3f}" + (f" = {mean / hand:.3f} x" if hand else "")


def checks(plan: Plan, results: Results, cells: Cells) -> list[Check]:
    """Return the aims that can be judged by now, those about scores for each start."""
    found = []
    for start in plan.starts:
        means = means_of(plan, results, cells, start)
        methods = {method: means[method] for method in METHODS if method in means}
        if not methods:
            continue
        hand = means["hand-written"]
        low = [
            f"{method} on {name} {cell.mean:.2f} against {results['tasks'][name]['fixed']['empty']['mean']:.2f}"
            for (name, each, method), cell in cells.items()
            if TASKS[name].is_induction and each == start and method in methods
            if cell.mean <= results["tasks"][name]["fixed"]["empty"]["mean"]
        ]
        where = f"from the {start} prompt"
        best = max(methods, key=lambda method: methods[method])
        ratios = ", ".join(f"{method} {times(mean, hand)}" for method, mean in methods.items())
        found += [
            Check(
                f"every method better than no prompt on every induction task, {where}", not low, "; ".join(low) or "all"
            ),
            Check(f"every method at least as good as hand-written, {where}", min(methods.values()) >= hand, ratios),
            Check(
                f"the best method at least {AIM_BEST} x hand-written, {where}",
                methods[best] >= AIM_BEST * hand,
                f"{best} {times(methods[best], hand)}",
            ),
        ]
        if "random" in means:
            gains = {method: mean - means["random"] for method, mean in methods.items()}
            figures = ", ".join(f"{method} {gain:+.3f}" for method, gain in gains.items())
            aim = f"at least two methods better than random, {where}"
            found.append(Check(aim, sum(gain > 0 for gain in gains.values()) >= 2, figures))
    asked = {method: runs_of(cells, method) for method in METHODS}
    shares = {
        method: discard_share(runs)
        for method, runs in asked.items()
        if any(run["proposed"] or run["discards"] for run in runs)
    }
    if shares:
        figures = ", ".join(f"{method} {share:.0%}" for method, share in shares.items())
        found.append(Check(f"discards under {AIM_DISCARDS:.0%}", max(shares.values()) < AIM_DISCARDS, figures))
    return found


def report(plan: Plan, results: Results) -> str:
    """Return everything there is to say about the results by now."""
    cells = cells_of(plan, results)
    n_runs, n_planned = sum(len(cell.runs) for cell in cells.values()), len(list(plan.runs()))
    parts = [table(plan, results, cells, start) for start in plan.starts]
    parts += [averages(plan, means_of(plan, results, cells, start), start) for start in plan.starts]
    parts += [costs(plan, cells), *filter(None, [versions(cells)])]
    known = [name for name in TASKS if TASKS[name].is_induction]
    missing = [name for name in (*METHODS, "random", *known) if name not in (*plan.methods, *plan.tasks)]
    state = f"{n_runs} of {n_planned} runs" + (f", without {', '.join(missing)}" if missing else "")
    judged = "\n".join(map(str, checks(plan, results, cells)))
    parts.append(f"Aims, judged by {state}:\n\n{judged or 'nothing can be judged yet'}")
    return "\n\n".join(parts)


def chosen(known: Sequence[str]) -> Any:
    """Return a reader of comma-separated names."""

    def names(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(text.split(",")))
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown {name!r}, known: {', '.join(known)}")
        return found

    return names


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    starts = ("empty", "hand")
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--tasks", type=chosen(tuple(TASKS)), default=tuple(TASKS))
    parser.add_argument("--methods", type=chosen((*METHODS, AUTO, *BASELINES)), default=(*METHODS, *BASELINES))
    parser.add_argument("--starts", type=chosen(starts), default=starts)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--preset", default="local", help="of the methods; baselines that lack it use local")
    parser.add_argument("--max-tokens", type=int, help="of one search; by default as set for the task")
    for split in SPLITS:
        parser.add_argument(f"--{split}", type=int, help="rows; by default as set for the task")
    parser.add_argument("--json", type=Path, default=Path("methods.json"))
    parser.add_argument("--store", type=Path, default=Path("methods.sqlite"))
    parser.add_argument("--report", action="store_true", help="only print what there is")
    options = parser.parse_args()
    for name in options.tasks:
        if not options.report and not (folder := options.data / TASKS[name].folder).is_dir():
            parser.error(f"there is no folder {folder}")
    rows = {split: getattr(options, split) for split in SPLITS}
    plan = Plan(
        options.data,
        options.tasks,
        options.methods,
        options.starts,
        options.seeds,
        options.preset,
        options.max_tokens,
        rows,
    )
    carry_out(options, partial(run_all, plan), partial(report, plan))


def carry_out(
    options: argparse.Namespace, run: Callable[[LanguageModel, Store, Path], list[str]], told: Callable[[Results], str]
) -> None:
    """Run what is missing, unless only the report is wanted, print it, and exit with what failed."""
    failed: list[str] = []
    if not options.report:
        with localprompt.load_model(options.model) as lm, Store(options.store) as store:
            failed = run(lm, store, options.json)
    print(told(read(options.json) or {"tasks": {}}))
    if failed:
        sys.exit("\n".join(["", "failed; start again to try them again:", *failed]))


if __name__ == "__main__":
    main()
