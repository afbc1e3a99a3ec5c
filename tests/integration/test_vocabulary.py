"""A model without its weights: it tokenises and renders as the whole one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy

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
