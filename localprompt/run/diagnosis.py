"""What the seed prompt does with a model, said in seconds, before a search is paid for. Level 7."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from types import MappingProxyType

from localprompt.interface.arguments import checked
from localprompt.interface.rounding import score_text
from localprompt.lm.metered import MeteredLM
from localprompt.run.api import dry_run
from localprompt.run.estimate import Estimate
from localprompt.run.models import Named
from localprompt.run.session import Session, StoreSource, open_session
from localprompt.run.spec import TaskSource, loaded_task
from localprompt.search.observer import Observer, SilentObserver, pluralize
from localprompt.search.problem import Problem
from localprompt.stats.intervals import ALPHA, Difference, Interval, exact_mcnemar, interval, paired_difference
from localprompt.stats.power import smallest_detectable_gain
from localprompt.store.plain import PlainRecord
from localprompt.tasks import Task
from localprompt.tasks.copies import inputs_of, n_different, numbered
from localprompt.tasks.normalising import normalise
from localprompt.tasks.task import check_one_split
from localprompt.types import Demo, Evaluation, Example, Outcome, Prompt, Spend

_ROWS = 20
"""Dev examples: few, so that it takes seconds."""
_SHOTS = 2
_MOST_SEEDS = 3
_SEED = 0
"""The same task has the same rows and worked examples, so a second call finds its answers in the store."""
_MOST_WRONG = 3
_QUOTED = 60
"""Characters of an answer in a sentence."""
_MUCH_LESS = 0.75
"""Share of the tokens of now from which on fewer are worth a sentence."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One prompt on the rows."""

    prompt: Prompt
    score: Interval
    unparsed: int
    """Completions that held no answer; they score 0."""
    failed: int
    """Rows that the model could not be asked about; they score 0."""


@dataclass(frozen=True, slots=True)
class AnswerCount:
    """How often one answer is given and right; answers that differ only in case or punctuation are one."""

    answer: str
    given: int
    """Rows for which the seed prompt has it."""
    wanted: int
    """Rows of which it is an acceptable answer."""
    right: int
    """Rows of both kinds."""


@dataclass(frozen=True, slots=True)
class Diagnosis(PlainRecord):
    """What a task's seed prompts do with a model on a few dev rows, beside no instruction and worked examples."""

    task: str
    model: str
    seed_prompt: Prompt
    """The seed prompt that the rest is about: of several the best on the rows."""
    trials: tuple[Trial, ...]
    """Seed prompts and no instruction, then each of them with two worked examples; all on the same rows."""
    seed_gain: Difference | None
    """The seed prompt's score less that of no instruction; None where it is no instruction."""
    shots_gain: Difference | None
    """The seed prompt's score with two worked examples less that without; None where that was not tried."""
    batch_gain: Difference | None
    """Mean score of all these with `label_score: batch` less that as it is; None without labels, and where it is so."""
    smallest_gain: float | None
    """Difference in score that the rows show with power 0.8; None where they can show none."""
    answer_counts: tuple[AnswerCount, ...]
    """Of a closed set of outputs and whatever else was answered, most often given first; empty without such a set."""
    wrong: tuple[Outcome, ...]
    """Up to three answers of the seed prompt that are not all right, those that could not be read first."""
    expected: Estimate
    """Of a default search and its final evaluation."""
    warnings: tuple[str, ...]
    conclusions: tuple[str, ...]
    """What follows, in sentences."""
    notes: tuple[str, ...]
    """What was not tried, and why."""
    spend: Spend


@checked
def diagnose(  # noqa: PLR0913 - options of a user
    task: TaskSource,
    model: Named,
    *,
    engine: Mapping[str, object] = MappingProxyType({}),
    allow_code: bool = False,
    store: StoreSource = None,
    observer: Observer | None = None,
) -> Diagnosis:
    """Return what the seed prompts do with a model on 20 dev rows, and what a default search would cost.

    The rows hold each label in proportion; up to three seed prompts and no instruction, each also with two worked
    examples from train that have different answers, are scored on them in one call. Nothing of the test split is asked.
    Answers are kept in the store, where a later search finds them.

    Args:
        task: a task file or a loaded task.
        model: by card name, path, or loaded; what is loaded here is closed here.
        engine: settings of the engine, by name, such as `n_ctx`; where the model is loaded here.
        allow_code: permits a task file to name a metric in Python, which runs code.
        store: where answers are kept: open, by path, or the default one.
        observer: told what happens.

    Raises:
        ConfigError, TaskError, ModelError, ContextOverflow, StoreError: as `optimize`.
    """
    loaded = loaded_task(task, allow_code=allow_code)
    check_one_split(loaded, "all its rows are tested, so the seed prompt cannot be tried on some of them before")
    observer = observer or SilentObserver()
    with open_session(model, store=store, engine=engine, observer=observer) as session:
        observer.stage("estimating what a default search will cost")
        expected = dry_run(loaded, session.lm.lm)
        writing = MeteredLM(session.lm, session.budget)
        problem = Problem(loaded, session.evaluator(loaded), writing, rng=random.Random(_SEED))
        rows = problem.shuffled(problem.dev)[:_ROWS]
        bare = {prompt.id: prompt for prompt in (*problem.seeds[:_MOST_SEEDS], Prompt(""))}
        shown, notes = _with_examples(loaded, problem, list(bare.values()), rows)
        prompts = [*bare.values(), *shown.values()]
        observer.stage(f"scoring {pluralize(len(prompts), 'prompt')} on {pluralize(len(rows), 'dev example')}")
        known = {each.prompt.id: each for each in session.evaluator(loaded).evaluate(prompts, rows)}
        batch_gain = _batch_gain(loaded, session, list(known.values()), rows)
        shorter = list(_shorter_labels(loaded, session, rows))
    seed = max((known[prompt.id] for prompt in problem.seeds[:_MOST_SEEDS]), key=lambda each: each.mean)
    copies, none = numbered(rows), known[Prompt("").id]
    seed_gain = None if seed is none else paired_difference(none.scores, seed.scores, copies)
    shots_gain = None
    if seed.prompt.id in shown:  # a mean over all prompts would credit the seed with what no instruction gains
        shots_gain = paired_difference(seed.scores, known[shown[seed.prompt.id].id].scores, copies)
    counts = _counted(problem.outputs, seed, rows)
    smallest = smallest_detectable_gain(n_different(rows))
    all_wrong = not any(each.mean for each in known.values())
    return Diagnosis(
        task=loaded.name,
        model=session.lm.facts.name,
        seed_prompt=seed.prompt,
        trials=tuple(_trial(known[prompt.id], copies) for prompt in prompts),
        seed_gain=seed_gain,
        shots_gain=shots_gain,
        batch_gain=batch_gain,
        smallest_gain=smallest,
        answer_counts=counts if problem.outputs else (),
        wrong=_wrong(seed),
        expected=expected,
        warnings=tuple(_warnings(loaded, seed, counts)),
        conclusions=(
            *(_ALL_WRONG if all_wrong else _conclusions(seed, seed_gain, shots_gain)),
            *_batch_conclusion(batch_gain),
            *shorter,
            _caveat(len(rows), smallest),
        ),
        notes=(*_left_out(problem), *notes),
        spend=session.budget.spend,
    )


def _with_examples(
    task: Task, problem: Problem, prompts: Sequence[Prompt], rows: Sequence[Example]
) -> tuple[dict[str, Prompt], list[str]]:
    """Return prompts with worked examples by the id of those without, and why there are none of some."""
    if not task.layout.has_demos:
        return {}, ["the layout has no {{demos}} slot, so no prompt was tried with worked examples"]
    demos = _worked_examples(problem, rows)
    if len(demos) < _SHOTS:
        return {}, [f"train has no {_SHOTS} examples that are not among the rows, so none were shown"]
    without = [prompt for prompt in prompts if not prompt.demos]
    shown = {
        prompt.id: replace(prompt, demos=tuple(demos))
        for prompt in without
        if problem.demos_that_fit(prompt, demos) == len(demos)
    }
    too_long = len(without) - len(shown)
    what = f"{pluralize(too_long, 'prompt')} with {_SHOTS} worked examples"
    reason = f"{what} would not fit the context with the longest dev example, and so was not tried"
    return shown, [reason] if too_long else []


def _worked_examples(problem: Problem, rows: Sequence[Example]) -> list[Demo]:
    """Return two train examples that are no copies of the rows, with different answers where there are such."""
    asked = {inputs_of(example) for example in rows}
    pool = [example for example in problem.shuffled(problem.train) if inputs_of(example) not in asked]
    # Stable: chance decides among those with another answer than the first.
    in_order = [*pool[:1], *sorted(pool[1:], key=lambda example: example.targets[0] == pool[0].targets[0])]
    return [Demo(example.inputs, example.targets[0]) for example in in_order[:_SHOTS]]


def _batch_gain(
    task: Task, session: Session, known: Sequence[Evaluation], rows: Sequence[Example]
) -> Difference | None:
    """Return what batch calibration adds to the mean score of the prompts, paired by row; None where it cannot."""
    if not task.labels or task.label_score == "batch" or not (task.train or task.dev):
        return None
    evaluator = session.evaluator(replace(task, label_score="batch"))
    after = evaluator.evaluate([each.prompt for each in known], rows)
    by_row = [[fmean(scores) for scores in zip(*(each.scores for each in of), strict=True)] for of in (known, after)]
    return paired_difference(by_row[0], by_row[1], numbered(rows))


def _batch_conclusion(gain: Difference | None) -> Iterator[str]:
    if gain is not None:
        end = f"{', which may be chance' if gain.p >= ALPHA else ''}; mostly less with more worked examples"
        yield f"`label_score: batch` changes the mean score of all these prompts by {_said(gain)}{end}."


def _shorter_labels(task: Task, session: Session, rows: Sequence[Example]) -> Iterator[str]:
    """Say what first words of labels would save, where it is much."""
    short = replace(task, label_score="prefix")
    if task.is_calibrated or short.compared == task.compared:
        return
    now, then = (session.evaluator(each).work(task.seeds[:1], rows).read for each in (task, short))
    if then <= _MUCH_LESS * now:
        yield f"`label_score: prefix` would compute {then:,} tokens for these rows instead of {now:,}."


def _trial(evaluation: Evaluation, copies: Sequence[int]) -> Trial:
    return Trial(evaluation.prompt, interval(evaluation.scores, copies), evaluation.n_unparsed, evaluation.n_failed)


def _counted(outputs: Sequence[str], seed: Evaluation, rows: Sequence[Example]) -> tuple[AnswerCount, ...]:
    """Return how often each output, and each other answer, is given, wanted and right; most often given first."""
    given = ["" if each.prediction is None else _form(each.prediction) for each in seed.outcomes]
    wanted = [{_form(target) for target in example.targets} for example in rows]
    predictions = [each.prediction for each in seed.outcomes if each.prediction is not None]
    texts = {_form(text): text for text in (*reversed(predictions), *outputs)}
    counts = [
        AnswerCount(
            text,
            given=given.count(form),
            wanted=sum(form in each for each in wanted),
            right=sum(form == answer and form in each for answer, each in zip(given, wanted, strict=True)),
        )
        for form, text in texts.items()
    ]
    return tuple(sorted(counts, key=lambda each: (-each.given, -each.wanted, each.answer)))


def _form(answer: str) -> str:
    return normalise(answer) or answer.strip()  # of signs alone, such as + and -, nothing else would be left


def _wrong(seed: Evaluation) -> tuple[Outcome, ...]:
    wrong = [each for each in seed.outcomes if each.score < 1 and not each.failed]
    return tuple(sorted(wrong, key=lambda each: (each.prediction is not None, each.score))[:_MOST_WRONG])


def _warnings(task: Task, seed: Evaluation, counts: Sequence[AnswerCount]) -> Iterator[str]:
    n = len(seed.outcomes)
    for each in counts:
        # Rows that get it and should not, against rows that should and do not: chance has as many of both.
        extra, missed = each.given - each.right, each.wanted - each.right
        if extra > missed and exact_mcnemar(extra, missed) < ALPHA:
            favours = f"the seed prompt gives the answer {each.answer!r:.{_QUOTED}} for {each.given} of {n} rows"
            calibrated = "" if task.is_calibrated else "; worked examples, or `label_score: batch`, may correct that"
            yield f"{favours}, though it is right for {each.wanted}{calibrated if task.labels else ''}"
    if seed.n_unparsed:
        yield f"{seed.n_unparsed} of {n} completions of the seed prompt hold no answer that can be read, and score 0"


_ALL_WRONG = ("No prompt has one row right: see by the wrong answers whether they are read and judged as you mean.",)


def _conclusions(seed: Evaluation, seed_gain: Difference | None, shots_gain: Difference | None) -> Iterator[str]:
    if min(seed.scores) == 1:
        yield "The seed prompt is right on every row, so a search has little to find."
        return
    if seed_gain is not None:
        if seed_gain.p < ALPHA:
            better = "better" if seed_gain.mean > 0 else "worse"
            yield f"The seed prompt is {better} than no instruction: {_said(seed_gain)}."
        elif seed_gain.mean > 0:
            yield f"The seed prompt is ahead of no instruction by {_said(seed_gain)}, which may be chance."
        else:
            yield f"The seed prompt is no better than no instruction: {_said(seed_gain)}."
    if shots_gain is not None:
        gained = _said(shots_gain)
        if shots_gain.p >= ALPHA:
            yield f"Two worked examples change the seed prompt's score by {gained}, which may be chance."
        elif shots_gain.mean > 0:
            yield f"Two worked examples raise the seed prompt's score by {gained}; a search tries more of them."
        else:
            yield f"Two worked examples change the seed prompt's score by {gained}: these do harm."


def _said(difference: Difference) -> str:
    mean, low, high = (score_text(each, 2, "+") for each in (difference.mean, difference.low, difference.high))
    return f"{mean} (95 % interval {low} to {high})"


def _caveat(n: int, smallest: float | None) -> str:
    if smallest is None:
        return f"{pluralize(n, 'row')} can show no difference at all."
    return f"{n} rows reliably show only differences of about {math.ceil(100 * smallest)} points or more."


def _left_out(problem: Problem) -> Iterator[str]:
    if len(problem.seeds) > _MOST_SEEDS:
        yield f"of {len(problem.seeds)} seed prompts the first {_MOST_SEEDS} were tried"
