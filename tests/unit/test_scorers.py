"""Ways to take answers from a model: the task itself, with its answers taken otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import toy

from localprompt.battery.scorers import Measured, free, measure, named_label, scorers_of
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.search.evaluator import Evaluator
from localprompt.tasks import Task
from localprompt.types import Prompt
from localprompt.variants.variant import Variant

LABELS = ("bad", "good", "very good")


def _measured(task: Task, lm: ScriptedLM, place: int, labels: tuple[str, ...] = (), **changes: object) -> Measured:
    variant = Variant("original", "as it is", Prompt("Judge."), task, **changes)  # type: ignore[arg-type]
    scorer = scorers_of(task)[place]
    return measure(scorer, Evaluator(lm, scorer.task(task), Budget()), variant, task.test, labels or task.labels)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (" good", "good"),
        ("Very good, I think", "very good"),
        ("It is very good.", "very good"),
        ("The answer is: BAD", "bad"),
        ("good or bad", "good"),
        ("neither bad nor good", None),
        ("goodness", None),
        ("", None),
        ("no idea", None),
    ],
)
def test_a_free_answer_is_the_label_that_it_begins_with_or_alone_names(text: str, label: str | None) -> None:
    assert named_label(LABELS, text) == label


def test_a_label_prior_is_taken_away_by_both_kinds_of_calibration_alone() -> None:
    task = toy.task(labels=("no", "yes"), test=4)

    def logprob(context: str, continuation: str) -> float:
        is_right = ("alpha" in context) and continuation.strip() == ("no", "yes")[
            int(context.split("alpha")[1].split(maxsplit=1)[0]) % 2
        ]
        return math.log(0.9 if continuation.strip() == "yes" else 0.1) + (1.0 if is_right else 0.0)

    lm = ScriptedLM(logprob=logprob)
    own, calibrated, batch = (_measured(task, lm, place) for place in (0, 1, 2))
    assert set(own.answers) == {"yes"}
    assert sum(own.scores) == 2
    assert set(calibrated.answers) == set(batch.answers) == {"no", "yes"}
    assert sum(batch.scores) == 4
    for measured in (own, calibrated, batch):
        assert all(math.isclose(sum(map(math.exp, row)), 1) for row in measured.distributions)
    assert all(nats <= 0 for nats in own.right)


def test_answers_are_told_in_the_words_of_the_original() -> None:
    task = toy.task(labels=("A", "B"), test=2)
    lm = ScriptedLM(logprob=lambda context, continuation: 0.0 if continuation.strip() == "B" else -1.0)
    measured = _measured(task, lm, 0, ("no", "yes"), outputs={"A": "no", "B": "yes"})
    assert measured.answers == ("yes", "yes")


def test_a_written_answer_that_names_no_label_is_unreadable_and_not_wrong_like_others() -> None:
    task = toy.task(labels=("no", "yes"), test=4)
    lm = ScriptedLM(answer=lambda prompt, seed: " Yes." if "0" in prompt or "2" in prompt else " Who knows")
    measured = _measured(task, lm, 4)
    assert measured.answers.count(None) == measured.unreadable
    assert 0 < measured.unreadable < 4
    assert all(score == 0 for score, answer in zip(measured.scores, measured.answers, strict=True) if answer is None)


def test_a_constrained_answer_can_only_be_a_label_and_separators_are_part_of_it() -> None:
    task = toy.task(labels=("a.b", "(c)"), test=2)
    seen = scorers_of(task)[3].task(task).sampling.grammar
    assert seen == r" (?:a\.b|\(c\))"


@pytest.mark.parametrize(
    ("own", "others"),
    [("sum", ["calibrated", "batch"]), ("calibrated", ["plain", "batch"]), ("batch", ["plain", "calibrated"])],
)
def test_labels_are_compared_in_the_ways_that_the_task_does_not(own: str, others: list[str]) -> None:
    task = toy.task(labels=("no", "yes"), label_score=own)
    assert [each.name for each in scorers_of(task)] == ["likelihood", *others, "constrained", "free"]
    without_rows = [each.name for each in scorers_of(replace(task, train=(), dev=()))]
    assert ("batch" in without_rows) is False


def test_without_labels_the_second_scorer_is_the_probability_of_the_target() -> None:
    task = toy.task(test=3)
    lm = ScriptedLM(answer=lambda prompt, seed: " omega60", logprob=lambda context, continuation: -2.0)
    own, target = (_measured(task, lm, place) for place in (0, 1))
    assert own.scores == (1.0, 0.0, 0.0)
    assert all(math.isclose(score, math.exp(-2.0)) for score in target.scores)


def test_a_free_answer_ends_where_the_model_goes_on_with_an_example_of_its_own() -> None:
    task = replace(toy.task(labels=("no", "yes")), layout=toy.SHOWING)
    assert free(task).sampling.stop == ("\nInput:",)


def test_where_options_changed_their_letters_the_likelihoods_are_those_of_what_they_say() -> None:
    task = toy.task(labels=("A", "B"), test=2)
    lm = ScriptedLM(logprob=lambda context, continuation: -0.1 if continuation.strip() == "B" else -3.0)
    swapped = {row.id: {"A": "B", "B": "A"} for row in task.test[:1]}
    measured = _measured(task, lm, 0, answer_of=swapped)
    first, second = measured.distributions
    assert first == tuple(reversed(second))
    assert measured.answers == ("A", "B")
    assert measured.label_logprobs == ((-0.1, -3.0), (-3.0, -0.1))


@pytest.mark.parametrize(
    ("text", "label"), [("B", "B"), ("It is a sports story: (B)", "B"), ("A good film", None), ("b)", "B")]
)
def test_a_letter_is_named_as_options_are(text: str, label: str | None) -> None:
    assert named_label(("A", "B"), text) == label
