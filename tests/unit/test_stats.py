"""Intervals, differences and tests, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from localprompt.analysis.stats import (
    differ_by_chance,
    exact_mcnemar,
    interval,
    paired_difference,
    smallest_detectable_gain,
)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (3, 10), (10, 10), (77, 155), (1, 1)])
def test_scores_of_0_and_1_get_wilsons_interval(right: int, n: int) -> None:
    result = interval([1.0] * right + [0.0] * (n - right))
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert (result.mean, result.n) == (right / n, n)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= result.low <= result.mean <= result.high <= 1


def test_other_scores_get_a_bootstrap_interval_near_the_normal_one() -> None:
    scores = np.random.default_rng(3).uniform(size=400)
    result = interval(list(scores))
    half = 1.96 * scores.std(ddof=1) / 20
    assert result.low == pytest.approx(scores.mean() - half, abs=0.005)
    assert result.high == pytest.approx(scores.mean() + half, abs=0.005)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = list(np.random.default_rng(1).uniform(size=30))
    assert interval(scores, seed=1) == interval(scores, seed=1)
    assert interval(scores, seed=1) != interval(scores, seed=2)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (9, 3), (3, 9), (4, 4), (60, 30)])
def test_mcnemar_is_the_exact_sign_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert exact_mcnemar(gained, lost) == pytest.approx(expected)


def test_a_paired_difference_of_right_and_wrong() -> None:
    before = [0.0] * 60 + [1.0] * 40
    after = [1.0] * 30 + [0.0] * 30 + [1.0] * 35 + [0.0] * 5
    result = paired_difference(before, after)
    assert result.mean == pytest.approx(0.25)
    assert result.low < 0.25 < result.high
    assert result.low == pytest.approx(0.25 - 1.96 * 0.0536, abs=0.015)
    assert result.p == pytest.approx(binomtest(30, 35).pvalue)


def test_a_paired_difference_of_graded_scores_is_tested_by_flipping_signs() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0, 0.5, size=50)
    assert paired_difference(list(before), list(before + 0.3)).p < 0.001
    noise = paired_difference(list(before), list(before + rng.normal(0, 0.1, size=50)))
    assert noise.p > 0.05


def test_equal_scores_differ_by_nothing() -> None:
    for scores in ([0.0, 1.0, 1.0], [0.2, 0.4, 0.9]):
        result = paired_difference(scores, scores)
        assert (result.mean, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)


def test_unequal_lengths_and_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        paired_difference([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="no scores"):
        interval([])


def test_the_smallest_detectable_gain_shrinks_with_the_examples() -> None:
    assert smallest_detectable_gain(155) == pytest.approx(0.10, abs=0.005)
    assert smallest_detectable_gain(10_000) == pytest.approx(0.0125, abs=0.001)
    gains = [smallest_detectable_gain(n) for n in (1, 10, 50, 155, 1000)]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] == pytest.approx(1.0)


def test_that_gain_has_the_power_it_says() -> None:
    rng = np.random.default_rng(5)
    gain = smallest_detectable_gain(155, 0.2)
    draws = rng.multinomial(155, [(0.2 + gain) / 2, (0.2 - gain) / 2, 0.8], size=1000)
    power = np.mean([exact_mcnemar(int(gained), int(lost)) < 0.05 for gained, lost, _ in draws])
    assert 0.72 < power < 0.86  # the exact test is a little weaker than the formula's


def test_means_that_differ_by_more_than_their_intervals_do_not_differ_by_chance() -> None:
    high, low = interval([1.0] * 90 + [0.0] * 10), interval([1.0] * 60 + [0.0] * 40)
    near = interval([1.0] * 85 + [0.0] * 15)
    assert differ_by_chance(high, near)
    assert not differ_by_chance(high, low)
