"""A loaded model through the public names alone."""

from __future__ import annotations

from pathlib import Path

import pytest

import localprompt


def test_a_chat_is_made_of_messages_and_answered(tiny_qwen: Path) -> None:
    with localprompt.load_model(tiny_qwen, tune=False) as lm:
        question = lm.chat([localprompt.Message("user", "Name a colour.")])
        (answer,) = lm.generate([question], localprompt.Sampling(max_tokens=8), seeds=[0])
        assert isinstance(answer, localprompt.Generation)
        with pytest.raises(localprompt.ContextOverflow):
            lm.generate([question], localprompt.Sampling(max_tokens=1_000_000), seeds=[0])


def test_a_message_that_is_none_is_named(tiny_model: Path) -> None:
    with localprompt.load_model(tiny_model, tune=False) as lm:
        wrong = {"role": "user", "content": "hi"}
        with pytest.raises(TypeError, match=r"localprompt\.Message\(role, content\), not \{'role': 'user'"):
            lm.chat([wrong])  # type: ignore[list-item]
        with pytest.raises(TypeError, match="not 'h'"):
            lm.chat("hi")  # type: ignore[arg-type]
