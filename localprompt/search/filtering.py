"""Which prompts go on: stages that spend more examples on the better ones. Level 5.

Every function here compares prompts on the same examples, and an example that a prompt has been scored on is not paid
for again: the evaluator remembers it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from localprompt.errors import BudgetExhausted, Unscored
from localprompt.search.problem import Problem
from localprompt.search.ranking import best_first, merit, search_key
from localprompt.types import Evaluation, Example, Prompt

Score = Callable[[Sequence[Prompt], Sequence[Example]], list[Evaluation]]
"""Scores prompts on examples, one evaluation per prompt: `Problem.evaluate` or `Problem.likelihood`."""


@dataclass(frozen=True, slots=True)
class Stages:
    """How `filter_in_stages` spends examples."""

    sizes: tuple[int, ...]
    """Fresh examples of each stage."""
    keep: float
    """Share of the prompts that goes on after a stage."""
    finalists: int
    """Prompts left at the end; no stage leaves fewer."""
    tiebreak: Score | None = None
    """Decides between prompts that are equal where a stage cuts; not with a model that tells no likelihoods."""
    order: Callable[[Evaluation], tuple[float, ...]] = search_key
    """What decides in a stage, lower first."""


def measure_best_first(problem: Problem, prompts: Sequence[Prompt]) -> list[Evaluation]:
    """Return the task's metric on all of dev, same order and length as `prompts`, which are given best first.

    They are measured one after the other, each in a call of its own: a budget ends between two calls, so that one
    with room for a single prompt still measures the best, and what was measured before the end can win. A prompt that
    is known on all of dev costs nothing, and neither does one given twice.

    Raises:
        BudgetExhausted: before the first prompt that does not fit.
    """
    return [problem.evaluate([prompt])[0] for prompt in prompts]


def spend_remaining(problem: Problem) -> None:
    """Measure the most promising prompts on all of dev, one after the other, with what the budget has left.

    For a search that the budget cut off: the call that did not fit may have been a large one, and of its last prompts
    only scores on a few examples are known. Where nothing but what the search began with was scored, everything is
    first, on as many of 8, 4, 2 or 1 examples as the budget allows.

    Raises:
        BudgetExhausted: before the first prompt that does not fit.
    """
    ranking = problem.ranking
    new = [each.prompt for each in ranking.candidates if each.prompt not in problem.seeds]
    if len(ranking.candidates) > 1 and not any(map(ranking.knows, new)):
        _compare_on_few(problem)
    while promising := ranking.most_promising():
        problem.evaluate([promising])


def _compare_on_few(problem: Problem) -> None:
    prompts, dev = [candidate.prompt for candidate in problem.ranking.candidates], problem.shuffled(problem.dev)
    for n in (8, 4, 2, 1):
        try:
            problem.evaluate(prompts, dev[:n])
        except BudgetExhausted:
            continue
        return


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
    of `examples`; the best share `keep`, but at least `finalists`, goes on by its mean over everything so far, and
    after the last stage just `finalists`. A stage that begins beyond the examples is left out, and so is a stage with
    nothing left to decide; prompts that no stage saw are returned as given. Prompts in `protected` are scored in every
    stage, so that whatever is left was compared with them, and never returned.
    Where equal prompts lie on both sides of a cut, `stages.tiebreak` scores them on the same examples and the higher
    go on: on a few examples of a task where one must guess the words of the answer, all means may be 0.

    Source: adaptive filtering, APE (Zhou et al. 2022), which gives neither sizes nor threshold; a share instead
    of a threshold makes the cost known beforehand, as in successive halving (Jamieson & Talwalkar 2016).

    Raises:
        BudgetExhausted: before a stage that does not fit.
    """
    apart = {prompt.id for prompt in protected}
    left, used = [prompt for prompt in prompts if prompt.id not in apart], 0
    for number, size_of_stage in enumerate(stages.sizes, start=1):
        if used >= len(examples) or len(left) <= stages.finalists:
            break
        used += size_of_stage
        pool = list({prompt.id: prompt for prompt in (*left, *protected)}.values())
        evaluations = [each for each in score(pool, examples[:used]) if each.prompt.id not in apart]
        is_last = number == len(stages.sizes) or used >= len(examples)
        places = stages.finalists if is_last else max(stages.finalists, math.ceil(stages.keep * len(left)))
        left = _first(evaluations, places, stages, examples[:used])
    return left[: stages.finalists]


def _first(evaluations: Sequence[Evaluation], places: int, stages: Stages, examples: Sequence[Example]) -> list[Prompt]:
    """Return the first `places` prompts by rank, those equal to the last of them put in the order of the tiebreak."""
    ordered, tiebreak = sorted(evaluations, key=stages.order), stages.tiebreak
    if tiebreak is None or len(ordered) <= places or merit(ordered[places]) != merit(ordered[places - 1]):
        return [each.prompt for each in ordered[:places]]
    tied = [each for each in ordered if merit(each) == merit(ordered[places])]
    above = [each.prompt for each in ordered[: ordered.index(tied[0])]]
    with suppress(Unscored):
        tied = tiebreak([each.prompt for each in tied], examples)
    return [*above, *best_first(tied)][:places]
