"""Random search: no feedback, and what the proposer is shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
import toy

from localprompt.errors import BudgetExhausted, ConfigError, ContextOverflow
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure
from localprompt.search.problem import Problem
from localprompt.types import Prompt

SMALL = {"proposals": 4, "per_round": 4, "per_request": 2, "demos": 2, "tiebreak": False}


def _run(lm: ScriptedLM, *seeds: str, **settings: object) -> Problem:
    given = replace(toy.task(), seeds=tuple(Prompt(seed) for seed in seeds))
    problem = toy.problem(lm, given)
    configure("random", {**SMALL, **settings}).run(problem)
    return problem


def _endless(good: int = 100) -> Callable[[str, int], str]:
    """A model that always writes something new, in one of `good` cases something that solves half of the task."""

    def answer(prompt: str, seed: int) -> str:
        if not toy.is_asked_to_write(prompt):
            return toy.answer(prompt, seed)
        return f" say something about {f'alpha and {seed}' if seed % good == 0 else f'the number {seed}'}."

    return answer


def _asked(lm: ScriptedLM) -> list[str]:
    return list(dict.fromkeys(text for text in lm.seen if toy.is_asked_to_write(text)))


def test_an_empty_seed_is_replaced_by_guesses_from_examples() -> None:
    lm = toy.model()
    problem = _run(lm, "", proposals=32, unproductive=9)
    assert {each.op for each in problem.ranking.candidates} == {"seed", "induce"}
    first, *others = _asked(lm)
    assert others
    assert first == (
        "[user] One rule turned each of these inputs into its output.\n\n"
        "Input: alpha16\nOutput: omega16\n\nInput: alpha8\nOutput: omega8\n\n"
        "State the rule as an instruction in one general sentence, which also says what an output may look like.\n"
        "[assistant] The instruction was to"
    )
    assert problem.ranking.winner().candidate.prompt == Prompt(toy.BEST)


def test_a_seed_with_words_is_said_in_other_words() -> None:
    lm = toy.model()
    problem = _run(lm, "Say it.")
    (asked,) = _asked(lm)
    assert asked == (
        "[user] Rewrite this instruction with a wording of your own. What it asks for stays the same, and nothing is "
        "added.\n\nSay it.\n[assistant] Another wording:"
    )
    assert {each.parents for each in problem.ranking.candidates if each.op == "paraphrase"} == {(Prompt("Say it.").id,)}


def test_a_base_model_gets_plain_text() -> None:
    lm = toy.model(has_chat=False)
    _run(lm, "", "Say it.")
    paraphrase, induce = _asked(lm)
    assert induce.endswith("the rule that makes an output from an input is to")
    assert paraphrase == "Two wordings of one instruction.\n\nWording A: Say it.\n\nWording B:"


def test_the_proposer_never_learns_a_score_or_an_earlier_proposal() -> None:
    seen_by = []
    for right in ("omega", "alpha"):

        def gives(prompt: str, seed: int, right: str = right) -> str:
            if toy.is_asked_to_write(prompt):
                return _endless(2)(prompt, seed)
            return toy.answer(prompt, seed) if right in prompt else " no"

        lm = toy.model(answer=gives)
        _run(lm, "", proposals=32, unproductive=9)
        seen_by.append(_asked(lm))
    assert seen_by[0] == seen_by[1]


def test_as_many_proposals_are_asked_for_as_set() -> None:
    lm = toy.model(answer=lambda p, s: f" say {s}." if toy.is_asked_to_write(p) else " no")
    _run(lm, "", proposals=24, per_round=8, per_request=4)
    assert sum(map(toy.is_asked_to_write, lm.seen)) == 24
    lm = toy.model(answer=lambda p, s: f" say {s}." if toy.is_asked_to_write(p) else " no")
    _run(lm, "", proposals=8, per_round=1, per_request=4)
    assert sum(map(toy.is_asked_to_write, lm.seen)) == 8


def test_all_of_a_budget_is_spent() -> None:
    for max_calls in (2000, 4000):
        budget = Budget(max_calls=max_calls)
        problem = toy.problem(toy.model(answer=_endless()), toy.task(dev=100), budget=budget)
        with pytest.raises(BudgetExhausted):
            configure("random", {}).run(problem)
        # A round is 8 requests and as many prompts on 24 examples; the two best then go to the 76 others.
        assert max_calls - budget.spend.calls < 8 * (1 + 24) + 8 * 24 + 2 * 76


def test_a_budget_is_spent_whatever_the_number_of_proposals() -> None:
    asked = []

    def answer(prompt: str, seed: int) -> str:
        asked.append(prompt)
        return _endless()(prompt, seed)

    few = {"proposals": 8, "per_round": 8, "tiebreak": False}
    budget = Budget(max_tokens=60_000)
    with pytest.raises(BudgetExhausted):
        configure("random", few).run(toy.problem(toy.model(answer=answer), budget=budget))
    assert 60_000 >= budget.spend.tokens_computed > 50_000
    asked.clear()
    configure("random", few).run(toy.problem(toy.model(answer=answer), budget=Budget(pause_after=1000)))
    assert sum(map(toy.is_asked_to_write, asked)) == 8, "minutes pause a run, they are nothing to be spent"


def test_a_large_budget_too_ends_with_the_first_barren_rounds() -> None:
    lm = toy.model(answer=lambda p, s: " say so now." if toy.is_asked_to_write(p) else " no")
    budget = Budget(max_tokens=5_000_000)
    configure("random", {}).run(toy.problem(lm, budget=budget))
    assert budget.spend.calls < 500


def test_a_rehearsal_of_a_large_budget_is_short_and_expects_all_of_it_to_be_spent() -> None:
    lm = toy.model()
    expected = toy.expected(configure("random", {}), toy.task(dev=100), lm, max_tokens=50_000_000)
    assert expected.tokens_computed == pytest.approx(50_000_000, rel=1e-6)
    assert expected.proposals > 10_000
    free = toy.expected(configure("random", {}), toy.task(dev=100), lm)
    assert free.proposals == 128


def test_what_was_best_in_a_round_can_win_although_the_budget_ends() -> None:
    for max_calls in range(1500, 3500, 500):
        problem = toy.problem(toy.model(answer=_endless(8)), toy.task(dev=100), budget=Budget(max_calls=max_calls))
        with suppress(BudgetExhausted):
            configure("random", {}).run(problem)
        assert "alpha" in problem.ranking.winner().candidate.prompt.instruction


def test_without_anything_new_the_search_ends_after_some_rounds() -> None:
    lm = toy.model(answer=lambda p, s: " say so now." if toy.is_asked_to_write(p) else " no")
    diary = toy.Diary()
    problem = toy.problem(lm, observer=diary)
    configure("random", {"unproductive": 2, "tiebreak": False}).run(problem)
    assert [each.prompt.instruction for each in problem.ranking.candidates] == ["", "Say so now."]
    assert diary.notes == ["round 3 of at most 16: nothing new and usable in 2 rounds: the proposer repeats itself"]


def test_a_prompt_that_is_always_right_ends_the_search() -> None:
    lm = toy.model()
    _run(lm, toy.BEST)
    assert not _asked(lm)


def test_where_the_metric_sees_no_difference_likelihood_decides() -> None:
    # No proposal ever scores, and one makes the right answers likelier.
    def answer(prompt: str, seed: int) -> str:
        return f" write {'with care' if seed % 4 == 0 else 'on'} {seed}." if toy.is_asked_to_write(prompt) else " no"

    def logprob(context: str, continuation: str) -> float:
        return -1.0 if "care" in context else -9.0

    measured = {}
    for tiebreak in (True, False):
        problem = toy.problem(toy.model(answer=answer, logprob=logprob))
        configure("random", {"proposals": 16, "finalists": 1, "tiebreak": tiebreak}).run(problem)
        measured[tiebreak] = [standing.candidate.prompt.instruction for standing in problem.ranking.finalists()]
    assert any("care" in text for text in measured[True])
    assert not any("care" in text for text in measured[False])


def test_a_closed_set_of_outputs_is_shown_and_may_be_named() -> None:
    given = toy.task(labels=("red", "blue"))
    given = replace(given, labels=(), answer=toy.task().answer)
    lm = toy.model(answer=lambda p, s: " write red or blue." if toy.is_asked_to_write(p) else " no")
    problem = toy.problem(lm, given)
    configure("random", SMALL).run(problem)
    assert all("Every output is one of these: blue, red." in text for text in _asked(lm))
    assert Prompt("Write red or blue.") in [each.prompt for each in problem.ranking.candidates]


def test_examples_are_needed_only_for_an_empty_seed() -> None:
    given = toy.task(train=0)
    with pytest.raises(ConfigError, match="needs worked examples"):
        configure("random", SMALL).run(toy.problem(toy.model(), given))
    configure("random", SMALL).run(toy.problem(toy.model(), replace(given, seeds=(Prompt("Say it."),))))


@pytest.mark.parametrize("settings", [{"proposals": 0}, {"demo_chars": 3}, {"temperature": -1}, {"top_p": 0}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        configure("random", settings)


def test_a_paraphrase_has_room_for_half_as_many_tokens_again_and_is_refused_before_it_is_asked_for() -> None:
    long = "Name the colour of the rare stone. " * 20  # 141 tokens
    lm = toy.model(answer=_endless())
    lm.n_ctx = 300
    with pytest.raises(ContextOverflow, match="150 to generate, but its context has 300"):
        _run(lm, long)
    assert not _asked(lm)
    lm.n_ctx = 340
    _run(lm, long)
    assert _asked(lm)
