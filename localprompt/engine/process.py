"""The parent's side of the engine process: start it, ask it, survive its death. Level 2.

llama.cpp aborts its process on ordinary mistakes and on some official files, so this process never loads it. It starts
`python -m localprompt.engine.worker`, sends requests and receives numbers. When the worker dies or hangs, the call is
tried again in a new one; when that dies too, the requests are halved until the one that kills is found, and the others
are answered.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from localprompt import errors
from localprompt.engine import placement
from localprompt.engine.child import cause, child_command, started, tail_of
from localprompt.engine.device_list import visible
from localprompt.engine.frames import read_frame, write_frame
from localprompt.engine.gguf import GGUFHeader
from localprompt.engine.gguf_validator import validate
from localprompt.engine.settings import EngineSettings
from localprompt.engine.watchdog import Timeouts, Watchdog
from localprompt.types import EngineStats

Progress = Callable[[int, int], None]

_DECODING = frozenset({"score", "generate", "tokenwise", "step", "complete"})
_UNMEASURED = frozenset({"load", "prefill_rate", "find_difference", "generation_rate"})


def ignore(_done: int, _total: int) -> None:
    """Hear of progress, and do nothing."""


class RequestsDied(errors.WorkerDied):
    """Some requests of a call kill every worker that gets them; the others have been answered.

    An engine that dies is neither an answer nor a score, so the call as a whole fails; what was computed is kept here.

    Attributes:
        results: one per request, same order and length; None for those in `failed` (and for all that were not tried).
        failed: indices of the requests without a result.
        killers: indices of the requests that were found to kill, each alone; empty where the search for them was given
            up, since then the engine itself may be broken.
        how: how a worker died over the last of these; the message is then made of it, with their numbers.
    """

    def __init__(
        self, message: str, hint: str, results: Sequence[Any], killers: Sequence[int] = (), how: str = ""
    ) -> None:
        if how:
            shown = " and ".join(f"request {i}" for i in killers[:5])
            more = f" and {len(killers) - 5} more" if len(killers) > 5 else ""
            message = f"{shown}{more} of {len(results)} killed the engine process again and again ({how})"
        super().__init__(message, hint)
        self.results = tuple(results)
        self.killers = tuple(killers)
        self.failed = tuple(i for i, result in enumerate(results) if result is None)
        self.how = how

    def over(self, results: Sequence[Any], killers: Sequence[int]) -> RequestsDied:
        """Return the same error with other results and numbers: of a whole call, where this one is of a part."""
        return RequestsDied(self.message, self.hint, results, killers, self.how)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle` makes this error of again: a pool of processes hands errors on so."""
        return type(self), (self.message, self.hint, self.results, self.killers, self.how)


class EngineProcess:
    """The parent's handle of a worker with one loaded model; a forked child cannot use it.

    Args:
        model: the GGUF file; or its header, where `validate` has said yes to it already.
        settings: how to load and batch.
        timeouts: how long a worker may take before it counts as dead.
        command: starts the worker, which speaks the protocol of `worker`.
        vocabulary_only: load no weights: only `encode`, `encode_pairs` and `chat` are answered.

    Raises:
        ModelError: if the file is malformed, the memory is not there, or the worker cannot load the model; the message
            carries the tail of llama.cpp's log.
    """

    def __init__(
        self,
        model: Path | GGUFHeader,
        settings: EngineSettings,
        *,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        command: Sequence[str] = (),
        vocabulary_only: bool = False,
    ) -> None:
        # Nothing native reads a file before this says yes.
        self.header = model if isinstance(model, GGUFHeader) else validate(model)
        self.path = self.header.path
        self.settings = settings
        self._stats = EngineStats()
        self.info: dict[str, Any] = {}
        self._vocabulary_only = vocabulary_only
        self._timeouts = timeouts
        self._command = list(command) or child_command("localprompt.engine.worker")
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None
        self._verdict = ""
        self._deaths = 0  # in a row
        self._how = ""  # the last one
        self._log: IO[bytes] = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - lives as long as this object
        self._busy = threading.Lock()
        self._owner = os.getpid()
        self._is_closed = False
        _LIVING.add(self)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the worker that is alive now.

        Raises:
            ModelError: if it belongs to another process, or is closed.
        """
        self.check_usable()
        if self._process is None:
            self._start()
        return cast("subprocess.Popen[bytes]", self._process).pid

    @property
    def stats(self) -> EngineStats:
        """Cumulative work, over restarts of the worker too."""
        return self._stats

    @property
    def members(self) -> tuple[EngineProcess, ...]:
        """The engines that share the work: this one."""
        return (self,)

    def close(self) -> None:
        """End the worker: it leaves when its pipe closes, or at once where another thread waits for an answer.

        In a forked child nothing happens: the worker is the parent's.
        """
        if os.getpid() != self._owner:
            return
        self._is_closed = True
        process = self._process
        if self._busy.acquire(blocking=False):
            self._busy.release()
            self._end()
        elif process is not None:
            process.kill()  # whoever waits for its answer is told by the end of its pipe, and ends the rest

    def _end(self) -> None:
        self._reap()
        self._log.close()

    def check_usable(self) -> None:
        """Check that this process may ask the worker.

        Raises:
            ModelError: if it belongs to another process, which was forked, or is closed.
        """
        if os.getpid() != self._owner:
            whose = (
                f"the model {self.path.name} belongs to process {self._owner} and not to this one, a forked child of it"
            )
            raise errors.ModelError(whose, "load it here: call load_model in each process, after the fork")
        if self._is_closed:
            raise errors.ModelError(f"the model {self.path.name} is closed", "load it again")

    def _disown(self) -> None:
        """Let go of the worker in a forked child.

        Its pipes stay open as long as any copy of them is, and what a buffer still holds must not be sent twice.
        """
        if self._process is not None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None and not stream.closed:
                    os.dup2(nowhere, stream.fileno(), inheritable=False)
            os.close(nowhere)

    def call(self, op: str, **arguments: Any) -> Any:
        """Return the worker's answer to one question; a worker that dies over it is replaced once.

        Raises:
            WorkerDied: if the second one dies too.
        """
        return self._told(op, arguments, tries=2, often=" twice")

    def call_once(self, op: str, **arguments: Any) -> Any:
        """Return the worker's answer to a question that depends on earlier ones, which a new worker has not heard.

        Raises:
            WorkerDied: if the worker dies.
        """
        return self._told(op, arguments, tries=1, often="")

    def _told(self, op: str, arguments: dict[str, Any], *, tries: int, often: str) -> Any:
        try:
            return self._insist(op, arguments, ignore, tries)
        except EOFError as death:
            raise errors.WorkerDied(f"the engine process died{often} over {op!r} ({death})", self._log_tail()) from None

    def map(
        self,
        op: str,
        requests: Sequence[Any],
        progress: Progress = ignore,
        read: Callable[[Any], Any] = lambda answer: answer,
    ) -> list[Any]:
        """Return one result per request, same order and length; survives the death of workers.

        Args:
            op: what is asked of the worker.
            requests: plain data.
            progress: called with (requests done, requests in all).
            read: makes a result of what the worker says of one request.

        Raises:
            RequestsDied: naming the requests that kill every worker that gets them, after all others were answered.
        """
        self.check_usable()
        results: list[Any] = [None] * len(requests)
        killers: list[int] = []
        last_death = ""
        parts = [(0, len(requests))] if requests else []
        while parts:
            low, high = parts.pop()
            part = {"requests": list(requests[low:high])}
            # One death may be chance, for the whole and for the last one left; between them it only means: halve.
            tries = 2 if high - low in (1, len(requests)) else 1
            try:
                answers = self._insist(op, part, _shifted(progress, low, len(requests)), tries)
                results[low:high] = map(read, answers)
            except errors.WorkerDied as error:
                raise RequestsDied(error.message, error.hint, results) from None
            except EOFError as death:
                last_death, middle = str(death), (low + high) // 2
                if high - low > 1:
                    parts += [(middle, high), (low, middle)]
                    continue
                killers.append(low)
                answered = [i for i, result in enumerate(results) if result is not None]
                if len(answered) > len(killers):  # answered again, the engine is well, and deaths are counted anew
                    with contextlib.suppress(EOFError, errors.WorkerDied):
                        self._insist(op, {"requests": [requests[answered[0]]]}, ignore, tries=1)
                else:
                    parts.reverse()  # those that kill are often neighbours
        if killers:
            raise RequestsDied("", self._log_tail(), results, sorted(killers), last_death)
        return results

    def _insist(self, op: str, arguments: dict[str, Any], progress: Progress, tries: int) -> Any:
        """Return the answer of a worker, which is replaced where it dies over the question.

        Raises:
            EOFError: saying how the last one of `tries` died.
            WorkerDied: if too many have died in a row.
        """
        for _ in range(tries):
            try:
                return self._ask(op, arguments, progress)
            except EOFError:
                self._how = self._reap()
        raise EOFError(self._how)

    # One worker

    def _start(self) -> None:
        gpus = () if self._vocabulary_only else visible()
        placement.check(self.path, self.header, None if self._vocabulary_only else self.settings, gpus)
        self._verdict = ""
        # Threads that spin while they wait are a little faster on an idle machine and several times slower on a busy
        # one, where they burn the very core that they wait for.
        self._process = started(self._command, self._log, {"OMP_WAIT_POLICY": "passive", **os.environ})
        self._watchdog = Watchdog(self._process, self._timeouts.silence)
        try:
            how = {"settings": asdict(self.settings), "vocabulary_only": self._vocabulary_only}
            self.info = self._exchange("load", {"path": str(self.path), **how}, ignore)
        except EOFError:  # of no request: the worker has seen none
            died = f"the engine died while loading {self.path} ({self._reap()})"
            raise errors.ModelError(died, self._log_tail()) from None
        except errors.ModelError as error:
            self._reap()
            hint = "; ".join(filter(None, [error.hint, self._log_tail()]))
            raise errors.ModelError(error.message, hint) from None

    def _ask(self, op: str, arguments: dict[str, Any], progress: Progress) -> Any:
        """Return the answer of a worker, started if there is none.

        Raises:
            EOFError: if the worker dies meanwhile.
            WorkerDied: if too many have died in a row: no further one is started.
            ModelError: if another call is under way, from another thread or from its own `progress`: answers carry no
                names, so the two would get each other's; if it belongs to another process, or is closed.
        """
        self.check_usable()
        if not self._busy.acquire(blocking=False):
            raise errors.ModelError("this model is answering another call", "make one call at a time")
        try:
            if self._deaths >= self._timeouts.deaths:
                died = f"the engine process died {self._deaths} times in a row ({self._how})"
                raise errors.WorkerDied(f"{died} and is not started again", self._log_tail())
            if self._process is None:
                try:
                    self._start()
                except errors.ModelError:  # one death may be chance
                    self._start()
            answer = self._exchange(op, arguments, progress)
            self._deaths = 0
            return answer
        except EOFError:
            self._deaths += 1
            raise
        finally:
            self._busy.release()
            if self._is_closed:
                self._end()

    def _exchange(self, op: str, arguments: dict[str, Any], progress: Progress) -> Any:
        """Send one request and read frames up to its answer."""
        try:
            frame = self._converse(op, arguments, progress)
        except EOFError:
            raise
        except BaseException:  # interrupted between frames: this worker's answers can no longer be told apart
            if self._process is not None:
                self._process.kill()
                self._reap()
            raise
        if "error" in frame:
            raise _as_exception(*frame["error"])
        self._stats += EngineStats(*frame["stats"])
        return frame["result"]

    def _converse(self, op: str, arguments: dict[str, Any], progress: Progress) -> Any:
        process, watchdog = cast("subprocess.Popen[bytes]", self._process), cast("Watchdog", self._watchdog)
        stdin, stdout = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
        with watchdog.waiting():
            heartbeats_left = allowed = self._heartbeats(op, _send(stdin, {"op": op, **arguments}))
        while True:
            with watchdog.waiting():
                frame = read_frame(stdout)
            if "heartbeat" in frame:
                heartbeats_left -= 1
                if heartbeats_left < 0:
                    self._verdict = f"no progress for {allowed} seconds"
                    process.kill()
                    raise EOFError(self._verdict)
            elif "progress" in frame:
                heartbeats_left = allowed
                try:
                    progress(*frame["progress"])
                except EOFError as error:  # the caller's, not the worker's end
                    raise RuntimeError("progress raised EOFError") from error
            else:
                return frame

    def _heartbeats(self, op: str, n_bytes: int) -> int:
        """Return how many heartbeats without progress are too many."""
        if op in _DECODING:
            return self._timeouts.for_batches(self.settings.n_ubatch, self._stats)
        return self._timeouts.unmeasured if op in _UNMEASURED else self._timeouts.for_bytes(n_bytes)

    def _reap(self) -> str:
        """Reap the dead worker and return how it died."""
        process, self._process = self._process, None
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.dismiss()
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
        if watchdog is not None and watchdog.fired:
            return f"no sign of life for {self._timeouts.silence} seconds"
        return self._verdict or cause(code)

    def _log_tail(self) -> str:
        return "" if self._log.closed else tail_of(self._log)


_LIVING: weakref.WeakSet[EngineProcess] = weakref.WeakSet()


def _disown_all() -> None:
    for engine in _LIVING:
        engine._disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)


def _send(stdin: BinaryIO, request: dict[str, Any]) -> int:
    """Send a request and return its size; a pipe closed by the worker is its end."""
    try:
        return write_frame(stdin, request)
    except BrokenPipeError:
        raise EOFError("the worker closed its pipe") from None


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


def _as_exception(kind: str, message: str, hint: str) -> errors.LocalPromptError:
    known = {"ContextOverflow": errors.ContextOverflow, "ConfigError": errors.ConfigError}
    return known.get(kind, errors.ModelError)(message, hint)
