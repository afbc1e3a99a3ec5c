"""How far scores move by themselves, and which prompts cannot be told apart then. Level 6.

The kernels of a quantised model round a little differently in another batch, so a score measured again in other company
may be another one. A difference below that floor says nothing. Nor does one within a standard error, where the prompt
that is ahead is the best of many: from hand-written seeds, ten such prompts were 0.015 worse on test on average.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from localprompt.budget import Budget
from localprompt.evaluator import Evaluator
from localprompt.lm.base import LanguageModel
from localprompt.results import NoiseFloor
from localprompt.standings import Standing, preference
from localprompt.tasks import Task
from localprompt.types import Evaluation

_ROUNDING = 1e-9
"""Of sums of floats; no difference of means is as small."""


def measure_noise(lm: LanguageModel, task: Task, known: Sequence[Evaluation], budget: Budget) -> NoiseFloor:
    """Return the noise floor: the prompts measured again, all in one call.

    So most of them are in other company than before: one that was first measured alone now has neighbours. Measured
    again alone it would repeat its numbers to the last digit and say nothing.

    Args:
        lm: must not know the answers of `known`.
        task: whose dev examples were measured.
        known: how they were measured first, in whatever company; at least one.
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


def best_beyond_noise(
    finalists: Sequence[Standing], floor: float, copies: Mapping[str, int] = MappingProxyType({})
) -> Standing:
    """Return the winner: first who is ahead of the seed is asked, then who is the shortest of them.

    Ahead of the best seed is a prompt whose mean gain is above both the noise `floor` and the standard error of the
    paired difference (the one-standard-error rule of Breiman et al. 1984, the simplest model here being the one that is
    there already). Of those ahead the winner is the shortest, of equals the earliest, that is at most `floor` below the
    best of them. Where nobody is ahead the best seed stays.

    The order matters: the shortest of all that noise cannot tell from the best may itself not be ahead of the seed, and
    comparing only that one would throw away a longer prompt that is.

    Args:
        finalists: scored, as those of `Problem.finalists` are, and at least one.
        floor: the noise floor.
        copies: example id to a number that its copies share; they count as one example for the standard error.
    """
    seed = min((each for each in finalists if each.candidate.op == "seed"), key=preference, default=None)
    ahead = [each for each in finalists if seed is None or _is_ahead(each, seed, floor, copies)]
    if not ahead:
        assert seed is not None  # without a seed everybody is ahead
        return seed
    enough = max(each.mean for each in ahead) - floor - _ROUNDING
    return min((each for each in ahead if each.mean >= enough), key=preference)


def _is_ahead(standing: Standing, seed: Standing, floor: float, copies: Mapping[str, int]) -> bool:
    """Return whether the gain over the seed, on the examples that both were given, is above noise and its error."""
    assert standing.evaluation is not None
    assert seed.evaluation is not None
    before = {outcome.example_id: outcome.score for outcome in seed.evaluation.outcomes}
    common = [outcome for outcome in standing.evaluation.outcomes if outcome.example_id in before]
    gains: dict[object, list[float]] = {}
    for outcome in common:
        which = copies.get(outcome.example_id, outcome.example_id)
        gains.setdefault(which, []).append(outcome.score - before[outcome.example_id])
    n = len(gains)
    if n < 2:  # one example has no standard error and shows nothing
        return False
    # Each example has the weight of its copies, as in the mean.
    parts = [math.fsum(each) * n / len(common) for each in gains.values()]
    return statistics.fmean(parts) > max(floor, statistics.stdev(parts) / math.sqrt(n)) + _ROUNDING
