"""A GPU, and what a loaded model has on GPUs by what llama.cpp says while it loads. Level 2."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import Any

_USED = re.compile(r"using device (\S+) \((.*)\) \([^()]*\) - \d+ MiB free")
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_BUFFER = re.compile(r"(\S+) model buffer size = +([\d.]+) MiB")


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU."""

    name: str
    """llama.cpp's: `CUDA0`, `Vulkan0`, `MTL0`."""
    description: str
    """The maker's."""
    free: int
    """Bytes of its memory that are free."""
    total: int
    """Bytes of its memory."""
    shares_ram: bool = False
    """Its memory is the machine's."""


@dataclass(slots=True)
class LoadLog:
    """Reads what llama.cpp says while it loads a model; warnings and errors go on to standard error."""

    devices: dict[str, str] = field(default_factory=dict)
    """Descriptions of the GPUs in use, by name."""
    layers: tuple[int, int] = (0, 0)
    """On GPUs, and in all; the output counts as one."""
    buffers: dict[str, float] = field(default_factory=dict)
    """MiB of weights, by the name of the memory that they are in."""

    def __call__(self, level: int, text: str) -> None:
        """Read one line."""
        if used := _USED.search(text):
            self.devices[used[1]] = used[2]
        elif offloaded := _OFFLOADED.search(text):
            self.layers = int(offloaded[1]), int(offloaded[2])
        elif buffer := _BUFFER.search(text):
            self.buffers[buffer[1]] = self.buffers.get(buffer[1], 0.0) + float(buffer[2])
        if level in (3, 4):  # GGML_LOG_LEVEL_WARN, _ERROR: the parent keeps the tail for its error messages
            sys.stderr.write(text)

    def facts(self) -> dict[str, Any]:
        """Return what is on GPUs as plain data: `devices`, `layers`, `of` and `mebibytes`; empty if nothing is.

        Only a GPU that holds weights is named: llama.cpp counts layers as offloaded that it had no place for.
        """
        held = {name: self.buffers[name] for name in self.devices if self.buffers.get(name)}
        if not held:
            return {}
        devices = [[name, self.devices[name]] for name in held]
        return {"devices": devices, "layers": self.layers[0], "of": self.layers[1], "mebibytes": held}
