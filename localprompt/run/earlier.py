"""What an earlier run found, for a search that begins with it. Level 7.

The run may be of another model, fewer rows or an older prompt. Only prompts are taken of it, no scores, so that nothing
depends on whether these are true here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from localprompt.errors import ConfigError, StoreError
from localprompt.proposals.similarity import gist
from localprompt.run.config import RunConfig
from localprompt.run.results import RunResult, Split
from localprompt.run.session import StoreSource, opened_store
from localprompt.run.spec import RunSpec
from localprompt.search.observer import pluralize
from localprompt.tasks import Task
from localprompt.tasks.copies import inputs_of
from localprompt.tasks.stored import read_example
from localprompt.tasks.task import check_one_split
from localprompt.types import Evaluation, Prompt

_MOST = 5
"""Prompts of an earlier run that a search begins with."""


def begun_with(spec: RunSpec, run: str | None, store: StoreSource) -> RunSpec:
    """Return the search, beginning with the best prompts of an earlier run beside the task's seeds; as it is for None.

    Those are the winner and the different candidates that were measured on most of dev, best first. Worked examples
    that the task cannot show, or that are among its dev or test rows, are left out. Test rows from which the earlier
    search may have learnt are told of in the notes, and so is a run that shares no row with the task.

    Raises:
        ConfigError: if no prompt of the run was measured.
        StoreError: if there is no such run, or it is damaged.
        TaskError: if the task is cross-validated: each of its rows was seen by the earlier search.
    """
    if run is None:
        return spec
    task = spec.task
    check_one_split(task, "its searches cannot begin with prompts that were chosen on rows of all its folds")
    with opened_store(store, create=False) as home:
        record = home.runs.get(run)
        config = RunConfig.read(record.configuration)
        measured = best_first_on_dev(home.runs.evaluations(record.id, "metric"))
    best = [] if record.result is None else [RunResult.from_json(record.result).best]
    chosen = different([*best, *measured], task.seeds, _MOST)
    if not chosen and not measured:
        raise ConfigError(f"no prompt of the run {record.id} was measured", "name another run, or resume it first")
    if not chosen:
        return replace(spec, notes=(f"no prompt of the run {record.id} differs from those of the task",))
    usable = [_usable(prompt, task) for prompt in chosen]
    warm = tuple(different(usable, task.seeds, _MOST))
    stripped = [after for before, after in zip(chosen, usable, strict=True) if len(before.demos) > len(after.demos)]
    bare = sum(each in stripped for each in warm)
    seen = known_inputs(config, "train", "dev")
    n_seen = sum(inputs_of(each) in seen for each in task.test)
    notes = [f"the search began with {pluralize(len(warm), 'prompt')} of the run {record.id}"]
    if bare:
        notes.append(f"{bare} of them without their worked examples, which this task cannot show")
    if seen.isdisjoint(inputs_of(each) for each in (*task.train, *task.dev, *task.test)):
        notes.append(f"no row of this task was a train or dev row of the run {record.id}, which may be of another task")
    if n_seen:
        which = f"{n_seen} of {len(task.test)} test rows were train or dev rows of the run {record.id}"
        notes.append(f"{which}: scores on test are too good for prompts that come from it")
    if config.notes:
        notes.append(f"the run {record.id} itself began with another: test rows that this saw are not known")
    return replace(spec, warm=warm, notes=tuple(notes))


def best_first_on_dev(evaluations: Iterable[Evaluation]) -> list[Prompt]:
    """Return the prompts with as many dev rows as any, the highest mean first."""
    measured = [each for each in evaluations if each.dev_scores]
    most = max((len(each.dev_scores) for each in measured), default=0)
    finalists = [each for each in measured if len(each.dev_scores) == most]
    return [each.prompt for each in sorted(finalists, key=lambda each: -math.fsum(each.dev_scores))]


def different(prompts: Iterable[Prompt], known: Sequence[Prompt], most: int) -> list[Prompt]:
    """Return the first `most` prompts that say something else than those known and those before them."""
    seen, chosen = {_content(prompt) for prompt in known}, list[Prompt]()
    for prompt in prompts:
        if _content(prompt) not in seen and len(chosen) < most:
            seen.add(_content(prompt))
            chosen.append(prompt)
    return chosen


def known_inputs(config: RunConfig, *splits: Split) -> set[tuple[tuple[str, str], ...]]:
    """Return the inputs of the rows that a run has in some splits.

    Raises:
        StoreError: if the task of the run is damaged.
    """
    try:
        return {inputs_of(read_example(each)) for split in splits for each in config.task[split]}
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"the task of the run is damaged ({error})", "name another run") from error


def _content(prompt: Prompt) -> tuple[str, tuple[object, ...]]:
    return gist(prompt.instruction), prompt.demos and tuple((str(dict(d.inputs)), d.output) for d in prompt.demos)


def _usable(prompt: Prompt, task: Task) -> Prompt:
    """Return the prompt, without worked examples where one of them is no row that may be shown."""
    kept_apart = {inputs_of(each) for each in (*task.dev, *task.test)}
    is_shown = task.layout.has_demos and all(
        demo.inputs.keys() == set(task.inputs)
        and tuple(sorted(demo.inputs.items())) not in kept_apart
        and (not task.labels or demo.output in task.labels)
        for demo in prompt.demos
    )
    return prompt if is_shown else replace(prompt, demos=())
