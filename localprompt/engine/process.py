"""The parent's side of the engine process: start it, ask it, survive its death. Level 1.

llama.cpp aborts its process on ordinary mistakes and on some official files, so this process never loads it. It starts
`python -m localprompt.engine.worker`, sends requests and receives numbers. When the worker dies, the call is tried
again in a new one; when that dies too, the requests are halved until the one that kills is found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from localprompt import errors
from localprompt.engine.frames import read_frame, write_frame
from localprompt.engine.settings import EngineSettings
from localprompt.types import EngineStats

Progress = Callable[[int, int], None]


def _ignore(_done: int, _total: int) -> None: ...


class EngineProcess:
    """The parent's handle of a worker with one loaded model.

    Args:
        path: the GGUF file.
        settings: how to load and batch.

    Raises:
        ModelError: if the worker cannot load the model; the message carries the tail of llama.cpp's log.
    """

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        self.path = path
        self.settings = settings
        self.stats = EngineStats()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - lives as long as this object
        self._busy = threading.Lock()
        self.info: dict[str, Any] = {}
        try:
            self._start()
        except EOFError:
            death = self._bury()
            tail = self._log_tail()
            self.close()
            raise errors.ModelError(f"the engine died while loading {path} ({death})", tail) from None
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the worker that is alive now."""
        if self._process is None:
            self._start()
        return cast("subprocess.Popen[bytes]", self._process).pid

    def close(self) -> None:
        """End the worker: it leaves when its pipe closes."""
        self._bury()
        self._log.close()

    def call(self, op: str, **arguments: Any) -> Any:
        """Return the worker's answer to one question; a worker that dies over it is replaced once."""
        try:
            return self._ask(op, arguments)
        except EOFError:
            self._bury()
        try:
            return self._ask(op, arguments)
        except EOFError:
            death = self._bury()
            raise errors.WorkerDied(f"the engine process died twice over {op!r} ({death})", self._log_tail()) from None

    def map(self, op: str, requests: Sequence[Any], progress: Progress = _ignore) -> list[Any]:
        """Return one result a request, same order and length; survives the death of workers.

        Raises:
            WorkerDied: naming the request that kills every worker that gets it.
        """
        return _Supervised(self, op, requests, progress).run()

    # One worker

    def _start(self) -> None:
        # -P: a file `numpy.py` in the working directory must not be imported (Python 3.11 and later know the flag).
        isolation = ["-P"] if sys.version_info >= (3, 11) else []
        command = [sys.executable, *isolation, "-m", "localprompt.engine.worker"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # Threads that spin while they wait are a little faster on an idle machine and several times slower on a
            # busy one, where they burn the very core that they wait for.
            env={"OMP_WAIT_POLICY": "passive", **os.environ},
            start_new_session=True,  # Ctrl-C goes to the parent alone, which then ends the worker
        )
        try:
            self.info = self._exchange("load", {"path": str(self.path), "settings": asdict(self.settings)}, _ignore)
        except errors.ModelError as error:
            self._bury()
            hint = "; ".join(filter(None, [error.hint, self._log_tail()]))
            raise errors.ModelError(error.message, hint) from None

    def _ask(self, op: str, arguments: dict[str, Any], progress: Progress = _ignore) -> Any:
        """Return the answer of a worker, started if there is none.

        Raises:
            EOFError: if the worker dies meanwhile.
            ModelError: if another call is under way, from another thread or from its own `progress`: answers carry no
                names, so the two would get each other's.
        """
        if not self._busy.acquire(blocking=False):
            raise errors.ModelError("this model is answering another call", "make one call at a time")
        try:
            if self._process is None:
                self._start()
            return self._exchange(op, arguments, progress)
        finally:
            self._busy.release()

    def _exchange(self, op: str, arguments: dict[str, Any], progress: Progress) -> Any:
        """Send one request and read frames up to its answer."""
        process = cast("subprocess.Popen[bytes]", self._process)
        stdin, stdout = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
        try:
            frame = _send_and_read(stdin, stdout, {"op": op, **arguments})
            while "progress" in frame:
                try:
                    progress(*frame["progress"])
                except EOFError as error:  # the caller's, not the worker's end
                    raise RuntimeError("progress raised EOFError") from error
                frame = read_frame(stdout)
        except EOFError:
            raise
        except BaseException:
            self._kill()  # interrupted between frames: this worker's answers can no longer be told apart
            raise
        if "error" in frame:
            raise _as_exception(*frame["error"])
        self.stats = _plus(self.stats, frame["stats"])
        return frame["result"]

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._bury()

    def _bury(self) -> str:
        """Reap the dead worker and return how it died."""
        process, self._process = self._process, None
        if process is None:
            return "was not running"
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            code = process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def _log_tail(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 400))
        tail = self._log.read().decode(errors="replace").strip().splitlines()[-3:]
        return "last words of the engine: " + " / ".join(tail) if tail else ""


def _send_and_read(stdin: BinaryIO, stdout: BinaryIO, request: dict[str, Any]) -> Any:
    """Return the first frame of the answer; a pipe closed by the worker is its end."""
    try:
        write_frame(stdin, request)
    except BrokenPipeError:
        raise EOFError("the worker closed its pipe") from None
    return read_frame(stdout)


class _Supervised:
    """One call over many requests: retry once, then halve down to the request that kills."""

    def __init__(self, engine: EngineProcess, op: str, requests: Sequence[Any], progress: Progress) -> None:
        self._engine = engine
        self._op = op
        self._requests = requests
        self._progress = progress
        self._deaths = 0
        self._max_deaths = 2 * (len(requests).bit_length() + 1) + 4  # two a halving, and a few that were chance

    def run(self) -> list[Any]:
        return self._part(0, len(self._requests))

    def _part(self, low: int, high: int) -> list[Any]:
        death = ""
        for _ in range(2):
            try:
                return cast(
                    "list[Any]",
                    self._engine._ask(self._op, {"requests": list(self._requests[low:high])}, self._shifted(low)),
                )
            except EOFError:
                self._deaths += 1
                death = self._engine._bury()
        if high - low <= 1 or self._deaths >= self._max_deaths:
            which = f"request {low}" if high - low == 1 else f"one of the requests {low} to {high - 1}"
            raise errors.WorkerDied(
                f"the engine process died {self._deaths} times, last over {which} of {len(self._requests)} ({death})",
                self._engine._log_tail(),
            )
        middle = (low + high) // 2
        return self._part(low, middle) + self._part(middle, high)

    def _shifted(self, low: int) -> Progress:
        return lambda done, _: self._progress(low + done, len(self._requests))


def _as_exception(kind: str, message: str, hint: str) -> errors.LocalPromptError:
    known = {"ContextOverflow": errors.ContextOverflow, "ConfigError": errors.ConfigError}
    return known.get(kind, errors.ModelError)(message, hint)


def _plus(stats: EngineStats, delta: Sequence[float]) -> EngineStats:
    return EngineStats(*(a + b for a, b in zip(astuple(stats), delta, strict=True)))
