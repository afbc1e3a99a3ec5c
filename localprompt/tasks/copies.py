"""Which examples are copies of each other: a model answers them alike, so they are one piece of evidence. Level 3."""

from __future__ import annotations

from collections.abc import Sequence

from localprompt.types import Example


def numbered(examples: Sequence[Example]) -> tuple[int, ...]:
    """Return a number for each example, same order and length; those with the same inputs have the same one."""
    numbers: dict[tuple[tuple[str, str], ...], int] = {}
    return tuple(numbers.setdefault(inputs_of(example), len(numbers)) for example in examples)


def n_different(examples: Sequence[Example]) -> int:
    """Return how many of the examples have inputs of their own, copies counted once."""
    return len(set(numbered(examples)))


def inputs_of(example: Example) -> tuple[tuple[str, str], ...]:
    """Return slot names and texts in one order: what a model sees of the example."""
    return tuple(sorted(example.inputs.items()))
