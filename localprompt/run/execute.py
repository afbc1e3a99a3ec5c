"""One session of a run: search, noise, test, result. Level 7. How a session begins is in api.py and resume.py.

A session may end anywhere. The next one begins the search again from its seed, and the store knows the answers.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

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
from localprompt.lm.deadline import AFTER_SEARCH, Deadline
from localprompt.lm.metered import MeteredLM
from localprompt.lm.replayed import ReadAnswers
from localprompt.optimizers import Optimizer
from localprompt.run.choice import choose, on_dev
from localprompt.run.config import RunConfig, resume_command
from localprompt.run.estimate import Estimate
from localprompt.run.final import measured_in_time
from localprompt.run.journal import RunJournal
from localprompt.run.noise import measure_noise
from localprompt.run.prepare import Prepared
from localprompt.run.results import (
    FrontPrompt,
    HeldOutScores,
    NoiseFloor,
    RunnerUp,
    RunResult,
    VariantScores,
    constant_note,
)
from localprompt.run.session import CachedModels, cached_models
from localprompt.run.spec import RunSpec, order_of
from localprompt.search.evaluator import Evaluator
from localprompt.search.evidence import MOST_ROWS
from localprompt.search.filtering import spend_remaining
from localprompt.search.observer import Announcer, Journal, Observer, pluralize
from localprompt.search.problem import Problem
from localprompt.search.ranking import Standing, by_mean
from localprompt.stats.intervals import Interval, differ_by_chance, interval, paired_difference
from localprompt.store import RunStatus, Store
from localprompt.tasks import Task
from localprompt.tasks.check import main_doubts
from localprompt.tasks.constant import constant_answer
from localprompt.tasks.copies import numbered
from localprompt.types import Evaluation, Example, Prompt
from localprompt.variants.robust import RobustEvaluator

_NOISE_SHARE = 0.3
"""Of the time that is left after a search, for measuring again; the rest is for test."""
_CHOICE_SHARE = 0.3
"""Of what is left then, for the contenders."""
TEST_SEEN = "the test split was measured before this search continued, so its score is not a single look"


@dataclass(frozen=True, slots=True)
class RunSession:
    """What one session of a run needs."""

    run_id: str
    spec: RunSpec
    models: CachedModels
    observer: Observer
    expected: Estimate | None
    """What the search was expected to cost; None where that is not known."""
    journal: Journal | None
    """None: nothing is written, as in a replay."""
    notes: tuple[str, ...]
    """What a reader of the result should know of the sessions before."""
    resume: Callable[..., str]
    """Returns the command that goes on with the run, with further options."""
    deadline: Deadline | None = None
    """Before which the result must be there; in a replay it refuses the same calls as then."""
    held_out: HeldOutScores | None = None
    """Scores that were measured before the search, by cross-validation; None: test is measured after it."""
    known: RunResult | None = None
    """What a replay repeats: the same examples are measured at the end."""
    replaced: RunResult | None = None
    """What the run had found before: its prompts are chosen and tested on no fewer examples now."""

    @property
    def clock(self) -> Deadline | None:
        """The deadline where time passes: not in a replay."""
        return None if self.journal is None else self.deadline

    @classmethod
    def of(  # noqa: PLR0913 - a run and what it runs on
        cls,
        store: Store,
        run_id: str,
        config: RunConfig,
        ready: Prepared,
        observer: Observer,
        *,
        is_replay: bool = False,
    ) -> RunSession:
        """Return a session of a run that is in the store, without a deadline; its models answer from the store first.

        Args:
            store: that has the run.
            run_id: of the run.
            config: its record.
            ready: its search and models of now.
            observer: told what happens.
            is_replay: the store's answers are all there are, and nothing is written.
        """
        answers = ReadAnswers(store.answers) if is_replay else store.answers
        folds = config.cross_validation
        return cls(
            run_id=run_id,
            spec=ready.spec,
            models=cached_models(ready.models, answers, run_id, config.namespace(run_id), observer),
            observer=observer,
            expected=config.expected,
            journal=None if is_replay else RunJournal(store.runs, run_id),
            notes=(*((TEST_SEEN,) if config.test_seen else ()), *config.notes, *((folds.note,) if folds else ())),
            held_out=folds.test if folds else None,
            resume=partial(resume_command, run_id, store.runs.get(run_id).configuration, store.path),
        )


def execute_run(store: Store, session: RunSession) -> RunResult:
    """Return the result of a session at a run that is held by this process, and keep it in the store.

    Raises:
        LocalPromptError, KeyboardInterrupt: whatever ends the session; the run can be resumed.
    """
    run_id, runs = session.run_id, store.runs
    runs.update(run_id, status="running", stopped="")
    try:
        result = search_and_test(session)
        _flush(store, session)
    except BaseException as error:
        session.observer.note(f"{session.resume()} continues from here")
        with contextlib.suppress(StoreError):  # the first error says more
            _flush(store, session)
            status, reason = _end(error)
            runs.update(run_id, status=status, stopped=reason)
        raise
    runs.update(run_id, status=result.status, result=result.to_json(), stopped=result.stopped)
    return replace(result, store=store.path.absolute())


def _flush(store: Store, session: RunSession) -> None:
    """Write what waits, answers and which of them the run used, before the run says how it ended."""
    session.models.flush()
    store.answers.flush()


def search_and_test(session: RunSession) -> RunResult:
    """Return what the search found, measured once on test beside the seed prompt; a pause looks at no row of test.

    Raises:
        LocalPromptError: whatever a model, the task or the store raises.
    """
    spec, lm = session.spec, session.models.lm
    task, budget = spec.placed, spec.limits.budget(session.deadline)
    problem = Problem(
        task,
        spec.evaluator(lm, budget),
        MeteredLM(session.models.proposer, budget),
        rng=random.Random(spec.seed),
        warm=spec.warm,
        announcer=Announcer(session.observer, session.journal),
    )
    if (cost := session.expected) is not None:
        session.observer.plan(cost.proposals + cost.evaluations)
    swaps, end = _swaps(lm.lm), _search(spec.optimizer, problem)
    noise, runner_up, test, final = None, None, None, Budget()
    final.pace = session.clock
    _measure_cut_off(session, problem, end, spec.evaluator(lm, final))
    spend, winner, seed = budget.spend, problem.ranking.winner(), problem.ranking.best_seed()
    if not isinstance(end, OutOfTime):
        try:
            noise = _measure_noise(session, task, problem, final)
            if noise is not None:
                winner, runner_up = _choose(session, problem, spec.evaluator(lm, final))
            test = _on_test(session, spec.evaluator(lm, final), [seed.candidate.prompt, winner.candidate.prompt])
        except OutOfAnswers as missing:
            end = end or missing
    dev = on_dev(winner, task.dev)
    return RunResult(
        run_id=session.run_id,
        status="paused" if isinstance(end, OutOfTime | OutOfAnswers) else "finished",
        task=task.name,
        model=lm.facts.name,
        proposer=session.models.proposer.facts.name,
        method=spec.method,
        seed=spec.seed,
        objective=spec.objective,
        seed_prompt=seed.candidate.prompt,
        best=winner.candidate.prompt,
        op=winner.candidate.op,
        dev=dev,
        test=test,
        noise=noise,
        spend=spend,
        final_evaluation=final.spend,
        failed=session.models.n_failed,
        expected=session.expected,
        discards=dict(problem.proposer.discards.most_common()),
        stopped=str(end) if end else "",
        notes=(
            *session.notes,
            *main_doubts(task, "test", "dev", "train"),
            *_notes(session, winner, dev, test),
            *_of_the_way(session, test, _swaps(lm.lm) - swaps, end),
        ),
        runner_up=runner_up,
        trajectory=tuple(problem.ranking.trajectory),
        turns=tuple(problem.ranking.turns),
        refused=tuple(budget.deadline.refused) if budget.deadline else (),
        front=_front(problem, Evaluator(lm, task, final)),
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


def _measure_cut_off(session: RunSession, problem: Problem, end: Exception | None, evaluator: Evaluator) -> None:
    """Measure on all of dev what was ahead of the seed when the budget ended, where else the seed would win.

    A part of the final evaluation, and of the replay wherever it was one of the run.
    """
    best, clock, deadline = problem.ranking.most_promising(), session.clock, session.deadline
    if not isinstance(end, BudgetExhausted) or best is None or best in problem.seeds:
        return
    if problem.ranking.winner().candidate.prompt not in problem.seeds:
        return
    if clock is not None and clock.seconds(evaluator.work([best], problem.dev)) > _NOISE_SHARE * clock.left:
        clock.refused.append(AFTER_SEARCH)
    if deadline is None or AFTER_SEARCH not in deadline.refused:
        with contextlib.suppress(OutOfAnswers):  # the replay of a run of before
            problem.evaluate([best], evaluator=evaluator)


def _measure_noise(session: RunSession, task: Task, problem: Problem, budget: Budget) -> NoiseFloor | None:
    """Measure the best two prompts and the seed again; None where nothing was scored."""
    best, seed = sorted(problem.ranking.finalists(), key=by_mean)[:2], problem.ranking.best_seed()
    measured = [each.evaluation for each in (*best, seed) if each.evaluation is not None]
    if not measured:
        return None
    # A seed that is known on fewer examples takes no part: one changed answer of six would be a floor of 17 points.
    known = {each.prompt.id: each for each in measured if len(each.outcomes) == len(measured[0].outcomes)}
    session.observer.stage(f"measuring {pluralize(len(known), 'prompt')} again on dev to estimate the noise")
    n_known = None if session.known is None or session.known.noise is None else session.known.noise.n // len(known)
    examples = order_of(task, task.dev, session.spec.seed)
    whole = replace(task, dev=session.spec.task.dev)
    if session.spec.objective != "score":  # test compares plain scores; these were asked already
        plain = Evaluator(session.models.lm, whole, budget)
        seen = {outcome.example_id for outcome in measured[0].outcomes}
        prompts = [each.prompt for each in known.values()]
        found = plain.evaluate(prompts, [example for example in task.dev if example.id in seen])
        known = {each.prompt.id: each for each in found}
    evaluator = Evaluator(session.models.again, whole, budget)
    again = partial(measured_in_time, evaluator, deadline=session.clock, share=_NOISE_SHARE)
    return measure_noise(again, examples, list(known.values()), n_known)


def _tested(session: RunSession, evaluator: Evaluator, prompts: Sequence[Prompt]) -> Sequence[Example]:
    """Return the test examples that the prompts are measured on, in the order of the task: those there is time for."""
    task, known = session.spec.placed, session.known.test if session.known else None
    session.observer.stage(f"measuring the seed and the winner on {pluralize(len(task.test), 'test example')}")
    if session.clock is None and known is None:
        return task.test
    mixed = order_of(task, task.test, session.spec.seed)[: known.seed.n if known else None]
    before = session.replaced and session.replaced.test
    measured = measured_in_time(evaluator, prompts, mixed, session.clock, least=before.seed.n if before else 0)
    ids = {outcome.example_id for outcome in measured[0].outcomes}
    return [example for example in task.test if example.id in ids]


def _choose(session: RunSession, problem: Problem, evaluator: Evaluator) -> tuple[Standing, RunnerUp | None]:
    """Return the winner and who came second; what was measured to choose is kept."""
    if problem.unseen:
        session.observer.stage("measuring the contenders on train examples that the search did not use")
    known = session.known
    most = MOST_ROWS if known is None else known.runner_up.n_unseen if known.runner_up else 0
    before = session.replaced and session.replaced.runner_up
    least = before.n_unseen if before else 0
    measure = partial(measured_in_time, evaluator, deadline=session.clock, share=_CHOICE_SHARE, least=least)
    choice = choose(problem, evaluator, measure, most)
    if session.journal is not None and choice.evidence:
        session.journal.evaluations("evidence", choice.evidence)
    return choice.winner, choice.runner_up


def _on_test(session: RunSession, evaluator: Evaluator, prompts: Sequence[Prompt]) -> HeldOutScores:
    """Return what seed and winner have on test; of a cross-validated task what was measured before on each fold.

    That is the score of the prompts as they are, whatever the objective; their variants stand beside it.
    """
    if session.held_out is not None:
        return session.held_out
    asked = [*prompts, *session.spec.tested_too]
    examples = _tested(session, evaluator, asked)
    measured = evaluator.evaluate(asked, examples)
    robust = evaluator if isinstance(evaluator, RobustEvaluator) else None
    ways = robust.neighbourhoods(asked, examples) if robust else [(each,) for each in measured]
    if session.journal is not None:
        for number, kind in enumerate(["test", *(f"test variant {i}" for i in range(1, len(ways[0])))]):
            of_kind = [replace(each[number], prompt=prompt) for each, prompt in zip(ways, asked, strict=True)]
            session.journal.evaluations(kind, of_kind)
    scores = held_out_scores(session.spec.placed, examples, ways[0][0], ways[1][0])
    if robust is None:
        return scores
    seed, best = (
        VariantScores.of(of_prompt, robust.changes(prompt), numbered(examples))
        for of_prompt, prompt in zip(ways[:2], prompts, strict=True)
    )
    return replace(scores, seed_variants=seed, best_variants=best)


def held_out_scores(task: Task, examples: Sequence[Example], before: Evaluation, after: Evaluation) -> HeldOutScores:
    """Return what seed and winner have on examples; both evaluations have their order and length."""
    copies = numbered(examples)
    return HeldOutScores(
        seed=interval(before.scores, copies),
        best=interval(after.scores, copies),
        difference=paired_difference(before.scores, after.scores, copies),
        seed_unparsed=before.n_unparsed,
        best_unparsed=after.n_unparsed,
        constant=constant_answer(task, examples),
    )


def _front(problem: Problem, evaluator: Evaluator) -> tuple[FrontPrompt, ...]:
    """Return the prompts that no other of the search beats in both score and length; none where tokens are unknown."""
    try:
        front = problem.ranking.front(evaluator.lengths)
    except OutOfAnswers:  # the replay of a run of before
        return ()
    return tuple(FrontPrompt(each.candidate.prompt, each.mean, each.length or 0) for each in front)


def _swaps(lm: LanguageModel) -> int:
    """Return how often models went for each other so far, by whoever asked them: loading and other runs count too."""
    return int(getattr(lm, "swaps", 0))


def _of_the_way(session: RunSession, test: HeldOutScores | None, swaps: int, end: Exception | None) -> Iterator[str]:
    """Yield what a reader should know of how the result came about."""
    n = len(session.spec.placed.tested)
    if test is not None and test.seed.n != n:
        yield f"there was time for {test.seed.n} of {n} test rows; {session.resume('--max-minutes', 'N')} tests more"
    if swaps:
        yield f"the two models took turns in memory, {swaps} swaps"
    if isinstance(end, ContextOverflow):
        yield f"{session.resume('--force', '--engine', 'n_ctx=...')} restarts the search with a larger context"


def _notes(session: RunSession, winner: Standing, dev: Interval | None, test: HeldOutScores | None) -> Sequence[str]:
    if dev is None or test is None:
        return ()
    is_seed = winner.candidate.op == "seed"
    whose = (
        "what the searches of the folds found" if session.held_out else f"the {'seed' if is_seed else 'found'} prompt"
    )
    constant = constant_note(test.constant, test.best, whose, "test")
    # Scores of other prompts, and those of another objective, may differ from this one's.
    is_apart = session.held_out is None and not is_seed and session.spec.objective == "score"
    if not is_apart or differ_by_chance(dev, test.best) or dev.mean < test.best.mean:
        return constant
    scores = f"dev {score_text(dev.mean, 2)} exceeds test {score_text(test.best.mean, 2)}"
    apart = f"{scores} by more than chance explains"
    luck = f"{apart}: the best of many on {dev.n} dev examples is partly luck, so trust the test score"
    return (*constant, luck)
