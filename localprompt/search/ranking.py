"""Who is ahead: the order in which a search goes on with prompts, and the rule by which one of them wins. Level 5.

Two orders, for two questions. `best_first` is that of a search: which prompts deserve more examples, or to be learnt
from. `choose_winner` answers what a user asks: which prompt to use instead of the seed, if any.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from localprompt.types import Candidate, Evaluation, Example, Incumbent, Prompt, Spend, Turn

_STEEP = 300.0
"""Nats of a margin beyond which the probability of the wrong label is 0 all the same."""
_ROUNDING = 1e-9
"""Of sums of floats; no difference of means is as small."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A prompt and all that is known of it on dev."""

    candidate: Candidate
    evaluation: Evaluation | None
    """None where the budget ended before any prompt was scored."""
    length: int | None = None
    """Tokens that the model reads of it for an empty input; None: not counted, and characters stand for them."""

    @property
    def mean(self) -> float:
        """The mean score; 0 where none is known."""
        return self.evaluation.mean if self.evaluation else 0.0


class Ranking:
    """All candidates in order of appearance, and their scores on dev.

    Args:
        seeds: the prompts that the task came with, at least one; recorded by whoever makes this.
        dev: evaluations on other examples are passed over.
    """

    def __init__(self, seeds: Sequence[Prompt], dev: Sequence[Example]) -> None:
        self._seeds = tuple(prompt.id for prompt in seeds)
        self._dev = {example.id: None for example in dev}
        self._candidates: dict[str, Candidate] = {}
        self._known: dict[str, Evaluation] = {}
        """Prompt id to its outcomes on dev so far, in the order of dev."""
        self._refused: dict[str, None] = {}
        self.trajectory: list[Incumbent] = []
        """The best prompt so far, each time that it changed."""
        self.turns: list[Turn] = []
        """What each part of the search cost and gained, of a method that chooses among operators."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All prompts recorded, in order of appearance."""
        return tuple(self._candidates.values())

    def record(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates that are new; the first origin of a prompt stays."""
        new = {each.prompt.id: each for each in reversed(candidates) if each.prompt.id not in self._candidates}
        found = list(reversed(new.values()))
        self._candidates.update((each.prompt.id, each) for each in found)
        return found

    def knows(self, prompt: Prompt) -> bool:
        """Return whether a prompt was scored on examples of dev."""
        return prompt.id in self._known

    def covers(self, evaluation: Evaluation) -> bool:
        """Return whether all its examples are of dev."""
        return all(outcome.example_id in self._dev for outcome in evaluation.outcomes)

    def add(self, evaluation: Evaluation) -> None:
        """Remember an evaluation beside what is known of the prompt: a race sees other examples each time."""
        prompt_id = evaluation.prompt.id
        if prompt_id in self._refused or not self.covers(evaluation):
            return
        before = self._known[prompt_id].outcomes if prompt_id in self._known else ()
        outcomes = {each.example_id: each for each in (*before, *evaluation.outcomes)}
        in_order = tuple(outcomes[example_id] for example_id in self._dev if example_id in outcomes)
        self._known[prompt_id] = replace(evaluation, outcomes=in_order)

    def refuse(self, prompt_id: str) -> bool:
        """Let a prompt not win, whatever it scored; return whether that is new."""
        is_new = prompt_id not in self._refused
        self._refused[prompt_id] = None
        self._known.pop(prompt_id, None)
        return is_new

    def lead(self, spent: Spend) -> Evaluation | None:
        """Return the scores of a prompt that is the best so far and was not, or not on as many examples; else None.

        It is entered in the trajectory with what the search has spent until now.
        """
        evaluation = self.winner().evaluation
        if evaluation is None:
            return None
        n, last = len(evaluation.outcomes), self.trajectory[-1] if self.trajectory else None
        if last is not None and (evaluation.prompt.id, n) == (last.prompt_id, last.n):
            return None
        point = Incumbent(
            spent.tokens_requested, evaluation.prompt.id, evaluation.mean, n, tokens_computed=spent.tokens_computed
        )
        self.trajectory.append(point)
        return evaluation

    def winner(self) -> Standing:
        """Return the best prompt: highest mean, then a seed, then shorter, then earlier. Only finalists take part."""
        return self._first(tuple(self._candidates))

    def finalists(self) -> list[Standing]:
        """Return the prompts scored on the most dev examples, in order of appearance.

        The most is all of dev once a search got that far, so their comparison is paired.
        """
        return self._finalists(tuple(self._candidates))

    def front(self, lengths: Callable[[Sequence[Prompt]], Sequence[int]]) -> list[Standing]:
        """Return the prompts known on all of dev that no other beats in mean and length, the shortest first.

        The Pareto front: each has a higher mean than all that are shorter or as long. Empty where no prompt is known on
        all of dev.

        Args:
            lengths: returns those of prompts, in their order.
        """
        known = sized(self.finalists(), lengths)
        front = list[Standing]()
        for each in sorted(known, key=lambda each: (each.length, *by_mean(each))):
            is_whole = each.evaluation is not None and len(each.evaluation.outcomes) == len(self._dev)
            if is_whole and (not front or each.mean > front[-1].mean + _ROUNDING):
                front.append(each)
        return front

    def best_seed(self) -> Standing:
        """Return the best of the seed prompts by the same rule."""
        return self._first(self._seeds)

    def most_promising(self) -> Prompt | None:
        """Return what deserves to be known on all of dev next; None where nothing does.

        That is the best so far, while it lacks examples, then the best seed, and then whatever has a higher mean on its
        few examples than the best has on all of dev, the highest first. A seed with words goes before them all: nobody
        should get a prompt for theirs that was never compared with it on more than a few examples.
        """
        best, seed = self.winner().evaluation, self.best_seed()
        n_of_seed = len(seed.evaluation.outcomes) if seed.evaluation else 0
        is_missing = n_of_seed < len(self._dev) and seed.candidate.prompt.id not in self._refused
        if is_missing and seed.candidate.prompt.instruction.strip():
            return seed.candidate.prompt
        if best is not None and len(best.outcomes) < len(self._dev):
            return best.prompt
        if is_missing:
            return seed.candidate.prompt
        if best is None:
            return None
        ahead = [each for each in self._known.values() if len(each.outcomes) < len(self._dev) and each.mean > best.mean]
        return max(ahead, key=lambda each: (each.mean, len(each.outcomes))).prompt if ahead else None

    def _first(self, ids: Sequence[str]) -> Standing:
        # The first of equals: the earlier one.
        return min(self._finalists(ids), key=by_mean, default=Standing(self._candidates[ids[0]], None))

    def _finalists(self, ids: Sequence[str]) -> list[Standing]:
        known = [self._known[prompt_id] for prompt_id in ids if prompt_id in self._known]
        most = max((len(each.outcomes) for each in known), default=0)
        return [Standing(self._candidates[each.prompt.id], each) for each in known if len(each.outcomes) == most]


def preference(standing: Standing) -> tuple[bool, float, int]:
    """Return what decides between scores that cannot be told apart, lower first.

    A seed before the others, since nobody should change a prompt for nothing, and of seeds the better one, which is
    what a found prompt is compared with; then the shorter, which costs less.
    """
    is_seed = standing.candidate.op == "seed"
    # Of seeds the one that the search was compared with, and it counted no tokens.
    length = size(standing.candidate.prompt) if is_seed or standing.length is None else standing.length
    return not is_seed, -standing.mean if is_seed else 0.0, length


def size(prompt: Prompt) -> int:
    """Return a prompt's length in characters, its demos included."""
    demos = sum(len(demo.output) + sum(map(len, demo.inputs.values())) for demo in prompt.demos)
    return len(prompt.instruction) + demos


def sized(standings: Sequence[Standing], lengths: Callable[[Sequence[Prompt]], Sequence[int]]) -> list[Standing]:
    """Return standings with their lengths, which `lengths` returns of prompts, in their order."""
    counted = lengths([each.candidate.prompt for each in standings])
    return [replace(each, length=length) for each, length in zip(standings, counted, strict=True)]


def by_mean(standing: Standing) -> tuple[float, bool, float, int]:
    """Return what decides between scores as they stand, lower first: the mean, and of equals `preference`."""
    return -standing.mean, *preference(standing)


def contenders(
    finalists: Sequence[Standing], most: int, copies: Mapping[str, int] = MappingProxyType({})
) -> list[Standing]:
    """Return who may win: the best seed, then at most `most` others, best first.

    Others more than one standard error behind the seed take no part: `choose_winner` asks that they are as much ahead.

    Args:
        finalists: scored, as those of `Ranking.finalists` are, and at least one.
        most: how many beside the seed.
        copies: as in `choose_winner`.
    """
    seed = min((each for each in finalists if each.candidate.op == "seed"), key=preference, default=None)
    near = []
    for each in sorted(finalists, key=by_mean):
        if each.candidate.op != "seed":
            gain, error = (0.0, 0.0) if seed is None else _gain(each, seed, copies)
            near += [each] if gain >= -error - _ROUNDING else []
    return [*([seed] if seed else []), *near[:most]]


def choose_winner(finalists: Sequence[Standing], copies: Mapping[str, int] = MappingProxyType({})) -> Standing:
    """Return the winner: the highest mean of those who are ahead of the best seed; of equals the shortest.

    Ahead is a prompt whose mean gain is above the standard error of the paired difference (the one-standard-error rule
    of Breiman et al. 1984, the simplest model here being the one that is there already). Where nobody is ahead the best
    seed stays.

    The noise of measuring is in that error already: asking for more than the noise floor too, or for the shortest
    within it, is a second caution that costs gain on test and hardly prevents a loss. Half an error gains a little
    more and loses more than 0.02 in over 5 % of searches with 30 dev rows (benchmarks/winner_rules.py).

    Args:
        finalists: scored, as those of `Ranking.finalists` are, and at least one.
        copies: example id to a number that its copies share; they count as one example for the standard error.
    """
    seed = min((each for each in finalists if each.candidate.op == "seed"), key=preference, default=None)
    if seed is None:
        return min(finalists, key=by_mean)
    gains = [(each, *_gain(each, seed, copies)) for each in finalists]
    ahead = [each for each, gain, error in gains if gain > error + _ROUNDING]
    return min(ahead, key=by_mean, default=seed)


def _gain(standing: Standing, seed: Standing, copies: Mapping[str, int]) -> tuple[float, float]:
    """Return the mean gain over the seed on the examples that both were given, and its standard error.

    One example has no standard error and shows nothing: it is infinite.
    """
    parts = paired_gains(standing, seed, copies)
    if len(parts) < 2:
        return 0.0, math.inf
    return statistics.fmean(parts), statistics.stdev(parts) / math.sqrt(len(parts))


def paired_gains(standing: Standing, other: Standing, copies: Mapping[str, int]) -> list[float]:
    """Return how much better a prompt is than another on each example that both were given; copies are one.

    Each has the weight of its copies, so that the mean is that over all examples.
    """
    assert standing.evaluation is not None
    assert other.evaluation is not None
    before = {outcome.example_id: outcome.score for outcome in other.evaluation.outcomes}
    common = [outcome for outcome in standing.evaluation.outcomes if outcome.example_id in before]
    gains: dict[object, list[float]] = {}
    for outcome in common:
        which = copies.get(outcome.example_id, outcome.example_id)
        gains.setdefault(which, []).append(outcome.score - before[outcome.example_id])
    return [math.fsum(each) * len(gains) / len(common) for each in gains.values()]


def best_first(evaluations: Sequence[Evaluation]) -> list[Prompt]:
    """Return the prompts, best first: higher mean, larger mean margin, with words before without, shorter, earlier.

    On a few examples of a task with labels most means are equal; the margin, which is already paid for, tells which
    prompts are right by more. An empty instruction is the last of its equals: nothing in it can be criticised, said in
    other words or learnt from.
    """
    return [each.prompt for each in sorted(evaluations, key=search_key)]


def search_key(evaluation: Evaluation) -> tuple[float, float, bool, int]:
    """Return what decides in a search, lower first; see `best_first`."""
    mean, margin = merit(evaluation)
    return -mean, -margin, *brevity(evaluation.prompt)


def smooth_key(evaluation: Evaluation) -> tuple[float, float]:
    """Return what decides between prompts with examples on a few rows, lower first: a smooth score, then the length.

    The smooth score is the mean score less the mean square of the probability of the best wrong label against the right
    one (the Brier score of the two), and the mean score where there are no labels. On six rows most means are equal.
    What could not be asked counts as the surest wrong answer.
    Of eight sets of examples on three tasks it chooses better ones than the mean alone on up to 60 rows, and than that
    probability alone on any number: which set is surer is not which is right more often.
    """
    parts = [
        each.score - (each.failed if each.margin is None else 1 / (1 + math.exp(min(each.margin, _STEEP))) ** 2)
        for each in evaluation.outcomes
    ]
    return -math.fsum(parts) / len(parts), size(evaluation.prompt)


def brevity(prompt: Prompt) -> tuple[bool, int]:
    """Return what decides between prompts of equal scores, lower first: with words before without, then the shorter."""
    return not prompt.instruction.strip(), size(prompt)


def merit(evaluation: Evaluation) -> tuple[float, float]:
    """Return the mean score and the mean margin of an evaluation, 0 where the task has no labels."""
    margins = [outcome.margin for outcome in evaluation.outcomes if outcome.margin is not None]
    return evaluation.mean, math.fsum(margins) / len(margins) if margins else 0.0
