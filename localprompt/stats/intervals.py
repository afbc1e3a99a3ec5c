"""How sure a measured score is. Level 2, but imports nothing of the project beside its own package.

All intervals are two-sided at 95 %, from one example on. Written out here and not taken from scipy.stats, whose import
alone takes a second; the tests compare with scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from localprompt.stats.bounded import lower_bound

_Values = npt.NDArray[np.float64]

_ALL_FLIPS = 20
"""Up to so many examples every flip of signs is looked at."""
_N_FLIPS = 10_000
"""Beyond that so many drawn ones."""
_BLOCK = 1_000_000
"""Signs held at once: a bound on memory."""
_SEED = 0
"""The same scores have the same p."""
ALPHA = 0.05
"""A difference that is less probable than this by chance alone is taken to be shown."""
Z = NormalDist().inv_cdf(1 - ALPHA / 2)
"""Standard errors within which a normal mean lies 95 times in 100."""
_ROUNDING = 1e-12
"""A flip that gives the observed mean may differ from it in the last digits."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean score with its 95 % interval over examples."""

    mean: float
    low: float
    high: float
    n: int
    """Examples, copies too."""


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
    """Pairs, copies too."""


def interval(scores: Sequence[float], copies: Sequence[int] | None = None) -> Interval:
    """Return the mean of scores in [0, 1] with a 95 % interval for the mean of many more.

    For scores of 0 and 1 it is Clopper and Pearson's, for others Gaffke's, which is the same there (see bounded.py).
    Neither asks for many examples or for scores that differ: one score of 0.5 has [0.0125, 0.9875].

    Args:
        scores: one an example.
        copies: same order and length; examples with the same number are copies of each other and count as one.

    Raises:
        ValueError: if there are no scores, or one lies outside [0, 1].
    """
    values, largest = _independent(_scores(scores), np.ones(len(scores)), copies)
    low, high = _bounds(values, 0.0, largest)
    mean = math.fsum(scores) / len(scores)
    return Interval(mean, min(low, mean), max(min(high, 1.0), mean), len(scores))


def paired_difference(
    baseline: Sequence[float],
    found: Sequence[float],
    copies: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
) -> Difference:
    """Return how much better `found` is than `baseline` on the same examples.

    The interval is Gaffke's for gains that are at least -1 and at most 1. For scores of 0 and 1 p is exact McNemar (a
    sign test on the pairs that differ), for others a permutation test that flips signs: all flips of up to 20 examples,
    of more 10,000 drawn ones and the observed one.

    Interval and p never disagree: p < 0.05 exactly where the interval leaves out 0. For scores of 0 and 1 the two are
    one: Gaffke's bound reaches 0 where McNemar's p reaches 0.05. For others the test decides. Where it finds no
    difference, the interval is extended to 0; where it finds one and the interval does not, the interval ends at the
    difference nearest to 0 that the same flips do not reject. That end assumes what the test does: without a
    difference, a gain and a loss of one size are equally likely. Where most gains are small losses and a few are large,
    it can leave out the true mean more often than 5 times in 100 (docs/methods/shared.md has figures).

    Args:
        baseline: scores in [0, 1], one an example.
        found: same order and length.
        copies: same order and length; examples with the same number are copies of each other and count as one.
        weights: same order and length, 1 on average; all equal by default.

    Raises:
        ValueError: if the lengths differ or are 0, or a score lies outside [0, 1].
    """
    before, after = _scores(baseline), _scores(found)
    if len(before) != len(after):
        raise ValueError(f"paired scores need the same length, not {len(before)} and {len(after)}")
    weighting = np.ones(len(before)) if weights is None else np.asarray(weights, dtype=np.float64)
    gains, largest = _independent(after - before, weighting, copies)
    low, high = _bounds(gains, -largest, largest)
    mean = float(gains.mean())
    if bool(np.isin(gains, (-1.0, 0.0, 1.0)).all()) and largest == 1:
        p = exact_mcnemar(int((gains > 0).sum()), int((gains < 0).sum()))
    else:
        p = _sign_flip(gains)
    if p >= ALPHA:
        low, high = min(low, 0.0), max(high, 0.0)
    elif low <= 0 <= high:
        nearest = _nearest_not_rejected(gains)
        low, high = (nearest, high) if mean > 0 else (low, nearest)
    return Difference(mean, min(max(low, -1.0), mean), max(min(high, 1.0), mean), p, len(before))


def exact_mcnemar(n_gained: int, n_lost: int) -> float:
    """Return the two-sided exact p-value for examples gained and lost; 1.0 where nothing changed."""
    n, k = n_gained + n_lost, min(n_gained, n_lost)
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, 2 * tail / (1 << n))


def differ_by_chance(first: Interval, second: Interval) -> bool:
    """Return whether two means over different examples are within 1.96 standard errors of each other.

    The standard errors are read off the intervals' widths.
    """
    errors = [(each.high - each.low) / (2 * Z) for each in (first, second)]
    return abs(first.mean - second.mean) <= Z * math.hypot(*errors)


def _scores(scores: Sequence[float]) -> _Values:
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no scores")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("scores lie in [0, 1]: of nats, which have no least value, no mean is sure")
    return values


def _independent(values: _Values, weights: _Values, copies: Sequence[int] | None) -> tuple[_Values, float]:
    """Return one value for all copies of an example, and what the largest of these would be if all values were 1.

    The mean of what is returned is the weighted mean of `values`.
    """
    _, which = np.unique(np.arange(len(values)) if copies is None else np.asarray(copies), return_inverse=True)
    n, n_independent = len(values), which.max() + 1
    sums, most = np.bincount(which, weights * values), np.bincount(which, weights).max()
    return sums * n_independent / n, float(most * n_independent / n)


def _bounds(values: _Values, least: float, largest: float) -> tuple[float, float]:
    return lower_bound(values, least, ALPHA / 2), -lower_bound(-values, -largest, ALPHA / 2)


def _sign_flip(gains: _Values) -> float:
    _, flipped = _flips(gains)
    total = gains.sum()
    observed = abs(total) - _ROUNDING * np.abs(gains).sum()
    return float((np.abs(total - 2 * flipped) >= observed).mean())


def _nearest_not_rejected(gains: _Values) -> float:
    """Return the difference nearest to 0 that the flips of `_sign_flip` do not reject; it rejects 0 itself.

    A flip is as extreme as the gains observed, if the true difference is that much, from where the difference reaches
    the mean of the flipped gains or that of the others, whichever is nearer to 0 (after Hartigan 1969, on the means of
    subsamples).
    """
    n, sign = len(gains), math.copysign(1.0, gains.mean())
    counts, flipped = _flips(sign * gains)
    total = np.abs(gains.sum())
    nearer = np.minimum(flipped / np.maximum(counts, 1), (total - flipped) / np.maximum(n - counts, 1))
    # With none or all flipped it always is.
    starts = np.sort(np.where(counts % n == 0, -np.inf, nearer))
    return float(sign * starts[math.ceil(ALPHA * len(starts)) - 1])


def _flips(gains: _Values) -> tuple[npt.NDArray[np.int64], _Values]:
    """Return of each flip of signs how many gains it flips, and their sum. The first one flips none."""
    n = len(gains)
    counts, sums = np.zeros(1, dtype=np.int64), np.zeros(1)
    if n <= _ALL_FLIPS:
        for gain in gains:
            counts, sums = np.concatenate((counts, counts + 1)), np.concatenate((sums, sums + gain))
        return counts, sums
    rng, rows = np.random.default_rng(_SEED), max(1, min(_N_FLIPS, _BLOCK // n))
    while len(counts) <= _N_FLIPS:
        drawn = rng.integers(2, size=(min(rows, _N_FLIPS + 1 - len(counts)), n))
        counts, sums = np.concatenate((counts, drawn.sum(axis=1))), np.concatenate((sums, drawn @ gains))
    return counts, sums
