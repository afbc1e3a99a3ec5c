"""Which gain a number of examples can show: by hand, by enumeration with scipy, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, multinomial

from localprompt.stats.intervals import exact_mcnemar
from localprompt.stats.power import smallest_detectable_gain


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
def test_fewer_than_6_examples_show_nothing(n: int) -> None:
    assert smallest_detectable_gain(n) is None
    assert exact_mcnemar(n, 0) > 0.05


def test_6_examples_show_only_that_all_are_gained() -> None:
    # All 6 have to be gained, which happens with probability gain ** 6.
    assert smallest_detectable_gain(6) == pytest.approx(0.8 ** (1 / 6), abs=1e-4)


def test_more_examples_show_smaller_gains() -> None:
    gains = [smallest_detectable_gain(n) or 1.0 for n in (6, 7, 10, 20, 50, 155, 1000, 3000)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-3] == pytest.approx(0.104, abs=1e-3)
    # Connor's (1987) formula, which takes the test for a normal one, says 0.0388 and 0.0224.
    assert gains[-2:] == pytest.approx([0.0405, 0.0232], abs=1e-4)


def _power(n: int, gain: float) -> float:
    differ = max(0.2, gain)
    shares = [(differ + gain) / 2, (differ - gain) / 2, 1 - differ]
    tables = [(gained, lost, n - gained - lost) for gained in range(n + 1) for lost in range(gained)]
    found = [t for t in tables if t[0] + t[1] <= n and binomtest(t[0], t[0] + t[1]).pvalue < 0.05]
    return float(multinomial.pmf(found, n, shares).sum()) if found else 0.0


@pytest.mark.parametrize("n", [6, 7, 8, 9, 10, 12, 15, 20, 30])
def test_the_power_at_that_gain_is_80_percent_and_below_it_less(n: int) -> None:
    gain = smallest_detectable_gain(n)
    assert gain is not None
    assert _power(n, gain) >= 0.8 - 1e-6
    assert _power(n, gain - 0.0002) < 0.8


@pytest.mark.parametrize("n", [20, 70, 155])
def test_as_often_is_it_found_in_simulated_runs(n: int) -> None:
    rng, gain = np.random.default_rng(5), smallest_detectable_gain(n)
    assert gain is not None
    differ = max(0.2, gain)
    draws = rng.multinomial(n, [(differ + gain) / 2, (differ - gain) / 2, 1 - differ], size=4000)
    power = np.mean([exact_mcnemar(int(gained), int(lost)) < 0.05 for gained, lost, _ in draws])
    assert 0.78 < power < 0.82
