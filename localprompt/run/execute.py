"""One sitting at a run: search, noise, test, result. Level 7. How a sitting begins is in api.py and resume.py.

A sitting may end anywhere. The next one begins the search again from its seed, and the store knows the answers.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from localprompt.errors import (
    BudgetExhausted,
    ContextOverflow,
    LocalPromptError,
    OutOfAnswers,
    OutOfTime,
    SearchEnded,
    StoreError,
)
from localprompt.interface.rounding import score_text
from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.cached import Answers, CachedLM
from localprompt.lm.metered import MeteredLM
from localprompt.optimizers import Optimizer
from localprompt.run.config import Limits
from localprompt.run.estimate import Estimate
from localprompt.run.noise import measure_noise
from localprompt.run.results import HeldOutScores, NoiseFloor, RunResult, constant_note
from localprompt.search.evaluator import Evaluator
from localprompt.search.filtering import spend_remaining
from localprompt.search.observer import Announcer, Journal, Observer, pluralize
from localprompt.search.problem import Problem
from localprompt.search.ranking import Standing, by_mean, choose_winner
from localprompt.stats.intervals import Interval, differ_by_chance, interval, paired_difference
from localprompt.store import RunStatus, Store
from localprompt.tasks import Task
from localprompt.tasks.check import main_doubts
from localprompt.tasks.constant import constant_answer
from localprompt.tasks.copies import numbered
from localprompt.tasks.template import Position
from localprompt.types import Evaluation

_MOST_TIMES = 1_000_000


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a run, each with the store before it."""

    lm: CachedLM
    """Answers the examples."""
    writer: CachedLM
    """Writes prompts; the same object where one model does both."""
    again: CachedLM
    """The task LM knowing nothing of what `lm` was asked: for measuring again."""

    @property
    def n_failed(self) -> int:
        """Different requests so far that kill the engine; measuring again asks the same ones."""
        return self.lm.n_failed + (0 if self.writer is self.lm else self.writer.n_failed)

    def flush(self) -> None:
        """Commit what waits to be committed."""
        for model in (self.lm, self.writer, self.again):
            model.flush()


@dataclass(frozen=True, slots=True)
class RunSession:
    """What one sitting needs."""

    run_id: str
    task: Task
    models: Models
    method: str
    optimizer: Optimizer
    seed: int
    limits: Limits
    observer: Observer
    expected: Estimate | None = None
    """What the search was expected to cost."""
    journal: Journal | None = None
    """None: nothing is written, as in a replay."""
    notes: tuple[str, ...] = ()
    """What a reader of the result should know of the sittings before."""
    resume: Callable[..., str] = str
    """Returns the command that goes on with the run, with further options."""


def cached_models(  # noqa: PLR0913 - two models and where their answers are
    lm: LanguageModel,
    writer: LanguageModel,
    answers: Answers,
    *,
    run_id: str,
    shared: bool,
    observer: Observer,
    anew: int = 0,
) -> Models:
    """Return the models of a run behind its store; without `shared` the answers are the run's own.

    A run that was begun `anew`, for which time that may be, shares none either, also not with itself before.
    """
    namespace = "" if shared and not anew else run_id + (f" anew {anew}" if anew else "")

    def behind(model: LanguageModel, space: str) -> CachedLM:
        cached = CachedLM(model, answers, space, run_id=run_id)
        cached.on_progress = observer.progress
        return cached

    first = behind(lm, namespace)
    return Models(first, first if writer is lm else behind(writer, namespace), behind(lm, f"{namespace} again"))


def restarts_of(configuration: Mapping[str, Any]) -> int:
    """Return how often a run was begun anew with `--force`.

    Raises:
        StoreError: if the configuration is damaged.
    """
    times = configuration.get("anew", 0)
    if type(times) is not int or not 0 <= times < _MOST_TIMES:
        raise StoreError("the configuration of the run is damaged (anew)", "it was not written by localprompt")
    return times


def placed(task: Task, optimizer: Optimizer) -> Task:
    """Return the task with the instruction where the optimiser wants it; most leave it where the task has it."""
    position: Position = getattr(optimizer, "position", "task")
    return replace(task, layout=task.layout.placed(position))


def execute_run(store: Store, sitting: RunSession) -> RunResult:
    """Return the result of a sitting at a run that is held by this process, and keep it in the store.

    Raises:
        LocalPromptError, KeyboardInterrupt: whatever ends the sitting; the run can be resumed.
    """
    run_id, runs = sitting.run_id, store.runs
    runs.update(run_id, status="running", stopped="")
    try:
        result = search_and_test(sitting)
        _flush(store, sitting)
    except BaseException as error:
        sitting.observer.note(f"{sitting.resume()} goes on where this ended")
        with contextlib.suppress(StoreError):  # the first error says more
            _flush(store, sitting)
            status, reason = _end(error)
            runs.update(run_id, status=status, stopped=reason)
        raise
    runs.update(run_id, status=result.status, result=result.to_json(), stopped=result.stopped)
    return result


def _flush(store: Store, sitting: RunSession) -> None:
    """Write what waits, answers and which of them the run used, before the run says how it ended."""
    sitting.models.flush()
    store.answers.flush()


def search_and_test(sitting: RunSession) -> RunResult:
    """Return what the search found, measured once on test beside the seed prompt.

    Raises:
        LocalPromptError: whatever a model, the task or the store raises.
    """
    task, lm, limits = placed(sitting.task, sitting.optimizer), sitting.models.lm, sitting.limits
    budget = Budget(max_tokens=limits.max_tokens, max_calls=limits.max_calls, max_minutes=limits.max_minutes)
    problem = Problem(
        task,
        Evaluator(lm, task, budget),
        MeteredLM(sitting.models.writer, budget),
        rng=random.Random(sitting.seed),
        announcer=Announcer(sitting.observer, sitting.journal),
    )
    if (cost := sitting.expected) is not None:
        sitting.observer.plan(cost.proposals + cost.evaluations)
    swaps = _swaps(lm.lm)
    end = _search(sitting.optimizer, problem)
    spend, winner, seed = budget.spend, problem.ranking.winner(), problem.ranking.best_seed()
    noise, test, proof = None, None, Budget()
    try:
        noise = _measure_noise(sitting, task, problem, proof)
        copies = {example.id: number for example, number in zip(task.dev, numbered(task.dev), strict=True)}
        winner = choose_winner(problem.ranking.finalists(), noise.floor, copies) if noise else winner
        sitting.observer.stage(f"measuring seed and winner on {pluralize(len(task.test), 'test example')}")
        before, after = Evaluator(lm, task, proof).evaluate([seed.candidate.prompt, winner.candidate.prompt], task.test)
        if sitting.journal is not None:
            sitting.journal.evaluations("test", [before, after])
        test = _on_test(task, before, after)
    except OutOfAnswers as missing:
        end = end or missing
    dev = _on_dev(task, winner)
    return RunResult(
        run_id=sitting.run_id,
        status="paused" if isinstance(end, OutOfTime | OutOfAnswers) else "finished",
        task=task.name,
        model=lm.name,
        proposer=sitting.models.writer.name,
        method=sitting.method,
        seed=sitting.seed,
        seed_prompt=seed.candidate.prompt,
        best=winner.candidate.prompt,
        op=winner.candidate.op,
        dev=dev,
        test=test,
        noise=noise,
        spend=spend,
        proof=proof.spend,
        failed=sitting.models.n_failed,
        expected=sitting.expected,
        discards=dict(problem.proposer.discards.most_common()),
        stopped=str(end) if end else "",
        notes=(
            *sitting.notes,
            *main_doubts(task, "test", "dev", "train"),
            *_notes(winner, dev, test),
            *_left(winner, problem.ranking.winner()),
            *_turns(_swaps(lm.lm) - swaps),
            *_larger_context(end, sitting),
        ),
        trajectory=tuple(problem.ranking.trajectory),
    )


def _search(optimizer: Optimizer, problem: Problem) -> SearchEnded | ContextOverflow | None:
    """Run the optimiser; return what cut it short, or nothing. What is left of a budget measures the best so far.

    A request that does not fit the proposer's context ends a search that has found something: it has been paid for.
    """
    end: SearchEnded | ContextOverflow | None
    try:
        end = _ended(partial(optimizer.run, problem))
    except ContextOverflow as overflow:
        if len(problem.ranking.candidates) == len(problem.seeds):
            raise
        end = overflow
    if end is None:
        return None
    problem.note(f"the search ends here: {end}")
    if isinstance(end, OutOfTime | OutOfAnswers):
        return end
    later = _ended(partial(spend_remaining, problem))
    return end if later is None or isinstance(later, BudgetExhausted) else later


def _ended(step: Callable[[], None]) -> SearchEnded | None:
    """Return what ended a step before its time, or nothing."""
    try:
        step()
    except SearchEnded as end:
        return end
    return None


def _end(error: BaseException) -> tuple[RunStatus, str]:
    if isinstance(error, KeyboardInterrupt):
        return "paused", "interrupted"
    return "failed", error.message if isinstance(error, LocalPromptError) else type(error).__name__


def _measure_noise(sitting: RunSession, task: Task, problem: Problem, budget: Budget) -> NoiseFloor | None:
    """Measure the best two prompts and the seed again; None where nothing was scored."""
    first, seed = problem.ranking.winner(), problem.ranking.best_seed()
    others = [each for each in problem.ranking.finalists() if each.candidate.prompt.id != first.candidate.prompt.id]
    second = min(others, key=by_mean) if others else first
    if first.evaluation is None:
        return None
    # A seed that is known on fewer examples takes no part: one changed answer of six would be a floor of 17 points.
    known = {
        each.evaluation.prompt.id: each.evaluation
        for each in (first, second, seed)
        if each.evaluation is not None and len(each.evaluation.outcomes) == len(first.evaluation.outcomes)
    }
    sitting.observer.stage(f"measuring {pluralize(len(known), 'prompt')} again on dev, for the noise of the numbers")
    return measure_noise(sitting.models.again, task, list(known.values()), budget)


def _on_test(task: Task, before: Evaluation, after: Evaluation) -> HeldOutScores:
    """Return what two prompts have on test, measured in one call."""
    copies = numbered(task.test)
    return HeldOutScores(
        seed=interval(before.scores, copies),
        best=interval(after.scores, copies),
        difference=paired_difference(before.scores, after.scores, copies),
        seed_unparsed=unparsed(before),
        best_unparsed=unparsed(after),
        constant=constant_answer(task, task.test),
    )


def _on_dev(task: Task, winner: Standing) -> Interval | None:
    """Return the winner's score on the dev examples that it was given; None where nothing was scored."""
    if winner.evaluation is None:
        return None
    examples = {example.id: example for example in task.dev}
    copies = numbered([examples[outcome.example_id] for outcome in winner.evaluation.outcomes])
    return interval(winner.evaluation.scores, copies)


def unparsed(evaluation: Evaluation) -> int:
    """Return how many completions held no answer; where there was none at all that is something else."""
    return sum(outcome.prediction is None and not outcome.failed for outcome in evaluation.outcomes)


def _swaps(lm: LanguageModel) -> int:
    """Return how often models went for each other so far, by whoever asked them: loading and other runs count too."""
    return int(getattr(lm, "swaps", 0))


def _turns(swaps: int) -> Sequence[str]:
    return (f"the two models took turns in memory, {swaps} swaps",) if swaps else ()


def _larger_context(end: Exception | None, sitting: RunSession) -> Sequence[str]:
    if not isinstance(end, ContextOverflow):
        return ()
    return (f"{sitting.resume('--force', '--engine', 'n_ctx=...')} begins the search anew in a larger context",)


def _left(winner: Standing, ahead: Standing) -> Sequence[str]:
    """Say what was left for the seed prompt, to whoever reads the scores of all candidates."""
    if winner.candidate.op != "seed" or winner.evaluation is None or ahead.evaluation is None:
        return ()
    gain = ahead.evaluation.mean - winner.evaluation.mean
    if gain <= 0:
        return ()
    text = f"a prompt is {score_text(gain, 2)} ahead of the seed on dev, not more than noise or one standard error"
    return (f"{text}, so the seed stays: {ahead.candidate.prompt.instruction!r}",)


def _notes(winner: Standing, dev: Interval | None, test: HeldOutScores | None) -> Sequence[str]:
    if dev is None or test is None:
        return ()
    is_seed = winner.candidate.op == "seed"
    constant = constant_note(test.constant, test.best, f"the {'seed' if is_seed else 'found'} prompt", "test")
    if is_seed or differ_by_chance(dev, test.best) or dev.mean < test.best.mean:
        return constant
    scores = f"dev {score_text(dev.mean, 2)} is further above test {score_text(test.best.mean, 2)}"
    apart = f"{scores} than chance explains"
    luck = f"{apart}: the best of many on {dev.n} dev examples is partly luck, so trust the test score"
    return (*constant, luck)
