"""Settings of the engine: the record that parent and worker share. Level 2, imports no native code."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

import psutil

from localprompt.errors import ConfigError, nearest
from localprompt.interface.values import read_value

_MOST = 2**31 - 1
"""What llama.cpp can count to."""

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of computing in how many of time; `max` where a container, or a control group of version 2, has none."""
MOST_SEQUENCES = 256
"""That llama.cpp can have."""
MOST_GPUS = 16
"""That llama.cpp can use; no more engines either."""
MOST_EXACT_ROWS = 63
"""Of a batch in exact mode: below the 64 at which flash attention rounds otherwise."""
LEAST_EXACT_ROWS = 8
"""Rows, and rows with logits, of a batch in exact mode: llama.cpp has other kernels for fewer."""


def available_threads() -> int:
    """Return the number of logical cores this process may use, or what the quota of its container is worth if less.

    Threads wait for each other, so more of them than a quota feeds are all stopped for most of the time.
    """
    try:
        n = len(psutil.Process().cpu_affinity())
    except AttributeError:  # macOS has no affinity
        n = psutil.cpu_count() or 1
    with suppress(OSError, ValueError):  # there is none
        quota, period = map(int, CPU_QUOTA.read_text().split())
        return max(1, min(n, quota // period))
    return n


def default_threads() -> int:
    """Return the number of physical cores this process may use; hyper-threads mostly slow the matrix kernels down."""
    return min(available_threads(), psutil.cpu_count(logical=False) or available_threads())


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a model is loaded and batched."""

    n_ctx: int = 8192
    """KV cells, shared by all sequences of a batch; also the longest request, where the model allows it."""
    n_ubatch: int = 512
    """Rows computed together; a decode call never has more."""
    n_seq_max: int = 128
    """Sequences alive at once, and the most rows with logits in one decode call. At most 256."""
    lanes: int = 64
    """Completions generated at once."""
    n_threads: int = 0
    """Of each engine. 0: the physical cores this process may use, shared by all engines."""
    use_extra_bufts: bool = False
    """Let llama.cpp repack the weights: slower on K-quants with AVX-512, faster on Q4_0 and on ARM. Measured."""
    flash_attn: bool | None = None
    """None leaves the choice to llama.cpp. It rounds to 16 bits inside."""
    kv_type: Literal["f16", "f32", "q8_0"] = "f16"
    """Precision of the KV cells."""
    n_gpu_layers: int | None = None
    """Layers on GPUs, from the last one on; the output counts as one. None: all, or as many as fit there."""
    main_gpu: int | None = None
    """The one GPU that is used; None: layers are dealt out to all."""
    tensor_split: tuple[float, ...] | None = None
    """Shares of the layers for each GPU; None: by their free memory."""

    n_engines: int = 1
    """Processes with the model that share the work: each has a GPU of its own, or some of the cores."""

    exact: bool = False
    """Numbers that are equal bit for bit whatever else is computed with them: slower, and not to be had everywhere.

    Weights are then not repacked, and a batch has at most `MOST_EXACT_ROWS` rows: llama.cpp has other kernels beyond.
    """
    stream_ctx: int = 36864
    """KV cells for long completions, with a stream for each: room for 64 of 512 tokens and eight prompts on their way.

    0: all share the cells of `n_ctx`.
    """

    def __post_init__(self) -> None:
        if self.exact:
            self._be_exact()
        if self.n_threads < 1:
            object.__setattr__(self, "n_threads", max(1, default_threads() // max(1, self.n_engines)))
        if self.kv_type not in ("f16", "f32", "q8_0"):
            raise ValueError(f"kv_type must be f16, f32 or q8_0, not {self.kv_type!r}")
        self._check_gpus()
        for name in ("n_ctx", "n_ubatch", "n_threads", "n_gpu_layers", "stream_ctx"):
            if abs(getattr(self, name) or 0) > _MOST:
                raise ValueError(f"{name} must be at most {_MOST}")
        if not 2 <= self.n_seq_max <= MOST_SEQUENCES:
            raise ValueError(f"n_seq_max must lie in 2..{MOST_SEQUENCES}, not {self.n_seq_max}")
        if self.stream_ctx < 0:
            raise ValueError(f"stream_ctx must be at least 0, not {self.stream_ctx}")
        # llama.cpp aborts the whole process where n_batch, clamped to n_ctx, is below n_seq_max.
        if self.n_ubatch < self.n_seq_max or self.n_ctx < self.n_ubatch:
            raise ValueError(
                f"n_seq_max <= n_ubatch <= n_ctx must hold, not {self.n_seq_max}, {self.n_ubatch}, {self.n_ctx}"
            )
        if not 1 <= self.lanes < self.n_seq_max:
            raise ValueError(f"lanes must lie in 1..n_seq_max - 1 = {self.n_seq_max - 1}, not {self.lanes}")

    def _check_gpus(self) -> None:
        if not 1 <= self.n_engines <= MOST_GPUS:
            raise ValueError(f"n_engines must lie in 1..{MOST_GPUS}, not {self.n_engines}")
        if self.n_engines > 1 and (self.main_gpu is not None or self.tensor_split is not None):
            raise ValueError("n_engines gives each engine a GPU of its own, so there is no main_gpu or tensor_split")
        if self.main_gpu is not None and not 0 <= self.main_gpu < MOST_GPUS:
            raise ValueError(f"main_gpu must lie in 0..{MOST_GPUS - 1}, not {self.main_gpu}")
        if self.tensor_split is None:
            return
        object.__setattr__(self, "tensor_split", tuple(self.tensor_split))  # the worker is sent a list
        if self.main_gpu is not None:
            raise ValueError("main_gpu uses one GPU and tensor_split several")
        if not 0 < len(self.tensor_split) <= MOST_GPUS or min(self.tensor_split) < 0 or not sum(self.tensor_split) > 0:
            raise ValueError(f"tensor_split needs 1 to {MOST_GPUS} shares such as 3,1, not {self.tensor_split}")

    def _be_exact(self) -> None:
        if self.use_extra_bufts or self.flash_attn is False:
            raise ValueError("exact needs use_extra_bufts=False, and flash attention left on")
        if self.n_ubatch < 2 * LEAST_EXACT_ROWS or self.n_seq_max < LEAST_EXACT_ROWS + 2:
            raise ValueError(f"exact needs n_ubatch >= {2 * LEAST_EXACT_ROWS} and n_seq_max >= {LEAST_EXACT_ROWS + 2}")
        object.__setattr__(self, "n_ubatch", min(self.n_ubatch, MOST_EXACT_ROWS))
        object.__setattr__(self, "n_seq_max", min(self.n_seq_max, self.n_ubatch - LEAST_EXACT_ROWS))
        object.__setattr__(self, "lanes", min(self.lanes, self.n_seq_max - 3))

    def numerics(self) -> dict[str, object]:
        """Return what can change a logit, for fingerprints: every setting, since each changes how rows are batched.

        Streams are left out: whether there are any depends on the machine's memory, and moves numbers as little as what
        else is in a batch does. Of exact mode, several GPUs and several engines there is no word where they are not
        asked for, as there was none before they existed.
        """
        settings = asdict(self)
        del settings["stream_ctx"]
        unasked = {"exact": False, "n_engines": 1, "main_gpu": None, "tensor_split": None}
        return {name: value for name, value in settings.items() if name not in unasked or value != unasked[name]}


def typed(given: Mapping[str, object]) -> dict[str, object]:
    """Return settings by name, those that are given, each as its type.

    Raises:
        ConfigError: for an unknown name, with the nearest known one, or a value of the wrong kind.
    """
    wanted = get_type_hints(EngineSettings)
    if unknown := [name for name in given if name not in wanted]:
        raise ConfigError(f"unknown engine setting {unknown[0]!r}", nearest(unknown[0], wanted))
    return {name: read_value(f"the engine setting {name}", value, wanted[name]) for name, value in given.items()}


def read_settings(given: Mapping[str, object]) -> EngineSettings:
    """Return the settings with those that are given over the defaults; text is read as the setting's type.

    Raises:
        ConfigError: for an unknown name, with the nearest known one, or a value that cannot be.
    """
    values: dict[str, Any] = typed(given)
    if "lanes" not in values and values.get("n_seq_max", 0) > 1:  # one sequence more than lanes holds what they share
        values["lanes"] = min(EngineSettings().lanes, values["n_seq_max"] - 1)
    try:
        return EngineSettings(**values)
    except ValueError as error:
        raise ConfigError(f"impossible engine settings: {error}", "leave one of them out") from None
