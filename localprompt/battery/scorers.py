"""Ways in which an answer is taken from a model, side by side. Level 8.

Much of what is called sensitivity to prompts is an artefact of how answers are taken ("Flaw or Artifact?",
arXiv 2509.01790), so the same variants are measured in several ways. Each is the task itself with its answers taken
otherwise, and the one `Evaluator` does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import regex

from localprompt.search.evaluator import UNLIKELY, Evaluator, log_normalised, log_sum_exp
from localprompt.tasks import Task
from localprompt.tasks.answers import Extraction
from localprompt.tasks.choices import read_choice
from localprompt.tasks.normalising import holds
from localprompt.types import Example, Sampling
from localprompt.variants.variant import Variant

_ROOM = 12
"""Tokens of a free answer beyond the longest label: for "The answer is" before it."""
_BYTES_PER_TOKEN = 1
"""Fewest bytes of a token, so that every label has room."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """One way to take answers."""

    name: str
    what: str
    """In words."""
    task: Callable[[Task], Task]
    """A task to the one whose answers are taken this way."""
    writes: bool
    """True if the model writes, so that what it says may be unreadable; False if given texts are scored."""
    of_target: bool = False
    """True if the score is the probability of the right answer and there are no answers."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant on the rows by one scorer; all lists have the rows' order and length.

    Nats are not a number where the model could not be asked.
    """

    scores: tuple[float, ...]
    """In [0, 1]."""
    answers: tuple[str | None, ...]
    """In the words of the original; None for a completion that holds none, and where the model could not be asked."""
    failed: int
    """Rows that the model could not be asked about."""
    distributions: tuple[tuple[float, ...], ...] = ()
    """Nats of each label, normalised to a probability of 1, in the order of the original's labels; empty without."""
    right: tuple[float, ...] = ()
    """Nats of the right answer: of its label among the labels, or per token of the target; empty where unknown."""
    label_logprobs: tuple[tuple[float, ...], ...] = ()
    """Nats of each label as text, per token; empty where answers are written."""
    completions: tuple[str, ...] = ()
    """What the model wrote, bare; empty where it chose."""

    @property
    def unreadable(self) -> int:
        """Completions that hold no answer."""
        return sum(answer is None for answer in self.answers) - self.failed


def scorers_of(task: Task) -> tuple[Scorer, ...]:
    """Return the scorers that a task can have, first the task's own."""
    if not task.labels:
        own = Scorer("answers", "the written answer, judged by the task's metric", lambda each: each, writes=True)
        what = "probability per token of the right answer"
        return own, Scorer("target", what, lambda each: each, writes=False, of_target=True)
    others = [
        Scorer(name, f"the most likely label {what}", partial(replace, label_score=score), writes=False)
        for name, score, what, is_apt in (
            ("plain", "sum", "without the correction", task.is_calibrated),
            ("calibrated", "calibrated", "without what inputs that say nothing give it", True),
            ("batch", "batch", "without what other rows give it", bool(task.train or task.dev)),
        )
        if is_apt and score != task.label_score
    ]
    return (
        Scorer("likelihood", "the most likely label, as the task has it", lambda each: each, writes=False),
        *others,
        Scorer("constrained", "a written answer that must be one of the labels", constrained, writes=True),
        Scorer("free", "a free answer, in which the label is looked for", free, writes=True),
    )


def constrained(task: Task) -> Task:
    """Return a task with labels as one whose answers are written, and can be nothing but a label."""
    labels = "|".join(_escaped(label) for label in sorted(task.labels, key=len, reverse=True))
    grammar = f"{_escaped(task.layout.separator)}(?:{labels})"
    room = len(task.layout.separator.encode()) + max(len(label.encode()) for label in task.labels)
    return _written(task, Sampling(max_tokens=room * _BYTES_PER_TOKEN, grammar=grammar))


def free(task: Task) -> Task:
    """Return a task with labels as one whose answers are written freely and read for the label that they name."""
    longest = max(len(label.encode()) for label in task.labels)
    # After its answer a model goes on with an example of its own making; its beginning is the demo's.
    head = task.layout.demo.partition("{{")[0].strip() if task.layout.mode == "raw" else ""
    return _written(task, Sampling(max_tokens=longest + _ROOM, stop=(f"\n{head}",) if head else ()))


def named_label(labels: Sequence[str], text: str) -> str | None:
    """Return the label that a text is or names; None if it names none, or several and begins with none."""
    letters = {label.upper(): label for label in labels if regex.fullmatch("[A-Za-z]", label)}
    if len(letters) == len(labels):
        return letters.get(read_choice(text)[0] or "")
    said = text.strip().casefold()
    starting = [label for label in labels if said.startswith(label.casefold()) and holds(said[: len(label) + 1], label)]
    if starting:
        return max(starting, key=len)
    named = [label for label in labels if holds(text, label)]
    # `very good` names `good` as well.
    longest = [label for label in named if not any(label != other and holds(other, label) for other in named)]
    return longest[0] if len(longest) == 1 else None


def measure(
    scorer: Scorer, evaluator: Evaluator, variant: Variant, rows: Sequence[Example], labels: Sequence[str]
) -> Measured:
    """Return a variant on its rows.

    Args:
        scorer: how answers are taken.
        evaluator: of the scorer's task for the variant.
        variant: what is measured.
        rows: of the variant's own task, in the order of the result.
        labels: those of the original, in their order.

    Raises:
        BudgetExhausted, TaskError, StoreError, WorkerDied: as the evaluator.
    """
    if scorer.of_target:
        (evaluation,) = evaluator.likelihood([variant.prompt], rows, norm="token")
        right = tuple(math.nan if each.failed else max(UNLIKELY, each.score) for each in evaluation.outcomes)
        scores = tuple(0.0 if math.isnan(each) else math.exp(each) for each in right)
        return Measured(scores, (None,) * len(rows), evaluation.n_failed, right=right)
    (evaluation,) = evaluator.evaluate([variant.prompt], rows)
    outcomes = evaluation.outcomes
    answers = tuple(
        None if each.prediction is None else variant.meaning(each.example_id, each.prediction) for each in outcomes
    )
    if scorer.writes:
        completions = tuple((each.completion or "").strip() for each in outcomes)
        return Measured(evaluation.scores, answers, evaluation.n_failed, completions=completions)
    found = [_likelihoods(evaluator, variant, row, labels) for row in rows]
    right, distributions, per_token = zip(*found, strict=True)
    return Measured(evaluation.scores, answers, evaluation.n_failed, distributions, right, per_token)


def _likelihoods(
    evaluator: Evaluator, variant: Variant, row: Example, labels: Sequence[str]
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Return for a row how probable were the right answer, and the original's labels: normalised, and per token."""
    found, own = evaluator.label_likelihoods(variant.prompt, row), variant.task.labels
    if found is None:
        unknown = (math.nan,) * len(labels)
        return math.nan, unknown, unknown
    normalised = log_normalised([max(UNLIKELY, score) for score in found.scores])
    wanted = [nats for nats, label in zip(normalised, own, strict=True) if label in row.targets]
    per_token = [nats / max(1, n) for nats, n in zip(found.logprobs, found.n_tokens, strict=True)]
    # Options of a row may have changed their letters: entry i is what the original calls its label i.
    meanings = [variant.meaning(row.id, label) for label in own]
    places = [meanings.index(label) for label in labels]
    right = log_sum_exp(wanted) if wanted else 0.0
    return right, tuple(normalised[i] for i in places), tuple(max(UNLIKELY, per_token[i]) for i in places)


def _written(task: Task, sampling: Sampling) -> Task:
    answer = Extraction("named_label", "\n".join(task.labels), partial(named_label, task.labels))
    return replace(task, labels=(), answer=answer, sampling=sampling)


def _escaped(text: str) -> str:
    return regex.escape(text, literal_spaces=True)
