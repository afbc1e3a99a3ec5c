"""The area under the best score so far, against areas counted by hand."""

from __future__ import annotations

import pytest

from localprompt.stats.anytime import area_under_best_so_far


def test_the_area_is_that_of_the_steps() -> None:
    # 10 tokens at 0.2, 30 at 0.5, 60 at 0.9.
    assert area_under_best_so_far(0.2, [(10, 0.5), (40, 0.9)], 100) == pytest.approx((2 + 15 + 54) / 100)


def test_a_search_without_a_step_is_worth_what_it_began_with() -> None:
    assert area_under_best_so_far(0.3, [], 7) == pytest.approx(0.3)


def test_the_earlier_of_two_equal_finds_is_worth_more() -> None:
    early, late = (area_under_best_so_far(0.0, [(at, 1.0)], 1000) for at in (100, 800))
    assert (early, late) == pytest.approx((0.9, 0.2))


def test_what_is_found_at_the_end_of_the_budget_or_beyond_adds_nothing() -> None:
    assert area_under_best_so_far(0.4, [(100, 1.0)], 100) == pytest.approx(0.4)
    assert area_under_best_so_far(0.4, [(50, 0.6), (170, 1.0)], 100) == pytest.approx(0.5)


def test_a_worse_choice_lowers_the_area() -> None:
    assert area_under_best_so_far(0.5, [(0, 1.0), (50, 0.0)], 100) == pytest.approx(0.5)


def test_steps_out_of_order_and_an_empty_budget_are_refused() -> None:
    with pytest.raises(ValueError, match="after one at 50"):
        area_under_best_so_far(0.0, [(50, 1.0), (20, 0.5)], 100)
    with pytest.raises(ValueError, match="at least one token"):
        area_under_best_so_far(0.0, [], 0)
