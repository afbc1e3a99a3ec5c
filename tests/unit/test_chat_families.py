"""Templates with the features of today's families: the makers' renderer writes the same text, and data stays data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from chat_families import BOS, EOS, FAMILIES, Family
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_chat import reference

from localprompt.engine.chat import ChatTemplate
from localprompt.types import Message

VARIABLES = {"bos_token": BOS, "eos_token": EOS}
SYSTEM = Message("system", "Answer in <b>one</b> word & no more: é.")
FIRST, SECOND, THIRD = (Message("user", f"Which is larger, {n} or {n + 1}?\n\n\tSay 'it'.") for n in range(3))
YES, NO = Message("assistant", 'The "second".\nOf course.'), Message("assistant", "{'a': 1}")
CHATS = (
    [FIRST],
    [SYSTEM, FIRST],
    [FIRST, YES, SECOND],
    [SYSTEM, FIRST, YES, SECOND],
    [SYSTEM, FIRST, YES, SECOND, NO, THIRD],
)
WHOLE = ([FIRST, YES], [SYSTEM, FIRST, YES, SECOND, NO])
TALK = (SYSTEM, FIRST, YES, SECOND)
NOISE = ("a", "é", " b", "\n", "{{ x }}", "{% break %}", "<", "|>", "[", "/", "</s", "\ufdd0", "\x00")
SWITCHES = ("<think>", "</think>", "/think", "/no_think", "<tool_response>", "</tool_response>", "[THINK]", "<|think|>")
TOKENS = sorted({token for family in FAMILIES for token in family.control})


def template_of(family: Family) -> ChatTemplate:
    control = re.compile("|".join(map(re.escape, sorted(family.control, key=len, reverse=True))))
    return ChatTemplate(family.template, control, VARIABLES)


def turns(family: Family, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as the makers of a template want them."""
    if family.folds_system and messages[0].role == "system":
        system, first, *rest = messages
        messages = [Message("user", f"{system.content}\n\n{first.content}"), *rest]
    if family.as_parts:
        return [{"role": m.role, "content": [{"type": "text", "text": m.content}]} for m in messages]
    return [{"role": m.role, "content": m.content} for m in messages]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_chat_is_what_the_makers_renderer_writes_with_the_answer_next(family: Family) -> None:
    template = template_of(family)
    for messages in CHATS:
        written = reference(family.template, turns(family, messages), {**family.told, **VARIABLES})
        assert template.render(messages)[0] == written + family.then
    for messages in WHOLE:
        written = reference(family.template, turns(family, messages), {**family.told, **VARIABLES}, is_open=False)
        assert template.render(messages, is_open=False)[0] == written


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_is_done_against_thoughts_is_said(family: Family) -> None:
    said = template_of(family).thinking([FIRST])
    assert [name for name in family.told if f"{name}={family.told[name]!r}" not in said] == []
    assert bool(said) == bool(family.told or family.then)


def contents(family: Family, turn: Message) -> st.SearchStrategy[str]:
    # A template may cut thoughts out of an answer: their marks stand in it only where they are control tokens.
    pieces = (*NOISE, *TOKENS, *SWITCHES) if turn.role != "assistant" else (*NOISE, *family.control)
    return st.lists(st.sampled_from(pieces), min_size=1, max_size=6).map("".join).map(lambda text: f"x{text}x")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_control_tokens_stand_only_where_the_template_wrote_them(family: Family) -> None:
    template = template_of(family)
    names = [f"Quebec{place}Tango" for place in range(len(TALK))]
    plain, spans = template.render([Message(turn.role, name) for turn, name in zip(TALK, names, strict=True)])
    pieces = re.split("(" + "|".join(names) + ")", plain)

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.tuples(*(contents(family, turn) for turn in TALK)))
    def check(data: tuple[str, ...]) -> None:
        text, found = template.render([replace(turn, content=each) for turn, each in zip(TALK, data, strict=True)])
        given_as = {name: each.replace("\ufdd0", "") for name, each in zip(names, data, strict=True)}
        expected, before, wanted = "", 0, []
        for piece in pieces:
            moved = len(expected) - before
            wanted += [(a + moved, b + moved) for a, b in spans if before <= a < before + len(piece)]
            expected += given_as.get(piece, piece)
            before += len(piece)
        assert text == expected
        assert found == wanted

    check()
