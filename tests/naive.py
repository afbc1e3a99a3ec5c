"""Random trees of requests, and what a naive decode makes of each request by itself. Nothing of the engine is used.

The engine runs with F32 cells and without flash attention beside it, since both round to 16 bits otherwise: that
moves the same log-probability by 0.02 nats on tiny models, depending on how many rows a batch has, and would hide real
errors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from tiny import Oracle

from localprompt.lm.local import LocalModel
from localprompt.types import Loglikelihood

Pairs = list[tuple[str, str]]

EXACT: dict[str, Any] = {"flash_attn": False, "kv_type": "f32", "n_threads": 1, "tune": False}
TOLERANCE = 1e-4  # nats, of a sum

WORDS = ["the answer is", " positive", " negative", " and", " th", "e", "\n", " ", "☕", "é", "x", "<|im_end|>", "</s>"]
texts = st.lists(st.sampled_from(WORDS), max_size=12).map("".join)
continuations = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map("".join)


@st.composite
def trees(draw: st.DrawFn) -> Pairs:
    """Requests that share contexts, repeat, and are prefixes of one another."""
    contexts = draw(st.lists(texts, min_size=1, max_size=4))
    pairs: Pairs = draw(st.lists(st.tuples(st.sampled_from(contexts), continuations), max_size=12))
    longer = [(context + continuation, " and") for context, continuation in pairs[:3]]
    return draw(st.permutations(pairs + pairs[: draw(st.integers(0, 3))] + longer))


class Pair:
    """One request as the oracle sees it.

    `start` is the index of the first token that reaches into the continuation, counted in bytes from the end, since a
    SentencePiece vocabulary puts a space before the text. Where nothing comes before it, the model's BOS does.
    """

    def __init__(self, naive: Oracle, context: str, continuation: str) -> None:
        self.tokens = naive.tokenize(context + continuation)
        tail, self.start = len(continuation.encode()), len(self.tokens)
        while tail > 0:
            self.start -= 1
            tail -= len(naive.piece(self.tokens[self.start]))
        if self.start == 0:
            self.tokens, self.start = [naive.bos, *self.tokens], 1

    def score(self, naive: Oracle) -> Loglikelihood:
        rows = naive.logprobs(self.tokens)
        scored = range(self.start, len(self.tokens))
        logprob = sum(float(rows[i - 1, self.tokens[i]]) for i in scored)
        greedy = all(int(rows[i - 1].argmax()) == self.tokens[i] for i in scored)
        return Loglikelihood(logprob, len(scored), greedy)


def naive_scores(naive: Oracle, pairs: Pairs) -> list[Loglikelihood]:
    return [Pair(naive, *pair).score(naive) for pair in pairs]


def assert_same(found: Sequence[Loglikelihood], expected: Sequence[Loglikelihood]) -> None:
    assert [(score.n_tokens, score.greedy) for score in found] == [(score.n_tokens, score.greedy) for score in expected]
    assert [score.logprob for score in found] == pytest.approx([s.logprob for s in expected], abs=TOLERANCE, rel=0)


def assert_on_expected_gpu(lm: LocalModel) -> None:
    """All layers that can be are on the GPU that `LOCALPROMPT_TEST_GPU` names a part of, if it is set.

    A test that computed on the CPU unseen would say nothing of a GPU.
    """
    if wanted := os.environ.get("LOCALPROMPT_TEST_GPU"):
        assert lm.on_gpus, f"all layers are on the CPU, not on {wanted}"
        assert [name for _, name in lm.on_gpus["devices"] if wanted in name], lm.on_gpus
        assert lm.on_gpus["layers"] == lm.on_gpus["of"]


def greedy(naive: Oracle, prompt: str, max_tokens: int) -> tuple[list[int], float]:
    """What greedy decoding draws after a prompt, and by how many nats the closest choice was made."""
    before = naive.tokenize(prompt)
    drawn = naive.greedy(before, max_tokens)
    rows = np.sort(naive.logprobs(before + drawn)[len(before) - 1 :], axis=1)
    return drawn, float((rows[:, -1] - rows[:, -2])[:max_tokens].min())
