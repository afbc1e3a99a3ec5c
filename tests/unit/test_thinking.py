"""Reasoning models that are asked for an answer at once."""

from __future__ import annotations

import re
import time

import pytest

from localprompt.engine.chat import ChatTemplate
from localprompt.engine.gguf_validator import MAX_TEMPLATE_CHARS
from localprompt.engine.thinking import answer_opening, without_thoughts
from localprompt.engine.thoughts import close
from localprompt.types import Message

CONTROL = re.compile(r"<\|\w+\|>")
USER, ANSWER = Message("user", "Hi"), Message("assistant", "Yo.")
TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
OPENED = "{% if add_generation_prompt %}<|assistant|>{% endif %}"


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("a<think>", "a<think>\n\n</think>\n\n"),
        ("a<think>\n", "a<think>\n\n</think>\n\n"),
        ("a[THINK]", "a[THINK]\n\n[/THINK]\n\n"),
        ("a◁think▷", "a◁think▷\n\n◁/think▷\n\n"),
        ("a<seed:think>\n", "a<seed:think>\n\n</seed:think>\n\n"),
        ("a<|START_THINKING|>", "a<|START_THINKING|><|END_THINKING|>"),
        ("a<|channel>thought\n", "a<|channel>thought\n<channel|>"),
        ("a<|inner_prefix|>", "a<|inner_prefix|><|inner_suffix|>"),
        ("a<|begin_of_thought|>", "a<|begin_of_thought|><|end_of_thought|>"),
        ("a<unused94>thought\n", "a<unused94>thought\n<unused95>"),
        ("a<|channel|>analysis<|message|>", "a<|channel|>analysis<|message|><|end|>"),
    ],
)
def test_an_open_thought_is_closed(text: str, closed: str) -> None:
    assert close(text) == closed
    assert close(closed) == closed
    assert close(text + "b") == text + "b"


@pytest.mark.parametrize(
    ("opened", "answered", "wanted"),
    [
        ("<|user|>Hi<|assistant|>", "<|user|>Hi<|assistant|>", ""),
        (
            "<|user|>Hi<|start|>assistant",
            "<|user|>Hi<|start|>assistant<|channel|>final<|message|>",
            "<|channel|>final<|message|>",
        ),
        ("Hi<|a|>", "Hi<|a|><think></think>", "<think></think>"),
        ("Hi<|a|><think>\n", "Hi<|a|><think>\n\n</think>\n\n", ""),
        ("Hi<|a|><think>\n", "Hi<|a|>", ""),
        ("Hi<|a|><|START_THINKING|>", "Hi<|a|><|START_RESPONSE|>", "<|START_RESPONSE|>"),
        ("Hi<|begin|>assistant<|think|><|end|><|begin|>assistant", "Hi<|begin|>assistant<|content|>", "<|content|>"),
        ("Hi [/INST]", "Hi [/INST] ", ""),
        ("Hi<|end|>\n", "Hi<|end|>\n<|assistant|>\n", "<|assistant|>\n"),
        ("Hi", "Hi" + 100 * "<|a|>", ""),
        ("Hi<|end|>", "else<|a|>", ""),
    ],
)
def test_what_stands_before_an_answer_and_not_at_its_opening_is_found(opened: str, answered: str, wanted: str) -> None:
    assert answer_opening(opened, answered, CONTROL) == wanted


@pytest.mark.parametrize(
    ("source", "effort"),
    [
        ("Reasoning: {{ reasoning_effort }}", "low"),
        ("{% if reasoning_effort in ['high', 'none'] %}{% endif %}", "none"),
        ('{% if reasoning_effort == "minimal" or x %}{% endif %}{% if y == "none" %}{% endif %}', "minimal"),
        ("{% if reasoning_effort not in ['high', 'low', 'no_think'] %}{% endif %}", "no_think"),
        ("{% if tool_choice == 'none' %}{% endif %}", "low"),
    ],
)
def test_the_least_effort_that_a_template_names_is_asked_for(source: str, effort: str) -> None:
    assert without_thoughts(source)["reasoning_effort"] == effort


@pytest.mark.parametrize("text", ["reasoning_effort ", "{%reasoning_effort", "%", "{{"])
def test_a_tag_that_never_ends_takes_no_long_time(text: str) -> None:
    start = time.process_time()
    without_thoughts("{% set a = '" + text * (MAX_TEMPLATE_CHARS // len(text)))
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("enable_thinking", "enable_thinking=False"),
        ("thinking", "thinking=False"),
        ("reasoning", "reasoning=False"),
        ("thinking_budget", "thinking_budget=0"),
    ],
)
def test_each_familys_variable_closes_thoughts_and_is_said(variable: str, told: str) -> None:
    source = f"{TURNS}{OPENED}{{% if {variable} is not defined or {variable} %}}<go>{{% endif %}}"
    template = ChatTemplate(source, CONTROL, {})
    assert template.render([USER])[0] == "<|user|>Hi<|assistant|>"
    assert template.thinking([USER]) == told


def test_a_template_that_refuses_to_be_without_thoughts_is_told_nothing_and_its_thought_closed() -> None:
    refusal = "{% if enable_thinking is defined %}{{ raise_exception('always thinks') }}{% endif %}"
    template = ChatTemplate(refusal + TURNS + OPENED + "<think>", CONTROL, {})
    assert template.render([USER])[0] == "<|user|>Hi<|assistant|><think>\n\n</think>\n\n"
    assert template.thinking([USER]) == "the thought that the template opens is closed"


def test_an_answers_channel_is_opened_and_its_marks_are_control_tokens() -> None:
    source = TURNS.replace("{{ m.content }}", "{% if m.role == 'assistant' %}<|final|>{% endif %}{{ m.content }}")
    template = ChatTemplate(source + OPENED, CONTROL, {})
    for messages in ([USER], [USER, ANSWER, USER]):
        text, spans = template.render(messages)
        assert text.endswith("<|user|>Hi<|assistant|><|final|>")
        assert text[slice(*spans[-1])] == "<|final|>"
        assert template.thinking(messages) == "an answer begins behind '<|final|>'"
    assert template.render([USER, ANSWER], is_open=False)[0].endswith("<|final|>Yo.")


def test_a_template_that_refuses_messages_that_are_equal_is_asked_with_different_ones() -> None:
    refusal = "{% if messages[0].content == messages[-1].content and messages | length > 1 %}{{ raise_exception('') }}"
    template = ChatTemplate(refusal + "{% endif %}" + TURNS + OPENED + "<think>", CONTROL, {})
    assert template.thinking([USER, ANSWER, USER]) == "the thought that the template opens is closed"


def test_of_a_template_without_thoughts_nothing_is_said() -> None:
    assert ChatTemplate(TURNS + OPENED, CONTROL, {}).thinking([USER]) == ""


def test_a_message_neither_opens_a_thought_nor_switches_thoughts_on() -> None:
    source = (
        "{% for m in messages %}{{ '!' if '/think' in m.content or '<tool>' in m.content }}{{ m.content }}{% endfor %}"
    )
    for content in ("and/think", "<tool>", "[THINK]", "a <think>", "<|channel|>analysis<|message|>"):
        assert ChatTemplate(source, CONTROL, {}).render([Message("user", content)]) == (content, [])
