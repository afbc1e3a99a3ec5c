"""How far scores move by themselves, and which prompts cannot be told apart then. Level 6.

The kernels of a quantised model round a little differently in another batch, so a score measured again in other company
may be another one. A difference below that floor says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from localprompt.budget import Budget
from localprompt.evaluator import Evaluator
from localprompt.lm.base import LanguageModel
from localprompt.problem import Standing, size
from localprompt.results import NoiseFloor
from localprompt.tasks import Task
from localprompt.types import Evaluation

_ROUNDING = 1e-9
"""Of sums of floats; no difference of means is as small."""


def measure_noise(lm: LanguageModel, task: Task, known: Sequence[Evaluation]) -> NoiseFloor:
    """Return the noise floor: each prompt measured again on its examples, in a call of its own.

    Args:
        lm: must not know the answers of `known`.
        task: whose dev examples were measured.
        known: how they were measured first, in whatever company; at least one.
    """
    floor, changed, n = 0.0, 0, 0
    for before in known:
        ids = {outcome.example_id for outcome in before.outcomes}
        examples = [example for example in task.dev if example.id in ids]
        (after,) = Evaluator(lm, task, Budget()).evaluate([before.prompt], examples)
        scores = {outcome.example_id: outcome.score for outcome in after.outcomes}
        changed += sum(scores[outcome.example_id] != outcome.score for outcome in before.outcomes)
        floor, n = max(floor, abs(after.mean - before.mean)), n + len(before.outcomes)
    return NoiseFloor(floor, changed, n)


def best_beyond_noise(finalists: Sequence[Standing], floor: float) -> Standing:
    """Return the shortest, of equals the earliest, of the prompts whose mean lies no more than `floor` below the best.

    Prompts without a score take no part where there is one with a score.
    """
    means = [each.evaluation.mean for each in finalists if each.evaluation is not None]
    if not means:
        return finalists[0]
    enough = max(means) - floor - _ROUNDING
    tied = [each for each in finalists if each.evaluation is not None and each.evaluation.mean >= enough]
    return min(tied, key=lambda each: size(each.candidate.prompt))
