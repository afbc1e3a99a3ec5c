"""What a transfer study found of prompts and models, as records and as JSON. Level 8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from localprompt.battery.results import RankAgreement
from localprompt.run.measuring import ModelIdentity
from localprompt.stats.equality import FromOriginal
from localprompt.stats.intervals import Difference, Interval
from localprompt.stats.resampling import Estimate
from localprompt.stats.variance import VarianceShares
from localprompt.store.plain import PlainRecord
from localprompt.types import Prompt, Spend

KIND = "transfer"
"""Of study in the store."""


@dataclass(frozen=True, slots=True)
class MeasuredModel(ModelIdentity):
    """A model that all prompts were measured on."""

    spend: Spend
    """On all tasks."""


@dataclass(frozen=True, slots=True)
class GivenPrompt:
    """A prompt that is measured, and where it comes from."""

    prompt: Prompt
    origin: str
    """For people, such as `prompts.txt:3`."""
    task: str = ""
    """Name of the task that it was found on and is measured on alone; empty: of no task, and measured on all."""
    fingerprint: str = ""
    """Of that task."""
    found_on: tuple[str, ...] = ()
    """Fingerprints of the models that it was found on."""
    notes: tuple[str, ...] = ()
    """What is doubtful about it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One prompt on one model."""

    prompt: int = field(metadata={"key": "prompt_number"})
    """Place of the prompt."""
    model: int = field(metadata={"key": "model_number"})
    """Place of the model."""
    dev: Interval
    """By which prompts are chosen."""
    score: Interval
    """On test."""
    scores: tuple[float, ...]
    """Of the test rows, in their order."""
    is_best: bool
    """True for the prompt with the highest score of this model on dev; of equal ones that which is the best for most
    models, then that with the highest mean over models, then the first."""
    is_own: bool
    """True for a prompt that was found on this model."""
    gain: FromOriginal | None
    """On test: this prompt minus the seed prompt; None for the seed prompt."""
    gap: FromOriginal | None
    """On test: this prompt minus this model's best prompt; None for that one. Below 0 where the prompt loses."""
    regret: Estimate | None
    """1 - A(prompt) / A(best) on test; below 0 where it scores more. None for the best one, and where that scores 0."""
    unreadable: int
    """Completions of test rows that hold no answer; they score 0."""
    failed: int
    """Test rows that the model could not be asked about; they score 0."""


@dataclass(frozen=True, slots=True)
class BestForAll:
    """The one prompt that all models would have to share, chosen on dev, measured on test."""

    by: Literal["mean", "worst"]
    """What it is the best in on dev: the mean over the models, or the score of the model that it is worst for."""
    prompt: int = field(metadata={"key": "prompt_number"})
    score: Interval
    """Mean over models and test rows."""
    lowest: Estimate
    """Lowest score of a model on test."""
    lowest_model: int
    cost: Difference
    """Its mean minus the mean of each model's best prompt, on test."""


@dataclass(frozen=True, slots=True)
class TaskTransfer:
    """One task."""

    task: str
    n_dev: int
    example_ids: tuple[str, ...]
    """Of the test rows, in their order."""
    prompts: tuple[GivenPrompt, ...]
    """The seed prompt first."""
    cells: tuple[Cell, ...]
    """Prompts outermost."""
    best_for_all: tuple[BestForAll, ...]
    rank_agreement: tuple[RankAgreement, ...]
    """Of each pair of models, on test."""
    variance: VarianceShares | None
    """Where the scores on test come from; None for a single test row."""
    smallest_difference: float | None
    """Between two prompts that so many rows reliably show; None where they can show none."""
    verdict: str
    """In a sentence or two."""

    def cell(self, prompt: int, model: int) -> Cell:
        """Return a prompt on a model, each by its place."""
        return self.cells[prompt * (len(self.cells) // len(self.prompts)) + model]

    def best(self, model: int) -> Cell:
        """Return the best prompt of a model, chosen on dev."""
        return next(each for each in self.cells if each.model == model and each.is_best)


@dataclass(frozen=True, slots=True)
class Transfer(PlainRecord):
    """Whether prompts carry over from model to model."""

    id: str = field(metadata={"key": KIND})
    """Of the study in the store; 12 hexadecimal digits; empty where nothing is kept."""
    models: tuple[MeasuredModel, ...]
    """In the order in which they were given."""
    tasks: tuple[TaskTransfer, ...]
    notes: tuple[str, ...]

    def to_csv(self) -> Iterator[dict[str, object]]:
        """Yield a row for each score on test, in the long form that `evalstats` reads."""
        for task in self.tasks:
            for cell in task.cells:
                named = f"{cell.prompt} {task.prompts[cell.prompt].origin}"
                model = self.models[cell.model].model
                for item, score in zip(task.example_ids, cell.scores, strict=True):
                    yield dict(zip(CSV_COLUMNS, (named, item, score, model, 0, task.task), strict=True))


CSV_COLUMNS = ("prompt", "item", "score", "model", "run", "task")
