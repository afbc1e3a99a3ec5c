"""How sure a measured score is. Level 6, but imports nothing of the project, so that whatever stands above may use it.

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
_SEED = 0
"""The same scores have the same interval."""
_ALPHA = 0.05
_Z = NormalDist().inv_cdf(1 - _ALPHA / 2)
_DISCORDANT = 0.2
"""Share of examples on which two prompts are taken to differ."""


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
    """Mean paired difference `found - seed` with its 95 % interval and the p-value of no difference.

    From `paired_difference` the interval leaves out 0 exactly where p < 0.05.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int
    """Pairs."""


def interval(scores: Sequence[float]) -> Interval:
    """Return the mean with a 95 % interval: Wilson's for scores of 0 and 1, else a percentile bootstrap.

    Raises:
        ValueError: if there are no scores.
    """
    values = _array(scores)
    mean, n = float(values.mean()), len(values)
    if _is_binary(values):
        return Interval(mean, *_wilson(mean, n), n)
    low, high = _bootstrap(values)
    return Interval(mean, low, high, n)


def paired_difference(baseline: Sequence[float], found: Sequence[float]) -> Difference:
    """Return how much better `found` is than `baseline` on the same examples, in the same order.

    For scores of 0 and 1 the interval is Newcombe's and p is exact McNemar (a sign test on the pairs that differ); for
    others they are a percentile bootstrap over pairs (10,000 resamples) and a sign-flip permutation test (10,000 flips,
    the observed one counted).

    Interval and p never disagree: p < 0.05 exactly where the interval leaves out 0. The test decides. Where it finds no
    difference, the interval is extended to 0: McNemar's test is the more conservative of the two (no table of up to 40
    pairs has a difference by it and none by Newcombe's interval, nor has one of up to 2,000 with p just below 0.05).
    Where the sign flips find one and the bootstrap none, the interval ends at the difference nearest to 0 that the same
    flips do not reject.

    Raises:
        ValueError: if the lengths differ or are 0.
    """
    before, after = _array(baseline), _array(found)
    if len(before) != len(after):
        raise ValueError(f"paired scores need the same length, not {len(before)} and {len(after)}")
    gains = after - before
    mean = float(gains.mean())
    if _is_binary(before) and _is_binary(after):
        low, high = _newcombe(before, after)
        p = exact_mcnemar(int((gains > 0).sum()), int((gains < 0).sum()))
    else:
        low, high = _bootstrap(gains)
        p = _sign_flip(gains)
    if p >= _ALPHA:
        low, high = min(low, 0.0), max(high, 0.0)
    elif low <= 0 <= high:
        nearest = _nearest_not_rejected(gains)
        low, high = (nearest, high) if mean > 0 else (low, nearest)
    return Difference(mean, low, high, p, len(gains))


def exact_mcnemar(n_gained: int, n_lost: int) -> float:
    """Return the two-sided exact p-value for examples gained and lost; 1.0 where nothing changed."""
    n, k = n_gained + n_lost, min(n_gained, n_lost)
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, 2 * tail / (1 << n))


def smallest_detectable_gain(n: int) -> float:
    """Return the gain in accuracy that `n` paired examples show with power 0.8 at two-sided level 0.05.

    Solves Connor's (1987) sample size for McNemar's test, `n = (z_a sqrt(q) + z_b sqrt(q - d^2))^2 / d^2`, for d, where
    q is the share of examples on which the two prompts differ, taken to be 0.2 (a gain of d needs at least q = d). 155
    examples show 0.10. At most 1.0.
    """
    z_a, z_b = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.8)

    def needed(gain: float) -> float:
        q = max(_DISCORDANT, gain)
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


def _newcombe(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return Newcombe's (1998, Statistics in Medicine 17, 2635-2650) interval 10 for the difference of paired shares.

    The distances of the two Wilson intervals from their shares are squared and added, less what the correlation of the
    pairs takes away; a positive correlation is corrected for continuity.
    """
    n, p_before, p_after = len(before), float(before.mean()), float(after.mean())
    (low_before, high_before), (low_after, high_after) = _wilson(p_before, n), _wilson(p_after, n)
    product = n * float(before @ after) - float(before.sum() * after.sum())
    scale = n * n * math.sqrt(p_before * (1 - p_before) * p_after * (1 - p_after))
    phi = (max(0.0, product - n / 2) if product > 0 else product) / scale if scale else 0.0

    def together(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    difference = p_after - p_before
    low = difference - together(p_after - low_after, high_before - p_before)
    return low, difference + together(high_after - p_after, p_before - low_before)


def _bootstrap(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    rng = np.random.default_rng(_SEED)
    n = len(values)
    means = [values[rng.integers(n, size=(rows, n))].mean(axis=1) for rows in _blocks(n)]
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def _sign_flip(gains: npt.NDArray[np.float64]) -> float:
    rng = np.random.default_rng(_SEED)
    n = len(gains)
    # A flip that gives the observed mean may differ from it in the last digit.
    observed = abs(gains.mean()) - 1e-12
    as_extreme = sum(
        int((np.abs((gains * (2 * rng.integers(2, size=(rows, n)) - 1)).mean(axis=1)) >= observed).sum())
        for rows in _blocks(n)
    )
    return (as_extreme + 1) / (_N_RESAMPLES + 1)


def _nearest_not_rejected(gains: npt.NDArray[np.float64]) -> float:
    """Return the difference nearest to 0 that the flips of `_sign_flip` do not reject; it rejects 0 itself.

    A flip is as extreme as the gains observed, if the true difference is that much, from where the difference reaches
    the mean of the flipped gains or that of the others, whichever is nearer to 0 (after Hartigan 1969, on the means of
    subsamples).
    """
    rng = np.random.default_rng(_SEED)
    n, sign = len(gains), math.copysign(1.0, gains.mean())
    towards = sign * gains
    starts = []
    for rows in _blocks(n):
        flipped = rng.integers(2, size=(rows, n))
        count, total = flipped.sum(axis=1), flipped @ towards
        of_flipped, of_others = total / np.maximum(count, 1), (towards.sum() - total) / np.maximum(n - count, 1)
        # With none or all flipped it always is.
        starts.append(np.where(count % n == 0, -np.inf, np.minimum(of_flipped, of_others)))
    return float(sign * np.sort(np.concatenate(starts))[int(_ALPHA * (_N_RESAMPLES + 1)) - 1])


def _blocks(n: int) -> list[int]:
    """Return how many resamples of `n` values to draw at a time, 10,000 together."""
    rows = max(1, min(_N_RESAMPLES, _BLOCK // n))
    full, rest = divmod(_N_RESAMPLES, rows)
    return [rows] * full + ([rest] if rest else [])
