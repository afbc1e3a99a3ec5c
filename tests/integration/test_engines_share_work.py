"""Two engines of one thread each give what one gives, in the order of the requests, and survive deaths as one does."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from naive import EXACT, assert_same
from tiny import CORPUS

from localprompt.errors import ModelError
from localprompt.lm.local import LocalModel, load_model
from localprompt.types import Sampling

WORDS = CORPUS.split()
SMALL = {**EXACT, "n_ctx": 1024, "n_ubatch": 64, "n_seq_max": 16, "lanes": 8}


def pairs(seed: int) -> list[tuple[str, str]]:
    """Return requests as a search has them, in no order: prompts, rows, labels."""
    rng = random.Random(seed)
    prompts = [" ".join(rng.choices(WORDS, k=rng.randrange(1, 30))) for _ in range(4)]
    rows = [" ".join(rng.choices(WORDS, k=rng.randrange(8))) for _ in range(6)]
    asked = [(f"{prompt} {row}", f" {label}") for prompt in prompts for row in rows for label in ("yes", "no and no")]
    rng.shuffle(asked)
    return asked


@pytest.fixture
def two(tiny_qwen: Path) -> Iterator[LocalModel]:
    with load_model(tiny_qwen, **{**SMALL, "n_threads": 1}, n_engines=2) as lm:
        yield lm


@pytest.fixture
def one(tiny_qwen: Path) -> Iterator[LocalModel]:
    with load_model(tiny_qwen, **{**SMALL, "n_threads": 1}) as lm:
        yield lm


def test_scores_and_completions_are_those_of_one_engine(one: LocalModel, two: LocalModel) -> None:
    sampling = Sampling(max_tokens=12, temperature=1.0)
    for seed in range(6):
        asked = pairs(seed)
        told: list[tuple[int, int]] = []
        two.on_progress = lambda done, total, told=told: told.append((done, total))  # type: ignore[misc]
        assert_same(two.loglikelihood(asked), one.loglikelihood(asked))
        assert told[-1] == (len(asked), len(asked))
        prompts, seeds = [context for context, _ in asked[:10]], list(range(10))
        found, expected = (lm.generate(prompts, sampling, seeds) for lm in (two, one))
        assert [each.text for each in found] == [each.text for each in expected]
    of_second = two.engine.members[1].stats.tokens_decoded
    assert 0.4 < of_second / two.stats.tokens_decoded < 0.6
    assert two.fingerprint != one.fingerprint


def test_a_worker_that_is_killed_costs_nothing_but_time(one: LocalModel, two: LocalModel) -> None:
    asked = pairs(9)
    for each in two.engine.members:
        victim = each.pid
        os.kill(victim, signal.SIGKILL)
        assert_same(two.loglikelihood(asked), one.loglikelihood(asked))
        assert each.pid != victim


def test_a_caller_that_gives_up_stops_both_and_the_model_goes_on(one: LocalModel, two: LocalModel) -> None:
    def give_up(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    asked = pairs(10)
    two.on_progress = give_up
    with pytest.raises(KeyboardInterrupt):
        two.loglikelihood(asked)
    two.on_progress = lambda *_: None
    assert_same(two.loglikelihood(asked), one.loglikelihood(asked))


def test_a_second_call_meanwhile_is_refused(two: LocalModel) -> None:
    refused: list[str] = []

    def ask_again(_done: int, _total: int) -> None:
        with pytest.raises(ModelError, match="answering another call") as error:
            two.loglikelihood(pairs(12))
        refused.append(str(error.value))

    two.on_progress = ask_again
    two.loglikelihood(pairs(11))
    assert refused
