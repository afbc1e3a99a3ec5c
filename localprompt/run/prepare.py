"""A run made ready: it fits its models. Level 7. Every run starts from here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from localprompt.errors import ConfigError
from localprompt.lm.budget import Budget
from localprompt.run.models import Models
from localprompt.run.spec import RunSpec
from localprompt.search.observer import Observer
from localprompt.stats.power import smallest_detectable_gain
from localprompt.tasks import Task
from localprompt.tasks.check import main_doubts
from localprompt.tasks.copies import n_different

_ROOM = 128
"""Tokens by which a found prompt may be longer than the seed before an example does not fit the context."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A search with its open models."""

    spec: RunSpec
    models: Models


def prepare(spec: RunSpec, models: Models) -> Prepared:
    """Return a search whose every dev and test example fits the context with a prompt somewhat longer than the seed.

    Raises:
        ContextOverflow: naming the first example that does not; only tokenisers were asked.
        ConfigError: if labels are to be compared by a model that only replies.
    """
    task = spec.placed
    if task.labels and not models.lm.facts.can_score:
        raise ConfigError(
            f"the task has labels, and {models.lm.facts.name} gives no log-probabilities to compare them by",
            "use it as --proposer, or leave out labels and have the answers written",
        )
    spec.evaluator(models.lm, Budget()).check_fit(task.seeds[0], (*task.dev, *task.test), room=_ROOM)
    return Prepared(spec, models)


def tell_before(task: Task, observer: Observer, prefix: str = "") -> None:
    """Note which gain a task can show, where it can show one, and what is doubtful about its scores."""
    n = n_different(task.tested)
    gain = smallest_detectable_gain(n)
    if gain is not None:
        what = "different test examples" if n < len(task.tested) else "test examples"
        observer.note(f"{prefix}{n} {what} can show a gain of about {math.ceil(100 * gain)} points or more")
    for doubt in main_doubts(task, "test", "dev", "train"):
        observer.note(f"{prefix}{doubt}")
