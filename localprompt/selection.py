"""Which prompts go on. Level 4.

Every function here compares prompts on the same examples, and an example that a prompt has been scored on is not paid
for again: the evaluator remembers it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localprompt.problem import size
from localprompt.types import Evaluation, Example, Prompt

Score = Callable[[Sequence[Prompt], Sequence[Example]], list[Evaluation]]
"""Scores prompts on examples, one evaluation a prompt: `Problem.evaluate` or `Problem.likelihood`."""


@dataclass(frozen=True, slots=True)
class Stages:
    """How `filter_in_stages` spends examples."""

    sizes: tuple[int, ...]
    """Fresh examples of each stage."""
    keep: float
    """Share of the prompts that goes on after a stage."""
    finalists: int
    """Prompts left at the end; no stage leaves fewer."""


def rank(evaluations: Sequence[Evaluation]) -> list[Prompt]:
    """Return the prompts, best first: higher mean, then larger mean margin, then shorter, then earlier.

    On a few examples of a task with labels most means are equal; the margin, which is already paid for, tells which
    prompts are right by more.
    """
    return [each.prompt for each in sorted(evaluations, key=_key)]


def filter_in_stages(
    score: Score,
    prompts: Sequence[Prompt],
    examples: Sequence[Example],
    stages: Stages,
    *,
    protected: Sequence[Prompt] = (),
) -> list[Prompt]:
    """Return at most `finalists` of the prompts, best first, spending more examples on the better ones.

    Stage after stage the prompts left are scored on as many further examples as the stage says, taken from the head
    of `examples`; the best share `keep`, but at least `finalists`, goes on by its mean over everything so far. A stage
    that begins beyond the examples is left out, and so is a stage with nothing left to decide. Prompts in `protected`
    are scored in every stage, so that whatever is left was compared with them, but returned only if they rank.

    Source: adaptive filtering, APE (Zhou et al. 2022), which gives neither sizes nor threshold; a share instead
    of a threshold makes the cost known beforehand, as in successive halving (Jamieson & Talwalkar 2016).

    Raises:
        BudgetExhausted: before a stage that does not fit.
    """
    apart = {prompt.id for prompt in protected}
    left, used = [prompt for prompt in prompts if prompt.id not in apart], 0
    for size_of_stage in stages.sizes:
        if used >= len(examples) or len(left) <= stages.finalists:
            break
        used += size_of_stage
        pool = list({prompt.id: prompt for prompt in (*left, *protected)}.values())
        ranked = [prompt for prompt in rank(score(pool, examples[:used])) if prompt.id not in apart]
        left = ranked[: max(stages.finalists, math.ceil(stages.keep * len(left)))]
    return left[: stages.finalists]


def _key(evaluation: Evaluation) -> tuple[float, float, int]:
    margins = [outcome.margin for outcome in evaluation.outcomes if outcome.margin is not None]
    mean_margin = math.fsum(margins) / len(margins) if margins else 0.0
    return -evaluation.mean, -mean_margin, size(evaluation.prompt)
