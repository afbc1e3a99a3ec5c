from __future__ import annotations

from dataclasses import replace

import pytest
import toy

from localprompt.tasks import Task
from localprompt.types import Example
from localprompt.variants.order import Order
from localprompt.variants.variant import Variant

TOPICS = toy.task(labels=("World", "Sports", "Tech"))
QUESTION = "Which is red?\n(A) a rose\n(B) the sky\n(C) grass"


def backwards(instruction: str, given: Task = TOPICS) -> str | None:
    found = Order().variants(toy.origin(instruction, given), 1)
    return found[0].prompt.instruction if found else None


@pytest.mark.parametrize(
    ("instruction", "other"),
    [
        ("Use ['World', 'Sports', 'Tech'].", "Use ['Tech', 'Sports', 'World']."),
        ("Is it World, Sports, or Tech?", "Is it Tech, Sports, or World?"),
        ("(1) World, (2) Sports, and (3) Tech", "(1) Tech, (2) Sports, and (3) World"),
        ("1. World\n2. Sports\n3. Tech", "1. Tech\n2. Sports\n3. World"),
        ('Of world sports: "World" or "Sports".', 'Of world sports: "Sports" or "World".'),
        ("World、Sports或Tech", "Tech、Sports或World"),
        ("World or World, Sports", "World or Sports, World"),
        ("Say whether or not the title and text are, in short, World or Tech.", "{} Tech or World."),
        ("Read it twice. Correct: World, Sports", "Read it twice. Correct: Sports, World"),
    ],
)
def test_listed_outputs_change_places_and_all_else_stays(instruction: str, other: str) -> None:
    assert backwards(instruction) == other.format(instruction.rpartition(" World")[0])


@pytest.mark.parametrize(
    "instruction",
    [
        "World if not Sports.",
        "World: 1, Sports: 2",
        "Say World.",
        "World Sports",
        "World. Sports.",
        "",
        "World, world",
        "World, Tech as to world, tech",
        "Is it foreign or athletic? Answer World or Sports respectively.",
        "Say World or Sports, in that order.",
        "Abroad/games is World/Sports",
        "Is it from abroad or a game? Answer World or Sports.",
        "Rate the distance from far to near as World, Sports, Tech.",
        "Abroad, games, machines are World, Sports, Tech.",
        "Abroad或者games：World或者Sports",
    ],
)
def test_what_is_no_list_has_no_other_order(instruction: str) -> None:
    assert backwards(instruction) is None


def test_scripts_without_spaces_have_lists_too() -> None:
    assert backwards("判断正面还是负面", toy.task(labels=("正面", "负面"))) == "判断负面还是正面"


def test_orders_are_all_different_and_drawn_by_the_seed() -> None:
    def orders(n: int, most: int, seed: int = 0) -> list[str]:
        labels = tuple(f"label{i}" for i in range(n))
        found = Order().variants(toy.origin(", ".join(labels), toy.task(labels=labels), seed=seed), most)
        return [each.prompt.instruction for each in found]

    assert len(set(orders(3, 100))) == 5
    assert len(set(orders(20, 100))) == 100
    assert orders(5, 9) == orders(5, 9) != orders(5, 9, seed=1)


def choosing(*targets: str, labels: tuple[str, ...] = (), text: str = QUESTION) -> list[Variant]:
    rows = tuple(Example(f"test:{n}", {"input": text}, (target,)) for n, target in enumerate(targets))
    task = replace(toy.task(labels=labels, train=0, dev=0), test=rows)
    return list(Order().variants(toy.origin("Choose.", task), 3))


def test_options_change_places_and_the_targets_their_letters() -> None:
    first, *others = choosing("(A)", "B", "grass", labels=())
    assert first.change == "options backwards"
    assert [row.inputs["input"] for row in first.task.test] == ["Which is red?\n(A) grass\n(B) the sky\n(C) a rose"] * 3
    assert [row.targets for row in first.task.test] == [("(C)",), ("B",), ("grass",)]
    assert first.answer_of == {
        "test:0": {"A": "C", "B": "B", "C": "A", "(A)": "(C)", "(B)": "(B)", "(C)": "(A)"},
        "test:1": {"A": "C", "B": "B", "C": "A"},
    }
    assert len(others) == 2


def test_a_target_in_its_new_letter_means_what_the_old_one_did() -> None:
    for each in choosing("(A)", "(B)", "(C)", labels=("(A)", "(B)", "(C)")):
        for row, letter in zip(each.task.test, "ABC", strict=True):
            content = {"A": "a rose", "B": "the sky", "C": "grass"}[letter]
            assert f"{row.targets[0]} {content}" in row.inputs["input"]
            assert each.answer_of[row.id][row.targets[0]] == f"({letter})"


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Which?\n(A) one\n(B) both\n(C) all of the above", ()),
        ("Which?\n(B) one\n(C) two", ()),
        ("Which? (A) one (B) two", ()),
        ("Which?\n(A) x = 1\nprint(x)\n(B) print(2)", ()),
        ("Which?\n(A) print(2)\n(B) x = 1\n    print(x)\nAnswer:", ()),
        (QUESTION, ("(A)", "(B)")),
    ],
)
def test_options_that_speak_of_others_or_are_no_list_stay(text: str, labels: tuple[str, ...]) -> None:
    assert not choosing("(A)", labels=labels, text=text)
