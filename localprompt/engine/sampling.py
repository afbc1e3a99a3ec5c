"""From logits to a token. Level 1.

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

    Order of the cuts: temperature, then top-k, top-p, min-p, each on what the one before left.
    """

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self._sampling = sampling
        self._rng = np.random.Generator(np.random.PCG64(seed & 0xFFFF_FFFF_FFFF_FFFF))

    def draw(self, logits: NDArray[np.float32]) -> int:
        """Return a token id; `logits` has shape (n_vocab,) and is not changed. Greedy at temperature 0."""
        s = self._sampling
        if s.temperature == 0:
            return int(logits.argmax())
        u = self._rng.random()
        if s.top_p == 1 and s.min_p == 0 and s.top_k == 0:
            scaled = (logits - logits.max()) / np.float32(s.temperature)
            return _invert(np.exp(scaled), u)
        tokens, p, total = self._candidates(logits)
        n = len(p)
        if s.top_p < 1:  # the smallest set whose mass reaches top_p
            n = int(np.searchsorted(np.cumsum(p, dtype=np.float64), s.top_p * total)) + 1
        if s.min_p > 0:
            n = min(n, int(np.count_nonzero(p >= s.min_p)))
        return int(tokens[_invert(p[: max(n, 1)], u)])

    def _candidates(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32], float]:
        """Return the tokens that can survive the cuts, their weights, and the mass that top-p refers to.

        Tokens come in falling order of their logit, equal logits by falling id; the first has weight 1. Sorting
        150,000 logits would cost more than computing them, so only a window below the best one is sorted, widened
        until it is wide enough.
        """
        s = self._sampling
        weights = np.exp((logits - logits.max()) / np.float32(s.temperature))
        total = float(weights.sum(dtype=np.float64))
        window = np.flatnonzero(weights >= (s.min_p or 1.0))
        bound = 1e-2
        while not self._suffices(weights, window, total):
            window = np.flatnonzero(weights >= bound)
            bound = bound * 1e-2 if bound > 1e-30 else 0.0
        order = window[np.argsort(weights[window], kind="stable")[::-1]]
        if s.top_k:
            order = order[: s.top_k]
            total = float(weights[order].sum(dtype=np.float64))
        return order, weights[order], total

    def _suffices(self, weights: NDArray[np.float32], window: NDArray[np.intp], total: float) -> bool:
        s = self._sampling
        if len(window) == len(weights) or (s.min_p > 0 and not s.top_k and s.top_p == 1):
            return True
        if s.top_k:
            return len(window) >= s.top_k
        return float(weights[window].sum(dtype=np.float64)) >= s.top_p * total


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
