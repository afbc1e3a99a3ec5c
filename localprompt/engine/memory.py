"""What a model needs of the machine's memory, before it is loaded. Level 2: pure Python, from the header alone.

Linux promises memory that it does not have and then kills a process, not always the guilty one. So a model that cannot
fit is refused, with the numbers.

Source: the buffers that llama.cpp reports for four models, and the memory of their worker: the estimate is 3 to 13 %
above (`tests/real/test_real_memory.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from localprompt.engine.gguf import GGML_TYPES, GGUFHeader
from localprompt.engine.settings import EngineSettings
from localprompt.errors import NotEnoughMemory
from localprompt.interface.rounding import size_text

_CELL_BYTES = {"f32": 4.0, "f16": 2.0, "q8_0": 34 / 32}
_REPACKED = frozenset({"Q4_0", "Q8_0", "Q2_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4"})
"""Types of which llama.cpp may keep a second copy, in another order."""
_PROCESS_BYTES = 64 << 20
"""Python, numpy and llama.cpp's own code."""
_TOKEN_BYTES = 320
"""A token of the vocabulary in llama.cpp's tables and in ours."""
_STATES_BYTES = 1 << 30
_FEWEST_SEQUENCES = 8
STREAM_STEP = 4096
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that a worker with one model will occupy."""

    weights: int
    """Mapped from the file; without them in memory each token is read from the disk."""
    cells: int
    """The KV cache."""
    states: int
    """Of recurrent layers, one for each sequence."""
    compute: int
    """Activations of one batch."""
    outputs: int
    """Logits that wait to be read."""
    process: int
    """Interpreter, libraries, vocabulary."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(astuple(self))

    def __str__(self) -> str:
        names = ("weights", "KV cells", "states", "batches", "logits", "the process")
        parts = [(n, name) for n, name in zip(astuple(self), names, strict=True) if n or name != "states"]
        return ", ".join(f"{size_text(n)} {name}" for n, name in parts)


def needed(header: GGUFHeader, settings: EngineSettings) -> MemoryNeed:
    """Return what a worker with this model and these settings will occupy, a little too high rather than too low."""
    rows, cells = settings.n_ubatch, settings.n_ctx
    n_embd, n_vocab = header.embedding_length, header.n_vocab
    heads = _counts(header, "attention.head_count") or [1]
    logits = 4 * settings.n_seq_max * n_vocab
    feed_forward = 4 * 3 * rows * max(_counts(header, "feed_forward_length"), default=0)
    # Without flash attention every score of a batch is written out, and some models cannot do with it.
    attention = 0 if settings.flash_attn is not False else 4 * max(heads) * rows * cells
    return MemoryNeed(
        weights=sum(tensor.n_bytes for tensor in header.tensors) + _repacked(header, settings),
        cells=round(cells * cell_bytes(header, settings)),
        states=settings.n_seq_max * state_bytes(header),
        compute=max(logits, feed_forward, attention) + 4 * rows * (cells + 4 * n_embd),
        outputs=logits,
        process=process_bytes(header),
    )


def fitted(header: GGUFHeader, settings: EngineSettings, fixed: Collection[str]) -> EngineSettings:
    """Return the settings with as many sequences, and cells for streams, as the model and the machine allow.

    A recurrent model has a state of some megabytes for each sequence: as many as `_STATES_BYTES` hold are enough to
    keep a machine busy. Cells for streams come on top of what a model needs, when long completions are asked for: half
    of what is free now, if that is less than the setting says.

    Args:
        header: of the model.
        settings: those wanted.
        fixed: names of settings that stay as they are.
    """
    changes: dict[str, Any] = {}
    if (state := state_bytes(header)) and "n_seq_max" not in fixed:
        fewest = settings.lanes + 2 if "lanes" in fixed else _FEWEST_SEQUENCES + 2 * settings.exact  # which needs two
        changes["n_seq_max"] = min(settings.n_seq_max, max(fewest, _STATES_BYTES // state))
    if state and "lanes" not in fixed:
        changes["lanes"] = min(settings.lanes, max(1, changes.get("n_seq_max", settings.n_seq_max) // 2))
    if "stream_ctx" not in fixed:
        left = max(0, available() // settings.n_engines - needed(header, settings).total) // 2
        cells = int(left / max(1.0, cell_bytes(header, settings)))
        changes["stream_ctx"] = min(settings.stream_ctx, cells // STREAM_STEP * STREAM_STEP)
    return replace(settings, **changes)


def state_bytes(header: GGUFHeader) -> int:
    """Return what one sequence of a recurrent or hybrid model takes beside its cells; 0 for others.

    Source: `llama_hparams::n_embd_r` and `n_embd_s`; states are kept as F32. Layers that are not known to be of
    attention alone count as recurrent; every so many are, where the header has a `full_attention_interval`.
    """

    def of(key: str) -> int:
        return max(0, header.integer(f"{header.architecture}.{key}") or 0)

    heads, heads_kv = _counts(header, "attention.head_count"), _counts(header, "attention.head_count_kv")
    attending = header.block_count // every if (every := of("full_attention_interval")) else 0
    layers = sum(n == 0 for n in heads_kv) if len(heads_kv) > 1 else header.block_count - attending
    past = max(0, of("ssm.conv_kernel") - 1) * (of("ssm.inner_size") + 2 * of("ssm.group_count") * of("ssm.state_size"))
    past += header.embedding_length * max(0, of("shortconv.l_cache") - 1)
    state = of("ssm.state_size") * of("ssm.inner_size")
    if of("wkv.head_size"):
        past += (of("token_shift_count") or 2) * header.embedding_length
        state += header.embedding_length * of("wkv.head_size")
    if width := of("kda.head_dim"):
        past += 3 * max(0, (of("ssm.conv_kernel") or 4) - 1) * max(heads, default=1) * width
        state += max(heads, default=1) * width**2
    return 4 * layers * (past + state)


def cell_bytes(header: GGUFHeader, settings: EngineSettings, first: int = 0) -> float:
    """Return what one cell takes in all layers, or in those from `first` on."""
    heads = _counts(header, "attention.head_count") or [1]
    heads_kv = _counts(header, "attention.head_count_kv") or heads
    key = header.integer(f"{header.architecture}.attention.key_length") or header.embedding_length // max(*heads, 1)
    value = header.integer(f"{header.architecture}.attention.value_length") or key
    every = max([1, *_counts(header, "full_attention_interval")])  # the other layers have states
    n = header.block_count // every - first // every
    n_heads = heads_kv[0] * n if len(heads_kv) == 1 else sum(heads_kv[first:])
    return n_heads * (key + value) * _CELL_BYTES[settings.kv_type]


def process_bytes(header: GGUFHeader) -> int:
    """Return what the process itself occupies, with the vocabulary."""
    return _PROCESS_BYTES + _TOKEN_BYTES * header.n_vocab


def check(path: Path, need: MemoryNeed) -> None:
    """Make sure that the machine has the memory now.

    Raises:
        NotEnoughMemory: with what is needed, for what, and what is free.
    """
    free = available()
    if need.total > free:
        raise NotEnoughMemory(
            f"{path} needs about {size_text(need.total)} of memory ({need}), {size_text(free)} are free",
            "lower n_ctx, take kv_type q8_0 or a smaller quantisation, or close other programs",
        )


def available() -> int:
    """Return the bytes that this process may still take: of the machine, and of its control group if that is less."""
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError, LookupError, StopIteration):  # no control groups of version 2
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        group = _CGROUPS / next(line for line in lines if line.startswith("0::"))[3:].lstrip("/")
        for folder in (group, *group.parents):
            free = min(free, _room(folder)) if folder.is_relative_to(_CGROUPS) else free
    return free


@dataclass(frozen=True, slots=True)
class Occupied:
    """Bytes of the machine's memory that processes with one model occupy; what they map of its file counts once."""

    own: int
    """Cells, batches, tables, weights that are not mapped: theirs until they end."""
    mapped: int
    """Of files, the model's above all: dropped and read again where other programs want the memory."""
    peak: int
    """The most of both together so far."""


def occupied(pids: Collection[int]) -> Occupied | None:
    """Return what processes occupy now; None but on Linux."""
    with contextlib.suppress(OSError, ValueError, LookupError):
        each = [dict(_sizes(pid)) for pid in pids]
        mapped = [sizes["RssFile"] for sizes in each]
        return Occupied(
            own=sum(sizes["RssAnon"] + sizes["RssShmem"] for sizes in each),
            mapped=max(mapped),
            peak=sum(sizes["VmHWM"] for sizes in each) - sum(mapped) + max(mapped),
        )
    return None


def _sizes(pid: int) -> Iterator[tuple[str, int]]:
    """Yield the sizes in bytes that Linux tells of a process, by name."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            yield name, 1024 * int(value.split()[0])


def _room(folder: Path) -> int:
    """Return the bytes left below the limit of one control group; cached files give way."""
    limit = folder / "memory.max"
    said = limit.read_text().strip() if limit.exists() else "max"
    if said == "max":
        return 1 << 62
    cached = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    used = int((folder / "memory.current").read_text()) - int(cached["inactive_file"]) - int(cached["active_file"])
    return max(0, int(said) - used)


def _counts(header: GGUFHeader, key: str) -> list[int]:
    """Return a number of every layer, or one for all; empty where the header does not say."""
    value = header.metadata.get(f"{header.architecture}.{key}")
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        return [max(0, int(n)) for n in value[:512]]  # llama.cpp has no more layers; a file may claim 60 million
    return [value] if isinstance(value, int) and value >= 0 else []


def _repacked(header: GGUFHeader, settings: EngineSettings) -> int:
    return settings.use_extra_bufts * sum(t.n_bytes for t in header.tensors if GGML_TYPES[t.type][0] in _REPACKED)
