"""Where does the time of scoring and generating go? The share of `llama_decode`, and of everything beside it.

    python benchmarks/engine_profile.py [--models NAME,...] [--parts shares,growth,start] [--reviews 16] [--json FILE]

    shares    of scoring (instructions x reviews x labels) and of 32 completions at once, greedy and drawn, through the
              calls that a search makes, with an empty store: the parts of the worker are measured inside it; what the
              parent's clock shows beyond them is "parent, store and pipes"
    growth    1,000 requests, 10 and 100 times as many (prompts x reviews x labels), nothing decoded: time on a core per
              request, with a store; and all of the largest in one call, where planning is shown over the decoding
              that the first part measured
    start     from a command to the first decode call of its first request; and the imports

Beside shares of the clock stand shares of the time on a core, where a decode call counts as its time divided by its
threads: on a machine that other processes use too, the clock flatters the decode calls, whose threads wait for each
other.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from localprompt.engine import frames, process
from localprompt.lm.cached import CachedLM
from localprompt.lm.local import LocalModel, load_model
from localprompt.lm.speed import requests
from localprompt.store import Store
from localprompt.types import Sampling

DECODE = "llama_decode"
BESIDE = "parent, store and pipes"
LANES = 32
GROWTH = ((5, 100), (16, 312), (50, 1000))
"""(prompts, reviews): 1,000 requests with two labels each, 10 times and 100 times as many."""
TASK: dict[str, Any] = {
    "name": "reviews",
    "labels": ["positive", "negative"],
    "prompts": ["Say whether the review is positive or negative."],
    "data": {
        "file": "rows.jsonl",
        "fields": {"input": "input", "target": "target"},
        "split": {"train": 3, "dev": 3, "test": 3},
    },
}


@dataclass(frozen=True, slots=True)
class Profile:
    """Seconds of each part of a call, by the clock and on a core."""

    wall: dict[str, float]
    cpu: dict[str, float]
    n_threads: int
    n_decoded: int

    @property
    def decoding(self) -> float:
        """Seconds on a core of the decode calls, by thread: what they take on a machine with nothing else to do."""
        return self.cpu[DECODE] / self.n_threads

    def shares(self) -> dict[str, tuple[float, float]]:
        """Return each part's share, the largest first: of the clock, and of the time on a core."""
        core = {**self.cpu, DECODE: self.decoding}
        clock, all_cores = sum(self.wall.values()), sum(core.values())
        parts = sorted(core, key=lambda part: -core[part])
        return {part: (self.wall[part] / clock, core[part] / all_cores) for part in parts}


class Measured:
    """A loaded model whose worker writes down what its parts take."""

    def __init__(self, name: str, folder: Path, *extra: str) -> None:
        self._file = folder / f"worker-{time.monotonic_ns()}.jsonl"
        start_workers(self._file, *extra)
        self.lm: LocalModel = load_model(name)

    def _lines(self) -> list[str]:
        return self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []

    def profile(self, call: Callable[[], object]) -> Profile:
        """Return where the time of a call goes."""
        before, n_known = self.lm.stats.tokens_decoded, len(self._lines())
        began, cpu_began = time.perf_counter(), time.process_time()
        call()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        lines = [json.loads(line) for line in self._lines()[n_known:]]
        wall, cpu = _sum([line["wall"] for line in lines]), _sum([line["cpu"] for line in lines])
        wall[BESIDE], cpu[BESIDE] = seconds - sum(wall.values()), cpu_seconds
        return Profile(wall, cpu, self.lm.settings.n_threads, self.lm.stats.tokens_decoded - before)


def _sum(lines: Sequence[dict[str, float]]) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for line in lines:
        for part, seconds in line.items():
            total[part] += seconds
    return total


def start_workers(file: Path, *extra: str) -> None:
    """Let every worker that is started from now on write to this file what its parts take."""

    def command(module: str) -> list[str]:
        assert module == "localprompt.engine.worker"
        return [sys.executable, str(Path(__file__).with_name("profiled_worker.py")), str(file), *extra]

    setattr(process, "child_command", command)  # noqa: B010 - a name that it imports


def pairs_of(n_prompts: int, n_reviews: int) -> list[tuple[str, str]]:
    """Return (context, continuation) of prompts x reviews x two labels."""
    every = requests(n_reviews)[: 2 * n_reviews]  # those of the first instruction
    return [(f"{number} of {n_prompts}. {context}", label) for number in range(n_prompts) for context, label in every]


def shares_of(name: str, folder: Path, n_reviews: int, n_tokens: int) -> dict[str, Profile]:
    """Return the profiles of scoring and of completions."""
    measured = Measured(name, folder)
    prompts = [f"{context}\n\nIn other words:" for context, _ in pairs_of(1, LANES)[::2]]
    with measured.lm as lm, Store(folder / "shares.db") as store:
        cached = CachedLM(lm, store.answers)
        lm.loglikelihood(requests(2))
        lm.generate(prompts[:2], Sampling(max_tokens=4), [0, 0])
        scored = requests(n_reviews)
        found = {"scoring": measured.profile(lambda: cached.loglikelihood(scored))}
        for kind, sampling in {
            "32 lanes, greedy": Sampling(max_tokens=n_tokens),
            "32 lanes, top-p 0.9": Sampling(max_tokens=n_tokens, temperature=0.9, top_p=0.9),
            "32 lanes, temperature 1": Sampling(max_tokens=n_tokens, temperature=1.0),
        }.items():
            found[kind] = measured.profile(lambda how=sampling: cached.generate(prompts, how, range(LANES)))  # type: ignore[misc]
    return found


def growth_of(name: str, folder: Path) -> tuple[dict[int, Profile], Profile]:
    """Return the profiles of more and more requests, and of all of the largest in one call, nothing decoded."""
    measured = Measured(name, folder, "--no-decode")
    found = {}
    with measured.lm as lm, Store(folder / "growth.db") as store:
        cached = CachedLM(lm, store.answers)
        lm.loglikelihood(requests(2))
        for n_prompts, n_reviews in GROWTH:
            pairs = pairs_of(n_prompts, n_reviews)
            found[len(pairs)] = measured.profile(lambda many=pairs: cached.loglikelihood(many))  # type: ignore[misc]
        at_once = measured.profile(lambda: lm.loglikelihood(pairs))
    return found, at_once


def start_of(name: str, folder: Path) -> dict[str, tuple[float, float]]:
    """Return seconds, by the clock and on a core, of the imports and up to the first decode of a command.

    The model's file, its settings and its rates are known from an earlier command.
    """
    rows = [{"input": context, "target": "positive"} for context, _ in requests(9)[::2][:9]]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "task.yaml").write_text(json.dumps(TASK), encoding="utf-8")
    file = folder / "start.jsonl"
    found = {}
    for what in ("localprompt", "localprompt.cli.main"):
        found[f"import {what}"] = _timed([sys.executable, "-c", f"import {what}"])
    options = ["--prompt", TASK["prompts"][0], "--model", name, "--store", str(folder / "start.db")]
    began = time.time()
    whole = _timed([sys.executable, __file__, "--command", str(file), "evaluate", str(folder / "task.yaml"), *options])
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    (asking,) = (line["asking"] for line in lines if "asking" in line)
    first, cpu = next(line["first_decode"] for line in lines if line.get("op") == "score")
    return {**found, "a command to its first decode": (first - began, asking + cpu), "the whole command": whole}


def _timed(command: Sequence[str]) -> tuple[float, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def be_the_command(file: str, arguments: Sequence[str]) -> None:
    """Run the command line in this process, with a worker that writes down when it decodes."""
    from localprompt.cli.main import main as cli  # noqa: PLC0415 - what is measured must not be imported already

    def writing(stream: BinaryIO, value: Any) -> int:
        if value["op"] == "score":
            with Path(file).open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"asking": time.process_time()}) + "\n")
        return frames.write_frame(stream, value)

    setattr(process, "write_frame", writing)  # noqa: B010 - a name that it imports
    start_workers(Path(file))
    sys.argv = ["localprompt", *arguments]
    cli()


def told_shares(name: str, found: dict[str, Profile]) -> None:
    """Print the shares of a model as a table."""
    for kind, profile in found.items():
        rate = profile.n_decoded / profile.decoding
        print(f"\n{name}, {kind}: {profile.n_decoded} rows in {sum(profile.wall.values()):.1f} s ({rate:.0f} a second)")
        print("| part | share of the clock | share of the time on a core |\n|---|---|---|")
        for part, (clock, core) in profile.shares().items():
            print(f"| {part} | {100 * clock:.1f} % | {100 * core:.1f} % |", flush=True)


def told_growth(found: dict[int, Profile], at_once: Profile, rate: float | None) -> None:
    """Print time per request, and planning over decoding."""
    print("\nTime on a core per request, in microseconds, nothing decoded, with a store")
    parts = list(dict.fromkeys(part for profile in found.values() for part in profile.cpu))
    print(f"| requests | {' | '.join(parts)} | all |\n|{'---|' * (len(parts) + 2)}")
    for n, profile in found.items():
        each = [1e6 * profile.cpu[part] / n for part in parts]
        print(f"| {n} | {' | '.join(f'{us:.0f}' for us in each)} | {sum(each):.0f} |", flush=True)
    n = max(found)
    print(f"\n{n} requests in one call, {at_once.n_decoded} rows, seconds on a core:")
    for part, seconds in sorted(at_once.cpu.items(), key=lambda each: -each[1]):
        over = f", {100 * seconds * rate / at_once.n_decoded:.2f} % of decoding" if rate else ""
        print(f"- {part}: {seconds:.2f}{over}", flush=True)


def main() -> None:
    """Measure."""
    if sys.argv[1:2] == ["--command"]:
        be_the_command(sys.argv[2], sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--parts", default="shares,growth,start")
    parser.add_argument("--reviews", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48, help="of each completion")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = options.parts.split(",")
    results: dict[str, Any] = {}
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            folder, rate = Path(temporary), None
            result: dict[str, Any] = {}
            if "shares" in wanted:
                profiles = shares_of(name, folder, options.reviews, options.tokens)
                told_shares(name, profiles)
                rate = profiles["scoring"].n_decoded / profiles["scoring"].decoding
                result["shares"] = {kind: profile.shares() for kind, profile in profiles.items()}
            if "growth" in wanted:
                grown, at_once = growth_of(name, folder)
                told_growth(grown, at_once, rate)
                result["growth"] = {n: dict(profile.cpu) for n, profile in grown.items()}
                result["one call"] = {"seconds": dict(at_once.cpu), "rows": at_once.n_decoded}
            if "start" in wanted:
                result["start"] = start_of(name, folder)
                print("\n| start | seconds by the clock | on a core |\n|---|---|---|")
                for what, (clock, core) in result["start"].items():
                    print(f"| {what} | {clock:.2f} | {core:.2f} |", flush=True)
            results[name] = result
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
