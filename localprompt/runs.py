"""A run from end to end, and a single evaluation. Level 6.

The search sees train and dev. What it found is measured once on test, together with the seed, when nothing can be
chosen any more.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

from localprompt import __version__
from localprompt.analysis.stats import (
    Difference,
    Interval,
    differ_by_chance,
    interval,
    paired_difference,
    smallest_detectable_gain,
)
from localprompt.budget import Budget
from localprompt.errors import BudgetExhausted, ConfigError, TaskError
from localprompt.evaluator import Evaluator
from localprompt.lm.base import LanguageModel
from localprompt.lm.metered import MeteredLM
from localprompt.optimizers import Optimizer, configure
from localprompt.problem import Observer, Problem, SilentObserver, Standing
from localprompt.tasks import Task, load_task
from localprompt.tasks.check import shared_rows
from localprompt.types import Evaluation, Prompt, Spend

Split = Literal["train", "dev", "test"]
_SIGNIFICANT = 0.05
_ROOM = 128
"""Tokens by which a found prompt may be longer than the seed before an example does not fit the context."""


@dataclass(frozen=True, slots=True)
class HeldOutScores:
    """Seed and found prompt on the test split, the same examples for both."""

    seed: Interval
    best: Interval
    difference: Difference
    seed_unparsed: int
    """Examples whose completion held no answer, with the seed; they score 0."""
    best_unparsed: int
    """The same with the found prompt."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run found, how sure that is, and what it cost."""

    run_id: str
    """12 hexadecimal digits: equal for runs that cannot differ. With a limit in minutes that is not promised: where it
    ends a run depends on the machine."""
    task: str
    model: str
    proposer: str
    method: str
    seed: int
    seed_prompt: Prompt
    """The best of the task's seed prompts on dev: what the found prompt has to beat."""
    best: Prompt
    op: str
    """How the best prompt came about."""
    dev: Interval | None
    """Of the best prompt: the highest of many, so optimistic. None where the budget ended before any was scored."""
    test: HeldOutScores
    spend: Spend
    """Of the search; the test measurement is not counted."""
    discards: Mapping[str, int]
    """Reason to number of proposals that were not used, most frequent first."""
    stopped: str
    """Why the search ended before its end; empty where it did not."""
    notes: tuple[str, ...]
    """What a reader of the numbers should know."""

    @property
    def found_better(self) -> bool:
        """True if the winner is not the seed prompt itself."""
        return self.best.id != self.seed_prompt.id

    @property
    def verdict(self) -> str:
        """One of five sentences about the difference on test."""
        difference = self.test.difference
        if self.dev is None:
            return "nothing was compared"
        if not self.found_better:
            return "no better prompt found"
        if difference.p >= _SIGNIFICANT:
            return "no significant difference"
        return "significant improvement" if difference.mean > 0 else "significantly worse"

    def to_json(self) -> dict[str, object]:
        """Return the result as plain data."""
        return {
            "run_id": self.run_id,
            "task": self.task,
            "model": self.model,
            "proposer": self.proposer,
            "method": self.method,
            "seed": self.seed,
            "seed_prompt": _plain_prompt(self.seed_prompt),
            "best": {
                "prompt": _plain_prompt(self.best),
                "op": self.op,
                "dev": {"mean": self.dev.mean if self.dev else None, "n": self.dev.n if self.dev else 0},
            },
            "test": {
                "seed": {**asdict(self.test.seed), "unparsed": self.test.seed_unparsed},
                "best": {**asdict(self.test.best), "unparsed": self.test.best_unparsed},
                "difference": asdict(self.test.difference),
            },
            "spend": asdict(self.spend),
            "discards": dict(self.discards),
            "stopped": self.stopped,
            "verdict": self.verdict,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """One prompt on one split."""

    task: str
    model: str
    prompt: Prompt
    split: Split
    score: Interval
    unparsed: int
    """Examples whose completion held no answer; they score 0."""
    spend: Spend

    def to_json(self) -> dict[str, object]:
        """Return the result as plain data."""
        return {
            "task": self.task,
            "model": self.model,
            "prompt": _plain_prompt(self.prompt),
            "split": self.split,
            "score": asdict(self.score),
            "unparsed": self.unparsed,
            "spend": asdict(self.spend),
        }


@runtime_checkable
class _Reporting(Protocol):
    """A model that tells how far a running call is."""

    on_progress: Callable[[int, int], None]


def open_model(name_or_path: str | Path, **engine: Any) -> AbstractContextManager[LanguageModel]:
    """Return a loaded model by card name or path; replace this function to run without one.

    Raises:
        ConfigError: for an unknown name, or an unknown or impossible engine setting.
        ModelError: if it cannot be found or loaded.
    """
    from localprompt.lm.local import load_model  # noqa: PLC0415 - llama.cpp starts slowly

    return load_model(name_or_path, **engine)


def optimize(  # noqa: PLR0913 - a run has as many choices as the command
    task: str | os.PathLike[str] | Task,
    model: str | Path | LanguageModel,
    *,
    method: str = "ape",
    proposer: str | Path | LanguageModel | None = None,
    settings: Mapping[str, object] = MappingProxyType({}),
    engine: Mapping[str, object] = MappingProxyType({}),
    seed: int = 0,
    max_minutes: float | None = None,
    max_tokens: int | None = None,
    max_calls: int | None = None,
    allow_code: bool = False,
    observer: Observer | None = None,
) -> RunResult:
    """Return the best prompt for a task that one search found, measured on the test split against the seed.

    Args:
        task: a task file or a loaded task.
        model: the task LM, by card name, path, or loaded; what is loaded here is closed here.
        method: a registered optimiser.
        proposer: the model that writes prompts; the task LM itself by default.
        settings: hyperparameters of the method, by name; text is read as the field's type.
        engine: settings of the engine, by name, such as `n_ctx`; for both models, where they are loaded here.
        seed: of everything random. Same seed, same models, same task: same result.
        max_minutes: for the search, checked before each model call.
        max_tokens: for the search, tokens requested; never exceeded.
        max_calls: for the search, model calls; never exceeded.
        allow_code: permits a task file to name a metric in Python, which runs code.
        observer: told what happens.

    Raises:
        ConfigError: for unknown names and impossible settings, before anything is loaded where that is possible.
        TaskError: if the task file or its data is wrong.
        ModelError: if a model cannot be found, loaded or run.
        ContextOverflow: if a dev or test example is too long for the model; nothing was spent then.
    """
    optimizer = configure(method, settings)
    _check_engine(engine, model, proposer)
    loaded = _loaded_task(task, allow_code)
    _check_splits(loaded)
    observer = observer or SilentObserver()
    shared = shared_rows(loaded)
    for note in (_before(loaded), *shared):
        observer.note(note)
    with ExitStack() as stack:
        lm = _opened(model, engine, stack, observer)
        writer = lm if proposer is None or proposer == model else _opened(proposer, engine, stack, observer)
        choices = {"method": method, "settings": _contents(asdict(optimizer)), "seed": seed}
        run_id = _run_id(loaded, lm, writer, {**choices, "limits": [max_minutes, max_tokens, max_calls]})
        budget = Budget(max_tokens=max_tokens, max_calls=max_calls, max_minutes=max_minutes)
        evaluator = Evaluator(lm, loaded, budget)
        evaluator.check_fit(loaded.seeds[0], (*loaded.dev, *loaded.test), room=_ROOM)
        rng = random.Random(seed)
        problem = Problem(loaded, evaluator, MeteredLM(writer, budget), rng=rng, observer=observer)
        stopped = _search(optimizer, problem)
        spend = budget.spend
        winner, seed_standing = problem.winner(), problem.best_seed()
        observer.stage(f"measuring seed and winner on {len(loaded.test)} test examples")
        test = _measure_on_test(lm, loaded, seed_standing.candidate.prompt, winner.candidate.prompt)
        dev = interval(winner.evaluation.scores) if winner.evaluation else None
        return RunResult(
            run_id=run_id,
            task=loaded.name,
            model=lm.name,
            proposer=writer.name,
            method=method,
            seed=seed,
            seed_prompt=seed_standing.candidate.prompt,
            best=winner.candidate.prompt,
            op=winner.candidate.op,
            dev=dev,
            test=test,
            spend=spend,
            discards=dict(problem.discards.most_common()),
            stopped=stopped,
            notes=(*shared, *_notes(winner, dev, test)),
        )


def evaluate(  # noqa: PLR0913 - as above
    task: str | os.PathLike[str] | Task,
    model: str | Path | LanguageModel,
    prompt: str | Prompt,
    *,
    split: Split = "test",
    engine: Mapping[str, object] = MappingProxyType({}),
    allow_code: bool = False,
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
        observer: told what happens.

    Raises:
        ConfigError, TaskError, ModelError, ContextOverflow: as `optimize`.
    """
    _check_engine(engine, model)
    loaded = _loaded_task(task, allow_code)
    splits = {"train": loaded.train, "dev": loaded.dev, "test": loaded.test}
    if split not in splits:
        raise ConfigError(f"unknown split {split!r}", "known: dev, test, train")
    examples = splits[split]
    if not examples:
        raise TaskError(f"the task {loaded.name} has no {split} examples", "choose another split")
    observer = observer or SilentObserver()
    whole = Prompt(prompt) if isinstance(prompt, str) else prompt
    budget = Budget()
    with ExitStack() as stack:
        lm = _opened(model, engine, stack, observer)
        evaluator = Evaluator(lm, loaded, budget)
        evaluator.check_fit(whole, examples)
        observer.stage(f"evaluating on {len(examples)} {split} examples")
        (evaluation,) = evaluator.evaluate([whole], examples)
        return EvaluationResult(
            task=loaded.name,
            model=lm.name,
            prompt=whole,
            split=split,
            score=interval(evaluation.scores),
            unparsed=_unparsed(evaluation),
            spend=budget.spend,
        )


def _loaded_task(task: str | os.PathLike[str] | Task, allow_code: bool) -> Task:
    return task if isinstance(task, Task) else load_task(task, allow_code=allow_code)


def _check_splits(task: Task) -> None:
    if not task.dev or not task.test:
        raise TaskError(f"the task {task.name} has no {'test' if task.dev else 'dev'} examples", "a search needs both")


def _check_engine(engine: Mapping[str, object], *models: object) -> None:
    if engine and not any(isinstance(model, str | Path) for model in models):
        raise ConfigError("engine settings have no effect on a model that is loaded", "give them to load_model")


def _opened(
    model: str | Path | LanguageModel, engine: Mapping[str, object], stack: ExitStack, observer: Observer
) -> LanguageModel:
    """Return the model, loaded if need be, which reports to the observer until the stack unwinds."""
    if isinstance(model, str | Path):
        observer.stage(f"loading {model}")
        model = stack.enter_context(open_model(model, **engine))
    if isinstance(model, _Reporting):
        stack.enter_context(_reporting_to(observer, model))
    return model


@contextmanager
def _reporting_to(observer: Observer, model: _Reporting) -> Iterator[None]:
    before = model.on_progress
    model.on_progress = observer.progress
    try:
        yield
    finally:
        model.on_progress = before


def _search(optimizer: Optimizer, problem: Problem) -> str:
    """Run the optimiser; return why it was cut short, or nothing."""
    try:
        optimizer.run(problem)
    except BudgetExhausted as end:
        problem.observer.note(f"the search ends here: {end}")
        return str(end)
    return ""


def _measure_on_test(lm: LanguageModel, task: Task, seed: Prompt, best: Prompt) -> HeldOutScores:
    """Measure both prompts in one call; a budget of its own, since the proof must not fail for want of one."""
    before, after = Evaluator(lm, task, Budget()).evaluate([seed, best], task.test)
    return HeldOutScores(
        seed=interval(before.scores),
        best=interval(after.scores),
        difference=paired_difference(before.scores, after.scores),
        seed_unparsed=_unparsed(before),
        best_unparsed=_unparsed(after),
    )


def _unparsed(evaluation: Evaluation) -> int:
    return sum(outcome.prediction is None for outcome in evaluation.outcomes)


def _before(task: Task) -> str:
    gain = smallest_detectable_gain(len(task.test))
    return f"{len(task.test)} test examples can show a gain of about {100 * gain:.0f} points or more"


def _notes(winner: Standing, dev: Interval | None, test: HeldOutScores) -> tuple[str, ...]:
    if dev is None or winner.candidate.op == "seed" or differ_by_chance(dev, test.best) or dev.mean < test.best.mean:
        return ()
    apart = f"dev {dev.mean:.2f} is further above test {test.best.mean:.2f} than chance explains"
    return (f"{apart}: the best of many on {dev.n} dev examples is partly luck, so trust the test score",)


def _run_id(task: Task, lm: LanguageModel, writer: LanguageModel, choices: Mapping[str, object]) -> str:
    # The task's fingerprint covers what changes a score; the seed prompts change the search too.
    seeds = [prompt.id for prompt in task.seeds]
    content = [__version__, task.fingerprint, seeds, lm.fingerprint, writer.fingerprint, choices]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _contents(settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings with the texts in a folder instead of its path."""
    return {
        name: [[path.name, _file_hash(path)] for path in sorted(value.glob("*.txt"))]
        if isinstance(value, Path)
        else value
        for name, value in settings.items()
    }


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plain_prompt(prompt: Prompt) -> dict[str, object]:
    demos = [{"inputs": dict(demo.inputs), "output": demo.output} for demo in prompt.demos]
    return {"instruction": prompt.instruction, "demos": demos}
