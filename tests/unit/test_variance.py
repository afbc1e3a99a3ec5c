"""Shares of variance by hand and by simulation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from localprompt.stats.resampling import Estimate
from localprompt.stats.variance import VarianceShares, variance_shares

NAMES = VarianceShares.__slots__


def _values(shares: VarianceShares | None) -> dict[str, float]:
    assert shares is not None
    found = {name: getattr(shares, name) for name in NAMES}
    return {name: each.value for name, each in found.items() if isinstance(each, Estimate)}


def test_of_one_model_the_shares_by_hand() -> None:
    # Two prompts, three examples. Means of prompts 0.6 and 0.2, of examples 0.7, 0.3, 0.2, of all 0.4.
    # MS_p = 3 * 0.08 = 0.24; MS_i = 2 * 0.14 / 2 = 0.14; SS_pi = 0.8 - 0.24 - 0.28 = 0.04, so MS_pi = 0.04 / 2 = 0.02.
    scores = np.array([[[1.0, 0.4, 0.4]], [[0.4, 0.2, 0.0]]])
    total = (scores**2).sum() - 6 * 0.4**2
    pi = (total - 0.24 - 0.28) / 2
    prompt, example = (0.24 - pi) / 3, (0.14 - pi) / 2
    found = _values(variance_shares(scores))
    assert list(found) == ["prompt", "example", "residual"]
    sum_ = prompt + example + pi
    assert found == pytest.approx({"prompt": prompt / sum_, "example": example / sum_, "residual": pi / sum_})


@pytest.mark.parametrize(
    ("effect", "name"),
    [((4, 1, 1), "prompt"), ((1, 4, 1), "model"), ((1, 1, 4), "example"), ((4, 4, 1), "prompt_model")],
)
def test_what_alone_makes_the_difference_has_all_of_it(effect: tuple[int, ...], name: str) -> None:
    # Each main effect as a difference of means; an interaction without main effects from two opposite halves.
    scores = np.broadcast_to(np.random.default_rng(1).random(effect), (4, 4, 4)).copy()
    if name == "prompt_model":
        cells = scores[:, :, 0]
        cells += 0.5 - cells.mean(axis=0) - cells.mean(axis=1)[:, None] + cells.mean()
        scores = np.repeat(np.clip(cells, 0, 1)[:, :, None], 4, axis=2)
    found = _values(variance_shares(scores))
    assert found[name] == pytest.approx(1)
    assert sum(found.values()) == pytest.approx(1)


DEVIATIONS = {
    "prompt": 0.05,
    "model": 0.04,
    "quantisation": 0.03,
    "prompt_model": 0.02,
    "example": 0.1,
    "prompt_example": 0.06,
    "model_example": 0.05,
    "residual": 0.07,
}
BASES = ["a", "a", "a", "b", "b", "c", "d", "d"]


def _drawn(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Scores of 10 prompts on 8 models at levels of 4, with the deviations above; those of models are large there."""
    shapes = {
        "prompt": (10, 1, 1),
        "quantisation": (1, 8, 1),
        "prompt_model": (10, 8, 1),
        "example": (1, 1, 60),
        "prompt_example": (10, 1, 60),
        "model_example": (1, 8, 60),
        "residual": (10, 8, 60),
    }
    of_bases = rng.normal(0, DEVIATIONS["model"], 4)[np.unique(BASES, return_inverse=True)[1]]
    noise = sum(rng.normal(0, DEVIATIONS[name], shape) for name, shape in shapes.items())
    return np.clip(0.5 + of_bases[:, None] + noise, 0, 1)


def test_shares_are_those_that_scores_were_drawn_with() -> None:
    rng = np.random.default_rng(3)
    found = [_values(variance_shares(_drawn(rng), BASES)) for _ in range(60)]
    total = sum(each**2 for each in DEVIATIONS.values())
    means = {name: float(np.mean([each[name] for each in found])) for name in DEVIATIONS}
    assert means == pytest.approx({name: each**2 / total for name, each in DEVIATIONS.items()}, abs=0.02)


def test_intervals_hold_what_more_examples_show_where_prompts_are_nearly_equal_too() -> None:
    rng, held = np.random.default_rng(6), dict.fromkeys(("prompt", "prompt_model", "example", "residual"), 0)
    cells = 0.5 + rng.normal(0, 0.01, (20, 1, 1)) + rng.normal(0, 0.04, (1, 3, 1)) + rng.normal(0, 0.01, (20, 3, 1))

    def scores(n: int) -> npt.NDArray[np.float64]:
        of_examples = rng.normal(0, 0.1, (1, 1, n)) + rng.normal(0, 0.15, (20, 1, n)) + rng.normal(0, 0.08, (20, 3, n))
        return np.clip(cells + of_examples, 0, 1)

    truth = _values(variance_shares(scores(4_000)))
    for _ in range(40):
        found = variance_shares(scores(60))
        for name in held:
            each = getattr(found, name)
            held[name] += each.low <= truth[name] <= each.high
    assert min(held.values()) >= 34, held


def test_what_the_scores_do_not_show_is_none() -> None:
    scores = np.random.default_rng(2).random((3, 3, 9))
    separate, levels, one = (variance_shares(scores, bases) for bases in (None, ["a"] * 3, ["a", "a", "b"]))
    assert separate is not None
    assert levels is not None
    assert one is not None
    assert (separate.quantisation, levels.model) == (None, None)
    assert separate.model is not None
    assert levels.quantisation is not None
    assert separate.model.value == pytest.approx(levels.quantisation.value)
    assert one.model is not None
    assert one.quantisation is not None
    assert variance_shares(np.full((2, 2, 3), 0.5)) is None
    assert variance_shares(np.zeros((2, 1, 2))) is None


@pytest.mark.parametrize("unit", [0.5, 1e-5, 1e-8])
def test_differences_however_small_have_the_shares_of_large_ones(unit: float) -> None:
    scores = np.random.default_rng(2).integers(0, 3, (4, 2, 9)) / 2
    assert _values(variance_shares(1 - unit * scores)) == pytest.approx(_values(variance_shares(scores)), abs=1e-6)


def test_copies_count_as_one_example() -> None:
    scores, rng = np.random.default_rng(2).random((3, 2, 2)), np.random.default_rng(1)
    assert variance_shares(scores, copies=[7, 7]) is variance_shares(scores[:, :, :1]) is None
    # Prompts that are equal do not get to differ by showing each example five times.
    drawn = np.clip(rng.normal(0.5, 0.2, (12, 1, 30)), 0, 1)
    five, copies = np.repeat(drawn, 5, axis=2), np.repeat(range(30), 5).tolist()
    assert _values(variance_shares(five, copies=copies)) == pytest.approx(_values(variance_shares(drawn)))
    found = variance_shares(five, copies=copies)
    assert found is not None
    assert found.prompt.low == 0


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 0, 3), (2, 2, 0), (2, 3)])
def test_one_prompt_or_no_example_has_no_shares(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two or more prompts"):
        variance_shares(np.full(shape, 0.5))


def test_bases_are_one_a_model() -> None:
    with pytest.raises(ValueError, match="1 bases for 2 models"):
        variance_shares(np.full((2, 2, 2), 0.5), ["a"])
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        variance_shares(np.full((2, 2, 2), 1.5))
