"""What a chat template writes around the messages, and what the vocabulary makes of it. Level 2, runs in the worker."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from localprompt.engine.chat import ChatTemplate, Span
from localprompt.engine.encode import encode
from localprompt.engine.llama import Vocabulary
from localprompt.errors import ModelError
from localprompt.types import Message

_MARK = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
"""What looks as control tokens do, such as `<|im_start|>`, `</s>` and `[INST]`."""
_QUESTION, _ANSWER = Message("user", "What is one and one?"), Message("assistant", "It is two.")
_SYSTEM = Message("system", "Answer in words.")
_ASKED = ([_QUESTION], [_SYSTEM, _QUESTION], [_QUESTION, _ANSWER, _QUESTION])
_SPACES = ("one two", "one  two", "one\n\ntwo\n three", "one\ttwo", "one ", "one\n")


def chat_facts(llama: Vocabulary) -> dict[str, str]:
    """Return whether chats can be had from a model: `problem` and `hint`, empty if so or if there is no template.

    `thinking` says what is done so that an answer comes before any thought.
    """
    try:
        template = llama.chat_template
        thinking = dict.fromkeys(filter(None, map(template.thinking, _ASKED))) if template else ()
    except ModelError as error:
        return {"problem": error.message, "hint": error.hint, "thinking": ""}
    return {"problem": "", "hint": "", "thinking": "; ".join(thinking)}


def keeps_spaces(llama: Vocabulary) -> bool:
    """Return whether blank space in a text is in its tokens, but for one space that some vocabularies put first."""
    written = (b"".join(map(llama.piece, llama.tokenize(text, control=False))) for text in _SPACES)
    read = (pieces.decode("utf-8", "replace").removeprefix(" ") for pieces in written)
    return tuple(read) == _SPACES


def chat_marks(llama: Vocabulary) -> dict[str, Any]:
    """Return what the chat template writes around the messages, as plain data; empty where no chat can be had.

    `marks` are the texts that look as control tokens do, each with its tokens. `tail` is what stands after an answer
    and `ends` whether that ends a completion, or it cannot be said. `doubled` is the text of a control token that
    begins a chat twice. `keeps_lines` says whether blank space inside the messages stays as it is.

    A vocabulary that lacks bytes may end the process over this.
    """
    if chat_facts(llama)["problem"] or llama.chat_template is None:
        return {}
    text, spans = llama.chat_template.render([_QUESTION])
    tails = _tails(llama.chat_template)
    talks = [text.replace(_QUESTION.content, " "), *tails]
    marks = dict.fromkeys(mark for talk in talks for mark in _MARK.findall(talk))
    after = [llama.tokenize(tail, control=True) for tail in tails]
    return {
        "marks": [[mark, llama.tokenize(mark, control=True)] for mark in marks],
        "tail": next((tail.strip() for tail in tails if tail.strip()), ""),
        "ends": not tails or any(llama.is_end(token) for tokens in after for token in tokens),
        "doubled": _doubled(llama, text, spans),
        "keeps_lines": all(llama.chat_template.way(messages).keeps_spaces for messages in _ASKED),
    }


def _tails(template: ChatTemplate) -> list[str]:
    """Return what is written after an answer: at the end of a conversation, as in training, and inside one."""
    tails = []
    with contextlib.suppress(ModelError):
        if template.way([_QUESTION, _ANSWER]).keeps_turns:
            tails.append(template.render([_QUESTION, _ANSWER], is_open=False)[0].rpartition(_ANSWER.content)[2])
            inside = template.render([_QUESTION, _ANSWER, _QUESTION])[0].rpartition(_ANSWER.content)[2]
            tails.append(inside.partition(_QUESTION.content)[0])
    return tails


def _doubled(llama: Vocabulary, text: str, spans: list[Span]) -> str:
    first = encode(llama, text, spans)[:2]
    mark = llama.text_of(first[0])
    return mark if first[0] == first[-1] and len(first) == 2 and mark in llama.control_ids else ""
