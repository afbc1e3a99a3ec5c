"""The permutation null, Cochran's Q and Holm's p-values, by hand, by simulation and against scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chi2, friedmanchisquare

from localprompt.stats.equality import differences_from_original, equal_prompts, holm, p_of_spreads
from localprompt.stats.intervals import paired_difference

Values = npt.NDArray[np.float64]


def equal_scores(rng: np.random.Generator, n_variants: int, n: int, binary: bool = True) -> Values:
    """Scores of equal prompts on examples from easy to hard."""
    difficulty = rng.normal(0.5, 2.0, n)
    if binary:
        return (rng.random((n_variants, n)) < 1 / (1 + np.exp(-difficulty))).astype(np.float64)
    return 1 / (1 + np.exp(-(difficulty + rng.normal(0, 1, (n_variants, n)))))


@pytest.mark.parametrize(("n", "binary"), [(250, True), (200, False)])
def test_equal_prompts_stay_within_the_quantile_95_times_in_100(n: int, binary: bool) -> None:
    rng, held, rejected, q_rejected = np.random.default_rng(4), 0, 0, 0
    for _ in range(1_000):
        scores = equal_scores(rng, 12, n, binary)
        null = equal_prompts(scores, n_permutations=99)  # as many as 0.05 and 0.95 are exact with
        held += float(np.ptp(scores.mean(axis=1))) <= null.quantile + 1e-9
        rejected += null.p <= 0.05
        q_rejected += null.p_of_q <= 0.05
    assert 930 <= held <= 970
    assert 30 <= rejected <= 70
    assert 30 <= q_rejected <= 70


def test_the_null_is_what_all_permutations_give() -> None:
    scores = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]], dtype=np.float64)
    orders = [[list(order) for order in set(itertools.permutations(column))] for column in scores.T.tolist()]
    spreads = [np.ptp(np.mean(columns, axis=0)) for columns in itertools.product(*orders)]
    null = equal_prompts(scores, n_permutations=20_000)
    observed = np.ptp(scores.mean(axis=1))
    assert null.p == pytest.approx(np.mean(np.array(spreads) >= observed - 1e-9), abs=0.02)
    assert null.median == pytest.approx(np.quantile(spreads, 0.5, method="inverted_cdf"))
    assert null.quantile == pytest.approx(np.quantile(spreads, 0.95, method="inverted_cdf"))


@pytest.mark.parametrize("seed", [1993, *range(20)])
def test_a_spread_is_above_the_quantile_exactly_where_p_is_below_5_percent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = int(rng.choice([3, 5, 8])), int(rng.choice([10, 12, 15]))
    scores = np.round(rng.random(shape), 2)
    scores[0] = np.clip(scores[0] + 0.2, 0, 1)
    found = equal_prompts(scores)
    assert (found.p < 0.05) == (np.ptp(scores.mean(axis=1)) > found.quantile + 1e-12)


def test_cochrans_q_by_hand() -> None:
    # Totals of variants 4, 2, 1, of examples 3, 2, 1, 1, 0: Q = 3 * 2 * (21 - 49 / 3) / (3 * 7 - 15) = 14 / 3.
    scores = [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    null = equal_prompts(scores)
    assert null.q == pytest.approx(14 / 3)
    assert null.freedom == 2


def test_of_ranks_q_is_friedmans_statistic() -> None:
    rng = np.random.default_rng(2)
    ranks = np.array([rng.permutation(5) for _ in range(40)]).T
    assert equal_prompts(ranks / 4).q == pytest.approx(friedmanchisquare(*ranks).statistic)


def test_with_many_examples_p_is_that_of_chi_squared() -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        null = equal_prompts(equal_scores(rng, 6, 400))
        assert null.p_of_q == pytest.approx(chi2.sf(null.q, null.freedom), abs=0.04)


def test_prompts_that_differ_are_found() -> None:
    rng = np.random.default_rng(1)
    scores = equal_scores(rng, 12, 200)
    scores[3] *= rng.random(200) < 0.7
    null = equal_prompts(scores)
    assert null.p == null.p_of_q == pytest.approx(1 / 2_001)
    assert np.ptp(scores.mean(axis=1)) > null.quantile > null.median > 0


def test_copies_are_permuted_together() -> None:
    scores = equal_scores(np.random.default_rng(3), 8, 50)
    once, thrice = equal_prompts(scores), equal_prompts(np.repeat(scores, 3, axis=1), np.repeat(range(50), 3).tolist())
    assert (thrice.median, thrice.quantile, thrice.q) == pytest.approx((once.median, once.quantile, once.q))
    assert (thrice.p, thrice.p_of_q) == (once.p, once.p_of_q)
    assert equal_prompts(np.repeat(scores, 3, axis=1)).quantile < once.quantile


@pytest.mark.parametrize("scores", [[[0.5, 1.0]], [[0.0, 0.0]] * 3, [[1.0]] * 2, [[0.3, 0.6]] * 4])
def test_prompts_that_never_differ_are_equal(scores: list[list[float]]) -> None:
    null = equal_prompts(scores)
    assert (null.median, null.quantile, null.p, null.q, null.p_of_q) == (0, 0, 1, 0, 1)


def test_one_example_shows_nothing() -> None:
    null = equal_prompts([[1.0], [0.0], [0.0]])
    assert (null.median, null.quantile, null.p, null.p_of_q) == (1, 1, 1, 1)


@pytest.mark.parametrize("scores", [[], [[]], [0.5], [[0.5, 1.1]], [[math.nan]]])
def test_what_are_no_scores_is_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="scores"):
        equal_prompts(scores)


def test_numbers_of_copies_are_one_an_example() -> None:
    with pytest.raises(ValueError, match="2 numbers of copies for 3 examples"):
        equal_prompts([[0.5, 1, 0], [0.5, 1, 0]], [0, 1])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_each_variant_is_compared_with_the_original() -> None:
    scores = equal_scores(np.random.default_rng(6), 3, 60)
    scores[2] = 0
    found = differences_from_original(scores)
    assert [each.difference for each in found] == [paired_difference(scores[0], row) for row in scores[1:]]
    assert [each.adjusted_p for each in found] == holm([each.difference.p for each in found])
    assert found[1].adjusted_p == pytest.approx(2 * found[1].difference.p)
    assert differences_from_original(scores[:1]) == ()


@pytest.mark.parametrize(("n", "median", "quantile"), [(100, 0.12, 0.18), (500, 0.06, 0.08)])
def test_equal_prompts_have_the_spread_that_the_manual_says(n: int, median: float, quantile: float) -> None:
    nulls = [equal_prompts(equal_scores(np.random.default_rng(k), 12, n)) for k in range(10)]
    assert np.mean([each.median for each in nulls]) == pytest.approx(median, abs=0.006)
    assert np.mean([each.quantile for each in nulls]) == pytest.approx(quantile, abs=0.006)


def test_two_ways_of_equal_spreads_are_told_apart_5_times_in_100() -> None:
    rng, apart = np.random.default_rng(8), 0
    for _ in range(400):
        quality, difficulty = rng.normal(0, 0.5, (12, 1)), rng.normal(0, 1.5, 80)
        right = 1 / (1 + np.exp(-quality - difficulty))
        apart += p_of_spreads(rng.random((12, 80)) < right, rng.random((12, 80)) < right) < 0.05
    assert 8 <= apart <= 32


def test_the_difference_of_spreads_has_the_p_that_all_sides_give() -> None:
    one, other = np.array([[1, 1, 1, 1, 0], [0, 0, 1, 0, 0]]), np.array([[1, 0, 1, 1, 0], [1, 0, 1, 0.5, 1]])
    found = []
    for sides in itertools.product((False, True), repeat=5):
        first, second = np.where(sides, other, one), np.where(sides, one, other)
        found.append(abs(float(np.ptp(first.mean(axis=1)) - np.ptp(second.mean(axis=1)))))
    assert p_of_spreads(one, other) == pytest.approx(np.mean(np.array(found) >= found[0] - 1e-9), abs=0.03)
    assert p_of_spreads(one, one) == 1


def test_a_level_that_a_way_adds_and_copies_add_no_evidence_of_spreads() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.random((4, 12)) / 2, rng.random((4, 12)) / 2
    assert p_of_spreads(one, other) == pytest.approx(p_of_spreads(one, other + rng.random(12) / 2), abs=0.03)
    first, second = (np.repeat(each, 2, axis=1) for each in (one, other))
    assert p_of_spreads(first, second, np.repeat(np.arange(12), 2).tolist()) == p_of_spreads(one, other)
