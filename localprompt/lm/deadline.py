"""When a session has to end, and what still fits before it. Level 3.

The only clock in a decision, and only where the user gave minutes. What it decided is kept with the result, so that the
run can be repeated without it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from localprompt.engine.settings import EngineSettings

AT_ONCE = 32
"""Completions by which the rate of generation is measured."""
_LANES = EngineSettings().lanes
_DECAY = 0.7
"""Weight of what was learnt before a call, beside that call: a machine gets busy and free again."""
_PRIOR = 1.0
"""Seconds of calls that the measured rates count for, beside what the calls then took."""
_MARGIN = 0.03
"""Share of the minutes that is left free: for closing the model and the store."""
AFTER_SEARCH = 0
"""Number of the call that measures, after a search, what it had no room for."""
_DRAWN = 0.5
"""Part of its most tokens that a completion draws, until such completions were seen."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a call of a model computes."""

    model: str
    """Its fingerprint."""
    read: int
    """Tokens of prompts, each distinct prefix once."""
    n: int = 0
    """Completions."""
    each: int = 0
    """Most tokens that each of them draws."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a model is on this machine."""

    prefill: float
    """Prompt tokens per second."""
    generation: float
    """Drawn tokens per second, `AT_ONCE` completions at once."""
    single: float | None = None
    """The same of one completion by itself, which reads all weights for each token; None: as fast."""

    def seconds(self, read: float, drawn: float, decodes: float) -> float:
        """Return how long it takes to read so many tokens and to draw so many in so many decodes.

        A decode costs something, and each token of it: both follow from the rates of one and of many at once.
        """
        of_one = 1 / (self.single or self.generation)
        per_decode = max(0.0, (of_one - 1 / self.generation) * AT_ONCE / (AT_ONCE - 1))
        per_token = max(0.0, 1 / self.generation - per_decode / AT_ONCE)
        return read / self.prefill + decodes * per_decode + drawn * per_token


def decodes_of(drawn: float, n: int) -> float:
    """Return the decodes in which `n` completions draw so many tokens together, by turns where the lanes are fewer.

    One where there are none: scores need a decode too, whose cost is in the rate of reading where a batch is full.
    """
    return drawn / min(n, _LANES) if n else 1.0


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
        """Calls of the search that would have ended too late, by their numbers from 1 on, and `AFTER_SEARCH`."""
        self._clock = clock
        self._ends = clock() + minutes * 60 * (1 - _MARGIN)
        self._reserved: Sequence[Work] = ()
        self._most = 0.0
        """Seconds that are kept for it at most."""
        self._rates: dict[str, Rates] = {}
        self._pace: dict[str, tuple[float, float]] = {}
        """Model to the seconds that its calls took, and would have taken at its rates."""
        self._lengths: dict[int, float] = {}
        """Most tokens of completions to the mean of what they drew."""

    @classmethod
    def repeated(cls, refused: Sequence[int]) -> Deadline:
        """Return the deadline of a run that is repeated: there is time for all but the calls that were refused then."""
        repeated = cls(math.inf)
        repeated.refused += refused
        return repeated

    def expect(self, rates: Mapping[str, Rates], lengths: Mapping[int, float]) -> None:
        """Enter how fast models were measured to be, and how many tokens completions of at most so many draw."""
        self._rates.update(rates)
        self._lengths.update(lengths)

    def reserve(self, works: Sequence[Work], share: float) -> None:
        """Keep time for what comes after the search: at most a share of what is left now, however slow things get."""
        self._reserved, self._most = works, share * max(0.0, self.left)

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self._ends - self._clock()

    @property
    def left_for_search(self) -> float:
        """Seconds until what is reserved must begin."""
        return self.left - min(self._most, math.fsum(map(self.seconds, self._reserved)))

    def seconds(self, work: Work) -> float:
        """Return how long some work will take."""
        took, expected = self._pace.get(work.model, (_PRIOR, _PRIOR))
        drawn = work.n * self._lengths.get(work.each, _DRAWN * work.each)
        return self._at_rates(work, drawn) * took / expected

    def fits(self, work: Work) -> bool:
        """Return whether some work and what is reserved can be done in time."""
        return self.seconds(work) <= self.left_for_search

    def learn(self, work: Work, drawn: float, seconds: float) -> None:
        """Learn from a call that did some work, drew so many tokens, and took so many seconds."""
        took, expected = self._pace.get(work.model, (_PRIOR, _PRIOR))
        self._pace[work.model] = _DECAY * took + seconds, _DECAY * expected + self._at_rates(work, drawn)
        if work.n:
            mean = drawn / work.n
            self._lengths[work.each] = (self._lengths.get(work.each, mean) + mean) / 2

    def _at_rates(self, work: Work, drawn: float) -> float:
        rates = self._rates.get(work.model, UNKNOWN_RATES)
        return rates.seconds(work.read, drawn, decodes_of(drawn, work.n))
