"""Intervals over runs, compared with scipy."""

from __future__ import annotations

import pytest
from scipy import stats

from localprompt.stats.seeds import OverSeeds, over_seeds, t_quantile


@pytest.mark.parametrize("freedom", [*range(1, 12), 29, 30, 100, 1001])
def test_the_quantile_is_that_of_scipy(freedom: int) -> None:
    # By its inverse: the quantile of the newest scipy for Python 3.10 is right to 2e-11 only.
    assert stats.t.cdf(t_quantile(freedom), freedom) == pytest.approx(0.975, rel=1e-13)


def test_the_interval_is_that_of_scipy() -> None:
    values = [0.61, 0.7, 0.55, 0.64]
    low, high = stats.t.interval(0.95, 3, loc=0.625, scale=stats.sem(values))
    found = over_seeds(values)
    assert (found.mean, found.n) == (0.625, 4)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_one_run_has_no_interval_and_neither_have_equal_ones() -> None:
    assert over_seeds([0.5]) == OverSeeds(0.5, None, None, 1)
    equal = over_seeds([0.7, 0.7, 0.7])
    assert equal == OverSeeds(equal.mean, None, None, 3)
    assert equal.mean == pytest.approx(0.7)
    two = over_seeds([0.70, 0.71])
    assert (two.low, two.high) == pytest.approx((0.6415, 0.7685), abs=1e-4)
    with pytest.raises(ValueError, match="no runs"):
        over_seeds([])
