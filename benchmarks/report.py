"""How large is the report of a large run, how long does it take to make, and how long to open?

    python benchmarks/report.py [--candidates 5000] [--dev 2000] [--test 2000] [--repeats 3] [--store FILE]
        [--json FILE]

A run as a long race leaves it is written into a store: every candidate measured on 40 examples of dev, one in 25 on all
of them, 3,000 discards, 1,000 requests to the proposer. Its report is made as `localprompt report` makes it, and opened
in Debian's Chromium without a window, with an empty profile each time, until the page says that all of its sections are
drawn. Times are medians, with the least and the most.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

import localprompt
from localprompt.interface.paths import write_whole
from localprompt.lm.scripted import ScriptedLM
from localprompt.reports.page import page
from localprompt.reports.run_report import run_report
from localprompt.run.history import read_history
from localprompt.store import Store
from localprompt.store.records import Mark
from localprompt.tasks import Layout, Task
from localprompt.tasks.answers import find_answer
from localprompt.tasks.metrics import find_metric
from localprompt.types import Candidate, Discard, Evaluation, Example, Exchange, Outcome, Prompt, Sampling

LABELS = ("positive", "negative", "neutral")
PROSE = """the guest was told to wait at the desk for a room that had been paid for in spring and found a view of the
harbour kind staff cold soup late towels and a lift that sang"""
FIRST_ROWS = 40
"""Dev examples that every candidate is measured on."""
FINALISTS = 25
"""One candidate in so many is measured on all of dev."""
DISCARDS, REQUESTS = 3000, 1000
_AT_ONCE = 200


def text(rng: random.Random, words: int) -> str:
    """Return so many words."""
    return " ".join(rng.choices(PROSE.split(), k=words))


def task_of(n_dev: int, n_test: int, rng: random.Random) -> Task:
    """Return a task of reviews with three labels."""

    def rows(split: str, n: int) -> tuple[Example, ...]:
        return tuple(Example(f"{split}:{i}", {"review": f"{i}: {text(rng, 30)}"}, (LABELS[i % 3],)) for i in range(n))

    return Task(
        name="reviews",
        description="The sentiment of reviews.",
        inputs=("review",),
        labels=LABELS,
        label_score="sum",
        train=rows("train", 60),
        dev=rows("dev", n_dev),
        test=rows("test", n_test),
        seeds=(Prompt("Classify the review."), Prompt("Say how the guest liked the stay.")),
        layout=Layout("{{instruction}}\n\n{{review}}\nSentiment:", ""),
        answer=find_answer("first_line"),
        metric=find_metric("exact_match"),
        sampling=Sampling(max_tokens=8, stop=("\n",)),
    )


def large_run(store: Store, n_candidates: int, n_dev: int, n_test: int) -> str:
    """Return the id of a run with so many candidates; its seed and found prompt are measured on test."""
    rng = random.Random(0)
    task = task_of(n_dev, n_test, rng)
    lm = ScriptedLM(logprob=lambda context, label: -float((len(context) * 7 + len(label) * 13) % 11), name="scripted")
    run_id = localprompt.optimize(task, lm, method="manual", store=store).run_id
    runs = store.runs
    found = [prompt.prompt.id for prompt in runs.candidates(run_id)]
    for first in range(0, n_candidates, _AT_ONCE):
        prompts = [
            Prompt(f"{text(rng, 25)}, as number {i}.") for i in range(first, min(first + _AT_ONCE, n_candidates))
        ]
        ops = rng.choices(("forward", "resample", "edit", "crossover"), k=len(prompts))
        runs.add_candidates(
            run_id, [Candidate(prompt, op, (rng.choice(found),)) for prompt, op in zip(prompts, ops, strict=True)]
        )
        found += [prompt.id for prompt in prompts]
        evaluations = [
            _measured(prompt, task.dev if i % FINALISTS == 0 else rng.sample(task.dev, min(FIRST_ROWS, n_dev)), rng)
            for i, prompt in enumerate(prompts)
        ]
        runs.add_evaluations(run_id, "metric", evaluations, Mark(first * 2000, first / 10))
        stage = f"round {first // _AT_ONCE + 1}: scoring {len(prompts)} prompts"
        runs.add_event(run_id, "stage", stage, Mark(first * 2000, first / 10))
    reasons = ("duplicate", "too long", "truncated", "it says what the answer is")
    runs.add_discards(run_id, [Discard(text(rng, 25), rng.choice(reasons)) for _ in range(DISCARDS)])
    runs.add_exchanges(
        run_id,
        [
            Exchange(text(rng, 300), tuple(text(rng, 25) for _ in range(5)), rng.choice(("induce", "edit")))
            for _ in range(REQUESTS)
        ],
    )
    return run_id


def _measured(prompt: Prompt, examples: Sequence[Example], rng: random.Random) -> Evaluation:
    skill = rng.uniform(0.4, 0.9)
    is_right = [rng.random() < skill for _ in examples]
    return Evaluation(
        prompt,
        tuple(
            Outcome(each.id, each.targets[0] if right else "neither", float(right), rng.uniform(-2, 4))
            for each, right in zip(examples, is_right, strict=True)
        ),
    )


def opening(path: Path, repeats: int) -> list[float]:
    """Return the seconds from the navigation until the page is ready, each time in an empty profile.

    Raises:
        SystemExit: if no Chromium is installed.
    """
    program = shutil.which("chromium")
    if program is None:
        sys.exit("no Chromium is installed (on Debian: apt-get install chromium)")
    times = []
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        for _ in range(repeats + 1):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            tab = context.new_page()
            begun = time.perf_counter()
            tab.goto(path.absolute().as_uri(), wait_until="commit")
            tab.wait_for_selector("html[data-ready=true]", state="attached", timeout=120_000)
            times.append(time.perf_counter() - begun)
            context.close()
        browser.close()
    return times[1:]  # the first one also starts the browser's processes


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=5000)
    parser.add_argument("--dev", type=int, default=2000)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--store", type=Path, help="keep the store; one that is there is taken as it is")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.store or Path(folder) / "store.sqlite"
        is_there = path.exists()
        html = path.with_suffix(".html")
        with Store(path) as store:
            if is_there:
                run_id = store.runs.all()[0].id
            else:
                run_id = large_run(store, options.candidates, options.dev, options.test)
            steps: dict[str, list[float]] = {
                name: [] for name in ("read the store", "make the report", "make the page")
            }
            for _ in range(options.repeats):
                begun = time.perf_counter()
                history = read_history(store, run_id)
                read = time.perf_counter()
                plain = run_report(history, store.path).to_json()
                made = time.perf_counter()
                write_whole(html, page(plain))
                for name, taken in zip(steps, (read - begun, made - read, time.perf_counter() - made), strict=True):
                    steps[name].append(taken)
        steps["open the page"] = opening(html, options.repeats)
        size = html.stat().st_size
        _tell(steps, size, options.json)


def _tell(steps: dict[str, list[float]], size: int, path: Path | None) -> None:
    print(f"{'step':<18} {'median':>8} {'least':>8} {'most':>8}")
    for name, times in steps.items():
        print(f"{name:<18} {statistics.median(times):>6.2f} s {min(times):>6.2f} s {max(times):>6.2f} s")
    print(f"{'size of the page':<18} {size / 1e6:>5.1f} MB")
    if path:
        path.write_text(json.dumps({"bytes": size, "seconds": steps}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
