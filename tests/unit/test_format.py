from __future__ import annotations

from dataclasses import replace

import pytest
import toy

from localprompt.tasks import Layout
from localprompt.tasks.answers import find_answer
from localprompt.types import Sampling
from localprompt.variants.format import Format
from localprompt.variants.variant import Variant

MANY = 10_000
ROUTING = Layout("{{instruction}}\n\n{{demos}}Message: {{input}}\nTeam:", "Message: {{input}}\nTeam: {{output}}\n\n")


def formats(layout: Layout, *, labels: tuple[str, ...] = ("a", "b"), instruction: str = "Do it.") -> dict[str, Variant]:
    task = replace(toy.task(labels=labels), layout=layout)
    return {each.change: each for each in Format().variants(toy.origin(instruction, task), MANY)}


HEAD = "{{instruction}}\n\n{{demos}}"


@pytest.mark.parametrize(
    ("change", "template", "answer", "separator"),
    [
        ("cues in upper case", HEAD + "MESSAGE: {{input}}\nTEAM:", " {{output}}\n\n", " "),
        ("' - ' after cues", HEAD + "Message - {{input}}\nTeam -", " {{output}}\n\n", " "),
        (r"'\t' after cues", HEAD + "Message\t{{input}}\nTeam\t", "{{output}}\n\n", ""),
        (r"':\n' after cues", HEAD + "Message:\n{{input}}\nTeam:\n", "{{output}}\n\n", ""),
        ("no blank lines", "{{instruction}}\n{{demos}}Message: {{input}}\nTeam:", " {{output}}\n", " "),
        ("blank lines between parts", HEAD + "Message: {{input}}\n\nTeam:", " {{output}}\n\n", " "),
    ],
)
def test_template_and_demo_change_alike(change: str, template: str, answer: str, separator: str) -> None:
    layout = formats(ROUTING)[change].task.layout
    demo = template.partition("{{demos}}")[2] + answer
    assert (layout.template, layout.demo, layout.separator) == (template, demo, separator)


def test_all_formats_are_different_and_none_is_the_original() -> None:
    found = [each.task.layout for each in formats(ROUTING).values()]
    assert len(set(found)) == len(found) == 3 * 5 * 3 - 1  # casing, separator, spacing
    assert ROUTING not in found


def test_the_seed_draws_the_formats() -> None:
    def drawn(seed: int) -> list[str]:
        return [each.change for each in Format().variants(toy.origin("Do it.", seed=seed), 5)]

    assert len(drawn(0)) == 5
    assert drawn(0) == drawn(0) != drawn(1)


def renamed(layout: Layout, *, labels: tuple[str, ...] = ("a", "b"), instruction: str = "Do it.") -> set[str]:
    found = formats(layout, labels=labels, instruction=instruction)
    return {change for change in found if " for '" in change and "," not in change}


def test_cue_words_change_where_they_say_nothing_of_the_task() -> None:
    inputs, answer = {"'Text' for 'Input'", "'Question' for 'Input'"}, {"'Answer' for 'Output'"}
    assert renamed(toy.SHOWING) == inputs | answer | {"'Label' for 'Output'"}
    assert renamed(toy.SHOWING, labels=()) == inputs | answer
    assert renamed(toy.SHOWING, labels=(), instruction="Copy the input.") == answer
    assert not renamed(ROUTING)


def test_a_chat_keeps_its_opening_and_its_turn_ends_in_no_blank() -> None:
    chat = Layout("Message: {{input}}\nTeam:", ROUTING.demo, "chat", "{{instruction}}", '{"team":', "")
    layout = formats(chat)[r"':\n' after cues"].task.layout
    assert (layout.template, layout.opening, layout.separator) == ("Message:\n{{input}}\nTeam:", '{"team":', "")


@pytest.mark.parametrize(
    "template",
    ["{{input}} {{instruction}}", "Is it so? Answer: {{input}} {{instruction}}", "(a) {{input}}{{instruction}}"],
)
def test_a_layout_without_cues_and_lines_has_no_other_format(template: str) -> None:
    assert not formats(Layout(template, "{{input}} {{output}}"))


def test_cues_that_name_outputs_stay() -> None:
    layout = Layout("{{instruction}}\n\nText: {{input}}\nGood or bad:", "")
    for each in formats(layout, labels=("Good", "bad")).values():
        assert each.task.layout.template.endswith("Good or bad:")


def test_answers_end_where_the_next_example_begins_in_its_new_format() -> None:
    task = replace(
        toy.task(), layout=toy.SHOWING, answer=find_answer("last_number"), sampling=Sampling(8, stop=("\nInput:",))
    )
    found = {each.change: each.task.sampling.stop for each in Format().variants(toy.origin("", task), MANY)}
    assert found["cues in upper case, ':: ' after cues"] == ("\nINPUT::",)
    assert found["no blank lines"] == ("\nInput:",)
    own = replace(task, sampling=Sampling(8, stop=("###",)))
    assert {each.task.sampling.stop for each in Format().variants(toy.origin("", own), MANY)} == {("###",)}
