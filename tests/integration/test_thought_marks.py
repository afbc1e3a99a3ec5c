"""Marks of thoughts that a vocabulary has as control tokens."""

from __future__ import annotations

from pathlib import Path

import tiny

from localprompt.engine.llama import Vocabulary
from localprompt.engine.settings import EngineSettings


def test_a_completion_keeps_the_marks_of_thoughts_and_no_other_control_token(tmp_path: Path) -> None:
    path = tmp_path / "thinking.gguf"
    tiny.write_llama(path, marks=("[THINK]", "[/THINK]", "[INST]"))
    vocabulary = Vocabulary(path, EngineSettings())
    written = {text: vocabulary.written(token) for text, token in vocabulary.control_ids.items()}
    assert written["[THINK]"] == b"[THINK]"
    assert written["[/THINK]"] == b"[/THINK]"
    assert written["[INST]"] == written["<s>"] == b""
    (letter,) = vocabulary.tokenize("!", control=False)[-1:]
    assert vocabulary.written(letter) == vocabulary.piece(letter) == b"!"
    assert vocabulary.piece(vocabulary.control_ids["[THINK]"]) == b"", "a text to be scored has none"
