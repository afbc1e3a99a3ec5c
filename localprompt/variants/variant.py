"""A prompt asked in another way, and what makes such variants. Level 6."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from localprompt.search.problem import Problem
from localprompt.tasks import Task
from localprompt.types import Prompt


@dataclass(frozen=True, slots=True)
class Variant:
    """One prompt as it is asked: the original or another way to say the same."""

    family: str
    """Name of the family that made it; `original` for the prompt itself."""
    change: str
    """What is different, for people: `without 'classify'`, `"Input:" in capitals`."""
    prompt: Prompt
    task: Task
    """How it is asked: layout, labels, sampling, and as `test` the rows as the variant shows them, with the ids and in
    the order of the original's."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Its answers to those of the original, where they differ, such as other label words; others mean themselves."""
    answer_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The same by example id, where it differs from row to row, such as letters of options in another order."""
    span: tuple[int, int] | None = None
    """Where the original's instruction was changed, first character and the one behind the last, of one-word edits."""
    seed: int = 0
    """Of the completions, where they are not greedy."""

    def meaning(self, example_id: str, answer: str) -> str:
        """Return an answer in the words of the original."""
        return self.answer_of.get(example_id, self.outputs).get(answer, answer)


@dataclass(frozen=True, slots=True)
class Origin:
    """What variants are made of."""

    prompt: Prompt
    task: Task
    """How the prompt is asked; its `test` holds the rows on which variants are measured, and they may be looked at
    only to show them in another way."""
    problem: Problem
    """Train examples, the closed set of outputs, and the proposer for families that have a model write."""
    seed: int = 0

    def rng(self, family: str) -> random.Random:
        """Return the chance of a family: the same seed gives the same variants, whatever other families do."""
        return random.Random(f"{self.seed} {family}")


class Family(Protocol):
    """A kind of change that should not matter. Your own family is any object with these two members."""

    @property
    def name(self) -> str:
        """One word, lower case."""
        ...

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return at most `most` different variants, the most telling first; none where the change does not apply.

        Raises:
            BudgetExhausted: if a model is asked and there is no budget left.
        """
        ...
