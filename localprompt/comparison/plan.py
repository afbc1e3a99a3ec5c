"""Several methods on several tasks with the same budget, seed prompts and splits. Level 8.

A comparison is a list of runs in the store, each of which bears the comparison's name. All of them are entered before
the first one begins, so whatever kills the process, the store knows what is left to do. Answers are shared: what one
method asked costs the next one no time, and its whole price in tokens.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from localprompt.comparison.execute import Bench, settings_of
from localprompt.comparison.table import ComparedRun, Comparison, FailedRun, rows_of
from localprompt.errors import ConfigError, LocalPromptError, StoreError, TaskError, nearest
from localprompt.interface.advice import command
from localprompt.interface.arguments import checked
from localprompt.lm.base import LanguageModel
from localprompt.lm.loading import source_of
from localprompt.optimizers import Optimizer, configure
from localprompt.optimizers.registry import LOCAL, compared, presets
from localprompt.run import api as runs
from localprompt.run.config import (
    Limits,
    check_count,
    check_shape,
    check_version,
    describe,
    limits_of,
    needs_code,
)
from localprompt.run.estimate import Estimate
from localprompt.run.execute import placed
from localprompt.run.resume import opened_models
from localprompt.search.observer import Observer, SilentObserver
from localprompt.store import RunRecord, Store
from localprompt.store.records import dumped, identity_hash
from localprompt.tasks import Task
from localprompt.tasks.check import main_doubts
from localprompt.tasks.stored import from_plain

_TAG = "comparisons"
"""Key of a run's configuration: comparison id to [place of the run in it, number of its runs]."""
_SAME = ("version", "search", "meta_prompts", "model", "proposer", "method", "settings", "seed", "limits", "use_cache")
"""What a run's identity does not hold, or may have changed since it was given: resumed with a larger limit, say."""
_SAME_OF_TASK = ("name", "fingerprint")
"""The same of its task: tables tell tasks by their names, which no fingerprint holds."""


@checked
def compare(  # noqa: PLR0913 - a comparison has as many choices as the command
    tasks: Sequence[str | os.PathLike[str] | Task],
    model: str | Path | LanguageModel,
    *,
    max_tokens: int,
    methods: Sequence[str] | None = None,
    n_seeds: int = 3,
    proposer: str | Path | LanguageModel | None = None,
    preset: str = LOCAL,
    settings: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
    engine: Mapping[str, object] = MappingProxyType({}),
    max_calls: int | None = None,
    allow_code: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
    use_cache: bool = True,
    observer: Observer | None = None,
) -> Comparison:
    """Return what the methods found on the tasks, each `n_seeds` times with the seeds 0, 1, ...

    Called again with the same arguments it goes on: a run that was made here, for whatever, is taken as it is if it is
    finished and resumed if not. Imported runs take no part: nobody can tell here whether their results are true. A run
    that fails, also one whose metric raises, is reported in the result, and the others go on.

    Args:
        tasks: task files or loaded tasks, with different names.
        model: the task LM, by card name, path, or loaded; loaded once.
        max_tokens: for each search, tokens requested; also what the area under best-so-far is measured over.
        methods: registered optimisers; None: all that search.
        n_seeds: runs of each method on each task.
        proposer: the model that writes prompts; the task LM itself by default.
        preset: of each method that has it; the others keep their defaults.
        settings: method to its hyperparameters, by name.
        engine: settings of the engine, by name, for models that are loaded here.
        max_calls: for each search, model calls.
        allow_code: permits a task file to name a metric in Python, which runs code.
        store: where runs and answers are kept: open, by path, or the default one.
        use_cache: False: the runs share no answers with each other or with other runs.
        observer: told what happens.

    Raises:
        ConfigError, TaskError: before anything is loaded, for unknown names, impossible settings and wrong tasks.
        ModelError: if a model cannot be found or loaded.
        StoreError: if the store cannot be read or written, or another process has a run that is new to this comparison.
    """
    limits = _limits(max_tokens, max_calls)
    check_count("n_seeds", n_seeds)
    optimizers = _configured(methods, preset, settings)
    runs.check_engine(engine, model, proposer)
    loaded = _loaded(tasks, allow_code)
    observer = observer or SilentObserver()
    for task in loaded:
        runs.tell_before(task, observer, f"{task.name}: ")
    with ExitStack() as stack:
        home = runs.opened_store(store, stack)
        lm, writer = runs.opened_pair((model, proposer), (engine, engine), stack, observer)
        sources = {"model": source_of(model), "proposer": source_of(proposer)}
        other = None if writer is lm else writer
        known: dict[str, list[RunRecord]] = {}
        for record in _own_runs(home):
            known.setdefault(identity_hash(record.configuration), []).append(record)
        costs: dict[tuple[str, str], Estimate] = {}
        planned = []
        for task, seed, (method, optimizer) in itertools.product(loaded, range(n_seeds), optimizers.items()):
            described = describe(
                task,
                lm,
                other,
                optimizer,
                method=method,
                seed=seed,
                limits=limits,
                sources=sources,
                use_cache=use_cache,
            )
            wanted: dict[str, Any] = json.loads(dumped(described))
            same = _known_run(known, wanted)
            if same is None and (task.name, method) not in costs:
                observer.stage(f"estimating what {method} will cost on {task.name}")
                costs[task.name, method] = _cost(method, optimizer, task, (lm, writer), limits)
            planned.append((task, method, wanted, same))
        # Entered only now, when every row was found to fit.
        entered = [
            (task, _entered(home, wanted, costs[task.name, method]) if same is None else same)
            for task, method, wanted, same in planned
        ]
        return _carried_out(_tagged(home, entered), Bench(home, lm, other, observer))


@checked
def resume_comparison(  # noqa: PLR0913 - as above
    comparison: str,
    *,
    model: str | Path | LanguageModel | None = None,
    proposer: str | Path | LanguageModel | None = None,
    allow_code: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
) -> Comparison:
    """Return the result of a comparison that the store has, its unfinished runs gone on with to their end.

    Where all of them are finished, no model is needed.

    Args:
        comparison: the beginning of its id.
        model: where the task LM is now; by default where it was. Needed for one that was given loaded.
        proposer: the same of the proposer, for a comparison that has one of its own.
        allow_code: permits the metric in Python that a task names.
        store: where the runs are kept: open, by path, or the default one.
        observer: told what happens.

    Raises:
        StoreError: if there is no such comparison, a run of it is gone or unlike the others now, or the store fails.
        RunMismatch: if it was begun by another version or with other meta-prompts.
        ConfigError, TaskError, ModelError: as `compare`.
    """
    observer = observer or SilentObserver()
    with ExitStack() as stack:
        home = runs.opened_store(store, stack, create=False)
        name, records = _runs_of(home, comparison)
        for record in records:
            check_shape(record.configuration)
            check_version(record.configuration, _again(home))
        if proposer is not None and records[0].configuration["proposer"] is None:
            raise ConfigError(f"the comparison {name} has no proposer of its own", "leave out the proposer")
        planned = [(from_plain(each.configuration["task"], allow_code=allow_code), each) for each in records]
        _check_alike(home, name, planned)
        for task in _different(planned):
            runs.tell_before(task, observer, f"{task.name}: ")
        left = [record.configuration for record in records if record.status != "finished"]
        lm, writer = opened_models(left[0], (model, proposer), stack, observer) if left else (None, None)
        return _carried_out((name, planned), Bench(home, lm, None if writer is lm else writer, observer))


@dataclass(frozen=True, slots=True)
class Expected:
    """What one run of a comparison is expected to cost."""

    task: str
    method: str
    cost: Estimate


@checked
def expected_costs(  # noqa: PLR0913 - as `compare`
    tasks: Sequence[str | os.PathLike[str] | Task],
    model: str | Path | LanguageModel,
    *,
    max_tokens: int,
    methods: Sequence[str] | None = None,
    proposer: str | Path | LanguageModel | None = None,
    preset: str = LOCAL,
    settings: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
    engine: Mapping[str, object] = MappingProxyType({}),
    max_calls: int | None = None,
    allow_code: bool = False,
    observer: Observer | None = None,
) -> list[Expected]:
    """Return what a run of each method on each task will cost, tasks outermost; only rates are measured.

    Nothing is known of answers that are shared, so all runs together take less time than the sum.

    Raises:
        ConfigError, TaskError, ModelError: as `compare`.
    """
    limits = _limits(max_tokens, max_calls)
    optimizers = _configured(methods, preset, settings)
    runs.check_engine(engine, model, proposer)
    loaded = _loaded(tasks, allow_code)
    observer = observer or SilentObserver()
    for task in loaded:
        runs.tell_before(task, observer, f"{task.name}: ")
    with ExitStack() as stack:
        models = runs.opened_pair((model, proposer), (engine, engine), stack, observer)
        observer.stage("estimating what the searches will cost")
        return [
            Expected(task.name, method, _cost(method, optimizer, task, models, limits))
            for task in loaded
            for method, optimizer in optimizers.items()
        ]


def _cost(
    method: str, optimizer: Optimizer, task: Task, models: tuple[LanguageModel, LanguageModel], limits: Limits
) -> Estimate:
    """Return what a search will cost.

    Raises:
        LocalPromptError: naming method and task; a ContextOverflow if a row does not fit the model.
    """
    try:
        runs.check_fit(models[0], placed(task, optimizer))
        return runs.expected(optimizer, task, models, limits)
    except LocalPromptError as error:
        error.message = f"{method} on the task {task.name}: {error.message}"
        error.args = (error.message,)
        raise


def _limits(max_tokens: int, max_calls: int | None) -> Limits:
    check_count("max_tokens", max_tokens)  # not None: areas are measured over it
    return Limits(max_tokens, max_calls)


def _configured(
    methods: Sequence[str] | None, preset: str, settings: Mapping[str, Mapping[str, object]]
) -> dict[str, Optimizer]:
    """Return each method configured, in their order."""
    wanted = tuple(dict.fromkeys(compared() if methods is None else methods))
    if not wanted:
        raise ConfigError("no methods to compare", f"such as {', '.join(compared())}")
    having = {method: presets(method) for method in wanted}
    if not any(preset in known for known in having.values()):
        raise ConfigError(
            f"no method has a preset {preset!r}", nearest(preset, {name for p in having.values() for name in p})
        )
    for method in settings:
        if method not in having:
            raise ConfigError(f"settings for {method!r}, which is not compared", nearest(method, wanted))
    return {
        method: configure(method, settings.get(method, {}), preset if preset in having[method] else LOCAL)
        for method in wanted
    }


def _loaded(tasks: Sequence[str | os.PathLike[str] | Task], allow_code: bool) -> list[Task]:
    loaded = [runs.loaded_task(task, allow_code) for task in tasks]
    if not loaded:
        raise ConfigError("no tasks to compare on", "name one or more task files")
    for number, task in enumerate(loaded):
        runs.check_splits(task)
        if any(other.name == task.name for other in loaded[:number]):
            raise TaskError(f"two tasks are called {task.name}", "give one of them another `name`")
    return loaded


def _known_run(known: Mapping[str, Sequence[RunRecord]], wanted: Mapping[str, Any]) -> RunRecord | None:
    """Return the run of a configuration that the store has, finished rather than not; None where it has none.

    Args:
        known: hash of identity to its runs.
        wanted: the configuration as the store would give it back.
    """
    same = [
        record
        for record in known.get(identity_hash(wanted), ())
        if all(record.configuration.get(key) == wanted[key] for key in _SAME)
        and all(record.configuration["task"].get(key) == wanted["task"][key] for key in _SAME_OF_TASK)
    ]
    return next((record for record in same if record.status == "finished"), same[0] if same else None)


def _entered(home: Store, configuration: Mapping[str, Any], cost: Estimate) -> RunRecord:
    """Return a new run, which has not begun."""
    names = {role: (configuration[role] or configuration["model"])["name"] for role in ("model", "proposer")}
    names |= {"task": configuration["task"]["name"], "method": configuration["method"]}
    record = home.runs.create({**configuration, "expected": asdict(cost)}, seed=configuration["seed"], **names)
    home.runs.update(record.id, status="paused", stopped="it has not begun")
    return home.runs.get(record.id)


def _tagged(home: Store, entered: Sequence[tuple[Task, RunRecord]]) -> tuple[str, list[tuple[Task, RunRecord]]]:
    """Return the id of the comparison of these runs, which each of them bears then, and the runs."""
    ids = [record.id for _, record in entered]
    name = hashlib.sha256(" ".join(ids).encode()).hexdigest()[:12]
    for place, (_, record) in enumerate(entered):
        if name in _tags(record):
            continue
        with home.runs.hold(record.id):  # a process that has the run may be changing its limits
            now = home.runs.get(record.id)
            tagged = {**now.configuration, _TAG: {**_tags(now), name: [place, len(ids)]}}
            home.runs.update(record.id, configuration=tagged)
    return name, [(task, home.runs.get(record.id)) for task, record in entered]


def _own_runs(home: Store) -> list[RunRecord]:
    """Return the runs that were made here, newest first: an imported one can say anything of itself."""
    return [record for record in home.runs.all() if not record.imported]


def _tags(record: RunRecord) -> dict[str, list[int]]:
    """Return comparison id to [place, number of runs]; what is none is left out."""
    tags = record.configuration.get(_TAG)
    return {
        name: tag
        for name, tag in (tags.items() if isinstance(tags, dict) else ())
        if isinstance(tag, list) and [type(each) for each in tag] == [int, int]
    }


def _runs_of(home: Store, prefix: str) -> tuple[str, list[RunRecord]]:
    """Return the id of a comparison and its runs in their order."""
    found: dict[str, dict[int, RunRecord]] = {}
    sizes: dict[str, int] = {}
    for record in _own_runs(home):
        for name, (place, size) in _tags(record).items():
            if name.startswith(prefix):
                found.setdefault(name, {})[place] = record
                sizes[name] = size
    if len(found) != 1:
        several = f"several comparisons begin with {prefix!r}: {', '.join(sorted(found)[:5])}"
        raise StoreError(
            several if found else f"no comparison begins with {prefix!r} in {home.path}",
            "give more digits" if found else f"{_again(home)}; --store names another store",
        )
    ((name, placed_runs),) = found.items()
    gone = sizes[name] - sum(0 <= place < sizes[name] for place in placed_runs)
    if gone:
        raise StoreError(f"{gone} runs of the comparison {name} are gone", "compare again: those that are left count")
    return name, [placed_runs[place] for place in range(sizes[name])]


def _again(home: Store) -> str:
    """Return what to do about a comparison of which a run has changed."""
    anew = command("compare", store=home.path)
    return f"call {anew} with its tasks, methods and limits: runs that have changed are made again"


def _check_alike(home: Store, name: str, planned: Sequence[tuple[Task, RunRecord]]) -> None:
    """Check that runs still differ in nothing but task, method and seed; each can be gone on with by itself.

    Raises:
        StoreError: naming the first run that does, and in what.
    """
    _, first = planned[0]
    for task, record in planned:
        if task.fingerprint != record.configuration["identity"]["task"]:
            raise StoreError(
                f"the run {record.id} of the comparison {name} has gone on with another task", _again(home)
            )
        now, expected = _shared_by_all(record.configuration), _shared_by_all(first.configuration)
        for what, value in now.items():
            if value != expected[what]:
                two = f"the runs {first.id} and {record.id} of the comparison {name}"
                raise StoreError(f"{two} differ in {what}", _again(home))


def _shared_by_all(configuration: Mapping[str, Any]) -> dict[str, object]:
    limits = limits_of(configuration)
    return {
        **{"max_tokens": limits.max_tokens, "max_calls": limits.max_calls},
        **{role: (configuration[role] or configuration["model"])["fingerprint"] for role in ("model", "proposer")},
        **{key: configuration[key] for key in ("version", "use_cache")},
    }


def _carried_out(comparison: tuple[str, Sequence[tuple[Task, RunRecord]]], bench: Bench) -> Comparison:
    name, planned = comparison
    done: list[ComparedRun] = []
    failed: list[FailedRun] = []
    configurations = {record.method: record.configuration for _, record in planned}
    methods = {method: settings_of(configuration) for method, configuration in configurations.items()}
    bench.observer.note(f"comparison {name}, {len(planned)} runs, kept in {bench.store.path}")
    for number, (task, record) in enumerate(planned, start=1):
        what = f"{task.name}, {record.method}, seed {record.seed}"
        bench.observer.note(f"run {number} of {len(planned)}: {what}")
        try:
            done.append(bench.execute_run(task, record))
        except LocalPromptError as error:
            failed.append(FailedRun(record.id, task.name, record.method, record.seed, error.message, error.hint))
            bench.observer.note(f"{what} failed: {error.message}")
        except KeyboardInterrupt:
            is_code = any(needs_code(record.configuration) for _, record in planned)
            allowed = ("--allow-code",) if is_code else ()
            again = command("compare", "--resume", name, *allowed, store=bench.store.path)
            bench.observer.note(f"{again} goes on where this ended")
            raise
    first = planned[0][1]
    limits = limits_of(first.configuration)
    tasks = _different(planned)
    rows, over_tasks = rows_of(done, [task.name for task in tasks])
    return Comparison(
        id=name,
        model=first.model,
        proposer=first.proposer,
        max_tokens=limits.max_tokens or 0,
        max_calls=limits.max_calls,
        methods=methods,
        runs=tuple(done),
        failures=tuple(failed),
        rows=rows,
        over_tasks=over_tasks,
        notes=tuple(f"{task.name}: {doubt}" for task in tasks for doubt in main_doubts(task, "test", "dev", "train")),
    )


def _different(planned: Sequence[tuple[Task, RunRecord]]) -> list[Task]:
    """Return the tasks of the runs in their order, each once."""
    return list({task.name: task for task, _ in planned}.values())
