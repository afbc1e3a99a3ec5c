"""Numbers for people: rounding never makes them say more than is so."""

from __future__ import annotations

import pytest

from localprompt.interface.rounding import p_text, percent_text, score_text


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.0, "0.000"),
        (1.0, "1.000"),
        (0.1 + 0.2, "0.300"),
        (1 - 1e-12, "1.000"),
        (1999 / 2000, "0.9995"),
        (0.99996, "0.99996"),
        (0.0004, "0.0004"),
        (1 / 3, "0.333"),
        (float("nan"), "nan"),  # of a damaged store
        (float("inf"), "inf"),
    ],
)
def test_a_score_is_0_or_1_only_if_it_is(score: float, text: str) -> None:
    assert score_text(score) == text


def test_neither_is_a_difference_rounded_away() -> None:
    assert [score_text(each, sign="+") for each in (0.25, 0.0, -0.0004, -0.9996)] == [
        "+0.250",
        "+0.000",
        "-0.0004",
        "-0.9996",
    ]
    assert (score_text(0.996, 2), score_text(0.95, 2)) == ("0.996", "0.95")


def test_a_share_is_all_or_nothing_only_if_it_is() -> None:
    shares = (0.0, 0.004, 0.125, 0.99, 0.996, 0.9996, 1.0)
    assert [percent_text(share) for share in shares] == ["0", "0.4", "12", "99", "99.6", "99.96", "100"]


@pytest.mark.parametrize(
    ("p", "digits", "text"),
    [
        (1.0, 4, "p = 1.0000"),
        (0.03125, 4, "p = 0.0312"),
        (0.00002, 4, "p < 0.0001"),
        (0.0004, 3, "p < 0.001"),
        (0.0498, 3, "p = 0.0498"),
        (0.04996, 3, "p = 0.04996"),
        (0.05, 3, "p = 0.050"),
        (0.0499999, 4, "p = 0.0499999"),
    ],
)
def test_a_p_is_never_0_and_never_on_the_other_side_of_5_percent(p: float, digits: int, text: str) -> None:
    assert p_text(p, digits) == text


def test_a_sum_of_floats_a_little_below_0_is_no_loss() -> None:
    assert score_text(0.3 - (0.1 + 0.2), sign="+") == "+0.000"
    assert (score_text(-0.0), score_text(1 - 1e-12)) == ("0.000", "1.000")
