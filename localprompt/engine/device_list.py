"""Which GPUs llama.cpp sees, asked in a process of its own: both sides of it. Level 2.

parent -> child     nothing
child -> parent     [[name, description, free, total, shares_ram], ...], once
"""

from __future__ import annotations

import importlib.util
import os
import threading
from dataclasses import astuple
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, cast

from localprompt.engine.child import become_child, child
from localprompt.engine.devices import Device
from localprompt.engine.frames import read_frame, write_frame

_BACKENDS = ("cuda", "hip", "metal", "musa", "opencl", "rpc", "sycl", "vulkan")
"""Of llama.cpp's libraries `ggml-*`, those that may bring a GPU."""
_SECONDS = 120
"""Some drivers compile for minutes when they start for the first time."""


def has_backend() -> bool:
    """Return whether the installed llama.cpp could see a GPU; nothing native is loaded for it."""
    return any(f"ggml-{backend}" in path.name for backend in _BACKENDS for path in _libraries())


def build() -> str:
    """Return what tells the installed llama.cpp from others: its version, and the bytes that it was compiled to."""
    return f"{version('llama-cpp-python')} {sum(path.stat().st_size for path in _libraries())}"


def _libraries() -> list[Path]:
    folder = os.environ.get("LLAMA_CPP_LIB_PATH")
    if not folder:
        spec = importlib.util.find_spec("llama_cpp")
        folder = str(Path(spec.origin).parent / "lib") if spec and spec.origin else ""
    return [*Path(folder).iterdir()] if folder and Path(folder).is_dir() else []


def visible() -> tuple[Device, ...]:
    """Return the GPUs that llama.cpp would use, in its order; none where it was built without a backend for any.

    Raises:
        ModelError: if the process that asks the drivers dies.
    """
    if not has_backend():
        return ()
    with child("localprompt.engine.device_list", "the process that asks for GPUs") as (process, _):
        late = threading.Timer(_SECONDS, process.kill)
        late.start()
        try:
            return tuple(Device(*each) for each in read_frame(cast("BinaryIO", process.stdout)))
        finally:
            late.cancel()


@cache
def descriptions() -> tuple[str, ...]:
    """Return what the GPUs are, which does not change while this process lives.

    Raises:
        ModelError: as `visible`.
    """
    return tuple(gpu.description for gpu in visible())


def serve() -> None:
    """List the GPUs, once."""
    out = become_child()
    from localprompt.engine import llama  # noqa: PLC0415 - in the child alone

    write_frame(out, [list(astuple(device)) for device in llama.gpus()])


if __name__ == "__main__":
    serve()
