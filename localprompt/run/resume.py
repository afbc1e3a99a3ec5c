"""Going on with a run, and repeating one from its answers alone. Level 7.

Both run the optimiser again from its seed. What was asked before is answered by the store; resuming computes the rest.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from localprompt.errors import ConfigError, RunMismatch
from localprompt.interface.arguments import checked
from localprompt.lm.base import LanguageModel
from localprompt.lm.cached import Answers
from localprompt.lm.replayed import ReadAnswers, ReplayedLM
from localprompt.optimizers import Optimizer
from localprompt.run import api as runs
from localprompt.run.config import (
    Limits,
    check_same,
    check_shape,
    check_version,
    describe_model,
    engine_settings,
    expected_of,
    limits_of,
    optimizer_of,
    program,
    resume_command,
)
from localprompt.run.execute import RunSession, cached_models, execute_run, placed, restarts_of, search_and_test
from localprompt.run.journal import RunJournal
from localprompt.run.results import RunResult
from localprompt.search.observer import Observer, SilentObserver
from localprompt.store import RunRecord, Store
from localprompt.tasks import Task
from localprompt.tasks.stored import from_plain, to_plain

LOOKED = "the test split had been measured before this search went on; its score is not a single look"


@checked
def resume(  # noqa: PLR0913 - as many choices as the command
    run: str,
    *,
    model: str | Path | LanguageModel | None = None,
    proposer: str | Path | LanguageModel | None = None,
    task: Task | None = None,
    engine: Mapping[str, object] = MappingProxyType({}),
    max_minutes: float | None = None,
    max_tokens: int | None = None,
    max_calls: int | None = None,
    force: bool = False,
    allow_code: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
) -> RunResult:
    """Return the result of a run that ended early, or was killed, gone on with to its end.

    It is the result of a run that was never interrupted. A finished run gives its result at once, unless a limit
    on tokens or calls is given, to which it goes on, or `force`. Where a result with a test score was known already,
    the new one says so.

    Args:
        run: the beginning of its id.
        model: where the task LM is now; by default where it was. Needed for one that was given loaded.
        proposer: the same of the proposer, for a run that has one of its own.
        task: needed where the task was made in Python with functions of its own; another one is a mismatch.
        engine: settings of the engine other than then, which is a mismatch.
        max_minutes: for this sitting; by default none.
        max_tokens: for the whole search; by default as before.
        max_calls: for the whole search; by default as before.
        force: go on though the model, the version, its meta-prompts or a setting of the engine is another one; what was
            found then is found anew.
        allow_code: permits the metric in Python that the task names.
        store: where the run is kept: open, by path, or the default one.
        observer: told what happens.

    Raises:
        RunMismatch: if something that changes numbers is another one now, named; never with `force`.
        StoreError: if there is no such run, another process has it, or the store fails.
        ConfigError, TaskError, ModelError: as `optimize`.
    """
    wanted = Limits(max_tokens, max_calls, max_minutes)
    observer = observer or SilentObserver()
    with ExitStack() as stack:
        home = runs.opened_store(store, stack, create=False)
        record = home.runs.get(run)
        stack.enter_context(home.runs.hold(record.id))
        record = home.runs.get(record.id)  # another process may just have finished it
        if record.status == "finished" and record.result is not None and not (max_tokens or max_calls or force):
            observer.note(f"the run {record.id} is finished")
            return RunResult.from_json(record.result)
        configuration = dict(record.configuration)
        check_shape(configuration)
        known = _known_task(configuration, task, allow_code, force=force)
        optimizer = optimizer_of(configuration, Path(stack.enter_context(tempfile.TemporaryDirectory())))

        lm, writer = opened_models(configuration, (model, proposer), stack, observer, engine)
        is_anew = _reconcile(home, record, configuration, (lm, writer), known, force=force, observer=observer)
        runs.check_fit(lm, placed(known, optimizer))
        before = limits_of(configuration)
        limits = Limits(wanted.max_tokens or before.max_tokens, wanted.max_calls or before.max_calls, max_minutes)
        configuration["limits"] = {"max_tokens": limits.max_tokens, "max_calls": limits.max_calls, "max_minutes": None}
        is_unchanged = not is_anew and limits_of(configuration) == before
        if record.status == "finished" and record.result is not None and is_unchanged:
            observer.note(f"the run {record.id} is finished, and nothing differs from then")
            return RunResult.from_json(record.result)
        if not is_unchanged:
            observer.stage("estimating what the search will cost")
            cost = runs.expected(optimizer, known, (lm, writer), limits, configuration["seed"])
            configuration["expected"] = asdict(cost)
        home.runs.update(record.id, configuration=configuration)
        journal = RunJournal(home.runs, record.id)
        sitting = _sitting(
            home,
            home.answers,
            configuration,
            (lm, writer),
            run_id=record.id,
            task=known,
            optimizer=optimizer,
            limits=limits,
            observer=observer,
            journal=journal,
        )
        return execute_run(home, sitting)


@checked
def replay(  # noqa: PLR0913 - as above
    run: str,
    *,
    task: Task | None = None,
    force: bool = False,
    allow_code: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
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
        home = runs.opened_store(store, stack, create=False)
        record = home.runs.get(run)
        configuration = record.configuration
        check_shape(configuration)
        if not force:
            check_version(configuration)
        known = _known_task(configuration, task, allow_code, force=force)
        optimizer = optimizer_of(configuration, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        lm = ReplayedLM(configuration["model"])
        writer = lm if configuration["proposer"] is None else ReplayedLM(configuration["proposer"])
        limits = limits_of(configuration)
        sitting = _sitting(
            home,
            ReadAnswers(home.answers),
            configuration,
            (lm, writer),
            run_id=record.id,
            task=known,
            optimizer=optimizer,
            limits=limits,
            observer=observer,
        )
        return search_and_test(sitting)


def _sitting(  # noqa: PLR0913 - what a sitting needs
    home: Store,
    answers: Answers,
    configuration: Mapping[str, Any],
    models: tuple[LanguageModel, LanguageModel],
    *,
    run_id: str,
    task: Task,
    optimizer: Optimizer,
    limits: Limits,
    observer: Observer,
    journal: RunJournal | None = None,
) -> RunSession:
    """Return a sitting at a run that is there already; its models answer from the store first."""
    shared, anew = configuration["use_cache"], restarts_of(configuration)
    cached = cached_models(*models, answers, run_id=run_id, shared=shared, observer=observer, anew=anew)
    method, seed, expected = configuration["method"], configuration["seed"], expected_of(configuration)
    notes = (LOOKED,) if configuration.get("looked") is True else ()
    go_on = partial(resume_command, run_id, configuration, home.path)
    return RunSession(run_id, task, cached, method, optimizer, seed, limits, observer, expected, journal, notes, go_on)


def _known_task(configuration: Mapping[str, Any], given: Task | None, allow_code: bool, *, force: bool) -> Task:
    if given is None:
        return from_plain(configuration["task"], allow_code=allow_code)
    given = runs.loaded_task(given, allow_code)
    if not force:
        _check_task(configuration, given)
    return given


def _check_task(configuration: Mapping[str, Any], task: Task) -> None:
    if task.fingerprint != configuration["task"].get("fingerprint"):
        raise RunMismatch(
            "the task differs from that of the run", "give the task that the run was begun with, or pass --force"
        )


def opened_models(
    configuration: Mapping[str, Any],
    given: tuple[str | Path | LanguageModel | None, str | Path | LanguageModel | None],
    stack: ExitStack,
    observer: Observer,
    engine: Mapping[str, object] = MappingProxyType({}),
) -> tuple[LanguageModel, LanguageModel]:
    """Return task LM and proposer of a run, each opened from where it is now or was; one object twice if it is one.

    Args:
        configuration: of the run.
        given: where the two are now; None: where they were.
        stack: closes what is opened here.
        observer: told what is loaded.
        engine: settings of now, which go before those of then.

    Raises:
        ConfigError: for a model that came loaded and is not given now, or a proposer that the run does not have.
        ModelError: as `open_model`.
    """
    model, proposer = given
    first, first_engine = _model(configuration, "model", model, engine)
    if configuration["proposer"] is not None:
        second, second_engine = _model(configuration, "proposer", proposer, engine)
        return runs.opened_pair((first, second), (first_engine, second_engine), stack, observer)
    if proposer is not None:
        raise ConfigError("the run has no proposer of its own", "leave out the proposer")
    return runs.opened_pair((first, None), (first_engine, first_engine), stack, observer)


def _model(
    configuration: Mapping[str, Any], role: str, given: str | Path | LanguageModel | None, engine: Mapping[str, object]
) -> tuple[str | Path | LanguageModel, dict[str, object]]:
    """Return where the model of a role is, and the engine settings of then with those of now over them."""
    model = configuration["sources"].get(role) if given is None else given
    if model is None:
        name = configuration[role]["name"]
        raise ConfigError(f"the run had a loaded {role}, {name!r}", f"give the {role} to go on with")
    runs.check_engine(engine, model)
    return model, {**engine_settings(configuration, role), **engine}


def _reconcile(  # noqa: PLR0913
    home: Store,
    record: RunRecord,
    configuration: dict[str, Any],
    models: tuple[LanguageModel, LanguageModel],
    task: Task,
    *,
    force: bool,
    observer: Observer,
) -> bool:
    """Check that task, models and version are those of the run; with `force` let it begin anew with those of now.

    Returns True if it begins anew; then it knows none of the answers of then.
    """
    lm, writer = models
    roles = {"model": lm, "proposer": None if writer is lm else writer}
    is_same_task = task.fingerprint == configuration["task"].get("fingerprint")
    configuration["looked"] = is_same_task and (configuration.get("looked") is True or _has_test(record))
    try:
        check_version(configuration)
        for role, model in roles.items():
            if model is not None:
                check_same(configuration, role, model)
        _check_task(configuration, task)
    except RunMismatch as mismatch:
        if not force:
            raise
        observer.note(f"{mismatch.message}; what was found then is found anew")
        home.runs.reset(record.id, task=task.name, model=lm.name, proposer=writer.name)
        configuration |= {**program(configuration["method"]), "task": to_plain(task)}
        configuration["anew"] = restarts_of(configuration) + 1
        configuration.update({role: model and describe_model(model) for role, model in roles.items()})
        return True
    return False


def _has_test(record: RunRecord) -> bool:
    """Return whether somebody may have seen how the run does on test."""
    return isinstance(record.result, Mapping) and record.result.get("test") is not None
