"""Batches of what a prompt gets wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import count

import pytest
import toy

from localprompt.optimizers import configure
from localprompt.optimizers.mistakes import cases, deal
from localprompt.types import Prompt


@pytest.mark.parametrize("n_things", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_batch_holds_different_things_and_each_comes_once_before_any_comes_again(n_things: int, size: int) -> None:
    rng, things = random.Random(0), list(range(n_things))
    batches = deal((rng.sample(things, n_things) for _ in count()), size, 6)
    assert [len(set(batch)) for batch in batches] == [min(size, n_things)] * 6
    dealt = [thing for batch in batches for thing in batch]
    assert len(set(dealt[:n_things])) == len(dealt[:n_things])


@pytest.mark.parametrize(("method", "settings"), [("protegi", {}), ("pe2", {}), ("pe2", {"negatives": "random"})])
def test_a_row_that_does_not_fit_the_context_is_not_shown_as_a_wrong_answer(
    method: str, settings: dict[str, str]
) -> None:
    """Nothing is asked about it, and no prompt is to blame."""
    given = toy.task(train=12, dev=10)
    texts = ["so " * 900 * (n % 3) + row.inputs["input"] for n, row in enumerate(given.train)]
    rows = [replace(row, inputs={"input": text}) for row, text in zip(given.train, texts, strict=True)]
    given = replace(given, train=tuple(rows), seeds=(Prompt("Say something of the alpha."),))
    lm = toy.Watched()
    lm.n_ctx = 800
    problem = toy.problem(lm, given)
    assert [len(each) for each in cases(problem, given.seeds, given.train)] == [4]
    configure(method, settings).run(problem)
    shown = [text for call in lm.asked for text in call.prompts if "no idea" in text]
    assert shown, "what is wrong of the others"
    assert not any("(none" in text for text in shown)
