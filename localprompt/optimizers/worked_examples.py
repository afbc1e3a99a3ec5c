"""Worked examples as a part of candidates: sets from train, raced on dev with and without the seeds. Level 6.

For a small model a few solved rows often say more than any instruction. Every method begins with the best of them
beside the seeds, so that what it writes has to be better than that, and new instructions keep their parent's examples.

1. Deal `SETS` orders of train in which the answers take turns; each order gives nested sets, so that the examples of
   the shorter are read with those of the longer.
2. Put each set behind each seed's instruction, and behind none. Only what fits the context takes part.
3. Race all on growing subsets of dev; the `KEPT` best are measured on all of it by the method.

Where answers are reasoned out, an example shows the model's own reasoning that led to the right answer (bootstrapped
demonstrations of DSPy, Khattab et al. 2024, arXiv 2310.03714); one without would teach it not to reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Annotated, Literal

from localprompt.optimizers.settings import Must
from localprompt.proposals.similarity import words
from localprompt.search.filtering import Stages, filter_in_stages
from localprompt.search.problem import Problem
from localprompt.types import Candidate, Demo, Example, Outcome, Prompt

Shots = Annotated[
    Literal["auto"] | int, Must("auto, or a whole number of at least 0", lambda value: value == "auto" or value >= 0)
]
"""Worked examples per candidate. `auto`: the number that is best on dev. A number: that many. 0: only a seed's own."""

SETS = 4
"""Orders in which train is dealt."""
KEPT = 2
"""Prompts with examples that a method begins with beside the seeds."""
_LEAST, _MOST = 4, 8
"""Of the smaller set of `auto`, which has each answer once if that is possible; the larger is twice as large."""
_STAGES = (8, 16)
"""Fresh dev examples of each stage of the race."""
_BOOTSTRAPPED = 24
"""Train examples that are answered to find reasoning to show."""
_REASONED = 3
"""Words by which a completion must be longer than its answer to be reasoning."""


def starts(problem: Problem, shots: Literal["auto"] | int, dev: Sequence[Example] | None = None) -> list[Prompt]:
    """Return what a method begins with: the seeds, then the best of their versions with worked examples, recorded.

    Only the seeds where `shots` is 0, the layout has no place for examples, none fits, or there is no train split.

    Args:
        problem: its train examples are shown, never those of dev.
        shots: how many; a seed that has some keeps them and gets none.
        dev: in the order in which the race sees it; by default in one of chance.

    Raises:
        BudgetExhausted: before the call of the race that does not fit.
    """
    bare = [seed for seed in problem.seeds if not seed.demos]
    if shots == 0 or not problem.train or not bare:
        return list(problem.seeds)
    dev = problem.shuffled(problem.dev) if dev is None else dev
    parents = list({prompt.id: prompt for prompt in (*bare, Prompt(""))}.values())
    sizes = _sizes(problem, shots)
    pool = _shown(problem, bare[0], dev)
    dealt = [list(_in_turn(problem, pool))[: max(sizes)] for _ in range(SETS)]
    versions: dict[str, Candidate] = {}
    for parent in parents:
        for demos in dealt:
            room = problem.demos_that_fit(parent, demos)
            for size in sizes:
                if n := min(size, room, len(demos)):
                    version = replace(parent, demos=tuple(demos[:n]))
                    versions[version.id] = Candidate(version, "examples", (parent.id,), is_proposed=False)
    if not versions:
        return list(problem.seeds)
    problem.record(list(versions.values()))
    stages = Stages(_STAGES, 1 / 3, KEPT, problem.likelihood)
    prompts = [candidate.prompt for candidate in versions.values()]
    return [*problem.seeds, *filter_in_stages(problem.evaluate, prompts, dev, stages)]


def _sizes(problem: Problem, shots: Literal["auto"] | int) -> tuple[int, ...]:
    if shots != "auto":
        return (int(shots),)
    least = min(max(_LEAST, len(problem.outputs)), _MOST)
    return least, 2 * least


def _shown(problem: Problem, seed: Prompt, dev: Sequence[Example]) -> list[Demo]:
    """Return the train examples as they are shown: as in the data or, where the model reasons, as it came to them."""
    (first,) = problem.evaluate([seed], dev[: _STAGES[0]])
    if sum(map(_is_reasoned, first.outcomes)) * 2 <= len(first.outcomes):
        return [Demo(example.inputs, example.targets[0]) for example in problem.train]
    examples = problem.minibatch(_BOOTSTRAPPED)
    (evaluation,) = problem.evaluate([seed], examples)
    return [
        Demo(example.inputs, (outcome.completion or "").strip())
        for example, outcome in zip(examples, evaluation.outcomes, strict=True)
        if outcome.score == 1.0 and _is_reasoned(outcome)
    ]


def _is_reasoned(outcome: Outcome) -> bool:
    """Return whether the model wrote clearly more than its answer."""
    answer = outcome.prediction or ""
    return outcome.completion is not None and len(words(outcome.completion)) >= len(words(answer)) + _REASONED


def _in_turn(problem: Problem, demos: Sequence[Demo]) -> Iterator[Demo]:
    """Yield demos in an order of chance in which different answers take turns while there are any left."""
    groups: defaultdict[str, list[Demo]] = defaultdict(list)
    for demo in problem.rng.sample(demos, len(demos)):
        groups[demo.output if problem.outputs else ""].append(demo)
    for each in zip_longest(*groups.values()):
        turn = [demo for demo in each if demo is not None]
        yield from problem.rng.sample(turn, len(turn))
