"""Whatever is measured, a measure is a finite number or None, and an interval holds its value."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from localprompt.stats.equality import differences_from_original
from localprompt.stats.intervals import Difference, Interval
from localprompt.stats.noise import noise_band
from localprompt.stats.ranks import kendall_tau
from localprompt.stats.resampling import Estimate
from localprompt.stats.sensitivity import (
    Spread,
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
from localprompt.stats.variance import variance_shares


def _records(found: object) -> Iterator[object]:
    yield found
    parts = [getattr(found, each.name) for each in fields(found)] if is_dataclass(found) else []
    for part in (*found, *parts) if isinstance(found, tuple) else parts:
        yield from _records(part)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.sampled_from([1, 2, 100]), st.integers(0, 10**6), st.booleans())
def test_every_measure_is_finite_or_none(n_variants: int, n: int, levels: int, seed: int, has_copies: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels + 1, size=(n_variants, n)) / max(1, levels)
    answers = rng.integers(-1, levels, size=(n_variants, n))
    chances = rng.dirichlet([0.2] * 3, size=(n_variants, n))
    with np.errstate(divide="ignore"):
        labels = np.log(chances)
    copies = rng.integers(3, size=n).tolist() if has_copies else None
    replies = -rng.exponential(size=(n_variants, n_variants, n))
    found: list[object] = [
        spread(scores, copies),
        flip_rates(answers, copies),
        consistency_rate(answers, copies),
        prompt_sensi_score(scores, copies),
        posix(replies, rng.integers(1, 9, size=(n_variants, n)), copies),
        sensitivity_entropy(labels, copies),
        class_consistency(labels, rng.integers(3, size=n).tolist(), copies),
        performance_drop(scores, copies),
        label_shifts(answers),
        differences_from_original(scores, copies),
        kendall_tau(scores[0].tolist(), scores[-1].tolist()),
    ]
    if n_variants > 1:
        found.append(noise_band(scores, answers, copies))
    if n_variants > 1 and n > 1:
        found.append(variance_shares(scores[:, None], copies=copies))
        found.append(variance_shares(np.stack((scores, scores[::-1], scores), axis=1), ["a", "b", "a"], copies))
    for each in _records(tuple(found)):
        assert not isinstance(each, float) or math.isfinite(each)
        if isinstance(each, Interval | Difference):
            assert each.low <= each.mean <= each.high
        if isinstance(each, Estimate | Spread) and each.low is not None:
            assert each.high is not None
            assert each.low <= each.value <= each.high
