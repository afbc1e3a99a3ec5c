"""One run of a comparison: carried out, and what is measured of it beside its result. Level 6."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localprompt.analysis.anytime import area_under_best_so_far
from localprompt.analysis.comparison import ComparedRun, MethodSettings
from localprompt.budget import Budget
from localprompt.configuration import enclosed, limits_of, optimizer_of
from localprompt.errors import BudgetExhausted, StoreError
from localprompt.evaluator import Evaluator
from localprompt.lm.base import LanguageModel
from localprompt.lm.replayed import ReplayedLM
from localprompt.observing import Observer, Relay, SilentObserver
from localprompt.optimizers.registry import presets
from localprompt.results import RunResult
from localprompt.resuming import replay, resume
from localprompt.sitting import cached_models, placed, times_anew
from localprompt.store import RunRecord, Store
from localprompt.store.records import dumped
from localprompt.tasks import Task
from localprompt.tasks.copies import numbered
from localprompt.types import Prompt, Spend

GIVEN = ("seed", "seed with demos", "manual")
"""Origins of candidates that nobody proposed."""


def settings_of(configuration: Mapping[str, Any]) -> MethodSettings:
    """Return how the method of a run was configured; of two presets that it is as near to, the first.

    Raises:
        ConfigError: if this version has no such method or setting.
    """
    with tempfile.TemporaryDirectory() as folder:
        fields = dataclasses.fields(optimizer_of(configuration, Path(folder)))
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    settings, method = configuration["settings"], configuration["method"]
    differing = {}
    for preset, values in presets(method).items():
        plain = json.loads(dumped(enclosed({**defaults, **values})))
        changed = {name: value for name, value in settings.items() if name not in plain or plain[name] != value}
        differing[preset] = {
            name: sorted(value["files"]) if isinstance(value, dict) else value for name, value in changed.items()
        }
    nearest = min(differing, key=lambda preset: len(differing[preset]))
    return MethodSettings(nearest, differing[nearest], settings)


class Incumbents(Relay):
    """An observer that also remembers when which prompt was the best so far."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)
        self.steps: list[tuple[int, str]] = []
        """(tokens requested until then, id of the best prompt from then on)."""
        self._tokens = 0

    def best(self, prompt: Prompt, mean: float, n: int) -> None:
        """Remember the prompt, and pass it on."""
        self.steps.append((self._tokens, prompt.id))
        super().best(prompt, mean, n)

    def spend(self, spend: Spend) -> None:
        """Remember the tokens, which a search tells before its new best prompt, and pass them on."""
        self._tokens = spend.tokens_requested
        super().spend(spend)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs of a comparison share."""

    store: Store
    lm: LanguageModel | None
    """None where every run is finished."""
    writer: LanguageModel | None
    """The proposer, where it is not the task LM."""
    observer: Observer

    def carry_out(self, task: Task, record: RunRecord) -> ComparedRun:
        """Return a run that ended: resumed to its end, or as it is where it was finished.

        Raises:
            LocalPromptError: whatever ends the run before its end; it can be resumed.
        """
        incumbents = Incumbents(self.observer)
        result = resume(
            record.id, model=self.lm, proposer=self.writer, task=task, store=self.store, observer=incumbents
        )
        # A run may have gone on with a task that differs in its name alone.
        result = dataclasses.replace(result, task=task.name)
        is_whole = True
        if not incumbents.steps:
            # It was finished before: what it found when is seen by running it again from its answers.
            incumbents = Incumbents(SilentObserver())
            again = replay(record.id, task=task, store=self.store, observer=incumbents)
            is_whole = _what_it_found(again) == _what_it_found(result)
            if not is_whole:
                self.observer.note(f"the run {record.id} has lost answers: its area is not known any more")
        seed_scores, best_scores = self._test_scores(task, record, result)
        copies = numbered(task.test)
        accepted = sum(candidate.op not in GIVEN for candidate in self.store.runs.candidates(record.id))
        return ComparedRun(
            result=result,
            seed_scores=seed_scores,
            best_scores=best_scores,
            area=self._area(task, record, result, incumbents) if is_whole else None,
            proposals=accepted + sum(result.discards.values()),
            copies=copies,
        )

    def _area(self, task: Task, record: RunRecord, result: RunResult, incumbents: Incumbents) -> float | None:
        """Return the area under the dev score of the best prompt so far; None where the seed prompt has no such score.

        Each prompt counts with its mean over all of dev, not with the one that it was chosen by: a few examples flatter
        the best of many, and methods differ in how many they choose by. A prompt that was never measured on all of dev
        has no mean that compares, so the one before it goes on.
        """
        dev = {example.id for example in task.dev}
        means: dict[str, float] = {}
        for evaluation in self.store.runs.evaluations(record.id, "metric"):
            scores = [outcome.score for outcome in evaluation.outcomes if outcome.example_id in dev]
            if len(scores) == len(dev):
                means[evaluation.prompt.id] = math.fsum(scores) / len(scores)
        start, limit = means.get(result.seed_prompt.id), limits_of(record.configuration).max_tokens
        if start is None or limit is None:
            return None
        steps = [(tokens, means[prompt_id]) for tokens, prompt_id in incumbents.steps if prompt_id in means]
        return area_under_best_so_far(start, steps, limit)

    def _test_scores(
        self, task: Task, record: RunRecord, result: RunResult
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the scores of seed and found prompt on each test example, known since the run ended."""
        configuration = record.configuration
        lm, shared = ReplayedLM(configuration["model"]), configuration["use_cache"]
        how = {"shared": shared, "anew": times_anew(configuration)}
        models = cached_models(lm, lm, self.store.answers, run_id=record.id, **how, observer=SilentObserver())
        with tempfile.TemporaryDirectory() as folder:
            optimizer = optimizer_of(configuration, Path(folder))
        evaluator = Evaluator(models.lm, placed(task, optimizer), Budget())
        try:
            seed, best = evaluator.evaluate([result.seed_prompt, result.best], task.test)
        except BudgetExhausted as missing:
            raise StoreError(
                f"the run {record.id} has lost answers: {missing}", "delete the run and compare again"
            ) from missing
        return seed.scores, best.scores


def _what_it_found(result: RunResult) -> tuple[str, Prompt, int]:
    """Return what a replay that had all its answers has in common with the run."""
    return result.status, result.best, result.spend.tokens_requested
