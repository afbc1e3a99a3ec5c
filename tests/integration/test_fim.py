"""Fill-in-the-middle prompts of SentencePiece vocabularies, which put a space before a text that is tokenised alone.

CodeLlama's and Codestral's own tokenisers leave it before the prefix and take it from the suffix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import tiny
from tiny import Oracle

from localprompt.lm.local import LocalModel, load_model

CODELLAMA = ("▁<PRE>", "▁<SUF>", "▁<MID>")
PREFIX = "the answer is"
SUFFIXES = ["is good", " is good", "\nis good", "☺is good", "é</s>x<SUF>", "x", " "]


def _loaded(path: Path) -> LocalModel:
    return load_model(path, tune=False, n_ctx=512, n_ubatch=64, n_seq_max=4, lanes=2, n_threads=1)


def _tokens(model: LocalModel, suffix: str) -> list[int]:
    return model.tokenize([model.fim(PREFIX, suffix)])[0]


def _marks(naive: Oracle, texts: Sequence[str]) -> list[int]:
    return [naive.tokenize(text, add_special=False, parse_special=True)[0] for text in texts]


@pytest.fixture(scope="module")
def codellama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalModel]:
    path = tmp_path_factory.mktemp("fim") / "codellama.gguf"
    tiny.write_llama(path, marks=CODELLAMA)
    with _loaded(path) as model:
        yield model


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_space_is_put_before_a_suffix(suffix: str, codellama: LocalModel) -> None:
    naive = tiny.oracle(codellama.path)
    pre, suf, mid = _marks(naive, CODELLAMA)
    tokens = _tokens(codellama, suffix)
    behind = tokens[tokens.index(suf) + 1 : -1]
    assert b"".join(map(naive.piece, behind)).decode() == suffix
    # What a sentence has after its first word is tokenised without the space of its beginning.
    beginning = naive.tokenize("word\n", add_special=False)
    whole = naive.tokenize("word\n" + suffix, add_special=False)
    assert whole[: len(beginning)] == beginning
    prefix = naive.tokenize(PREFIX, add_special=False)
    assert naive.piece(prefix[0]).startswith(b" "), "a prefix has the space of its beginning, as in training"
    assert tokens == [naive.bos, pre, *prefix, suf, *whole[len(beginning) :], mid]


def test_a_suffix_that_comes_first_has_no_space_either(tmp_path: Path) -> None:
    path = tmp_path / "codestral.gguf"
    tiny.write_llama(path, marks=("<PRE>", "<SUF>"))
    naive = tiny.oracle(path)
    pre, suf = _marks(naive, ("<PRE>", "<SUF>"))
    bare = naive.tokenize("☺is good", add_special=False)[len(naive.tokenize("☺", add_special=False)) :]
    prefix = naive.tokenize(PREFIX, add_special=False)
    with _loaded(path) as model:
        assert _tokens(model, "is good") == [naive.bos, suf, *bare, pre, *prefix]
        assert _tokens(model, "") == [naive.bos, suf, pre, *prefix]


def test_a_vocabulary_without_the_space_is_tokenised_as_before(tmp_path: Path) -> None:
    path = tmp_path / "spaceless.gguf"
    tiny.write_llama(path, marks=CODELLAMA, add_space_prefix=False)
    pre, suf, mid = CODELLAMA
    whole = f"{pre}{PREFIX}{suf}is good{mid}"
    with _loaded(path) as model:
        assert _tokens(model, "is good") == tiny.oracle(path).tokenize(whole, parse_special=True)


def test_a_byte_level_vocabulary_is_tokenised_as_before(tiny_qwen: Path) -> None:
    whole = f"<|fim_prefix|>{PREFIX}<|fim_suffix|>is good<|fim_middle|>"
    with _loaded(tiny_qwen) as model:
        assert _tokens(model, "is good") == tiny.oracle(tiny_qwen).tokenize(whole, parse_special=True)


def test_marks_may_be_ordinary_tokens_that_keys_name(tmp_path: Path) -> None:
    path = tmp_path / "older.gguf"
    tiny.write_llama(path, marks=CODELLAMA, named_by_key=True)
    naive = tiny.oracle(path)
    pieces = [naive.piece(token) for token in range(naive.n_vocab)]
    ids = [pieces.index(mark.replace("▁", " ").encode()) for mark in CODELLAMA]
    with _loaded(path) as model:
        assert [token for token in _tokens(model, "is good") if token in ids] == ids
