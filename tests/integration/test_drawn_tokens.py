"""Completions of adapters with the log-probability of each token, against a naive decode."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from naive import EXACT, TOLERANCE
from tiny import Oracle, oracle

from localprompt.adapters.waves import Waves
from localprompt.errors import ConfigError, ContextOverflow
from localprompt.lm.local import LocalModel, load_model
from localprompt.lm.scripted import ScriptedLM
from localprompt.types import Sampling

PROMPTS = ["the answer is", "the answer is positive and", "  café ☕☕ x", "the ticket", "a"]
N_NEW, N_TOP = 6, 3


@pytest.fixture(scope="module")
def lm(tiny_model: Path) -> Iterator[LocalModel]:
    with load_model(tiny_model, **EXACT, n_ctx=4096) as model:
        yield model


def naive_decode(naive: Oracle, tokens: list[int], ends: frozenset[int]) -> list[tuple[int, float, list[float]]]:
    """Each token drawn greedily, its nats, and those of the most probable ones."""
    found = []
    for _ in range(N_NEW):
        row = naive.logprobs(tokens)[-1]
        token = int(row.argmax())
        if token in ends:
            break
        found.append((token, float(row[token]), np.sort(row)[::-1][:N_TOP].tolist()))
        tokens = [*tokens, token]
    return found


def test_each_token_of_each_completion_has_the_nats_of_a_naive_decode(lm: LocalModel, tiny_model: Path) -> None:
    pieces, _, ends = lm.pieces
    naive = oracle(tiny_model)
    waves = Waves(lm, window=0.05)
    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        found = list(pool.map(lambda text: waves.complete(text, Sampling(N_NEW), 0, N_TOP), PROMPTS))
    assert len(waves.sizes) < len(PROMPTS)  # computed together
    plain = lm.generate(PROMPTS, Sampling(N_NEW), [0] * len(PROMPTS))
    for tokens, known, completion in zip(lm.tokenize(PROMPTS), plain, found, strict=True):
        wanted = naive_decode(naive, tokens, ends)
        assert completion.generation == known
        assert [each.token.data for each in completion.tokens] == [pieces[token] for token, *_ in wanted]
        for each, (_, nats, top) in zip(completion.tokens, wanted, strict=True):
            assert each.token.logprob == pytest.approx(nats, abs=TOLERANCE)
            assert [value for _, value in each.top] == pytest.approx(top, abs=TOLERANCE)


def test_what_is_drawn_by_chance_is_the_same_with_and_without_its_tokens(lm: LocalModel) -> None:
    sampling, waves = Sampling(8, temperature=1.0, stop=("e",)), Waves(lm, window=0)
    for prompt in PROMPTS:
        with_tokens = waves.complete(prompt, sampling, 7, 0)
        assert with_tokens.generation == waves.complete(prompt, sampling, 7).generation
        assert all(not each.top and each.token.logprob < 0 for each in with_tokens.tokens)
        written = b"".join(each.token.data for each in with_tokens.tokens).decode(errors="replace")
        assert written.startswith(with_tokens.generation.text.rstrip("\ufffd"))  # the stop string comes behind


def test_what_cannot_be_had_is_a_sentence(lm: LocalModel) -> None:
    with pytest.raises(ContextOverflow, match="the context has"):
        Waves(lm, window=0).complete("the answer " * 200, Sampling(500), 0, 1)
    with pytest.raises(ConfigError, match="no log-probabilities of completions"):
        Waves(ScriptedLM(answer=lambda prompt, seed: "x", name="toy"), window=0).complete("x", Sampling(4), 0, 1)


def test_a_grammar_that_does_not_compile_is_an_error_and_no_completion(lm: LocalModel) -> None:
    with pytest.raises(ConfigError, match="does not compile"):
        Waves(lm).complete("the answer", Sampling(4, grammar="("), n_top=2)
    assert Waves(lm).complete("the answer", Sampling(4, grammar="yes"), n_top=2).generation.text == "yes"
