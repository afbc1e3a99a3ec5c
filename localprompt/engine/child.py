"""What every process of llama.cpp does first, since it may abort or take all memory; how it ended. Level 2."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from localprompt.errors import ModelError

_ADVICE = {
    "SIGKILL": "perhaps for lack of memory",
    "SIGILL": "as an instruction fails here: leave use_extra_bufts out, or build llama.cpp as docs/engine.md says",
}
"""What mostly leads to the end of a process, by signal, and what helps."""


def child_command(module: str) -> list[str]:
    """Return the command that starts a module of this package in a process of its own."""
    # -P: a file `numpy.py` in the working directory must not be imported (Python 3.11 and later know the flag).
    isolation = ["-P"] if sys.version_info >= (3, 11) else []
    return [sys.executable, *isolation, "-m", module]


def become_child() -> BinaryIO:
    """Return the stream to the parent, and make this a process whose end does no harm.

    What native code prints goes to standard error. The process ends when its parent is gone, is the first one to end
    where memory runs out, and leaves no core dump of gigabytes.
    """
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever native code prints must not fall between the frames
    _die_with_parent()
    _be_expendable()
    return out


def _be_expendable() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    with contextlib.suppress(ImportError):  # Windows
        import resource  # noqa: PLC0415

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _die_with_parent() -> None:
    """End this process when its parent is gone, also in the middle of a long computation (ctypes frees the GIL)."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def tail_of(log: IO[bytes]) -> str:
    """Return the last lines of a log as a hint."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - 400))
    tail = log.read().decode(errors="replace").strip().splitlines()[-3:]
    return "the engine's log ends: " + " / ".join(tail) if tail else ""


def cause(code: int) -> str:
    """Return an exit status in words, with what mostly leads to it and what helps."""
    if code >= 0:
        return f"exit status {code}"
    name = next((member.name for member in signal.Signals if member == -code), str(-code))
    return ", ".join(filter(None, [f"signal {name}", _ADVICE.get(name)]))


def started(command: Sequence[str], log: IO[bytes], env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Return the process of a command whose errors go to a log; Ctrl-C goes to the parent alone, which then ends it."""
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env, start_new_session=True
    )


@contextlib.contextmanager
def child(module: str, what: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Yield the process of a module of this package and its log; it ends with the block, in which its pipes are used.

    Raises:
        ModelError: if its pipe ends before it has answered; `what` names it.
    """
    with tempfile.TemporaryFile("a+b") as log, started(child_command(module), log) as process:
        try:
            yield process, log
        except EOFError:
            with contextlib.suppress(subprocess.TimeoutExpired):  # its pipe ends a little before itself
                process.wait(10)
            process.kill()
            raise ModelError(f"{what} died ({cause(process.wait())})", tail_of(log)) from None
        finally:
            process.kill()
