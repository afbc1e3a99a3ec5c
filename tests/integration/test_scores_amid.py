"""Prompts are scored while completions are under way, and neither changes the other.

F32 cells and no flash attention, so that rounding does not depend on the batch. Tried are the operations of the worker
themselves, in this process.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from naive import TOLERANCE
from tiny import Oracle, oracle
from tiny_architectures import ATTENTION, RECURRENT

from localprompt.engine.serving import Told
from localprompt.engine.settings import EngineSettings
from localprompt.engine.worker import FrameWriter, ModelServer
from localprompt.types import Sampling

SETTINGS: dict[str, Any] = {"flash_attn": False, "kv_type": "f32", "n_threads": 1, "n_ctx": 512, "lanes": 4}
KINDS = {
    "cells": {"n_ubatch": 128, "n_seq_max": 80},
    "gpt-oss": {"n_ubatch": 32, "n_seq_max": 12},
    "mamba2": {"n_ubatch": 32, "n_seq_max": 12},
    "qwen35": {"n_ubatch": 32, "n_seq_max": 12},
    "lfm2-windowed": {"n_ubatch": 32, "n_seq_max": 12},
}
"""One of each kind of memory; the first keeps beginnings."""
INSTRUCTION = "the answer is positive or negative and the review of the film says that the end "
STEMS = [INSTRUCTION, INSTRUCTION[:40], INSTRUCTION * 2, "xyz", INSTRUCTION * 18]


class Worker:
    """The operations of a worker, and the same requests by themselves."""

    def __init__(self, path: Path, **how: Any) -> None:
        self.server = ModelServer(FrameWriter(io.BytesIO()), str(path), EngineSettings(**{**SETTINGS, **how}))
        self.naive: Oracle = oracle(path)
        self.tokens: Callable[[str], list[int]] = lambda text: self.server.encode([(text, None)])[0]
        self.nats = cache(self._nats)
        self.alone = cache(self._alone)

    def write(self, key: int, text: str, seed: int = 0, n: int = 6, n_top: int | None = None) -> list[Any]:
        return [key, self.tokens(text), asdict(Sampling(n, temperature=0.7)), seed, n_top, False]

    def _alone(self, text: str, seed: int, n: int = 6) -> str:
        """Return what is written after a text when nothing else is asked."""
        self.server.forget()
        return Told(*self.server.complete([self.write(0, text, seed, n)])[0]).text

    def _nats(self, text: str) -> float:
        """Return the log-probability of the last two tokens of a text."""
        tokens = self.tokens(text)
        rows = self.naive.logprobs(tokens)
        return sum(float(rows[i - 1, tokens[i]]) for i in range(len(tokens) - 2, len(tokens)))

    def scored(self, texts: list[str], op: str) -> list[float | None]:
        """Return the same from the worker; None for those that have no room."""
        every = [self.tokens(text) for text in texts]
        if op == "score":
            found = self.server.score([[tokens, len(tokens) - 2] for tokens in every])
            return [each and each[0] for each in found]
        found = self.server.tokenwise([[tokens, 1, None, 0] for tokens in every])
        return [each and sum(nats for _, nats, _ in each[-2:]) for each in found]


@pytest.fixture(scope="module", params=KINDS)
def worker(request: pytest.FixtureRequest, tiny_qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> Worker:
    path, files = tiny_qwen, {**ATTENTION, **RECURRENT}
    if request.param in files:
        path = tmp_path_factory.mktemp("models") / f"{request.param}.gguf"
        files[request.param](path)
    return Worker(path, **KINDS[request.param])


@settings(max_examples=25, phases=[Phase.generate], deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_scores_and_completions_are_what_each_is_by_itself(worker: Worker, data: st.DataObject) -> None:
    """Completions come and go, prompts wait for room in the middle, and scores come between any two steps."""
    asked = data.draw(
        st.lists(
            st.tuples(st.sampled_from(STEMS), st.sampled_from("abcdef"), st.integers(0, 2)), min_size=1, max_size=7
        )
    )
    texts = [(stem + end, seed) for stem, end, seed in asked]
    alone = [worker.alone(*each) for each in texts]
    worker.server.forget()
    waiting, ends = list(range(len(texts))), dict[int, str]()
    stuck: list[str] = []
    while len(ends) < len(texts):
        n = data.draw(st.integers(0 if len(waiting) + len(ends) < len(texts) else 1, len(waiting))) if waiting else 0
        now, waiting = waiting[:n], waiting[n:]
        for told in worker.server.step([worker.write(k, *texts[k]) for k in now], []):
            if told.finish_reason:
                ends[told.key] = told.text
        scored = [stem + end for stem in data.draw(st.lists(st.sampled_from(STEMS), max_size=4)) for end in ("a", "bc")]
        found = worker.scored(scored, data.draw(st.sampled_from(["score", "tokenwise"])))
        for text, nats in zip(scored, found, strict=True):
            if nats is None:
                assert len(ends) + len(waiting) < len(texts)  # alone there is always room
                stuck.append(text)
            else:
                assert nats == pytest.approx(worker.nats(text), abs=TOLERANCE)
    assert [ends[k] for k in range(len(texts))] == alone
    assert worker.scored(stuck, "score") == pytest.approx([worker.nats(text) for text in stuck], abs=TOLERANCE)


def test_short_texts_are_scored_where_long_ones_have_no_room(worker: Worker) -> None:
    worker.server.forget()
    worker.server.step([worker.write(0, INSTRUCTION * 12, n=100)], [])
    short, long = worker.scored(["the answer is", INSTRUCTION * 18], "score")
    assert short == pytest.approx(worker.nats("the answer is"), abs=TOLERANCE)
    assert long is None
    worker.server.step([], [0])
    assert worker.scored([INSTRUCTION * 18], "score")[0] is not None


def test_a_score_comes_long_before_the_end_of_a_completion(worker: Worker) -> None:
    worker.server.forget()
    alone = worker.alone("x", 3, 500)
    worker.server.forget()
    text, n_steps = "", 0
    add = [worker.write(7, "x", 3, 500)]
    while not text:
        told = worker.server.step(add, [])
        add, n_steps = [], n_steps + 1
        if n_steps % 5 == 1 and not told:
            (nats,) = worker.scored([f"the answer is {n_steps}"], "tokenwise")
            assert nats == pytest.approx(worker.nats(f"the answer is {n_steps}"), abs=TOLERANCE)
        text = "".join(each.text for each in told if each.finish_reason)
    assert text == alone


def test_beginnings_that_scores_leave_take_no_cells_that_were_promised(tiny_qwen: Path) -> None:
    """Four completions are promised nearly all cells: there is room for scores at first, and for no beginning."""
    worker = Worker(tiny_qwen, **KINDS["cells"])
    texts = [INSTRUCTION * 2 + word for word in ("film", "order", "text")]
    told = worker.server.step([worker.write(k, "x", k, 123) for k in range(4)], [])
    ends: dict[int, str] = {}
    found: list[list[float | None]] = []
    while len(ends) < 4:
        found.append(worker.scored(texts, "score"))
        ends |= {each.key: each.text for each in told if each.finish_reason}
        told = worker.server.step([], [])
    assert [ends[k] for k in range(4)] == [worker.alone("x", k, 123) for k in range(4)]
    assert found[0] == pytest.approx([worker.nats(text) for text in texts], abs=TOLERANCE)
    assert [None] * 3 in found


def test_exact_scores_wait_for_an_empty_memory(tiny_qwen: Path) -> None:
    worker = Worker(tiny_qwen, n_ubatch=64, n_seq_max=20, exact=True, flash_attn=None)
    worker.server.step([worker.write(0, "x", n=30)], [])
    assert worker.scored(["the answer is"], "score") == [None]
    while not worker.server.step([], []):
        pass
    assert worker.scored(["the answer is"], "score") != [None]
