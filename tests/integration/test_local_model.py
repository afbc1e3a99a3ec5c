"""A loaded model through the public names alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import localprompt
from localprompt.engine import gguf_reader, gguf_validator
from localprompt.engine.gguf import GGUFHeader


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
        with pytest.raises(
            localprompt.ConfigError, match=r"messages\[0\] is \{'role': 'user'.*, not a localprompt\.Message"
        ):
            lm.chat([wrong])  # type: ignore[list-item]
        with pytest.raises(localprompt.ConfigError, match="messages is 'hi', not a list"):
            lm.chat("hi")  # type: ignore[arg-type]


def test_a_text_in_the_place_of_a_list_is_refused_and_not_read_letter_by_letter(tiny_qwen: Path) -> None:
    with localprompt.load_model(tiny_qwen, tune=False) as lm:
        sampling = localprompt.Sampling(max_tokens=1)
        calls: dict[str, Callable[[], object]] = {
            "texts": lambda: lm.tokenize("ab"),
            "prompts": lambda: lm.generate("ab", sampling, [0, 1]),
            "pairs": lambda: lm.loglikelihood("ab"),  # type: ignore[arg-type]
            r"pairs\[0\]": lambda: lm.loglikelihood(["ab"]),  # type: ignore[list-item]
            "sampling": lambda: lm.generate(["ab"], 8, [0]),  # type: ignore[arg-type]
            r"seeds\[0\]": lambda: lm.generate(["ab"], sampling, [None]),  # type: ignore[list-item]
            "1 prompts with 2 seeds": lambda: lm.generate(["ab"], sampling, [0, 1]),
        }
        for name, call in calls.items():
            with pytest.raises(localprompt.ConfigError, match=f"^{name}"):
                call()
        huge = lm.generate(["ab"], sampling, [2**80])
        assert huge == lm.generate(["ab"], sampling, [0])


def test_the_header_of_a_file_is_read_once(tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: str) -> GGUFHeader:
        read.append(Path(path).name)
        return gguf_reader.read_header(path)

    monkeypatch.setattr(gguf_validator, "read_header", counted)
    with localprompt.load_model(tiny_qwen, tune=False) as lm:
        assert lm.doubts is not None
        with lm.vocabulary() as words:
            words.tokenize(["a"])
    assert [name for name in read if name == tiny_qwen.name] == [tiny_qwen.name]
