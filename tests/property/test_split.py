from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localprompt.errors import TaskError
from localprompt.tasks.data import Row, divide

ROWS = st.lists(st.sampled_from("aaabbc"), min_size=10, max_size=120).map(
    lambda targets: [Row(line, {"input": str(line)}, (target,)) for line, target in enumerate(targets, start=1)]
)
SEEDS = st.integers(0, 2**32)
FRACTIONS = (0.2, 0.4, 0.4)


@given(rows=ROWS, seed=SEEDS)
def test_splits_are_disjoint_and_have_their_sizes(rows: list[Row], seed: int) -> None:
    splits = divide(rows, FRACTIONS, seed=seed, stratify=True)
    lines = [row.line for split in splits for row in split]
    assert len(lines) == len(set(lines))
    assert [len(split) for split in splits] == [int(len(rows) * size + 1e-9) for size in FRACTIONS]


@given(rows=ROWS, seed=SEEDS, size=st.integers(1, 10))
def test_each_target_has_its_share_of_every_split_and_of_its_beginnings(rows: list[Row], seed: int, size: int) -> None:
    share = {target: n / len(rows) for target, n in Counter(row.targets[0] for row in rows).items()}
    mixed = divide(rows, (len(rows),), seed=seed, stratify=True)[0]
    for start in range(0, len(rows) - size, size):
        counts = Counter(row.targets[0] for row in mixed[start : start + size])
        # Every group is placed evenly in [0, 1): a piece holds its share give or take one, and the piece's own ends
        # move by at most one row for each other group.
        assert all(abs(counts[target] - size * share[target]) <= len(share) + 1 for target in share)


@given(rows=ROWS, seed=SEEDS)
def test_a_split_depends_on_rows_sizes_and_seed_alone(rows: list[Row], seed: int) -> None:
    assert divide(rows, FRACTIONS, seed=seed, stratify=False) == divide(
        list(rows), FRACTIONS, seed=seed, stratify=False
    )


@given(rows=ROWS, seed=SEEDS, sizes=st.tuples(*[st.integers(1, 60)] * 3))
def test_counts_are_kept_to_the_row_or_refused(rows: list[Row], seed: int, sizes: tuple[int, int, int]) -> None:
    if sum(sizes) > len(rows):
        with pytest.raises(TaskError, match=f"rows of {len(rows)}"):
            divide(rows, sizes, seed=seed, stratify=False)
    else:
        assert [len(split) for split in divide(rows, sizes, seed=seed, stratify=False)] == list(sizes)
