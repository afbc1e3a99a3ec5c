from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from localprompt.tasks import Task, load_task
from localprompt.tasks.answers import find_answer
from localprompt.tasks.check import find_doubts, main_doubts
from localprompt.tasks.metrics import METRICS, find_metric
from localprompt.types import Demo, Example, Prompt, Sampling

EXAMPLES = Path(__file__).parents[2] / "examples"
ROUTING = load_task(EXAMPLES / "support-routing" / "task.yaml")
TENSE = load_task(EXAMPLES / "past-tense" / "task.yaml")


OTHERS = [(f"gloop {n}", f"glooped {n}") for n in range(4)]
"""Enough for a test split that can show something."""


def _examples(split: str, rows: Sequence[tuple[str, str]]) -> tuple[Example, ...]:
    return tuple(Example(f"{split}:{n}", {"input": text}, (target,)) for n, (text, target) in enumerate(rows, start=1))


def _only(task: Task) -> str:
    (doubt,) = find_doubts(task)
    return doubt


@pytest.mark.parametrize("name", ["support-routing", "past-tense", "amount-due"])
def test_a_shipped_example_raises_no_doubt(name: str) -> None:
    assert find_doubts(load_task(EXAMPLES / name / "task.yaml")) == ()


def test_inputs_that_occur_in_two_splits_are_named() -> None:
    test = _examples("test", [("be", "was"), ("go", "went"), *OTHERS])
    task = replace(TENSE, train=_examples("train", [("go", "went")]), test=test)
    assert _only(replace(task, dev=_examples("dev", [("do", "did"), ("see", "saw")]))) == (
        "1 example has the same inputs in test and in train: test:2 = train:1; searches leave those of train out"
    )


def test_rows_that_a_seed_prompt_shows_solved_are_named() -> None:
    shown = tuple(Demo(each.inputs, each.targets[0]) for each in (TENSE.train[0], TENSE.test[1]))
    assert _only(replace(TENSE, seeds=(Prompt("Go.", shown[:1]), Prompt("Go.", shown)))) == (
        "1 example has inputs that a worked example of a seed prompt has, so its score on test is too good: test:3"
    )


def test_inputs_that_occur_in_two_splits_but_for_case_spacing_and_punctuation_are_named() -> None:
    train = _examples("train", [("w1", "went"), ("4 + 3", "7"), ("?", "x"), ("C", "y")])
    task = replace(TENSE, train=train, dev=_examples("dev", [("do", "did"), ("Do!", "does")]))
    test = _examples("test", [("W1 ", "went"), ("4 - 3", "1"), ("!", "x"), ("C++", "y"), ("be", "was"), *OTHERS])
    assert _only(replace(task, test=test)) == (
        "1 example has the same inputs but for case, spacing and punctuation in test and in train: test:1 = train:1"
    )


@pytest.mark.parametrize(
    ("train", "test", "is_same"),
    [
        ("caf\u00e9", "Cafe\u0301!", True),
        ("«Hallo», sagte er", "Hallo sagte er.", True),
        ("你好。", "你好", True),
        ("\u0926\u093f\u0928", "\u0926\u0940\u0928", False),  # Hindi words that differ in a vowel
        ("\u05de\u05b4\u05df", "\u05de\u05b7\u05df", False),  # Hebrew points
        ("5 × 2", "5 ÷ 2", False),
        ("€5", "£5", False),
        ("Great 😀", "Great 😡", False),
        ("my_name", "my name", False),
    ],
)
def test_inputs_are_the_same_only_but_for_what_carries_no_meaning(train: str, test: str, is_same: bool) -> None:
    rows = _examples("test", [(test, "x"), ("be", "was"), *OTHERS])
    task = replace(
        TENSE, train=_examples("train", [(train, "x")]), dev=_examples("dev", [("do", "did"), ("see", "saw")])
    )
    assert any("same inputs" in doubt for doubt in find_doubts(replace(task, test=rows))) == is_same


@pytest.mark.parametrize(("n", "p"), [(1, "1"), (2, "0.5"), (4, "0.125"), (5, "0.0625")])
def test_a_test_split_of_fewer_than_6_examples_can_show_nothing(n: int, p: str) -> None:
    rows = [("blurp", "blurped"), *OTHERS][:n]
    what = "1 example" if n == 1 else f"{n} examples"
    assert _only(replace(TENSE, test=_examples("test", rows))) == (
        f"test has {what}, too few to show any gain: were all gained, p would be {p}"
    )


def test_copies_do_not_make_a_test_split_large_enough() -> None:
    few, copied = find_doubts(replace(TENSE, test=_examples("test", [*OTHERS, *OTHERS])))
    assert few.startswith("test has 4 different examples, too few")
    assert copied.startswith("4 examples have the same inputs within test: test:5 = test:1")
    assert find_doubts(replace(TENSE, test=_examples("test", [*OTHERS, ("blurp", "blurped"), ("w1", "went")]))) == ()


def test_one_answer_to_nearly_everything_is_named_without_labels_too() -> None:
    rows = [(f"verb {n}", "did") for n in range(9)] + [("be", "was")]
    (doubt,) = find_doubts(replace(TENSE, test=_examples("test", rows)))
    assert doubt == "answers are unbalanced in test: always answering 'did' would score 0.90"
    even = [(f"verb {n}", ("yes", "no")[n % 2]) for n in range(10)]
    assert find_doubts(replace(TENSE, test=_examples("test", even))) == ()


def test_targets_that_a_metric_in_python_does_not_look_at_are_no_answers() -> None:
    rows = [(f"verb {n}", "any") for n in range(9)]
    task = replace(TENSE, test=_examples("test", rows))
    assert find_doubts(replace(task, metric=lambda prediction, targets: float(prediction.isdigit()))) == ()
    assert find_doubts(replace(task, metric=lambda prediction, targets: 1 / 0)) == ()
    assert len(find_doubts(task)) == 1


def test_the_main_doubts_begin_with_the_split_that_is_asked_about_and_are_counted_after_three() -> None:
    rows = [("m 1", "billing"), ("m 2", "billing"), *((f"other {n}", "billing") for n in range(8))]
    task = replace(ROUTING, dev=_examples("dev", rows), test=_examples("test", rows), labels=(*ROUTING.labels, "bill"))
    first, second, third, more = main_doubts(task, "test", "dev", "train")
    assert first.startswith("10 examples have the same inputs in test and in dev")
    assert second.startswith("test has no example of 'shipping'")
    assert third.startswith("labels are unbalanced in test")
    assert more == "5 more doubts: `localprompt tasks check TASK` shows them"
    assert len(find_doubts(task)) == 8
    of_dev = main_doubts(task, "dev")
    assert [doubt.split()[0] for doubt in of_dev] == ["dev", "labels", "the"]
    assert main_doubts(TENSE, "test", "dev", "train") == ()


def test_a_fourth_doubt_is_told_rather_than_counted() -> None:
    rows = [(f"message {n}", "billing") for n in range(10)]
    layout = replace(ROUTING.layout, template="{{instruction}} {{demos}}{{message}} ")
    task = replace(ROUTING, test=_examples("test", rows), layout=layout, labels=(*ROUTING.labels[:2], "bill"))
    assert [doubt.partition(" ")[0] for doubt in main_doubts(task, "test")] == ["test", "labels", "the", "the"]


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
    for score, reason in (
        ("sum", "can seldom win"),
        ("prefix", "can seldom win"),
        ("byte", "move together"),
        ("calibrated", "move together"),
    ):
        scored = replace(task, label_score=score)  # type: ignore[arg-type]
        (doubt,) = [doubt for doubt in find_doubts(scored) if "prefix" in doubt]
        assert doubt.startswith("the label 'bill' is a prefix of 'billing': ")
        assert reason in doubt


def test_answers_longer_than_the_tokens_allowed_are_named() -> None:
    task = replace(TENSE, sampling=Sampling(max_tokens=2))
    assert "answers may not fit into max_tokens 2" in _only(task)


@pytest.mark.parametrize(
    ("answer", "metric", "target", "is_lost"),
    [
        ("last_number", "equals", "1,234", True),
        ("last_number", "exact_match", "1,234", False),
        ("last_number", "exact_match", "5 apples", True),
        ("last_number", "numeric", "3, 5", True),
        ("whole", "numeric", "3, 5", False),
        ("first_line", "equals", "a\nb", True),
        ("whole", "equals", "a\nb", False),
        ("first_line", "contains", "a\nb", True),
    ],
)
def test_answers_that_are_wrong_once_they_are_read_are_named(
    answer: str, metric: str, target: str, is_lost: bool
) -> None:
    rows = _examples("dev", [("x", target), ("y", "7")])
    task = replace(TENSE, train=(), dev=rows, test=(), answer=find_answer(answer), metric=METRICS[metric])
    found = [doubt for doubt in find_doubts(task) if "out of reach" in doubt]
    assert len(found) == is_lost
    assert all(
        f"1 example has an answer out of reach, even written to the letter: dev:1 {target!r};" in each for each in found
    )


def test_answers_that_the_metric_cannot_tell_apart_are_named() -> None:
    task = replace(TENSE, dev=_examples("dev", [("x", "3.5"), ("y", "3.7")]))
    assert "cannot tell apart '3.5' and '3.7'" in _only(task)


@pytest.mark.parametrize("metric", ["exact_match", "token_f1", "set_match"])
def test_answers_of_which_the_metric_reads_only_a_part_are_named(metric: str) -> None:
    task = replace(TENSE, dev=_examples("dev", [("x", "3.5"), ("y", "gleeped."), ("z", "4.2")]), metric=METRICS[metric])
    assert f"{metric} reads '3.5', '4.2' only up to the period or line break inside" in _only(task)


@pytest.mark.parametrize(
    ("target", "is_signed"),
    [
        ("-5", True),
        ("\u22121,200", True),
        ("x = -5", True),
        ("covid-19", False),
        ("2023-12-05", False),
        ("3 - 5", False),
    ],
)
def test_a_minus_that_the_metric_does_not_see_is_named(target: str, is_signed: bool) -> None:
    doubts = find_doubts(replace(TENSE, dev=_examples("dev", [("x", target), ("y", "gleeped")])))
    assert [f"takes {target!r} without the minus for right too" in doubt for doubt in doubts] == [True] * is_signed


def test_a_template_that_ends_in_a_space_is_named() -> None:
    layout = replace(TENSE.layout, template="{{instruction}} {{demos}}{{input}}: ")
    assert "ends in a space" in _only(replace(TENSE, layout=layout))


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ input }} {{mail body}}", "shows '{{mail body}}' as it stands"),
        ("{{input}} {{ input | upper }} {{a b}}", "shows '{{ input | upper }}', '{{a b}}' as it stands"),
        ("{{{input}}} {{ }} { a b } {{input}}", ""),
    ],
)
def test_braces_that_are_no_slot_are_named(template: str, shown: str) -> None:
    layout = replace(TENSE.layout, template=f"{{{{instruction}}}}\n{{{{demos}}}}{template}", system=template)
    doubts = find_doubts(replace(TENSE, layout=layout))
    assert [shown in doubt for doubt in doubts] == [True] * bool(shown)


@pytest.mark.parametrize(
    ("template", "keys", "is_doubtful"),
    [
        ("{{instruction}}\n{{demos}}{{input}}\nAnswer:", "answer: last_number", True),
        ("{{instruction}}\n{{demos}}{{input}}\nAnswer:", "answer: {after_marker: Answer}", True),
        ("{{instruction}}\n{{demos}}{{input}}\nAnswer:", "answer: {regex: (a)}", False),
        ("{{instruction}}\n{{demos}}{{input}}\nAnswer:", "answer: first_line", False),
        ("{{instruction}}\n{{demos}}{{input}}\nAnswer:", "answer: last_number\nstop: ['\\n']", False),
        ("{{instruction}}\n{{demos}}Q: {{input}}\nAnswer:", "answer: last_number", False),
    ],
)
def test_answers_that_nothing_ends_are_named_where_their_end_is_read(
    tmp_path: Path, template: str, keys: str, is_doubtful: bool
) -> None:
    task = load_task(toy.write_task(tmp_path, 20, 20, 20, template=template, keys=keys))
    assert sum("nothing ends an answer" in doubt for doubt in find_doubts(task)) == is_doubtful


def test_answers_that_are_not_one_plain_number_are_named_where_numbers_are_compared() -> None:
    rows = [("a", "1/5"), ("b", "09:30"), ("c", "-1,200.50 EUR"), ("d", "3 and 4"), ("e", "2023-12-05"), ("f", "3-5")]
    task = replace(TENSE, metric=find_metric("numeric"), train=(), dev=_examples("dev", rows), test=())
    assert "5 answers are not one plain number: dev:1 '1/5', dev:2 '09:30', dev:4 '3 and 4', ..." in _only(task)
    assert find_doubts(replace(task, dev=_examples("dev", [rows[2], ("g", "7")]))) == ()


@pytest.mark.parametrize(
    ("template", "doubtful"),
    [("{{instruction}}\n{{demos}}Input: {{input}}\nOutput:", 0), ("{{input}}\n{{instruction}}\n{{demos}}Output:", 1)],
)
def test_worked_examples_without_inputs_are_doubtful(tmp_path: Path, template: str, doubtful: int) -> None:
    path = Path(toy.write_task(tmp_path, 20, 20, 20, template=template))
    assert sum("answers without inputs" in doubt for doubt in find_doubts(load_task(path))) == doubtful
    assert load_task(path).layout.has_demos
