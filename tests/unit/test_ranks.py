"""Kendall's tau against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from localprompt.stats.ranks import kendall_tau


@pytest.mark.parametrize("levels", [2, 4, 100])
@pytest.mark.parametrize("n", [2, 5, 30])
def test_tau_is_that_of_scipy_with_ties_too(n: int, levels: int) -> None:
    rng = np.random.default_rng(n * levels)
    first, second = rng.integers(levels, size=(2, n)) / levels
    expected = kendalltau(first, second).statistic
    found = kendall_tau(first.tolist(), second.tolist())
    assert (found is None) == math.isnan(expected)
    assert found is None or found == pytest.approx(expected)


def test_what_has_no_order_has_no_tau() -> None:
    assert kendall_tau([0.5], [0.5]) is None
    assert kendall_tau([], []) is None
    assert kendall_tau([0.5, 0.5], [0.1, 0.2]) is None
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    with pytest.raises(ValueError, match="not 2 and 1"):
        kendall_tau([0.1, 0.2], [0.1])
    with pytest.raises(ValueError, match="need numbers"):
        kendall_tau([0.1, math.nan], [0.1, 0.2])
