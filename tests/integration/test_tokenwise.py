"""What an engine says of single tokens, held to the oracle; completions that come and go."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive import EXACT, TOLERANCE, texts
from tiny import N_CTX, Oracle, oracle

from localprompt.errors import WorkerDied
from localprompt.lm.local import LocalModel, load_model
from localprompt.types import Sampling

SHAPES: dict[str, dict[str, Any]] = {
    "wide": {**EXACT, "n_ctx": 4096},
    "narrow": {**EXACT, "n_ctx": N_CTX, "n_ubatch": 8, "n_seq_max": 3, "lanes": 2},
}
GREEDY = asdict(Sampling(max_tokens=12))


@pytest.fixture(scope="module")
def naive(tiny_model: Path) -> Oracle:
    return oracle(tiny_model)


@pytest.fixture(scope="module", params=SHAPES)
def lm(request: pytest.FixtureRequest, tiny_model: Path) -> Iterator[LocalModel]:
    with load_model(tiny_model, **SHAPES[request.param]) as model:
        yield model


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=st.lists(texts.filter(bool), min_size=1, max_size=6), n_top=st.integers(0, 5))
def test_each_token_of_each_prompt_has_the_log_probability_that_the_oracle_gives_it(
    lm: LocalModel, naive: Oracle, prompts: list[str], n_top: int
) -> None:
    tokens = lm.tokenize(prompts)
    before = lm.stats.tokens_decoded
    found = lm.engine.map("tokenwise", [[each, n_top, None, 0] for each in tokens])
    paths = {tuple(each[:end]) for each in tokens for end in range(1, len(each))}
    if lm.settings.n_ubatch > N_CTX:
        assert lm.stats.tokens_decoded - before == len(paths)  # each prefix once
    for each, records in zip(tokens, found, strict=True):
        rows = naive.logprobs(each)
        assert [token for token, *_ in records] == each[1:]
        for row, (token, logprob, top) in zip(rows, records, strict=False):
            assert logprob == pytest.approx(row[token], abs=TOLERANCE)
            assert [value for _, value in top] == pytest.approx(np.sort(row)[::-1][:n_top], abs=TOLERANCE)
            assert [row[other] for other, _ in top] == pytest.approx([value for _, value in top], abs=TOLERANCE)


def test_the_token_drawn_behind_a_prompt_is_the_one_that_a_completion_begins_with(lm: LocalModel) -> None:
    tokens = lm.tokenize(["the answer is", "the ticket", "the answer is positive and"])
    one = [asdict(Sampling(max_tokens=1, temperature=temperature)) for temperature in (0.0, 1.0, 2.0)]
    seeds = [0, 5, 6]
    read = lm.engine.map("tokenwise", [[t, 2, s, seed] for t, s, seed in zip(tokens, one, seeds, strict=True)])
    asked = [[i, t, s, seed, 2, False] for i, (t, s, seed) in enumerate(zip(tokens, one, seeds, strict=True))]
    written = lm.engine.map("complete", asked)
    for each, records, (_, _, drawn, _, _) in zip(tokens, read, written, strict=True):
        assert len(records) == len(each)
        assert records[-1][0] == drawn[0][0]
        assert records[-1][1] == pytest.approx(drawn[0][1], abs=TOLERANCE)


def steps(lm: LocalModel, add: list[Any]) -> Iterator[list[Any]]:
    """The news of each step, until nothing is under way."""
    left = len(add)
    while left:
        news = lm.engine.call_once("step", add=add, cancel=[])
        add = []
        left -= sum(bool(told[4]) for told in news)
        yield news


def test_completions_that_come_and_go_are_what_the_model_writes(lm: LocalModel) -> None:
    prompts = ["the answer is", "the ticket is", "x", "the review"]
    known = lm.generate(prompts, Sampling(max_tokens=12), [0] * 4)
    tokens = lm.tokenize(prompts)
    ends: dict[int, tuple[str, int, str]] = {}
    begun: dict[int, str] = {}
    add: list[Any] = [[0, tokens[0], GREEDY, 0, None, True], [9, tokens[1], GREEDY, 0, None, False]]
    for step in range(100):
        cancel = [9] if step == 1 else []
        for key, text, _, n_tokens, reason in lm.engine.call_once("step", add=add, cancel=cancel):
            assert text.startswith(begun.get(key, ""))
            begun[key] = text
            if reason:
                ends[key] = (text, n_tokens, reason)
        add = [[step + 1, tokens[step + 1], GREEDY, 0, None, True]] if step < 3 else []
    assert [ends[i] for i in range(4)] == [(each.text, each.n_tokens, each.finish_reason) for each in known]
    assert 9 not in ends


def test_a_grammar_that_does_not_compile_harms_nobody_else(lm: LocalModel) -> None:
    (tokens,) = lm.tokenize(["the answer"])
    bad = [asdict(Sampling(max_tokens=4, grammar=grammar)) for grammar in ("(", '{"type": "nothing"}')]
    add = [[i, tokens, sampling, 0, None, False] for i, sampling in enumerate([*bad, GREEDY])]
    told = [each for news in steps(lm, add) for each in news]
    assert [(key, reason) for key, _, _, _, reason in told][:2] == [(0, "refused"), (1, "refused")]
    assert "does not compile" in told[0][1]
    assert told[2][4] in ("stop", "length")


def test_a_worker_that_dies_over_a_step_is_told_of_and_the_next_one_has_forgotten_all(lm: LocalModel) -> None:
    (tokens,) = lm.tokenize(["the answer"])
    lm.engine.call_once("step", add=[[0, tokens, GREEDY, 0, None, True]], cancel=[])
    os.kill(lm.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="died over 'step'"):
        lm.engine.call_once("step", add=[], cancel=[])
    assert lm.engine.call_once("step", add=[], cancel=[]) == []
