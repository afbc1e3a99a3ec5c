"""Limits on what a run may spend."""

from __future__ import annotations

import pytest
import toy

from localprompt.budget import Budget
from localprompt.errors import BudgetExhausted
from localprompt.lm.metered import MeteredLM
from localprompt.types import Sampling


def test_a_refused_call_costs_nothing() -> None:
    budget = Budget(max_calls=10)
    budget.reserve(calls=7, tokens=0)
    with pytest.raises(BudgetExhausted, match="needs 4 model calls and 3 of 10 are left"):
        budget.reserve(calls=4, tokens=0)
    budget.reserve(calls=3, tokens=0)
    assert budget.spend.calls == 10


def test_the_worst_case_is_reserved_and_the_truth_is_entered() -> None:
    lm = toy.model(answer=lambda prompt, seed: "one")
    budget = Budget(max_tokens=23)
    metered = MeteredLM(lm, budget)
    metered.generate(["a b"], Sampling(max_tokens=10), [0])  # 2 + at most 10, in truth 2 + 1
    assert budget.spend.tokens_requested == 3
    metered.generate(["a b"], Sampling(max_tokens=10), [0])
    with pytest.raises(BudgetExhausted, match="up to 18 tokens and 17 of 23"):
        metered.generate(["a b c d e f g h"], Sampling(max_tokens=10), [0])
    assert lm.n_generated == 2


def test_minutes_are_those_of_the_clock_that_is_given() -> None:
    now = [100.0]
    budget = Budget(max_minutes=2, clock=lambda: now[0])
    now[0] += 119
    budget.reserve(calls=1, tokens=0)
    now[0] += 1
    with pytest.raises(BudgetExhausted, match="the 2 minutes are over"):
        budget.reserve(calls=1, tokens=0)
    assert budget.spend.seconds == 120
