"""Draws against their textbook definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from localprompt.engine.sampling import Sampler
from localprompt.types import Sampling


def logits_of(seed: int, n: int) -> NDArray[np.float32]:
    return np.random.Generator(np.random.PCG64(seed)).normal(0, 3, n).astype(np.float32)


def kept(logits: NDArray[np.float32], sampling: Sampling) -> set[int]:
    """The tokens that the cuts leave, by sorting everything."""
    p = np.exp((logits.astype(np.float64) - logits.max()) / sampling.temperature)
    order = np.argsort(-p, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    share = np.cumsum(p[order]) / p[order].sum()
    if sampling.top_p < 1:
        order = order[: int(np.searchsorted(share, sampling.top_p)) + 1]
    return {int(token) for token in order if p[token] >= sampling.min_p * p.max()} | {int(order[0])}


@given(
    st.integers(0, 10_000),
    st.sampled_from([3, 511, 512, 513, 5000]),
    st.builds(
        Sampling,
        max_tokens=st.just(1),
        temperature=st.sampled_from([0.3, 0.9, 2.0]),
        top_p=st.sampled_from([1.0, 0.9, 0.5]),
        top_k=st.sampled_from([0, 1, 20]),
        min_p=st.sampled_from([0.0, 0.05]),
    ),
)
def test_a_draw_is_among_the_tokens_that_the_cuts_leave(seed: int, n: int, sampling: Sampling) -> None:
    logits = logits_of(seed, n)
    assert Sampler(sampling, seed).draw(logits) in kept(logits, sampling)


def test_without_cuts_every_token_is_drawn_as_often_as_softmax_says() -> None:
    logits = np.log(np.repeat([1.0, 2.0, 4.0, 1.0], 300)).astype(np.float32)  # across block borders
    sampler = Sampler(Sampling(max_tokens=1, temperature=1.0), 7)
    drawn = np.bincount([sampler.draw(logits) // 300 for _ in range(8000)], minlength=4) / 8000
    assert drawn == pytest.approx([0.125, 0.25, 0.5, 0.125], abs=0.02)


def test_the_same_seed_draws_the_same_tokens_and_another_seed_others() -> None:
    sampling = Sampling(max_tokens=1, temperature=1.0, top_p=0.95)
    logits = logits_of(1, 2000)

    def draws(seed: int) -> list[int]:
        sampler = Sampler(sampling, seed)
        return [sampler.draw(logits) for _ in range(20)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_greedy_takes_the_best_and_leaves_the_logits_alone() -> None:
    logits = logits_of(2, 100)
    before = logits.copy()
    assert Sampler(Sampling(max_tokens=1), 0).draw(logits) == int(before.argmax())
    assert (logits == before).all()


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_a_temperature_that_is_nearly_none_takes_the_best(top_p: float) -> None:
    logits = logits_of(2, 100)
    assert Sampler(Sampling(max_tokens=1, temperature=1e-50, top_p=top_p), 0).draw(logits) == int(logits.argmax())


def test_what_the_cuts_leave_is_drawn_as_often_as_softmax_says() -> None:
    logits = np.full(3000, -9.0, np.float32)
    logits[[2000, 7, 900]] = np.log([4.0, 2.0, 1.0])
    for sampling in (Sampling(1, 1.0, top_k=2), Sampling(1, 1.0, top_p=0.6), Sampling(1, 1.0, min_p=0.3)):
        sampler = Sampler(sampling, 3)
        drawn = [sampler.draw(logits) for _ in range(4000)]
        assert {2000, 7} == set(drawn)
        assert drawn.count(2000) / 4000 == pytest.approx(2 / 3, abs=0.03)


def test_of_equal_tokens_at_the_border_of_a_cut_the_first_stay() -> None:
    logits = np.zeros(1500, np.float32)
    logits[1200] = 1.0
    for sampling in (Sampling(1, 1.0, top_k=4), Sampling(1, 1.0, top_p=5 / 1501)):
        sampler = Sampler(sampling, 5)
        assert {sampler.draw(logits) for _ in range(300)} == {1200, 0, 1, 2}


@given(
    st.integers(0, 10_000),
    st.sets(st.integers(0, 1999), min_size=1),
    st.sampled_from([0.0, 0.9]),
    st.sampled_from([1.0, 0.8]),
    st.sampled_from([0, 3]),
)
def test_only_allowed_tokens_are_drawn_as_if_there_were_no_others(
    seed: int, tokens: set[int], temperature: float, top_p: float, top_k: int
) -> None:
    sampling = Sampling(1, temperature, top_p=top_p, top_k=top_k)
    logits, allowed = logits_of(seed, 2000), np.array(sorted(tokens))
    drawn = Sampler(sampling, seed).draw(logits, allowed)
    assert drawn == allowed[Sampler(sampling, seed).draw(logits[allowed])]
