"""llama.cpp's own quantiser in a process of its own: both sides of it. Level 2.

parent -> child     {"source", "levels", "target", "imatrix", "marks", "n_threads"}, once
child -> parent     any number of {"progress": [done, total]}; then
                    {"result": [measured, ...]} or {"error": [message, hint]}
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from localprompt.engine.child import become_child, child, tail_of
from localprompt.engine.frames import read_frame, write_frame
from localprompt.engine.gguf import FILE_TYPES
from localprompt.engine.gguf_validator import validate
from localprompt.engine.imatrix import read_importance
from localprompt.engine.settings import EngineSettings
from localprompt.errors import LocalPromptError, ModelError

BUFFER_BYTES = 64 << 20
"""Rows of a weight that are converted at once, as numbers of 32 bits; as much again may hold the result."""

_STEP = re.compile(r"\[ *(\d+)/ *(\d+)\]")
_SIZE = re.compile(r"(model|quant) size += +([\d.]+) MiB")
_FALLBACK = re.compile(r"(\d+) of \d+ tensor\(s\) required fallback")
_NEEDS_IMATRIX = "will require an imatrix"


@dataclass(frozen=True, slots=True)
class Job:
    """What the child is asked for."""

    source: str
    levels: tuple[str, ...]
    """Names of quantisation mixes; one where a file is written."""
    target: str = ""
    """The file that is written; empty: nothing is written, and what would be is measured."""
    imatrix: str = ""
    marks: Mapping[str, str] = field(default_factory=dict)
    """Metadata that the file gets beside the source's, at most 127 bytes each."""
    n_threads: int = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """What llama.cpp says of one level."""

    source_bytes: int
    """Of all weights, rounded to 0.01 MiB."""
    n_bytes: int
    """The same of the result."""
    n_fallback: int = 0
    """Weights whose rows the level's own type does not divide: they get another, mostly larger one."""
    needs_imatrix: bool = False


def ask(job: Job, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Measured]:
    """Return what llama.cpp says of each level, after it has written the target if there is one.

    Raises:
        ModelError: if it refuses or its process dies, with the last lines of its log; a part of the target may be left.
    """
    with child("localprompt.engine.quantiser", f"the process that quantises {job.source}") as (process, log):
        stdin, stdout = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
        with contextlib.suppress(BrokenPipeError):  # dead already: its pipe to here ends too
            write_frame(stdin, asdict(job))
            stdin.close()
        while "progress" in (frame := read_frame(stdout)):
            progress(*frame["progress"])
        if "error" in frame:
            message, hint = frame["error"]
            raise ModelError(message, "; ".join(filter(None, [hint, tail_of(log)])))
        return [Measured(*each) for each in frame["result"]]


class _Log:
    """Reads what llama.cpp says while it works; warnings and errors go on to standard error."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress = progress
        self.sizes: dict[str, int] = {}
        self.n_fallback = 0
        self.needs_imatrix = False

    def __call__(self, level: int, text: str) -> None:
        if step := _STEP.match(text):
            self._progress(int(step[1]), int(step[2]))
        elif size := _SIZE.search(text):
            self.sizes[size[1]] = round(float(size[2]) * (1 << 20))
        elif fallback := _FALLBACK.search(text):
            self.n_fallback = int(fallback[1])
        elif _NEEDS_IMATRIX in text:
            self.needs_imatrix = True
        elif level in (3, 4):  # GGML_LOG_LEVEL_WARN, _ERROR
            sys.stderr.write(text)

    @property
    def measured(self) -> Measured:
        return Measured(self.sizes["model"], self.sizes["quant"], self.n_fallback, self.needs_imatrix)


def serve() -> None:
    """Answer one request."""
    out = become_child()
    job = Job(**read_frame(sys.stdin.buffer))
    try:
        done = _answer(job, lambda *step: cast("None", write_frame(out, {"progress": step})))
        write_frame(out, {"result": [list(asdict(each).values()) for each in done]})
    except LocalPromptError as error:
        write_frame(out, {"error": [error.message, error.hint]})


def _answer(job: Job, progress: Callable[[int, int], None]) -> list[Measured]:
    from localprompt.engine import llama  # noqa: PLC0415 - in the child alone

    source = Path(job.source)
    header = validate(source)  # nothing native reads a file before this says yes
    importance = read_importance(Path(job.imatrix), header.tensors) if job.imatrix else {}
    if not job.target:
        llama.Vocabulary(source, EngineSettings())  # says in words which kinds of model cannot be run
    numbers = {name: number for number, name in FILE_TYPES.items()}
    measured = []
    for level in job.levels:
        log = _Log(progress if job.target else lambda done, total: None)
        how: dict[str, Any] = {
            "ftype": numbers[level],
            "nthread": job.n_threads,
            "dry_run": not job.target,
            "max_buf_size": BUFFER_BYTES,
        }
        with llama.log_to(log):
            llama.quantise(source, Path(job.target or os.devnull), how, job.marks, importance)
        measured.append(log.measured)
    return measured


if __name__ == "__main__":
    serve()
