"""How near does `loglikelihood` come to plain prefill? Unique tokens per second over pp512, in one process.

    python benchmarks/engine_rate.py [--models NAME,...] [--repeats 5] [--exact] [--rounds] [--search METHOD,...]

`pp512` is what llama-bench calls so: 512 arbitrary tokens of one sequence, logits for the last, an empty cache. The
workload scores two labels for each of (instruction, review): the rows that go through the model are its distinct token
prefixes, and about 1 row in 20 needs logits, in pp512 one of 512. Both run in the same worker with the same
settings, in turn, and the ratio is taken turn by turn, since the machine may be shared. Also shown: the time that
sampling takes beside decoding at 32 lanes.

- `--exact`: the same workload in exact mode, over pp512 of the same model without it, in turn; the aim is 0.65.
- `--rounds` instead: six prompts with eight worked examples each, in rounds of six new rows with three labels, as a
  race asks them; the requests per second of each round over those of the first. What prompts begin with stays in
  memory, so the second should have at least 1.5 times the rate of the first. Each repeat has other prompts.
- `--search METHOD,...` instead: a whole search of each method with its default settings on a task with labels (--task),
  in a store of its own. Of its scoring: requested tokens per second of the calls, over pp512 x requested / decoded, the
  plan's own sharing; the aim is 0.9. pp512 is the mean of before and after the search. What it generated is told apart.
  What the store answered is in neither. Every row attends to the tokens before it: `depth` is how many these are on
  average over the distinct tokens of a call, 256 in pp512, and `ratio at depth` is over 512 tokens at that depth.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from apart import print_table, spread

from localprompt.engine.radix import RadixTree
from localprompt.engine.sampling import Sampler
from localprompt.lm.local import LocalModel, load_model
from localprompt.lm.speed import requests
from localprompt.run.api import optimize
from localprompt.types import EngineStats, Generation, Loglikelihood, Sampling

TASK = Path(__file__).parents[1] / "examples" / "support-routing" / "task.yaml"
_N_PROMPTS, _N_SHOWN, _N_ROWS, _LABELS = 6, 8, 6, (" good", " bad", " so-so")
"""Of a race."""
_Answer = TypeVar("_Answer")


def turn(lm: LocalModel, pairs: list[tuple[str, str]], plain: LocalModel | None = None) -> dict[str, float]:
    """Return one turn: pp512, of another model if there is one, then the workload, then pp512."""
    plain = plain or lm
    prefill = plain.prefill_rate(512)
    before, began = lm.stats, time.perf_counter()
    lm.loglikelihood(pairs)
    wall, after = time.perf_counter() - began, lm.stats
    decoded = after.tokens_decoded - before.tokens_decoded
    prefill = (prefill + plain.prefill_rate(512)) / 2  # before and after: drift of the machine falls out
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


def rounds(lm: LocalModel, seed: int, n_rounds: int) -> list[float]:
    """Return requests per second of each round of a race among prompts that nobody has asked before."""
    rng = np.random.Generator(np.random.PCG64(seed))
    reviews = [context.split("Review: ")[1].split("\n")[0] for context, _ in requests(200, seed)[:400:2]]
    prompts = []
    for number in range(_N_PROMPTS):
        shown = [reviews[k] for k in rng.choice(100, _N_SHOWN, replace=False)]
        examples = "\n".join(f"{review} It was {rng.choice(_LABELS).strip()}." for review in shown)
        prompts.append(f"Prompt {seed}.{number}: say how the visit was.\n{examples}\n")
    rates = []
    for turn_number in range(n_rounds):
        rows = reviews[100 + turn_number * _N_ROWS :][:_N_ROWS]
        pairs = [(f"{prompt}{row} It was", label) for prompt in prompts for row in rows for label in _LABELS]
        began = time.perf_counter()
        lm.loglikelihood(pairs)
        rates.append(len(pairs) / (time.perf_counter() - began))
    return rates


class Recorded(LocalModel):
    """A model that keeps what its calls did, by kind, and the seconds that they took."""

    work: dict[str, EngineStats]
    depths: list[tuple[int, int]]
    """Of each call to score: the distinct tokens of its contexts, and the sum of how many are before each."""

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Return as `LocalModel` does."""
        answers = self._recorded("scoring", lambda: super(Recorded, self).loglikelihood(pairs))
        tree = RadixTree.of(sorted(map(tuple, self.tokenize([context for context, _ in pairs]))))
        spans = [(shared, len(path)) for path, shared in zip(tree.sequences, tree.shared, strict=True)]
        self.depths.append((sum(end - begin for begin, end in spans), sum(sum(range(*span)) for span in spans)))
        return answers

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return as `LocalModel` does."""
        return self._recorded("generation", lambda: super(Recorded, self).generate(prompts, sampling, seeds))

    def _recorded(self, kind: str, ask: Callable[[], list[_Answer]]) -> list[_Answer]:
        before, began = self.stats, time.perf_counter()
        answers = ask()
        seconds, after = time.perf_counter() - began, self.stats
        done = EngineStats(
            after.tokens_requested - before.tokens_requested,
            after.tokens_decoded - before.tokens_decoded,
            after.output_rows - before.output_rows,
            after.decode_calls - before.decode_calls,
            seconds,
            after.tokens_reused - before.tokens_reused,
        )
        self.work[kind] = self.work.get(kind, EngineStats()) + done
        return answers


def rate_behind(lm: LocalModel, n_tokens: int) -> float:
    """Return tokens per second of 512 tokens behind so many others of the same sequence."""
    lengths = [n for n in (n_tokens, n_tokens + 512) if n]
    seconds = [n / lm.prefill_rate(n) for n in lengths]
    return 512 / (seconds[-1] - (seconds[0] if n_tokens else 0.0))


def searched(name: str, method: str, task: Path, max_tokens: int | None) -> dict[str, object]:
    """Return what the calls of one search did, and pp512 around it."""
    with load_model(name) as lm:
        path, settings = lm.path, lm.settings
    recorded = Recorded(path, settings, name)
    recorded.work, recorded.depths = {}, []
    with tempfile.TemporaryDirectory() as folder, recorded:
        recorded.prefill_rate(512)
        prefill = recorded.prefill_rate(512)
        store = Path(folder) / "store.sqlite"
        optimize(task, recorded, method=method, max_tokens=max_tokens, store=store)
        prefill = (prefill + recorded.prefill_rate(512)) / 2
        depth = round(sum(total for _, total in recorded.depths) / max(1, sum(n for n, _ in recorded.depths)))
        at_depth = statistics.mean(rate_behind(recorded, max(0, depth - 256)) for _ in range(2))
        scoring, generation = (recorded.work.get(kind, EngineStats()) for kind in ("scoring", "generation"))
    sharing = scoring.tokens_requested / max(1, scoring.tokens_decoded)
    rate = scoring.tokens_requested / max(1e-9, scoring.seconds)
    return {
        "model": name,
        "method": method,
        "scored tokens/s": f"{rate:.0f}",
        "pp512": f"{prefill:.0f}",
        "requested / decoded": f"{sharing:.1f}",
        "ratio": f"{rate / prefill / sharing:.2f}" if scoring.tokens_decoded else "",
        "depth": depth,
        "pp512 at depth": f"{at_depth:.0f}",
        "ratio at depth": f"{rate / at_depth / sharing:.2f}" if scoring.tokens_decoded else "",
        "rows with logits": f"{scoring.output_rows / max(1, scoring.tokens_decoded):.0%}",
        "rows a call": f"{scoring.tokens_decoded / max(1, scoring.decode_calls):.0f}",
        "reused": scoring.tokens_reused,
        "scoring s": f"{scoring.seconds:.0f}",
        "generation s": f"{generation.seconds:.0f}",
        "generation, decoded tokens/s": f"{generation.tokens_decoded / max(1e-9, generation.seconds):.0f}",
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="qwen2.5-coder-0.5b-instruct,qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--reviews", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--rounds", action="store_true")
    parser.add_argument("--search", metavar="METHOD,...")
    parser.add_argument("--task", type=Path, default=TASK)
    parser.add_argument("--max-tokens", type=int, help="of a search, which is then smaller than the default")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = options.models.split(",")
    if options.search:
        methods = options.search.split(",")
        rows = [searched(name, method, options.task, options.max_tokens) for name in names for method in methods]
        print_table(rows)
    elif options.rounds:
        print_table([raced(name, options.repeats) for name in names])
    else:
        scored(options)


def raced(name: str, repeats: int) -> dict[str, object]:
    """Return the rates of the rounds of a race."""
    with load_model(name) as lm:
        rounds(lm, 0, 1)  # warm-up
        found = [rounds(lm, 1 + k, 4) for k in range(repeats)]
    return {
        "model": name,
        "requests/s, round 1": spread([each[0] for each in found]),
        **{f"round {k + 1} over it": spread([each[k] / each[0] for each in found]) for k in range(1, 4)},
        "aim": "1.5",
    }


def exactly(name: str, pairs: list[tuple[str, str]], plain: LocalModel, repeats: int) -> list[dict[str, float]]:
    """Return the turns of exact mode beside a model without it."""
    with load_model(name, exact=True) as lm:
        turn(lm, pairs[:16], plain)
        return [turn(lm, pairs, plain) for _ in range(repeats)]


def scored(options: argparse.Namespace) -> None:
    """Print how fast the workload is scored."""
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
            exact = exactly(name, pairs, lm, options.repeats) if options.exact else []
        results[name] = {"turns": turns, "sampling_share": share, "exact": exact}
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
        if exact:
            rates = [each["ratio"] for each in exact]
            print(f"exact mode: {spread(rates)} of pp512 without it, aim 0.65 ({name})", flush=True)
        print(f"sampling at 32 lanes takes {100 * share:.1f} % of decode time ({name})", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
