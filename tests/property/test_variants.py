from __future__ import annotations

from dataclasses import replace

import pytest
import toy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from localprompt.tasks import Layout, Task
from localprompt.tasks.template import slots
from localprompt.types import Demo, Example
from localprompt.variants.families import FAMILIES
from localprompt.variants.variant import Family, Origin, Variant
from localprompt.variants.wording import is_valid

LAYOUTS = (
    toy.SHOWING,
    Layout(toy.BARE, ""),
    Layout("{{input}}\n{{instruction}}", "{{input}} {{output}}\n"),
    Layout(
        "{{demos}}Text: {{input}}", "Text: {{input}}\nIt is: {{output}}\n\n", "chat", "{{instruction}}", "It is:", " "
    ),
    Layout("{{ instruction }}{{demos}}\n{{input}}", "Q\t{{input}}\nA\t{{output}}\n", "chat", "Be good.", "", ""),
)
LABELS = ((), ("even", "odd"), ("Good", "bad", "not good"), ("正面", "负面"), ("A", "B"), ("{{x}}", ".", "a.b*"))
PIECES = (
    "Classify the text.", "even", "odd or even", "['Good', 'bad']", "正面或负面", "回答。", "ตอบว่า", "ענה", "أجب بكلمة",
    "🙂👩‍👩‍👧",
    "{{input}}", "{{instruction}}", "}}", "\\1", " ", "\n\n", "\u200d", "e\u0301", "ﬁne", "İ", "ß",
    "a.b*", "Is it so? Yes!",
    "(A) one or (B) two", "please", "1.", "नमस्ते", "\0", "\ud800",
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join))
ROWS = st.lists(st.one_of(TEXTS, st.just("Which?\n(A) one\n(B) two\n(C) three")), min_size=1, max_size=4)
LOSING = ("labels", "order", "deletion")
"""Families in which an output may be named otherwise or not at all."""


@st.composite
def origins(draw: st.DrawFn) -> Origin:
    labels = draw(st.sampled_from(LABELS))
    targets = labels or ("(B)", "one", "B")

    def rows(split: str, texts: list[str]) -> tuple[Example, ...]:
        return tuple(
            Example(f"{split}:{n}", {"input": text}, (targets[n % len(targets)],)) for n, text in enumerate(texts)
        )

    task: Task = replace(
        toy.task(labels=labels, train=0, dev=0, test=0),
        train=rows("train", draw(ROWS) * 3),
        dev=rows("dev", ["one"]),
        test=rows("test", draw(ROWS)),
        layout=draw(st.sampled_from(LAYOUTS)),
    )
    demos = draw(st.integers(0, 3)) if task.layout.has_demos else 0
    shown = tuple(Demo(each.inputs, each.targets[0]) for each in task.train[:demos])
    return toy.origin(draw(TEXTS), task, demos=shown, seed=draw(st.integers(0, 3)))


def seen(each: Variant) -> object:
    task = each.task
    return (
        [task.layout.render(each.prompt, row.inputs) for row in task.test],
        (each.prompt, task.layout, task.labels, task.sampling, each.seed),
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@settings(max_examples=50, deadline=None)
@given(origin=origins(), most=st.integers(0, 12))
@example(origin=toy.origin("word " * 5_000), most=5)
@example(origin=toy.origin("判" * 20_000), most=5)
def test_variants_are_valid_few_different_and_the_same_each_time(family: Family, origin: Origin, most: int) -> None:
    variants = family.variants(origin, most)
    assert len(variants) <= most
    assert list(variants) == list(family.variants(origin, most))
    original = Variant("original", "", origin.prompt, origin.task)
    shown = [seen(each) for each in (original, *variants)]
    assert all(each not in shown[:i] for i, each in enumerate(shown))
    for each in variants:
        assert each.family == family.name
        assert each.change
        assert_valid(each, origin)


def assert_valid(each: Variant, origin: Origin) -> None:
    task, given = each.task, origin.task
    if is_valid(origin.prompt.instruction):
        assert is_valid(each.prompt.instruction)
    assert [row.id for row in task.test] == [row.id for row in given.test]
    assert {
        name for text in (task.layout.template, task.layout.system, task.layout.opening) for name in slots(text)
    } == {name for text in (given.layout.template, given.layout.system, given.layout.opening) for name in slots(text)}
    assert slots(task.layout.demo) == slots(given.layout.demo)
    assert len(set(task.labels)) == len(given.labels)
    assert all(target in task.labels for row in task.test for target in row.targets if task.labels)
    assert {each.outputs.get(label, label) for label in task.labels} == set(given.labels)
    if each.family not in LOSING:
        names = [name for name in given.labels if name in origin.prompt.instruction]
        assert all(name in each.prompt.instruction for name in names)
    if each.span:
        start, end = each.span
        assert 0 <= start < end <= len(origin.prompt.instruction)
