"""Makers' own chat templates, from model files and from a folder: the text is that of the makers' renderer.

`CHAT_TEMPLATES=DIR` names a folder of `.jinja` files, such as `models/templates` of llama.cpp.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
from reference_chat import reference

from localprompt.engine.chat import ChatTemplate
from localprompt.engine.gguf_reader import read_header
from localprompt.engine.llama import Vocabulary
from localprompt.engine.settings import EngineSettings
from localprompt.engine.thinking import without_thoughts
from localprompt.engine.thoughts import close
from localprompt.errors import ModelError
from localprompt.hub import cards
from localprompt.hub import files as models
from localprompt.types import Message

pytestmark = pytest.mark.real

FILES = sorted(Path(os.environ["CHAT_TEMPLATES"]).glob("*.jinja")) if "CHAT_TEMPLATES" in os.environ else []
LOOKS_LIKE_CONTROL = re.compile(r"<[|｜][^|｜<>\s]{1,40}[|｜]>|</?s>|\[/?[A-Z_]{3,}\]|<(?:start|end)_of_turn>")
SYSTEM, QUESTION = Message("system", "Answer in one word."), Message("user", "What is 1 & 1?\n\n'2' or \"3\"?")
ANSWER, NEXT = Message("assistant", "2"), Message("user", "And 2 + 2?")
CHATS = ([QUESTION], [SYSTEM, QUESTION], [QUESTION, ANSWER, NEXT], [SYSTEM, QUESTION, ANSWER, NEXT])


def check(template: ChatTemplate, source: str, variables: dict[str, str]) -> None:
    """What the makers' renderer writes of messages given in the same way, and what the answer wants before it."""
    for messages in CHATS:
        way = template.way(messages)
        turns: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in way.arrange(messages)]
        if way.as_parts:
            turns = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
        told = without_thoughts(source) if way.is_quiet else {}
        if not way.knows_tools:
            told |= dict.fromkeys(("tools", "documents"), jinja2.Undefined())
        written = reference(source, turns, {**told, **variables})
        assert template.render(messages)[0] == close(written) + way.answer


@pytest.mark.parametrize("card", cards.cards(), ids=lambda card: card.name)
def test_the_template_of_a_model_file(card: cards.ModelCard) -> None:
    path = models.installed(card)
    source = read_header(path).chat_template if path else None
    if path is None or source is None:
        pytest.skip("not in the model cache" if path is None else "a base model")
    vocabulary = Vocabulary(path, EngineSettings())
    assert vocabulary.chat_template is not None
    variables = {f"{key}_token": vocabulary.special_texts.get(key, "") for key in ("bos", "eos")}
    check(vocabulary.chat_template, source, variables)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_makers_template_from_a_folder(path: Path) -> None:
    source, variables = path.read_text(encoding="utf-8"), {"bos_token": "<s>", "eos_token": "</s>"}
    template = ChatTemplate(source, LOOKS_LIKE_CONTROL, variables)
    try:
        template.way(CHATS[0])
    except ModelError as error:
        with pytest.raises(jinja2.TemplateError):
            reference(source, [{"role": "user", "content": QUESTION.content}], variables)
        pytest.skip(f"the makers' renderer refuses a question, too: {error}")
    check(template, source, variables)
