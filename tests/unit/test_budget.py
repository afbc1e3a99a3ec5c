"""Limits on what a run may spend."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import toy

from localprompt.errors import BudgetExhausted, OutOfAnswers, OutOfTime
from localprompt.lm import cached as cached_module
from localprompt.lm.budget import Budget
from localprompt.lm.cached import CachedLM, MemoryAnswers
from localprompt.lm.metered import MeteredLM
from localprompt.lm.replayed import ReplayedLM
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
    budget = Budget(pause_after=2, clock=lambda: now[0])
    now[0] += 119
    budget.check_time()
    now[0] += 1
    with pytest.raises(OutOfTime, match="the 2 minutes are over"):
        budget.check_time()
    assert budget.spend.seconds == 120


def test_a_call_after_the_minutes_costs_nothing() -> None:
    now = [0.0]
    lm, budget = toy.model(), Budget(pause_after=1, clock=lambda: now[0])
    now[0] = 60.0
    with pytest.raises(OutOfTime):
        MeteredLM(lm, budget).generate(["a"], Sampling(max_tokens=1), [0])
    assert (lm.seen, budget.spend.calls) == ([], 0)


def test_answers_that_are_known_are_given_after_the_minutes_too() -> None:
    now = [0.0]
    cached = CachedLM(toy.model(), MemoryAnswers())
    budget = Budget(pause_after=1, clock=lambda: now[0])
    metered = MeteredLM(cached, budget)
    first = metered.loglikelihood([("a1", " b"), ("a2", " b")], calls=2)
    now[0] = 60.0
    assert metered.loglikelihood([("a1", " b"), ("a2", " b")], calls=2) == first
    with pytest.raises(OutOfTime):
        metered.loglikelihood([("a3", " b")], calls=1)
    spend = budget.spend
    assert (spend.tokens_requested, spend.answers, spend.answers_cached, spend.hit_rate) == (8, 4, 2, 0.5)
    assert spend.calls == 4
    assert cached.loglikelihood([("a4", " b")])  # the limit ends with the call that is charged to it


def test_of_a_call_that_ends_between_two_chunks_what_was_answered_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_module, "CHUNK", 2)
    now = [0.0]

    def tick(context: str, continuation: str) -> float:
        now[0] += 25.0
        return -1.0

    budget = Budget(pause_after=1, clock=lambda: now[0])
    metered = MeteredLM(CachedLM(toy.model(logprob=tick), MemoryAnswers()), budget)
    pairs = [(f"a{n}", label) for n in range(4) for label in (" b", " c")]  # two answers a call
    with pytest.raises(OutOfTime):
        metered.loglikelihood([*pairs, pairs[0]], calls=5)
    spend = budget.spend
    assert (spend.tokens_requested, spend.answers, spend.answers_cached, spend.calls) == (10, 5, 1, 3)


def test_tokens_that_a_call_has_drawn_before_it_ends_between_two_chunks_are_charged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cached_module, "CHUNK", 2)
    now = [0.0]

    def tick(prompt: str, seed: int) -> str:
        now[0] += 20.0
        return "one two three"

    answers, sampling = MemoryAnswers(), Sampling(max_tokens=4)
    prompts = [f"a{n}" for n in range(6)]
    budget = Budget(pause_after=1, clock=lambda: now[0])
    lm = toy.model(answer=tick)
    with pytest.raises(OutOfTime):
        MeteredLM(CachedLM(lm, answers), budget).generate(prompts, sampling, [0] * 6)
    assert (budget.spend.calls, budget.spend.tokens_computed) == (4, 4 + 4 * 3)
    again = Budget()
    with pytest.raises(OutOfAnswers):
        MeteredLM(CachedLM(ReplayedLM(asdict(lm.facts)), answers), again).generate(prompts, sampling, [0] * 6)
    assert (again.spend.calls, again.spend.tokens_computed) == (4, 4 + 4 * 3)
