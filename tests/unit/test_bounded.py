"""How low the mean of bounded values may be, against scipy, by simulation and by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import beta

from localprompt.stats.bounded import lower_bound


@pytest.mark.parametrize("n", [*range(1, 21), 155, 500])
def test_of_values_of_0_and_1_it_is_clopper_and_pearsons_bound(n: int) -> None:
    for right in range(0, n + 1, max(1, n // 20)):
        values = np.array([1.0] * right + [0.0] * (n - right))
        expected = beta.ppf(0.025, right, n - right + 1) if right else 0.0
        assert lower_bound(values, 0.0, 0.025) == pytest.approx(expected, abs=1e-8)


def test_it_is_the_quantile_of_the_mean_with_random_weights() -> None:
    rng = np.random.default_rng(2)
    values, least = np.array([0.3, 0.5, 0.5, 0.9, 1.0]), -1.0
    weights = rng.dirichlet(np.ones(6), size=400_000)
    means = weights @ np.append(values, least)
    for level in (0.025, 0.3):
        assert lower_bound(values, least, level) == pytest.approx(np.quantile(means, level), abs=0.005)


def test_equal_values_and_one_value_have_a_bound_apart_from_them() -> None:
    # Of one value the least has a uniform weight, of n equal ones Beta(1, n).
    assert lower_bound(np.array([0.5]), 0.0, 0.025) == pytest.approx(0.0125, abs=1e-9)
    assert lower_bound(np.array([0.5] * 3), 0.0, 0.025) == pytest.approx(0.5 * 0.025 ** (1 / 3), abs=1e-9)
    assert lower_bound(np.array([0.0, 0.0]), 0.0, 0.025) == 0.0
    assert lower_bound(np.array([-1.0, -1.0]), -1.0, 0.025) == -1.0


DISTRIBUTIONS = [
    ((0.0, 1.0), (0.03, 0.97)),
    ((0.0, 1.0), (0.5, 0.5)),
    ((0.0, 0.9), (0.1, 0.9)),
    ((0.0, 0.5, 1.0), (0.1, 0.6, 0.3)),
    ((0.2, 0.3, 1.0), (0.6, 0.38, 0.02)),
    ((0.0, 0.66, 0.67), (0.05, 0.5, 0.45)),
]


@pytest.mark.parametrize(("values", "shares"), DISTRIBUTIONS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 20])
def test_the_mean_is_below_it_no_more_often_than_it_says(
    n: int, values: tuple[float, ...], shares: tuple[float, ...]
) -> None:
    mean, below = float(np.dot(values, shares)), 0.0
    for sample in itertools.combinations_with_replacement(range(len(values)), n):
        counts = [sample.count(i) for i in range(len(values))]
        if lower_bound(np.repeat(values, counts), 0.0, 0.025) > mean + 1e-9:
            ways = math.factorial(n) / math.prod(map(math.factorial, counts))
            below += ways * math.prod(share**count for share, count in zip(shares, counts, strict=True))
    assert below <= 0.025


@pytest.mark.parametrize("values", [[-1.0, -0.9999999999999999], [np.nextafter(0.2, 1)] * 3])
def test_values_that_miss_the_least_one_by_the_last_bit_of_a_float_are_it(values: list[float]) -> None:
    least = -1.0 if values[0] == -1.0 else 0.2
    assert lower_bound(np.array(values), least, 0.025) == least
