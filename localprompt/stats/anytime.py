"""What a search is worth wherever it is stopped. Level 2, but imports nothing of the project."""

from __future__ import annotations

from collections.abc import Iterable


def area_under_best_so_far(start: float, steps: Iterable[tuple[int, float]], limit: int) -> float:
    """Return the mean, over a budget of `limit` tokens, of the score of the best prompt so far.

    A step function: `start` until the first step, then each step's score until the next one, and the last one's to
    the end of the budget, whether it was spent or not. So a search that finds early is worth more than one that finds
    late, and one that ends early loses nothing. Two searches compare only with equal limits.

    Args:
        start: score of the prompt that the search began with.
        steps: (tokens requested until then, score of the best prompt from then on); tokens never fall. A score may: a
            search that chooses on few examples takes a worse prompt for a better one now and then.
        limit: tokens; at least 1.

    Raises:
        ValueError: if the limit is less than 1 or tokens fall.
    """
    if limit < 1:
        raise ValueError(f"a budget has at least one token, not {limit}")
    area, since, score = 0.0, 0, start
    for tokens, next_score in steps:
        until = min(tokens, limit)
        if until < since:
            raise ValueError(f"a step at {tokens} tokens after one at {since}")
        area += score * (until - since)
        since, score = until, next_score
    return (area + score * (limit - since)) / limit
