"""Bandits over prompts. Level 4. An arm is a prompt, a pull scores it on a few further examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from localprompt.problem import size
from localprompt.selection import Score
from localprompt.types import Evaluation, Example, Prompt


@dataclass(slots=True)
class _Arm:
    prompt: Prompt
    scores: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return math.fsum(self.scores) / len(self.scores)


@dataclass(frozen=True, slots=True)
class UpperConfidence:
    """UCB1 (Auer et al. 2002) over prompts, as in APE's `bandits.py`.

    Differs: an arm that was never pulled comes first instead of counting as mean 0, which beats every log-probability;
    the bonus is in units of the spread of the scores, so that it fits nats as well as scores in [0, 1]; the examples
    are common to all arms.
    """

    rounds: int
    """Rounds after the first, in which every arm is pulled."""
    per_round: int
    """Arms pulled in a round."""
    per_pull: int
    """Examples a pull."""
    exploration: float
    """Weight of the bonus."""

    def rank(self, score: Score, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Prompt]:
        """Return the prompts, best mean first, having spent more examples on the promising ones.

        Each round pulls the arms with the highest `mean + exploration * spread * sqrt(ln(N) / n)`, where n and N count
        the examples of the arm and of all arms and the spread is the largest difference between two scores so far.
        A pull goes on where the arm stands in the one order of `examples`, so arms pulled equally often are compared
        on the same ones. An arm that has seen all examples is not pulled again.

        Raises:
            BudgetExhausted: before a pull that does not fit.
        """
        arms = [_Arm(prompt) for prompt in prompts]
        _pull(arms, score, examples, self.per_pull)
        for _ in range(self.rounds):
            open_arms = [arm for arm in arms if len(arm.scores) < len(examples)]
            if not open_arms:
                break
            bonus = self._bonus(arms)
            # `sorted` is stable: of equal arms the earlier one is pulled.
            ordered = sorted(open_arms, key=partial(_index, bonus))
            _pull(ordered[: self.per_round], score, examples, self.per_pull)
        return [arm.prompt for arm in sorted(arms, key=lambda arm: (-arm.mean, size(arm.prompt)))]

    def _bonus(self, arms: Sequence[_Arm]) -> float:
        """Return the bonus of an arm that has seen one example."""
        seen = [value for arm in arms for value in arm.scores]
        return self.exploration * (max(seen) - min(seen)) * math.sqrt(math.log(len(seen)))


def _index(bonus: float, arm: _Arm) -> float:
    return -(arm.mean + bonus / math.sqrt(len(arm.scores)))


def _pull(arms: Sequence[_Arm], score: Score, examples: Sequence[Example], per_pull: int) -> None:
    """Score each arm on its next examples; arms that stand at the same example share a call."""
    by_position: dict[int, list[_Arm]] = {}
    for arm in arms:
        by_position.setdefault(len(arm.scores), []).append(arm)
    for position, group in by_position.items():
        batch: list[Evaluation] = score([arm.prompt for arm in group], examples[position : position + per_pull])
        for arm, evaluation in zip(group, batch, strict=True):
            arm.scores.extend(evaluation.scores)
