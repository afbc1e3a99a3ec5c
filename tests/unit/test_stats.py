"""Intervals, differences and tests, against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial, permutation_test

from localprompt.stats.bounded import lower_bound
from localprompt.stats.intervals import Difference, differ_by_chance, exact_mcnemar, interval, paired_difference


@pytest.mark.parametrize("n", [*range(1, 21), 155])
def test_scores_of_0_and_1_get_the_exact_interval(n: int) -> None:
    for right in {0, 1, n // 3, n // 2, n}:
        result = interval([1.0] * right + [0.0] * (n - right))
        expected = binomtest(right, n).proportion_ci(method="exact")
        assert (result.mean, result.n) == (right / n, n)
        assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-8)
        assert 0 <= result.low <= result.mean <= result.high <= 1


@pytest.mark.parametrize("n", range(1, 21))
def test_of_right_and_wrong_the_interval_holds_the_true_share_95_times_in_100(n: int) -> None:
    intervals = [interval([1.0] * right + [0.0] * (n - right)) for right in range(n + 1)]
    for share in np.linspace(0.01, 0.99, 99):
        held = [right for right, each in enumerate(intervals) if each.low <= share <= each.high]
        assert np.sum(binom.pmf(held, n, share)) >= 0.95


def test_wilsons_interval_would_hold_a_share_near_1_less_often_than_it_says() -> None:
    intervals = [binomtest(right, 10).proportion_ci(method="wilson") for right in range(11)]
    held = [right for right, each in enumerate(intervals) if each.low <= 0.985 <= each.high]
    assert np.sum(binom.pmf(held, 10, 0.985)) == pytest.approx(0.86, abs=0.001)


@pytest.mark.parametrize("n", range(1, 21))
@pytest.mark.parametrize("score", [0.0, 0.001, 0.5, 2 / 3, 1.0])
def test_equal_scores_get_an_interval_with_width(n: int, score: float) -> None:
    result = interval([score] * n)
    assert result.low <= score <= result.high
    assert result.high - result.low > 0.16
    # Of equal scores the phantom's weight is Beta(1, n).
    assert result.low == pytest.approx(score * 0.025 ** (1 / n), abs=1e-8)


def test_many_other_scores_get_an_interval_near_the_normal_one() -> None:
    scores = np.random.default_rng(3).uniform(size=400)
    result = interval(list(scores))
    half = 1.96 * scores.std(ddof=1) / 20
    assert result.low == pytest.approx(scores.mean() - half, abs=0.005)
    assert result.high == pytest.approx(scores.mean() + half, abs=0.005)


@pytest.mark.parametrize("score", [-3.2, 1.5, math.nan, math.inf])
def test_scores_that_are_not_between_0_and_1_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        interval([0.5, score])
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        paired_difference([0.5, 0.5], [0.5, score])


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
    before = rng.uniform(0.3, 0.6, size=50)
    assert paired_difference(list(before), list(before + 0.3)).p < 0.001
    noise = paired_difference(list(before), list(before + rng.normal(0, 0.1, size=50)))
    assert noise.p > 0.05


def _scores(both: int, gained: int, lost: int, neither: int) -> tuple[list[float], list[float]]:
    before = [1.0] * both + [0.0] * gained + [1.0] * lost + [0.0] * neither
    return before, [1.0] * both + [1.0] * gained + [0.0] * lost + [0.0] * neither


def _changes(n: int) -> list[tuple[int, int]]:
    return [(gained, lost) for gained in range(n + 1) for lost in range(n + 1 - gained)]


@pytest.mark.parametrize(
    "table", [(36, 12, 2, 0), (14, 5, 0, 22), (1, 7, 1, 12), (0, 1, 0, 0), (0, 6, 0, 0), (30, 40, 20, 65)]
)
def test_a_paired_difference_of_right_and_wrong_has_the_interval_of_its_random_weights(
    table: tuple[int, int, int, int],
) -> None:
    both, gained, lost, neither = table
    result = paired_difference(*_scores(*table))
    rng, same = np.random.default_rng(1), both + neither
    weights = rng.dirichlet([gained or 1e-9, lost + 1, same or 1e-9], size=200_000)
    assert result.low == pytest.approx(np.quantile(weights[:, 0] - weights[:, 1], 0.025), abs=0.005)
    mirrored = paired_difference(*_scores(both, lost, gained, neither))
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low))


@pytest.mark.parametrize("n", [*range(1, 13), 17, 23, 30])
def test_the_interval_of_a_paired_difference_leaves_out_0_exactly_where_p_is_below_5_percent(n: int) -> None:
    for gained, lost in _changes(n):
        result = paired_difference(*_scores(0, gained, lost, n - gained - lost))
        assert (result.p < 0.05) == (result.low > 0 or result.high < 0), (gained, lost)
        assert -1 <= result.low <= result.mean <= result.high <= 1


@pytest.mark.parametrize("n", [84, 155, 500])
def test_neither_do_they_disagree_where_p_is_just_below_5_percent(n: int) -> None:
    for discordant in range(6, n + 1, max(1, n // 20)):
        lost = max(k for k in range(discordant // 2 + 1) if exact_mcnemar(discordant - k, k) < 0.05)
        table = (0, discordant - lost, lost, n - discordant)
        assert paired_difference(*_scores(*table)).low > 0, table


@pytest.mark.parametrize("shares", [(0.25, 0.05, 0.7), (0.1, 0.1, 0.8), (0.3, 0.6, 0.1), (0.0, 0.9, 0.1)])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 20])
def test_the_interval_of_a_paired_difference_holds_the_true_one_as_often_as_it_says(
    n: int, shares: tuple[float, float, float]
) -> None:
    held = 0.0
    for gained, lost in _changes(n):
        result = paired_difference(*_scores(0, gained, lost, n - gained - lost))
        if result.low <= shares[0] - shares[1] <= result.high:
            held += multinomial.pmf((gained, lost, n - gained - lost), n, shares)
    assert held >= 0.95


def test_one_example_and_equal_scores_have_an_interval_with_width() -> None:
    one, equal = paired_difference([0.0], [1.0]), paired_difference([0.0, 1.0, 1.0], [0.0, 1.0, 1.0])
    assert (one.low, one.high, one.p) == pytest.approx((-0.95, 1.0, 1.0))
    assert (equal.mean, equal.p, equal.low) == (0.0, 1.0, -equal.high)
    assert equal.high > 0
    all_gained = paired_difference(*_scores(0, 84, 0, 0))
    assert (all_gained.low, all_gained.high) == pytest.approx((2 * 0.025 ** (1 / 84) - 1, 1.0))


def test_interval_and_p_of_graded_scores_agree_as_well() -> None:
    rng = np.random.default_rng(0)
    disagreed = 0
    for n in rng.integers(4, 40, size=30):
        gains = np.maximum(-0.5, 0.2 - rng.exponential(0.12, int(n)))
        for sign in (1, -1):
            result = _gained(sign * gains, 0.5)
            assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
            assert result.low <= result.mean <= result.high
            disagreed += _bounds_reach_0(sign * gains) and result.p < 0.05
    assert disagreed


def _gained(gains: np.ndarray, baseline: float) -> Difference:
    return paired_difference([baseline] * len(gains), list(baseline + gains))


def _bounds_reach_0(gains: np.ndarray) -> bool:
    return lower_bound(gains, -1.0, 0.025) <= 0 <= -lower_bound(-gains, -1.0, 0.025)


def test_an_interval_of_graded_scores_ends_at_the_difference_nearest_to_0_that_the_flips_do_not_reject() -> None:
    gains = np.array([0.1] * 20 + [0.05] * 3 + [-0.65])
    assert _bounds_reach_0(gains)
    result = _gained(gains, 0.7)
    assert 0 < result.low < result.mean
    assert _gained(gains - 0.99 * result.low, 0.7).p < 0.05
    assert _gained(gains - 1.01 * result.low, 0.7).p >= 0.05
    mirrored = _gained(-gains, 0.3)
    assert (mirrored.p, mirrored.high) == pytest.approx((result.p, -result.low))


def test_equal_graded_scores_differ_by_nothing_but_three_of_them_say_little() -> None:
    result = paired_difference([0.2, 0.4, 0.9], [0.2, 0.4, 0.9])
    assert (result.mean, result.p, result.low) == (0.0, 1.0, -result.high)
    assert result.high == pytest.approx(1 - 0.025 ** (1 / 3))


@pytest.mark.parametrize("n", range(1, 21))
def test_from_1_to_20_graded_pairs_p_is_that_of_all_flips_and_the_interval_agrees(n: int) -> None:
    rng = np.random.default_rng(n)
    for step in (0.01, 0.25):  # the large one makes ties
        for centre in (0.0, 0.1, 0.3):
            after = np.clip(0.5 + np.round(rng.normal(centre, 0.15, n) / step) * step, 0, 1)
            result = paired_difference([0.5] * n, list(after))
            assert result.low <= result.mean <= result.high
            assert result.high - result.low > 0.05
            assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
            if n > 1:
                gains = after - 0.5
                expected = permutation_test(
                    (gains,), np.mean, permutation_type="samples", n_resamples=2**n if n < 13 else 20_000, rng=1
                )
                assert result.p == pytest.approx(expected.pvalue, abs=1e-9 if n < 13 else 0.02)


def test_5_pairs_never_show_a_difference_and_6_only_if_all_are_gained() -> None:
    assert paired_difference([0.1] * 5, [0.9, 0.8, 0.9, 0.95, 1.0]).p == 2 / 2**5
    assert paired_difference([0.1] * 6, [0.9, 0.8, 0.9, 0.95, 1.0, 0.11]).p == 2 / 2**6


def test_copies_of_an_example_count_once() -> None:
    before, after = [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]
    copies = [n for n in range(3) for _ in range(10)]
    once, copied = (
        paired_difference(before, after),
        paired_difference(
            [score for score in before for _ in range(10)], [score for score in after for _ in range(10)], copies
        ),
    )
    assert (copied.mean, copied.low, copied.high, copied.p, copied.n) == (once.mean, once.low, once.high, once.p, 30)
    alone, together = interval(before), interval([score for score in before for _ in range(10)], copies)
    assert (together.mean, together.low, together.high, together.n) == (alone.mean, alone.low, alone.high, 30)


def test_an_example_that_is_copied_more_often_than_others_has_more_weight_and_says_no_more() -> None:
    scores, copies = [1.0] * 9 + [0.0], [0] * 9 + [1]
    result = interval(scores, copies)
    assert (result.mean, result.n) == (0.9, 10)
    assert result.low == pytest.approx(0.1, abs=0.08)
    assert result.high == 1.0
    assert paired_difference([0.0] * 10, scores, copies).p == 1.0


def test_weights_move_the_mean() -> None:
    result = paired_difference([0.0] * 5, [1.0, 0.0, 0.0, 1.0, 0.0], weights=[2.5, 0.625, 0.625, 0.625, 0.625])
    assert result.mean == pytest.approx(0.625)
    assert result.low == pytest.approx(-1.0, abs=0.1)
    assert (result.high, result.p) == (1.0, 0.5)


def test_unequal_lengths_and_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        paired_difference([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="no scores"):
        interval([])


def test_means_that_differ_by_more_than_their_intervals_do_not_differ_by_chance() -> None:
    high, low = interval([1.0] * 90 + [0.0] * 10), interval([1.0] * 60 + [0.0] * 40)
    near = interval([1.0] * 85 + [0.0] * 15)
    assert differ_by_chance(high, near)
    assert not differ_by_chance(high, low)
