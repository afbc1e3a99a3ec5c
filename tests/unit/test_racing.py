"""The upper-confidence bandit."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from localprompt.racing import UpperConfidence
from localprompt.types import Evaluation, Example, Outcome, Prompt

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
    bandit = UpperConfidence(rounds=20, per_round=3, per_pull=8, exploration=0.5)
    ranked = bandit.rank(arms, PROMPTS, EXAMPLES)
    pulls = {name: len(seen) // 8 for name, seen in arms.seen.items()}
    assert sum(pulls.values()) == 18 + 20 * 3
    assert min(pulls.values()) >= 1
    best = [f"arm {i}" for i in range(13, 18)]
    assert sum(pulls[name] for name in best) > 30
    assert ranked[0].instruction in best


def test_arms_pulled_equally_often_saw_the_same_examples_and_none_twice() -> None:
    arms = Arms(CHANCES)
    UpperConfidence(rounds=10, per_round=4, per_pull=5, exploration=1.0).rank(arms, PROMPTS, EXAMPLES)
    longest = max(arms.seen.values(), key=len)
    assert longest == [example.id for example in EXAMPLES[: len(longest)]]
    assert all(seen == longest[: len(seen)] for seen in arms.seen.values())


def test_an_arm_that_saw_everything_is_not_pulled_again() -> None:
    arms = Arms(CHANCES)
    UpperConfidence(rounds=99, per_round=4, per_pull=5, exploration=1.0).rank(arms, PROMPTS, EXAMPLES[:12])
    assert {len(seen) for seen in arms.seen.values()} == {12}


def test_without_arms_there_is_nothing_to_rank() -> None:
    bandit = UpperConfidence(rounds=3, per_round=4, per_pull=5, exploration=1.0)
    assert bandit.rank(Arms({}), [], EXAMPLES) == []
