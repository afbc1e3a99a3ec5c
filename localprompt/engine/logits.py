"""Sums over a row of logits. Level 2.

A row has 150,000 numbers and more. Memory of that size goes back to the system and comes again, page by page, each time
it is asked for, which takes longer than the arithmetic: so there is one buffer, and what uses it is called from one
thread.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def logsumexp(row: NDArray[np.float32]) -> float:
    """Return log sum exp of a row of logits, summed in float64."""
    return float(row.max()) + float(np.log(weights_of(row).sum(dtype=np.float64)))


def weights_of(row: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    """Return exp((logit - largest) / temperature) of each logit; valid until the next call of either function."""
    weights: NDArray[np.float32] = np.subtract(row, row.max(), out=_buffer(len(row)))
    if temperature != 1:
        weights /= np.float32(temperature)
    np.exp(weights, out=weights)
    return weights


@lru_cache(maxsize=1)
def _buffer(n: int) -> NDArray[np.float32]:
    return np.empty(n, np.float32)
