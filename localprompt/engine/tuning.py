"""The fastest settings for a model on this machine, measured once. Level 2.

llama.cpp's defaults lose a factor of 1.6 on K-quants with AVX-512 (repacked weights bypass its faster kernels), and win
on Q4_0: no rule of thumb holds, so each choice is measured on the model itself.

The threads of a decode call wait for each other, so beside other processes any rate falls, and not all in the same
proportion. What was measured so is used as long as they are there, since other settings are other numbers, and is
measured again by the first call that finds them gone.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import platformdirs

from localprompt.engine import placement
from localprompt.engine.cachefile import write_atomic
from localprompt.engine.device_list import build, descriptions, visible
from localprompt.engine.neighbours import BUSY, Neighbours, cores_of_others
from localprompt.engine.process import EngineProcess
from localprompt.engine.settings import MOST_SEQUENCES, EngineSettings, available_threads
from localprompt.errors import ModelError
from localprompt.types import Generation, Sampling

_logger = logging.getLogger("localprompt")

Measured = Literal["prefill", "completions"]
_Changes = dict[str, Any]
"""Settings by name, tried in the place of others."""

_ON_CPU = ("use_extra_bufts", "n_ubatch", "n_threads")
_ON_GPU = ("n_ubatch", "flash_attn", "n_seq_max", "lanes")
_LARGER_BATCHES = (1024, 2048)
_MORE_LANES: _Changes = {"n_seq_max": MOST_SEQUENCES, "lanes": 192}
_DRAWN = 16
"""Tokens of each completion where lanes are measured."""
_GAIN = 1.03
"""A later choice must be this much faster than an earlier one: below that it is noise."""
_FEWEST = 16
"""As many rows as keep all cores at matrix products: rates of fewer say little about batches."""
_MOST = 512
"""More would tell nothing new: a batch on the CPU has no more rows."""
_MOST_ON_GPU = 2 * max(_LARGER_BATCHES)
_MOST_AGAIN = 3
"""Times that a choice is measured again in vain, where others come and go; then it stays."""
_LOOK = 0.3
"""Seconds of looking whether others still use the machine."""
_CPU_FIELDS = frozenset({"model name", "CPU implementer", "CPU part"})


@dataclass(frozen=True, slots=True)
class Trial:
    """What one choice gave."""

    settings: dict[str, bool | int | None]
    """The open choices as they were then."""
    rate: float | None
    """Tokens per second; None where the model could not be loaded so, or its engine died."""
    of: Measured = "prefill"
    """What was measured: one text that is read, or a completion in every lane."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Settings chosen by measuring, and what they were chosen from."""

    settings: EngineSettings
    trials: tuple[Trial, ...] = field(default=())
    """In the order of measuring, the start first; empty where nothing was open, or where only the choice is known."""
    beside: float | None = None
    """Cores that other processes used meanwhile; None where they used hardly any, or where that is not known."""


def tuned(path: Path, sha256: str, settings: EngineSettings, fixed: Collection[str]) -> Tuned:
    """Return the settings chosen by measuring, but for those `fixed`.

    On the CPU these are weight repacking, rows per batch and threads; where layers are on a GPU larger batches, flash
    attention, and twice the sequences with three times the lanes.

    The choice is remembered per file content, CPU, threads at hand and llama.cpp build; one that was made while other
    processes used the machine, as long as they do. The first call takes up to ten seconds and a load for each choice,
    and logs at level INFO what it measures, to the logger `localprompt`.
    """
    open_choices = choices(settings, fixed)
    if not open_choices:
        return Tuned(settings)
    memory = Path(platformdirs.user_cache_dir("localprompt")) / "tuning.json"
    key = _key(sha256, settings, open_choices)
    entry = _read(memory).get(key)
    is_known = entry is not None
    again = 0 if entry is None else entry.get("again", 0)
    if entry is None or (entry.get("beside") and again < _MOST_AGAIN and _is_free(path)):
        best = measure(path, settings, open_choices)
        if entry is None or not best.beside:
            found = {name: getattr(best.settings, name) for name in open_choices}
            entry = {**found, "trials": [asdict(trial) for trial in best.trials], "beside": best.beside}
        else:
            entry = {**entry, "again": again + 1}
        known = {**_read(memory), key: entry} if is_known else {key: entry, **_read(memory)}
        write_atomic(memory, json.dumps(known, indent=1))
        entry = known[key]  # the first of two processes that measured at once decides: other settings are other numbers
    chosen: dict[str, Any] = {name: entry[name] for name in open_choices}
    return Tuned(
        replace(settings, **chosen), tuple(Trial(**each) for each in entry.get("trials", ())), entry.get("beside")
    )


def choices(settings: EngineSettings, fixed: Collection[str]) -> list[str]:
    """Return the names of the settings that are measured: those that matter where the layers are, but for the `fixed`.

    Raises:
        ModelError: if a GPU is named that there is not.
    """
    names = list(_ON_CPU)
    if placement.used(settings, visible()):
        names = [*_ON_GPU] if settings.n_gpu_layers is None else list(dict.fromkeys(_ON_GPU + _ON_CPU))
    decided = {*fixed, *_ON_GPU, "use_extra_bufts"} if settings.exact else set(fixed)
    if decided & {"n_seq_max", "lanes"} or settings.n_seq_max != EngineSettings().n_seq_max:
        decided |= {"n_seq_max", "lanes"}  # one without the other changes little, and states leave no room for more
    if settings.kv_type == "q8_0":  # llama.cpp reads such cells in flash attention alone
        decided.add("flash_attn")
    return [name for name in names if name not in decided]


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
    """Return the fastest settings among the open choices; each is loaded and timed.

    Rates of prefill decide, but between numbers of lanes that of completions in all of them.
    """
    neighbours = Neighbours()
    _logger.info("%s: measuring which settings are fastest on this machine, once", path.name)
    trials: list[Trial] = []

    def tried(candidate: EngineSettings, rate: float | None, of: Measured) -> None:
        trials.append(Trial({name: getattr(candidate, name) for name in open_choices}, rate, of))

    def fastest(best: EngineSettings, best_rate: float, changes: Iterable[_Changes], of: Measured) -> EngineSettings:
        tried(best, best_rate, of)
        for change in changes:
            candidate = replace(best, **change)
            named = ", ".join(f"{name}={value}" for name, value in change.items())
            _logger.info("%s: measuring %s (%.0f tokens/s so far)", path.name, named, best_rate)
            try:
                rate = _drawing_rate(path, candidate) if of == "completions" else _probe(path, candidate, n_tokens)[1]
            except ModelError as error:  # a repacked copy of the weights, or a larger batch, may not fit into memory
                _logger.info("%s: not with %s: %s", path.name, named, error.message)
                tried(candidate, None, of)
                continue
            tried(candidate, rate, of)
            if rate > best_rate * _GAIN:
                best, best_rate = candidate, rate
        return best

    most = min(settings.n_ctx, _MOST_ON_GPU) if {"lanes", "flash_attn"} & set(open_choices) else _MOST
    n_tokens, rate = _probe(path, settings, most)
    best = fastest(settings, rate, _alternatives(settings, open_choices, n_tokens), "prefill")
    if "lanes" in open_choices and best.n_ubatch >= MOST_SEQUENCES:
        with suppress(ModelError):  # one that cannot complete may still score
            best = fastest(best, _drawing_rate(path, best), [_MORE_LANES], "completions")
    beside = neighbours.cores()
    if beside is None or beside <= BUSY:
        return Tuned(best, tuple(trials))
    _logger.info(
        "%s: other processes used %.1f of %d cores meanwhile, so it is measured again when they are gone",
        *(path.name, beside, available_threads()),
    )
    return Tuned(best, tuple(trials), beside)


def _alternatives(settings: EngineSettings, open_choices: Collection[str], n_tokens: int) -> list[_Changes]:
    """Return what is tried instead, one choice after the other; batches only where a probe is longer than them."""
    smaller = max(settings.n_ubatch // 2, settings.n_seq_max)
    larger = [n for n in _LARGER_BATCHES if settings.n_ubatch < n <= n_tokens]
    on_gpu = {"lanes", "flash_attn"} & set(open_choices)
    batches = larger if on_gpu else [smaller] if smaller < settings.n_ubatch <= n_tokens else []
    threads = max(1, available_threads() // settings.n_engines)
    changes: list[_Changes] = [
        {"use_extra_bufts": not settings.use_extra_bufts},
        *({"n_ubatch": n} for n in batches),
        {"flash_attn": False},
        {"n_threads": threads},
    ]
    return [each for each in changes for name in each if name in open_choices and each[name] != getattr(settings, name)]


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


def _probe(path: Path, settings: EngineSettings, most: int) -> tuple[int, float]:
    """Return the tokens of a probe, at most `most`, and the best rate of two: a machine is never idler than idle.

    Of several engines one is measured, alone.
    """
    with closing(EngineProcess(path, placement.members(settings, visible())[0])) as engine:

        def rate(n_tokens: int) -> float:
            return float(engine.call("prefill_rate", n_tokens=n_tokens))

        n_tokens = probe_length(rate, most)  # less than `most` where this candidate is a good deal slower
        return n_tokens, max(rate(n_tokens) for _ in range(2))


def _drawing_rate(path: Path, settings: EngineSettings) -> float:
    """Return the better of two rates, in tokens per second, of short completions in all lanes of one engine."""
    with closing(EngineProcess(path, placement.members(settings, visible())[0])) as engine:
        prompt, sampling = [engine.info["start_token"]], asdict(Sampling(max_tokens=_DRAWN, temperature=1.0))

        def rate(n_lanes: int) -> float:
            began = time.perf_counter()
            drawn = engine.map("generate", [[prompt, sampling, seed, []] for seed in range(n_lanes)], read=_n_drawn)
            return float(sum(drawn)) / (time.perf_counter() - began)

        rate(2)  # the first reads the file and starts what the GPU needs
        return max(rate(settings.lanes) for _ in range(2))


def _n_drawn(answer: Sequence[Any]) -> int:
    """Return how many tokens were drawn for a completion, with the one that ended it."""
    completion = Generation(*answer)
    return completion.n_tokens + (completion.finish_reason == "stop")


def length_of(rate: float, seconds: float, most: int = _MOST) -> int:
    """Return how many tokens take `seconds` to twice that at `rate` tokens per second: a power of two, from 16 on.

    The noise of a rate depends on how long it was measured, not on how many tokens, so a slow model needs few. Powers
    of two let candidates of about the same speed have the same length, where their rates can be compared.
    """
    return min(most, max(_FEWEST, 1 << (max(1, round(rate * seconds)) - 1).bit_length()))


def probe_length(prefill_rate: Callable[[int], float], most: int = _MOST) -> int:
    """Return how many tokens a prefill of 3 to 5 seconds has, found by two short ones; they warm the model up, too.

    Args:
        prefill_rate: number of tokens to tokens per second; see `Engine.prefill_rate`.
        most: tokens, where it would have more.
    """
    # The first reads the file and starts the threads.
    return length_of(max(prefill_rate(_FEWEST) for _ in range(2)), 2.5, most)


def _key(sha256: str, settings: EngineSettings, open_choices: Collection[str]) -> str:
    apart = {*open_choices, "n_ctx", "lanes"}  # these hardly change which choice is fastest
    rest = {name: value for name, value in settings.numerics().items() if name not in apart}
    # Threads: a container with one core must not decide for all machines that share its home.
    return json.dumps([sha256, *machine(), available_threads(), *descriptions(), rest], sort_keys=True)


def machine() -> tuple[str, str, str]:
    """Return what tells this processor and this build of llama.cpp from others."""
    return platform.machine(), cpu_name(_cpu_info()), build()


def cpu_name(info: str) -> str:
    """Return what names the CPU in the text of /proc/cpuinfo, or what Python knows of it where nothing does.

    ARM kernels mostly give no model name but numbers of maker and part, several where cores differ. Virtual machines
    give a name that is that of many, and hide instructions; so a digest of these belongs to it.
    """
    lines = (line.partition(":") for line in info.splitlines())
    fields = [(name.strip(), value.strip()) for name, _, value in lines]
    named = [value for name, value in fields if name in _CPU_FIELDS]
    named += [f"{crc32(value.encode()):08x}" for name, value in fields if name in ("flags", "Features")]
    return " ".join(dict.fromkeys(named)) or platform.processor()


def _cpu_info() -> str:
    with suppress(OSError):  # not Linux
        return Path("/proc/cpuinfo").read_text(errors="replace")
    return ""


def _read(memory: Path) -> dict[str, dict[str, Any]]:
    with suppress(OSError, ValueError, TypeError):  # missing or damaged: it is only a memory of measurements
        return dict(json.loads(memory.read_text()))
    return {}
