"""What is asked of one model: variants by several scorers, and the prompt itself again. Level 8."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from localprompt.battery.scorers import Measured, Scorer, measure
from localprompt.errors import ConfigError, nearest
from localprompt.lm.base import LanguageModel
from localprompt.lm.cached import CachedLM, MemoryAnswers
from localprompt.lm.deadline import Work
from localprompt.lm.metered import MeteredLM
from localprompt.run.session import Session
from localprompt.search.evaluator import CONTENT_FREE, Evaluator
from localprompt.search.observer import Observer, pluralize
from localprompt.search.problem import Problem
from localprompt.tasks import Task
from localprompt.types import Example
from localprompt.variants.collect import Collected, collect
from localprompt.variants.variant import Family, Origin, Variant


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    variants: int
    """At most, beside the prompt itself."""
    rows: int
    """At most."""
    repeats: int
    """Times that the prompt itself is measured again, in other batches."""
    written_variants: int
    """Variants by scorers for which the model writes, which take longer; those of a task without labels are all."""
    written_rows: int
    """Rows of these."""
    writes: bool = True
    """Whether they are asked unless named."""


SIZES = {
    "quick": Size(variants=12, rows=60, repeats=2, written_variants=4, written_rows=40, writes=False),
    "standard": Size(variants=30, rows=200, repeats=3, written_variants=8, written_rows=100),
    "full": Size(variants=100, rows=500, repeats=4, written_variants=100, written_rows=500),
}


def find_size(name: str) -> Size:
    """Return the size of that name.

    Raises:
        ConfigError: naming the nearest one.
    """
    if name not in SIZES:
        raise ConfigError(f"unknown size {name!r}", nearest(name, SIZES))
    return SIZES[name]


@dataclass(frozen=True, slots=True)
class ByScorer:
    """Variants by one scorer, the original first."""

    scorer: Scorer
    places: tuple[int, ...]
    """Which variants, by their places in the battery."""
    rows: int
    """How many rows, the first ones."""
    measured: tuple[Measured, ...]
    """In the order of `places`."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What one model answered."""

    by_scorer: tuple[ByScorer, ...]
    """The task's own scorer first."""
    again: tuple[Measured, ...]
    """The prompt itself by the task's own scorer, measured in other batches."""
    too_long: tuple[int, ...]
    """Variants left out because one of the rows does not fit the context with them, by their places."""


def make_variants(asked: Task, families: Sequence[Family], n: int, session: Session, seed: int) -> Collected:
    """Return a prompt and its variants; families that have a model write ask the session's.

    Args:
        asked: the task; its first seed prompt is the original, and its `test` the rows.
        families: that make them.
        n: variants at most.
        session: whose model writes, from the store where it wrote before.
        seed: of everything random.
    """
    searched = replace(asked, seeds=asked.seeds[:1], dev=asked.test, test=())
    writer = MeteredLM(session.lm, session.budget)
    problem = Problem(searched, session.evaluator(asked), writer, rng=random.Random(seed))
    return collect(Origin(asked.seeds[0], asked, problem, seed), families, n)


def ask(
    session: Session, variants: Sequence[Variant], scorers: Sequence[Scorer], size: Size, observer: Observer
) -> Answered:
    """Return what a model answers to the variants, the original first.

    Raises:
        ContextOverflow: before anything is computed, if a row does not fit the context with the original.
        BudgetExhausted, TaskError, StoreError, WorkerDied: as the evaluator; what was answered is in the store.
    """
    rows, labels = variants[0].task.test, variants[0].task.labels
    session.evaluator(variants[0].task).check_fit(variants[0].prompt, rows)
    fits = []
    for each in variants:
        evaluators = [session.evaluator(scorer.task(each.task)) for scorer in scorers]
        fits.append(all(evaluator.fits(each.prompt, row) for evaluator in evaluators for row in each.task.test))
    fits[0] = True  # a row that is too long for another scorer alone fails there
    fitting = [i for i, is_fitting in enumerate(fits) if is_fitting]
    found = []
    for scorer in scorers:
        places, n = _chosen(fitting, scorer, scorers[0], size, len(rows))
        observer.stage(
            f"{scorer.name}: {pluralize(len(places), 'variant')} on {pluralize(n, 'row')} with {session.lm.facts.name}"
        )
        measured = []
        for i in places:
            each = variants[i]
            evaluator = Evaluator(session.lm, scorer.task(each.task), session.budget, seed=each.seed)
            measured.append(measure(scorer, evaluator, each, each.task.test[:n], labels))
            observer.progress(len(measured), len(places))
        found.append(ByScorer(scorer, tuple(places), n, tuple(measured)))
    observer.stage(f"the prompt itself {size.repeats} times again, in other batches")
    again = tuple(_again(session, scorers[0], variants[0], number) for number in range(size.repeats))
    return Answered(tuple(found), again, tuple(i for i, is_fitting in enumerate(fits) if not is_fitting))


def expected(session: Session, original: Variant, scorers: Sequence[Scorer], size: Size, n_variants: int) -> list[Work]:
    """Return about what `ask` computes where nothing is known: as if each variant were as long as the original."""
    works, n_rows = [], len(original.task.test)
    for scorer in scorers:
        places, n = _chosen(range(n_variants + 1), scorer, scorers[0], size, n_rows)
        task, rows = scorer.task(original.task), original.task.test[:n]
        if task.labels and scorer is not scorers[0]:  # it shares the answers of the task's own scorer
            blank = rows[0]
            rows = tuple(replace(blank, inputs=dict.fromkeys(blank.inputs, text)) for text in CONTENT_FREE)
        work = session.evaluator(task).work([original.prompt], rows)
        work = replace(work, n=0, each=0) if scorer.of_target else work
        times = len(places) + (size.repeats if scorer is scorers[0] else 0)
        works += [work] * times
    return works


def _chosen(places: Sequence[int], scorer: Scorer, own: Scorer, size: Size, n_rows: int) -> tuple[Sequence[int], int]:
    """Return which variants a scorer measures, evenly spread, the original first, and on how many rows."""
    if scorer is own or not scorer.writes or len(places) <= size.written_variants + 1:
        return places, n_rows if scorer is own or not scorer.writes else min(n_rows, size.written_rows)
    step = (len(places) - 1) / size.written_variants
    return [places[round(step * i)] for i in range(size.written_variants + 1)], min(n_rows, size.written_rows)


def _again(session: Session, scorer: Scorer, original: Variant, number: int) -> Measured:
    """Return the original measured again by a model that knows nothing of before, each half of the rows by itself.

    The rows of a half are drawn, so that requests stand in other batches than before.
    """
    lm: LanguageModel = session.lm.lm
    again = CachedLM(lm, session.store.answers if session.store else MemoryAnswers(), f"sensitivity {number}")
    rows = original.task.test
    drawn = random.Random(number).sample(range(len(rows)), len(rows))
    halves = [sorted(half) for half in (drawn[: len(rows) // 2], drawn[len(rows) // 2 :]) if half]
    parts = [
        measure(
            scorer,
            Evaluator(again, scorer.task(original.task), session.budget, seed=original.seed),
            original,
            [rows[i] for i in half],
            original.task.labels,
        )
        for half in halves
    ]
    again.flush()
    return _joined(parts, halves, rows)


def _joined(parts: Sequence[Measured], halves: Sequence[Sequence[int]], rows: Sequence[Example]) -> Measured:
    order = [i for half in halves for i in half]
    places = {row: place for place, row in enumerate(order)}

    def together(name: str) -> tuple[object, ...]:
        values = [value for part in parts for value in getattr(part, name)]
        return tuple(values[places[i]] for i in range(len(rows))) if values else ()

    names = ("scores", "answers", "distributions", "right", "label_logprobs")
    whole: Mapping[str, tuple[object, ...]] = {name: together(name) for name in names}
    return Measured(failed=sum(part.failed for part in parts), **whole)  # type: ignore[arg-type]
