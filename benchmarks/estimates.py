"""How near is `--dry-run`? Tokens and seconds that were expected of a search, and what it then took.

    python benchmarks/estimates.py [TASK] [--models NAME,...] [--methods ape,...] [--max-tokens 4000] [--json FILE]

Each search is limited, so that all take minutes. Seconds are those of the search's own calls; the final evaluation is
not among them. An estimate takes the rates that are remembered, the best that the machine has shown. How much slower it
was right before and after a search stands beside the error, and the error without that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localprompt.cli.progress import progress
from localprompt.lm.local import load_model
from localprompt.run.api import optimize
from localprompt.run.estimate import measured_rates

_PROBE = 128
"""Tokens by which it is seen how fast the machine is now."""
TASK = Path(__file__).parents[1] / "examples" / "past-tense" / "task.yaml"
MODELS = "smollm2-135m-instruct,gemma-3-270m,qwen2.5-coder-0.5b-instruct,qwen2.5-coder-1.5b-instruct"


def searched(task: Path, model: str, method: str, max_tokens: int) -> dict[str, Any]:
    """Return what one search was expected to take and took, in a store of its own."""
    with tempfile.TemporaryDirectory() as folder, progress() as reporter, load_model(model) as lm:
        rates = measured_rates(lm)
        now = [lm.prefill_rate(_PROBE)]
        result = optimize(
            task, lm, method=method, max_tokens=max_tokens, store=Path(folder) / "store.sqlite", observer=reporter
        )
        now.append(lm.prefill_rate(_PROBE))
    expected, spend = result.expected, result.spend
    if rates is None or expected is None or expected.seconds is None:
        raise ValueError(f"nothing was expected of {method} with {model}")
    return {
        "model": model,
        "method": method,
        "expected": expected.to_json(),
        "tokens": spend.tokens_computed,
        "seconds": spend.seconds,
        "rates": asdict(rates),
        "slower": rates.prefill * statistics.fmean(1 / rate for rate in now),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def row(found: dict[str, Any]) -> str:
    """Return it as a line of Markdown."""
    expected, took, slower = found["expected"], found["seconds"], found["slower"]
    return (
        f"| {found['model']} | {found['method']} | {expected['tokens_decoded']:,} | {found['tokens']:,} "
        f"| {expected['seconds']:.0f} | {took:.0f} | {expected['seconds'] / took - 1:+.0%} | {slower:.2f} "
        f"| {expected['seconds'] * slower / took - 1:+.0%} | {found['load']:.1f} |"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path, nargs="?", default=TASK)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--methods", default="ape,protegi,opro,pe2")
    parser.add_argument("--max-tokens", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print("| model | method | tokens expected | computed | s expected | taken | error | slower | without | load |")
    print("|---" * 10 + "|")
    results = []
    for model in options.models.split(","):
        for method in options.methods.split(","):
            results.append(searched(options.task, model, method, options.max_tokens))
            print(row(results[-1]), flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
