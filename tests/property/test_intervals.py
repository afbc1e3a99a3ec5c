"""Whatever the scores, their copies and weights: intervals hold their mean, have a width, and agree with p."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from localprompt.stats.intervals import interval, paired_difference

SCORES = st.one_of(
    st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, allow_subnormal=False)
)
PAIRS = st.lists(st.tuples(SCORES, SCORES, st.integers(0, 9), st.floats(0.1, 10)), min_size=1, max_size=24)


@settings(max_examples=300, deadline=None)
@given(PAIRS, st.booleans(), st.booleans())
def test_no_interval_has_width_0_leaves_out_its_mean_or_contradicts_p(
    pairs: list[tuple[float, float, int, float]], has_copies: bool, has_weights: bool
) -> None:
    before, after, numbers, raw = (list(column) for column in zip(*pairs, strict=True))
    copies = numbers if has_copies else None
    weights = [weight * len(raw) / sum(raw) for weight in raw] if has_weights else None
    score, difference = interval(after, copies), paired_difference(before, after, copies, weights)
    assert 0 <= score.low <= score.mean <= score.high <= 1
    assert -1 <= difference.low <= difference.mean <= difference.high <= 1
    assert score.high - score.low > 0.05
    assert difference.high - difference.low > 0.01
    assert (difference.p < 0.05) == (difference.low > 0 or difference.high < 0)
