"""Other worked examples: which, how many, in which order. Level 6."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, zip_longest

from localprompt.proposals.similarity import words
from localprompt.search.observer import pluralize
from localprompt.tasks.copies import inputs_of
from localprompt.types import Demo, Example
from localprompt.variants.variant import Origin, Variant

_NUMBERS = (4, 1, 2, 3)
"""Worked examples of a prompt that has none, in the order in which they are tried."""
_DRAWS = 4
"""Sets and orders that are drawn for each one that is wanted: some are too long, or there already."""
_TOO_LONG = 100
"""So many sets that do not fit are enough to know that there is no room."""
_REASONED = 2
"""Words more than the longest answer has are reasoning."""
_Shown = tuple[str, tuple[Demo, ...]]
"""What is different, and the examples."""


class Examples:
    """A prompt with other worked examples from train, none of them a copy of a row."""

    name = "examples"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return variants with other examples and other orders by turns; none where the layout shows no examples.

        Only sets that fit the context are shown. Examples that reason, with outputs far longer than train's, are put in
        other orders but not exchanged for some without reasoning.
        """
        if not origin.task.layout.has_demos:
            return []
        alone, rng = replace(origin.prompt, demos=()), origin.rng(self.name)
        found, too_long = {origin.prompt.id: Variant(self.name, "", origin.prompt, origin.task)}, 0
        for change, demos in _sets(origin, rng, most * _DRAWS):
            if len(found) > most or too_long > _TOO_LONG:
                break
            prompt = replace(alone, demos=demos)
            if prompt.id in found:
                continue
            if origin.problem.demos_that_fit(alone, demos) == len(demos):
                found[prompt.id] = Variant(self.name, change, prompt, origin.task)
            else:
                too_long += 1
        return list(found.values())[1:]


def _sets(origin: Origin, rng: random.Random, n: int) -> Iterator[_Shown]:
    demos, pool = origin.prompt.demos, _pool(origin)
    if demos:
        exchanged = _drawn(pool, [len(demos)], rng, n) if _is_plain(origin) else iter(())
        turns = zip_longest(exchanged, _orders(demos, rng, n))
        return (each for turn in turns for each in turn if each is not None)
    sets = list(_drawn(pool, _NUMBERS, rng, n))
    # The order of the first set is as telling as another set.
    first = sets[0][1] if sets else ()
    orders = ((f"set 1: {change}", demos) for change, demos in _orders(first, rng, n))
    rest = zip_longest(sets[len(_NUMBERS) :], orders)
    return chain(sets[: len(_NUMBERS)], (each for turn in rest for each in turn if each is not None))


def _pool(origin: Origin) -> list[Example]:
    """Return the train examples that have an answer and are no copies of rows, or of each other."""
    rows = {inputs_of(row) for row in origin.task.test}
    different = {inputs_of(example): example for example in origin.problem.train}
    return [example for inputs, example in different.items() if inputs not in rows and example.targets[0]]


def _drawn(pool: Sequence[Example], sizes: Sequence[int], rng: random.Random, n: int) -> Iterator[_Shown]:
    """Yield sets of these sizes, those of one deal nested; different answers take turns."""
    for deal in range(1, n + 1 if pool else 1):
        nth = Counter[str]()
        turns = list[tuple[int, Example]]()
        for example in rng.sample(pool, len(pool)):
            answer = example.targets[0]
            turns.append((nth[answer], example))
            nth[answer] += 1
        dealt = [Demo(each.inputs, each.targets[0]) for _, each in sorted(turns, key=lambda turn: turn[0])]
        for size in sizes:
            if size <= len(dealt):
                yield f"{pluralize(size, 'worked example')}, set {deal}", tuple(dealt[:size])


def _orders(demos: Sequence[Demo], rng: random.Random, n: int) -> Iterator[_Shown]:
    yield "the same worked examples backwards", tuple(reversed(demos))
    for number in range(1, n):
        yield f"the same worked examples in another order ({number})", tuple(rng.sample(demos, len(demos)))


def _is_plain(origin: Origin) -> bool:
    """Return whether the outputs shown are bare answers, about as long as those of train."""
    longest = max((len(words(target)) for example in origin.problem.train for target in example.targets), default=0)
    return all(len(words(demo.output)) <= longest + _REASONED for demo in origin.prompt.demos)
