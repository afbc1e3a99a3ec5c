"""What a faulty export leaves in a model file that llama.cpp runs all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import gguf_files
import numpy as np
import pytest

from localprompt.engine.export import find_faults
from localprompt.engine.gguf import GGUFHeader
from localprompt.engine.gguf_validator import validate

TOKENS = ("<unk>", "<s>", "</s>", "the", "<|user|>", "<|end|>", "[INST]")
SPECIAL = {"bos": (1, "<s>"), "eos": (2, "</s>")}
SOUND = {
    "special": SPECIAL,
    "keeps_spaces": True,
    "marks": [["<|user|>", [4]]],
    "tail": "<|end|>",
    "ends": True,
    "doubled": "",
}


def header(path: Path, **types: gguf.TokenType) -> GGUFHeader:
    """A file whose special tokens are control tokens but for those of other types, by their place: `t4=...`."""
    kinds = [types.get(f"t{i}", gguf.TokenType.NORMAL if i == 3 else gguf.TokenType.CONTROL) for i in range(7)]

    def more(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop("tokenizer.ggml.token_type")
        writer.add_token_types(kinds)

    tensors = {"token_embd.weight": np.ones((7, 32), np.float32)}
    return validate(gguf_files.write(path / "m.gguf", tokens=TOKENS, more=more, tensors=tensors))


@pytest.mark.parametrize("kind", [gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED])
def test_nothing_is_said_of_a_file_that_is_right(tmp_path: Path, kind: gguf.TokenType) -> None:
    assert find_faults(header(tmp_path, t4=kind), SOUND) == ()
    assert find_faults(header(tmp_path), {"special": SPECIAL, "keeps_spaces": True}) == (), "a base model"


@pytest.mark.parametrize("kind", [gguf.TokenType.NORMAL, gguf.TokenType.UNUSED])
def test_marks_of_the_template_that_are_cut_to_pieces_are_named(tmp_path: Path, kind: gguf.TokenType) -> None:
    writing = {**SOUND, "marks": [["<|user|>", [9, 9, 9]], ["<|end|>", [5]], ["<role>", [9, 9]]]}
    (fault,) = find_faults(header(tmp_path, t4=kind), writing)
    assert "<|user|>, in the vocabulary but not typed as control tokens (NORMAL" in fault
    assert fault.endswith("<|user|> into 3 tokens"), "a text that is no token of the vocabulary is just text"


def test_of_more_marks_than_any_template_writes_the_first_are_looked_for(tmp_path: Path) -> None:
    fillers = [[f"<{number}>", [9]] for number in range(200)]
    file = header(tmp_path, t4=gguf.TokenType.NORMAL)
    assert len(find_faults(file, {**SOUND, "marks": [*fillers[1:], ["<|user|>", [9, 9]]]})) == 1
    assert find_faults(file, {**SOUND, "marks": [*fillers, ["<|user|>", [9, 9]]]}) == ()


def test_an_end_that_is_no_control_token_is_named_once(tmp_path: Path) -> None:
    (fault,) = find_faults(header(tmp_path, t2=gguf.TokenType.NORMAL), SOUND)
    assert fault == "the EOS token </s> is typed NORMAL, not as a control token (a faulty export)"
    cut = {**SOUND, "marks": [["</s>", [9, 9]]]}
    assert len(find_faults(header(tmp_path, t2=gguf.TokenType.NORMAL), cut)) == 1


@pytest.mark.parametrize(
    ("writing", "fault"),
    [
        ({"ends": False}, "ends an answer with '<|end|>', which the vocabulary does not know as an end"),
        ({"ends": False, "tail": ""}, "puts nothing after an answer that ends it: completions may go on to max_tokens"),
        ({"doubled": "<s>"}, "a chat begins with <s> twice"),
        ({"keeps_spaces": False}, "the tokeniser drops or changes blank space"),
        ({"keeps_lines": False}, "the chat template changes blank space inside messages"),
    ],
)
def test_what_else_makes_answers_worse_is_named(tmp_path: Path, writing: dict[str, Any], fault: str) -> None:
    (found,) = find_faults(header(tmp_path), {**SOUND, **writing})
    assert fault in found
