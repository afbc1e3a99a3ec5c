"""How much of the cores at hand other processes use. Level 2.

Source: the counters of the system for each core, less what this process and its children that have ended took. What a
hypervisor gave to other machines counts as used by others, too.
"""

from __future__ import annotations

import os
import time

import psutil

BUSY = 0.25
"""Cores; a machine at rest, with its desktop, uses less."""
_SHORTEST = 0.1
"""Seconds: the system counts in hundredths."""
_IDLE = ("idle", "iowait", "guest", "guest_nice")
"""Not used; guests are counted as `user` already."""


class Neighbours:
    """What other processes use from now on, on the cores that this one may use."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._used = _used()

    def cores(self) -> float | None:
        """Return how many cores they used on average; None where that cannot be told, or after less than 0.1 s.

        Children of this process that are still alive count as others.
        """
        seconds, used = time.perf_counter() - self._began, _used()
        if seconds < _SHORTEST or self._used is None or used is None:
            return None
        return max(0.0, (used - self._used) / seconds)


def cores_of_others(seconds: float) -> float | None:
    """Return how many cores others use now, measured for so many seconds; None where that cannot be told."""
    neighbours = Neighbours()
    time.sleep(seconds)
    return neighbours.cores()


def _used() -> float | None:
    """Return seconds of all cores at hand that others have used so far, counted from anywhere; None if unknown."""
    cores = psutil.cpu_times(percpu=True)
    try:
        own = psutil.Process().cpu_affinity()
    except AttributeError:  # macOS has no affinity
        own = list(range(len(cores)))
    at_hand = [cores[i] for i in own if i < len(cores)]
    if os.name != "posix" or len(at_hand) < len(own):  # Windows does not count the time of children
        return None
    busy = sum(sum(core) - sum(getattr(core, name, 0.0) for name in _IDLE) for core in at_hand)
    mine = os.times()
    return busy - (mine.user + mine.system + mine.children_user + mine.children_system) if busy else None
