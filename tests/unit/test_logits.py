"""Sums over rows of logits: the bits of the plain formulas, without memory for each row."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from localprompt.engine.logits import logsumexp, weights_of

N_VOCAB = 150_000


def row(seed: int, n: int = N_VOCAB) -> NDArray[np.float32]:
    return np.random.Generator(np.random.PCG64(seed)).normal(0, 5, n).astype(np.float32)


@pytest.mark.parametrize("n", [1, 511, 5_000, N_VOCAB])
def test_rows_of_any_length_in_any_order_give_the_bits_of_the_formula(n: int) -> None:
    for seed, length in enumerate((n, 7, n, 70_000, n)):
        logits = row(seed, length)
        before, top = logits.copy(), logits.max()
        assert logsumexp(logits) == float(top) + float(np.log(np.exp(logits - top).sum(dtype=np.float64)))
        for temperature in (0.3, 1.0, 1.7):
            plain = np.exp((logits - top) / np.float32(temperature))
            assert (weights_of(logits, temperature) == plain).all()
        assert (logits == before).all()


def test_a_row_takes_no_memory_of_its_size() -> None:
    logits = row(0)
    logsumexp(logits)
    tracemalloc.start()
    logsumexp(logits)
    weights_of(logits, 0.7)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < logits.nbytes / 4
