"""How far scores move by themselves. Level 7.

The kernels of a quantised model round a little differently in another batch, so a score measured again beside other
requests may differ. A difference on test below that floor says nothing, whatever its p.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from localprompt.run.results import NoiseFloor
from localprompt.types import Evaluation, Example, Prompt

Measure = Callable[[Sequence[Prompt], Sequence[Example]], list[Evaluation]]


def measure_noise(
    measure: Measure, examples: Sequence[Example], known: Sequence[Evaluation], most: int | None = None
) -> NoiseFloor:
    """Return the noise floor: the prompts measured again, all in one call.

    So most of them are in another batch than before: one that was first measured alone now has neighbours. Measured
    again alone it would repeat its numbers to the last digit and say nothing.

    Args:
        measure: returns prompts on as many of the examples as there is time for, by a model that does not know the
            answers of `known`.
        examples: those that were measured, in an order of chance; others are passed over.
        known: how they were measured first, in whatever batch; at least one.
        most: examples that are measured, the first of them; None: no limit.
    """
    ids = {outcome.example_id for before in known for outcome in before.outcomes}
    measured = [example for example in examples if example.id in ids][:most]
    again = measure([before.prompt for before in known], measured)
    floor, changed, n = 0.0, 0, 0
    for before, after in zip(known, again, strict=True):
        scores = {outcome.example_id: outcome.score for outcome in before.outcomes}
        changes = [outcome.score - scores[outcome.example_id] for outcome in after.outcomes]
        changed += sum(change != 0 for change in changes)
        floor, n = max(floor, abs(math.fsum(changes)) / len(changes)), n + len(changes)
    return NoiseFloor(floor, changed, n)
