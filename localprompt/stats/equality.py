"""Whether prompts score the same at all, and which of them do not. Level 2, on its own package alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from localprompt.stats.intervals import Difference, paired_difference
from localprompt.stats.resampling import Values, blocks, measured, sums_of_copies

N_PERMUTATIONS = 2_000
_SEED = 0
"""The same scores have the same p."""
_LEVEL = 0.95
_ROUNDING = 1e-9
"""A permutation that gives the observed statistic may differ from it in the last digits."""


@dataclass(frozen=True, slots=True)
class EqualPrompts:
    """What chance alone gives: the spread and Cochran's Q if the prompts were equal."""

    median: float
    """Spread that equal prompts have half of the time; their scores differ by chance, so it is above 0."""
    quantile: float
    """Spread that equal prompts stay within 95 % of the time: a larger one has p below 0.05, and no other."""
    p: float
    """Share of permutations with the spread observed or a larger one, the observed order counted as one of them."""
    q: float
    """Cochran's Q of the scores observed."""
    freedom: int
    """Variants minus 1: the mean of Q for equal prompts."""
    p_of_q: float
    """As `p`, of Q."""


def equal_prompts(
    scores: npt.ArrayLike, copies: Sequence[int] | None = None, n_permutations: int = N_PERMUTATIONS
) -> EqualPrompts:
    """Return the permutation null of the spread and Cochran's Q with p-values.

    If wordings do not matter, the scores of one example could as well have come in any other order of the variants. So
    each example's scores are permuted over the variants, all copies of an example alike, `n_permutations` times with a
    fixed seed (Fisher 1935; Pitman 1938), and spread and Q are taken again. Nothing is assumed about how the scores of
    different examples are distributed.

    Cochran's Q = K (K - 1) sum_k (T_k - T / K)^2 / sum_i (K sum_k x_ki^2 - R_i^2) (Biometrika 37, 1950), with the
    totals T_k of variants, R_i of examples and T of all. It is Cochran's for scores of 0 and 1. For others it is
    Friedman's statistic of the scores instead of their ranks. Both are chi-squared with K - 1 degrees of freedom for
    many examples. Q is 0 where no example's scores differ, and so for a single variant.

    Args:
        scores: variants x examples, in [0, 1].
        copies: one an example; examples with the same number are copies of each other.
        n_permutations: at least 1.

    Raises:
        ValueError: if there are no scores, one lies outside [0, 1], or `copies` has another length.
    """
    values = measured(scores)
    n_variants, n = values.shape
    sums, _ = sums_of_copies(values, copies)
    totals, drawn = sums.sum(axis=1), _permuted_totals(sums, n_permutations)
    within = n_variants * (sums**2).sum() - (sums.sum(axis=0) ** 2).sum()
    q = n_variants * (n_variants - 1) * _between(totals) / within if within > _ROUNDING else 0.0
    spreads = np.append(np.ptp(drawn, axis=1), np.ptp(totals))  # with it p < 0.05 is a spread above the quantile
    low, high = np.quantile(spreads, (0.5, _LEVEL), method="inverted_cdf") / n
    return EqualPrompts(
        float(low), float(high), _p(spreads), float(q), n_variants - 1, _p(np.append(_between(drawn), _between(totals)))
    )


def p_of_spreads(first: npt.ArrayLike, second: npt.ArrayLike, copies: Sequence[int] | None = None) -> float:
    """Return how often the spreads of one set of prompts, scored in two ways, lie as far apart by chance alone.

    If both ways move alike, the scores of an example could as well be the other way's. So they change sides, all
    variants and copies of an example together, with a fixed seed, and the difference of the spreads is taken again; p
    is two-sided, and the difference observed is counted as one. What a way adds to all scores of an example changes
    nothing.

    Args:
        first: variants x examples, in [0, 1].
        second: the same variants and examples.
        copies: one an example; examples with the same number are copies of each other.

    Raises:
        ValueError: if there are no scores, one lies outside [0, 1], or `copies` has another length.
    """
    one, other = (sums_of_copies(measured(each), copies)[0] for each in (first, second))
    n = one.shape[1]
    sides = np.vstack((np.random.default_rng(_SEED).choice((-1.0, 1.0), (N_PERMUTATIONS, n)), np.ones(n)))
    totals, moved = (one + other).sum(axis=1), sides @ (one - other).T
    return _p(np.abs(np.ptp(totals + moved, axis=1) - np.ptp(totals - moved, axis=1)))


def _permuted_totals(sums: Values, n_permutations: int) -> Values:
    """Return the variants' totals, a row a permutation. Examples whose scores do not differ need no permuting."""
    differ = np.ptp(sums, axis=0) > 0
    fixed, moving = sums[0, ~differ].sum(), np.ascontiguousarray(sums[:, differ].T)
    rng = np.random.default_rng(_SEED)
    drawn = [
        rng.permuted(np.broadcast_to(moving, (rows, *moving.shape)), axis=2).sum(axis=1)
        for rows in blocks(n_permutations, max(1, moving.size))
    ]
    totals: Values = fixed + np.concatenate(drawn)
    return totals


def _between(totals: Values) -> Values:
    squares: Values = ((totals - totals.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    return squares


def _p(statistics: Values) -> float:
    """Return the share of statistics that are as large as the last one, the observed, itself among them."""
    return float((statistics >= statistics[-1] - _ROUNDING).mean())


@dataclass(frozen=True, slots=True)
class FromOriginal:
    """A variant's score minus the original's, with the p-value of this pair and that adjusted for all pairs."""

    difference: Difference
    adjusted_p: float
    """After Holm: where it is below 0.05 for some pairs, all of these differ but for one time in 20."""


def differences_from_original(scores: npt.ArrayLike, copies: Sequence[int] | None = None) -> tuple[FromOriginal, ...]:
    """Return the paired difference of each variant but the first to the first, the original, in their order.

    p is exact McNemar for scores of 0 and 1, else of flipped signs (see `paired_difference`), adjusted by Holm.

    Raises:
        ValueError: if there are no scores, or one lies outside [0, 1].
    """
    original, *others = measured(scores).tolist()
    differences = [paired_difference(original, other, copies) for other in others]
    adjusted = holm([each.p for each in differences])
    return tuple(FromOriginal(*each) for each in zip(differences, adjusted, strict=True))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted for how many there are, in their order (Holm 1979, Scand. J. Statist. 6).

    The smallest of m is multiplied by m, the next by m - 1 and so on; none gets below a smaller one's or above 1.
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted
