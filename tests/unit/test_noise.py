"""The noise band by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import fisher_exact, t

from localprompt.stats.noise import NoiseBand, noise_band, p_of_changes


def _measurements(rng: np.random.Generator, chances: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    return (rng.random((n, len(chances))) < chances).astype(np.float64)


@pytest.mark.parametrize(("n", "near_ties", "n_measured"), [(300, 0.1, 3), (200, 0.05, 2)])
def test_two_measurements_of_equal_prompts_differ_by_less_than_the_band_95_times_in_100(
    n: int, near_ties: float, n_measured: int
) -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(1_000):
        chances = np.where(rng.random(n) < near_ties, rng.random(n), (rng.random(n) < 0.6) * 1.0)
        scores = _measurements(rng, chances, n_measured)
        one, other = _measurements(rng, chances, 2)
        held += abs(one.mean() - other.mean()) <= noise_band(scores, scores.astype(int)).half_width + 1e-9
    assert 930 <= held <= 970


def test_the_band_by_hand() -> None:
    # The score of one example of 4 changes: its variance is 1/2, so V = 1/2, and there are 2 degrees of freedom.
    scores, answers = [[1, 0, 1, 0.5], [1, 0, 0, 0.5]], [[0, 1, 2, 3], [0, 1, 1, 0]]
    found = noise_band(scores, answers)
    assert found.half_width == pytest.approx(min(1, t.ppf(0.975, 2) * math.sqrt(2 * 0.5) / 4))
    assert found.changed == 0.5
    many = noise_band(np.tile(scores, 25), np.tile(answers, 25))
    assert many.half_width == pytest.approx(t.ppf(0.975, 50) * math.sqrt(2 * 12.5) / 100)


def test_where_nothing_changed_the_band_is_0() -> None:
    assert noise_band([[0.5, 1.0]] * 3, [[0, 1]] * 3) == NoiseBand(0.0, 0.0)
    assert noise_band([[0.0]] * 2, [[0], [1]]) == NoiseBand(0.0, 1.0)


def test_copies_change_together() -> None:
    scores = (np.random.default_rng(2).random((3, 40)) < 0.7).astype(np.float64)
    twice = np.repeat(scores, 2, axis=1)
    once = noise_band(scores, scores.astype(int))
    assert noise_band(twice, twice.astype(int), np.repeat(range(40), 2).tolist()).half_width == pytest.approx(
        once.half_width
    )
    assert noise_band(twice, twice.astype(int)).half_width < once.half_width


def test_one_measurement_shows_no_noise() -> None:
    with pytest.raises(ValueError, match="two measurements or more"):
        noise_band([[1.0, 0.0]], [[0, 1]])
    with pytest.raises(ValueError, match="of the same examples"):
        noise_band([[1.0, 0.0]] * 2, [[0]] * 2)


@pytest.mark.parametrize(
    ("share", "n", "changed", "repeats"), [(0.1, 60, 0.05, 2), (0.5, 500, 0.4, 4), (1.0, 3, 1 / 3, 2), (0.0, 9, 0.0, 2)]
)
def test_changes_are_compared_with_those_of_other_batches(share: float, n: int, changed: float, repeats: int) -> None:
    least, known = round(share * n), round(changed * n * repeats)
    table = np.array([[least, n - least], [known, n * repeats - known]])
    assert p_of_changes(share, n, changed, repeats) == pytest.approx(fisher_exact(table, alternative="greater").pvalue)


def test_that_no_batch_changed_an_answer_does_not_show_that_none_would() -> None:
    assert p_of_changes(1 / 40, 40, 0.0, 2) == pytest.approx(1 / 3)
    assert p_of_changes(6 / 40, 40, 0.0, 2) < 0.002
    assert p_of_changes(1.0, 40, 1.0, 2) == 1
