"""Limits on what a run may spend. Level 3: imports types and errors only.

Counting is logical: an answer that comes out of a cache costs what it cost when it was computed, so a replayed run
ends where the first one ended. Only the limit in minutes depends on the machine: it pauses a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from localprompt.errors import BudgetExhausted, OutOfTime
from localprompt.types import Spend


class Budget:
    """What a run may spend and what it has spent; no limit where an argument is None.

    A call is charged in two steps. `reserve` is given the most that the call can cost and refuses it before anything
    is computed; `settle` enters what it did cost. So no limit on calls or tokens is ever exceeded. The minutes are
    asked for apart, by `check_time`, before whatever takes time: an answer that is known takes none.

    Args:
        max_tokens: tokens requested, prompts and completions together, as one-at-a-time evaluation would decode them.
        max_calls: model calls, one for each (prompt, example) evaluated or text asked for.
        max_minutes: minutes since this object was made.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        *,
        max_tokens: int | None = None,
        max_calls: int | None = None,
        max_minutes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_tokens = max_tokens
        self._max_calls = max_calls
        self._max_minutes = max_minutes
        self._clock = clock
        self._started = clock()
        self._spend = Spend()

    @property
    def counts_tokens(self) -> bool:
        """True if `reserve` needs to know how many tokens a call can cost."""
        return self._max_tokens is not None

    @property
    def is_limited(self) -> bool:
        """True if tokens or calls are limited: the whole of them is there to be spent."""
        return self._max_tokens is not None or self._max_calls is not None

    @property
    def spend(self) -> Spend:
        """What has been spent so far."""
        return replace(self._spend, seconds=self._clock() - self._started)

    def check_time(self) -> None:
        """Do nothing while there is time.

        Raises:
            OutOfTime: if the minutes are over.
        """
        if self._max_minutes is not None and self._clock() - self._started >= self._max_minutes * 60:
            raise OutOfTime(f"the {self._max_minutes:g} minutes are over")

    def reserve(self, *, calls: int, tokens: int) -> None:
        """Enter `calls` if they and at most `tokens` tokens fit.

        Raises:
            BudgetExhausted: if they do not; nothing was entered.
        """
        spent = self._spend
        if self._max_calls is not None and spent.calls + calls > self._max_calls:
            left = self._max_calls - spent.calls
            raise BudgetExhausted(f"the next step needs {calls} model calls and {left} of {self._max_calls} are left")
        if self._max_tokens is not None and spent.tokens_requested + tokens > self._max_tokens:
            left = self._max_tokens - spent.tokens_requested
            raise BudgetExhausted(
                f"the next step needs up to {tokens} tokens and {left} of {self._max_tokens} are left"
            )
        self._spend += Spend(calls=calls)

    def settle(self, cost: Spend) -> None:
        """Enter what a reserved call did cost; its `calls` are negative where some of the reserved were not made."""
        self._spend += cost
