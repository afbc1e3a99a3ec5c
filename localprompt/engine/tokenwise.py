"""Log-probabilities of single tokens, with the most probable ones in their places. Level 2, runs in the worker.

prompts        what a model thinks of each token of a text: one walk over the tree of all requests, as `score`
completions    the same of each token drawn, as it is drawn
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localprompt.engine.engine import Engine, Progress, ScoreRequest, logsumexp
from localprompt.engine.plan import NOTHING, Held
from localprompt.engine.sampling import Sampler
from localprompt.types import Sampling

TokenLogprob = tuple[int, float, list[tuple[int, float]]]
"""A token, its log-probability in nats, and the most probable tokens in its place with theirs, the best first."""

_NEXT = -1
"""Stands behind the tokens of a request for the one that is to be drawn there; it is never decoded."""


@dataclass(frozen=True, slots=True)
class TokenwiseRequest:
    """The log-probability wanted of each of `tokens` but the first, after those before it."""

    tokens: tuple[int, ...]
    n_top: int
    """Most probable tokens wanted in each place."""
    sampling: Sampling | None = None
    """How one more token is drawn behind them; None: none is."""
    seed: int = 0


def tokenwise(
    engine: Engine, requests: Sequence[TokenwiseRequest], progress: Progress = lambda *_: None, held: Held = NOTHING
) -> list[list[TokenLogprob]]:
    """Return the log-probabilities of each request's tokens from the second on, same order and length as `requests`.

    Where a request wants a token drawn, its list is longer by that one, which may be one that ends a text. What is held
    is left alone, see `Engine.score`.
    """
    behind = [(_NEXT,) if request.sampling else () for request in requests]
    wanted = [ScoreRequest((*r.tokens, *more), 1) for r, more in zip(requests, behind, strict=True)]
    found: list[list[TokenLogprob]] = [[] for _ in requests]
    for row, targets in engine.rows(wanted, progress, held):
        judge = Judge(row, max(requests[number].n_top for number, _ in targets))
        for number, token in targets:
            request = requests[number]
            if token == _NEXT and request.sampling:
                token = Sampler(request.sampling, request.seed).draw(row)  # noqa: PLW2901 - the one that stood for it
            found[number].append(judge.of(token, request.n_top))
    return found


class Judge:
    """Log-probabilities in one row of logits.

    Args:
        row: logits, shape (n_vocab,); not changed.
        n_top: most probable tokens that will be asked for, at most.
    """

    def __init__(self, row: NDArray[np.float32], n_top: int) -> None:
        self._row = row
        self._lse = logsumexp(row)
        self._top = [(int(token), float(row[token]) - self._lse) for token in _largest(row, n_top)]

    def of(self, token: int, n_top: int) -> TokenLogprob:
        """Return the log-probability of a token, with the `n_top` most probable ones."""
        return token, float(self._row[token]) - self._lse, self._top[:n_top]


def _largest(row: NDArray[np.float32], n: int) -> NDArray[np.intp]:
    """Return the places of the `n` largest values, the largest first; of equals, the first."""
    if n == 0:
        return np.empty(0, np.intp)
    if n == 1:
        return np.array([row.argmax()])
    n = min(n, len(row))
    bound = np.partition(row, len(row) - n)[len(row) - n]
    places = np.flatnonzero(row >= bound)
    return places[np.argsort(-row[places], kind="stable")][:n]
