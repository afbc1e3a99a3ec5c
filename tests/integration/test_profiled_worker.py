"""The parts that `benchmarks/engine_profile.py` measures exist: it finds them by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from profiled_worker import PARTS


def test_each_part_that_is_measured_is_there() -> None:
    missing = [
        f"{owner.__name__}.{name}" for parts in PARTS.values() for owner, name in parts if name not in dir(owner)
    ]
    assert missing == []
