"""How near does `loglikelihood` come to plain prefill? Unique tokens per second over pp512, in one process.

    python benchmarks/engine_rate.py [--models NAME,...] [--repeats 5]

`pp512` is what llama-bench calls so: 512 arbitrary tokens of one sequence, logits for the last, an empty cache. The
workload scores two labels for each of (instruction, review): the rows that go through the model are its distinct token
prefixes, and about 1 row in 20 needs logits, in pp512 one of 512. Both run in the same worker with the same
settings, in turn, and the ratio is taken turn by turn, since the machine may be shared. Also shown: the time that
sampling takes beside decoding at 32 lanes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from localprompt.engine.sampling import Sampler
from localprompt.lm.local import LocalModel, load_model
from localprompt.lm.speed import requests
from localprompt.types import Sampling


def turn(lm: LocalModel, pairs: list[tuple[str, str]]) -> dict[str, float]:
    """Return one turn: pp512, then the workload."""
    prefill = lm.prefill_rate(512)
    before, began = lm.stats, time.perf_counter()
    lm.loglikelihood(pairs)
    wall, after = time.perf_counter() - began, lm.stats
    decoded = after.tokens_decoded - before.tokens_decoded
    prefill = (prefill + lm.prefill_rate(512)) / 2  # before and after: drift of the machine falls out
    return {
        "pp512": prefill,
        "rate": decoded / wall,
        "ratio": decoded / wall / prefill,
        "decoded": decoded,
        "requested": after.tokens_requested - before.tokens_requested,
        "output_rows": after.output_rows - before.output_rows,
        "pairs_per_s": len(pairs) / 2 / wall,
    }


def sampling_share(lm: LocalModel, lanes: int = 32) -> float:
    """Return the time of sampling over the time of decoding, at `lanes` completions and top-p 0.9."""
    sampling = Sampling(max_tokens=16, temperature=0.9, top_p=0.9)
    lm.generate(["Once upon a time"], Sampling(max_tokens=1), [0])
    began = time.perf_counter()
    completions = lm.generate(["Once upon a time, in a town by the sea,"] * lanes, sampling, range(lanes))
    whole = time.perf_counter() - began
    rng = np.random.Generator(np.random.PCG64(0))
    logits = rng.normal(0, 3, (8, lm.n_vocab)).astype(np.float32)  # flatter than a model's, so dearer to sort
    sampler, n = Sampler(sampling, 0), sum(each.n_tokens for each in completions)
    began = time.perf_counter()
    for k in range(n):
        sampler.draw(logits[k % 8])
    draws = time.perf_counter() - began
    return draws / (whole - draws)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="qwen2.5-coder-0.5b-instruct,qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--reviews", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pairs = requests(options.reviews)
    print("| model | settings | pp512 tok/s | unique tok/s | ratio, median (range) | asked / decoded | output rows |")
    print("|---" * 7 + "|")
    results = {}
    for name in options.models.split(","):
        with load_model(name) as lm:
            turn(lm, pairs[:16])  # warm-up
            turns = [turn(lm, pairs) for _ in range(options.repeats)]
            share = sampling_share(lm)
            s = lm.settings
        results[name] = {"turns": turns, "sampling_share": share}
        ratios = [each["ratio"] for each in turns]
        last = turns[-1]
        settings = f"n_ubatch {s.n_ubatch}, repack {'on' if s.use_extra_bufts else 'off'}, {s.n_threads} threads"
        print(
            f"| {name} | {settings} | {statistics.median(t['pp512'] for t in turns):.0f} "
            f"| {statistics.median(t['rate'] for t in turns):.0f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {last['requested'] / last['decoded']:.1f} | {last['output_rows']} of {last['decoded']} |",
            flush=True,
        )
        print(f"sampling at 32 lanes takes {100 * share:.1f} % of decode time ({name})", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
