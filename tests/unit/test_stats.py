"""Intervals, differences and tests, against scipy and by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

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


def test_the_same_scores_give_the_same_interval() -> None:
    scores = list(np.random.default_rng(1).uniform(size=30))
    assert interval(scores) == interval(scores)
    assert paired_difference(scores, scores[::-1]) == paired_difference(scores, scores[::-1])


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


def _scores(both: int, gained: int, lost: int, neither: int) -> tuple[list[float], list[float]]:
    before = [1.0] * both + [0.0] * gained + [1.0] * lost + [0.0] * neither
    return before, [1.0] * both + [1.0] * gained + [0.0] * lost + [0.0] * neither


def _tables(n: int) -> Iterator[tuple[int, int, int, int]]:
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            for both in range(n + 1 - gained - lost):
                yield both, gained, lost, n - both - gained - lost


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Worked examples in print: Newcombe 1998; Altman et al., Statistics with Confidence, 2000, table 6.2;
        # Fagerland, Lydersen and Laake 2014 (airway hyper-responsiveness). Two of them end at 0: their exact tests find
        # no difference (p = 0.0625 and 0.070).
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((14, 5, 0, 22), 0.0, 0.2265),
        ((1, 7, 1, 12), 0.0, 0.5069),
    ],
)
def test_a_paired_difference_of_right_and_wrong_has_newcombes_interval(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    result = paired_difference(*_scores(*table))
    assert (result.low, result.high) == pytest.approx((low, high), abs=5e-5)
    both, gained, lost, neither = table
    mirrored = paired_difference(*_scores(both, lost, gained, neither))
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low))


def test_the_interval_of_a_paired_difference_leaves_out_0_exactly_where_p_is_below_5_percent() -> None:
    pairs = ((n, gained, lost) for n in range(1, 31) for gained in range(n + 1) for lost in range(n + 1 - gained))
    for n, gained, lost in pairs:
        same = n - gained - lost
        for both in {0, same // 2, same}:
            result = paired_difference(*_scores(both, gained, lost, same - both))
            assert (result.p < 0.05) == (result.low > 0 or result.high < 0), (both, gained, lost, n)
            assert -1 <= result.low <= result.mean <= result.high <= 1


@pytest.mark.parametrize("n", [84, 155, 500])
def test_neither_do_they_disagree_where_p_is_just_below_5_percent(n: int) -> None:
    for discordant in range(6, n + 1, max(1, n // 20)):
        lost = max(k for k in range(discordant // 2 + 1) if exact_mcnemar(discordant - k, k) < 0.05)
        for both in {0, (n - discordant) // 2, n - discordant}:
            table = (both, discordant - lost, lost, n - discordant - both)
            assert paired_difference(*_scores(*table)).low > 0, table


@pytest.mark.parametrize(
    "shares", [(0.4, 0.25, 0.05, 0.3), (0.5, 0.1, 0.1, 0.3), (0.1, 0.4, 0.1, 0.4), (0.2, 0.6, 0.05, 0.15)]
)
def test_the_interval_of_a_paired_difference_holds_the_true_one_as_often_as_it_says(
    shares: tuple[float, float, float, float],
) -> None:
    held = 0.0
    for table in _tables(20):
        result = paired_difference(*_scores(*table))
        if result.low <= shares[1] - shares[2] <= result.high:
            log_share = sum(k * math.log(share) - math.lgamma(k + 1) for k, share in zip(table, shares, strict=True))
            held += math.exp(math.lgamma(21) + log_share)
    assert held > 0.945


def test_one_example_and_equal_scores_have_an_interval_with_width() -> None:
    one, equal = paired_difference([0.0], [1.0]), paired_difference([0.0, 1.0, 1.0], [0.0, 1.0, 1.0])
    assert (one.low, one.high, one.p) == (pytest.approx(-0.122, abs=1e-3), 1.0, 1.0)
    assert (equal.mean, equal.p, equal.low) == (0.0, 1.0, -equal.high)
    assert equal.high > 0
    all_gained = paired_difference(*_scores(0, 84, 0, 0))
    assert (all_gained.low, all_gained.high) == (pytest.approx(0.938, abs=1e-3), 1.0)


def test_interval_and_p_of_graded_scores_agree_as_well() -> None:
    rng = np.random.default_rng(0)
    disagreed = 0
    for n in rng.integers(4, 40, size=30):
        gains = 0.35 - rng.exponential(0.25, int(n))
        for sign in (1, -1):
            result = paired_difference([0.0] * int(n), list(sign * gains))
            assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
            assert result.low <= result.mean <= result.high
            disagreed += 0.0 in (result.low, result.high)
    assert disagreed


def test_an_interval_of_graded_scores_ends_at_the_difference_nearest_to_0_that_the_flips_do_not_reject() -> None:
    gains = np.array([0.2] * 20 + [0.1] * 3 + [-1.3])  # the bootstrap's interval begins below 0, but p is 0.039
    result = paired_difference([0.0] * 24, list(gains))
    assert 0 < result.low < result.mean
    assert paired_difference([0.0] * 24, list(gains - 0.99 * result.low)).p < 0.05
    assert paired_difference([0.0] * 24, list(gains - 1.01 * result.low)).p >= 0.05
    mirrored = paired_difference([0.0] * 24, list(-gains))
    assert (mirrored.p, mirrored.high) == pytest.approx((result.p, -result.low))


def test_equal_graded_scores_differ_by_nothing() -> None:
    result = paired_difference([0.2, 0.4, 0.9], [0.2, 0.4, 0.9])
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
    gain = smallest_detectable_gain(155)
    draws = rng.multinomial(155, [(0.2 + gain) / 2, (0.2 - gain) / 2, 0.8], size=1000)
    power = np.mean([exact_mcnemar(int(gained), int(lost)) < 0.05 for gained, lost, _ in draws])
    assert 0.72 < power < 0.86  # the exact test is a little weaker than the formula's


def test_means_that_differ_by_more_than_their_intervals_do_not_differ_by_chance() -> None:
    high, low = interval([1.0] * 90 + [0.0] * 10), interval([1.0] * 60 + [0.0] * 40)
    near = interval([1.0] * 85 + [0.0] * 15)
    assert differ_by_chance(high, near)
    assert not differ_by_chance(high, low)
