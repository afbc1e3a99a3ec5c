"""What is asked of one model: variants by several scorers, and the prompt itself again. Level 8."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from localprompt.battery.scorers import Measured, Scorer, measure
from localprompt.errors import ConfigError, nearest
from localprompt.lm.base import LanguageModel
from localprompt.lm.cached import CachedLM, MemoryAnswers
from localprompt.lm.deadline import Work
from localprompt.lm.metered import MeteredLM
from localprompt.run.session import Session
from localprompt.search.evaluator import Evaluator
from localprompt.search.observer import Observer, pluralize
from localprompt.search.problem import Problem
from localprompt.tasks import Task
from localprompt.variants.collect import Collected, collect
from localprompt.variants.variant import Family, Origin, Variant

_REPLIED, _REPLIED_ROWS = 8, 40
"""Variants beside the original, and rows, whose replies are scored after each other: the square of that many."""


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
class Replies:
    """How probable what was written to one variant is after the others; for tasks without labels."""

    rows: tuple[int, ...]
    """Places of the rows to which all of these variants got a reply."""
    nats: tuple[tuple[tuple[float, ...], ...], ...]
    """Variants x variants x rows, per token: [k][l][i] is that of the reply of l after k."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What one model answered."""

    by_scorer: tuple[ByScorer, ...]
    """The task's own scorer first."""
    again: tuple[Measured, ...]
    """The prompt itself by the task's own scorer, measured in other batches."""
    too_long: tuple[int, ...]
    """Places of variants that were left out: a row does not fit the context with them, or the model takes no chats."""
    replies: Replies | None = None
    """None for tasks with labels, whose probabilities every variant gives, and where there is nothing to compare."""


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
        # A model without a chat template would read a chat as a text, of a form that nobody asked for.
        takes = session.lm.facts.has_chat or each.task.layout.mode in ("raw", variants[0].task.layout.mode)
        takes = takes and (scorers[0].writes or _is_scored(session, each))
        fits.append(takes and all(one.fits(each.prompt, row) for one in evaluators for row in each.task.test))
    fits[0] = True  # a row that is too long for another scorer alone fails there
    fitting = [i for i, is_fitting in enumerate(fits) if is_fitting]
    found = list[ByScorer]()
    for scorer in scorers:
        if scorer.of_target and not _is_scored(session, variants[0]):
            observer.note(
                f"{session.lm.facts.name} only replies here: there is no probability of targets, and no POSIX"
            )
            continue
        having = [i for i in fitting if _is_scored(session, variants[i])] if scorer.of_target else fitting
        places, n = _chosen(having, scorer, scorers[0], size, len(rows))
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
    replies = _replies(session, variants, found[0], observer) if scorers[0].writes else None
    observer.stage(f"the prompt itself {size.repeats} times again, in other batches")
    again = tuple(_again(session, scorers[0], variants[0], number) for number in range(size.repeats))
    return Answered(tuple(found), again, tuple(i for i, is_fitting in enumerate(fits) if not is_fitting), replies)


def expected(session: Session, original: Variant, scorers: Sequence[Scorer], size: Size, n_variants: int) -> list[Work]:
    """Return about what `ask` computes where nothing is known: as if each variant were as long as the original."""
    works, n_rows = [], len(original.task.test)
    for scorer in scorers:
        places, n = _chosen(range(n_variants + 1), scorer, scorers[0], size, n_rows)
        task, rows = scorer.task(original.task), original.task.test[:n]
        if task.labels and scorer is not scorers[0]:  # it shares the answers of the task's own scorer, but for a prior
            rows = ()
        work = session.evaluator(task).work([original.prompt], rows)
        work = replace(work, n=0, each=0) if scorer.of_target else work
        times = len(places) + (size.repeats if scorer is scorers[0] else 0)
        works += [work] * times
    if scorers[0].writes:  # what is written is taken to be half as long as it may get
        n, rows = min(n_variants, _REPLIED) + 1, original.task.test[:_REPLIED_ROWS]
        work = session.evaluator(original.task).work([original.prompt], rows)
        works += [replace(work, read=work.read + n * len(rows) * work.each // 2, n=0, each=0)] * n
    return works


def _replies(session: Session, variants: Sequence[Variant], own: ByScorer, observer: Observer) -> Replies | None:
    """Return how probable the replies to some of the variants are after each of them."""
    asked_of = [variants[place] for place in own.places]
    # The letter of an option is another answer where the options stand in another order.
    worded = [i for i, each in enumerate(asked_of) if not (each.seed or each.answer_of) and _is_scored(session, each)]
    chosen = _spread(worded, _REPLIED)
    written = [own.measured[i].completions for i in chosen]
    rows = [i for i in range(min(own.rows, _REPLIED_ROWS)) if all(each[i] for each in written)]
    if len(chosen) < 2 or not rows or chosen[0] != 0:
        return None
    observer.stage(f"replies: {pluralize(len(chosen), 'variant')} on {pluralize(len(rows), 'row')}")
    nats, failed = [], set[int]()
    for number, i in enumerate(chosen, start=1):
        each = asked_of[i]
        texts = [(row, text) for row in rows for text in dict.fromkeys(replies[row] for replies in written)]
        asked = [replace(each.task.test[row], id=f"{n}", targets=(text,)) for n, (row, text) in enumerate(texts)]
        (evaluation,) = session.evaluator(each.task).likelihood([each.prompt], asked, norm="token")
        found = dict(zip(texts, evaluation.outcomes, strict=True))
        failed |= {row for (row, _), outcome in found.items() if outcome.failed}
        nats.append([[found[row, replies[row]].score for row in rows] for replies in written])
        observer.progress(number, len(chosen))
    kept = [n for n, row in enumerate(rows) if row not in failed]
    return Replies(
        tuple(rows[n] for n in kept), tuple(tuple(tuple(of[n] for n in kept) for of in after) for after in nats)
    )


def _is_scored(session: Session, variant: Variant) -> bool:
    """Return whether the model tells how probable something is after a variant."""
    facts = session.lm.facts
    return facts.can_score and (facts.can_score_chats or variant.task.layout.mode == "raw")


def _spread(places: Sequence[int], n: int) -> Sequence[int]:
    """Return the first and `n` others at most, evenly spread."""
    if len(places) <= n + 1:
        return places
    step = (len(places) - 1) / n
    return [places[round(step * i)] for i in range(n + 1)]


def _chosen(places: Sequence[int], scorer: Scorer, own: Scorer, size: Size, n_rows: int) -> tuple[Sequence[int], int]:
    """Return which variants a scorer measures, evenly spread, the original first, and on how many rows."""
    if scorer is own or not scorer.writes:
        return places, n_rows
    return _spread(places, size.written_variants), min(n_rows, size.written_rows)


def _again(session: Session, scorer: Scorer, original: Variant, number: int) -> Measured:
    """Return scores and answers of the original, from a model that knows nothing of before, a half of the rows a call.

    The rows of a half are drawn, so that requests stand in other batches than before.
    """
    lm: LanguageModel = session.lm.lm
    again = CachedLM(lm, session.store.answers if session.store else MemoryAnswers(), f"sensitivity {number}")
    rows = original.task.test
    drawn = random.Random(number).sample(range(len(rows)), len(rows))
    halves = [sorted(half) for half in (drawn[: len(rows) // 2], drawn[len(rows) // 2 :]) if half]
    found, failed = dict[int, tuple[float, str | None]](), 0
    for half in halves:
        evaluator = Evaluator(again, scorer.task(original.task), session.budget, seed=original.seed)
        part = measure(scorer, evaluator, original, [rows[i] for i in half], original.task.labels)
        found.update(zip(half, zip(part.scores, part.answers, strict=True), strict=True))
        failed += part.failed
    again.flush()
    scores, answers = zip(*(found[i] for i in range(len(rows))), strict=True)
    return Measured(scores, answers, failed)
