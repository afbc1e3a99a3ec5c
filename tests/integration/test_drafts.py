"""Drafts change nothing that a completion says, wherever it ends, and save decode calls where they are right.

F32 cells and no flash attention, so that rounding does not depend on the batch; in exact mode it does not anyway.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from tiny import CHAIN, write_letters
from tiny_architectures import write_gemma2, write_mamba2, write_mixtral

from localprompt.engine import engine as engine_module
from localprompt.engine.completions import GenerateRequest
from localprompt.engine.engine import Engine
from localprompt.engine.llama import Llama
from localprompt.engine.settings import EngineSettings
from localprompt.errors import ConfigError
from localprompt.lm.local import load_model
from localprompt.types import EngineStats, Generation, Sampling

SMALL: dict[str, Any] = {"n_threads": 1, "n_ctx": 2048, "n_ubatch": 64, "n_seq_max": 16, "lanes": 6}
F32: dict[str, Any] = {**SMALL, "flash_attn": False, "kv_type": "f32"}
EXACT: dict[str, Any] = {**SMALL, "exact": True, "n_ctx": 256}  # few, so that cells run out
PROMPTS = [
    "the answer is",
    "the answer is positive",
    "x",
    "☕",
    "the review of the film says",
    "12 of 34 and so on; then",
]
CASES = int(os.environ.get("DRAFT_CASES", "100"))
"""Of each of six kinds of memory; 334 are 2,000 in all, and take half a minute."""

Said = tuple[Generation, list[int], list[str]]
"""A completion, all tokens drawn for it, and a hash of the logits of each."""


def say(engine: Engine, requests: Sequence[GenerateRequest]) -> list[Said]:
    heard: dict[int, tuple[list[int], list[str]]] = {k: ([], []) for k in range(len(requests))}

    def hear(key: int, token: int, logits: Any) -> None:
        heard[key][0].append(token)
        heard[key][1].append(hashlib.sha256(logits.tobytes()).hexdigest())

    completions = engine.completions(requests, hear)
    completions.add(requests)
    found: dict[int, Generation] = {}
    while completions.busy:
        found.update(completions.step())
    return [(found[key], *heard[key]) for key in range(len(requests))]


def draft(right: Sequence[int], n_vocab: int, rng: Generator) -> tuple[int, ...]:
    """What was drawn, with chance errors, cut off or gone on with."""
    tokens = [token if rng.random() > 0.1 else int(rng.integers(n_vocab)) for token in right]
    tokens = tokens[int(rng.integers(3)) * int(rng.random() < 0.3) :]
    tail = [int(token) for token in rng.integers(0, n_vocab, rng.integers(6))]
    return tuple(tokens[: int(rng.integers(len(tokens) + 1))] if rng.random() < 0.3 else tokens + tail)


def wanted(llama: Llama, rng: Generator) -> GenerateRequest:
    tokens = tuple(llama.tokenize(PROMPTS[int(rng.integers(len(PROMPTS)))], control=False))
    how: dict[str, Any] = {"temperature": float(rng.choice([0.0, 0.0, 0.0, 1.0]))}
    if rng.random() < 0.3:
        how["stop"] = (str(rng.choice(["é🦙", "a", "er", "🦙☕é"])),)
    if rng.random() < 0.1:
        how["grammar"] = "[a-z ]{0,9}(positive|negative)"
    return GenerateRequest(tokens, Sampling(max_tokens=int(rng.integers(1, 25)), **how), int(rng.integers(99)))


@pytest.fixture
def load(tiny_qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Engine]:
    """Loads an engine with a kind of memory."""

    def load(kind: str) -> Engine:
        writers = {"experts": write_mixtral, "windows": write_gemma2, "states": write_mamba2}
        path = tiny_qwen
        if kind in writers:
            path = tmp_path / "model.gguf"
            writers[kind](path)
        if kind == "streams":
            monkeypatch.setattr(engine_module, "_LEAST_STREAMED", 1)
            monkeypatch.setattr(engine_module, "_FEWEST_STREAMS", 1)
        return Engine(Llama(path, EngineSettings(**(EXACT if kind == "exact" else F32))))

    return load


@pytest.mark.parametrize("kind", ["cells", "streams", "exact", "experts", "windows", "states"])
def test_drafts_change_nothing_that_is_said(load: Callable[[str], Engine], kind: str) -> None:
    engine = load(kind)
    llama, rng = engine._llama, np.random.default_rng(7)
    n = 0
    while n < CASES:
        plain = [wanted(llama, rng) for _ in range(int(rng.integers(1, 9)))]
        n += len(plain)
        expected = say(engine, plain)
        texts = [said[1] for said in expected]
        drafted = [
            replace(
                each,
                drafts=tuple(
                    draft(text if rng.random() < 0.7 else texts[int(rng.integers(len(texts)))], llama.n_vocab, rng)
                    for _ in range(int(rng.integers(4)))
                ),
            )
            for each, text in zip(plain, texts, strict=True)
        ]
        found = say(engine, drafted)
        assert [said[:2] for said in found] == [said[:2] for said in expected]
        if kind == "exact":
            assert found == expected, "the logits of each token are equal bit for bit"
    stats = engine.stats
    if kind in ("windows", "states"):
        assert stats.tokens_drafted == 0
    else:
        assert stats.tokens_drafted > stats.tokens_accepted > 0


def test_a_right_draft_saves_decode_calls_and_a_wrong_one_costs_rows(load: Callable[[str], Engine]) -> None:
    engine = load("cells")
    llama = engine._llama
    request = GenerateRequest(tuple(llama.tokenize("☕", control=False)), Sampling(max_tokens=41), 0)

    def spent(*drafts: Sequence[int]) -> EngineStats:
        before = engine.stats
        engine.generate([replace(request, drafts=tuple(map(tuple, drafts)))])
        after = engine.stats
        return EngineStats(
            tokens_decoded=after.tokens_decoded - before.tokens_decoded,
            decode_calls=after.decode_calls - before.decode_calls,
            tokens_drafted=after.tokens_drafted - before.tokens_drafted,
            tokens_accepted=after.tokens_accepted - before.tokens_accepted,
        )

    ((_, right, _),) = say(engine, [request])
    assert len(right) == 41
    plain, helped, misled = spent(), spent(right), spent([7] * 41)
    assert (plain.decode_calls, plain.tokens_drafted) == (41, 0)
    assert helped.tokens_drafted == helped.tokens_accepted
    assert helped.decode_calls == plain.decode_calls - helped.tokens_accepted < 8
    assert helped.tokens_decoded == plain.tokens_decoded
    assert misled.tokens_accepted == 0
    assert misled.decode_calls == plain.decode_calls
    assert misled.tokens_decoded - plain.tokens_decoded == misled.tokens_drafted <= 4
    joined = spent([7, 7, *right])
    assert joined.decode_calls < plain.decode_calls / 2, "it goes on with a draft that begins otherwise"


@pytest.mark.parametrize("max_tokens", range(1, 14))
def test_what_ends_inside_a_draft_ends_where_it_would_without(load: Callable[[str], Engine], max_tokens: int) -> None:
    engine = load("cells")
    tokens = tuple(engine._llama.tokenize("☕", control=False))
    drafts = (tuple(CHAIN[3:] + CHAIN * 5),)  # a byte a token
    for stop in ((), ("🦙☕",), ("é", "☕é")):
        request = GenerateRequest(tokens, Sampling(max_tokens=max_tokens, stop=stop), 0)
        assert engine.generate([replace(request, drafts=drafts)]) == engine.generate([request])


def test_a_full_batch_carries_no_guesses(tiny_qwen: Path) -> None:
    """Where a row costs as much as it will later, a wrong guess is a loss and a right one is no gain."""
    engine = Engine(Llama(tiny_qwen, EngineSettings(**{**F32, "n_seq_max": 32, "lanes": 20})))
    tokens = tuple(engine._llama.tokenize("☕", control=False))
    drafts = (tuple(CHAIN[3:] + CHAIN * 5),)
    engine.generate([GenerateRequest(tokens, Sampling(max_tokens=20), 0, drafts)] * 16)
    assert engine.stats.tokens_drafted == 0
    engine.generate([GenerateRequest(tokens, Sampling(max_tokens=20), 0, drafts)] * 12)
    assert 0 < engine.stats.tokens_accepted <= 4 * 20


def test_a_model_takes_drafts_as_texts(tiny_model: Path) -> None:
    sampling = Sampling(max_tokens=40)
    with load_model(tiny_model, tune=False, **F32) as lm:
        prompts, seeds = ["☕", "the answer is"], [0, 0]
        before = lm.stats.decode_calls
        plain = lm.generate(prompts, sampling, seeds)
        middle = lm.stats.decode_calls
        drafts = [[plain[0].text + " and more"], [plain[1].text, "x"]]
        assert lm.generate_drafted(prompts, sampling, seeds, drafts) == plain
        assert lm.stats.decode_calls - middle < (middle - before) / 2
        with pytest.raises(ConfigError, match="2 prompts with 2 seeds and drafts for 1"):
            lm.generate_drafted(prompts, sampling, seeds, drafts[:1])


def test_a_draft_that_kills_the_tokeniser_kills_no_request(tmp_path: Path) -> None:
    write_letters(tmp_path / "letters.gguf")
    with load_model(tmp_path / "letters.gguf", tune=False, **F32) as lm:
        plain = lm.generate(["ab"], Sampling(max_tokens=9), [0])
        assert lm.generate_drafted(["ab"], Sampling(max_tokens=9), [0], [["7", "ab"]]) == plain
