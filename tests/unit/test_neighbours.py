"""How much others use of the cores at hand, by counters of a simulated system; and once of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil
import pytest

from localprompt.engine.neighbours import Neighbours, cores_of_others
from localprompt.engine.settings import available_threads


class Core(NamedTuple):
    user: float
    system: float = 0.0
    idle: float = 0.0
    iowait: float = 0.0
    steal: float = 0.0
    guest: float = 0.0


class System:
    """Ten seconds pass between two readings of the clock; the counters of the cores are set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at_hand: Sequence[int]) -> None:
        self.cores = [Core(100.0, idle=100.0)] * 4
        self.mine = (1.0, 1.0, 1.0, 1.0)
        self.now = 0.0
        monkeypatch.setattr(psutil, "cpu_times", lambda percpu: self.cores)
        monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: list(at_hand))
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(os, "times", lambda: os.times_result((*self.mine, 0.0)))

    def after(self, seconds: float, *cores: Core) -> None:
        self.now += seconds
        self.cores = list(cores)


def test_what_others_use_is_what_all_use_less_what_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch, at_hand=[0, 1])
    neighbours = Neighbours()
    elsewhere = [Core(110.0), Core(110.0)]
    system.mine = (3.0, 2.0, 8.0, 2.0)  # 11 seconds more than before, of us and of our children
    system.after(10.0, Core(106.0, system=3.0, idle=101.0), Core(104.0, idle=103.0, iowait=1.0, steal=2.0), *elsewhere)
    assert neighbours.cores() == pytest.approx((9 + 6 - 11) / 10)


def test_guests_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch, at_hand=[0])
    neighbours = Neighbours()
    system.after(10.0, Core(105.0, guest=5.0), *system.cores[1:])
    assert neighbours.cores() == pytest.approx(0.5)


def test_less_than_nothing_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch, at_hand=[0])
    neighbours = Neighbours()
    system.mine = (1.1, 1.0, 1.0, 1.0)  # the counters of cores go in steps
    system.after(10.0, *system.cores)
    assert neighbours.cores() == 0


def test_what_a_system_does_not_count_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch, at_hand=[0, 7])
    neighbours = Neighbours()
    system.after(10.0, *system.cores)
    assert neighbours.cores() is None, "a core without counters"
    system.cores = [Core(0.0)] * 8
    neighbours = Neighbours()
    system.after(10.0, *system.cores)
    assert neighbours.cores() is None, "counters that stand still, as in some sandboxes"


def test_a_moment_is_too_short_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch, at_hand=[0])
    neighbours = Neighbours()
    system.after(0.05, *system.cores)
    assert neighbours.cores() is None


def test_a_busy_process_is_seen_on_this_machine() -> None:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        found = cores_of_others(0.5)
    finally:
        process.kill()
        process.wait()
    assert found is None or 0.2 < found <= available_threads() + 0.2
