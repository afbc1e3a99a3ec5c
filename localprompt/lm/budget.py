"""Limits on what a run may spend. Level 3.

Counting is logical: an answer that comes out of a cache costs what it cost when it was computed, so a replayed run
ends where the first one ended. Only minutes depend on the machine: `pause_after` pauses a run, and which calls a
deadline refused is kept, so that a replay refuses the same ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from localprompt.errors import BudgetExhausted, OutOfTime
from localprompt.lm.deadline import Deadline, Work
from localprompt.types import Spend

TIME_IS_OVER = "the time that is left is needed for the final evaluation"


class Budget:
    """What a run may spend and what it has spent; no limit where an argument is None.

    A call is charged in two steps. `reserve` is given the most that the call can cost and refuses it before anything
    is computed; `settle` enters what it did cost. So no limit on calls or tokens is ever exceeded. The minutes are
    asked for apart, by `check_time`, before whatever takes time: an answer that is known takes none.

    Args:
        max_tokens: tokens computed, as `Spend` counts them: each distinct prefix of a call once, and what is drawn.
        max_requested: tokens requested, as one-at-a-time evaluation would decode them; what stored runs may have.
        max_calls: model calls, one for each (prompt, example) evaluated or text asked for.
        pause_after: minutes since this object was made, after which it is out of time.
        deadline: before which everything must be done; it refuses a call that would end too late.
        clock: seconds that only grow.
    """

    def __init__(  # noqa: PLR0913 - a limit each
        self,
        *,
        max_tokens: int | None = None,
        max_requested: int | None = None,
        max_calls: int | None = None,
        pause_after: float | None = None,
        deadline: Deadline | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_tokens = max_tokens
        self._max_requested = max_requested
        self._max_calls = max_calls
        self._pause_after = pause_after
        self.deadline = deadline
        self.pace = deadline
        """Learns how long calls take; one that is set here later refuses none."""
        self._n = 0
        """Calls asked for so far."""
        self._clock = clock
        self._started = clock()
        self._spend = Spend()

    @property
    def counts_requested(self) -> bool:
        """True if `reserve` needs to know how many tokens a call can request."""
        return self._max_requested is not None

    @property
    def is_limited(self) -> bool:
        """True if tokens, calls or the time until the result are limited: the whole of it is there to be spent."""
        limits = (self._max_tokens, self._max_requested, self._max_calls, self.deadline)
        return any(limit is not None for limit in limits)

    @property
    def spend(self) -> Spend:
        """What has been spent so far."""
        return replace(self._spend, seconds=self._clock() - self._started)

    def check_time(self) -> None:
        """Do nothing while there is time.

        Raises:
            OutOfTime: if the minutes are over.
        """
        if self._pause_after is not None and self._clock() - self._started >= self._pause_after * 60:
            raise OutOfTime(f"the {self._pause_after:g} minutes are over")

    def check_deadline(self, work: Work) -> None:
        """Do nothing while there is time for what is computed next.

        Raises:
            BudgetExhausted: if it would not be done before the deadline.
        """
        if self.deadline is not None and not self.deadline.fits(work):
            self.deadline.refused.append(self._n)
            raise BudgetExhausted(TIME_IS_OVER)

    @property
    def n_refused(self) -> int:
        """Calls that the deadline has refused so far."""
        return len(self.deadline.refused) if self.deadline else 0

    def reserve(self, *, calls: int, tokens: int, requested: int = 0) -> None:
        """Enter `calls` if they, `tokens` computed and `requested` tokens at most, fit.

        Raises:
            BudgetExhausted: if they do not; nothing was entered.
        """
        self._n += 1
        if self.deadline is not None and self._n in self.deadline.refused:
            raise BudgetExhausted(TIME_IS_OVER)
        spent = self._spend
        for limit, used, needed, what in (
            (self._max_calls, spent.calls, calls, f"{calls} model calls"),
            (self._max_tokens, spent.tokens_computed, tokens, f"up to {tokens} tokens"),
            (self._max_requested, spent.tokens_requested, requested, f"up to {requested} requested tokens"),
        ):
            if limit is not None and used + needed > limit:
                raise BudgetExhausted(f"the next step needs {what} and {limit - used} of {limit} are left")
        self._spend += Spend(calls=calls)

    def settle(self, cost: Spend) -> None:
        """Enter what a reserved call did cost; its `calls` are negative where some of the reserved were not made."""
        self._spend += cost
