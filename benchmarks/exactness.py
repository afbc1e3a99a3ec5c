"""Are scores in exact mode equal bit for bit whatever is computed with them? Random calls on a real model.

    python benchmarks/exactness.py [N] [--model smollm2-135m-instruct] [--minutes M] [--threads T] [--without]

Texts that begin alike at different depths, from 3 to about 150 tokens, each with endings of one to about ten tokens,
are scored each in a call of its own. Then N random calls follow: 1 to 12 of them, in random order, the same one maybe
twice. After every twentieth call 1 to 6 of 12 prompts are completed, greedily and by drawing, by 8 tokens each, and are
compared with what each became alone. Numbers are compared by `==`, texts letter by letter; the seconds do not matter,
so the machine may be busy. `--without` does the same without exact mode, to show what it changes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from localprompt.engine.settings import default_threads
from localprompt.lm.local import LocalModel, load_model
from localprompt.lm.speed import requests
from localprompt.types import Sampling

Pair = tuple[str, str]
MOST_TOGETHER, MOST_COMPLETED, COMPLETED_EVERY = 12, 6, 20
SAMPLINGS = (Sampling(max_tokens=8), Sampling(max_tokens=8, temperature=1.0, top_p=0.9))
ENDINGS = (" positive", " negative", ".", ", and nobody was surprised by that, least of all me", " 1 2 3\n\n4")


def pairs_of() -> list[Pair]:
    """Return what is scored: beginnings of one another, and texts that part early or late."""
    contexts = list(dict.fromkeys(context for context, _ in requests(3)))
    long = "\n\n".join(contexts[:4])
    beginnings = [long[:n] for n in (12, 60, 190, 200, 260, 420, len(long))]
    return [(text, ending) for text in [*contexts, *beginnings] for ending in ENDINGS]


def compared(lm: LocalModel, pairs: Sequence[Pair], n: int, minutes: float) -> dict[str, object]:
    """Return how many random calls were made, in how many batches, how many answers they gave, and what differed."""
    rng = np.random.Generator(np.random.PCG64(0))
    scores = [lm.loglikelihood([pair])[0].logprob for pair in pairs]
    prompts = [context for context, _ in pairs[:: len(ENDINGS)]][:12]
    texts = [[lm.generate([prompt], how, [7])[0].text for prompt in prompts] for how in SAMPLINGS]
    calls = answers = completed = 0
    nats: list[float] = []
    changed = 0
    end, before = time.monotonic() + 60 * minutes, lm.stats.decode_calls
    while calls < n and time.monotonic() < end:
        company = rng.integers(0, len(pairs), rng.integers(1, MOST_TOGETHER + 1)).tolist()
        found = lm.loglikelihood([pairs[k] for k in company])
        differences = [abs(each.logprob - scores[k]) for each, k in zip(found, company, strict=True)]
        nats += [difference for difference in differences if difference != 0]
        calls, answers = calls + 1, answers + len(company)
        if calls % COMPLETED_EVERY == 0:
            chosen = rng.integers(0, len(prompts), rng.integers(1, MOST_COMPLETED + 1)).tolist()
            number = int(rng.integers(len(SAMPLINGS)))
            told = lm.generate([prompts[k] for k in chosen], SAMPLINGS[number], [7] * len(chosen))
            changed += sum(each.text != texts[number][k] for each, k in zip(told, chosen, strict=True))
            completed += len(chosen)
        if calls % 25 == 0:
            print(f"{calls} calls, {len(nats)} scores and {changed} texts differ", file=sys.stderr, flush=True)
    return {
        "calls": calls,
        "batches": lm.stats.decode_calls - before,
        "scores": answers,
        "scores that differ": len(nats),
        "most nats": max(nats, default=0.0),
        "completions": completed,
        "completions that differ": changed,
    }


def main() -> None:
    """Run the benchmark; the exit code is 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", nargs="?", type=int, default=2000, metavar="N", help="random calls")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a model card's name or a GGUF file")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop when they are over")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--without", action="store_true", help="without exact mode")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with load_model(options.model, exact=not options.without, n_threads=options.threads) as lm:
        found = compared(lm, pairs_of(), options.n, options.minutes)
    for what, number in found.items():
        print(f"{what}: {number:.3g}" if isinstance(number, float) else f"{what}: {number:,}")
    if options.json:
        options.json.write_text(
            json.dumps(
                {"model": options.model, "threads": options.threads, "exact": not options.without, **found}, indent=1
            )
        )
    sys.exit(bool(found["scores that differ"] or found["completions that differ"]))


if __name__ == "__main__":
    main()
