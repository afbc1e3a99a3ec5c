from __future__ import annotations

import pytest

from localprompt.errors import TaskError
from localprompt.tasks.template import (
    Layout,
    Position,
    Rendering,
    check_slots,
    default_demo,
    default_template,
    demo_for,
    fill,
    slots,
)
from localprompt.types import Demo, Message, Prompt

RAW = Layout(default_template(["input"]), default_demo(["input"]))
CATS = Demo({"input": "cat"}, "cats")


def test_the_default_layout_puts_instruction_then_demos_then_the_input() -> None:
    rendering = RAW.render(Prompt("Give the plural.", (CATS, CATS)), {"input": "dog"})
    demo = "Input: cat\nOutput: cats\n\n"
    assert rendering.text == f"Give the plural.\n\n{demo}{demo}Input: dog\nOutput:"
    assert rendering.messages == ()


def test_an_empty_instruction_leaves_no_blank_line() -> None:
    assert RAW.render(Prompt(""), {"input": "dog"}).text == "Input: dog\nOutput:"
    assert RAW.render(Prompt(" \n"), {"input": "dog"}).text == "Input: dog\nOutput:"
    assert RAW.render(Prompt("", (CATS,)), {"input": "dog"}).text == "Input: cat\nOutput: cats\n\nInput: dog\nOutput:"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Input: {{input}}\n{{instruction}}\nOutput:", "Input: x\nOutput:"),
        ("{{input}}\n\n{{instruction}}", "x"),
        ("{{input}}\n\n{{instruction}}\n\n{{demos}}", "x"),
        ("{{input}}\n\n{{instruction}}\n\n{{demos}}\nA:", "x\n\nA:"),
        ("Q: {{instruction}} {{input}} A:", "Q: x A:"),
        ("A\n{{demos}}\n\n{{instruction}}{{input}}", "A\nx"),
    ],
)
def test_an_empty_slot_takes_the_blank_space_after_it_along(template: str, text: str) -> None:
    assert Layout(template, "").render(Prompt(""), {"input": "x"}).text == text


def test_blank_space_in_data_beside_an_empty_slot_stays() -> None:
    assert fill("{{input}}{{instruction}}", {"input": "x \n", "instruction": ""}) == "x \n"
    assert fill("{{instruction}}{{input}}", {"input": "\n x", "instruction": ""}) == "\n x"


def test_an_empty_input_is_not_a_hole() -> None:
    assert fill("Context: {{input}}\nQ:", {"input": ""}) == "Context: \nQ:"


def test_slot_text_inside_data_is_never_filled_again() -> None:
    demo = Demo({"input": "{{output}}"}, "{{input}}")
    text = RAW.render(Prompt("{{input}} {{demos}}", (demo,)), {"input": "{{instruction}} {0} %s {x!r}"}).text
    assert text == (
        "{{input}} {{demos}}\n\nInput: {{output}}\nOutput: {{input}}\n\nInput: {{instruction}} {0} %s {x!r}\nOutput:"
    )


def test_a_chat_layout_gives_turns_and_leaves_an_empty_system_turn_out() -> None:
    layout = Layout("{{demos}}{{input}}", "{{input}}={{output}};", "chat", "{{instruction}}", "It is", "")
    rendering = layout.render(Prompt("Be brief.", (CATS,)), {"input": "dog"})
    assert rendering.messages == (Message("system", "Be brief."), Message("user", "cat=cats;dog"))
    assert (rendering.text, rendering.opening) == ("", "It is")
    assert layout.render(Prompt(""), {"input": "dog"}).messages == (Message("user", "dog"),)


def test_the_instruction_can_be_the_opening_of_the_answer() -> None:
    layout = Layout("{{input}}", "", "chat", opening="{{instruction}}")
    assert layout.render(Prompt("Step by step:"), {"input": "2+2"}).opening == "Step by step:"


def test_demos_are_not_dropped_where_the_template_has_no_slot_for_them() -> None:
    with pytest.raises(TaskError, match=r"no \{\{demos\}\} slot"):
        Layout("{{instruction}}{{input}}", "").render(Prompt("", (CATS,)), {"input": "x"})


def test_a_missing_value_is_named() -> None:
    with pytest.raises(TaskError, match="question") as caught:
        fill("{{question}}", {"questions": "x"})
    assert "questions" in caught.value.hint


def test_an_unknown_slot_names_the_nearest_known_one() -> None:
    with pytest.raises(TaskError, match="inptu") as caught:
        check_slots("{{ inptu }}", ["input", "instruction"])
    assert caught.value.hint == "did you mean 'input'?"


def test_slots_are_listed_once_and_in_order() -> None:
    assert slots("{{b}} {{a}} {{ b }} { {c}} {{d e}}") == ("b", "a")


def test_several_inputs_are_labelled_with_their_names() -> None:
    assert default_template(["first_word", "second"]).endswith(
        "First word: {{first_word}}\nSecond: {{second}}\nOutput:"
    )


@pytest.mark.parametrize(
    ("template", "demo"),
    [
        ("{{instruction}}\n\n{{demos}}Q: {{input}}\nA:", "Q: {{input}}\nA: {{output}}\n\n"),
        ("{{demos}}\n\nQ: {{input}}\n{{instruction}}\nA:", "Q: {{input}}\nA: {{output}}\n\n"),
        (default_template(["input"]), default_demo(["input"])),
    ],
)
def test_a_demo_looks_like_an_answered_example(template: str, demo: str) -> None:
    assert demo_for(template, " ") == demo


PLACES: list[tuple[Position, str]] = [
    ("task", "Be brief.\n\nInput: cat\nOutput: cats\n\nInput: dog\nOutput:"),
    ("Q_begin", "Input: cat\nOutput: cats\n\nBe brief.\nInput: dog\nOutput:"),
    ("Q_end", "Input: cat\nOutput: cats\n\nInput: dog\nBe brief.\nOutput:"),
    ("A_begin", "Input: cat\nOutput: cats\n\nInput: dog\nOutput: Be brief."),
]


@pytest.mark.parametrize(("position", "text"), PLACES)
def test_the_instruction_moves_to_its_place_and_stands_nowhere_else(position: Position, text: str) -> None:
    layout = RAW.placed(position)
    assert layout.render(Prompt("Be brief.", (CATS,)), {"input": "dog"}).text == text
    assert layout.placed(position).render(Prompt("Be brief.", (CATS,)), {"input": "dog"}).text == text


@pytest.mark.parametrize("position", [position for position, _ in PLACES])
def test_an_empty_instruction_vanishes_from_every_place(position: Position) -> None:
    for prompt in (Prompt(""), Prompt("", (CATS,))):
        assert RAW.placed(position).render(prompt, {"input": "dog"}) == RAW.render(prompt, {"input": "dog"})


def test_the_instruction_stands_around_all_inputs() -> None:
    layout = Layout(default_template(["question", "context"]), "")
    inputs = {"question": "Who?", "context": "A\nB"}
    before, after = (layout.placed(place).render(Prompt("Tell."), inputs).text for place in ("Q_begin", "Q_end"))
    assert before == "Tell.\nQuestion: Who?\nContext: A\nB\nOutput:"
    assert after == "Question: Who?\nContext: A\nB\nTell.\nOutput:"


def test_in_a_chat_the_instruction_leaves_the_system_turn_and_opens_the_answer() -> None:
    layout = Layout("{{input}}", "", "chat", system="{{instruction}}", separator="").placed("A_begin")
    rendering = layout.render(Prompt("The opposite is"), {"input": "hot"})
    assert rendering == Rendering((Message("user", "hot"),), "", "The opposite is")
    assert layout.separator == " "
    assert layout.render(Prompt(""), {"input": "hot"}).opening == ""


def test_in_a_chat_the_instruction_stands_before_what_the_answer_begins_with() -> None:
    layout = Layout("{{instruction}} {{input}}", "", "chat", system="Be kind.", opening="It is", separator=" ")
    placed = layout.placed("A_begin")
    assert placed.render(Prompt("Think."), {"input": "hot"}).opening == "Think. It is"
    assert placed.render(Prompt(""), {"input": "hot"}).opening == "It is"
    placed = layout.placed("Q_end")
    assert placed.render(Prompt("Think."), {"input": "hot"}).messages[1] == Message("user", "hot\nThink.")


def test_a_placed_layout_does_not_fill_slots_inside_data() -> None:
    text = RAW.placed("Q_end").render(Prompt("{{input}}"), {"input": "{{instruction}}"}).text
    assert text == "Input: {{instruction}}\n{{input}}\nOutput:"
