"""Which layers lie on GPUs, and whether these have the memory for them. Level 2: pure Python, from the header alone.

llama.cpp puts layers on GPUs from the last one on, the output first and the input never; cells and states lie where
their layer does. Each GPU has the activations of a batch for itself.

Source: `llama_model_base::load_tensors`. The estimate was not compared with what llama.cpp reports on any GPU.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from localprompt.engine import memory
from localprompt.engine.devices import Device
from localprompt.engine.gguf import GGUFHeader
from localprompt.engine.memory import MemoryNeed
from localprompt.engine.settings import EngineSettings
from localprompt.errors import ModelError, NotEnoughMemory
from localprompt.interface.rounding import size_text

_logger = logging.getLogger("localprompt")

_BLOCK = re.compile(r"blk\.(\d+)\.")
_INPUT = ("token_embd.", "per_layer_token_embd.")
_RESERVE = 512 << 20
"""What a GPU's driver, its code and a screen take: a guess."""
_NONE = MemoryNeed(0, 0, 0, 0, 0, 0)


def members(settings: EngineSettings, gpus: Sequence[Device]) -> list[EngineSettings]:
    """Return the settings of each engine: the first GPUs are theirs, one each, or none has any.

    Raises:
        ModelError: if there are fewer GPUs than engines.
    """
    one, n = replace(settings, n_engines=1), settings.n_engines
    if n == 1 or not gpus or settings.n_gpu_layers == 0:
        return [one] * n
    if n > len(gpus):
        found = " and ".join(gpu.name for gpu in gpus)
        raise ModelError(
            f"n_engines={n} takes a GPU for each engine, and llama.cpp sees {found}",
            "lower it, or set n_gpu_layers=0 for engines on the CPU",
        )
    return [replace(one, main_gpu=number) for number in range(n)]


def used(settings: EngineSettings, gpus: Sequence[Device]) -> Sequence[Device]:
    """Return the GPUs that get layers.

    Raises:
        ModelError: if one is named that there is not.
    """
    if settings.n_gpu_layers == 0:
        return ()
    wanted = len(settings.tensor_split or ()) or (settings.main_gpu or 0) + 1
    if wanted > len(gpus) and (settings.tensor_split or settings.main_gpu is not None):
        name = "tensor_split" if settings.tensor_split else "main_gpu"
        found = ", ".join(gpu.name for gpu in gpus) or "none"
        raise ModelError(f"{name} names GPU number {wanted - 1}, and llama.cpp sees {found}", f"leave {name} out")
    return gpus if settings.main_gpu is None else [gpus[settings.main_gpu]]


def n_layers(header: GGUFHeader, settings: EngineSettings) -> int:
    """Return how many layers are meant for GPUs, with the output as one."""
    asked, most = settings.n_gpu_layers, header.block_count + 1
    return most if asked is None or asked < 0 else min(asked, most)


def on_gpus(header: GGUFHeader, settings: EngineSettings, n: int) -> MemoryNeed:
    """Return what the last `n` layers occupy on GPUs, with the activations of one GPU."""
    if n == 0:
        return _NONE
    first = header.block_count + 1 - n
    share = (header.block_count - first) / max(1, header.block_count)
    need = memory.needed(header, settings)
    names = {tensor.name for tensor in header.tensors}

    def is_there(name: str) -> bool:
        if block := _BLOCK.match(name):
            return int(block[1]) >= first
        # A head that is tied to the input is there a second time.
        return not name.startswith(_INPUT) or (name == "token_embd.weight" and "output.weight" not in names)

    weights = sum(tensor.n_bytes for tensor in header.tensors if is_there(tensor.name))
    cells = round(settings.n_ctx * memory.cell_bytes(header, settings, first))
    return replace(_NONE, weights=weights, cells=cells, states=round(need.states * share), compute=need.compute)


def on_host(header: GGUFHeader, settings: EngineSettings, gpus: Sequence[Device]) -> MemoryNeed:
    """Return what a model needs of the machine's own memory, a little too high rather than too low."""
    need, there = memory.needed(header, settings), used(settings, gpus)
    if not there or any(gpu.shares_ram for gpu in there):
        return need
    n = n_layers(header, settings)
    away = on_gpus(header, settings, n)
    stays = sum(tensor.n_bytes for tensor in header.tensors if tensor.name.startswith(_INPUT)) if n else 0
    return replace(
        need,
        weights=max(stays, need.weights - away.weights),
        cells=need.cells - away.cells,
        states=need.states - away.states,
    )


def most_layers(header: GGUFHeader, settings: EngineSettings, rooms: Sequence[int]) -> int:
    """Return how many layers fit into GPUs with so many bytes of room each."""

    def lacks(n: int) -> bool:
        return _lacking(on_gpus(header, settings, n), settings, rooms) > 0

    return bisect_left(range(1, header.block_count + 2), True, key=lacks)


def fitted(
    header: GGUFHeader, settings: EngineSettings, fixed: Collection[str], gpus: Sequence[Device]
) -> EngineSettings:
    """Return the settings with what the model and the machine allow: see `memory.fitted`, and layers on GPUs.

    Where not all layers fit, as many go to the GPUs as their whole memory holds, less a reserve, and that is logged.
    What is free at the moment does not count: numbers depend on where a layer is computed, and a run that goes on
    tomorrow must find the same.
    """
    settings = memory.fitted(header, settings, fixed)
    if settings.n_engines > 1:  # what is right for each of them
        each = [fitted(header, member, fixed, gpus) for member in members(settings, gpus)]
        layers = min((one.n_gpu_layers for one in each if one.n_gpu_layers is not None), default=None)
        return replace(settings, n_gpu_layers=layers, stream_ctx=min(one.stream_ctx for one in each))
    there = used(settings, gpus)
    if not there or not all(gpu.total for gpu in there):  # a driver that does not say
        return settings
    if "n_gpu_layers" not in fixed:
        n = most_layers(header, settings, [gpu.total - _RESERVE for gpu in there])
        if n <= header.block_count:
            _logger.warning("%d of %d layers fit on %s", n, header.block_count + 1, _named(there))
            settings = replace(settings, n_gpu_layers=n)
    n = n_layers(header, settings)
    if n and "stream_ctx" not in fixed:
        room = sum(gpu.free for gpu in there) - on_gpus(header, settings, n).total
        first = header.block_count + 1 - n
        cells = int(max(0, room) // 2 / max(1.0, memory.cell_bytes(header, settings, first)))
        wanted = EngineSettings().stream_ctx
        settings = replace(settings, stream_ctx=min(wanted, cells // memory.STREAM_STEP * memory.STREAM_STEP))
    return settings


def check(path: Path, header: GGUFHeader, settings: EngineSettings | None, gpus: Sequence[Device]) -> None:
    """Make sure that machine and GPUs have the memory now.

    Args:
        path: of the model.
        header: of the model.
        settings: how it is loaded; None: its vocabulary alone.
        gpus: those that llama.cpp sees.

    Raises:
        NotEnoughMemory: with what is needed, for what, what is free, and what to set.
        ModelError: if a GPU is named that there is not.
    """
    if settings is None:
        memory.check(path, replace(_NONE, process=memory.process_bytes(header)))
        return
    there, n = used(settings, gpus), n_layers(header, settings)
    if there and n and all(gpu.total for gpu in there):
        rooms = [gpu.free for gpu in there]
        need = on_gpus(header, settings, n)
        if lacking := _lacking(need, settings, rooms):
            fit = most_layers(header, settings, rooms)
            parts = f"{size_text(need.weights)} weights, {size_text(need.cells + need.states)} cells and states"
            raise NotEnoughMemory(
                f"{path} needs about {size_text(lacking)} more than is free on {_named(there)} for {n} layers "
                f"({parts}, {size_text(need.compute)} for each GPU's batches)",
                f"set n_gpu_layers={fit}, which fits, lower n_ctx, or take kv_type q8_0 or a smaller quantisation",
            )
    memory.check(path, on_host(header, settings, gpus))


def _lacking(need: MemoryNeed, settings: EngineSettings, rooms: Sequence[int]) -> int:
    """Return how many bytes are missing on the GPUs together; 0 if it fits."""
    shares = settings.tensor_split or [max(0, room) for room in rooms]
    dealt = need.total - need.compute
    whole = sum(shares) or 1
    wanted = [dealt * share / whole + need.compute * (share > 0) for share in shares]
    return round(sum(max(0.0, want - room) for want, room in zip(wanted, rooms, strict=False))) or int(not any(shares))


def _named(gpus: Sequence[Device]) -> str:
    return " and ".join(f"{gpu.name} ({gpu.description}, {size_text(gpu.total)})" for gpu in gpus)
