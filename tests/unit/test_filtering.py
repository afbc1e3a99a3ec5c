"""Ranking and filtering in stages."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import toy

from localprompt.errors import BudgetExhausted
from localprompt.lm.budget import Budget
from localprompt.search.filtering import Stages, filter_in_stages, measure_best_first
from localprompt.search.ranking import best_first as rank
from localprompt.search.ranking import search_key, smooth_key
from localprompt.types import Demo, Evaluation, Example, Outcome, Prompt

EXAMPLES = [Example(f"dev:{n}", {"input": str(n)}, ("x",)) for n in range(100)]


class Scorer:
    """Scores a prompt whose instruction is a number with that number; remembers what was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], int]] = []

    def __call__(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        self.calls.append(([prompt.instruction for prompt in prompts], len(examples)))
        return [_evaluation(prompt, float(prompt.instruction), n=len(examples)) for prompt in prompts]


def _evaluation(prompt: Prompt, score: float, margin: float | None = None, n: int = 1) -> Evaluation:
    return Evaluation(prompt, tuple(Outcome(f"dev:{i}", None, score, margin) for i in range(n)))


def _prompts(n: int) -> list[Prompt]:
    return [Prompt(f"{i / 100:.2f}") for i in range(n)]


def test_the_better_half_of_each_stage_sees_more_examples() -> None:
    score = Scorer()
    left = filter_in_stages(score, _prompts(16), EXAMPLES, Stages((5, 10, 20), keep=0.5, finalists=2))
    assert [(len(asked), n) for asked, n in score.calls] == [(16, 5), (8, 15), (4, 35)]
    assert [prompt.instruction for prompt in left] == ["0.15", "0.14"]


def test_no_stage_leaves_fewer_than_the_finalists() -> None:
    score = Scorer()
    left = filter_in_stages(score, _prompts(10), EXAMPLES, Stages((5, 10), keep=0.1, finalists=4))
    assert len(left) == 4
    assert len(score.calls) == 1


def test_few_prompts_need_no_stage() -> None:
    score = Scorer()
    prompts = _prompts(3)
    assert filter_in_stages(score, prompts, EXAMPLES, Stages((5, 10), keep=0.5, finalists=4)) == prompts
    assert score.calls == []


def test_a_stage_that_begins_beyond_the_examples_is_left_out() -> None:
    score = Scorer()
    filter_in_stages(score, _prompts(64), EXAMPLES[:8], Stages((6, 6, 6), keep=0.5, finalists=2))
    assert [n for _, n in score.calls] == [6, 8]


def test_equal_prompts_on_both_sides_of_a_cut_are_told_apart_by_the_tiebreak() -> None:
    asked: list[list[str]] = []

    def equal_but_one(prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        return [_evaluation(prompt, float(prompt.instruction == "best")) for prompt in prompts]

    def by_length(prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        asked.append([prompt.instruction for prompt in prompts])
        return [_evaluation(prompt, float(len(prompt.instruction)) - 99) for prompt in prompts]

    prompts = [Prompt("a"), Prompt("best"), Prompt("aaaa"), Prompt("aa")]
    stages = Stages((5,), keep=0.5, finalists=2, tiebreak=by_length)
    left = filter_in_stages(equal_but_one, prompts, EXAMPLES, stages)
    assert [prompt.instruction for prompt in left] == ["best", "aaaa"]
    assert asked == [["a", "aa", "aaaa"]]


@pytest.mark.parametrize(("sizes", "n_examples"), [((5,), 100), ((5, 5), 100), ((5, 90, 5), 95)])
def test_the_last_stage_cuts_to_the_finalists_and_its_ties_are_broken_too(
    sizes: tuple[int, ...], n_examples: int
) -> None:
    def equal(prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        return [_evaluation(prompt, 0.0) for prompt in prompts]

    def by_length(prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        return [_evaluation(prompt, float(len(prompt.instruction))) for prompt in prompts]

    stages = Stages(sizes, keep=1.0, finalists=1, tiebreak=by_length)
    assert filter_in_stages(equal, [Prompt("a"), Prompt("aaa")], EXAMPLES[:n_examples], stages) == [Prompt("aaa")]


def test_no_tie_at_the_cut_costs_nothing_more() -> None:
    def never(prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        raise AssertionError("nothing is tied at the cut")

    stages = Stages((5,), keep=0.5, finalists=2, tiebreak=never)
    left = filter_in_stages(Scorer(), _prompts(4), EXAMPLES, stages)
    assert [prompt.instruction for prompt in left] == ["0.03", "0.02"]


def test_protected_prompts_are_scored_in_every_stage_but_win_no_place() -> None:
    score = Scorer()
    prompts = _prompts(16)
    left = filter_in_stages(score, prompts, EXAMPLES, Stages((5, 10), 0.25, finalists=2), protected=prompts[:1])
    assert all("0.00" in asked for asked, _ in score.calls)
    assert [asked.count("0.00") for asked, _ in score.calls] == [1, 1]
    assert [prompt.instruction for prompt in left] == ["0.15", "0.14"]


def test_an_empty_instruction_is_the_last_of_its_equals() -> None:
    empty, demos, words = Prompt(""), Prompt(" ", (Demo({"input": "a"}, "b"),)), Prompt("a long instruction")
    assert rank([_evaluation(each, 0.5) for each in (empty, demos, words)]) == [words, empty, demos]
    assert rank([_evaluation(words, 0.0), _evaluation(empty, 0.5)]) == [empty, words]


def test_equals_are_ranked_by_margin_then_by_length_then_by_order() -> None:
    long, short, early, late = Prompt("a long one"), Prompt("short"), Prompt("first"), Prompt("other")
    assert rank([_evaluation(long, 0.5, margin=2.0), _evaluation(short, 0.5, margin=1.0)]) == [long, short]
    assert rank([_evaluation(long, 0.5), _evaluation(short, 0.5)]) == [short, long]
    assert rank([_evaluation(early, 0.5), _evaluation(late, 0.5)]) == [early, late]
    assert rank([_evaluation(short, 0.4), _evaluation(long, 0.5)]) == [long, short]


def test_a_smooth_score_counts_what_is_right_and_then_how_sure_the_wrong_label_is() -> None:
    def measured(*margins: float, text: str = "Say it.") -> Evaluation:
        outcomes = [Outcome(f"dev:{n}", "x", float(margin > 0), margin) for n, margin in enumerate(margins)]
        return Evaluation(Prompt(text), tuple(outcomes))

    sure, one_by_far, hardly = measured(2.0, 2.0, 2.0), measured(40.0, 0.1, 0.1), measured(3.0, 3.0, -0.1)
    assert sorted((one_by_far, hardly, sure), key=smooth_key) == [sure, one_by_far, hardly]
    assert sorted((one_by_far, hardly, sure), key=search_key) == [one_by_far, sure, hardly]
    assert [smooth_key(measured(margin))[0] for margin in (-1e9, 1e9)] == pytest.approx([1.0, -1.0])
    assert (
        smooth_key(measured(0.5)) < smooth_key(measured(0.4)) < smooth_key(measured(-0.1)) < smooth_key(measured(-2.0))
    )
    generated = Evaluation(Prompt("Say it."), (Outcome("dev:0", "x", 0.5), Outcome("dev:1", "x", 1.0)))
    assert smooth_key(generated) == (-0.75, 7)
    long, short = measured(1.0, text="Say it, please."), measured(1.0)
    assert min((long, short), key=smooth_key) == short


def test_a_smooth_score_takes_what_could_not_be_asked_for_as_bad_as_any_answer() -> None:
    dead = Evaluation(Prompt("Say it."), tuple(Outcome(f"dev:{n}", None, 0.0, failed=True) for n in range(3)))
    wrong = Evaluation(Prompt("Say it."), tuple(Outcome(f"dev:{n}", "x", 0.0, -5.0) for n in range(3)))
    assert smooth_key(wrong) < smooth_key(dead)


def test_a_budget_with_room_for_one_prompt_measures_the_best() -> None:
    problem = toy.problem(toy.model(), budget=Budget(max_calls=60))  # 40 a prompt
    with pytest.raises(BudgetExhausted):
        measure_best_first(problem, [Prompt(toy.BEST), Prompt("Say alpha.")])
    assert problem.ranking.winner().candidate.prompt == Prompt(toy.BEST)
    assert len(problem.ranking.finalists()) == 1


def test_measurements_come_back_in_the_order_given_and_none_is_paid_for_twice() -> None:
    budget = Budget()
    problem = toy.problem(toy.model(), budget=budget)
    prompts = [Prompt(toy.BEST), Prompt("Say alpha."), Prompt(toy.BEST)]
    assert [each.prompt for each in measure_best_first(problem, prompts)] == prompts
    assert budget.spend.calls == 2 * len(problem.dev)
