"""Several methods on several tasks with the same budget, seed prompts and splits. Level 8.

A comparison is a list of runs in the store, each of which bears the comparison's name. All of them are entered before
the first one begins, so whatever kills the process, the store knows what is left to do. Answers are shared: what one
method asked costs the next one no time, and its whole price in tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

from localprompt.comparison.execute import compared_run, settings_of
from localprompt.comparison.table import ComparedRun, Comparison, FailedRun, MethodSettings, rows_of
from localprompt.errors import ConfigError, LocalPromptError, RunInUse, StoreError, nearest
from localprompt.interface.advice import command
from localprompt.interface.arguments import checked
from localprompt.optimizers import Optimizer, configure
from localprompt.optimizers.registry import LOCAL, compared, current_names, presets
from localprompt.run.api import sources
from localprompt.run.config import RunConfig
from localprompt.run.estimate import Estimate
from localprompt.run.journal import enter_for_later
from localprompt.run.models import Models, Named, check_engine, open_models
from localprompt.run.prepare import prepare, tell_before
from localprompt.run.results import is_cut
from localprompt.run.resume import models_of, resume
from localprompt.run.session import StoreSource, opened_store
from localprompt.run.sizing import planned
from localprompt.run.spec import Limits, RunSpec, TaskSource, check_count, loaded_tasks
from localprompt.search.observer import Observer, SilentObserver
from localprompt.store import RunRecord, Store, Study
from localprompt.store.records import identity_hash
from localprompt.tasks import Task
from localprompt.tasks.check import main_doubts
from localprompt.tasks.stored import from_plain
from localprompt.variants.robust import Objective

KIND = "comparison"
"""Of study in the store."""
_NO_FOLDS = "compare cannot do that yet"


@checked
def compare(  # noqa: PLR0913 - a comparison has as many choices as the command
    tasks: Sequence[TaskSource],
    model: Named,
    *,
    max_tokens: int,
    methods: Sequence[str] | None = None,
    n_seeds: int = 3,
    proposer: Named | None = None,
    preset: str = LOCAL,
    settings: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
    objective: Objective = "score",
    engine: Mapping[str, object] = MappingProxyType({}),
    max_calls: int | None = None,
    allow_code: bool = False,
    store: StoreSource = None,
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
        max_tokens: for each search, tokens computed; also what the area under best-so-far is measured over.
        methods: registered optimisers; None: all that search.
        n_seeds: runs of each method on each task.
        proposer: the model that writes prompts; the task LM itself by default.
        preset: of each method that has it; the others keep their defaults.
        settings: method to its hyperparameters, by name.
        objective: what each search maximises, as in `optimize`; test is of prompts as they are.
        engine: settings of the engine, by name, for models that are loaded here.
        max_calls: for each search, model calls.
        allow_code: permits a task file to name a metric in Python, which runs code.
        store: where runs and answers are kept: open, by path, or the default one.
        use_cache: False: the runs share no answers with each other or with other runs.
        observer: told what happens.

    Raises:
        ConfigError, TaskError: before anything is loaded, for unknown names, impossible settings and wrong tasks.
        ModelError: if a model cannot be found or loaded.
        RunInUse: if another process has a run; what is not done yet is left to it, or to the next call.
        StoreError: if the store cannot be read or written.
    """
    methods_of = _configured(methods, preset, settings)
    check_count("n_seeds", n_seeds)
    check_engine(engine, model, proposer)
    loaded = loaded_tasks(tasks, _NO_FOLDS, allow_code=allow_code)
    specs = _specs(loaded, methods_of, n_seeds, _limits(max_tokens, max_calls), objective)
    observer = observer or SilentObserver()
    _tell_before(loaded, observer)
    with ExitStack() as stack:
        home = stack.enter_context(opened_store(store))
        models = open_models(*sources(model, proposer, engine), stack, observer)
        known = _KnownRuns(home)
        sizes = _sizes(specs, models, observer)
        # Entered only now, when every row was found to fit.
        ids = []
        for spec in specs:
            size, cost = sizes[spec.task.name, spec.method]
            wanted = RunConfig.new(
                replace(spec, optimizer=size.optimizer, n_dev=size.n_dev), models, use_cache=use_cache, expected=cost
            )
            ids.append(known.find(wanted) or enter_for_later(home, wanted))
        study = home.studies.enter(KIND, " ".join(ids), {"n_runs": len(ids)}, ids)
        runs = [PlannedRun(spec.task, home.runs.get(each)) for spec, each in zip(specs, ids, strict=True)]
        return _carried_out(study.id, runs, home, models, observer)


@checked
def resume_comparison(  # noqa: PLR0913 - as above
    comparison: str,
    *,
    model: Named | None = None,
    proposer: Named | None = None,
    allow_code: bool = False,
    store: StoreSource = None,
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
        RunMismatch: if it was begun by another version or with other meta-prompts, or searches have changed since, as
            far as a run is unfinished.
        ConfigError, TaskError, ModelError, RunInUse: as `compare`.
    """
    observer = observer or SilentObserver()
    with ExitStack() as stack:
        home = stack.enter_context(opened_store(store, create=False))
        study = home.studies.get(KIND, comparison)
        configs = [(record, RunConfig.read(record.configuration)) for record in _runs_of(home, study)]
        for record, config in configs:  # a run that goes on would search otherwise than those that are finished
            config.check_version(_again(home), exactly=record.status != "finished")
        if proposer is not None and configs[0][1].proposer is None:
            raise ConfigError(f"the comparison {study.id} has no proposer of its own", "leave out the proposer")
        planned = [PlannedRun(from_plain(each.task, allow_code=allow_code), record) for record, each in configs]
        check_alike(home, study.id, planned)
        _tell_before(_different(planned), observer)
        left = [config for record, config in configs if record.status != "finished"]
        models = models_of(left[0], (model, proposer), {}, stack, observer) if left else None
        return _carried_out(study.id, planned, home, models, observer)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of a comparison, entered in the store."""

    task: Task
    record: RunRecord


@dataclass(frozen=True, slots=True)
class Expected:
    """What one run of a comparison is expected to cost."""

    task: str
    method: str
    cost: Estimate


@checked
def expected_costs(  # noqa: PLR0913 - as `compare`
    tasks: Sequence[TaskSource],
    model: Named,
    *,
    max_tokens: int,
    methods: Sequence[str] | None = None,
    proposer: Named | None = None,
    preset: str = LOCAL,
    settings: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
    objective: Objective = "score",
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
    methods_of = _configured(methods, preset, settings)
    check_engine(engine, model, proposer)
    loaded = loaded_tasks(tasks, _NO_FOLDS, allow_code=allow_code)
    specs = _specs(loaded, methods_of, 1, _limits(max_tokens, max_calls), objective)
    observer = observer or SilentObserver()
    _tell_before(loaded, observer)
    with ExitStack() as stack:
        models = open_models(*sources(model, proposer, engine), stack, observer)
        return [Expected(*place, cost) for place, (_, cost) in _sizes(specs, models, observer).items()]


def _sizes(
    specs: Sequence[RunSpec], models: Models, observer: Observer
) -> dict[tuple[str, str], tuple[RunSpec, Estimate]]:
    """Return, by task and method, the search in its size, which is that of the first seed, and what it will cost.

    Raises:
        LocalPromptError: naming method and task; a ContextOverflow if a row does not fit the model.
    """
    sizes: dict[tuple[str, str], tuple[RunSpec, Estimate]] = {}
    for spec in specs:
        place = spec.task.name, spec.method
        try:
            if place not in sizes:
                ready, cost = planned(prepare(spec, models), observer)
                sizes[place] = ready.spec, cost
        except LocalPromptError as error:
            error.message = f"{spec.method} on the task {spec.task.name}: {error.message}"
            error.args = (error.message,)
            raise
    return sizes


_Methods = Mapping[str, tuple[Optimizer, Sequence[str] | None]]
"""Each configured, with the settings that no budget changes."""


def _specs(
    tasks: Sequence[Task], methods: _Methods, n_seeds: int, limits: Limits, objective: Objective
) -> list[RunSpec]:
    """Return all searches, tasks outermost, methods innermost."""
    return [
        RunSpec(task, method, optimizer, seed, limits, fixed, objective=objective)
        for task, seed, (method, (optimizer, fixed)) in itertools.product(tasks, range(n_seeds), methods.items())
    ]


def _tell_before(tasks: Sequence[Task], observer: Observer) -> None:
    for task in tasks:
        tell_before(task, observer, f"{task.name}: ")


def _limits(max_tokens: int, max_calls: int | None) -> Limits:
    check_count("max_tokens", max_tokens)  # not None: areas are measured over it
    return Limits(max_tokens, max_calls)


def _configured(methods: Sequence[str] | None, preset: str, settings: Mapping[str, Mapping[str, object]]) -> _Methods:
    """Return each method configured, in their order."""
    wanted = tuple(dict.fromkeys(compared() if methods is None else methods))
    if not wanted:
        raise ConfigError("there are no methods to compare", f"such as {', '.join(compared())}")
    having = {method: presets(method) for method in wanted}
    if not any(preset in known for known in having.values()):
        raise ConfigError(
            f"no method has a preset {preset!r}", nearest(preset, {name for p in having.values() for name in p})
        )
    for method in settings:
        if method not in having:
            raise ConfigError(f"settings for {method!r}, which is not compared", nearest(method, wanted))
    chosen: dict[str, tuple[Optimizer, Sequence[str] | None]] = {}
    for method in wanted:
        given, its_preset = settings.get(method, {}), preset if preset in having[method] else LOCAL
        fixed = current_names(method, given) if its_preset == LOCAL else None
        chosen[method] = configure(method, given, its_preset), fixed
    return chosen


class _KnownRuns:
    """The runs of a store that were made here: an imported one can say anything of itself."""

    def __init__(self, home: Store) -> None:
        self._by_identity: dict[str, list[RunRecord]] = {}
        for record in home.runs.all():
            if not record.imported:
                self._by_identity.setdefault(identity_hash(record.configuration), []).append(record)

    def find(self, wanted: RunConfig) -> str | None:
        """Return the id of the run of a configuration, finished rather than not, else the newest; None without one."""
        same = []
        for record in self._by_identity.get(identity_hash(wanted.to_json()), ()):
            with suppress(StoreError):  # a damaged run is made again
                is_same = RunConfig.read(record.configuration).is_same_search(wanted)
                if is_same and not is_cut(record, wanted.task["test"]):
                    same.append(record)
        return next((record.id for record in same if record.status == "finished"), same[0].id if same else None)


def _runs_of(home: Store, study: Study) -> list[RunRecord]:
    """Return the runs of a comparison in their order.

    Raises:
        StoreError: if one of them is gone.
    """
    there = {record.id: record for record in home.runs.all() if not record.imported}
    n_runs = study.configuration.get("n_runs")
    gone = (n_runs if type(n_runs) is int else len(study.runs)) - sum(run in there for run in study.runs)
    if gone or not study.runs:
        raise StoreError(
            f"{gone} runs of the comparison {study.id} are gone", "compare again: the remaining runs count"
        )
    return [there[run] for run in study.runs]


def _again(home: Store) -> str:
    """Return what to do about a comparison of which a run has changed."""
    again = command("compare", store=home.path)
    return f"call {again} with its tasks, methods and limits: runs that have changed are repeated"


def check_alike(home: Store, name: str, planned: Sequence[PlannedRun]) -> None:
    """Check that runs still differ in nothing but task, method and seed; each can be gone on with by itself.

    Raises:
        StoreError: naming the first run that does, and in what.
    """
    first = planned[0].record
    expected = _shared_by_all(RunConfig.read(first.configuration))
    for task, record in ((each.task, each.record) for each in planned):
        config = RunConfig.read(record.configuration)
        if task.fingerprint != config.identity.task:
            raise StoreError(
                f"the run {record.id} of the comparison {name} was resumed with a different task", _again(home)
            )
        if is_cut(record, task.test):
            problem = (
                f"the run {record.id} of the comparison {name} was resumed with minutes that left out test examples"
            )
            raise StoreError(problem, _again(home))
        for what, value in _shared_by_all(config).items():
            if value != expected[what]:
                two = f"the runs {first.id} and {record.id} of the comparison {name}"
                raise StoreError(f"{two} differ in {what}", _again(home))


def _shared_by_all(config: RunConfig) -> dict[str, object]:
    return {
        "max_tokens": config.limits.max_tokens,
        "max_requested": config.limits.max_requested,
        "max_calls": config.limits.max_calls,
        "model": config.model.fingerprint,
        "proposer": (config.proposer or config.model).fingerprint,
        "version": config.version,
        "use_cache": config.use_cache,
    }


def _carried_out(
    name: str, planned: Sequence[PlannedRun], home: Store, models: Models | None, observer: Observer
) -> Comparison:
    """Return what the runs say, each resumed to its end; without models all of them are finished."""
    done: list[ComparedRun] = []
    failed: list[FailedRun] = []
    configs = {each.record.method: RunConfig.read(each.record.configuration) for each in planned}
    methods = {method: settings_of(config) for method, config in configs.items()}
    observer.note(f"comparison {name}, {len(planned)} runs, kept in {home.path}")
    with home.studies.ending(name):
        for number, (task, record) in enumerate(((each.task, each.record) for each in planned), start=1):
            what = f"{task.name}, {record.method}, seed {record.seed}"
            observer.note(f"run {number} of {len(planned)}: {what}")
            try:
                lm, proposer = (models.lm, models.other) if models else (None, None)
                result = resume(record.id, model=lm, proposer=proposer, task=task, store=home, observer=observer)
                done.append(compared_run(home, task, record, result))
            except RunInUse:
                raise
            except LocalPromptError as error:
                failed.append(FailedRun(record.id, task.name, record.method, record.seed, error.message, error.hint))
                observer.note(f"{what} failed: {error.message}")
            except KeyboardInterrupt:
                options = needed_options([RunConfig.read(each.record.configuration) for each in planned])
                again = command("compare", "--resume", name, *options, store=home.path)
                observer.note(f"{again} continues from here")
                raise
    home.studies.update(name, status="failed" if failed else "finished")
    return summed_up(name, planned, methods, done, failed)


def needed_options(configs: Iterable[RunConfig]) -> list[str]:
    """Return the options with which `compare --resume` goes on with runs; words in capitals are the user's."""
    return list(dict.fromkeys(word for config in configs for word in config.resume_options))


def summed_up(
    name: str,
    planned: Sequence[PlannedRun],
    methods: Mapping[str, MethodSettings],
    done: Sequence[ComparedRun],
    failed: Sequence[FailedRun],
) -> Comparison:
    """Return what the runs of a comparison say together.

    Args:
        name: its id.
        planned: all of its runs, in their order; one or more.
        methods: their settings, by name.
        done: those that ended.
        failed: those that did not.
    """
    first = planned[0].record
    limits = RunConfig.read(first.configuration).limits
    tasks = _different(planned)
    rows, over_tasks = rows_of(done, [task.name for task in tasks])
    return Comparison(
        id=name,
        model=first.model,
        proposer=first.proposer,
        max_tokens=limits.max_tokens or limits.max_requested or 0,
        max_calls=limits.max_calls,
        methods=methods,
        runs=tuple(done),
        failures=tuple(failed),
        rows=rows,
        over_tasks=over_tasks,
        notes=tuple(f"{task.name}: {doubt}" for task in tasks for doubt in main_doubts(task, "test", "dev", "train")),
    )


def _different(planned: Sequence[PlannedRun]) -> list[Task]:
    """Return the tasks of the runs in their order, each once."""
    return list({each.task.name: each.task for each in planned}.values())
