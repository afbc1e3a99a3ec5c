"""More evidence for the last choice: contenders measured on rows of train that the search did not use. Level 5.

The best of many on a few dev rows is ahead partly by luck, and those rows cannot tell. Rows that had no part in the
search can: in simulations of 20 to 60 dev rows, 60 more of the best three and the seed gain more on test than any rule
for the same rows does, and halve the losses (benchmarks/winner_rules.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from localprompt.search.evaluator import Evaluator
from localprompt.search.problem import Problem
from localprompt.search.ranking import Standing
from localprompt.tasks.copies import inputs_of
from localprompt.types import Evaluation, Example, Prompt

Measure = Callable[[Sequence[Prompt], Sequence[Example]], list[Evaluation]]
"""Returns prompts on as many of the examples, from the first on, as there is time for."""
MOST_OTHERS = 3
"""Contenders beside the seed."""
MOST_ROWS = 60
"""Unused rows for each of them."""


def on_unseen_rows(
    problem: Problem, evaluator: Evaluator, contenders: Sequence[Standing], measure: Measure, most: int = MOST_ROWS
) -> list[Evaluation]:
    """Return the contenders' scores on at most `most` rows of `Problem.unseen`, by `measure`; same order.

    Empty where there are fewer than two contenders or no such rows. Not counted are rows that one of them shows as a
    worked example, and those that do not fit the context with one of them.
    """
    prompts = [each.candidate.prompt for each in contenders]
    shown = {tuple(sorted(demo.inputs.items())) for prompt in prompts for demo in prompt.demos}
    fitting = (
        row
        for row in problem.shuffled(problem.unseen)
        if inputs_of(row) not in shown and all(evaluator.fits(prompt, row) for prompt in prompts)
    )
    rows = list(islice(fitting, most)) if len(prompts) > 1 else []
    return measure(prompts, rows) if rows else []


def joined(contenders: Sequence[Standing], more: Sequence[Evaluation]) -> list[Standing]:
    """Return the contenders with what is known of them on dev and on other rows."""
    both = []
    for each, further in zip(contenders, more, strict=True):
        before = each.evaluation.outcomes if each.evaluation else ()
        both.append(replace(each, evaluation=replace(further, outcomes=(*before, *further.outcomes))))
    return both
