"""Going on with a run, and repeating one from its answers alone. Level 7.

Both run the optimiser again from its seed. What was asked before is answered by the store; resuming computes the rest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from localprompt.errors import ConfigError, RunMismatch
from localprompt.interface.arguments import checked
from localprompt.lm.deadline import Deadline
from localprompt.lm.loading import check_trusted
from localprompt.lm.replayed import ReplayedLM
from localprompt.run.config import RunConfig
from localprompt.run.earlier import known_inputs
from localprompt.run.execute import RunSession, execute_run, search_and_test
from localprompt.run.models import Models, ModelSource, Named, check_engine, open_models
from localprompt.run.prepare import Prepared, prepare
from localprompt.run.results import RunResult, is_cut
from localprompt.run.session import StoreSource, opened_store
from localprompt.run.sizing import learn_speed, planned
from localprompt.run.spec import Limits, RunSpec, loaded_task
from localprompt.search.observer import Observer, SilentObserver
from localprompt.store import RunRecord
from localprompt.tasks import Task
from localprompt.tasks.copies import inputs_of
from localprompt.tasks.stored import from_plain, to_plain
from localprompt.tasks.task import check_one_split

_NO_MORE = (
    "the search {0} had ended before its limit, so a larger one changes nothing; `optimize` with `--from {0}` and that "
    "limit begins another one with what it found"
)


@checked
def resume(  # noqa: PLR0913 - as many choices as the command
    run: str,
    *,
    model: Named | None = None,
    proposer: Named | None = None,
    task: Task | None = None,
    engine: Mapping[str, object] = MappingProxyType({}),
    max_minutes: float | None = None,
    pause_after: float | None = None,
    max_tokens: int | None = None,
    max_calls: int | None = None,
    force: bool = False,
    allow_code: bool = False,
    store: StoreSource = None,
    observer: Observer | None = None,
) -> RunResult:
    """Return the result of a run that ended early, or was killed, gone on with to its end.

    It is the result of a run that was never interrupted; with minutes, what there is time for. A finished run gives its
    result at once, unless a limit on tokens, calls or minutes is given, to which it goes on if one had ended it, or
    `force`. A result stays until a search begins that may replace it, whose prompts are tested on no fewer rows. Where
    the score on a test row was known already, the new result says so. A search keeps the size that it was begun with.

    Args:
        run: the beginning of its id.
        model: where the task LM is now; by default where it was. Needed for one that was given loaded.
        proposer: the same of the proposer, for a run that has one of its own.
        task: needed where the task was made in Python with functions of its own; another one is a mismatch.
        engine: settings of the engine other than then, which is a mismatch.
        max_minutes: for this session, after which the result is there; by default the first that the run had.
        pause_after: minutes of this session, after which the run pauses; by default none.
        max_tokens: for the whole search; by default as before.
        max_calls: for the whole search; by default as before.
        force: go on though the model, the version, its meta-prompts or a setting of the engine differs; the search
            begins again.
        allow_code: permits the metric in Python that the task names.
        store: where the run is kept: open, by path, or the default one.
        observer: told what happens.

    Raises:
        RunMismatch: if something that changes numbers is another one now, named; never with `force`.
        StoreError: if there is no such run, another process has it, or the store fails.
        ConfigError, TaskError, ModelError: as `optimize`, or for a limit below what the search of a result has spent.
    """
    wanted, observer = Limits(max_tokens, max_calls, max_minutes, pause_after), observer or SilentObserver()
    with opened_store(store, create=False) as home, ExitStack() as stack:
        record = home.runs.get(run)
        stack.enter_context(home.runs.hold(record.id))
        record = home.runs.get(record.id)  # another process may just have finished it
        before = None if force or record.result is None else RunResult.from_json(record.result, home.path)
        if before is not None and record.status == "finished" and wanted == Limits():
            observer.note(f"the run {record.id} is finished")
            return before
        begun = config = RunConfig.read(record.configuration)
        wanted = replace(wanted, max_minutes=max_minutes or begun.limits.max_minutes)  # promised for each session
        deadline = wanted.deadline()
        _check_not_one_of_many(record, config, wanted, force=force)
        _check_not_smaller(before, wanted)
        spec = _spec(config, known_task(config, task, allow_code, force=force), wanted, stack)
        models = models_of(config, (model, proposer), engine, stack, observer)
        mismatch = _mismatch(config, spec.task, models)
        if mismatch is not None:
            if not force:
                raise mismatch
            observer.note(f"{mismatch.message}; the search restarts from the beginning")
            config = config.restarted(spec.task, models)
        elif before and record.status == "finished" and _ended_by_itself(before, begun.limits, spec.limits, observer):
            return before
        ready = prepare(spec, models)
        limits = replace(spec.limits, pause_after=begun.limits.pause_after)
        config = config.moved(models).changed(test_seen=_is_seen(record, begun, spec.task), limits=limits)
        is_unchanged = mismatch is None and _is_unchanged(record, begun, spec, max_minutes)
        if record.status == "finished" and record.result is not None and is_unchanged:
            observer.note(f"the run {record.id} is finished, and nothing has changed since")
            return RunResult.from_json(record.result, home.path)
        if not is_unchanged:
            cost = planned(ready, observer)[1]  # the sizes stay those that the first budget made
            config = config.changed(expected=replace(cost, sizes=begun.expected.sizes) if begun.expected else cost)
        if deadline is not None:
            if max_minutes is None:
                observer.note(f"it has --max-minutes {wanted.max_minutes:g}, as at first; more of them take it further")
            learn_speed(ready, deadline)
        if mismatch is None:  # only now, when nothing can refuse it any more: until here the run stays as it is
            home.runs.update(record.id, status="running", stopped="", configuration=config.to_json())
        else:
            home.runs.reset(record.id, config.to_json(), **config.names)
        session = RunSession.of(home, record.id, config, ready, observer)
        return execute_run(home, replace(session, deadline=deadline, replaced=before))


@checked
def replay(  # noqa: PLR0913 - as above
    run: str,
    *,
    task: Task | None = None,
    force: bool = False,
    allow_code: bool = False,
    store: StoreSource = None,
    observer: Observer | None = None,
) -> RunResult:
    """Return the result of a run repeated from the store alone, without any model; nothing is written.

    The replay of a run that did not reach its end ends where its answers end, and says so.

    Args:
        run: the beginning of its id.
        task: needed where the task was made in Python with functions of its own.
        force: repeat it though the version of localprompt, or its meta-prompts, are others.
        allow_code: permits the metric in Python that the task names.
        store: where the run is kept: open, by path, or the default one.
        observer: told what happens.

    Raises:
        RunMismatch: if the run is of another version or of other meta-prompts; never with `force`.
        StoreError: if there is no such run, or the store cannot be read.
        TaskError: if the task needs code that was not allowed.
    """
    observer = observer or SilentObserver()
    with ExitStack() as stack:
        home = stack.enter_context(opened_store(store, create=False))
        record = home.runs.get(run)
        config = RunConfig.read(record.configuration)
        if not force:
            config.check_version()
        spec = _spec(config, known_task(config, task, allow_code, force=force), Limits(), stack)
        lm = ReplayedLM(config.model.model_dump())
        proposer = lm if config.proposer is None else ReplayedLM(config.proposer.model_dump())
        ready = Prepared(spec, Models(lm, proposer))
        known = RunResult.from_json(record.result) if record.result else None
        refused = known.refused if known else ()
        deadline = Deadline.repeated(refused) if refused or config.limits.max_minutes else None
        session = RunSession.of(home, record.id, config, ready, observer, is_replay=True)
        result = search_and_test(replace(session, known=known, deadline=deadline))
        # One call asks what there was time for in several, which have prefixes in common.
        final = replace(result.final_evaluation, tokens_computed=(known or result).final_evaluation.tokens_computed)
        return replace(result, final_evaluation=final, store=home.path.absolute())


def _check_not_smaller(before: RunResult | None, wanted: Limits) -> None:
    """Check that a result, which an interrupted run may have too, is not replaced by that of a smaller search.

    Raises:
        ConfigError: if a limit is below what the search of the result has spent.
    """
    for what, limit, name in (("tokens", wanted.max_tokens, "tokens_computed"), ("calls", wanted.max_calls, "calls")):
        if before and limit is not None and limit < (spent := getattr(before.spend, name)):
            raise ConfigError(
                f"the search {before.run_id} has spent {spent:,} {what}, "
                f"and {limit:,} would replace its result by less",
                "give more, or call optimize with that limit for a run of its own",
            )


def _ended_by_itself(before: RunResult, begun: Limits, now: Limits, observer: Observer) -> bool:
    """Tell and return whether a search with a result ended before its limits, of which some are larger now."""
    names = ("max_tokens", "max_calls", "max_requested")
    pairs = [(getattr(begun, name), getattr(now, name)) for name in names]
    none_less = all((a is None) == (b is None) and (a or 0) <= (b or 0) for a, b in pairs)
    are_larger = none_less and begun.without_minutes() != now.without_minutes()
    is_over = not before.stopped and begun.max_minutes is None and now.max_minutes is None and are_larger
    if is_over:
        observer.note(_NO_MORE.format(before.run_id))
    return is_over


def _is_unchanged(record: RunRecord, begun: RunConfig, spec: RunSpec, max_minutes: float | None) -> bool:
    """Return whether a run has the limits that it was begun with, and no minutes for what others had cut off."""
    are_same = spec.limits.without_minutes() == begun.limits.without_minutes()
    return are_same and not (max_minutes and is_cut(record, spec.task.test))


def _is_seen(record: RunRecord, config: RunConfig, task: Task) -> bool:
    """Return whether scores on some test row of a task were known before the run goes on.

    Raises:
        StoreError: if the task of the run is damaged.
    """
    is_known = config.test_seen or bool(record.result and record.result.get("test"))
    return is_known and not known_inputs(config, "test").isdisjoint(map(inputs_of, task.test))


def _check_not_one_of_many(record: RunRecord, config: RunConfig, wanted: Limits, *, force: bool) -> None:
    """Check that a search of a cross-validated task does not get what the others on whose folds it is judged had not.

    Raises:
        ConfigError: if it would.
    """
    is_other = force or wanted != Limits(max_minutes=wanted.max_minutes) or record.status == "finished"
    if config.cross_validation is not None and is_other:
        raise ConfigError(
            f"the run {record.id} is the last search of a cross-validation, whose score is that of other searches",
            "call optimize with the new limits, model or settings, for all of them",
        )


def _spec(config: RunConfig, task: Task, wanted: Limits, stack: ExitStack) -> RunSpec:
    """Return the search of a run; its limits on tokens and calls, where no others are wanted, are those of before.

    Its first minutes stay: they are those of each further session, and a replay goes on as far as with some.
    """
    if config.cross_validation is None:
        check_one_split(task, "its searches begin together, so only optimize can begin one")
    before = config.limits
    limits = replace(
        wanted,
        max_tokens=wanted.max_tokens or before.max_tokens,
        max_calls=wanted.max_calls or before.max_calls,
        max_requested=None if wanted.max_tokens else before.max_requested,
        max_minutes=before.max_minutes or wanted.max_minutes,
    )
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return RunSpec(
        task,
        config.method,
        config.optimizer(folder),
        config.seed,
        limits,
        fixed=None,
        n_dev=config.n_dev,
        objective=config.objective,
        warm=config.warm,
        tested_too=config.tested_too,
    )


def known_task(config: RunConfig, given: Task | None, allow_code: bool, *, force: bool) -> Task:
    """Return the task of a run, or the one that is given for it.

    Raises:
        RunMismatch: if another one is given, without `force`.
        TaskError: if it needs code that was not allowed, or functions that are not kept with a run.
    """
    if given is None:
        return from_plain(config.task, allow_code=allow_code)
    given = loaded_task(given, allow_code=allow_code)
    if not force and (mismatch := _other_task(config, given)):
        raise mismatch
    return given


def _other_task(config: RunConfig, task: Task) -> RunMismatch | None:
    now = to_plain(task)
    if all(now[key] == config.task.get(key) for key in ("fingerprint", "seeds")):  # the fingerprint is of scores alone
        return None
    return RunMismatch(
        "the task differs from that of the run", "pass the task that the run was started with, or pass --force"
    )


def _mismatch(config: RunConfig, task: Task, models: Models) -> RunMismatch | None:
    """Return what differs between a run and the task, the models and the version of now; None if nothing does."""
    try:
        config.check_version()
        for (role, then), lm in zip(config.roles.items(), (models.lm, models.proposer), strict=False):
            then.check_same(lm, role)
    except RunMismatch as mismatch:
        return mismatch
    return _other_task(config, task)


def models_of(
    config: RunConfig,
    given: tuple[Named | None, Named | None],
    engine: Mapping[str, object],
    stack: ExitStack,
    observer: Observer,
) -> Models:
    """Return task LM and proposer of a run, each opened from where it is now or was; one object twice if it is one.

    Args:
        config: of the run.
        given: where the two are now; None: where they were.
        engine: settings of now, which go before those of then.
        stack: closes what is opened here.
        observer: told what is loaded.

    Raises:
        ConfigError: for a model that came loaded and is not given now, or a proposer that the run does not have.
        ModelError: if a model cannot be found or loaded.
    """
    model, proposer = given
    if proposer is not None and config.proposer is None:
        raise ConfigError("the run has no proposer of its own", "leave out the proposer")
    other = source_of(config, "proposer", proposer, engine) if config.proposer else None
    return open_models(source_of(config, "model", model, engine), other, stack, observer)


def source_of(config: RunConfig, role: str, given: Named | None, engine: Mapping[str, object]) -> ModelSource:
    """Return where the model of a role is, with the engine settings of then and those of now over them.

    Raises:
        ConfigError: for a model that came loaded, runs code or is behind a URL, and is not given now.
    """
    before = config.roles[role]
    model = getattr(config.sources, role) if given is None else given
    if model is None:
        raise ConfigError(f"the run used a loaded {role}, {before.name!r}", f"pass the {role} to continue with")
    if given is None:
        check_trusted(str(model), role)
    check_engine(engine, model)
    return ModelSource(model, {**before.engine(), **engine})
