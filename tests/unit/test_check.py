from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from localprompt.tasks import Task, load_task
from localprompt.tasks.check import find_doubts, shared_rows
from localprompt.tasks.metrics import find_metric
from localprompt.types import Example, Sampling

EXAMPLES = Path(__file__).parents[2] / "examples"
ROUTING = load_task(EXAMPLES / "support-routing" / "task.yaml")
TENSE = load_task(EXAMPLES / "past-tense" / "task.yaml")


def _examples(split: str, rows: Sequence[tuple[str, str]]) -> tuple[Example, ...]:
    return tuple(Example(f"{split}:{n}", {"input": text}, (target,)) for n, (text, target) in enumerate(rows, start=1))


def _only(task: Task) -> str:
    (doubt,) = find_doubts(task)
    return doubt


@pytest.mark.parametrize("name", ["support-routing", "past-tense", "amount-due"])
def test_a_shipped_example_raises_no_doubt(name: str) -> None:
    assert find_doubts(load_task(EXAMPLES / name / "task.yaml")) == ()


def test_inputs_that_occur_in_two_splits_are_named() -> None:
    task = replace(
        TENSE, train=_examples("train", [("go", "went")]), test=_examples("test", [("be", "was"), ("go", "went")])
    )
    assert _only(replace(task, dev=_examples("dev", [("do", "did")]))) == (
        "1 examples have the same inputs in test and in train: test:2 = train:1"
    )


def test_inputs_that_occur_in_two_splits_but_for_case_spacing_and_punctuation_are_named() -> None:
    train = _examples("train", [("w1", "went"), ("3 + 4", "7"), ("?", "x"), ("C", "y")])
    task = replace(TENSE, train=train, dev=_examples("dev", [("do", "did"), ("Do!", "did")]))
    test = _examples("test", [("W1 ", "went"), ("3 - 4", "-1"), ("!", "x"), ("C++", "y"), ("be", "was")])
    assert _only(replace(task, test=test)) == (
        "1 examples have the same inputs but for case, spacing and punctuation in test and in train: test:1 = train:1"
    )


def test_only_rows_in_two_splits_are_shared_rows() -> None:
    go, be, do = ("go", "went"), ("be", "was"), ("do", "did")
    task = replace(TENSE, train=_examples("train", [go, go]), dev=_examples("dev", [be]), test=_examples("test", [do]))
    assert shared_rows(task) == ()
    task = replace(task, dev=_examples("dev", [be, go]), test=_examples("test", [do, be]))
    assert shared_rows(task) == (
        "1 examples have the same inputs in dev and in train: dev:2 = train:1",
        "1 examples have the same inputs in test and in dev: test:2 = dev:1",
    )


def test_the_same_inputs_with_different_answers_are_named() -> None:
    task = replace(TENSE, dev=_examples("dev", [("walk", "walked"), ("walk", "walks")]))
    doubts = find_doubts(task)
    assert any("within dev: dev:2 = dev:1" in doubt for doubt in doubts)
    assert any("different answers: dev:2 = dev:1" in doubt for doubt in doubts)


def test_unbalanced_and_missing_labels_are_named() -> None:
    rows = [(f"message {n}", "billing") for n in range(9)] + [("other", "returns")]
    told = "an answer tells 20 % of the bits it could"
    doubts = find_doubts(replace(ROUTING, dev=_examples("dev", rows)))
    assert doubts == (
        "dev has no example of 'shipping', 'technical', 'account'",
        f"labels are unbalanced in dev: always answering 'billing' would score 0.90, and {told}",
    )


@pytest.mark.parametrize(("most", "n", "told"), [(70, 100, "88 %"), (60, 75, "72 %"), (66, 100, None), (50, 100, None)])
def test_labels_that_lose_a_tenth_of_an_answers_information_are_unbalanced(most: int, n: int, told: str | None) -> None:
    task = replace(ROUTING, labels=("billing", "returns"))
    rows = [(f"message {split} {i}", "billing" if i < most else "returns") for split in range(3) for i in range(n)]
    train, dev, test = (_examples(name, rows[i * n : i * n + n]) for i, name in enumerate(("train", "dev", "test")))
    doubts = find_doubts(replace(task, train=train, dev=dev, test=test))
    if told is None:
        assert doubts == ()
    else:
        assert len(doubts) == 3  # one a split
        assert doubts[1].startswith("labels are unbalanced in dev: always answering 'billing' would score")
        assert doubts[1].endswith(f"tells {told} of the bits it could")


def test_a_label_that_begins_another_is_named_with_what_follows_for_the_score() -> None:
    task = replace(ROUTING, labels=(*ROUTING.labels, "bill"))
    for score, reason in (("sum", "can seldom win"), ("byte", "move together"), ("calibrated", "move together")):
        (doubt,) = [doubt for doubt in find_doubts(replace(task, label_score=score)) if "prefix" in doubt]
        assert doubt.startswith("the label 'bill' is a prefix of 'billing': ")
        assert reason in doubt


def test_answers_longer_than_the_tokens_allowed_are_named() -> None:
    task = replace(TENSE, sampling=Sampling(max_tokens=2))
    assert "answers may not fit into max_tokens 2" in _only(task)


def test_answers_that_the_metric_cannot_tell_apart_are_named() -> None:
    task = replace(TENSE, dev=_examples("dev", [("x", "3.5"), ("y", "3.7")]))
    assert "cannot tell apart '3.5' and '3.7'" in _only(task)


def test_a_template_that_ends_in_a_space_is_named() -> None:
    layout = replace(TENSE.layout, template="{{instruction}} {{demos}}{{input}}: ")
    assert "ends in a space" in _only(replace(TENSE, layout=layout))


def test_answers_that_are_not_one_plain_number_are_named_where_numbers_are_compared() -> None:
    rows = [("a", "1/5"), ("b", "09:30"), ("c", "-1,200.50 EUR"), ("d", "3 and 4"), ("e", "2023-12-05"), ("f", "3-5")]
    task = replace(TENSE, metric=find_metric("numeric"), train=(), dev=_examples("dev", rows), test=())
    assert "5 answers are not one plain number: dev:1 '1/5', dev:2 '09:30', dev:4 '3 and 4', ..." in _only(task)
    assert find_doubts(replace(task, dev=task.dev[2:3])) == ()
