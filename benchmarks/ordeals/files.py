"""Malformed model files before the validator, and those that it lets pass before llama.cpp."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ordeals.report import Row

FUZZER = Path(__file__).parents[1] / "hostile.py"
TINY = Path(__file__).parents[2] / "tests" / "tiny.py"
MAX_SECONDS, MAX_GROWTH_MB = 5.0, 200


def write_tiny(folder: Path) -> list[Path]:
    """Return two tiny models, written by the tests' own writer in a process of its own: it loads native code."""
    script = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); import tiny; folder = pathlib.Path(sys.argv[2])\n"
        "tiny.write_llama(folder / 'tiny-llama.gguf'); tiny.write_qwen(folder / 'tiny-qwen.gguf')"
    )
    subprocess.run([sys.executable, "-c", script, str(TINY.parent), str(folder)], check=True)
    return [folder / "tiny-llama.gguf", folder / "tiny-qwen.gguf"]


def _fuzz(model: Path, n: int, n_load: int, seed: int) -> dict[str, Any]:
    """Return what the fuzzer counted; it runs in a process of its own, whose death is a finding."""
    options = ["--mutants", str(n), "--load", str(n_load), "--seed", str(seed)]
    done = subprocess.run(
        [sys.executable, str(FUZZER), str(model), *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"model": model.name, "died": done.returncode, "error": done.stderr[-500:]}
    tried: dict[str, Any] = json.loads(done.stdout)
    return tried


def malformed(models: Sequence[Path], n: int, n_load: int, seed: int) -> list[Row]:
    """Return the row about `n` mutants of the headers of models, and the one about loading mutants of tiny ones."""
    with tempfile.TemporaryDirectory(prefix="tiny-") as name:
        real = _validated(models, n, seed)
        return [real, _loaded(write_tiny(Path(name)), n_load, seed)] if n_load else [real]


def _validated(models: Sequence[Path], n: int, seed: int) -> Row:
    began = time.perf_counter()
    tried, failures = [], []
    for number, model in enumerate(models):
        share = n * (number + 1) // len(models) - n * number // len(models)
        empty, full = _fuzz(model, 0, 0, seed), _fuzz(model, share, 0, seed)
        full["growth_mb"] = full.get("peak_mb", 0) - empty.get("peak_mb", 0)
        tried.append(full)
        print(json.dumps(full), file=sys.stderr, flush=True)
        failures += _complaints(full)
        if full["growth_mb"] > MAX_GROWTH_MB:
            failures.append(f"{model.name}: {full['growth_mb']} MB")
    crashes = sum(len(each.get("crashes", ["the process"])) for each in tried)
    counted = {name: sum(each.get(name, 0) for each in tried) for name in ("mutants", "refused", "accepted")}
    return Row(
        "malformed GGUF files",
        f"{counted['mutants']:,} mutants of the headers of {len(models)} models",
        f"{crashes} crashes; {counted['refused']:,} refused in one sentence, {counted['accepted']:,} accepted; "
        f"slowest {max(each.get('slowest_s', 0) for each in tried):.2f} s of CPU, memory grows by up to "
        f"{max(each['growth_mb'] for each in tried)} MB; {time.perf_counter() - began:.0f} s",
        "",
        failures,
        {"models": tried},
    )


def _complaints(tried: dict[str, Any]) -> list[str]:
    if "died" in tried:
        return [f"{tried['model']}: the process died with {tried['died']}: {tried['error']}"]
    failures = [f"{tried['model']}: {crash}" for crash in tried["crashes"]]
    if tried["slowest_s"] > MAX_SECONDS:
        failures.append(f"{tried['model']}: {tried['slowest_s']:.1f} s")
    return failures


def _loaded(tiny: Sequence[Path], n_load: int, seed: int) -> Row:
    share = -(-n_load // len(tiny))
    # One in a few mutants is accepted; the fuzzer loads the first of them.
    tried = [_fuzz(model, 40 * share, share, seed) for model in tiny]
    outcomes = sum((Counter(each.get("loads", {})) for each in tried), Counter[str]())
    failures = [failure for each in tried for failure in _complaints(each)]
    if outcomes.total() < n_load:
        failures.append(f"only {outcomes.total()} were loaded")
    what_became = ", ".join(f"{n} {what}" for what, n in outcomes.most_common())
    return Row(
        "accepted mutants, really loaded",
        f"{outcomes.total()} mutants of two tiny models",
        what_became,
        "the process that loads them always lives",
        failures,
        {"loads": dict(outcomes), "models": tried},
    )
