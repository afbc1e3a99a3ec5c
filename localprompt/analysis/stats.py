"""How sure a measured score is. Level 6, but imports only types, so that whatever stands above may use it.

All intervals are two-sided at 95 %. Written out here and not taken from scipy.stats, whose import alone takes a
second; the tests compare with scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

_N_RESAMPLES = 10_000
_BLOCK = 1_000_000
"""Random numbers drawn at once: a bound on memory."""
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean score with its 95 % interval over examples."""

    mean: float
    low: float
    high: float
    n: int
    """Examples."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean paired difference `found - seed` with its 95 % interval and the p-value of no difference."""

    mean: float
    low: float
    high: float
    p: float
    n: int
    """Pairs."""


def interval(scores: Sequence[float], *, seed: int = 0) -> Interval:
    """Return the mean with a 95 % interval: Wilson's for scores of 0 and 1, else a percentile bootstrap.

    Raises:
        ValueError: if there are no scores.
    """
    values = _array(scores)
    mean, n = float(values.mean()), len(values)
    if _is_binary(values):
        return Interval(mean, *_wilson(mean, n), n)
    low, high = _bootstrap(values, seed)
    return Interval(mean, low, high, n)


def paired_difference(baseline: Sequence[float], found: Sequence[float], *, seed: int = 0) -> Difference:
    """Return how much better `found` is than `baseline` on the same examples, in the same order.

    The interval is a percentile bootstrap over pairs (10,000 resamples). p is exact McNemar (a sign test on the pairs
    that differ) for scores of 0 and 1, else a sign-flip permutation test (10,000 flips, the observed one counted).

    Raises:
        ValueError: if the lengths differ or are 0.
    """
    before, after = _array(baseline), _array(found)
    if len(before) != len(after):
        raise ValueError(f"paired scores need the same length, not {len(before)} and {len(after)}")
    gains = after - before
    low, high = _bootstrap(gains, seed)
    binary = _is_binary(before) and _is_binary(after)
    p = exact_mcnemar(int((gains > 0).sum()), int((gains < 0).sum())) if binary else _sign_flip(gains, seed)
    return Difference(float(gains.mean()), low, high, p, len(gains))


def exact_mcnemar(n_gained: int, n_lost: int) -> float:
    """Return the two-sided exact p-value for examples gained and lost; 1.0 where nothing changed."""
    n, k = n_gained + n_lost, min(n_gained, n_lost)
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, 2 * tail / (1 << n))


def smallest_detectable_gain(n: int, discordant: float = 0.2) -> float:
    """Return the gain in accuracy that `n` paired examples show with power 0.8 at two-sided level 0.05.

    Solves Connor's (1987) sample size for McNemar's test, `n = (z_a sqrt(q) + z_b sqrt(q - d^2))^2 / d^2`, for d, where
    q is the share of examples on which the two prompts differ (a gain of d needs at least q = d). 155 examples with
    q = 0.2 show 0.10. At most 1.0.
    """
    z_a, z_b = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.8)

    def needed(gain: float) -> float:
        q = max(discordant, gain)
        root: float = z_a * math.sqrt(q) + z_b * math.sqrt(q - gain * gain)
        return (root / gain) ** 2

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if needed(middle) > n else (low, middle)
    return high


def differ_by_chance(first: Interval, second: Interval) -> bool:
    """Return whether two means over different examples are within 1.96 standard errors of each other.

    The standard errors are read off the intervals' widths.
    """
    errors = [(each.high - each.low) / (2 * _Z) for each in (first, second)]
    return abs(first.mean - second.mean) <= _Z * math.hypot(*errors)


def _array(scores: Sequence[float]) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no scores")
    return values


def _is_binary(values: npt.NDArray[np.float64]) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _wilson(mean: float, n: int) -> tuple[float, float]:
    centre = (mean + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(mean * (1 - mean) / n + _Z**2 / (4 * n**2))
    # At a mean of 0 or 1 the interval ends exactly there; rounding must not put it beyond.
    return min(mean, max(0.0, centre - half)), max(mean, min(1.0, centre + half))


def _bootstrap(values: npt.NDArray[np.float64], seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    n = len(values)
    means = [values[rng.integers(n, size=(rows, n))].mean(axis=1) for rows in _blocks(n)]
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def _sign_flip(gains: npt.NDArray[np.float64], seed: int) -> float:
    rng = np.random.default_rng(seed)
    n = len(gains)
    # A flip that gives the observed mean may differ from it in the last digit.
    observed = abs(gains.mean()) - 1e-12
    as_extreme = sum(
        int((np.abs((gains * (2 * rng.integers(2, size=(rows, n)) - 1)).mean(axis=1)) >= observed).sum())
        for rows in _blocks(n)
    )
    return (as_extreme + 1) / (_N_RESAMPLES + 1)


def _blocks(n: int) -> list[int]:
    """Return how many resamples of `n` values to draw at a time, 10,000 together."""
    rows = max(1, min(_N_RESAMPLES, _BLOCK // n))
    full, rest = divmod(_N_RESAMPLES, rows)
    return [rows] * full + ([rest] if rest else [])
