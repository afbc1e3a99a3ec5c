"""The fastest settings for a model on this machine, measured once. Level 2.

llama.cpp's defaults lose a factor of 1.6 on K-quants with AVX-512 (repacked weights bypass its faster kernels), and win
on Q4_0: no rule of thumb holds, so each choice is measured on the model itself.

The threads of a decode call wait for each other, so beside other processes any rate falls, and not all in the same
proportion. What was measured so is used as long as they are there, since other settings are other numbers, and is
measured again by the first call that finds them gone.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import platformdirs

from localprompt.engine import placement
from localprompt.engine.cachefile import write_atomic
from localprompt.engine.device_list import descriptions, visible
from localprompt.engine.neighbours import BUSY, Neighbours, cores_of_others
from localprompt.engine.process import EngineProcess
from localprompt.engine.settings import EngineSettings, available_threads
from localprompt.errors import ModelError

_logger = logging.getLogger("localprompt")

CHOICES = ("use_extra_bufts", "n_ubatch", "n_threads")
"""Names of the settings that are measured."""
_GAIN = 1.03
"""A later choice must be this much faster than an earlier one: below that it is noise."""
_FEWEST = 16
"""As many rows as keep all cores at matrix products: rates of fewer say little about batches."""
_MOST = 512
"""More would tell nothing new: a batch has no more rows."""
_MOST_AGAIN = 3
"""Times that a choice is measured again in vain, where others come and go; then it stays."""
_LOOK = 0.3
"""Seconds of looking whether others still use the machine."""
_CPU_FIELDS = frozenset({"model name", "CPU implementer", "CPU part"})


@dataclass(frozen=True, slots=True)
class Trial:
    """What one choice gave."""

    settings: dict[str, bool | int]
    """The open choices as they were then."""
    rate: float | None
    """Tokens per second of prefill; None where the model could not be loaded so."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Settings chosen by measuring, and what they were chosen from."""

    settings: EngineSettings
    trials: tuple[Trial, ...] = field(default=())
    """In the order of measuring, the start first; empty where nothing was open, or where only the choice is known."""
    beside: float | None = None
    """Cores that other processes used meanwhile; None where they used hardly any, or where that is not known."""


def tuned(path: Path, sha256: str, settings: EngineSettings, fixed: Collection[str]) -> Tuned:
    """Return the settings with weight repacking, rows per batch and threads chosen by measuring, but for those `fixed`.

    The choice is remembered per file content, CPU, threads at hand and llama.cpp build; one that was made while other
    processes used the machine, as long as they do. The first call takes up to ten seconds and a load for each choice,
    and logs at level INFO what it measures, to the logger `localprompt`.
    """
    decided = (*fixed, "use_extra_bufts", "n_ubatch") if settings.exact else fixed
    open_choices = [name for name in CHOICES if name not in decided]
    if not open_choices:
        return Tuned(settings)
    memory = Path(platformdirs.user_cache_dir("localprompt")) / "tuning.json"
    key = _key(sha256, settings, open_choices)
    entry = _read(memory).get(key)
    again = 0 if entry is None else entry.get("again", 0)
    if entry is None or (entry.get("beside") and again < _MOST_AGAIN and _is_free(path)):
        best = measure(path, settings, open_choices)
        if entry is None or not best.beside:
            found = {name: getattr(best.settings, name) for name in open_choices}
            entry = {**found, "trials": [asdict(trial) for trial in best.trials], "beside": best.beside}
        else:
            entry = {**entry, "again": again + 1}
        write_atomic(memory, json.dumps({**_read(memory), key: entry}, indent=1))
    chosen: dict[str, Any] = {name: entry[name] for name in open_choices}
    return Tuned(
        replace(settings, **chosen), tuple(Trial(**each) for each in entry.get("trials", ())), entry.get("beside")
    )


def find_difference(engine: EngineProcess, sha256: str) -> str:
    """Return why scores are not exact, though they should be; "" if they are.

    Tried once per file content, settings, CPU and llama.cpp build, which takes some seconds, and then remembered.
    """
    memory = Path(platformdirs.user_cache_dir("localprompt")) / "exact.json"
    key = _key(sha256, engine.settings, ())
    known = _read(memory)
    if key not in known:
        found = {"difference": engine.call("find_difference")}
        known = {**_read(memory), key: found}
        write_atomic(memory, json.dumps(known, indent=1))
    return str(known[key]["difference"])


def measure(path: Path, settings: EngineSettings, open_choices: Collection[str]) -> Tuned:
    """Return the settings with the highest prefill rate among the open choices; each is loaded and timed."""
    neighbours = Neighbours()
    _logger.info("%s: measuring which settings are fastest on this machine, once", path.name)
    n_tokens, best_rate = _probe(path, settings, _MOST)
    best = settings
    trials = [_trial(settings, open_choices, best_rate)]
    alternatives: dict[str, Any] = {
        "use_extra_bufts": not settings.use_extra_bufts,
        "n_ubatch": max(settings.n_ubatch // 2, settings.n_seq_max),
        "n_threads": max(1, available_threads() // settings.n_engines),
    }
    if n_tokens < settings.n_ubatch:  # both would compute the probe as one batch, or nearly so
        del alternatives["n_ubatch"]
    for name, value in alternatives.items():
        if name not in open_choices or value == getattr(settings, name):
            continue
        changes: dict[str, Any] = {name: value}
        candidate = replace(best, **changes)
        _logger.info("%s: measuring %s=%s (%.0f tokens/s so far)", path.name, name, value, best_rate)
        try:
            _, rate = _probe(path, candidate, n_tokens)
        except ModelError:  # a second, repacked copy of the weights may not fit into memory
            trials.append(_trial(candidate, open_choices, None))
            continue
        trials.append(_trial(candidate, open_choices, rate))
        if rate > best_rate * _GAIN:
            best, best_rate = candidate, rate
    beside = neighbours.cores()
    if beside is None or beside <= BUSY:
        return Tuned(best, tuple(trials))
    _logger.info(
        "%s: other processes used %.1f of %d cores meanwhile, so it is measured again when they are gone",
        *(path.name, beside, available_threads()),
    )
    return Tuned(best, tuple(trials), beside)


def _is_free(path: Path) -> bool:
    """Return whether nobody else uses the machine now; if somebody does, it is said what that means."""
    beside = cores_of_others(_LOOK)
    if beside is None or beside <= BUSY:
        return True
    _logger.info(
        "%s: other processes use %.1f of %d cores, which slows it down; its settings were measured beside such, too",
        *(path.name, beside, available_threads()),
    )
    return False


def _trial(settings: EngineSettings, open_choices: Collection[str], rate: float | None) -> Trial:
    return Trial({name: getattr(settings, name) for name in open_choices}, rate)


def _probe(path: Path, settings: EngineSettings, most: int) -> tuple[int, float]:
    """Return the tokens of a probe, at most `most`, and the best rate of two: a machine is never idler than idle.

    Of several engines one is measured, alone.
    """
    engine = EngineProcess(path, placement.members(settings, visible())[0])

    def rate(n_tokens: int) -> float:
        return float(engine.call("prefill_rate", n_tokens=n_tokens))

    try:
        n_tokens = min(most, probe_length(rate))  # less than `most` where this candidate is a good deal slower
        return n_tokens, max(rate(n_tokens) for _ in range(2))
    finally:
        engine.close()


def length_of(rate: float, seconds: float) -> int:
    """Return how many tokens take `seconds` to twice that at `rate` tokens per second: a power of two, 16 to 512.

    The noise of a rate depends on how long it was measured, not on how many tokens, so a slow model needs few. Powers
    of two let candidates of about the same speed have the same length, where their rates can be compared.
    """
    return min(_MOST, max(_FEWEST, 1 << (max(1, round(rate * seconds)) - 1).bit_length()))


def probe_length(prefill_rate: Callable[[int], float]) -> int:
    """Return how many tokens a prefill of 3 to 5 seconds has, found by two short ones; they warm the model up, too.

    Args:
        prefill_rate: number of tokens to tokens per second; see `Engine.prefill_rate`.
    """
    # The first reads the file and starts the threads.
    return length_of(max(prefill_rate(_FEWEST) for _ in range(2)), 2.5)


def _key(sha256: str, settings: EngineSettings, open_choices: Collection[str]) -> str:
    apart = {*open_choices, "n_ctx", "lanes"}  # these hardly change which choice is fastest
    rest = {name: value for name, value in settings.numerics().items() if name not in apart}
    # Threads: a container with one core must not decide for all machines that share its home.
    machine = [platform.machine(), cpu_name(_cpu_info()), available_threads(), *descriptions()]
    build = importlib.metadata.version("llama-cpp-python")
    return json.dumps([sha256, machine, build, rest], sort_keys=True)


def cpu_name(info: str) -> str:
    """Return what names the CPU in the text of /proc/cpuinfo, or what Python knows of it where nothing does.

    ARM kernels mostly give no model name but numbers of maker and part, several where cores differ.
    """
    fields = (line.partition(":") for line in info.splitlines())
    named = [value.strip() for field, _, value in fields if field.strip() in _CPU_FIELDS]
    return " ".join(dict.fromkeys(named)) or platform.processor()


def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:  # not Linux
        return ""


def _read(memory: Path) -> dict[str, dict[str, Any]]:
    try:
        known: dict[str, dict[str, Any]] = json.loads(memory.read_text())
    except (OSError, ValueError):  # missing or damaged: it is only a memory of measurements
        return {}
    return known
