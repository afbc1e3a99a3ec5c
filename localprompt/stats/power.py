"""Which gain in accuracy a number of examples can show. Level 2, but imports nothing of the project."""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache

import numpy as np
import numpy.typing as npt

_LEVEL = 0.05
_POWER = 0.8
_DISCORDANT = 0.2
"""Share of examples on which two prompts are taken to differ; a larger gain needs at least as many."""
_PRECISION = 1e-4
_FARTHEST = 6.0
"""Standard deviations beyond which a number of examples that differ does not occur."""


def smallest_detectable_gain(n: int) -> float | None:
    """Return the gain in accuracy that exact McNemar's test finds with power 0.8 at two-sided level 0.05.

    None below 6 examples: even where all are gained, p is 0.0625 or more. The two prompts are taken to differ on a
    fifth of the `n` examples, or on as many as the gain where it is larger. The power is that of the test itself, no
    approximation: 155 examples show 0.104, 20 show 0.367.
    """
    if _power(n, 1.0) < _POWER:
        return None
    gains = range(1, round(1 / _PRECISION) + 1)
    place = bisect_left(gains, _POWER, key=lambda gain: _power(n, gain * _PRECISION))
    return round(gains[place] * _PRECISION, 4)


def _power(n: int, gain: float) -> float:
    """Return the probability that the test finds a gain: a sum over how many of `n` examples differ, and which way."""
    differ = max(_DISCORDANT, gain)
    share_lost = (differ - gain) / (2 * differ)
    spread = _FARTHEST * math.sqrt(n * differ * (1 - differ)) + 1
    counts = range(max(0, math.floor(n * differ - spread)), min(n, math.ceil(n * differ + spread)) + 1)
    shares = _binomial(n, np.array(counts), differ)
    return math.fsum(
        share * _binomial(m, np.arange(_most_lost(m) + 1), share_lost).sum()
        for m, share in zip(counts, shares, strict=True)
    )


@cache
def _most_lost(n: int) -> int:
    """Return how many of `n` examples that differ may be lost for a gain to be found; -1 where even 0 are too many."""
    tails = np.cumsum(_binomial(n, np.arange(n // 2 + 1), 0.5))
    return int(np.searchsorted(2 * tails, _LEVEL)) - 1


def _binomial(n: int, counts: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.float64]:
    """Return the probability of each count out of `n`."""
    if share in (0.0, 1.0):
        return np.where(counts == n * share, 1.0, 0.0)
    log_factorials = _log_factorials(n.bit_length())
    log_ways = log_factorials[n] - log_factorials[counts] - log_factorials[n - counts]
    probabilities: npt.NDArray[np.float64] = np.exp(
        log_ways + counts * math.log(share) + (n - counts) * math.log1p(-share)
    )
    return probabilities


@cache
def _log_factorials(n_bits: int) -> npt.NDArray[np.float64]:
    """Return the logarithm of k! for every k of so many bits."""
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, 1 << n_bits)))))
