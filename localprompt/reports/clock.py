"""When a search was where: seconds by tokens. Level 9."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from localprompt.store.records import Mark


class Clock:
    """Seconds of model calls by tokens computed, over all sessions of a run."""

    def __init__(self, marks: Iterable[Mark]) -> None:
        ordered = sorted(set(marks), key=lambda mark: (mark.tokens, mark.seconds))
        self._tokens = [mark.tokens for mark in ordered]
        self._seconds = list(accumulate((mark.seconds for mark in ordered), max))

    def at(self, tokens: int | None) -> float | None:
        """Return the seconds when so many tokens were computed; None where that is not known."""
        if tokens is None or not self._tokens:
            return None
        place = bisect_right(self._tokens, tokens)
        return self._seconds[place - 1] if place else 0.0
