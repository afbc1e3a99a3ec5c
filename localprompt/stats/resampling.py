"""Means over examples drawn again: how far a measure without an exact interval moves with the examples. Level 2.

Imports nothing of the project. Copies of an example are drawn together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_SEED = 0
"""The same scores have the same interval."""
_N_RESAMPLES = 2_000
_BLOCK = 1_000_000
"""Numbers drawn at once: a bound on memory."""
_MOST_KEPT = 1_000
"""Examples up to which the samples are kept for the next measure: 16 MB."""
_OUTSIDE = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure with its 95 % bootstrap interval over examples, percentiles (Efron 1979).

    It has no width where the examples do not differ: then they do not show how far others may lie.
    """

    value: float
    low: float | None
    """None for a single example and its copies."""
    high: float | None


def measured(scores: npt.ArrayLike) -> Values:
    """Return scores as a table of variants x examples.

    Raises:
        ValueError: if there are no variants or no examples, or a score lies outside [0, 1].
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"scores form a table of variants and examples, at least one each, not {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("scores lie in [0, 1]")
    return values


def sums_of_copies(values: Values, copies: Sequence[int] | None) -> tuple[Values, Values]:
    """Return the sum over the copies of each different example, and how many copies that is.

    Args:
        values: any number of rows, a column an example.
        copies: one an example; examples with the same number are copies of each other.

    Raises:
        ValueError: if there is not one number an example.
    """
    n = values.shape[1]
    if copies is None:
        return values, np.ones(n)
    if len(copies) != n:
        raise ValueError(f"{len(copies)} numbers of copies for {n} examples")
    _, which, sizes = np.unique(np.asarray(copies), return_inverse=True, return_counts=True)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    return np.add.reduceat(values[:, np.argsort(which, kind="stable")], starts, axis=1), sizes.astype(np.float64)


def resampled_means(values: Values, copies: Sequence[int] | None) -> Values:
    """Return the means of the rows of `values` on 2,000 seeded samples of as many examples, a row a sample."""
    sums, sizes = sums_of_copies(values, copies)
    columns, draw = np.vstack((sums, sizes)).T, _kept_samples if len(sizes) <= _MOST_KEPT else _samples
    totals = np.concatenate([drawn @ columns for drawn in draw(len(sizes))])
    means: Values = totals[:, :-1] / totals[:, -1:]
    return means


def _samples(n: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield how often each of `n` examples is in each sample, blocks of samples x examples."""
    rng = np.random.default_rng(_SEED)
    for rows in blocks(_N_RESAMPLES, n):
        yield rng.multinomial(n, np.full(n, 1 / n), size=rows)


@lru_cache(maxsize=2)
def _kept_samples(n: int) -> tuple[npt.NDArray[np.int64], ...]:
    return tuple(_samples(n))


def estimate(value: float, resampled: Values, n_different: int) -> Estimate:
    """Return a measure with its interval, given what it is on each sample of that many different examples."""
    if n_different < 2 or not len(resampled):
        return Estimate(value, None, None)
    low, high = np.quantile(resampled, _OUTSIDE)
    return Estimate(value, min(float(low), value), max(float(high), value))


def mean_of(values: Values, copies: Sequence[int] | None) -> Estimate:
    """Return the mean of one value an example."""
    resampled = resampled_means(values[None], copies)[:, 0]
    return estimate(float(values.mean()), resampled, n_different(len(values), copies))


def n_different(n: int, copies: Sequence[int] | None) -> int:
    """Return how many of `n` examples are no copies of one before."""
    return n if copies is None else len(set(copies))


def blocks(n_rows: int, width: int) -> Iterator[int]:
    """Yield how many rows of that width are worked on at once, until all are."""
    rows = max(1, _BLOCK // width)
    for start in range(0, n_rows, rows):
        yield min(rows, n_rows - start)
