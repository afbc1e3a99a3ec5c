"""How sure a mean over a few runs is that differ in their seed alone. Level 2, but imports nothing of the project."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_LEVEL = 0.95
_FARTHEST = 100.0
"""Beyond every quantile that is asked for: of one degree of freedom it is 12.7."""


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A mean over runs with its 95 % interval, Student's t: where the mean of many more such runs is expected."""

    mean: float
    low: float | None
    """None for a single run and for runs that all end the same, which do not show how far others may lie."""
    high: float | None
    n: int
    """Runs."""


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Return the mean of one score or area a run, from 0 to 1, with its interval, which ends there at the latest.

    Raises:
        ValueError: if there are no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no runs")
    mean = math.fsum(values) / n
    if min(values) == max(values):
        return OverSeeds(mean, None, None, n)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = t_quantile(n - 1) * deviation / math.sqrt(n)
    return OverSeeds(mean, max(mean - half, min(0.0, *values)), min(mean + half, max(1.0, *values)), n)


def t_quantile(freedom: int) -> float:
    """Return the t within which 95 % of Student's distribution with `freedom` degrees lie, 12.706 for one degree."""
    low, high = 0.0, _FARTHEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central(middle, freedom) < _LEVEL else (low, middle)
    return high


def _central(t: float, freedom: int) -> float:
    """Return the probability of [-t, t]: Abramowitz and Stegun 26.7.3 and 26.7.4, finite sums for whole degrees."""
    angle = math.atan2(t, math.sqrt(freedom))
    square = math.cos(angle) ** 2
    is_odd = freedom % 2
    term = math.sin(angle) * (math.cos(angle) if is_odd else 1.0)
    total = 0.0
    for k in range(2 + is_odd, freedom + 1, 2):
        total += term
        term *= square * (k - 1) / k
    return 2 / math.pi * (angle + total) if is_odd else total
