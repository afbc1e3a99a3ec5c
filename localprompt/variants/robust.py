"""Prompts scored together with cheap variants of themselves, so that a search finds those that wording moves least.

Level 6. The score of a prompt on an example is mean - weight * (mean - worst) over five ways to ask: as it is, in two
other formats of the layout, and with two changes of the instruction's surface. With weight 1 that is the worst way,
example by example (instance-wise worst, Cao et al. 2024, arXiv 2406.10248).

Differs on purpose from the mean of a prompt minus a weight times the spread of the means of its variants: a score of
each example lies in [0, 1] like any other, so that races, paired tests and the rule that chooses the winner hold.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.deadline import Work
from localprompt.search.evaluator import Evaluator, Norm
from localprompt.search.problem import Problem
from localprompt.tasks import Task
from localprompt.types import Evaluation, Example, Outcome, Prompt
from localprompt.variants.collect import ORIGINAL
from localprompt.variants.format import Format
from localprompt.variants.surface import Surface
from localprompt.variants.variant import Origin

Objective = Literal["score", "robust", "worst"]
"""What a search maximises: the score of a prompt as it is, or with its variants."""
WEIGHTS: dict[Objective, float] = {"robust": 0.5, "worst": 1.0}
"""Of the distance from the mean to the worst way to ask."""
N_VARIANTS = 4
_FORMATS = 2
_SURFACES = (
    ("without the final full stop", "with a final full stop"),
    ("all in lower case",),
    ("without 'please'", "with 'please'"),
    ("all in capitals",),
)
"""Changes of an instruction, those that apply to most first; of each, one of its directions applies or none."""
_EDITS = 16
SPEAKS_OF_ALL = Prompt("Input Text Question Output Answer Label")
"""Whose formats exchange no cue word: an instruction may speak of it."""

_Measure = Callable[[Evaluator, Sequence[Prompt]], list[Evaluation]]


class RobustEvaluator(Evaluator):
    """An evaluator whose scores are those of a prompt and its variants together; it asks the model five times as much.

    The changes are the same for every prompt: formats are drawn for the task, and a change that does not apply to an
    instruction leaves it as it is and counts all the same. Each way to ask has its own call.

    Args:
        lm: the task LM.
        task: of its data train alone is looked at, for the outputs that no change may touch, and for batch calibration
            dev.
        budget: that everything is charged to.
        weight: of the distance from mean to worst, from 0 to 1.
        seed: of the formats that are drawn.
    """

    def __init__(self, lm: LanguageModel, task: Task, budget: Budget, weight: float, seed: int) -> None:
        super().__init__(lm, task, budget)
        self._weight = weight
        task = replace(task, test=())
        problem = Problem(task, Evaluator(lm, task, budget), self._lm, rng=random.Random(seed))
        self._origin = Origin(SPEAKS_OF_ALL, task, problem, seed)
        formats = Format().variants(self._origin, _FORMATS)
        self._formats = [(each.change, Evaluator(lm, each.task, budget)) for each in formats]
        self._surfaces = _SURFACES[: N_VARIANTS - len(formats)]
        self._made: dict[str, list[tuple[str, Prompt]]] = {}
        """Prompt id to what its variants are called, and the variants of its surface."""

    def evaluate(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        """Return the objective, one evaluation per prompt; prediction and completion are those of the worst variant.

        Raises:
            BudgetExhausted: as `Evaluator.evaluate`; variants in other formats are asked apart, and what was computed
                before is not computed again.
            TaskError, ValueError: as `Evaluator.evaluate`.
        """
        return [self._joined(each) for each in self.neighbourhoods(prompts, examples)]

    def likelihood(self, prompts: Sequence[Prompt], examples: Sequence[Example], *, norm: Norm) -> list[Evaluation]:
        """Return the same of the log-likelihood of the right answers, in nats.

        Raises:
            BudgetExhausted, ValueError: as `evaluate`.
        """

        def measure(evaluator: Evaluator, asked: Sequence[Prompt]) -> list[Evaluation]:
            return Evaluator.likelihood(evaluator, asked, examples, norm=norm)

        return [self._joined(each) for each in self._asked(prompts, measure)]

    def neighbourhoods(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[tuple[Evaluation, ...]]:
        """Return the plain metric of each prompt and its variants, in the order of `changes`; the prompt itself first.

        Raises:
            BudgetExhausted, TaskError, ValueError: as `evaluate`.
        """
        return self._asked(prompts, lambda evaluator, asked: Evaluator.evaluate(evaluator, asked, examples))

    def changes(self, prompt: Prompt) -> tuple[str, ...]:
        """Return how the prompt is asked: as it is, then what each variant changes."""
        return (ORIGINAL, *(change for change, _ in self._variants(prompt)), *(change for change, _ in self._formats))

    def check_fit(self, prompt: Prompt, examples: Sequence[Example], *, room: int = 0) -> None:
        """Make sure that every example fits the context with the prompt and its variants; see `Evaluator.check_fit`.

        Raises:
            ContextOverflow: naming the first example that does not.
        """
        for each in self._ways(prompt):
            super().check_fit(each, examples, room=room)
        for _, evaluator in self._formats:
            evaluator.check_fit(prompt, examples, room=room)

    def fits(self, prompt: Prompt, example: Example) -> bool:
        """Return whether an example fits the context with the prompt and each of its variants."""
        is_whole = all(super(RobustEvaluator, self).fits(each, example) for each in self._ways(prompt))
        return is_whole and all(evaluator.fits(prompt, example) for _, evaluator in self._formats)

    def work(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> Work:
        """Return what evaluating prompts with their variants computes where nothing of it is known."""
        asked = {each.id: each for prompt in prompts for each in self._ways(prompt)}
        works = [super().work(list(asked.values()), examples)]
        works += [evaluator.work(prompts, examples) for _, evaluator in self._formats]
        return replace(works[0], read=sum(each.read for each in works), n=sum(each.n for each in works))

    def _asked(self, prompts: Sequence[Prompt], measure: _Measure) -> list[tuple[Evaluation, ...]]:
        asked = {each.id: each for prompt in prompts for each in self._ways(prompt)}
        known = {each.prompt.id: each for each in measure(self, list(asked.values()))}
        formats = [measure(evaluator, prompts) for _, evaluator in self._formats]
        of_surfaces = [[known[each.id] for each in self._ways(prompt)] for prompt in prompts]
        return [(*same, *others) for same, *others in zip(of_surfaces, *formats, strict=True)]

    def _ways(self, prompt: Prompt) -> list[Prompt]:
        """Return the prompt and the variants of its surface."""
        return [prompt, *(variant for _, variant in self._variants(prompt))]

    def _variants(self, prompt: Prompt) -> list[tuple[str, Prompt]]:
        """Return a variant of the prompt for each kind of change, itself where that does not apply."""
        if prompt.id not in self._made:
            found = Surface().variants(replace(self._origin, prompt=prompt), _EDITS)
            known = {each.change: each.prompt for each in found}
            made = [next(((name, known[name]) for name in names if name in known), None) for names in self._surfaces]
            self._made[prompt.id] = [each or (ORIGINAL, prompt) for each in made]
        return self._made[prompt.id]

    def _joined(self, ways: Sequence[Evaluation]) -> Evaluation:
        outcomes = zip(*(each.outcomes for each in ways), strict=True)
        return Evaluation(ways[0].prompt, tuple(map(self._join, outcomes)))

    def _join(self, outcomes: Sequence[Outcome]) -> Outcome:
        margins = [each.margin for each in outcomes if each.margin is not None]
        return replace(
            min(outcomes, key=lambda each: each.score),  # the first of equals, which is the prompt as it is
            score=self._reduced([each.score for each in outcomes]),
            margin=self._reduced(margins) if len(margins) == len(outcomes) else None,
            failed=outcomes[0].failed,
        )

    def _reduced(self, values: Sequence[float]) -> float:
        mean, worst = math.fsum(values) / len(values), min(values)
        return max(worst, mean - self._weight * (mean - worst))
