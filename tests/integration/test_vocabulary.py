"""A model without its weights: it tokenises and renders as the whole one does."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny
import toy

from localprompt.engine.chat import Span
from localprompt.engine.encode import Encoder, encode
from localprompt.engine.llama import Vocabulary
from localprompt.engine.settings import EngineSettings
from localprompt.engine.worker import TokenizerServer
from localprompt.errors import ContextOverflow, ModelError, NotEnoughMemory
from localprompt.lm.loading import scheme
from localprompt.lm.local import LocalModel, load_model
from localprompt.run import api as runs
from localprompt.types import Message, Sampling


def test_a_vocabulary_tokenises_and_renders_as_its_model(tiny_model: Path) -> None:
    messages = [Message("system", "Be kind."), Message("user", "a <|im_end|> b")]
    with load_model(tiny_model, tune=False, n_threads=1) as lm, lm.vocabulary() as words:
        assert words.pid != lm.pid
        assert (words.name, words.fingerprint, words.has_chat) == (lm.name, lm.fingerprint, lm.has_chat)
        prompt = lm.chat(messages, "Well")
        assert words.chat(messages, "Well") == prompt
        texts = ["the ticket is about a refund", "", "☕ <|im_end|>", prompt]
        assert words.tokenize(texts) == lm.tokenize(texts)
        if lm.has_fim:
            assert words.tokenize([words.fim("a", "b")]) == lm.tokenize([lm.fim("a", "b")])


def test_a_text_that_is_counted_and_then_scored_is_tokenised_once(tiny_qwen: Path) -> None:
    read: list[str] = []

    class Counting(Vocabulary):
        def tokenize(self, text: str, *, control: bool) -> list[int]:
            read.append(text)
            return super().tokenize(text, control=control)

    server = TokenizerServer("", Counting(tiny_qwen, EngineSettings(n_threads=1)))
    texts = [["the answer is positive", None], ["<|im_end|> yes", [[0, 10]]], ["<|im_end|> yes", None]]
    counted = server.encode(texts)
    assert len(read) == 3, "what is marked as control tokens, and what is not, are two texts"
    pairs = [["the answer is", " positive", None], ["<|im_end|>", " yes", [[0, 10]]], ["<|im_end|>", " yes", None]]
    assert [tokens for tokens, _ in server.encode_pairs(pairs)] == counted
    assert counted[1] != counted[2]
    assert len(read) == 3


def test_thousands_of_control_tokens_slow_nothing_down(tmp_path: Path) -> None:
    tiny.write_llama(tmp_path / "m.gguf", marks=[f"<unused{n}>" for n in range(6000)])
    pattern = Vocabulary(tmp_path / "m.gguf", EngineSettings(n_threads=1)).control_pattern
    assert pattern.findall("<p>a</p><unused12><unused1>") == ["<unused12>", "<unused1>"]
    assert pattern.pattern.count("used") == 1  # what they share is tried once at a sign, not 6,000 times


def test_what_needs_the_weights_is_refused(tiny_qwen: Path) -> None:
    with load_model(tiny_qwen, tune=False, n_threads=1) as lm, lm.vocabulary() as words:
        with pytest.raises(ContextOverflow):
            words.generate(["a"], Sampling(max_tokens=1), [0])
        with pytest.raises(ContextOverflow):
            words.loglikelihood([("a", " b")])
        with pytest.raises(ModelError, match="prefill_rate"):
            words.prefill_rate()
        assert words.count_tokens(["a b"]) == lm.count_tokens(["a b"])


def test_a_search_with_models_in_turn_loads_weights_for_computing_alone(tiny_qwen: Path, tiny_llama: Path) -> None:
    loaded: list[_Open] = []

    def load(path: str, **engine: object) -> LocalModel:
        if any(lm.is_open for lm in loaded):
            raise NotEnoughMemory(f"{path} needs about 9.9 GB of memory, 1.0 GB are free")
        loaded.append(_Open(Path(path), EngineSettings(n_threads=1)))
        return loaded[-1]

    task = toy.task(train=4, dev=4, test=4)
    settings = {"queries": 2, "per_query": 2, "max_tokens": 8}
    first, second = f"tiny:{tiny_qwen}", f"tiny:{tiny_llama}"
    with scheme("tiny", load):
        runs.dry_run(task, first, proposer=second, settings=settings)
        assert [lm.path for lm in loaded] == [tiny_qwen, tiny_qwen, tiny_llama]
        result = runs.optimize(task, first, proposer=second, settings=settings)
    assert result.status == "finished"
    assert f"took turns in memory, {len(loaded) - 6} swaps" in " ".join(result.notes)
    assert not any(lm.is_open for lm in loaded)


class _Open(LocalModel):
    """A model that knows whether it is in memory."""

    is_open = True

    def close(self) -> None:
        super().close()
        self.is_open = False


class Reading(Vocabulary):
    """A vocabulary that tells how many characters it has tokenised."""

    n_read = 0

    def tokenize(self, text: str, *, control: bool) -> list[int]:
        self.n_read += len(text)
        return super().tokenize(text, control=control)


_PARTS = (
    "\n",
    "\n",
    "\n\n",
    " ",
    "  ",
    "the answer",
    "Output: yes",
    "42",
    "\u00e9t\u00e9",
    "\u2615",
    "a.",
    "\r\n",
    "\t",
    "_",
    "\u0661",
)


def _marked(llama: Vocabulary, rng: random.Random) -> tuple[str, tuple[Span, ...] | None]:
    """Return a text of many lines, with control tokens in it that count as such, that do not, or none."""
    marks = [mark for mark in llama.control_ids if mark]
    kind, text, spans = rng.randrange(3), "", list[Span]()
    for _ in range(rng.randrange(60)):
        if kind and rng.random() < 0.1:
            mark = rng.choice(marks)
            if kind == 1:
                spans.append((len(text), len(text) + len(mark)))
            text += mark
        else:
            text += rng.choice(_PARTS)
    return text, None if kind == 0 else tuple(spans)


def test_a_text_in_pieces_has_the_tokens_of_the_whole(tiny_model: Path) -> None:
    llama, rng = Vocabulary(tiny_model, EngineSettings(n_threads=1)), random.Random(0)
    encoder = Encoder(llama)
    texts = [_marked(llama, rng) for _ in range(500)]
    assert [encoder.encode(*each) for each in texts] == [encode(llama, *each) for each in texts]
    assert sum(text.count("answer\n") for text, _ in texts) > 100


def test_what_many_texts_share_is_tokenised_once(tiny_model: Path) -> None:
    llama = Reading(tiny_model, EngineSettings(n_threads=1))
    encoder = Encoder(llama)
    shown = "\n\n".join(f"Input: thing {n}\nOutput: {n % 7}" for n in range(200))
    texts = [f"{shown}\n\nInput: {row}\nOutput: {label}" for row in "abcdefgh" for label in ("yes", "no", "perhaps")]
    found = [encoder.encode(text, None) for text in texts]
    assert llama.n_read < 4 * len(shown)  # alone, and with the one before it
    assert found == [encode(llama, text, None) for text in texts]


def test_texts_are_tokenised_whole_where_pieces_together_have_other_tokens(tiny_qwen: Path) -> None:
    class Joining(Reading):
        def tokenize(self, text: str, *, control: bool) -> list[int]:
            return [*super().tokenize(text, control=control), *[0] * text.count("s\n")]

    llama = Joining(tiny_qwen, EngineSettings(n_threads=1))
    encoder = Encoder(llama)
    texts = ["one\ntwo\nthree", "yes", "yes\ntwo\nthree", "yes\nno\none\ntwo", "yes\nno", "one\ntwo\nthree"]
    assert [encoder.encode(text, None) for text in texts] == [encode(llama, text, None) for text in texts]
    n_read = llama.n_read
    encoder.encode(texts[0], None)
    assert llama.n_read == n_read, "what was tokenised whole is known too"


def test_pieces_need_no_characters_beside_those_of_the_text(tmp_path: Path) -> None:
    """llama.cpp aborts over a character that a SentencePiece vocabulary has neither whole nor in bytes."""
    path, size = tmp_path / "letters.gguf", struct.pack("<Q", 1)
    tiny.write_letters(path)
    path.write_bytes(path.read_bytes().replace(size + b"f", size + b"\n"))
    with load_model(path, tune=False, n_threads=1) as lm:
        assert lm.tokenize(["abc\nabc"]) == [[1, 3, 4, 5, 6, 9, 4, 5, 6]]


def test_the_tokens_that_are_kept_are_bounded(tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localprompt.engine.encode._MOST_KEPT", 1000)
    llama = Reading(tiny_qwen, EngineSettings(n_threads=1))
    encoder = Encoder(llama)
    texts = [f"the word {n}\nand a line\nand {n}" for n in range(50)]

    def read(again: Sequence[str]) -> int:
        before = llama.n_read
        assert [encoder.encode(text, None) for text in again] == [encode(llama, text, None) for text in again]
        return llama.n_read - before - sum(map(len, again))

    read(texts)
    assert read(texts[:1]) > 0, "forgotten"
    assert read(texts[:1]) == 0, "and known again"
