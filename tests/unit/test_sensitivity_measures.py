"""Measures of prompt sensitivity, each against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from localprompt.stats.intervals import Interval, interval
from localprompt.stats.resampling import Estimate, resampled_means
from localprompt.stats.sensitivity import (
    LabelShift,
    answer_entropy,
    class_consistency,
    consistency_rate,
    flip_rates,
    label_shifts,
    performance_drop,
    posix,
    prompt_sensi_score,
    sensitivity_entropy,
    spread,
)

# Means 0.75, 0.5 and 0.25; worst of each example 0, 0, 0, 1.
SCORES = [[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
ANSWERS = [[0, 1, 2, -1], [0, 1, 1, -1], [0, 2, 1, 1]]


def test_spread_and_what_comes_with_it_by_hand() -> None:
    found = spread(SCORES)
    assert (found.value, found.mean, found.worst, found.best) == (0.5, 0.5, 0.25, 0.75)
    assert found.deviation == pytest.approx(0.25)
    assert found.worst_of_each == interval([0, 0, 0, 1])
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < 0.5 < found.high <= 1
    assert found.by_chance.freedom == 2


@pytest.mark.parametrize(("n_variants", "shift"), [(2, 1.0), (12, 0.0), (12, 0.3)])
def test_the_interval_holds_the_true_spread(n_variants: int, shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    by_chance = spread(SCORES).by_chance  # takes most of the time, and the interval does not use it
    monkeypatch.setattr("localprompt.stats.sensitivity.equal_prompts", lambda values, copies: by_chance)
    rng, held = np.random.default_rng(8), 0
    true = np.mean([np.ptp(1 / (1 + np.exp(-(z + np.array([-shift, shift]))))) for z in rng.normal(0, 1.5, 50_000)])
    for _ in range(50):
        logits = rng.normal(0, 1.5, 100) + shift * np.linspace(-1, 1, n_variants)[:, None]
        found = spread((rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float64))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= true <= found.high
    assert held >= 46


@pytest.mark.parametrize(("n", "rates"), [(2, [0.2, 0.7]), (20, [0.5, 0.55]), (60, [0.5, 0.51, 0.53, 0.55])])
def test_the_interval_holds_the_true_spread_where_few_rows_or_none_tell_the_variants_apart(
    n: int, rates: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_chance = spread(SCORES).by_chance
    monkeypatch.setattr("localprompt.stats.sensitivity.equal_prompts", lambda values, copies: by_chance)
    rng, held = np.random.default_rng(8), 0
    for _ in range(100):
        found = spread((rng.random(n) < np.array(rates)[:, None]).astype(np.float64))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= rates[-1] - rates[0] <= found.high
    assert held >= 95


def test_flips_are_counted_against_the_original() -> None:
    assert flip_rates(ANSWERS) == (interval([0, 0, 1, 0]), interval([0, 1, 1, 1]))
    assert flip_rates(ANSWERS[:1]) == ()
    # An answer that cannot be read is one more answer.
    assert flip_rates([[-1, 0], [-1, -1]])[0].mean == 0.5


def test_the_consistency_rate_is_the_share_of_pairs_with_the_same_answer() -> None:
    # Pairs with the same answer, of 3: all, 1, 1, 1.
    assert consistency_rate(ANSWERS) == interval([1, 1 / 3, 1 / 3, 1 / 3])
    assert consistency_rate([[0, 1], [0, 1]]) == interval([1, 1])
    assert consistency_rate(ANSWERS[:1]) is None


def test_prompt_sensi_score_is_the_mean_difference_of_pairs() -> None:
    found = prompt_sensi_score([[0.0, 1.0], [0.5, 1.0], [0.9, 1.0]])
    assert found is not None
    assert found.mean == pytest.approx((0.5 + 0.9 + 0.4) / 3 / 2)
    binary = prompt_sensi_score(SCORES)
    assert binary is not None
    # Of 3 variants 1, 2, 0 and 3 are right: 2 a (1 - a) K / (K - 1).
    assert binary.mean == pytest.approx((2 / 3 + 2 / 3) / 4)
    assert prompt_sensi_score(SCORES[:1]) is None


def test_posix_compares_one_reply_under_two_prompts_by_its_own_length() -> None:
    # Reply 0 has 2 tokens and -1 nats, after variant 1 -3; reply 1 has 4 tokens and -2 nats, after variant 0 -7.
    logprobs, lengths = np.array([[[-1.0], [-7.0]], [[-3.0], [-2.0]]]), [[2], [4]]
    found = posix(logprobs, lengths)
    assert found is not None
    assert found.value == pytest.approx((2 / 2 + 5 / 4) / 2)
    assert (found.low, found.high) == (None, None)
    two = posix(np.repeat(logprobs, 2, axis=2) * [1, 0], [[2, 2], [4, 4]])
    assert two is not None
    assert two.value == pytest.approx((2 / 2 + 5 / 4) / 4)
    assert (two.low, two.high) == pytest.approx((0, (2 / 2 + 5 / 4) / 2))
    assert posix([[[-1.0]]], [[2]]) is None


@pytest.mark.parametrize(
    ("logprobs", "lengths", "message"),
    [
        ([[[-1.0]]], [[1], [1]], "do not fit"),
        ([[[-1.0]]], [[0]], "at least one token"),
        ([[[-math.inf]]], [[1]], "finite"),
        ([[[0.5]]], [[1]], "at most 0"),
        ([], [], "do not fit"),
    ],
)
def test_what_has_no_posix_is_refused(logprobs: list[float], lengths: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        posix(logprobs, lengths)


def test_sensitivity_is_the_entropy_of_the_mean_distribution() -> None:
    with np.errstate(divide="ignore"):
        logprobs = np.log([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    # The same label: 0. Opposite ones: the mean is even, 1.
    assert sensitivity_entropy(logprobs) == interval([0, 1])
    three = sensitivity_entropy(np.log([[[0.5, 0.25, 0.25]]]))
    assert three.mean == pytest.approx(1.5 * math.log(2) / math.log(3))


def test_consistency_of_a_class_is_one_minus_the_distance_of_its_examples() -> None:
    rows = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.2, 0.8], [0.2, 0.8], [0.5, 0.5]])
    found = class_consistency(np.log(rows[None]), [0, 0, 0, 1, 1, 2])
    assert found is not None
    # Class 0: distances 0.2, 0.5 and 0.3. Class 1: 0. Class 2 has no pair.
    assert found.value == pytest.approx((1 - (0.2 + 0.5 + 0.3) / 3 + 1) / 2)
    assert found.low is not None
    assert found.low < found.value
    copied = class_consistency(np.log(rows[None]), [0, 0, 0, 1, 1, 2], copies=[0, 0, 1, 2, 3, 4])
    assert copied is not None
    assert copied.value == pytest.approx((0.5 + 1) / 2)
    assert class_consistency(np.log(rows[None]), range(6)) is None


def test_the_entropy_of_written_answers_is_that_of_their_shares() -> None:
    answers = [[0, 0, 0], [0, 1, 0], [0, 2, -1], [0, 3, 0]]
    quarter = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)

    found = answer_entropy(answers)

    assert found is not None
    assert found.mean == pytest.approx((0 + 1 + quarter) / 3)
    assert answer_entropy(answers, copies=[0, 1, 1]) is not None
    assert answer_entropy(answers[:1]) is None
    with pytest.raises(ValueError, match="answers"):
        answer_entropy([[]])


def test_the_interval_of_class_consistency_is_that_of_drawing_the_pairs_again() -> None:
    rng = np.random.default_rng(4)
    shares = rng.beta(2, 1, 80)
    found = class_consistency(np.log(np.stack((shares, 1 - shares), axis=1))[None], [0] * 80)
    drawn = []
    for _ in range(1_000):
        sample = shares[rng.integers(80, size=80)]
        distances = np.abs(sample[:, None] - sample)
        drawn.append(1 - distances.sum() / (80 * 79))
    assert found is not None
    low, high = np.quantile(drawn, (0.025, 0.975)) - np.mean(drawn) + found.value
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)


@pytest.mark.parametrize(
    ("logprobs", "message"),
    [([[[0.0]]], "two labels"), ([[[-1.0, -1.0]]], "sum to 1"), ([[[math.nan, 0.0]]], "sum to")],
)
def test_what_are_no_label_distributions_is_refused(logprobs: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sensitivity_entropy(logprobs)


def test_the_drop_is_a_share_of_the_originals_score() -> None:
    found = performance_drop(SCORES)
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.low is not None
    assert found.low < 0.5
    assert performance_drop(SCORES[:1]) is None
    assert performance_drop([[0.0, 0.0], [1.0, 1.0]]) is None
    rose = performance_drop([[0.5], [1.0]])
    assert rose is not None
    assert rose == Estimate(-1.0, None, None)


def test_label_shifts_name_the_favourite() -> None:
    shifts = label_shifts([[0, 1, 1, -1], [0, 0, 0, 0], [1, 1, -1, 0], [-1, -1, -1, -1]])
    assert shifts[0] == LabelShift(0.0, 1, 0.5, 0.0)
    assert shifts[1] == LabelShift(0.75, 0, 1.0, 0.75)
    assert shifts[2] == LabelShift(0.0, 1, 0.5, 0.0)
    assert shifts[3] == LabelShift(0.75, None, 0.0, 0.0)


def test_a_model_that_ignores_wording_has_zero_everywhere() -> None:
    scores, answers = [[1.0, 0.0, 1.0]] * 4, [[0, 1, -1]] * 4
    found = spread(scores)
    assert (found.value, found.low, found.deviation) == (0, 0, 0)
    assert found.high == interval([0, 0, 0]).high  # on other rows they may well differ
    assert found.worst == found.best == found.mean == pytest.approx(2 / 3)
    assert [each.mean for each in flip_rates(answers)] == [0, 0, 0]
    assert (consistency_rate(answers), prompt_sensi_score(scores)) == (interval([1] * 3), interval([0] * 3))
    assert posix(np.full((4, 4, 3), -1.5), np.full((4, 3), 2)) == Estimate(0, 0, 0)
    drop = performance_drop(scores)
    assert drop is not None
    assert drop == Estimate(0, 0, 0)
    assert {each.distance for each in label_shifts(answers)} == {0}


def test_one_variant_and_one_example_have_a_result() -> None:
    found = spread([[0.5]])
    assert (found.value, found.low, found.high, found.deviation, found.mean) == (0, None, None, None, 0.5)
    assert found.by_chance.p == 1
    assert spread([[0.5, 0.25]]).low == 0
    assert spread([[0.0], [1.0]]).value == 1
    assert flip_rates([[0], [1]]) == (interval([1]),)


def test_copies_count_as_one_in_every_interval() -> None:
    rng = np.random.default_rng(7)
    scores, answers = (rng.random((4, 30)) < 0.6).astype(np.float64), rng.integers(-1, 3, (4, 30))
    copies = np.repeat(range(30), 2).tolist()
    twice, of_twice = np.repeat(scores, 2, axis=1), np.repeat(answers, 2, axis=1)
    once, both = spread(scores), spread(twice, copies)
    assert (both.value, both.low, both.high) == pytest.approx((once.value, once.low, once.high))
    assert both.by_chance.p == once.by_chance.p
    pairs: list[tuple[Interval | None, Interval | None]] = [
        (prompt_sensi_score(scores), prompt_sensi_score(twice, copies)),
        (consistency_rate(answers), consistency_rate(of_twice, copies)),
        *zip(flip_rates(answers), flip_rates(of_twice, copies), strict=True),
    ]
    for single, double in pairs:
        assert single is not None
        assert double is not None
        assert (double.low, double.high) == pytest.approx((single.low, single.high))
    drop, drop_of_twice = performance_drop(scores), performance_drop(twice, copies)
    assert drop is not None
    assert drop_of_twice is not None
    assert drop_of_twice.low == pytest.approx(drop.low)
    assert spread([[0.0, 0.0], [1.0, 1.0]], [5, 5]).low is None


def test_resampled_means_have_the_error_of_a_mean() -> None:
    values = np.random.default_rng(1).random((2, 200))
    means = resampled_means(values, None)
    assert means.std(axis=0) == pytest.approx(values.std(axis=1) / math.sqrt(200), rel=0.06)
    assert means.mean(axis=0) == pytest.approx(values.mean(axis=1), abs=0.002)
    # Of unequal numbers of copies the mean is that of all examples drawn.
    assert resampled_means(np.array([[1.0, 1.0, 1.0, 0.0]]), [0, 0, 0, 1]).max() == 1


@pytest.mark.parametrize("answers", [[], [[]], [1, 2]])
def test_what_are_no_answers_is_refused(answers: list[int]) -> None:
    with pytest.raises(ValueError, match="answers form a table"):
        consistency_rate(answers)
    with pytest.raises(ValueError, match="answers form a table"):
        label_shifts(answers)
