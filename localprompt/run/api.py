"""A run from its beginning, and a single evaluation. Level 7. Going on with a run is in resume.py.

The search sees train and dev. What it found is measured once on test, together with the seed, when nothing can be
chosen any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType

from localprompt.interface.arguments import check_record, checked
from localprompt.run.config import RunConfig
from localprompt.run.earlier import begun_with
from localprompt.run.estimate import Estimate
from localprompt.run.execute import RunSession, execute_run
from localprompt.run.folds import folded
from localprompt.run.journal import enter
from localprompt.run.models import ModelSource, Named, check_engine, open_models
from localprompt.run.prepare import prepare, tell_before
from localprompt.run.results import EvaluationResult, RunResult, Split, constant_note
from localprompt.run.session import StoreSource, open_session, opened_store
from localprompt.run.sizing import planned
from localprompt.run.spec import Limits, TaskSource, loaded_task, read_spec, rows_of
from localprompt.search.observer import Observer, SilentObserver, pluralize
from localprompt.stats.intervals import interval
from localprompt.tasks.check import main_doubts
from localprompt.tasks.constant import constant_answer
from localprompt.tasks.copies import numbered
from localprompt.types import Prompt
from localprompt.variants.robust import Objective

__all__ = ["Estimate", "EvaluationResult", "RunResult", "dry_run", "evaluate", "optimize"]


@checked
def optimize(  # noqa: PLR0913 - a run has as many choices as the command
    task: TaskSource,
    model: Named,
    *,
    method: str = "auto",
    preset: str = "local",
    proposer: Named | None = None,
    settings: Mapping[str, object] = MappingProxyType({}),
    objective: Objective = "score",
    from_run: str | None = None,
    engine: Mapping[str, object] = MappingProxyType({}),
    seed: int = 0,
    max_minutes: float | None = None,
    pause_after: float | None = None,
    max_tokens: int | None = None,
    max_calls: int | None = None,
    allow_code: bool = False,
    store: StoreSource = None,
    use_cache: bool = True,
    observer: Observer | None = None,
) -> RunResult:
    """Return the best prompt for a task that one search found, measured on the test split against the seed.

    The run is kept in the store as it goes, so that `resume` goes on with it wherever it ended.

    A cross-validated task takes a search for each fold, on the rows of the others, and a last one on all rows. The
    result is that of the last, and its test scores are those of the others on their folds. The limits are those of all
    searches together, in equal parts. Called again with the same arguments, it goes on with what is not finished.

    Args:
        task: a task file or a loaded task.
        model: the task LM, by card name, path, or loaded; what is loaded here is closed here.
        method: a registered optimiser.
        preset: `local`, the optimiser's defaults, or another preset of it such as `paper`.
        proposer: the model that writes prompts; the task LM itself by default.
        settings: hyperparameters of the method, by name; text is read as the field's type.
        objective: `score`, that of a prompt as it is; `robust` and `worst` score each prompt with four cheap variants,
            by the mean less half the distance to the worst, or by the worst, for about five times as many tokens.
        from_run: the beginning of the id of a run whose best prompts the search begins with beside the task's seeds; of
            another model, fewer rows or an older prompt, in the same store.
        engine: settings of the engine, by name, such as `n_ctx`; for both models, where they are loaded here.
        seed: of everything random, 0 or more. Same seed, same models, same task: same result.
        max_minutes: until the result is there, loading, noise and test included. The method is sized to them, test is
            measured on as many examples as the time allows.
        pause_after: minutes of the search, checked before anything is computed; the run pauses then, without a test.
        max_tokens: for the search, tokens computed: each distinct prefix of a call once, and what is drawn. Never
            exceeded; the method is sized to them, where `settings` and `preset` leave its sizes open.
        max_calls: for the search, model calls; as `max_tokens`.
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
    limits = Limits(max_tokens, max_calls, max_minutes, pause_after)
    deadline = limits.deadline()
    check_engine(engine, model, proposer)
    spec = read_spec(task, (method, preset, settings), seed, limits, allow_code=allow_code)
    spec = begun_with(replace(spec, objective=objective), from_run, store)
    searches = folded(spec)
    observer = observer or SilentObserver()
    tell_before(spec.task, observer)
    with ExitStack() as stack:
        home = stack.enter_context(opened_store(store))
        models = open_models(*sources(model, proposer, engine), stack, observer)
        if searches is not None:
            return searches.carried_out(home, models, observer, deadline, use_cache=use_cache)
        ready, expected = planned(prepare(spec, models), observer, deadline)
        config = RunConfig.new(ready.spec, models, use_cache=use_cache, expected=expected)
        record = enter(home, config)
        stack.enter_context(home.runs.hold(record.id))
        observer.note(f"run {record.id}, kept in {home.path}")
        session = RunSession.of(home, record.id, config, ready, observer)
        return execute_run(home, replace(session, deadline=deadline))


@checked
def dry_run(  # noqa: PLR0913 - as above
    task: TaskSource,
    model: Named,
    *,
    method: str = "auto",
    preset: str = "local",
    proposer: Named | None = None,
    settings: Mapping[str, object] = MappingProxyType({}),
    objective: Objective = "score",
    from_run: str | None = None,
    engine: Mapping[str, object] = MappingProxyType({}),
    seed: int = 0,
    max_minutes: float | None = None,
    max_tokens: int | None = None,
    max_calls: int | None = None,
    allow_code: bool = False,
    store: StoreSource = None,
    observer: Observer | None = None,
) -> Estimate:
    """Return what `optimize` with these arguments is expected to cost, all searches; nothing is spent or stored.

    The store is read for the prompts of `from_run` alone.

    The first time a model is asked about on a machine its rates are measured, which takes some seconds. Where a local
    model writes its answers, a few dev rows are answered to see how long they are.

    Raises:
        ConfigError, TaskError, ModelError, ContextOverflow: as `optimize`.
    """
    limits = Limits(max_tokens, max_calls, max_minutes)
    deadline = limits.deadline()
    check_engine(engine, model, proposer)
    spec = read_spec(task, (method, preset, settings), seed, limits, allow_code=allow_code)
    spec = begun_with(replace(spec, objective=objective), from_run, store)
    searches = folded(spec)
    observer = observer or SilentObserver()
    tell_before(spec.task, observer)
    with ExitStack() as stack:
        models = open_models(*sources(model, proposer, engine), stack, observer)
        if searches is not None:
            return searches.expected(models, observer, deadline)
        return planned(prepare(spec, models), observer, deadline)[1]


@checked
def evaluate(  # noqa: PLR0913 - as above
    task: TaskSource,
    model: Named,
    prompt: str | Prompt,
    *,
    split: Split = "test",
    engine: Mapping[str, object] = MappingProxyType({}),
    allow_code: bool = False,
    store: StoreSource = None,
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
        use_cache: False: compute everything, and touch no store.
        observer: told what happens.

    Raises:
        ConfigError, TaskError, ModelError, ContextOverflow, StoreError: as `optimize`.
    """
    loaded = loaded_task(task, allow_code=allow_code)
    examples = rows_of(loaded, split, "it has no test split to evaluate a prompt on")
    observer = observer or SilentObserver()
    whole = Prompt(prompt) if isinstance(prompt, str) else prompt
    check_record("prompt", whole)
    with open_session(model, store=store, engine=engine, use_cache=use_cache, observer=observer) as session:
        evaluator = session.evaluator(loaded)
        evaluator.check_fit(whole, examples)
        observer.stage(f"evaluating on {pluralize(len(examples), f'{split} example')}")
        (evaluation,) = evaluator.evaluate([whole], examples)
    score, constant = interval(evaluation.scores, numbered(examples)), constant_answer(loaded, examples)
    return EvaluationResult(
        task=loaded.name,
        model=session.lm.facts.name,
        prompt=whole,
        split=split,
        score=score,
        unparsed=evaluation.n_unparsed,
        failed=session.lm.n_failed,
        spend=session.budget.spend,
        outcomes=evaluation.outcomes,
        notes=(*main_doubts(loaded, split), *constant_note(constant, score, "the prompt", split)),
    )


def sources(
    model: Named, proposer: Named | None, engine: Mapping[str, object]
) -> tuple[ModelSource, ModelSource | None]:
    """Return where the two models of a run are, each loaded with the same settings of the engine."""
    return ModelSource(model, engine), None if proposer is None else ModelSource(proposer, engine)
