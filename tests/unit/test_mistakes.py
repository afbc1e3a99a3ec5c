"""Batches of what a prompt gets wrong."""

from __future__ import annotations

import random
from itertools import count

import pytest

from localprompt.optimizers.mistakes import deal


@pytest.mark.parametrize("n_things", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_batch_holds_different_things_and_each_comes_once_before_any_comes_again(n_things: int, size: int) -> None:
    rng, things = random.Random(0), list(range(n_things))
    batches = deal((rng.sample(things, n_things) for _ in count()), size, 6)
    assert [len(set(batch)) for batch in batches] == [min(size, n_things)] * 6
    dealt = [thing for batch in batches for thing in batch]
    assert len(set(dealt[:n_things])) == len(dealt[:n_things])
