"""From logits to a token. Level 2.

One draw costs one uniform number of the request's own generator, so a completion depends on its seed and on its own
logits, never on what is generated beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from localprompt.types import Sampling

_BLOCK = 512


class Sampler:
    """Draws the tokens of one completion.

    Order of the cuts: what a grammar allows, then temperature, top-k, top-p, min-p, each on what the one before left.
    """

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self._sampling = sampling
        self._rng = np.random.Generator(np.random.PCG64(seed & 0xFFFF_FFFF_FFFF_FFFF))

    def draw(self, logits: NDArray[np.float32], allowed: NDArray[np.intp] | None = None) -> int:
        """Return a token id; greedy at temperature 0.

        Args:
            logits: shape (n_vocab,); not changed.
            allowed: ids of the tokens to draw from, at least one, rising; None for the whole vocabulary.
        """
        if allowed is None:
            return self._index(logits)
        return int(allowed[self._index(logits[allowed])])

    def _index(self, logits: NDArray[np.float32]) -> int:
        s = self._sampling
        if s.temperature == 0:
            return int(logits.argmax())
        u = self._rng.random()
        weights = logits - logits.max()
        weights /= np.float32(max(s.temperature, 1e-30))  # what is colder draws the same, and may be 0 in 32 bits
        np.exp(weights, out=weights)
        if s.top_p == 1 and s.min_p == 0 and s.top_k == 0:
            return _invert(weights, u)
        kept = self._kept(weights)
        return int(kept[_invert(weights[kept], u)])

    def _kept(self, weights: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the tokens that survive the cuts, by rising id; the largest weight is 1, of equals the first stay.

        Sorting 150,000 weights would cost more than computing them, so only a window of the largest is sorted, widened
        until the cuts lie in it. The mass that top-p refers to is always that of all tokens.
        """
        s = self._sampling
        bound = s.min_p or 1e-2
        total = 0.0 if s.top_k or s.top_p == 1 else float(weights.sum())  # numpy adds pairwise: right to 1e-6
        while True:
            window = np.flatnonzero(weights >= bound)
            values = np.sort(weights[window])[::-1]
            if len(window) == len(weights) or self._suffices(values, total):
                break
            bound = bound * 1e-2 if bound > 1e-30 else 0.0
        n = min(s.top_k or len(values), len(values))
        if s.top_p < 1:  # the smallest set whose mass reaches top_p
            mass = np.cumsum(values[:n], dtype=np.float64)
            n = min(n, int(np.searchsorted(mass, s.top_p * (total or mass[-1]))) + 1)
        if s.min_p > 0:
            n = max(1, min(n, int(np.count_nonzero(values >= s.min_p))))
        kept: NDArray[np.intp] = window[weights[window] >= values[n - 1]]
        if surplus := len(kept) - n:
            return np.delete(kept, np.flatnonzero(weights[kept] == values[n - 1])[-surplus:])
        return kept

    def _suffices(self, values: NDArray[np.float32], total: float) -> bool:
        """Return whether the cuts lie among these largest weights."""
        s = self._sampling
        if s.min_p > 0 and not (s.top_k and s.top_p < 1):
            return True  # the window begins at min-p, and nothing below it is kept
        if s.top_k:
            return len(values) >= s.top_k
        return float(values.sum(dtype=np.float64)) >= s.top_p * total


def _invert(weights: NDArray[np.floating], u: float) -> int:
    """Return the index at which the cumulative distribution of unnormalised weights passes u in [0, 1).

    First the block of 512 in which it does, then the place in the block: a running sum over a whole vocabulary would
    cost a tenth of the decoding beside it.
    """
    edges = np.arange(0, len(weights), _BLOCK)
    mass = np.cumsum(np.add.reduceat(weights, edges, dtype=np.float64))
    point = u * mass[-1]
    block = min(int(np.searchsorted(mass, point, side="right")), len(mass) - 1)
    before = mass[block - 1] if block else 0.0
    inside = before + np.cumsum(weights[edges[block] : edges[block] + _BLOCK], dtype=np.float64)
    return int(edges[block]) + min(int(np.searchsorted(inside, point, side="right")), len(inside) - 1)
