"""What a request asks of the engine, item by item. Level 9."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from localprompt.errors import WorkerDied
from localprompt.types import Sampling


class RequestDied(WorkerDied):
    """The engine, or the vocabulary, dies of one request, again and again."""


@dataclass(frozen=True, slots=True)
class Score:
    """The log-probability of `tokens[start:]` after `tokens[:start]`; answered with (nats, tokens, greedy, failed)."""

    tokens: Sequence[int]
    start: int


@dataclass(frozen=True, slots=True)
class Read:
    """The log-probability of each token but the first, and of one drawn behind them; answered with their records."""

    tokens: Sequence[int]
    n_top: int
    sampling: Sampling | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Write:
    """A completion; answered with news of it, the last of which has a finish reason."""

    tokens: Sequence[int]
    sampling: Sampling
    seed: int
    n_top: int | None = None
    is_streamed: bool = False


Item = Score | Read | Write


@dataclass(eq=False, slots=True)
class Job:
    """The items of one request. `tell` is called by the thread of the dispatcher.

    Args:
        name: of the request, for messages.
        client: who asked; clients take turns.
        items: what is asked.
        tell: is told the number of an item and its answer, or the error that it has for one.
    """

    name: str
    client: str
    items: Sequence[Item]
    tell: Callable[[int, Any], None]
    is_cancelled: bool = field(default=False, init=False)
    """True once nobody waits."""

    def cancel(self) -> None:
        """Nobody waits any more: what has not begun does not, and completions end at the next step."""
        self.is_cancelled = True
