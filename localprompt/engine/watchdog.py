"""Ending a worker that has fallen silent. Level 2.

A worker that computes sends a heartbeat every second, from a thread of its own. So there are two ways of hanging:

    no heartbeats         it is stopped, swapped out, or stuck in a call that lets no other thread run: `Watchdog`
    heartbeats, no result it computes for ever: the reader of its frames counts heartbeats against `Timeouts`
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from localprompt.types import EngineStats


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a worker may take, and how many may die.

    Counted in heartbeats, of which a starved worker has fewer: a busy machine ends nobody.
    """

    silence: int = 60
    """Seconds without any frame."""
    stall: int = 120
    """Heartbeats without progress, at least."""
    slowdown: float = 30.0
    """Times what one batch takes at the rate measured so far."""
    unmeasured: int = 900
    """Heartbeats without progress as long as there is no rate, and for loading."""
    deaths: int = 30
    """In a row, with no question answered between. Finding the killer among a million requests takes 23; behind each
    that is found, a request that was answered is asked again, if more were than kill."""
    bytes_per_heartbeat: int = 100_000
    """Of a request that is not decoded: tokenising and rendering are a hundred times faster."""

    def for_batches(self, n_rows: int, stats: EngineStats) -> int:
        """Return the heartbeats that one decode call of `n_rows` may take, by what the engine has shown so far."""
        if stats.seconds < 1 or not stats.tokens_decoded:
            return self.unmeasured
        expected = n_rows * stats.seconds / stats.tokens_decoded
        return max(self.stall, round(self.slowdown * expected))

    def for_bytes(self, n_bytes: int) -> int:
        """Return the heartbeats that a request of this size may take where nothing is decoded."""
        return self.stall + n_bytes // self.bytes_per_heartbeat


class Watchdog:
    """Kills one process that says nothing for `silence` seconds while its parent waits for it.

    The seconds are counted one by one, not read from a clock: a parent that was itself stopped, or asleep with its
    machine, has not been waiting.
    """

    def __init__(self, process: subprocess.Popen[bytes], silence: int) -> None:
        self.fired = False
        """True once it has killed."""
        self._process = process
        self._silence = silence
        self._waited = 0
        self._waiting = False
        self._dismissed = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """The parent waits for the process in this block; each block starts from zero."""
        self._waited, self._waiting = 0, True
        try:
            yield
        finally:
            self._waiting = False

    def dismiss(self) -> None:
        """End the watch."""
        self._dismissed.set()

    def _watch(self) -> None:
        while not self._dismissed.wait(1.0):
            self._waited += 1
            if self._waiting and self._waited > self._silence:
                self.fired = True
                self._process.kill()
                return
