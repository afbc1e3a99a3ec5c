"""Scores of prompts on models become gaps, regrets and a verdict. Level 8.

Prompts are chosen on dev alone and compared on test, so that no score that is reported has been the reason to choose.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

import numpy as np

from localprompt.battery.results import RankAgreement
from localprompt.battery.verdict import agreement
from localprompt.comparison.transfer_results import BestForAll, Cell, GivenPrompt, MeasuredModel, TaskTransfer
from localprompt.interface.rounding import p_text, score_text
from localprompt.stats.equality import FromOriginal, equal_prompts, holm
from localprompt.stats.intervals import ALPHA, interval, paired_difference
from localprompt.stats.power import smallest_detectable_gain
from localprompt.stats.ranks import kendall_tau
from localprompt.stats.resampling import Estimate, estimate, resampled_means
from localprompt.stats.variance import variance_shares
from localprompt.tasks import Task
from localprompt.tasks.copies import n_different, numbered

_NAME = 60
"""Characters of a prompt in a sentence."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What one model scored with all prompts of a task; everything in their order."""

    dev: tuple[tuple[float, ...], ...]
    """Prompts x rows."""
    test: tuple[tuple[float, ...], ...]
    unreadable: tuple[int, ...]
    failed: tuple[int, ...]


def analyse(
    task: Task, prompts: Sequence[GivenPrompt], models: Sequence[MeasuredModel], answered: Sequence[Answered]
) -> TaskTransfer:
    """Return what the scores of one task say.

    Args:
        task: whose dev rows chose and whose test rows are reported.
        prompts: the seed prompt first.
        models: that were asked.
        answered: by each of them, in their order.
    """
    table = _Table(task, prompts, models, answered)
    found = TaskTransfer(
        task=task.name,
        n_dev=len(task.dev),
        example_ids=tuple(row.id for row in task.test),
        prompts=tuple(prompts),
        cells=tuple(table.cells()),
        best_for_all=(table.for_all("worst"), table.for_all("mean")),
        rank_agreement=tuple(table.agreement()),
        variance=variance_shares(table.test, [model.base for model in models], table.copies),
        smallest_difference=smallest_detectable_gain(n_different(task.test)),
        verdict="",
    )
    return replace(found, verdict=" ".join(_verdict(found, models, table.moved())))


class _Table:
    """Scores as tables of prompts x models x rows."""

    def __init__(
        self, task: Task, prompts: Sequence[GivenPrompt], models: Sequence[MeasuredModel], answered: Sequence[Answered]
    ) -> None:
        self._prompts, self._models, self._answered = prompts, models, answered
        self.test = np.array([each.test for each in answered]).swapaxes(0, 1)
        self.copies = numbered(task.test)
        self._dev_copies = numbered(task.dev)
        # Equal scores have equal means, in whatever order they are added.
        self._dev = np.array([list(map(fmean, each.dev)) for each in answered]).T
        self._dev_means = np.array(list(map(fmean, self._dev.tolist())))
        self._best = self._best_of_each()

    def cells(self) -> list[Cell]:
        """Return the cells, prompts outermost, their p-values adjusted for how many there are."""
        cells = [self._cell(p, m) for p in range(len(self._prompts)) for m in range(len(self._models))]
        gains, gaps = _adjusted([cell.gain for cell in cells]), _adjusted([cell.gap for cell in cells])
        return [replace(cell, gain=gain, gap=gap) for cell, gain, gap in zip(cells, gains, gaps, strict=True)]

    def for_all(self, by: Literal["mean", "worst"]) -> BestForAll:
        """Return the best prompt for all models, chosen on dev; of equally good ones the first."""
        means, worsts = self._dev_means.tolist(), self._dev.min(axis=1).tolist()
        keys = list(zip(means, worsts, strict=True) if by == "mean" else zip(worsts, means, strict=True))
        chosen = keys.index(max(keys))
        of_models = self.test[chosen]
        mean, best = of_models.mean(axis=0), self.test[self._best, range(len(self._models))].mean(axis=0)
        resampled = resampled_means(of_models, self.copies).min(axis=1)
        means = of_models.mean(axis=1)
        return BestForAll(
            by=by,
            prompt=chosen,
            score=interval(_within(mean), self.copies),
            lowest=estimate(float(means.min()), resampled, len(set(self.copies))),
            lowest_model=int(means.argmin()),
            cost=paired_difference(_within(best), _within(mean), self.copies),
        )

    def _best_of_each(self) -> list[int]:
        """Return the best prompt of each model on dev: of those that tie, one that is best for most, else the first."""
        is_top = self._dev == self._dev.max(axis=0)
        ties = np.lexsort((-self._dev_means, -is_top.sum(axis=1)))
        return [int(next(p for p in ties if is_top[p, model])) for model in range(self._dev.shape[1])]

    def agreement(self) -> Iterator[RankAgreement]:
        """Yield whether each pair of models has the prompts in the same order."""
        means = [list(map(fmean, each.test)) for each in self._answered]
        for i, j in itertools.combinations(range(len(self._models)), 2):
            yield RankAgreement(self._models[i].model, self._models[j].model, kendall_tau(means[i], means[j]))

    def moved(self) -> set[str]:
        """Return the models with which the prompts differ on test by more than chance does: others do not rank them."""
        ps = [equal_prompts(self.test[:, place], self.copies).p for place in range(len(self._models))]
        return {each.model for each, p in zip(self._models, ps, strict=True) if p < ALPHA}

    def _cell(self, prompt: int, model: int) -> Cell:
        answered, best = self._answered[model], self._best[model]
        scores = answered.test[prompt]

        def compared(other: int) -> FromOriginal | None:
            found = paired_difference(answered.test[other], scores, self.copies)
            return None if prompt == other else FromOriginal(found, 1.0)

        return Cell(
            prompt=prompt,
            model=model,
            dev=interval(answered.dev[prompt], self._dev_copies),
            score=interval(scores, self.copies),
            scores=scores,
            is_best=prompt == best,
            is_own=self._models[model].fingerprint in self._prompts[prompt].found_on,
            gain=compared(0),
            gap=compared(best),
            regret=None if prompt == best else self._regret(scores, answered.test[best]),
            unreadable=answered.unreadable[prompt],
            failed=answered.failed[prompt],
        )

    def _regret(self, scores: Sequence[float], best: Sequence[float]) -> Estimate | None:
        """Return the regret; samples of rows in which the best prompt scores 0 are left out of its interval."""
        both = np.array([scores, best])
        mean, of_best = both.mean(axis=1)
        if of_best <= 0:
            return None
        means = resampled_means(both, self.copies)
        means = means[means[:, 1] > 0]
        return estimate(float(1 - mean / of_best), 1 - means[:, 0] / means[:, 1], len(set(self.copies)))


def _adjusted(found: Sequence[FromOriginal | None]) -> list[FromOriginal | None]:
    """Return the same with p-values after Holm."""
    ps = iter(holm([each.difference.p for each in found if each]))
    return [FromOriginal(each.difference, next(ps)) if each else None for each in found]


def _within(means: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
    """Return means of scores, which rounding may put a little above 1."""
    return [float(each) for each in np.clip(means, 0, 1)]


def _verdict(found: TaskTransfer, models: Sequence[MeasuredModel], moved: set[str]) -> Iterator[str]:
    best = [found.best(model) for model in range(len(models))]
    if not any(_tells(found, model) for model in range(len(models))):
        yield "No prompt is better than another on dev, with any model."
        return
    if len({cell.prompt for cell in best}) == 1:
        scores = [cell.score.mean for cell in best]
        span = f"its score is {score_text(min(scores), 2)} to {score_text(max(scores), 2)}"
        yield f"On dev one prompt is the best for every model: {_named(found, best[0].prompt)}; {span}."
    else:
        yield _carried(found, models, best)
        shared = found.best_for_all[0]
        cost = f"{score_text(shared.cost.mean, 2, '+')} against each model's best ({p_text(shared.cost.p, 3)})"
        mean = f"scores {score_text(shared.score.mean, 2)} on average"
        yield f"One prompt for all, {_named(found, shared.prompt)}, {mean}, {cost}."
    yield from agreement(found.rank_agreement, "prompt", moved)


def _carried(found: TaskTransfer, models: Sequence[MeasuredModel], best: Sequence[Cell]) -> str:
    """Return what happens to the best prompts of models on other models; one without a best prompt is no source."""
    sources = [source for source in best if _tells(found, source.model)]
    pairs = [(source, cell) for source in sources for cell in found.cells if cell.prompt == source.prompt and cell.gap]
    if not pairs:
        return "The best prompt of each model that has one is the best of the others too."
    gaps = [(cell.gap, source, cell) for source, cell in pairs if cell.gap is not None]
    lowest, source, target = min(gaps, key=lambda each: each[0].difference.mean)
    # Where the best of two models is the same, nothing is lost.
    mean = sum(gap.difference.mean for gap, _, _ in gaps) / (len(sources) * (len(models) - 1))
    shown = [gap for gap, _, _ in gaps if gap.adjusted_p < ALPHA and gap.difference.mean < 0]
    what = "Prompts do not carry over" if shown else "No loss of a prompt that goes to another model is shown"
    on_average = (
        f"the best of one model scores {score_text(mean, 2, '+')} on another against that one's best, on average"
    )
    most = f"from {models[source.model].model} to {models[target.model].model}"
    lost = score_text(lowest.difference.mean, 2, "+")
    return f"{what}: {on_average}; most {most}, {lost} ({p_text(lowest.adjusted_p, 3)} after Holm)."


def _named(found: TaskTransfer, place: int) -> str:
    given = found.prompts[place]
    text = " ".join(given.prompt.instruction.split()) or "no instruction"
    return f"'{text if len(text) <= _NAME else text[: _NAME - 1] + '…'}'"


def _tells(found: TaskTransfer, model: int) -> bool:
    """Return whether the prompts differ on dev with a model."""
    return len({cell.dev.mean for cell in found.cells if cell.model == model}) > 1
