"""Races: the upper-confidence bandit, the other rules, and their formulas against values worked out by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pytest

from localprompt.search.racing import (
    Bandit,
    KnockOut,
    Pulls,
    RaceName,
    beta_posterior,
    halving_schedule,
    race,
    rejects_schedule,
    thompson,
    ucb,
    ucb_e,
    uniform_schedule,
)
from localprompt.types import Evaluation, Example, Outcome, Prompt

NAMES = get_args(RaceName)
PULLS = Pulls(per_round=4, per_pull=8, exploration=1.0)
RNG = random.Random(0)
"""Of rules that draw nothing."""
EXAMPLES = [Example(f"dev:{n}", {"input": str(n)}, ("x",)) for n in range(200)]


class Arms:
    """Answers with chance `p` of the prompt, shifted; remembers which examples each prompt saw."""

    def __init__(self, chances: dict[str, float], shift: float = 0.0, scale: float = 1.0) -> None:
        self.seen: dict[str, list[str]] = {name: [] for name in chances}
        self._chances = chances
        self._shift = shift
        self._scale = scale

    def __call__(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        return [
            Evaluation(prompt, tuple(self._one(prompt.instruction, ex.id) for ex in examples)) for prompt in prompts
        ]

    def _one(self, name: str, example_id: str) -> Outcome:
        self.seen[name].append(example_id)
        hit = random.Random(f"{name} {example_id}").uniform(0, 1) < self._chances[name]
        return Outcome(example_id, None, self._scale * hit + self._shift)


CHANCES = {f"arm {i}": i / 20 for i in range(18)}
PROMPTS = [Prompt(name) for name in CHANCES]


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (-9.0, 1.0), (-30.0, 12.0)])
def test_promising_arms_are_pulled_more_often_also_where_all_scores_are_negative(shift: float, scale: float) -> None:
    arms = Arms(CHANCES, shift, scale)
    bandit = Bandit(ucb, 20, Pulls(per_round=3, per_pull=8, exploration=0.5))
    ranked = bandit.run(arms, PROMPTS, EXAMPLES, RNG)
    pulls = {name: len(seen) // 8 for name, seen in arms.seen.items()}
    assert sum(pulls.values()) == 18 + 20 * 3
    assert min(pulls.values()) >= 1
    best = [f"arm {i}" for i in range(13, 18)]
    assert sum(pulls[name] for name in best) > 30
    assert ranked[0].instruction in best


def test_arms_pulled_equally_often_saw_the_same_examples_and_none_twice() -> None:
    arms = Arms(CHANCES)
    Bandit(ucb, 10, Pulls(per_round=4, per_pull=5, exploration=1.0)).run(arms, PROMPTS, EXAMPLES, RNG)
    longest = max(arms.seen.values(), key=len)
    assert longest == [example.id for example in EXAMPLES[: len(longest)]]
    assert all(seen == longest[: len(seen)] for seen in arms.seen.values())


def test_an_arm_that_saw_everything_is_not_pulled_again() -> None:
    arms = Arms(CHANCES)
    Bandit(ucb, 99, Pulls(per_round=4, per_pull=5, exploration=1.0)).run(arms, PROMPTS, EXAMPLES[:12], RNG)
    assert {len(seen) for seen in arms.seen.values()} == {12}


def test_without_arms_there_is_nothing_to_rank() -> None:
    bandit = Bandit(ucb, 3, Pulls(per_round=4, per_pull=5, exploration=1.0))
    assert bandit.run(Arms({}), [], EXAMPLES, RNG) == []


class Script:
    """Scores that are written down: prompt to its scores on the examples in order. Remembers each call."""

    def __init__(self, **scores: Sequence[float]) -> None:
        self.calls: list[tuple[str, int]] = []
        """The prompts of each call, and the number of its last example."""
        self._scores = scores

    def __call__(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        numbers = [int(example.inputs["input"]) for example in examples]
        self.calls.append(("".join(prompt.instruction for prompt in prompts), numbers[-1] + 1))
        return [
            Evaluation(prompt, tuple(Outcome(f"dev:{n}", None, self._scores[prompt.instruction][n]) for n in numbers))
            for prompt in prompts
        ]


class Once:
    """Counts the scores that an evaluator with a memory would pay for."""

    def __init__(self, arms: Arms) -> None:
        self.paid: set[tuple[str, str]] = set()
        self._arms = arms

    def __call__(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        self.paid |= {(prompt.id, example.id) for prompt in prompts for example in examples}
        return self._arms(prompts, examples)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("budget", [18 * 4, 500, 1000])
def test_every_rule_finds_a_good_prompt_ranks_all_of_them_and_keeps_to_its_budget(name: RaceName, budget: int) -> None:
    counted = Once(Arms(CHANCES))
    rule = race(name, len(PROMPTS), 3, budget, replace(PULLS, exploration=0.5))
    ranked = rule.run(counted, PROMPTS, EXAMPLES, random.Random(3))
    assert sorted(prompt.instruction for prompt in ranked) == sorted(CHANCES)
    assert int(ranked[0].instruction.split()[1]) >= 11
    assert len(counted.paid) <= budget
    assert len(counted.paid) > budget // 2


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_ranks_nothing_one_prompt_and_more_examples_than_there_are(name: RaceName) -> None:
    def rank(prompts: list[Prompt], budget: int, n_examples: int) -> list[Prompt]:
        rule = race(name, len(prompts), 1, budget, PULLS)
        return rule.run(Arms(CHANCES), prompts, EXAMPLES[:n_examples], random.Random(0))

    assert rank([], 10, 5) == []
    assert rank(PROMPTS[:1], 10, 5) == PROMPTS[:1]
    assert len(rank(PROMPTS, 10**6, 5)) == 18
    assert len(rank(PROMPTS, 0, 5)) == 18


@pytest.mark.parametrize("name", NAMES)
def test_with_a_large_budget_every_rule_agrees_with_measuring_everything(name: RaceName) -> None:
    truth = max(PROMPTS, key=lambda prompt: Arms(CHANCES)([prompt], EXAMPLES)[0].mean)
    rule = race(name, len(PROMPTS), 1, 10**5, PULLS)
    assert rule.run(Arms(CHANCES), PROMPTS, EXAMPLES, random.Random(0))[0] == truth


@pytest.mark.parametrize("name", NAMES)
def test_a_race_is_the_same_from_the_same_seed(name: RaceName) -> None:
    def run() -> tuple[list[Prompt], dict[str, list[str]]]:
        arms = Arms(CHANCES)
        return race(name, 18, 2, 300, PULLS).run(arms, PROMPTS, EXAMPLES, random.Random(7)), arms.seen

    assert run() == run()


def test_uniform_shows_everybody_the_same_share_of_the_budget() -> None:
    script = Script(a=[0, 0, 1], b=[1, 1, 0], c=[0, 0, 0])
    ranked = KnockOut(uniform_schedule(3, 1, 8)).run(script, [Prompt("a"), Prompt("b"), Prompt("c")], EXAMPLES, RNG)
    assert script.calls == [("abc", 2)]  # 8 // 3
    assert [prompt.instruction for prompt in ranked] == ["b", "a", "c"]


def _pulled_in_round_four(bandit: Bandit, *, nats: bool = False) -> str:
    """Return which of two arms is pulled when a has mean 1/4 after 4 examples and b has 1/2 after 6."""
    scores = {"a": [1, 0, 0, 0, 0, 0, 0, 0], "b": [1, 1, 0, 0, 1, 0, 0, 0]}
    script = Script(**{name: [10 * each - 30 if nats else each for each in row] for name, row in scores.items()})
    bandit.run(script, [Prompt("a"), Prompt("b")], EXAMPLES[:8], RNG)
    assert script.calls[:4] == [("ab", 2), ("b", 4), ("a", 4), ("b", 6)]
    return script.calls[4][0]


@pytest.mark.parametrize("nats", [False, True])
def test_the_ucb_bonus_is_that_of_a_hand_calculation(nats: bool) -> None:
    # 10 examples in all: 1/4 + c sqrt(ln 10 / 4) = .25 + .7587 c and 1/2 + c sqrt(ln 10 / 6) = .5 + .6195 c are equal
    # at c = .25 / .13923 = 1.7956. With scores ten times as far apart, the spread of 10 leaves that c as it is.
    assert _pulled_in_round_four(Bandit(ucb, 4, Pulls(1, 2, 1.79)), nats=nats) == "b"
    assert _pulled_in_round_four(Bandit(ucb, 4, Pulls(1, 2, 1.80)), nats=nats) == "a"


def test_the_ucb_e_bonus_is_that_of_a_hand_calculation() -> None:
    # 1/4 + sqrt(a / 4) and 1/2 + sqrt(a / 6) are equal at sqrt(a) = .25 / (.5 - .40825) = 2.7247, a = 7.424.
    assert _pulled_in_round_four(Bandit(ucb_e, 4, Pulls(1, 2, 7.40))) == "b"
    assert _pulled_in_round_four(Bandit(ucb_e, 4, Pulls(1, 2, 7.45))) == "a"


@pytest.mark.parametrize("rule", ["ucb", "ucb-e"])
@pytest.mark.parametrize("value", [0.0, 1.0, -7.0])
def test_while_all_scores_are_equal_everybody_has_a_turn(rule: RaceName, value: float) -> None:
    arms = Arms(dict.fromkeys(CHANCES, 0.0), shift=value)
    race(rule, 18, 1, 18 * 8 + 9 * 4 * 8, PULLS).run(arms, PROMPTS, EXAMPLES, RNG)
    # 18 pulls for all of them once, then 36 more.
    assert [len(seen) // 8 for seen in arms.seen.values()] == [3] * 18


def test_scores_that_differ_little_leave_the_bonus_that_of_the_whole_range() -> None:
    # After 2 examples each: .5 and .6, and a range of 1: the bonus of the arm that has seen less decides.
    script = Script(a=[0.5] * 8, b=[0.6] * 8)
    Bandit(ucb, 3, Pulls(1, 2, 1.0)).run(script, [Prompt("a"), Prompt("b")], EXAMPLES[:8], RNG)
    assert script.calls == [("ab", 2), ("b", 4), ("a", 4), ("b", 6)]


def test_the_successive_rejects_schedule_is_that_of_a_hand_calculation() -> None:
    # K = 4, B = 100, L = 1/2 + 1/2 + 1/3 + 1/4 = 19/12: 96 / L = 60.63; 60.63/4, /3, /2 = 15.2, 20.2, 30.3.
    assert rejects_schedule(4, 1, 100) == [(16, 3), (21, 2), (31, 1)]
    # Two kept: L = 2/3 + 1/3 + 1/4 = 5/4: 96 / L = 76.8; 76.8/4, /3 = 19.2, 25.6.
    assert rejects_schedule(4, 2, 100) == [(20, 3), (26, 2)]
    assert rejects_schedule(3, 3, 10) == [(3, 3)]


@pytest.mark.parametrize("keep", [1, 2, 4])
@pytest.mark.parametrize("n_prompts", [5, 21, 36])
@pytest.mark.parametrize("budget", [40, 240, 2048])
def test_schedules_use_up_their_budget_and_no_more(n_prompts: int, keep: int, budget: int) -> None:
    for schedule in (rejects_schedule(n_prompts, keep, budget), halving_schedule(n_prompts, keep, budget)):
        spent, before, left = 0, 0, n_prompts
        for seen, then in schedule:
            assert before <= seen
            assert then < left
            spent, before, left = spent + left * (seen - before), seen, then
        assert left == keep
        assert spent <= max(budget, n_prompts * len(schedule))
        if budget == 2048:
            assert spent > 0.9 * budget


def test_the_halving_sizes_are_those_of_a_hand_calculation() -> None:
    # Three phases of 96 / 3 = 32 scores: 8 prompts 4 examples, 4 prompts 8 more, 2 prompts 16 more.
    assert halving_schedule(8, 1, 96) == [(4, 4), (12, 2), (28, 1)]
    # 21, 11, 6, 3: 80 scores a phase are 3, 7 and 13 examples.
    assert halving_schedule(21, 3, 240) == [(3, 11), (10, 6), (23, 3)]
    assert halving_schedule(2, 2, 10) == [(5, 2)]


def test_a_rejected_prompt_is_judged_by_all_that_it_has_seen_and_never_comes_back() -> None:
    # Ends of the phases by hand: B = 12, K = 3, L = 4/3: 9 / L = 6.75; 6.75/3, /2 = 2.25, 3.375: 3 and 4 examples.
    script = Script(a=[1, 1, 0, 0], b=[0, 0, 0, 1], c=[1, 1, 1, 0])
    ranked = KnockOut(rejects_schedule(3, 1, 12)).run(script, [Prompt("a"), Prompt("b"), Prompt("c")], EXAMPLES, RNG)
    assert script.calls == [("abc", 3), ("ca", 4)]
    assert [prompt.instruction for prompt in ranked] == ["c", "a", "b"]


def test_halving_ranks_the_survivors_before_those_that_dropped_out() -> None:
    script = Script(a=[1, 0, 0, 0, 0], b=[0, 1, 1, 1, 1], c=[1, 0, 0, 0, 1], d=[0, 0, 0, 0, 0])
    prompts = [Prompt(name) for name in "abcd"]
    ranked = KnockOut(halving_schedule(4, 1, 8)).run(script, prompts, EXAMPLES, RNG)
    assert script.calls == [("abcd", 1), ("ac", 3)]
    assert [prompt.instruction for prompt in ranked] == ["a", "c", "b", "d"]


def test_what_is_known_of_an_arm_is_a_beta_distribution() -> None:
    assert beta_posterior([]) == (1.0, 1.0)
    assert beta_posterior([1, 1, 0]) == (3.0, 2.0)
    assert beta_posterior([0.5, 0.25, 1.0]) == (2.75, 2.25)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.0, 0.5), (-9.0, 1.0), (-30.0, 12.0)])
def test_thompson_sampling_pulls_promising_arms_more_often(shift: float, scale: float) -> None:
    arms = Arms(CHANCES, shift, scale)
    ranked = Bandit(thompson, 20, Pulls(3, 8, 0.0)).run(arms, PROMPTS, EXAMPLES, random.Random(1))
    pulls = {name: len(seen) // 8 for name, seen in arms.seen.items()}
    assert sum(pulls.values()) == 18 + 20 * 3
    best = [f"arm {i}" for i in range(12, 18)]
    assert sum(pulls[name] for name in best) > 39
    assert ranked[0].instruction in best


@pytest.mark.parametrize("name", ["ucb", "ucb-e", "thompson"])
def test_an_example_that_does_not_fit_says_nothing_about_how_far_scores_can_be_apart(name: RaceName) -> None:
    class Overlong(Arms):
        """Beside the others one arm that is too long for every tenth example."""

        def _one(self, name: str, example_id: str) -> Outcome:
            if name == "arm 0" and example_id.endswith("3"):
                self.seen[name].append(example_id)
                return Outcome(example_id, None, -100.0, failed=True)
            return super()._one(name, example_id)

    arms = Overlong(CHANCES, shift=-9.0)
    race(name, len(PROMPTS), 3, 18 * 8 + 20 * 3 * 8, Pulls(3, 8, 1.0)).run(arms, PROMPTS, EXAMPLES, random.Random(1))
    assert len(arms.seen["arm 0"]) == 8, "it was pulled once, like every arm"


def test_arms_without_any_example_that_fits_are_ranked_all_the_same() -> None:
    def never(prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        return [Evaluation(p, tuple(Outcome(e.id, None, -100.0, failed=True) for e in examples)) for p in prompts]

    for name in NAMES:
        ranked = race(name, 3, 1, 60, PULLS).run(never, PROMPTS[:3], EXAMPLES, random.Random(1))
        assert {prompt.id for prompt in ranked} == {prompt.id for prompt in PROMPTS[:3]}
