"""One run of a comparison: carried out, and what is measured of it beside its result. Level 8."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from pathlib import Path

from localprompt.comparison.table import ComparedRun, MethodSettings
from localprompt.errors import StoreError
from localprompt.optimizers.registry import presets
from localprompt.run.config import RunConfig
from localprompt.run.inlined import inline_files
from localprompt.run.results import RunResult
from localprompt.run.spec import seen_dev
from localprompt.search.proposer import REFUSED
from localprompt.stats.anytime import area_under_best_so_far
from localprompt.store import RunRecord, Store
from localprompt.store.records import dumped
from localprompt.tasks import Task
from localprompt.tasks.copies import numbered


def settings_of(config: RunConfig) -> MethodSettings:
    """Return how the method of a run was configured; of two presets that it is as near to, the first.

    Raises:
        ConfigError: if this version has no such method or setting.
    """
    with tempfile.TemporaryDirectory() as folder:
        fields = dataclasses.fields(config.optimizer(Path(folder)))
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    settings, method = config.settings, config.method
    differing = {}
    for preset, values in presets(method).items():
        plain = json.loads(dumped(inline_files({**defaults, **values})))
        changed = {name: value for name, value in settings.items() if name not in plain or plain[name] != value}
        differing[preset] = {
            name: sorted(value["files"]) if isinstance(value, dict) else value for name, value in changed.items()
        }
    nearest = min(differing, key=lambda preset: len(differing[preset]))
    return MethodSettings(nearest, differing[nearest], settings)


def compared_run(store: Store, task: Task, record: RunRecord, result: RunResult) -> ComparedRun:
    """Return a finished run with what a comparison needs of it.

    Raises:
        StoreError: if its test scores are gone.
    """
    # A run may have gone on with a task that differs in its name alone.
    result = dataclasses.replace(result, task=task.name)
    seed_scores, best_scores = _test_scores(store, task, record, result)
    accepted = sum(candidate.is_proposed for candidate in store.runs.candidates(record.id))
    best_so_far, area = _best_so_far(store, task, record, result)
    return ComparedRun(
        result=result,
        seed_scores=seed_scores,
        best_scores=best_scores,
        area=area,
        proposals=accepted + sum(n for reason, n in result.discards.items() if reason != REFUSED),
        copies=numbered(task.test),
        best_so_far=best_so_far,
    )


def _best_so_far(
    store: Store, task: Task, record: RunRecord, result: RunResult
) -> tuple[tuple[tuple[int, float], ...], float | None]:
    """Return the dev score of the best prompt so far, from which tokens on, and the area under that.

    Nothing and None where the seed prompt has no score on all of dev, or no tokens were the limit.

    Each prompt counts with its mean over all of dev, not with the one that it was chosen by: a few examples flatter the
    best of many, and methods differ in how many they choose by. A prompt that was never measured on all of dev has no
    mean that compares, so the one before it goes on.
    """
    config = RunConfig.read(record.configuration)
    dev = {example.id for example in seen_dev(task, config.n_dev, config.seed)}
    means: dict[str, float] = {}
    for evaluation in store.runs.evaluations(record.id, "metric"):
        scores = [outcome.score for outcome in evaluation.outcomes if outcome.example_id in dev]
        if len(scores) == len(dev):
            means[evaluation.prompt.id] = math.fsum(scores) / len(scores)
    start, limits = means.get(result.seed_prompt.id), config.limits
    limit = limits.max_tokens or limits.max_requested
    if start is None or limit is None:
        return (), None
    steps = [
        (each.tokens_computed if limits.max_tokens else each.tokens_requested, means[each.prompt_id])
        for each in result.trajectory
        if each.prompt_id in means
    ]
    return ((0, start), *steps), area_under_best_so_far(start, steps, limit)


def _test_scores(
    store: Store, task: Task, record: RunRecord, result: RunResult
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the scores of seed and found prompt on each test example, known since the run ended.

    Raises:
        StoreError: if they are gone.
    """
    known = store.runs.by_example(record.id, "test")
    try:
        seed, best = ([known[each.id][row.id].score for row in task.test] for each in (result.seed_prompt, result.best))
    except KeyError as gone:
        problem = f"the run {record.id} has no test scores any more"
        raise StoreError(problem, "delete the run and compare again") from gone
    return tuple(seed), tuple(best)
