"""Which prompt wins, by what more evidence, and which comes second. Level 7. The rule is in search/ranking.py."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import NormalDist

from localprompt.errors import OutOfAnswers
from localprompt.run.results import RunnerUp
from localprompt.search.evaluator import Evaluator
from localprompt.search.evidence import MOST_OTHERS, MOST_ROWS, Measure, joined, on_unseen_rows
from localprompt.search.problem import Problem
from localprompt.search.ranking import Standing, by_mean, choose_winner, contenders, paired_gains, sized
from localprompt.stats.intervals import Interval, interval, paired_difference
from localprompt.tasks.copies import numbered
from localprompt.types import Evaluation, Example

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Choice:
    """The winner, with what is known of it on dev, and the runner-up."""

    winner: Standing
    runner_up: RunnerUp | None
    evidence: tuple[Evaluation, ...]
    """What was measured for it on unseen rows."""


def choose(problem: Problem, evaluator: Evaluator, measure: Measure | None = None, most: int = MOST_ROWS) -> Choice:
    """Return the winner among the finalists of a search that scored something.

    In the replay of a run from before unseen rows were measured there is nothing on them, and dev alone decides.

    Args:
        problem: after the search.
        evaluator: measures the contenders on rows that the search did not use, charged to the final evaluation.
        measure: measures them with it on as many rows as there is time for; on all by default.
        most: rows that are measured.
    """
    problem.begin("choosing the winner")
    copies = _copies((*problem.dev, *problem.train))
    finalists = problem.ranking.finalists()
    with suppress(OutOfAnswers):  # the replay of a run of before
        finalists = sized(finalists, evaluator.lengths)
    among, evidence = contenders(finalists, MOST_OTHERS, copies), list[Evaluation]()
    try:
        evidence = on_unseen_rows(problem, evaluator, among, measure or evaluator.evaluate, most)
    except OutOfAnswers:
        problem.note("the store has no answers on unused train rows, so dev alone chooses")
    known = joined(among, evidence) if evidence else among
    winner = choose_winner(known, copies)
    others = [each for each in known if each is not winner]
    others = others or [each for each in finalists if each.candidate.prompt.id != winner.candidate.prompt.id]
    second = min(others, key=by_mean, default=None)
    on_dev = {each.candidate.prompt.id: each for each in finalists}
    return Choice(
        on_dev[winner.candidate.prompt.id],
        _runner_up(on_dev[second.candidate.prompt.id], second, winner, copies) if second else None,
        tuple(evidence),
    )


def on_dev(standing: Standing, dev: Sequence[Example]) -> Interval | None:
    """Return a prompt's score on the dev examples that it was given; None where nothing was scored."""
    return None if standing.evaluation is None else _score(standing.evaluation, _copies(dev))


def _score(evaluation: Evaluation, copies: Mapping[str, int]) -> Interval:
    return interval(evaluation.scores, [copies[outcome.example_id] for outcome in evaluation.outcomes])


def _copies(examples: Sequence[Example]) -> dict[str, int]:
    """Return example id to a number that its copies share."""
    return {example.id: number for example, number in zip(examples, numbered(examples), strict=True)}


def _runner_up(dev: Standing, second: Standing, winner: Standing, copies: Mapping[str, int]) -> RunnerUp | None:
    """Return the record of who came second; None where it was given no example that the winner was given."""
    assert dev.evaluation is not None
    assert second.evaluation is not None
    assert winner.evaluation is not None
    of_winner = {outcome.example_id: outcome.score for outcome in winner.evaluation.outcomes}
    common = [outcome for outcome in second.evaluation.outcomes if outcome.example_id in of_winner]
    if not common:
        return None
    gains = paired_gains(second, winner, copies)
    return RunnerUp(
        prompt=second.candidate.prompt,
        op=second.candidate.op,
        dev=_score(dev.evaluation, copies),
        difference=paired_difference(
            [of_winner[outcome.example_id] for outcome in common],
            [outcome.score for outcome in common],
            [copies[outcome.example_id] for outcome in common],
        ),
        n_unseen=len(second.evaluation.outcomes) - len(dev.evaluation.outcomes),
        decided_by=rows_to_decide(gains),
    )


def rows_to_decide(gains: Sequence[float]) -> int | None:
    """Return with how many rows in all a mean gain as large as this one would be 1.96 standard errors from 0.

    None where it is 0, or from fewer than two rows.
    """
    if len(gains) < 2 or abs(mean := statistics.fmean(gains)) < 1e-9:
        return None
    return max(2, math.ceil((_Z * statistics.stdev(gains) / mean) ** 2))
