from __future__ import annotations

from dataclasses import replace

import toy

from localprompt.tasks import Task
from localprompt.tasks.copies import inputs_of
from localprompt.types import Demo
from localprompt.variants.examples import Examples
from localprompt.variants.variant import Variant

PARITY = replace(toy.task(labels=("even", "odd")), layout=toy.SHOWING)


def variants(given: Task = PARITY, demos: tuple[Demo, ...] = (), most: int = 12, seed: int = 0) -> list[Variant]:
    return list(Examples().variants(toy.origin("Say.", given, demos=demos, seed=seed), most))


def of_train(*numbers: int) -> tuple[Demo, ...]:
    return tuple(Demo(PARITY.train[n].inputs, PARITY.train[n].targets[0]) for n in numbers)


def test_a_prompt_without_examples_gets_one_to_four_and_then_other_sets_and_orders() -> None:
    found = variants()
    assert [len(each.prompt.demos) for each in found[:4]] == [4, 1, 2, 3]
    assert {"4 worked examples, set 2", "set 1: the same worked examples backwards"} <= {each.change for each in found}
    assert len(found) == 12


def test_the_answers_of_a_set_take_turns() -> None:
    for each in variants(most=4):
        answers = [demo.output for demo in each.prompt.demos]
        assert abs(answers.count("even") - answers.count("odd")) <= 1


def test_a_prompt_with_examples_gets_as_many_others_and_its_own_in_other_orders() -> None:
    mine = of_train(0, 1, 2)
    found = variants(demos=mine, most=6)
    assert all(len(each.prompt.demos) == 3 for each in found)
    same = [each for each in found if all(demo in mine for demo in each.prompt.demos)]
    assert 2 <= len(same) <= 4
    assert same[0].prompt.demos == mine[::-1]


def test_copies_of_rows_are_never_shown() -> None:
    copied = tuple(replace(row, id=f"train:{n}") for n, row in enumerate(PARITY.test[:19]))
    found = variants(replace(PARITY, train=(*copied, PARITY.train[0])))
    assert [each.prompt.demos for each in found] == [of_train(0)]
    assert inputs_of(PARITY.train[0]) not in map(inputs_of, PARITY.test)


def test_examples_that_reason_only_change_their_order() -> None:
    mine = tuple(replace(demo, output=f"It ends in a digit, so it is {demo.output}") for demo in of_train(0, 1, 2))
    found = variants(demos=mine, most=12)
    assert len(found) == 5
    assert all(
        sorted(demo.output for demo in each.prompt.demos) == sorted(demo.output for demo in mine) for each in found
    )


def test_without_a_place_or_room_or_rows_there_are_none() -> None:
    assert not variants(toy.task(labels=("even", "odd")))
    assert not variants(replace(PARITY, train=()))
    origin = toy.origin("word " * 5_000, PARITY)
    assert not Examples().variants(origin, 12)


def test_the_seed_draws_them() -> None:
    assert variants() == variants() != variants(seed=1)
