"""What a run searches for and how: everything of it but its models. Level 7."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from localprompt.errors import ConfigError, TaskError
from localprompt.interface.arguments import check_record
from localprompt.interface.values import told
from localprompt.lm.budget import Budget
from localprompt.optimizers import Optimizer, configure
from localprompt.tasks import Task, load_task
from localprompt.tasks.answers import guarded_answer
from localprompt.tasks.metrics import guarded_metric
from localprompt.tasks.template import Position

_MOST = 10**15  # an estimate goes a little beyond a limit, and the store keeps whole numbers up to 10 ** 18


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a search ends; None: nowhere.

    Raises:
        ConfigError: naming the limit that is none.
    """

    max_tokens: int | None = None
    max_calls: int | None = None
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_calls"):
            if (value := getattr(self, name)) is not None:
                check_count(name, value)
        minutes = self.max_minutes
        # `nan` is below no number, so no time would ever be over.
        is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
        if minutes is not None and not (is_number and 0 < minutes <= _MOST):
            raise ConfigError(f"max_minutes is {told(minutes)}", "give a number above 0, or none for no limit")

    def without_minutes(self) -> Limits:
        """Return the limits on tokens and calls alone: minutes are those of one session."""
        return Limits(self.max_tokens, self.max_calls)

    def budget(self) -> Budget:
        """Return a new budget with these limits; its minutes begin now."""
        return Budget(max_tokens=self.max_tokens, max_calls=self.max_calls, max_minutes=self.max_minutes)


def check_count(name: str, value: object, least: int = 1) -> None:
    """Check that something is a number of things, or with `least` 0 the seed of everything random.

    Raises:
        ConfigError: naming it.
    """
    if not (type(value) is int and least <= value <= _MOST):
        raise ConfigError(f"{name} is {told(value)}", f"give a whole number from {least} to {_MOST}")


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A search as it is asked for.

    Raises:
        ConfigError: if the seed is none.
        TaskError: if the task lacks examples to choose by, examples to test with, or prompts to begin with.
    """

    task: Task
    """As the user has it."""
    method: str
    optimizer: Optimizer
    seed: int
    limits: Limits
    placed: Task = field(init=False)
    """The task with the instruction where the optimiser wants it; most leave it where the task has it."""

    def __post_init__(self) -> None:
        check_count("seed", self.seed, least=0)
        task = self.task
        if not task.seeds:
            raise TaskError(f"the task {task.name} has no seed prompts", "the empty one is Prompt('')")
        if not task.dev or not task.test:
            missing = "test" if task.dev else "dev"
            raise TaskError(f"the task {task.name} has no {missing} examples", "a search needs both")
        position: Position = getattr(self.optimizer, "position", "task")
        object.__setattr__(self, "placed", replace(task, layout=task.layout.placed(position)))


def read_spec(
    task: str | os.PathLike[str] | Task,
    method: tuple[str, str, Mapping[str, object]],
    seed: int,
    limits: Limits,
    *,
    allow_code: bool,
) -> RunSpec:
    """Return a search from what a user names; nothing is loaded but the task.

    Args:
        task: a task file or a loaded task.
        method: the name of the method, its preset, and the settings that differ from it.
        seed: of everything random.
        limits: where the search ends.
        allow_code: permits a task file to name a metric in Python.

    Raises:
        ConfigError: for unknown names and impossible settings.
        TaskError: if the task file or its data is wrong, or lacks what a search needs.
    """
    name, preset, settings = method
    optimizer = configure(name, settings, preset)
    check_count("seed", seed, least=0)
    return RunSpec(loaded_task(task, allow_code=allow_code), name, optimizer, seed, limits)


def loaded_task(task: str | os.PathLike[str] | Task, *, allow_code: bool) -> Task:
    """Return the task, read if need be; a metric or an answer function of the user's own that raises is a TaskError.

    Raises:
        ConfigError: if it was made in Python, and holds what it cannot.
        TaskError: if its file or its data is wrong.
    """
    if isinstance(task, Task):
        check_record("task", task)
    else:
        task = load_task(task, allow_code=allow_code)
    return replace(task, answer=guarded_answer(task.answer), metric=guarded_metric(task.metric))
