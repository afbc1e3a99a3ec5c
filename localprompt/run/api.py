"""A run from its beginning, and a single evaluation. Level 7. Going on with a run is in resume.py.

The search sees train and dev. What it found is measured once on test, together with the seed, when nothing can be
chosen any more.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from localprompt.engine.settings import read_settings
from localprompt.errors import ConfigError, NotEnoughMemory, TaskError
from localprompt.interface.arguments import check_record, checked
from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.cached import CachedLM, MemoryAnswers
from localprompt.lm.loading import open_model, source_of
from localprompt.lm.turns import ModelSwapper, SwappedModel
from localprompt.optimizers import Optimizer, configure
from localprompt.run.config import Limits, check_count, describe, resume_command
from localprompt.run.estimate import Estimate, estimate, measured_rates
from localprompt.run.execute import RunSession, cached_models, execute_run, placed, unparsed
from localprompt.run.journal import RunJournal
from localprompt.run.results import EvaluationResult, RunResult, Split, constant_note
from localprompt.search.evaluator import Evaluator
from localprompt.search.observer import Observer, SilentObserver, pluralize
from localprompt.stats.intervals import interval
from localprompt.stats.power import smallest_detectable_gain
from localprompt.store import Store
from localprompt.tasks import Task, load_task
from localprompt.tasks.answers import guarded_answer
from localprompt.tasks.check import main_doubts
from localprompt.tasks.constant import constant_answer
from localprompt.tasks.copies import n_different, numbered
from localprompt.tasks.metrics import guarded_metric
from localprompt.types import Prompt

__all__ = ["Estimate", "EvaluationResult", "RunResult", "dry_run", "evaluate", "optimize"]

_ROOM = 128
"""Tokens by which a found prompt may be longer than the seed before an example does not fit the context."""


@checked
def optimize(  # noqa: PLR0913 - a run has as many choices as the command
    task: str | os.PathLike[str] | Task,
    model: str | Path | LanguageModel,
    *,
    method: str = "ape",
    preset: str = "local",
    proposer: str | Path | LanguageModel | None = None,
    settings: Mapping[str, object] = MappingProxyType({}),
    engine: Mapping[str, object] = MappingProxyType({}),
    seed: int = 0,
    max_minutes: float | None = None,
    max_tokens: int | None = None,
    max_calls: int | None = None,
    allow_code: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
    use_cache: bool = True,
    observer: Observer | None = None,
) -> RunResult:
    """Return the best prompt for a task that one search found, measured on the test split against the seed.

    The run is kept in the store as it goes, so that `resume` goes on with it wherever it ended.

    Args:
        task: a task file or a loaded task.
        model: the task LM, by card name, path, or loaded; what is loaded here is closed here.
        method: a registered optimiser.
        preset: `local`, the optimiser's defaults, or another preset of it such as `paper`.
        proposer: the model that writes prompts; the task LM itself by default.
        settings: hyperparameters of the method, by name; text is read as the field's type.
        engine: settings of the engine, by name, such as `n_ctx`; for both models, where they are loaded here.
        seed: of everything random, 0 or more. Same seed, same models, same task: same result.
        max_minutes: for the search, checked before anything is computed; the run pauses then.
        max_tokens: for the search, tokens requested; never exceeded.
        max_calls: for the search, model calls; never exceeded.
        allow_code: permits a task file to name a metric in Python, which runs code.
        store: where runs and answers are kept: open, by path, or the default one.
        use_cache: False: share no answers with other runs; the run itself can be resumed all the same.
        observer: told what happens.

    Raises:
        ConfigError: for unknown names and impossible settings, before anything is loaded where that is possible.
        TaskError: if the task file or its data is wrong.
        ModelError: if a model cannot be found, loaded or run.
        ContextOverflow: if a dev or test example is too long for the model; nothing was spent then.
        StoreError: if the store cannot be read or written.
    """
    optimizer = configure(method, settings, preset)
    limits = Limits(max_tokens, max_calls, max_minutes)
    check_count("seed", seed, least=0)
    check_engine(engine, model, proposer)
    loaded = loaded_task(task, allow_code)
    check_splits(loaded)
    observer = observer or SilentObserver()
    tell_before(loaded, observer)
    with ExitStack() as stack:
        home = opened_store(store, stack)
        lm, writer = opened_pair((model, proposer), (engine, engine), stack, observer)
        check_fit(lm, placed(loaded, optimizer))
        observer.stage("estimating what the search will cost")
        cost = expected(optimizer, loaded, (lm, writer), limits, seed)
        configuration = describe(
            loaded,
            lm,
            None if writer is lm else writer,
            optimizer,
            method=method,
            seed=seed,
            limits=limits,
            sources={"model": source_of(model), "proposer": source_of(proposer)},
            use_cache=use_cache,
            expected=cost,
        )
        names = {"task": loaded.name, "model": lm.name, "proposer": writer.name, "method": method}
        record = home.runs.create(configuration, seed=seed, **names)
        stack.enter_context(home.runs.hold(record.id))
        observer.note(f"run {record.id}, kept in {home.path}")
        models = cached_models(lm, writer, home.answers, run_id=record.id, shared=use_cache, observer=observer)
        journal = RunJournal(home.runs, record.id)
        go_on = partial(resume_command, record.id, configuration, home.path)
        sitting = RunSession(
            record.id, loaded, models, method, optimizer, seed, limits, observer, cost, journal, resume=go_on
        )
        return execute_run(home, sitting)


@checked
def dry_run(  # noqa: PLR0913 - as above
    task: str | os.PathLike[str] | Task,
    model: str | Path | LanguageModel,
    *,
    method: str = "ape",
    preset: str = "local",
    proposer: str | Path | LanguageModel | None = None,
    settings: Mapping[str, object] = MappingProxyType({}),
    engine: Mapping[str, object] = MappingProxyType({}),
    seed: int = 0,
    max_tokens: int | None = None,
    max_calls: int | None = None,
    allow_code: bool = False,
    observer: Observer | None = None,
) -> Estimate:
    """Return what `optimize` with these arguments is expected to cost; nothing is spent or stored.

    The first time a model is asked about on a machine its rates are measured, which takes some seconds.

    Raises:
        ConfigError, TaskError, ModelError, ContextOverflow: as `optimize`.
    """
    optimizer = configure(method, settings, preset)
    limits = Limits(max_tokens, max_calls)
    check_count("seed", seed, least=0)
    check_engine(engine, model, proposer)
    loaded = loaded_task(task, allow_code)
    check_splits(loaded)
    observer = observer or SilentObserver()
    tell_before(loaded, observer)
    with ExitStack() as stack:
        lm, writer = opened_pair((model, proposer), (engine, engine), stack, observer)
        check_fit(lm, placed(loaded, optimizer))
        observer.stage("estimating what the search will cost")
        return expected(optimizer, loaded, (lm, writer), limits, seed)


@checked
def evaluate(  # noqa: PLR0913 - as above
    task: str | os.PathLike[str] | Task,
    model: str | Path | LanguageModel,
    prompt: str | Prompt,
    *,
    split: Split = "test",
    engine: Mapping[str, object] = MappingProxyType({}),
    allow_code: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
    use_cache: bool = True,
    observer: Observer | None = None,
) -> EvaluationResult:
    """Return the score of one prompt on one split, with its 95 % interval.

    Args:
        task: a task file or a loaded task.
        model: by card name, path, or loaded; what is loaded here is closed here.
        prompt: an instruction, or a whole prompt.
        split: train, dev or test.
        engine: settings of the engine, by name, such as `n_ctx`; where the model is loaded here.
        allow_code: permits a task file to name a metric in Python, which runs code.
        store: where answers are kept: open, by path, or the default one.
        use_cache: False: compute everything anew, and touch no store.
        observer: told what happens.

    Raises:
        ConfigError, TaskError, ModelError, ContextOverflow, StoreError: as `optimize`.
    """
    check_engine(engine, model)
    loaded = loaded_task(task, allow_code)
    splits = {"train": loaded.train, "dev": loaded.dev, "test": loaded.test}
    examples = splits[split]
    if not examples:
        raise TaskError(f"the task {loaded.name} has no {split} examples", "choose another split")
    observer = observer or SilentObserver()
    whole = Prompt(prompt) if isinstance(prompt, str) else prompt
    check_record("prompt", whole)
    budget = Budget()
    with ExitStack() as stack:
        home = opened_store(store, stack) if use_cache else None
        lm = opened(model, engine, stack, observer)
        Evaluator(lm, loaded, Budget()).check_fit(whole, examples)
        observer.stage(f"evaluating on {pluralize(len(examples), f'{split} example')}")
        cached = CachedLM(lm, home.answers if home else MemoryAnswers())
        cached.on_progress = observer.progress
        (evaluation,) = Evaluator(cached, loaded, budget).evaluate([whole], examples)
        cached.flush()
        score, constant = interval(evaluation.scores, numbered(examples)), constant_answer(loaded, examples)
        return EvaluationResult(
            task=loaded.name,
            model=lm.name,
            prompt=whole,
            split=split,
            score=score,
            unparsed=unparsed(evaluation),
            failed=cached.n_failed,
            spend=budget.spend,
            outcomes=evaluation.outcomes,
            notes=(*main_doubts(loaded, split), *constant_note(constant, score, "the prompt", split)),
        )


def opened_store(store: Store | str | os.PathLike[str] | None, stack: ExitStack, *, create: bool = True) -> Store:
    """Return the store, opened if need be and then closed with the stack.

    Raises:
        StoreError: if it cannot be opened, or without `create` is not there.
    """
    if isinstance(store, Store):
        return store
    return stack.enter_context(Store(store, create=create))


def opened(
    model: str | Path | LanguageModel, engine: Mapping[str, object], stack: ExitStack, observer: Observer
) -> LanguageModel:
    """Return the model, loaded if need be and then closed with the stack; what is doubtful about its file is noted.

    Raises:
        ConfigError, ModelError: as `open_model`.
    """
    if isinstance(model, str | Path):
        observer.stage(f"loading {model}")
        model = stack.enter_context(open_model(model, **engine))
    _note_doubts(model, observer)
    return model


def opened_pair(
    models: tuple[str | Path | LanguageModel, str | Path | LanguageModel | None],
    engines: tuple[Mapping[str, object], Mapping[str, object]],
    stack: ExitStack,
    observer: Observer,
) -> tuple[LanguageModel, LanguageModel]:
    """Return task LM and proposer, opened if need be; the same object twice where there is no other proposer.

    Two models that memory does not hold together take turns: each is loaded when it is asked, and the other goes.

    Raises:
        ConfigError, ModelError: as `open_model`.
    """
    model, proposer = models
    with ExitStack() as first:
        lm = opened(model, engines[0], first, observer)
        if proposer is None or proposer == model:
            stack.push(first.pop_all())
            return lm, lm
        try:
            writer = opened(proposer, engines[1], stack, observer)
        except NotEnoughMemory as error:
            if not isinstance(model, str | Path) or not isinstance(proposer, str | Path):
                raise
            observer.note(f"the two models do not fit into memory together and take turns: {error}")
        else:
            stack.push(first.pop_all())
            return lm, writer
    turns = stack.enter_context(ModelSwapper())
    first_engine, second_engine = engines
    in_turn = SwappedModel(partial(open_model, model, **first_engine), turns)
    writing = SwappedModel(partial(open_model, proposer, **second_engine), turns)
    _note_doubts(writing, observer)
    return in_turn, writing


def _note_doubts(lm: LanguageModel, observer: Observer) -> None:
    for doubt in getattr(lm, "doubts", ()):
        observer.note(f"{lm.name}: {doubt}")


def check_engine(engine: Mapping[str, object], *models: object) -> None:
    """Check that engine settings can be, and that they have a model to be loaded with.

    Raises:
        ConfigError: naming the setting that cannot be, or if all models came loaded.
    """
    read_settings(engine)
    if engine and not any(isinstance(model, str | Path) for model in models):
        raise ConfigError("engine settings have no effect on a model that is loaded", "give them to load_model")


def check_splits(task: Task) -> None:
    """Check that a task has examples to choose by, examples to prove it with, and prompts to begin with.

    Raises:
        TaskError: if it lacks one of them.
    """
    if not task.seeds:
        raise TaskError(f"the task {task.name} has no seed prompts", "the empty one is Prompt('')")
    if not task.dev or not task.test:
        raise TaskError(f"the task {task.name} has no {'test' if task.dev else 'dev'} examples", "a search needs both")


def check_fit(lm: LanguageModel, task: Task) -> None:
    """Check that every dev and test example fits the context with a prompt somewhat longer than the seed.

    Raises:
        ContextOverflow: naming the first that does not.
    """
    Evaluator(lm, task, Budget()).check_fit(task.seeds[0], (*task.dev, *task.test), room=_ROOM)


def expected(
    optimizer: Optimizer, task: Task, models: tuple[LanguageModel, LanguageModel], limits: Limits, seed: int = 0
) -> Estimate:
    """Return what a search will cost on this machine, whose rates are measured where they are not known.

    Raises:
        ModelError: if the model cannot be run.
    """
    lm, writer = models
    rates, most = measured_rates(lm), {"max_tokens": limits.max_tokens, "max_calls": limits.max_calls}
    return estimate(optimizer, placed(task, optimizer), lm, writer, rates=rates, seed=seed, **most)


def loaded_task(task: str | os.PathLike[str] | Task, allow_code: bool) -> Task:
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


def tell_before(task: Task, observer: Observer, prefix: str = "") -> None:
    """Note which gain a task can show, where it can show one, and what is doubtful about its scores."""
    n = n_different(task.test)
    gain = smallest_detectable_gain(n)
    if gain is not None:
        what = "different test examples" if n < len(task.test) else "test examples"
        observer.note(f"{prefix}{n} {what} can show a gain of about {math.ceil(100 * gain)} points or more")
    for doubt in main_doubts(task, "test", "dev", "train"):
        observer.note(f"{prefix}{doubt}")
