"""Which way to ask suits a model: layouts and label scores race with the seed prompt on dev, before a search. Level 7.

The choice of a format is that of FormatSpread (Sclar et al. 2024, arXiv 2310.11324) turned round: the best is wanted,
not the spread. Successive halving on common rows (Jamieson & Talwalkar 2016) instead of its bandit.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from types import MappingProxyType
from typing import Any

from localprompt.interface.arguments import checked
from localprompt.lm.metered import MeteredLM
from localprompt.run.models import Named
from localprompt.run.session import Session, StoreSource, open_session
from localprompt.run.spec import TaskSource, check_count, loaded_task
from localprompt.search.evaluator import Evaluator
from localprompt.search.observer import Observer, SilentObserver, pluralize
from localprompt.search.problem import Problem
from localprompt.stats.intervals import Difference, Interval, interval, paired_difference
from localprompt.store.plain import PlainRecord
from localprompt.tasks import Task
from localprompt.tasks.copies import inputs_of, numbered
from localprompt.tasks.task import check_one_split
from localprompt.types import Demo, Example, LabelScore, Prompt, Spend
from localprompt.variants.chat import Chat
from localprompt.variants.format import Format
from localprompt.variants.position import Position
from localprompt.variants.variant import Origin

AS_IT_IS = "as it is"
_FAMILIES = ((Position(), 2), (Chat(), 3), (Format(), 4))
"""What makes layouts, and how many each at most."""
_STAGES = (16, 48)
"""Dev rows of the first stages; the last has all that are asked for."""
_KEEP = 1 / 3
"""Share of the ways that a stage lets through."""
_SHOTS = 4
_MOST_SEEDS = 3
_SEED = 0
"""The same task has the same ways, rows and worked examples, so a second call finds its answers in the store."""


@dataclass(slots=True, eq=False)
class _Asked:
    """A task in one way, while it races."""

    change: str
    task: Task
    evaluator: Evaluator
    scores: list[float] = field(default_factory=list)
    """Mean over the prompts of each row so far."""

    def measure(self, prompts: Sequence[Prompt], rows: Sequence[Example]) -> None:
        evaluations = self.evaluator.evaluate(prompts, rows)
        self.scores = [fmean(scores) for scores in zip(*(each.scores for each in evaluations), strict=True)]


@dataclass(frozen=True, slots=True)
class Way:
    """A layout and a way to compare labels, with what they scored."""

    change: str
    """What is different from the task's layout, for people."""
    label_score: str
    """Empty where answers are generated."""
    keys: Mapping[str, Any]
    """`layout` and `label_score` of a task file that asks so, as far as they change; empty for the task as it is."""
    score: Interval
    """Mean over the prompts, with an interval over the dev rows that it was measured on."""


@dataclass(frozen=True, slots=True)
class Tuned(PlainRecord):
    """Ways to ask a task, and what the best of them is worth."""

    task: str
    model: str
    prompts: tuple[Prompt, ...]
    """The first seed prompts, and the first of them with worked examples: a search ends at prompts of either kind."""
    ways: tuple[Way, ...]
    """Best first: those that came further, and of them those with the better mean. One is the task as it is."""
    gain: Difference | None
    """The best way's score less that of the task as it is, on train rows that chose nothing; None where the task as it
    is is best, or no such rows are left."""
    spend: Spend

    @property
    def best(self) -> Way:
        """The first of the ways."""
        return self.ways[0]


@checked
def tune(  # noqa: PLR0913 - options of a user
    task: TaskSource,
    model: Named,
    *,
    rows: int = 100,
    engine: Mapping[str, object] = MappingProxyType({}),
    store: StoreSource = None,
    observer: Observer | None = None,
) -> Tuned:
    """Return the ways to ask a task, best first, and the gain of the best on rows that did not choose it.

    Ways are the task's layout, its instruction in other places, chats or texts to continue, and other formats; where
    labels are compared each of them also with batch calibration and, if they have several words, by their prefix. All
    are scored with the same prompts on the same dev rows, the best third after 16 and after 48 of them on more. Then
    the best and the task as it is are compared on train rows that are shown in no prompt and calibrate nothing. Nothing
    of the test split is asked.

    Args:
        task: a task file, or a task that was loaded, as one must be whose metric is code.
        model: by card name, path, or loaded; what is loaded here is closed here.
        rows: of dev that choose, and of train that confirm, at most.
        engine: settings of the engine, by name, such as `n_ctx`; where the model is loaded here.
        store: where answers are kept: open, by path, or the default one.
        observer: told what happens.

    Raises:
        ConfigError, TaskError, ModelError, StoreError: as `optimize`.
    """
    check_count("rows", rows)
    loaded = loaded_task(task, allow_code=False)
    check_one_split(loaded, "all its rows are tested, so none are there to choose a way to ask by")
    observer = observer or SilentObserver()
    with open_session(model, store=store, engine=engine, observer=observer) as session:
        writing = MeteredLM(session.lm, session.budget)
        problem = Problem(loaded, session.evaluator(loaded), writing, rng=random.Random(_SEED))
        dev = problem.shuffled(problem.dev)[:rows]
        prompts = _prompts(problem, loaded, dev)
        asked = list(_asked(problem, loaded, session))
        ranked = _race(asked, prompts, dev, observer)
        as_it_is, best = asked[0], ranked[0]
        ways = [
            Way(
                each.change,
                each.task.label_score if loaded.labels else "",
                _keys(loaded, each.task),
                interval(each.scores, numbered(dev[: len(each.scores)])),
            )
            for each in ranked
        ]
        gain, unseen = None, [] if best is as_it_is else _unseen(problem, (as_it_is, best), prompts)[:rows]
        if unseen:
            observer.stage(f"comparing the best with the task as it is on {pluralize(len(unseen), 'train example')}")
            for each in (as_it_is, best):
                each.measure(prompts, unseen)
            gain = paired_difference(as_it_is.scores, best.scores, numbered(unseen))
    return Tuned(
        task=loaded.name,
        model=session.lm.facts.name,
        prompts=tuple(prompts),
        ways=tuple(ways),
        gain=gain,
        spend=session.budget.spend,
    )


def _prompts(problem: Problem, task: Task, rows: Sequence[Example]) -> list[Prompt]:
    """Return the first seed prompts, and the first one without examples with some of train that are no copies."""
    bare = next((prompt for prompt in task.seeds if not prompt.demos), None)
    prompts = list(task.seeds[:_MOST_SEEDS])
    if bare is None or not task.layout.has_demos:
        return prompts
    known = {inputs_of(example) for example in rows}
    pool = [each for each in problem.shuffled(problem.train) if inputs_of(each) not in known]
    demos = [Demo(each.inputs, each.targets[0]) for each in pool[:_SHOTS]]
    n = problem.demos_that_fit(bare, demos)
    return [*prompts, replace(bare, demos=tuple(demos[:n]))] if n else prompts


def _asked(problem: Problem, task: Task, session: Session) -> Iterator[_Asked]:
    """Yield the ways to ask, the task as it is first."""
    facts = session.lm.facts
    prompt = next((each for each in task.seeds if each.instruction.strip()), task.seeds[0])
    origin = Origin(prompt, replace(task, test=()), problem)
    layouts = {task.layout: AS_IT_IS}
    for family, most in _FAMILIES:
        for variant in family.variants(origin, most):
            layouts.setdefault(variant.task.layout, variant.change)
    for layout, change in layouts.items():
        is_chat = layout.mode == "chat" and layout != task.layout
        if is_chat and not (facts.has_chat and (facts.can_score_chats or not task.labels)):
            continue
        laid_out = task.laid_out(layout)
        yield _Asked(change, laid_out, session.evaluator(laid_out))
        for score in _other_scores(task):
            other = replace(laid_out, label_score=score)
            yield _Asked(change, other, session.evaluator(other))


def _other_scores(task: Task) -> list[LabelScore]:
    """Return the label scores that may suit a model better than the task's own."""
    have_words = replace(task, label_score="prefix").compared != task.labels
    others: list[LabelScore] = ["batch", "prefix"] if have_words else ["batch"]
    return [each for each in others if task.labels and each != task.label_score]


def _race(
    asked: Sequence[_Asked], prompts: Sequence[Prompt], rows: Sequence[Example], observer: Observer
) -> list[_Asked]:
    """Return the ways, best first; the first of `asked` stays to the end."""
    left = list(asked)
    for n in dict.fromkeys(min(size, len(rows)) for size in (*_STAGES, len(rows))):
        observer.stage(f"scoring {pluralize(len(left), 'way')} to ask on {pluralize(n, 'dev example')}")
        for each in left:
            each.measure(prompts, rows[:n])
        ranked = sorted(left, key=lambda each: -fmean(each.scores))
        left = ranked[: math.ceil(_KEEP * len(left))]
        left = left if asked[0] in left else [*left, asked[0]]
    return sorted(asked, key=lambda each: (-len(each.scores), -fmean(each.scores)))


def _unseen(problem: Problem, ways: Sequence[_Asked], prompts: Sequence[Prompt]) -> list[Example]:
    """Return the train rows that are no copies of dev rows, are shown in no prompt, and calibrate none of the ways."""
    seen = [demo.inputs for prompt in prompts for demo in prompt.demos]
    seen += [inputs for way in ways for prompt in prompts for inputs in way.evaluator.calibrating(prompt)]
    known = {*map(inputs_of, problem.dev), *(tuple(sorted(inputs.items())) for inputs in seen)}
    return [each for each in problem.shuffled(problem.train) if inputs_of(each) not in known]


def _keys(task: Task, asked: Task) -> dict[str, Any]:
    """Return what the file of a task must say to be asked as another one is."""
    keys: dict[str, Any] = {}
    if asked.layout != task.layout:
        # The reading of a file takes one line break off the end of these.
        texts = {key: text + "\n" if text.endswith("\n") else text for key, text in asdict(asked.layout).items()}
        keys["layout"] = {**texts, "demo": asked.layout.demo, "separator": asked.layout.separator}
    if asked.label_score != task.label_score:
        keys["label_score"] = asked.label_score
    return keys
