"""What prompts get wrong on training examples, for methods that learn from errors. Level 6."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from localprompt.proposals.metaprompts import beside, set_off
from localprompt.search.problem import Problem
from localprompt.types import Example, Outcome, Prompt

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Case:
    """How a prompt did on one training example."""

    example: Example
    outcome: Outcome

    @property
    def is_error(self) -> bool:
        """True unless the score is full: with a metric such as F1 few answers score exactly 0."""
        return self.outcome.score < 1.0

    def given(self, chars: int, none: str) -> str:
        """Return all that the model wrote, shortened to `chars` characters; `none` where that is nothing."""
        return set_off(self.outcome.written or none, chars)

    def right(self, chars: int, most: int = 1) -> str:
        """Return at most so many of the right answers, each shortened to `chars` characters."""
        first, *others = (set_off(target, chars) for target in self.example.targets[:most])
        joint = "\nor" if any("\n" in target for target in (first, *others)) else " or"
        return first + "".join(beside(joint, target) for target in others)


def cases(problem: Problem, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[list[Case]]:
    """Return how each prompt did on each example, in the order of both.

    Left out are examples that the model could not be asked, such as those too long for its context: what is shown of
    them would look like a wrong answer.

    Raises:
        BudgetExhausted: before anything is computed.
    """
    everything = [map(Case, examples, each.outcomes) for each in problem.evaluate(prompts, examples)]
    return [[case for case in of_prompt if not case.outcome.failed] for of_prompt in everything]


def deal(orders: Iterator[Sequence[_T]], size: int, n: int) -> list[list[_T]]:
    """Return `n` batches of `size` different things, or of all where there are fewer; each once before any comes again.

    Args:
        orders: yields the same things, in the order in which they are dealt from now on, each time that none is left.
        size: of a batch.
        n: how many.
    """
    left = list(next(orders))
    size, batches = min(size, len(left)), []
    for _ in range(n):
        batch, left = left[:size], left[size:]
        if (missing := size - len(batch)) > 0:
            again = [each for each in next(orders) if each not in batch]
            batch, left = [*batch, *again[:missing]], again[missing:]
        batches.append(batch)
    return batches
