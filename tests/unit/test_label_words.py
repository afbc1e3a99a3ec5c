from __future__ import annotations

from dataclasses import replace

import toy

from localprompt.types import Demo
from localprompt.variants.labels import Labels
from localprompt.variants.variant import Variant


def found(instruction: str, *labels: str, most: int = 10) -> dict[str, Variant]:
    origin = toy.origin(instruction, replace(toy.task(labels=labels), layout=toy.SHOWING))
    return {each.change: each for each in Labels().variants(origin, most)}


def test_labels_change_in_the_instruction_and_as_what_is_chosen() -> None:
    words = {
        name: (each.prompt.instruction, each.task.labels)
        for name, each in found("World or sports?", "World", "sports").items()
    }
    assert words == {
        "labels as lower case": ("world or sports?", ("world", "sports")),
        "labels as Capitalised": ("World or Sports?", ("World", "Sports")),
        "labels as CAPITALS": ("WORLD or SPORTS?", ("WORLD", "SPORTS")),
        "labels as letters": ("World or sports?\nAnswer with the letter: A = World, B = sports.", ("A", "B")),
        "labels as numbers": ("World or sports?\nAnswer with the number: 1 = World, 2 = sports.", ("1", "2")),
    }


def test_answers_mean_what_they_meant_and_targets_are_the_new_words() -> None:
    each = found("Which?", "even", "odd")["labels as letters"]
    assert each.outputs == {"A": "even", "B": "odd"}
    for split in ("train", "dev", "test"):
        old = [row.targets[0] for row in getattr(toy.task(labels=("even", "odd")), split)]
        assert [each.outputs[row.targets[0]] for row in getattr(each.task, split)] == old


def test_worked_examples_show_the_new_words() -> None:
    task = replace(toy.task(labels=("even", "odd")), layout=toy.SHOWING)
    demos = (Demo({"input": "x"}, "odd"), Demo({"input": "y"}, "odd, I think"))
    shown = Labels().variants(toy.origin("Which?", task, demos=demos), 1)[0].prompt.demos
    assert [demo.output for demo in shown] == ["Odd", "odd, I think"]


def test_only_labels_as_they_are_written_change_where_there_are_such() -> None:
    text = found("In world sports: World or Sports.", "World", "Sports")["labels as CAPITALS"].prompt.instruction
    assert text == "In world sports: WORLD or SPORTS."
    assert found("Of Even, ODD.", "even", "odd")["labels as CAPITALS"].prompt.instruction == "Of EVEN, ODD."


def test_words_stay_different_and_letters_are_not_lettered() -> None:
    assert not {"labels as lower case", "labels as CAPITALS"} & set(found("", "a word", "A word"))
    assert not found("", "A", "B").keys() - {"labels as lower case"}
    assert not found("", "1", "2")
    assert {"labels as letters", "labels as numbers"} <= set(found("", "NO", "YES"))
    assert "labels as letters" not in found("", *(f"label {n}" for n in range(27)), most=10)


def test_a_prompt_that_is_not_english_gets_no_english_words() -> None:
    assert found("好吗", "好", "坏")["labels as letters"].prompt.instruction == "好吗\nA = 好, B = 坏"
    assert found("", "good", "bad")["labels as numbers"].prompt.instruction == "1 = good, 2 = bad"


def test_tasks_without_labels_have_no_words_for_them() -> None:
    assert not Labels().variants(toy.origin("Say it."), 5)
