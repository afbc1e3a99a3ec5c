"""A found prompt moved to another model: what the swap loses, and what a new search wins back. Level 7.

1. Measure the old winner and the old seed prompt on dev with the new model; what they had before is in the store.
2. Search again from the old winner. It is the seed, which another prompt has to beat; the best other candidates of the
   old run and its seed prompts are candidates from the beginning, whatever the method.
3. Measure the old seed, the old winner and the new winner once on test, in one call.

The search is a run like others. The study of kind `port` in the store leads to it and keeps the result.

Gap and relative regret as in work on prompts that drift between models (PromptBridge, arXiv 2512.01420).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

from localprompt.errors import BudgetExhausted, ConfigError, StoreError
from localprompt.interface.arguments import checked
from localprompt.interface.rounding import score_text
from localprompt.lm.budget import Budget
from localprompt.optimizers import Optimizer, configure
from localprompt.run.config import RunConfig, resume_command
from localprompt.run.earlier import best_first_on_dev, different
from localprompt.run.models import Models, ModelSource, Named, check_engine, open_models
from localprompt.run.ported import Port, PortedPrompt
from localprompt.run.prepare import Prepared, prepare, tell_before
from localprompt.run.results import RunResult
from localprompt.run.resume import known_task, source_of
from localprompt.run.session import StoreSource, open_session, opened_store
from localprompt.run.sizing import planned
from localprompt.run.spec import Limits, RunSpec
from localprompt.run.study import SearchStudy, gone_on
from localprompt.search.observer import Observer, SilentObserver
from localprompt.stats.intervals import Difference, Interval, interval, paired_difference
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.tasks.copies import numbered
from localprompt.types import Example, Prompt

KIND = "port"
"""Of study in the store."""
_MOST_OTHERS = 4
"""Candidates of the old run, beside its winner and its seeds, that the new search begins with."""
_SAYING = 5
"""Part of the tokens and calls that may be spent before the search, to say what the swap loses on dev."""

Scores = Mapping[str, float]
"""Example id to score."""


@checked
def port(  # noqa: PLR0913 - as many choices as the command
    run: str,
    model: Named,
    *,
    proposer: Named | None = None,
    method: str | None = None,
    task: Task | None = None,
    engine: Mapping[str, object] = MappingProxyType({}),
    max_minutes: float | None = None,
    max_tokens: int | None = None,
    max_calls: int | None = None,
    allow_code: bool = False,
    store: StoreSource = None,
    observer: Observer | None = None,
) -> Port:
    """Return what the prompt of a finished run loses with another model, and what a new search wins back.

    The old model is not asked: its scores are in the store. The new search begins with the old winner, which another
    prompt has to beat, and with the old run's best other candidates and seed prompts. Called again with the same
    arguments, it goes on with what is not finished and repeats nothing.

    Args:
        run: the beginning of the old run's id.
        model: the new task LM, by card name, path, or loaded; what is loaded here is closed here.
        proposer: writes prompts; by default the old run's where it had one of its own, else the new model.
        method: of the new search, with its defaults; by default the old run's with its settings.
        task: needed where the task was made in Python with functions of its own.
        engine: settings of the engine, by name, such as `n_ctx`; for models that are loaded here.
        max_minutes: until the result is there, as of `optimize`.
        max_tokens: for the search, as of `optimize`. Without any limit those of the old run hold.
        max_calls: for the search, as of `optimize`.
        allow_code: permits the metric in Python that the task names.
        store: where the old run is, and the new one is kept: open, by path, or the default one.
        observer: told what happens.

    Raises:
        ConfigError: if the run is unfinished, imported or cross-validated, or the model is its own; nothing was spent.
        TaskError: if the task needs code that was not allowed.
        ModelError: if a model cannot be found, loaded or run.
        ContextOverflow: if a dev or test example is too long for the new model; nothing was spent then.
        StoreError: if there is no such run, or the store cannot be read or written.
    """
    wanted = Limits(max_tokens, max_calls, max_minutes)
    deadline = wanted.deadline()
    check_engine(engine, model, proposer)
    observer = observer or SilentObserver()
    with ExitStack() as stack:
        home = stack.enter_context(opened_store(store, create=False))
        old = OldRun.of(home, run, task, allow_code=allow_code)
        limits = replace(old.config.limits, pause_after=None) if wanted == Limits() else wanted
        deadline = deadline or limits.deadline()
        spec = old.search_for(limits, method, stack)
        tell_before(spec.task, observer)
        other = None if proposer is None else ModelSource(proposer, engine)
        models = _models(old.config, ModelSource(model, engine), other, stack, observer)
        ready = prepare(spec, models)
        study = SearchStudy(home, KIND, RunConfig.new(spec, models, use_cache=True), {"run": old.id}, [old.id])
        run_id = study.known(0, spec)
        if run_id is not None and study.result is not None:
            observer.note(f"the port {study.id} is finished")
            home.studies.update(study.id, status="finished")
            return Port.from_json(study.result)
        observer.note(f"port {study.id} of the run {old.id} from {old.result.model} to {models.lm.facts.name}")
        stack.enter_context(home.studies.ending(study.id))
        try:
            if run_id is None:
                sized, cost = planned(ready, observer, deadline)
                run_id = study.entered(0, RunConfig.new(sized.spec, models, use_cache=True, expected=cost))
            _say_dev(home, old, ready, run_id, observer)
            result = gone_on(home, run_id, ready, observer, None if deadline is None else deadline.left / 60)
            found = _ported(study.id, home, old, spec.task, result)
        except BaseException:
            observer.note("the same call goes on from here")
            raise
        home.studies.update(study.id, status="finished", result=found.to_json())
        return found


@dataclass(frozen=True, slots=True)
class OldRun:
    """A finished run, and what the store knows of its prompts."""

    id: str
    config: RunConfig
    task: Task
    result: RunResult
    found: Sequence[Prompt]
    """Its candidates, the best on dev first."""
    dev: Mapping[str, Scores]
    """Prompt id to what it had on dev."""
    test: Mapping[str, Scores]

    @classmethod
    def of(cls, home: Store, prefix: str, task: Task | None = None, *, allow_code: bool = False) -> OldRun:
        """Return the run whose id begins with `prefix`; its task is in the store unless it has Python functions.

        Raises:
            ConfigError: if there is nothing of it that could be ported.
            TaskError: if the task needs code that was not allowed, or functions that are not kept with a run.
            StoreError: if there is no such run, or something of it is damaged or gone.
        """
        record = home.runs.get(prefix)
        if record.imported:
            problem = f"the run {record.id} was imported, and nobody can tell here whether its scores are true"
            raise ConfigError(problem, "port a run that was made here")
        config = RunConfig.read(record.configuration)
        if config.cross_validation is not None or config.task.get("folds"):
            problem = f"the run {record.id} is of a cross-validated task, so its prompt was never measured on test"
            raise ConfigError(problem, "call optimize with the new model, for all of its searches")
        if record.status != "finished" or record.result is None:
            hint = f"{resume_command(record.id, record.configuration, home.path)} finishes it"
            raise ConfigError(f"the run {record.id} is {record.status}, and only a finished one can be ported", hint)
        result = RunResult.from_json(record.result)
        if result.dev is None or result.test is None:
            raise ConfigError(f"the run {record.id} compared nothing", "run the search again with a higher limit")
        known = known_task(config, task, allow_code, force=False)
        test = _scores(home, record.id, "test", known.test)
        if not {result.best.id, result.seed_prompt.id} <= test.keys():
            raise StoreError(f"the run {record.id} has no test scores any more", "run the search again")
        found = best_first_on_dev(home.runs.evaluations(record.id, "metric"))
        return cls(record.id, config, known, result, found, _scores(home, record.id, "metric", known.dev), test)

    def search_for(self, limits: Limits, method: str | None, stack: ExitStack) -> RunSpec:
        """Return the new search; with another method the instruction stays where the old one put it."""
        name, layout = method or self.config.method, self.task.layout
        old = self.config.optimizer(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        optimizer, fixed = _unsized(self.config, old)
        if method is not None:
            optimizer, fixed = configure(name, {}), ()
            layout = layout.placed(getattr(old, "position", "task"))
        return RunSpec(
            replace(self.task, seeds=(self.result.best,), layout=layout),
            name,
            optimizer,
            self.config.seed,
            limits,
            fixed,
            objective=self.config.objective,
            warm=self.others,
            tested_too=(self.result.seed_prompt,),
            notes=tuple(f"the old run {self.id}: {note}" for note in self.config.notes),
        )

    @property
    def others(self) -> tuple[Prompt, ...]:
        """Return what a new search begins with beside the winner: the best different candidates, then the seeds.

        Candidates are those with as many dev rows as any, best first; two that say the same count once.
        """
        seeds = self.task.seeds
        chosen = different(self.found, (self.result.best, *seeds), _MOST_OTHERS)
        return (*chosen, *(seed for seed in seeds if seed.id != self.result.best.id))


def _unsized(config: RunConfig, old: Optimizer) -> tuple[Optimizer, tuple[str, ...]]:
    """Return the method without what the old budget made of its settings, and those that no budget changes."""
    defaults = asdict(configure(config.method, {}))
    sizes = config.expected.sizes if config.expected else {}
    unsized: Any = replace(old, **{name: defaults[name] for name in sizes if name in defaults})
    is_fixed = {name: name in config.fixed or getattr(unsized, name) != default for name, default in defaults.items()}
    return unsized, tuple(name for name in defaults if is_fixed[name])  # runs of before do not say what was given


def _models(
    config: RunConfig, model: ModelSource, proposer: ModelSource | None, stack: ExitStack, observer: Observer
) -> Models:
    """Return the new task LM and the proposer, opened if need be; without a proposer it is that of the old run.

    Raises:
        ConfigError: if the task LM is the old one, or the old proposer came loaded and none is given.
        ModelError: if one cannot be found or loaded.
    """
    if proposer is None and config.proposer is not None:
        proposer = source_of(config, "proposer", None, {})
    models = open_models(model, proposer, stack, observer)
    if models.lm.facts.fingerprint == config.model.fingerprint:
        raise ConfigError(f"{models.lm.facts.name} is the model of the run itself", "name the new one")
    return models


def _say_dev(home: Store, old: OldRun, ready: Prepared, run_id: str, observer: Observer) -> None:
    """Say what the old winner and the old seed have on dev with the new model, before the search begins.

    Not where minutes are limited, and for at most a fifth of the tokens and calls.
    """
    limits = ready.spec.limits
    if limits.max_minutes is not None:
        return
    parts = [limit and limit // _SAYING for limit in (limits.max_tokens, limits.max_calls)]
    budget = Budget(max_tokens=parts[0], max_calls=parts[1])
    config = RunConfig.read(home.runs.get(run_id).configuration)
    spec = replace(ready.spec, n_dev=config.n_dev)
    prompts = {"winner": old.result.best, "seed": old.result.seed_prompt}
    known = {which: old.dev.get(prompt.id, {}) for which, prompt in prompts.items()}
    rows = [example for example in spec.placed.dev if all(example.id in scores for scores in known.values())]
    if not rows:
        return
    observer.stage(f"measuring the old winner and the old seed on {len(rows)} dev examples")
    with (
        suppress(BudgetExhausted),
        open_session(ready.models.lm, store=home, budget=budget, observer=observer) as session,
    ):
        measured = spec.evaluator(session.lm, session.budget).evaluate(list(prompts.values()), rows)
        what = "" if spec.objective == "score" else f" (objective {spec.objective})"
        for (which, scores), now in zip(known.items(), measured, strict=True):
            before = fmean(scores[example.id] for example in rows)
            swap = f"{score_text(before)} with {old.result.model}, {score_text(now.mean)} with the new model"
            observer.note(f"the old {which} on {len(rows)} dev examples{what}: {swap}")


def _ported(study_id: str, home: Store, old: OldRun, task: Task, result: RunResult) -> Port:
    """Return what the finished search says about the swap.

    Raises:
        StoreError: if scores of it are gone.
    """
    dev = _scores(home, result.run_id, "metric", task.dev)
    test = _scores(home, result.run_id, "test", task.test)
    seed, winner = old.result.seed_prompt, old.result.best
    tested = [each for each in task.test if each.id in test.get(winner.id, {})]
    is_whole = all(each.id in test.get(prompt.id, {}) for prompt in (seed, result.best) for each in tested)
    common = [each for each in tested if each.id in old.test[winner.id]]
    if not (tested and common and is_whole and result.test is not None):
        raise StoreError(f"the run {result.run_id} has no test scores any more", "delete it, and port again")

    def known(prompt: Prompt) -> PortedPrompt:
        old_dev, new_dev = old.dev.get(prompt.id, {}), dev.get(prompt.id, {})
        return PortedPrompt(
            prompt,
            _interval(new_dev, [each for each in task.dev if each.id in old_dev or not old_dev]),
            _on(test[prompt.id], tested),
            _interval(old_dev, [each for each in task.dev if each.id in new_dev]),
            _interval(old.test.get(prompt.id, {}), tested),
        )

    def difference(first: Scores, second: Scores, examples: list[Example]) -> Difference:
        before, after = ([scores[each.id] for each in examples] for scores in (first, second))
        return paired_difference(before, after, numbered(examples))

    rows = (known(seed), known(winner), known(result.best))
    marks = home.runs.first_measured(result.run_id).values()  # a result has the seconds of its last session alone
    gain = difference(test[winner.id], test[result.best.id], tested)
    return Port(
        id=study_id,
        old_run_id=old.id,
        run_id=result.run_id,
        task=result.task,
        old_model=old.result.model,
        model=result.model,
        method=result.method,
        old_seed=rows[0],
        old_best=rows[1],
        new_best=rows[2],
        swap=difference(old.test[winner.id], test[winner.id], common),
        kept=difference(test[seed.id], test[winner.id], tested),
        gain=gain,
        regret=1 - rows[1].new_test.mean / rows[2].new_test.mean if rows[2].new_test.mean else None,
        verdict=result.verdict,
        tokens_computed=result.spend.tokens_computed + result.final_evaluation.tokens_computed,
        seconds=max([result.spend.seconds, *(mark.seconds for mark in marks)]) + result.final_evaluation.seconds,
        notes=result.notes,
        objective=result.objective,
    )


def _scores(home: Store, run_id: str, kind: str, examples: Sequence[Example]) -> dict[str, Scores]:
    """Return what the prompts of a run had on those of the examples that it measured them on, by the prompts' ids."""
    ids = {example.id for example in examples}
    return {
        prompt_id: {name: outcome.score for name, outcome in outcomes.items() if name in ids}
        for prompt_id, outcomes in home.runs.by_example(run_id, kind).items()
    }


def _interval(scores: Scores, examples: list[Example]) -> Interval | None:
    """Return the score on those of the examples that have one; None where none has."""
    known = [example for example in examples if example.id in scores]
    return _on(scores, known) if known else None


def _on(scores: Scores, examples: list[Example]) -> Interval:
    return interval([scores[example.id] for example in examples], numbered(examples))
