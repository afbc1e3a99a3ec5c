"""The engine's worker with a stop-watch in it: what each part of its answers took, as JSON lines in a file.

    python benchmarks/profiled_worker.py FILE [--no-decode]        started by `engine_profile.py` in the worker's place

Each part has the time that it took itself, without that of the parts that it called: seconds of the clock, and of all
threads of the process on a core. The second holds where other processes take turns on the cores. With `--no-decode`
nothing goes through the model and all logits are 0: what is left is this project's own work.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from localprompt.engine import engine, frames, frozen_walk, radix, sampling, shared_walk, tokenwise, worker
from localprompt.engine.completions import Completions
from localprompt.engine.context import Context

DECODE = "llama_decode"
REST = "the rest of the worker"
PIPES = "reading and writing frames"
PARTS: dict[str, list[tuple[Any, str]]] = {
    DECODE: [(llama_cpp, "llama_decode"), (llama_cpp, "llama_get_logits")],
    "planning": [
        (shared_walk.SharedWalk, "next_batch"),
        (frozen_walk.FrozenWalk, "next_batch"),
        (radix.RadixTree, "paths"),
        (radix.RadixTree, "of"),
        (Context, "reuse"),
        (engine, "_targets"),
        (Completions, "_room"),
        (Completions, "_plan"),
    ],
    "filling batches": [(Context, "run")],
    "copying and dropping sequences": [(Context, "apply"), (Context, "drop")],
    "softmax": [(engine, "logsumexp"), (tokenwise, "logsumexp")],
    "sampling": [(sampling.Sampler, "draw")],
    "tokenising": [(worker.ModelServer, "encode"), (worker.ModelServer, "encode_pairs")],
    "progress": [(worker.ModelServer, "_report")],
}
"""What belongs to each part, as (where it lies, its name)."""


class Meter:
    """Time by part, each part without those inside it."""

    def __init__(self) -> None:
        self.restart()

    def restart(self, part: str = PIPES) -> None:
        """Forget what was measured; from now on it is this part."""
        self.wall: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.first_decode = (0.0, 0.0)
        """Time of day of the first decode call, and seconds that the process had had on a core; 0 before it."""
        self._parts = [part]
        self._since = (time.perf_counter(), time.process_time())

    def begin(self) -> None:
        """Let an answer begin: the clock of what came before it is forgotten, for it waited for a question."""
        self.stop()
        self.wall.clear()
        self._parts = [REST]

    def stop(self) -> None:
        """Give the time since the last change of parts to the one that is running."""
        now = (time.perf_counter(), time.process_time())
        self.wall[self._parts[-1]] += now[0] - self._since[0]
        self.cpu[self._parts[-1]] += now[1] - self._since[1]
        self._since = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same and is measured as this part."""

        def measured(*args: Any, **kwargs: Any) -> Any:
            if part == DECODE and not self.first_decode[0]:
                self.first_decode = (time.time(), time.process_time())
            self.stop()
            self._parts.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.stop()
                self._parts.pop()

        return measured


def decode_nothing() -> None:
    """Put functions in the place of llama.cpp's that take no time."""
    logits = np.zeros(256 << 18, np.float32)  # as many rows and tokens as there can be; the pages are all one
    pointer = logits.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    llama_cpp.llama_decode = lambda *_: 0
    llama_cpp.llama_get_logits = lambda *_: pointer


def serve(found: Path) -> None:
    """Be the worker, and append a line to the file after each answer."""
    meter = Meter()
    for part, functions in PARTS.items():
        for owner, name in functions:
            setattr(owner, name, meter.timed(part, getattr(owner, name)))
    read, send = frames.read_frame, worker.FrameWriter.send
    asked = ""

    def reading(stream: Any) -> Any:
        nonlocal asked
        request = read(stream)
        asked = request["op"]
        meter.begin()
        return request

    def sending(writer: worker.FrameWriter, frame: dict[str, Any]) -> None:
        if "result" in frame:  # written down before whoever waits for the answer has it, and looks
            meter.stop()
            line = {"op": asked, "wall": meter.wall, "cpu": meter.cpu, "first_decode": meter.first_decode}
            with found.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            meter.restart()
        send(writer, frame)

    setattr(worker, "read_frame", reading)  # noqa: B010 - it is the worker's by import
    worker.FrameWriter.send = sending  # type: ignore[method-assign,assignment]
    worker.serve()


if __name__ == "__main__":
    if "--no-decode" in sys.argv:
        decode_nothing()
    serve(Path(sys.argv[1]))
