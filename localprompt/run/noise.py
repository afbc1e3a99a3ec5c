"""How far scores move by themselves. Level 7.

The kernels of a quantised model round a little differently in another batch, so a score measured again beside other
requests may differ. A difference below that floor says nothing; what else a winner needs is in `search/ranking.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.run.results import NoiseFloor
from localprompt.search.evaluator import Evaluator
from localprompt.tasks import Task
from localprompt.types import Evaluation


def measure_noise(lm: LanguageModel, task: Task, known: Sequence[Evaluation], budget: Budget) -> NoiseFloor:
    """Return the noise floor: the prompts measured again, all in one call.

    So most of them are in another batch than before: one that was first measured alone now has neighbours. Measured
    again alone it would repeat its numbers to the last digit and say nothing.

    Args:
        lm: must not know the answers of `known`.
        task: whose dev examples were measured.
        known: how they were measured first, in whatever batch; at least one.
        budget: what is spent is charged to it.
    """
    ids = {outcome.example_id for before in known for outcome in before.outcomes}
    examples = [example for example in task.dev if example.id in ids]
    again = Evaluator(lm, task, budget).evaluate([before.prompt for before in known], examples)
    floor, changed, n = 0.0, 0, 0
    for before, after in zip(known, again, strict=True):
        scores = {outcome.example_id: outcome.score for outcome in after.outcomes}
        changes = [scores[outcome.example_id] - outcome.score for outcome in before.outcomes]
        changed += sum(change != 0 for change in changes)
        floor, n = max(floor, abs(math.fsum(changes)) / len(changes)), n + len(changes)
    return NoiseFloor(floor, changed, n)
