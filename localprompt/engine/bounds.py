"""Bounds of time and memory on a piece of Python that a foreign file controls. Level 2.

They hold where the platform has them (time: POSIX, main thread; memory: Linux). Elsewhere the parent's timeouts for
the worker are the bound.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import psutil


class OutOfTime(BaseException):
    """The time is over. No `Exception`: libraries swallow those here and there, and the clock rings once."""


@contextlib.contextmanager
def bounded(seconds: float, megabytes: int) -> Iterator[None]:
    """Bound what the block computes and allocates.

    Args:
        seconds: of computing: a busy machine makes nothing time out, and a template cannot sleep.
        megabytes: address space that the process may gain in the block.

    Raises:
        OutOfTime: from the middle of the block.
        MemoryError: from the middle of the block.
    """
    with _fenced(megabytes << 20), _clocked(seconds):  # in this order the alarm cannot leave the fence standing
        yield


@contextlib.contextmanager
def _clocked(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise OutOfTime(f"it computes for more than {seconds:g} seconds")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def _fenced(n_bytes: int) -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    import resource  # noqa: PLC0415 - not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    fence = psutil.Process().memory_info().vms + n_bytes  # counted from here: mapped weights are no argument
    if soft != resource.RLIM_INFINITY:
        fence = min(fence, soft)
    resource.setrlimit(resource.RLIMIT_AS, (fence, hard))
    try:
        yield
    except MemoryError:
        raise MemoryError(f"it needs more than {n_bytes >> 20} MB") from None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
