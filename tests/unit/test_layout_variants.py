"""Families that change where things stand: position, chat, and answers that are drawn."""

from __future__ import annotations

from dataclasses import replace

import toy

from localprompt.tasks import Layout
from localprompt.types import Sampling as Drawing
from localprompt.variants.chat import Chat
from localprompt.variants.position import Position
from localprompt.variants.sampling import Sampling
from localprompt.variants.variant import Variant

CHAT = Layout("Message: {{input}}", "Message: {{input}}\nTeam: {{output}}\n\n", "chat", "{{instruction}}", "", "")


def layouts(
    family: Position | Chat, layout: Layout, instruction: str = "Do it.", labels: tuple[str, ...] = ("a", "b")
) -> dict[str, Layout]:
    sampling = Drawing(8) if labels else toy.task().sampling
    origin = toy.origin(instruction, replace(toy.task(labels=labels), layout=layout, sampling=sampling))
    return {each.change: each.task.layout for each in family.variants(origin, 10)}


def test_the_instruction_stands_where_it_did_not() -> None:
    assert {change: each.template for change, each in layouts(Position(), toy.SHOWING).items()} == {
        "instruction before the question": "{{demos}}{{instruction}}\nInput: {{input}}\nOutput:",
        "instruction after the question": "{{demos}}Input: {{input}}\n{{instruction}}\nOutput:",
        "instruction where the answer begins": "{{demos}}Input: {{input}}\nOutput: {{instruction}}",
    }
    assert "instruction after the question" not in layouts(Position(), Layout("{{input}}\n{{instruction}}", ""))
    assert not layouts(Position(), toy.SHOWING, " ")
    assert "instruction where the answer begins" not in layouts(Position(), toy.SHOWING, labels=())
    in_a_line = Layout("{{instruction}}\n\nQ: {{input}} A:", "")
    assert len(layouts(Position(), in_a_line)) == 3
    assert list(layouts(Position(), in_a_line, labels=())) == ["instruction before the question"]


def test_a_raw_task_becomes_a_chat_as_an_author_would_write_it() -> None:
    raw, bare = toy.SHOWING.template, "{{demos}}Input: {{input}}\nOutput:"
    whole = replace(toy.SHOWING, mode="chat", separator="")
    begun = replace(whole, template=raw.removesuffix("\nOutput:"), opening="Output:", separator=" ")
    system = "{{instruction}}"
    assert layouts(Chat(), toy.SHOWING) == {
        "as a chat": whole,
        "as a chat, the instruction in the system turn": replace(whole, template=bare, system=system),
        "as a chat whose answer begins with 'Output:'": begun,
        "as a chat whose answer begins with 'Output:', the instruction in the system turn": replace(
            begun, template="{{demos}}Input: {{input}}", system=system
        ),
    }
    assert list(layouts(Chat(), toy.SHOWING, "")) == ["as a chat", "as a chat whose answer begins with 'Output:'"]


def test_a_chat_becomes_a_text_that_ends_as_a_worked_example_does_before_its_output() -> None:
    assert layouts(Chat(), CHAT) == {
        "instruction in the user's turn": replace(CHAT, system="", template="{{instruction}}\n\nMessage: {{input}}"),
        "as a text to continue": Layout("{{instruction}}\n\nMessage: {{input}}\nTeam:", CHAT.demo),
    }
    opened = replace(CHAT, system="Be good.", template="{{instruction}}\n{{input}}", opening="{", separator="")
    assert layouts(Chat(), opened) == {
        "instruction in the system turn": replace(opened, template="{{input}}", system="{{instruction}}\n\nBe good."),
        "as a text to continue": Layout("Be good.\n\n{{instruction}}\n{{input}}\n{", CHAT.demo, separator=""),
    }


def test_the_stop_of_a_mode_comes_with_it() -> None:
    chat = Chat().variants(toy.origin("Do it."), 1)[0].task
    assert chat.sampling.stop == ()
    raw = Chat().variants(toy.origin("", replace(toy.task(), layout=CHAT, sampling=Drawing(8))), 1)[0].task
    assert (raw.layout.mode, raw.sampling.stop) == ("raw", ("\n",))


def test_answers_are_drawn_with_other_seeds_only_where_they_are_generated() -> None:
    def drawn(**changes: object) -> list[Variant]:
        return list(Sampling().variants(toy.origin("Do it.", replace(toy.task(), **changes)), 2))  # type: ignore[arg-type]

    assert [(each.seed, each.task.sampling.temperature) for each in drawn()] == [(1, 0.7), (2, 0.7)]
    assert [each.task.sampling.temperature for each in drawn(sampling=Drawing(8, 1.2))] == [1.2, 1.2]
    assert not Sampling().variants(toy.origin("Do it.", toy.task(labels=("a", "b"))), 2)
