"""What are drafts worth? One prompt answers rows, then another one does with and without the answers of the first.

    python benchmarks/drafts.py DATA [--model NAME] [--rows 6] [--max-tokens 200] [--repeats 1]

DATA is a JSON Lines file of rows with `input` and `targets`, such as problems of GSM8K. Both ways ask the second prompt
in the same worker, in turn. With labels instead of reasoning (`--prompts`, `--max-tokens 8`) most drafts are right.
Shown for each way: decode calls, rows decoded, seconds; of the drafts, how many tokens were decoded as guesses and how
many of these were drawn; and how many answers are equal: all of them, but where rounding in another batch decides.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from localprompt.lm.local import LocalModel, load_model
from localprompt.types import EngineStats, Generation, Message, Sampling

PROMPTS = (
    "Solve the problem step by step and end with the number that answers it.",
    "Think it through one step at a time before giving the number.",
)

Way = tuple[list[Generation], EngineStats, float]
"""Completions, what they cost the engine, seconds."""


def ask(lm: LocalModel, prompts: Sequence[str], sampling: Sampling, drafts: Sequence[Sequence[str]]) -> Way:
    """Return one way to answer."""
    before, began = lm.stats, time.perf_counter()
    found = lm.generate_drafted(prompts, sampling, [0] * len(prompts), drafts)
    seconds = time.perf_counter() - began
    spent = EngineStats(*(b - a for a, b in zip(astuple(before), astuple(lm.stats), strict=True)))
    return found, spent, seconds


def line(name: str, way: Way) -> str:
    """Return a row of the table."""
    found, spent, seconds = way
    drawn = sum(each.n_tokens for each in found)
    share = f"{spent.tokens_accepted} of {spent.tokens_drafted}" if spent.tokens_drafted else ""
    return f"| {name} | {spent.decode_calls} | {spent.tokens_decoded} | {drawn} | {share} | {seconds:.1f} |"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--prompts", nargs=2, default=PROMPTS, metavar="PROMPT")
    parser.add_argument("--targets", action="store_true", help="the right answer is a draft, too")
    options = parser.parse_args()
    rows = [json.loads(text) for text in options.data.read_text(encoding="utf-8").splitlines()[: options.rows]]
    sampling = Sampling(max_tokens=options.max_tokens)
    print("| way | decode calls | rows decoded | tokens drawn | guesses that were drawn | seconds |")
    print("|---" * 6 + "|")
    with load_model(options.model) as lm:
        first, second = (
            [lm.chat([Message("user", f"{prompt}\n\n{row['input']}")]) for row in rows] for prompt in options.prompts
        )
        nothing: list[list[str]] = [[] for _ in rows]
        drafts = [[each.text] for each in ask(lm, first, sampling, nothing)[0]]
        if options.targets:
            drafts = [[*texts, row["targets"][0]] for texts, row in zip(drafts, rows, strict=True)]
        for _ in range(options.repeats):
            plain = ask(lm, second, sampling, nothing)
            print(line("plain", plain), flush=True)
            drafted = ask(lm, second, sampling, drafts)
            print(line("with drafts", drafted), flush=True)
            n_equal = sum(a == b for a, b in zip(plain[0], drafted[0], strict=True))
            print(f"{n_equal} of {len(rows)} answers are equal", flush=True)


if __name__ == "__main__":
    main()
