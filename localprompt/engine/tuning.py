"""The fastest settings for a model on this machine, measured once. Level 1.

llama.cpp's defaults lose a factor of 1.6 on K-quants with AVX-512 (repacked weights bypass its faster kernels), and win
on Q4_0: no rule of thumb holds, so each choice is measured on the model itself.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs

from localprompt.engine.process import EngineProcess
from localprompt.engine.settings import EngineSettings, available_threads
from localprompt.errors import ModelError
from localprompt.remembering import remember

_PROBE_TOKENS = 512
_GAIN = 1.03
"""A later choice must be this much faster than an earlier one: below that it is noise."""


def tuned(path: Path, sha256: str, settings: EngineSettings, fixed: Collection[str]) -> EngineSettings:
    """Return the settings with weight repacking, rows a batch and threads chosen by measuring, but for those `fixed`.

    The choice is remembered per file content, machine and llama.cpp build: the first call takes seconds to a minute.
    """
    open_choices = [name for name in ("use_extra_bufts", "n_ubatch", "n_threads") if name not in fixed]
    if not open_choices:
        return settings
    memory = Path(platformdirs.user_cache_dir("localprompt")) / "tuning.json"
    key = _key(sha256, settings, open_choices)
    known = _read(memory)
    if key not in known:
        best = measure(path, settings, open_choices)
        known = {**_read(memory), key: {name: getattr(best, name) for name in open_choices}}
        remember(memory, json.dumps(known, indent=1))
    chosen: dict[str, Any] = {name: known[key][name] for name in open_choices}
    return replace(settings, **chosen)


def measure(path: Path, settings: EngineSettings, open_choices: Collection[str]) -> EngineSettings:
    """Return the settings with the highest prefill rate among the open choices; each is loaded and timed."""
    best, best_rate = settings, _rate(path, settings)
    smaller = max(settings.n_ubatch // 2, settings.n_seq_max)
    alternatives: dict[str, Any] = {
        "use_extra_bufts": not settings.use_extra_bufts,
        "n_ubatch": smaller,
        "n_threads": available_threads(),
    }
    for name, value in alternatives.items():
        if name not in open_choices or value == getattr(settings, name):
            continue
        changes: dict[str, Any] = {name: value}
        candidate = replace(best, **changes)
        try:
            rate = _rate(path, candidate)
        except ModelError:  # a second, repacked copy of the weights may not fit into memory
            continue
        if rate > best_rate * _GAIN:
            best, best_rate = candidate, rate
    return best


def _rate(path: Path, settings: EngineSettings) -> float:
    """Return the best of two timed prefills after a warm-up: the machine may be busy, never idler than idle."""
    engine = EngineProcess(path, settings)
    try:
        engine.call("prefill_rate", n_tokens=32)
        return max(float(engine.call("prefill_rate", n_tokens=_PROBE_TOKENS)) for _ in range(2))
    finally:
        engine.close()


def _key(sha256: str, settings: EngineSettings, open_choices: Collection[str]) -> str:
    apart = {*open_choices, "n_ctx", "lanes"}  # these hardly change which choice is fastest
    rest = {name: value for name, value in settings.numerics().items() if name not in apart}
    machine = [platform.machine(), _cpu_name(), importlib.metadata.version("llama-cpp-python")]
    return json.dumps([sha256, machine, rest], sort_keys=True)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _read(memory: Path) -> dict[str, dict[str, bool | int]]:
    try:
        known: dict[str, dict[str, bool | int]] = json.loads(memory.read_text())
    except (OSError, ValueError):  # missing or damaged: it is only a memory of measurements
        return {}
    return known
