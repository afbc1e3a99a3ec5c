"""Races between prompts: rules that spend more examples on the better ones. Level 5.

An arm is a prompt, a pull scores it on a few further examples. All rules draw from one order of examples, so prompts
that have seen equally many are compared on the same ones, and what a prompt has seen counts to the end of the race.

* `uniform`: everybody sees the same examples.
* `ucb`, `ucb-e`, `thompson`: every prompt is pulled once, then, round after round, those with the highest index.
* `successive-rejects`, `successive-halving`: in phases, all that are left are pulled and the worst are out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from localprompt.search.filtering import Score
from localprompt.search.ranking import best_first, brevity
from localprompt.types import Evaluation, Example, Prompt

RaceName = Literal["uniform", "ucb", "ucb-e", "successive-rejects", "successive-halving", "thompson"]


@dataclass(frozen=True, slots=True)
class Pulls:
    """How a bandit pulls."""

    per_round: int
    """Prompts pulled in a round."""
    per_pull: int
    """Examples a pull."""
    exploration: float
    """Weight of the bonus of `ucb`, the parameter `a` of `ucb-e`; `thompson` has none."""


def race(name: RaceName, n_prompts: int, keep: int, budget: int, pulls: Pulls) -> Bandit | KnockOut:
    """Return the rule `name` for `n_prompts` of which the best `keep` are wanted.

    Args:
        name: of the rule.
        n_prompts: how many will take part.
        keep: where `successive-rejects` and `successive-halving` stop; the other rules do not need it.
        budget: scores, one a prompt and example, that the race may take. It is kept to wherever it allows each
            prompt one example, by `successive-halving` one in each of its phases.
        pulls: a pull is made smaller where the budget does not allow one to every prompt.
    """
    if name in _SCHEDULES:
        return KnockOut(_SCHEDULES[name](n_prompts, keep, budget))
    per_round = max(1, min(pulls.per_round, n_prompts))
    per_pull = max(1, min(pulls.per_pull, budget // max(1, n_prompts)))
    rounds = max(0, (budget - n_prompts * per_pull) // (per_round * per_pull))
    return Bandit(_INDICES[name], rounds, Pulls(per_round, per_pull, pulls.exploration))


@dataclass(slots=True)
class _Arm:
    prompt: Prompt
    scores: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    """Those of examples that fit the context; of the others the score is a penalty and says nothing about a spread."""

    @property
    def mean(self) -> float:
        return math.fsum(self.scores) / len(self.scores)


_Index = Callable[[Sequence[_Arm], float, random.Random], Callable[[_Arm], float]]
"""Of all arms, the exploration and the source of chance: how promising an arm is."""


@dataclass(frozen=True, slots=True)
class Bandit:
    """Pulls every arm once and then, in each round, those with the highest index."""

    index: _Index
    rounds: int
    """Rounds after the first, in which every arm is pulled."""
    pulls: Pulls

    def run(
        self, score: Score, prompts: Sequence[Prompt], examples: Sequence[Example], rng: random.Random
    ) -> list[Prompt]:
        """Return the prompts, best mean first, having spent more examples on the promising ones.

        A pull goes on where the arm stands in the one order of `examples`, so arms pulled equally often are compared
        on the same ones. An arm that has seen all examples is not pulled again.

        Raises:
            BudgetExhausted: before a pull that does not fit.
        """
        arms, per_pull = [_Arm(prompt) for prompt in prompts], self.pulls.per_pull
        _pull(arms, score, examples, per_pull)
        for _ in range(self.rounds):
            open_arms = [arm for arm in arms if len(arm.scores) < len(examples)]
            if not open_arms:
                break
            index = self.index(arms, self.pulls.exploration, rng)
            # Of arms with equal indices those that have seen less, and then the earlier ones: `sorted` is stable.
            pairs = sorted(((index(arm), arm) for arm in open_arms), key=lambda pair: (-pair[0], len(pair[1].scores)))
            _pull([arm for _, arm in pairs[: self.pulls.per_round]], score, examples, per_pull)
        return [arm.prompt for arm in sorted(arms, key=lambda arm: (-arm.mean, brevity(arm.prompt)))]


def ucb(arms: Sequence[_Arm], exploration: float, _: random.Random) -> Callable[[_Arm], float]:
    """Return the index of UCB1 (Auer et al. 2002): `mean + exploration * range * sqrt(ln(N) / n)`.

    n and N count the examples of the arm and of all arms. The range is 1, as published, while all scores lie in [0, 1];
    nats have no range of their own, theirs is the largest difference between two scores so far, of examples that fit
    the context. UCB1 as published has exploration sqrt(2).

    Differs from the codes of APE and ProTeGi: an arm that was never pulled comes first instead of counting as mean 0,
    which beats every log-probability; N counts examples and not rounds (ProTeGi's ln(1) = 0 repeats its first choice);
    the examples are common to all arms.
    """
    n_seen = sum(len(arm.scores) for arm in arms)
    bonus = exploration * _range(arms) * math.sqrt(math.log(n_seen))
    return lambda arm: arm.mean + bonus / math.sqrt(len(arm.scores))


def ucb_e(arms: Sequence[_Arm], exploration: float, _: random.Random) -> Callable[[_Arm], float]:
    """Return the index of UCB-E (Audibert, Bubeck & Munos 2010): `mean + range * sqrt(a / n)`, `a` the exploration.

    The bonus does not grow with time: the aim is the best arm at the end, not the reward on the way. Their best `a` is
    25/36 (N - K) / H, where H, how hard the arms are to tell apart, is not known; ProTeGi's code has `c * sqrt(c / n)`,
    which is the same for c = 1. The range is that of `ucb`.
    """
    bonus = _range(arms) * math.sqrt(exploration)
    return lambda arm: arm.mean + bonus / math.sqrt(len(arm.scores))


def thompson(arms: Sequence[_Arm], _: float, rng: random.Random) -> Callable[[_Arm], float]:
    """Return the index of Thompson sampling (Thompson 1933; Agrawal & Goyal 2012, 2013): a draw from what is known.

    Scores in [0, 1]: a draw from Beta(1 + S, 1 + n - S) with S the sum of n scores; where scores are neither 0 nor 1
    this counts them as parts of a success instead of tossing a coin for each. Nats, which are negative: a draw from a
    normal distribution around the mean with variance v / n, v the mean variance within arms. One draw an arm and
    round; the highest are pulled.
    """
    if _are_shares(arms):
        return lambda arm: rng.betavariate(*beta_posterior(arm.scores))
    deviation = math.sqrt(_variance_within(arms))
    return lambda arm: rng.gauss(arm.mean, deviation / math.sqrt(len(arm.scores)))


_INDICES = {"ucb": ucb, "ucb-e": ucb_e, "thompson": thompson}


@dataclass(frozen=True, slots=True)
class KnockOut:
    """All that are left see the same examples, phase by phase; after each phase the worst are out."""

    phases: Sequence[tuple[int, int]]
    """Of each the examples seen until its end, and the prompts left after it."""

    def run(
        self, score: Score, prompts: Sequence[Prompt], examples: Sequence[Example], rng: random.Random
    ) -> list[Prompt]:
        """Return the survivors, best first, as `best_first` orders them, then the others, the last out first.

        All are scored on the head of `examples`; what was seen before is not paid again. `rng` is not asked.

        Raises:
            BudgetExhausted: before a phase that does not fit.
        """
        left, out = list(prompts), list[Prompt]()
        for n_seen, n_left in self.phases if prompts else ():
            ranked = best_first(score(left, examples[:n_seen]))
            left, out = ranked[:n_left], ranked[n_left:] + out
        return left + out


def uniform_schedule(n_prompts: int, keep: int, budget: int) -> list[tuple[int, int]]:
    """Return the one phase in which every prompt sees the same `budget // K` examples; all are left after it.

    ProTeGi's baseline, its code's `bf`.
    """
    return [(max(1, budget // max(1, n_prompts)), n_prompts)]


def rejects_schedule(n_prompts: int, keep: int, budget: int) -> list[tuple[int, int]]:
    """Return each phase of Successive Rejects (Audibert, Bubeck & Munos 2010), which has one prompt out after each.

    With K prompts and budget B, phase k of 1 .. K - b ends at `ceil((B - K) / (L (K + 1 - k)))` examples, where
    `L = b / (b + 1) + 1 / (b + 1) + ... + 1 / K` makes the phases use up the budget. For b = 1 prompt kept this is the
    paper's `1/2 + sum of 1/i for i = 2 .. K`.

    Differs: it can stop at more than one prompt; means are over everything a prompt has seen, as in the paper and not
    as in ProTeGi's code, which judges by the last phase alone.
    """
    if n_prompts <= keep:
        return uniform_schedule(n_prompts, keep, budget)
    length = keep / (keep + 1) + math.fsum(1 / i for i in range(keep + 1, n_prompts + 1))
    # Rounded before `ceil`, or the last bit of a float would add an example.
    ends = [
        max(1, math.ceil(round((budget - n_prompts) / (length * (n_prompts + 1 - k)), 9)))
        for k in range(1, n_prompts - keep + 1)
    ]
    return [(end, n_prompts - k) for k, end in enumerate(ends, start=1)]


def halving_schedule(n_prompts: int, keep: int, budget: int) -> list[tuple[int, int]]:
    """Return each phase of Sequential Halving (Karnin, Koren & Somekh 2013), which has the worse half out after each.

    Each of the R phases, ceil(log2 K) of them if one prompt is kept, has the same share of the budget:
    `floor(B / (n R))` fresh examples for each of its n prompts, and ceil(n / 2) go on.

    Differs: means are over everything a prompt has seen, as Jamieson & Talwalkar (2016) count; it can stop at more
    than one prompt. ProTeGi's code drops what lies below the mean instead, which is rarely half.
    """
    if n_prompts <= keep:
        return uniform_schedule(n_prompts, keep, budget)
    sizes = [n_prompts]
    while sizes[-1] > keep:
        sizes.append(max(keep, math.ceil(sizes[-1] / 2)))
    n_phases, seen, phases = len(sizes) - 1, 0, []
    for now, then in pairwise(sizes):
        seen += max(1, budget // (now * n_phases))
        phases.append((seen, then))
    return phases


_SCHEDULES = {
    "uniform": uniform_schedule,
    "successive-rejects": rejects_schedule,
    "successive-halving": halving_schedule,
}


def beta_posterior(scores: Sequence[float]) -> tuple[float, float]:
    """Return the two parameters of what is known of a mean in [0, 1] after `scores`, from a flat prior."""
    total = math.fsum(scores)
    return 1.0 + total, 1.0 + len(scores) - total


def _pull(arms: Sequence[_Arm], score: Score, examples: Sequence[Example], per_pull: int) -> None:
    """Score each arm on its next examples; arms that stand at the same example share a call."""
    by_position: dict[int, list[_Arm]] = {}
    for arm in arms:
        by_position.setdefault(len(arm.scores), []).append(arm)
    for position, group in by_position.items():
        batch: list[Evaluation] = score([arm.prompt for arm in group], examples[position : position + per_pull])
        for arm, evaluation in zip(group, batch, strict=True):
            arm.scores.extend(evaluation.scores)
            arm.answered.extend(outcome.score for outcome in evaluation.outcomes if not outcome.failed)


def _are_shares(arms: Sequence[_Arm]) -> bool:
    """Return whether all scores seen lie in [0, 1]; those that do not are nats."""
    return all(0.0 <= value <= 1.0 for arm in arms for value in arm.scores)


def _range(arms: Sequence[_Arm]) -> float:
    """Return how far two scores can be apart: 1 in [0, 1], in nats as far as was seen.

    The difference seen would not do in [0, 1]: while all scores are equal it is 0, and so is the bonus.
    """
    if _are_shares(arms):
        return 1.0
    seen = [value for arm in arms for value in arm.answered]
    return max(seen, default=0.0) - min(seen, default=0.0)


def _variance_within(arms: Sequence[_Arm]) -> float:
    """Return the variance of scores around the mean of their arm, pooled over all arms."""
    seen = [arm.answered for arm in arms if arm.answered]
    squares = math.fsum((value - math.fsum(own) / len(own)) ** 2 for own in seen for value in own)
    return squares / max(1, sum(len(own) - 1 for own in seen))
