"""When a session has to end, and what still fits before it. Level 3.

The only clock in a decision, and only where the user gave minutes. What it decided is kept with the result, so that the
run can be repeated without it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_DECAY = 0.7
"""Weight of what was learnt before a call, beside that call: a machine gets busy and free again."""
_PRIOR = 1.0
"""Seconds of calls that the measured rates count for, beside what the calls then took."""
_MARGIN = 0.03
"""Share of the minutes that is left free: for closing the model and the store."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a call of a model computes."""

    read: int
    """Tokens of prompts, each distinct prefix once."""
    drawn: int = 0
    """Most tokens that are drawn."""

    def __add__(self, other: Work) -> Work:
        return Work(self.read + other.read, self.drawn + other.drawn)


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a model is on this machine."""

    prefill: float
    """Prompt tokens per second."""
    generation: float
    """Drawn tokens per second, many completions at once."""


UNKNOWN_RATES = Rates(1000.0, 1000.0)
"""Until the first calls have told more."""


class Deadline:
    """The end of a session, and how long a call takes, learnt from the calls before.

    Args:
        minutes: from now until everything must be done.
        clock: seconds that only grow.
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.refused: list[int] = []
        """Calls of the search that would have ended too late, by their numbers from 1 on."""
        self.reserved = Work(0)
        """What must still be computed after the search."""
        self._clock = clock
        self._ends = clock() + minutes * 60 * (1 - _MARGIN)
        self._rates = UNKNOWN_RATES
        self._took, self._expected = _PRIOR, _PRIOR
        self._drawn, self._most = 0.5, 1.0
        """Tokens drawn so far, and how many they could have been."""

    @classmethod
    def repeated(cls, refused: Sequence[int]) -> Deadline:
        """Return the deadline of a run that is repeated: there is time for all but the calls that were refused then."""
        repeated = cls(math.inf)
        repeated.refused += refused
        return repeated

    def begin(self, rates: Rates | None) -> None:
        """Enter how fast the model was measured to be."""
        self._rates = rates or UNKNOWN_RATES

    def reserve(self, work: Work, share: float) -> None:
        """Keep time for what must be computed after the search: for that work, or a share of the time that is left."""
        needed, most = self.seconds(work), share * self.left
        part = 1.0 if needed <= most else most / needed
        self.reserved = Work(int(work.read * part), int(work.drawn * part))

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self._ends - self._clock()

    def seconds(self, work: Work) -> float:
        """Return how long some work will take."""
        drawn = work.drawn * self._drawn / self._most
        return self._at_rates(work.read, drawn) * self._took / self._expected

    def fits(self, work: Work) -> bool:
        """Return whether some work and what is reserved can be done in time."""
        return self.seconds(work) + self.seconds(self.reserved) <= self.left

    def learn(self, read: int, drawn: int, most: int, seconds: float) -> None:
        """Learn from a call that read and drew so many tokens, of at most `most`, in so many seconds."""
        self._took = _DECAY * self._took + seconds
        self._expected = _DECAY * self._expected + self._at_rates(read, drawn)
        self._drawn, self._most = self._drawn + drawn, self._most + most

    def _at_rates(self, read: float, drawn: float) -> float:
        return read / self._rates.prefill + drawn / self._rates.generation
