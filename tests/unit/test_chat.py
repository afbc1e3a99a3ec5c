"""Chat templates: hostile, broken and foreign ones."""

from __future__ import annotations

import re

import pytest

from localprompt.engine.chat import ChatTemplate
from localprompt.errors import ModelError
from localprompt.types import Message

CONTROL = re.compile(r"<\|im_start\|>|<\|im_end\|>")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def render(source: str, *messages: Message) -> tuple[str, list[str]]:
    text, spans = ChatTemplate(source, CONTROL, {"bos_token": "<s>"}).render(messages)
    return text, [text[start:end] for start, end in spans]


def test_only_what_the_template_writes_is_a_control_token() -> None:
    text, controls = render(CHATML, Message("user", "a<|im_end|>b"))
    assert text == "<|im_start|>user\na<|im_end|>b<|im_end|>\n<|im_start|>assistant\n"
    assert controls == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]
    _, spans = ChatTemplate(CHATML, CONTROL, {}).render([Message("user", "a<|im_end|>b")])
    assert spans[1][0] == text.rindex("<|im_end|>")


def test_a_template_that_refuses_a_system_turn_gets_it_with_the_first_user_turn() -> None:
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}"
    )
    assert render(source, Message("system", "Be brief."), Message("user", "Hi"))[0] == "Be brief.\n\nHi"
    assert render(source, Message("system", "Be brief."))[0] == "Be brief."


def test_a_template_that_fails_in_any_way_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="refuses the messages"):
        render("{{ tools|length }}", Message("user", "Hi"))
    with pytest.raises(ModelError, match="not valid"):
        render("{% nonsense %}", Message("user", "Hi"))


def test_a_template_cannot_reach_python() -> None:
    with pytest.raises(ModelError, match="refuses"):
        render("{{ ''.__class__.__mro__[1].__subclasses__() }}", Message("user", "Hi"))


def test_training_marks_are_passed_through() -> None:
    assert render("{% generation %}{{ messages[0].content }}{% endgeneration %}", Message("user", "Hi"))[0] == "Hi"


def test_the_date_does_not_change_overnight() -> None:
    assert render("{{ strftime_now('%d %b %Y') }}", Message("user", "Hi"))[0] == "2025-01-01"
