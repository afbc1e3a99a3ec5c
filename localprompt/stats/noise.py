"""How far a score moves when the same prompt is measured again in other batches. Level 2, on its own package alone.

Quantised kernels round differently in batches of another composition, so near-ties between answers may change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from localprompt.stats.resampling import measured, sums_of_copies
from localprompt.stats.seeds import t_quantile
from localprompt.stats.sensitivity import agreement

_MOST_FREEDOM = 1_000
"""With more degrees Student's t is the normal one."""


@dataclass(frozen=True, slots=True)
class NoiseBand:
    """What batches alone change."""

    half_width: float
    """Two measurements of equal prompts differ by at most this in 95 % of cases; 0 where no score changed."""
    changed: float
    """Share of answers that differ between two measurements."""


def noise_band(scores: npt.ArrayLike, answers: npt.ArrayLike, copies: Sequence[int] | None = None) -> NoiseBand:
    """Return the noise band of a mean score, from one prompt measured R times in other batches.

    Half-width = t sqrt(2 V) / N with V = sum_i v_i, where v_i is the variance of example i over the measurements,
    divisor R - 1. Examples are taken to change independently of each other. t is the 97.5 % quantile of Student's
    distribution with 2 V^2 / sum_i v_i^2 degrees of freedom (after Satterthwaite 1946): two for each example that
    changed if all changed alike, since few changes say little about how many there will be next time.

    Args:
        scores: measurements x examples, in [0, 1].
        answers: their codes; the same code is the same answer.
        copies: one an example; examples with the same number are copies of each other and change together.

    Raises:
        ValueError: if there are fewer than two measurements, a score lies outside [0, 1], or lengths differ.
    """
    values = measured(scores)
    codes = np.asarray(answers, dtype=np.int64)
    if len(values) < 2 or codes.shape != values.shape:
        raise ValueError("noise shows between two measurements or more, with scores and answers of the same examples")
    sums, _ = sums_of_copies(values, copies)
    variances = sums.var(axis=0, ddof=1)
    total, squares = float(variances.sum()), float((variances**2).sum())
    changed = float(1 - agreement(codes).mean())
    if squares == 0:
        return NoiseBand(0.0, changed)
    # From 2 on; the last digits must not make it 1.
    freedom = min(_MOST_FREEDOM, max(2, int(2 * total**2 / squares)))
    return NoiseBand(min(1.0, t_quantile(freedom) * math.sqrt(2 * total) / values.shape[1]), changed)


def p_of_changes(share: float, n: int, changed: float, repeats: int) -> float:
    """Return how often at least that share of `n` answers changes if they change no more than in other batches.

    Fisher's exact test, one-sided, against a share `changed` of the `n` answers in each of `repeats` measurements: that
    few of these changed, or none, does not show that none ever will.
    """
    least, known = round(share * n), round(changed * n * repeats)
    total, rest = least + known, n * (repeats + 1) - least - known
    ways = sum(math.comb(total, k) * math.comb(rest, n - k) for k in range(least, min(n, total) + 1))
    return ways / math.comb(total + rest, n)
