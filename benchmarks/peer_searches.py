"""Does `auto` find better prompts than peers that search through a llama.cpp server, in the same minutes?

    python benchmarks/peer_searches.py DATA --json FILE --python PYTHON --server LLAMA_SERVER [--tasks subj,banking-20]

DATA is a folder as `classification.py` has it. PYTHON is the interpreter of an environment with promptolution[api] and
dspy[optuna], in which `peer_side.py` runs each peer, and LLAMA_SERVER the program of that name, best built for this
CPU. Everybody has the same GGUF file, threads, rows of train, dev and test, and starts from the published instruction:

    auto         localprompt's `optimize(method="auto", max_minutes=MINUTES)`, with an empty store
    auto fifth   the same with a fifth of the minutes
    capo         promptolution's CAPO
    mipro        DSPy's MIPROv2, light
    gepa         DSPy's GEPA, light
    mipro ours, gepa ours
                 the same on localprompt's engine (`localprompt.adapters.dspy`), so that method and engine can be told
                 apart; only where `--contenders` names them

- What each peer is given is in the docstring of `peer_side.py`. CAPO ends after the step, and GEPA after the iteration,
  in which the minutes are over; MIPROv2 light ends when it is done. What searches for more than OVERTIME times the
  minutes is stopped and counts as failed; its test has as long as it takes.
- "seconds" are those of the search, until there is a prompt; "overhead" are those of them without a model at work;
  "tokens" went through the model. auto's minutes hold its final evaluation too, on as many rows of test as they leave
  time for. What was found is tested on all of them after that.
- Peers draw their answers, auto compares the log-probabilities of the labels. Each one's test scores come from its own
  way to answer.
- Run nothing beside it: minutes decide here.

The file is written after every search; what it has is not repeated, failures included (--again tries these again).
`--report` prints what there is so far and loads no model.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import which

from classification import TASKS, by_row, difference, share, task_of
from corpus import digits
from methods import Results, chosen, code_hash, expect, read, write

import localprompt
from localprompt.engine.settings import default_threads
from localprompt.errors import LocalPromptError
from localprompt.lm.local import load_model
from localprompt.stats.intervals import interval
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Example

AUTO, FIFTH = "auto", "auto fifth"
OURS = " ours"
"""Ends the names of peers that ask localprompt's engine."""
USUAL = (AUTO, FIFTH, "capo", "mipro", "gepa")
CONTENDERS = (*USUAL, f"mipro{OURS}", f"gepa{OURS}")
OVERTIME = 6
ROOT = Path(__file__).absolute().parents[1]
SIDE = ROOT / "benchmarks" / "peer_side.py"
LAST_LINES = 3
"""Of what a peer printed, for the message of one that failed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, or reported."""

    data: Path
    tasks: tuple[str, ...]
    contenders: tuple[str, ...]
    seeds: int
    minutes: float
    rows: int
    """Of each split, at most."""
    model: str
    threads: int
    slots: int
    python: Path
    server: Path

    def searches(self) -> Iterator[tuple[int, str, str]]:
        """Return seed, task and contender of each search: one seed of everything before the next."""
        for seed in range(self.seeds):
            for task in self.tasks:
                for contender in self.contenders:
                    yield seed, task, contender


def task_for(plan: Plan, name: str) -> Task:
    """Return a task with at most so many rows as the plan says."""
    task, n = task_of(plan.data, name), plan.rows
    return replace(task, train=task.train[:n], dev=task.dev[:n], test=task.test[:n])


def run_all(plan: Plan, file: Path, *, again: bool) -> None:
    """Carry out what is missing in the file, writing it after each search."""
    with load_model(plan.model, n_threads=plan.threads) as lm:  # fetches and tunes before all else
        path, fingerprint = lm.path, lm.facts.fingerprint
    now = {"model": fingerprint, "threads": plan.threads, "slots": plan.slots, "minutes": plan.minutes}
    results = read(file) or {**now, "tasks": {}}
    expect(file, "", results, now)
    for seed, name, contender in plan.searches():
        task, key = task_for(plan, name), f"{contender} {seed}"
        known = results["tasks"].setdefault(name, {"task": task.fingerprint, "searches": {}})
        expect(file, name, known, {"task": task.fingerprint})
        if key in known["searches"] and not (again and "error" in known["searches"][key]):
            continue
        if contender in (AUTO, FIFTH):
            minutes = plan.minutes if contender == AUTO else plan.minutes / 5
            found = search(plan, task, seed, minutes)
        else:
            found = peer(plan, task, contender, seed, path)
        known["searches"][key] = {"code": code_hash(), **found}
        write(file, results)
        print(f"{name}, {key}: {told(found)}", flush=True)


def search(plan: Plan, task: Task, seed: int, minutes: float) -> Results:
    """Return what auto found with an empty store."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(Path(folder) / "store.db") as store,
        load_model(plan.model, n_threads=plan.threads) as lm,
    ):
        began = time.monotonic()
        try:
            run = localprompt.optimize(task, lm, method=AUTO, seed=seed, max_minutes=minutes, store=store)
        except LocalPromptError as error:
            return {"error": str(error)}
        spent = {
            "seconds": round(time.monotonic() - began, 1),
            "model_seconds": round(lm.stats.seconds, 1),
            "tokens": lm.stats.tokens_decoded,
        }
        with localprompt.open_session(lm, store=store) as session:  # in its minutes it may have seen a part of test
            (on_test,) = session.evaluator(task).evaluate([run.best], task.test)
        return {**spent, "prompt": run.best.instruction, "demos": len(run.best.demos), "test": digits(on_test)}


def peer(plan: Plan, task: Task, name: str, seed: int, model: Path) -> Results:
    """Return what a peer found in an environment and a process of its own, or why it found nothing."""
    with tempfile.TemporaryDirectory() as folder:
        job, out = Path(folder) / "job.json", Path(folder) / "found.json"
        splits = {"train": task.train, "dev": task.dev, "test": in_order(task.test)}
        rows = {split: [row_of(each) for each in examples] for split, examples in splits.items()}
        kept = {"threads": plan.threads, "slots": plan.slots, "minutes": plan.minutes, "seed": seed}
        asked = {"labels": list(task.labels), "instruction": task.seeds[0].instruction}
        files = {"model": str(model), "server": str(plan.server.absolute())}
        here = {"packages": [str(ROOT), sysconfig.get_paths()["purelib"]]} if name.endswith(OURS) else {}
        given = {"peer": name.removesuffix(OURS), "out": str(out), **files, **kept, **asked, **rows, **here}
        job.write_text(json.dumps(given), encoding="utf-8")
        limit = 60 * OVERTIME * plan.minutes
        command = [plan.python.absolute(), SIDE, job]
        both = subprocess.PIPE
        with subprocess.Popen(command, cwd=folder, stdout=both, stderr=both, text=True, start_new_session=True) as run:
            try:
                printed = run.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                if not out.exists():  # it is there when the search is over
                    return {"error": f"stopped after {limit:.0f} s of search"}
                printed = run.communicate()
            finally:
                with suppress(ProcessLookupError):  # its server would go on
                    os.killpg(run.pid, signal.SIGKILL)
        if run.returncode == 0:
            found: Results = json.loads(out.read_text(encoding="utf-8"))
            return found
        lines = (printed[1] or printed[0]).strip().splitlines()[-LAST_LINES:]
        return {"error": "\n".join(lines) or f"ended with {run.returncode}"}


def in_order(examples: Sequence[Example]) -> list[Example]:
    """Return examples in the order in which `digits` gives their scores."""
    return sorted(examples, key=lambda each: int(each.id.rpartition(":")[2]))


def row_of(example: Example) -> tuple[str, str]:
    """Return the text and the label of a row."""
    return "\n".join(example.inputs.values()), example.targets[0]


def told(found: Results) -> str:
    """Return what a search found, in a line."""
    if "error" in found:
        return f"failed: {found['error']}"
    figures = f"test {share(found['test']):.3f}, {found['seconds']:.0f} s, {found['tokens']} tokens"
    return f"{figures}, {found['demos']} examples, {found['prompt']!r}"


def report(plan: Plan, results: Results) -> str:
    """Return test means, costs, and what auto is better by, as Markdown; then the searches that failed."""
    of, failed, scores = dict[tuple[str, str], list[Results]](), list[str](), dict[tuple[str, str], list[str]]()
    for seed, name, contender in plan.searches():
        found = results["tasks"].get(name, {"searches": {}})["searches"].get(f"{contender} {seed}")
        if found and "error" in found:
            failed.append(f"- {name}, {contender} {seed}: {found['error']}")
        elif found:
            of.setdefault((name, contender), []).append(found)
            scores.setdefault((name, contender), []).append(found["test"])
    head = ("task", "", "searches", "test [95 % over the rows]", "seconds", "overhead, s", "tokens")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for (name, contender), runs in of.items():
        mean = interval(by_row(scores[name, contender]))
        seconds = statistics.fmean(each["seconds"] for each in runs)
        overhead = statistics.fmean(each["seconds"] - each["model_seconds"] for each in runs)
        tokens = statistics.fmean(each["tokens"] for each in runs)
        cells = f"{mean.mean:.3f} [{mean.low:.2f}, {mean.high:.2f}] | {seconds:.0f} | {overhead:.1f} | {tokens:.0f}"
        lines.append(f"| {name} | {contender} | {len(runs)} | {cells} |")
    pairs = [(ours, other) for ours in (AUTO, FIFTH) for other in plan.contenders if other not in (AUTO, FIFTH)]
    gains = [(*pair, difference(scores, plan.tasks, *pair)) for pair in pairs]
    lines += [
        f"\n{ours} less {other}, all tasks, paired: {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        for ours, other, gain in gains
        if gain
    ]
    return "\n".join([*lines, *(["", "Failed:", "", *failed] if failed else [])])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True, help="the results; goes on with what it holds")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="of the peers' environment")
    found = which("llama-server")
    parser.add_argument("--server", type=Path, default=found, required=not found, help="llama-server by default")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct", help="a model card's name or a GGUF file")
    parser.add_argument("--tasks", type=chosen(TASKS), default=("subj", "banking-20"))
    parser.add_argument("--contenders", type=chosen(CONTENDERS), default=USUAL)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rows", type=int, default=300, help="of train, dev and test each, at most")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--slots", type=int, default=4, help="of the server, and requests at a time")
    parser.add_argument("--again", action="store_true", help="try again what failed")
    parser.add_argument("--report", action="store_true", help="only print what there is")
    options = vars(parser.parse_args())
    file, again, only_report = options.pop("json"), options.pop("again"), options.pop("report")
    plan = Plan(**options)
    if not only_report:
        run_all(plan, file, again=again)
    print(report(plan, read(file) or {"tasks": {}}))


if __name__ == "__main__":
    main()
