"""What a run searches for and how: everything of it but its models. Level 7."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from localprompt.errors import ConfigError, TaskError, nearest
from localprompt.interface.arguments import check_record
from localprompt.interface.values import told
from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.deadline import Deadline
from localprompt.optimizers import Optimizer, configure
from localprompt.optimizers.registry import LOCAL, current_names
from localprompt.search.evaluator import Evaluator
from localprompt.tasks import Task, load_task
from localprompt.tasks.answers import guarded_answer
from localprompt.tasks.data import SPLITS, in_proportion
from localprompt.tasks.metrics import guarded_metric
from localprompt.tasks.task import check_one_split
from localprompt.tasks.template import Position, slots
from localprompt.types import Example, Prompt
from localprompt.variants.robust import WEIGHTS, Objective, RobustEvaluator

_MOST = 10**15  # an estimate goes a little beyond a limit, and the store keeps whole numbers up to 10 ** 18

TaskSource = str | os.PathLike[str] | Task
"""A task as a user gives it: a file, or loaded."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a search ends; None: nowhere.

    Raises:
        ConfigError: naming the limit that is none.
    """

    max_tokens: int | None = field(default=None, metadata={"key": "max_computed"})
    """Tokens computed, as `Spend` counts them."""
    max_calls: int | None = None
    max_minutes: float | None = field(default=None, metadata={"key": "finish_within"})
    """Minutes from the beginning of the session, after which its result is there, test included."""
    pause_after: float | None = field(default=None, metadata={"key": "max_minutes"})
    """Minutes after which the search pauses."""
    max_requested: int | None = field(default=None, metadata={"key": "max_tokens"})
    """Tokens requested: the limit that runs of before have."""

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_calls", "max_requested"):
            if (value := getattr(self, name)) is not None:
                check_count(name, value)
        for name in ("max_minutes", "pause_after"):
            minutes = getattr(self, name)
            # `nan` is below no number, so no time would ever be over.
            is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
            if minutes is not None and not (is_number and 0 < minutes <= _MOST):
                raise ConfigError(f"{name} is {told(minutes)}", "give a number above 0, or none for no limit")

    def deadline(self) -> Deadline | None:
        """Return the end of a session that begins now; None where no minutes are given."""
        return None if self.max_minutes is None else Deadline(self.max_minutes)

    def without_minutes(self) -> Limits:
        """Return the limits on tokens and calls alone: minutes are those of one session."""
        return replace(self, max_minutes=None, pause_after=None)

    def budget(self, deadline: Deadline | None = None) -> Budget:
        """Return a new budget with these limits, and a deadline if there is one; its minutes begin now."""
        return Budget(
            max_tokens=self.max_tokens,
            max_requested=self.max_requested,
            max_calls=self.max_calls,
            pause_after=self.pause_after,
            deadline=deadline,
        )


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
    fixed: Sequence[str] | None = ()
    """Settings that the user gave, which no budget changes; None: all, as in a preset of a paper."""
    n_dev: int | None = None
    """Dev examples that the search sees, where its budget is too small for all of them."""
    warm: tuple[Prompt, ...] = ()
    """Prompts that the search begins with beside the task's seeds, such as those found for another model. They are
    candidates like others: one that wins is ahead of the seed."""
    tested_too: tuple[Prompt, ...] = ()
    """Prompts that are measured on test beside the seed and the winner, in the same call."""
    objective: Objective = "score"
    """What the search maximises."""
    notes: tuple[str, ...] = ()
    """What a reader of the result should know of how it began."""
    placed: Task = field(init=False)
    """The task as the search sees it: with the instruction where the optimiser wants it, and `n_dev` dev examples."""

    def __post_init__(self) -> None:
        check_count("seed", self.seed, least=0)
        task = self.task
        if not task.seeds:
            raise TaskError(f"the task {task.name} has no seed prompts", "the empty one is Prompt('')")
        if not task.dev or not task.tested:
            missing = "test" if task.dev else "dev"
            raise TaskError(f"the task {task.name} has no {missing} examples", "a search needs both")
        position: Position = getattr(self.optimizer, "position", "task")
        dev = seen_dev(task, self.n_dev, self.seed)
        object.__setattr__(self, "placed", replace(task, dev=dev, layout=task.layout.placed(position)))

    def evaluator(self, lm: LanguageModel, budget: Budget, task: Task | None = None) -> Evaluator:
        """Return what scores prompts by the objective.

        Args:
            lm: the task LM.
            budget: that everything asked is charged to.
            task: by default `placed`.
        """
        # Labels have their prior on the same rows whatever the budget makes of dev.
        asked = replace(task or self.placed, dev=self.task.dev)
        if self.objective == "score":
            return Evaluator(lm, asked, budget)
        return RobustEvaluator(lm, asked, budget, WEIGHTS[self.objective], self.seed)


def order_of(task: Task, examples: Sequence[Example], seed: int) -> list[Example]:
    """Return examples of a task in the order in which those come first that are measured where not all can be."""
    return in_proportion(examples, random.Random(seed), has_labels=bool(task.labels))


def seen_dev(task: Task, n_dev: int | None, seed: int) -> tuple[Example, ...]:
    """Return the dev examples that a search sees, in the order of the task; all of them where `n_dev` is None."""
    chosen = {example.id for example in order_of(task, task.dev, seed)[:n_dev]}
    return tuple(example for example in task.dev if example.id in chosen)


def read_spec(
    task: TaskSource, method: tuple[str, str, Mapping[str, object]], seed: int, limits: Limits, *, allow_code: bool
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
    fixed = current_names(name, settings) if preset == LOCAL else None
    return RunSpec(loaded_task(task, allow_code=allow_code), name, optimizer, seed, limits, fixed)


def loaded_tasks(tasks: Sequence[TaskSource], what: str, *, allow_code: bool) -> list[Task]:
    """Return tasks that are measured side by side, read if need be.

    Args:
        tasks: task files or loaded tasks.
        what: cannot be done without a test split, as in `check_one_split`.
        allow_code: permits a task file to name a metric in Python.

    Raises:
        ConfigError: if there is none.
        TaskError: if a file or its data is wrong, a task is cross-validated, or two have one name.
    """
    if not tasks:
        raise ConfigError("there is no task to measure on", "name one or more task files")
    loaded = [loaded_task(task, allow_code=allow_code) for task in tasks]
    for number, task in enumerate(loaded):
        check_one_split(task, what)
        if any(other.name == task.name for other in loaded[:number]):
            raise TaskError(f"two tasks are called {task.name}", "give one of them another `name`")
    return loaded


def rows_of(task: Task, split: str, what: str) -> tuple[Example, ...]:
    """Return the rows of a split, train, dev or test.

    Raises:
        TaskError: if there are none, or test is asked for and the task is cross-validated; then `what` says what cannot
            be done, as in `check_one_split`.
    """
    if split == "test":
        check_one_split(task, what)
    examples: tuple[Example, ...] = getattr(task, split)
    if not examples:
        raise TaskError(f"the task {task.name} has no {split} examples", "choose another split")
    return examples


def loaded_task(task: TaskSource, *, allow_code: bool, unlabelled: bool = False) -> Task:
    """Return the task, read if need be, without its answers if `unlabelled`.

    A metric or an answer function of the user's own that raises is a TaskError.

    Raises:
        ConfigError: if it was made in Python, and holds what it cannot.
        TaskError: if its file, its layout or its data is wrong, or different examples have one id.
    """
    if isinstance(task, Task):
        check_record("task", task)
        _check_content(task, unlabelled=unlabelled)
        task = _told_apart(task)
    else:
        task = load_task(task, allow_code=allow_code, unlabelled=unlabelled)
    return replace(task, answer=guarded_answer(task.answer), metric=guarded_metric(task.metric))


def _check_content(task: Task, *, unlabelled: bool) -> None:
    """Raise where a task made in Python has what no task file could have: a prompt would be lost, or no answer right.

    Raises:
        TaskError: naming the label, the layout or the example.
    """
    layout, labels = task.layout, task.labels
    if twice := [label for number, label in enumerate(labels) if label in labels[:number]]:
        raise TaskError(f"the task {task.name} has the label {twice[0]!r} twice", "remove one of them")
    if not any("instruction" in slots(text) for text in (layout.template, layout.system, layout.opening)):
        raise TaskError(f"the layout of the task {task.name} has no {{{{instruction}}}} slot", "say where it goes")
    for example in (*task.train, *task.dev, *task.test):
        where = f"the example {example.id!r} of the task {task.name}"
        if missing := [name for name in task.inputs if name not in example.inputs]:
            raise TaskError(f"{where} has no input {missing[0]!r}", "give it every input that the task names")
        if not example.targets and not unlabelled:
            raise TaskError(f"{where} has no target", "give it the right answers, one at least")
        if labels and (others := [target for target in example.targets if target not in labels]):
            raise TaskError(f"{where}: the target {others[0]!r} is not among the labels", nearest(others[0], labels))


def _told_apart(task: Task) -> Task:
    """Return the task with the split before the id of each example that lacks it: by that results tell the splits.

    Raises:
        TaskError: if two examples have one id: the score of one would be taken for that of the other.
    """
    known, rows = dict[str, Example](), dict[str, Any]()
    for split in SPLITS:
        before = f"{split}:"
        rows[split] = tuple(replace(each, id=before + each.id.removeprefix(before)) for each in getattr(task, split))
        for example in rows[split]:
            if known.setdefault(example.id, example) != example:
                problem = f"two different examples of the task {task.name} have the id {example.id!r}"
                raise TaskError(problem, "make it of the split and a number, such as dev:3, which no other example has")
    # What it is stays the same, and so does a fingerprint that somebody chose.
    return replace(task, **rows, fingerprint=str(task.fingerprint))
