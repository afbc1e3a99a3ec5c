"""auto: whose turn it is, what a turn does, and what it tells."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from rich.console import Console

import localprompt
from localprompt.cli.output import turn_parts
from localprompt.optimizers import configure
from localprompt.optimizers.auto import OPERATORS, Auto, Bandit
from localprompt.optimizers.opro import OPRO
from localprompt.optimizers.worked_examples import dealt, swapped
from localprompt.search.problem import Problem
from localprompt.store import Store
from localprompt.types import Candidate, Demo, Evaluation, Example, Prompt, Turn

ROW = 0.01


def _turn(operator: str, tokens: int = 100, gain: float = 0.0) -> Turn:
    return Turn(operator, tokens, 5, gain)


def test_each_operator_has_a_turn_and_then_the_one_that_paid_most_per_token() -> None:
    bandit = Bandit(dict.fromkeys("abc", ROW))
    for name, tokens, gain in (("a", 100, 0.0), ("b", 100, 0.0), ("c", 300, 0.0)):
        assert bandit.next() == name
        bandit.turns.append(_turn(name, tokens, gain))
    assert bandit.next() == "a"  # without a gain the cheap ones first
    bandit.turns[2] = _turn("c", 300, 0.2)
    assert bandit.next() == "c"
    bandit.turns[0] = _turn("a", 100, 0.2)
    assert bandit.next() == "a"  # as much for fewer tokens


def test_an_operator_that_pays_goes_on_before_others_had_a_turn() -> None:
    bandit = Bandit(dict.fromkeys("ab", ROW), [_turn("a", 100, 0.2)])
    assert bandit.next() == "a"


def test_what_the_look_speaks_against_waits_for_turns_in_vain_of_the_others() -> None:
    bandit = Bandit({"deal": ROW, "guess": ROW / 2})
    for _ in range(2):
        assert bandit.next() == "deal"
        bandit.turns.append(_turn("deal"))
    assert bandit.next() == "guess"


def test_an_operator_that_could_make_nothing_is_not_cheap() -> None:
    assert Bandit(dict.fromkeys("ab", ROW), [Turn("b", 100, 5, 0.0), Turn("a", 0, 0, 0.0)]).next() == "a"
    assert (
        Bandit(dict.fromkeys("ab", ROW), [Turn("b", 100, 5, 0.0), Turn("a", 0, 0, 0.0), Turn("a", 0, 0, 0.0)]).next()
        == "b"
    )


def test_gains_of_long_ago_fade() -> None:
    bandit = Bandit(dict.fromkeys("ab", ROW), [_turn("a", 100, 0.1), *[_turn("a")] * 6])
    assert bandit.next() == "b"


def test_an_operator_that_had_three_turns_in_vain_waits_until_another_gains() -> None:
    bandit = Bandit(dict.fromkeys(("dear", "cheap"), ROW), [_turn("dear", 900), *[_turn("cheap", 10)] * 2])
    assert (bandit.next(), bandit.left) == ("cheap", ["dear", "cheap"])
    bandit.turns.append(_turn("cheap", 10))
    assert (bandit.next(), bandit.left) == ("dear", ["dear"])
    assert Bandit(bandit.hopes, [*bandit.turns, *[_turn("dear", 900)] * 2]).left == []
    assert Bandit(bandit.hopes, [*bandit.turns, _turn("dear", 900, gain=ROW)]).left == ["dear", "cheap"]


def _writes(prompt: str, seed: int) -> str:
    """Guesses are half right; only two good instructions made into one are the best there is."""
    if not toy.is_asked_to_write(prompt):
        return toy.answer(prompt, seed)
    if "Both of these" in prompt or "a third one" in prompt:
        return f" {toy.BEST}"
    return (" say something kind about the alpha.", " tell a story of alphas.", " be brief.")[seed % 3]


def _search(max_tokens: int | None = None, **settings: object) -> localprompt.RunResult:
    given = replace(toy.task(train=20, dev=20, test=20), seeds=(Prompt("Say something of the alpha."),))
    lm = toy.model(answer=_writes)
    return localprompt.optimize(given, lm, method="auto", settings=settings, max_tokens=max_tokens)


def test_it_finds_what_one_operator_alone_can_make_and_tells_which_paid() -> None:
    found = _search()
    assert (found.best.instruction, found.op) == (toy.BEST, "cross")
    assert found.turns[0].operator == "opening"
    assert [turn.operator for turn in found.turns if turn.gain > 0][-1] == "cross"
    assert sum(turn.tokens for turn in found.turns) <= found.spend.tokens_computed
    plain = found.to_json()
    assert localprompt.RunResult.from_json(plain).turns == found.turns
    totals = plain["operators"]
    assert [each["operator"] for each in totals] == list(dict.fromkeys(turn.operator for turn in found.turns))
    assert sum(each["share"] for each in totals) == pytest.approx(1.0)
    assert sum(each["turns"] for each in totals) == len(found.turns)
    (cross,) = (each for each in totals if each["operator"] == "cross")
    assert cross["gain"] == pytest.approx(sum(turn.gain for turn in found.turns if turn.operator == "cross"))


def test_what_an_earlier_run_found_is_no_gain_of_this_one(tmp_path: Path) -> None:
    given = replace(toy.task(train=20, dev=20, test=20), seeds=(Prompt("Say something of the alpha."),))
    with Store(tmp_path / "here.db") as store:
        first = localprompt.optimize(given, toy.model(answer=_writes), method="auto", store=store)
        again = localprompt.optimize(
            given, toy.model(answer=_writes), method="auto", store=store, from_run=first.run_id
        )
    assert again.best == first.best
    assert sum(turn.gain for turn in first.turns) > 0
    assert [turn.gain for turn in again.turns if turn.gain] == []


def test_an_operator_that_is_left_out_has_no_turn_and_the_search_ends_when_none_gains() -> None:
    found = _search(max_tokens=1_000_000, without="cross, guess")
    names = [turn.operator for turn in found.turns[1:]]
    assert not {"cross", "guess"} & set(names)
    assert {"reword", "trajectory", "gradient", "reason"} == set(names)  # no place for worked examples
    assert len(names) < 30
    assert all(names.count(name) >= 3 for name in names)


def test_without_any_operator_the_opening_is_the_search_and_its_end_says_so() -> None:
    observer = toy.Diary()
    lm = toy.model(answer=_writes)
    given = replace(toy.task(train=20, dev=20, test=20), seeds=(Prompt("Say something of the alpha."),))
    found = localprompt.optimize(given, lm, method="auto", settings={"without": ",".join(OPERATORS)}, observer=observer)
    assert [turn.operator for turn in found.turns] == ["opening"]
    assert "opening: no operator takes part" in observer.notes


def test_without_a_limit_the_opening_is_half_and_with_one_the_turns_go_on() -> None:
    opening, *turns = _search(without="cross, guess").turns
    spent = sum(turn.tokens for turn in turns)
    assert spent >= opening.tokens > spent - turns[-1].tokens
    opening, *turns = _search(max_tokens=1_000_000, without="cross, guess").turns
    assert sum(turn.tokens for turn in turns) > 2 * opening.tokens


@pytest.mark.parametrize("limit", [1_000, 10_000])
def test_what_the_budget_cuts_off_has_its_share_too(limit: int) -> None:
    found = _search(max_tokens=limit, without="cross, guess")
    assert found.stopped
    assert sum(turn.tokens for turn in found.turns) >= 0.9 * found.spend.tokens_computed
    assert all(turn.gain >= 0 for turn in found.turns)


def _scored(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Prompt, int]]:
    """Return a list that each prompt comes into when it is scored, with the number of rows."""
    scored, evaluate = list[tuple[Prompt, int]](), problem.evaluate

    def noted(prompts: Sequence[Prompt], examples: Sequence[Example] | None = None) -> list[Evaluation]:
        found = evaluate(prompts, examples)
        scored.extend((each.prompt, len(each.outcomes)) for each in found)
        return found

    monkeypatch.setattr(problem, "evaluate", noted)
    return scored


def test_a_limit_sizes_the_opening_to_at_most_about_three_quarters() -> None:
    small, large = (_search(max_tokens=limit, without="cross, guess") for limit in (1_000, 40_000))
    assert small.turns[0].tokens < 0.8 * 1_000
    assert small.expected is not None
    assert large.expected is not None
    assert small.expected.sizes["queries"] < Auto().queries < large.expected.sizes["queries"]


def test_a_rehearsal_is_the_opening_and_reckons_the_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One turn alone, more examples of the largest set, can cost as much as the opening."""

    def rehearsed() -> int:
        plan = localprompt.dry_run(replace(toy.task(), layout=toy.SHOWING), toy.model(answer=_writes), method="auto")
        return plan.tokens_computed

    reckoned = rehearsed()
    monkeypatch.setattr(Auto, "REHEARSED", (1.0, 1.0))
    assert reckoned == pytest.approx(2 * rehearsed(), rel=0.01)


@pytest.mark.parametrize("helps", [True, False])
def test_the_kind_of_the_best_of_the_opening_has_its_turns_first(helps: bool) -> None:
    def answer(prompt: str, seed: int) -> str:
        if toy.is_asked_to_write(prompt):
            return f" be brief {seed}."
        if "Output: omega" in prompt:
            return toy.answer(toy.BEST + prompt[prompt.rindex("\n\nInput:") :], seed) if helps else " no idea"
        return toy.answer(prompt, seed)

    given = replace(toy.task(), layout=toy.SHOWING, seeds=(Prompt("Say something of the alpha."),))
    problem, new = toy.problem(toy.model(answer=answer), given), list[Prompt]()
    hopes = Auto()._open(problem, problem.dev, new)
    assert next(iter(hopes)) == ("examples" if helps else "reword")
    assert hopes["deal"] == (1.0 if helps else 0.5)
    assert len([each for each in new if each.demos]) == 20
    assert any(not each.demos for each in new)


def test_a_turn_does_not_measure_what_is_clearly_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = toy.problem(toy.model(), toy.task(dev=60))
    ranked = problem.evaluate([Prompt(toy.BEST)])
    scored = _scored(problem, monkeypatch)
    Auto()._turn(problem, [Prompt("Be brief."), Prompt("Be kind.")], ranked, problem.dev)
    assert max(n for prompt, n in scored if prompt.instruction != toy.BEST) == 24


def test_each_turn_races_on_rows_of_its_own_and_tries_what_is_best_with_examples_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = toy.problem(toy.model(), replace(toy.task(dev=60), layout=toy.SHOWING))
    shown = Prompt(toy.BEST, (Demo(problem.train[0].inputs, "omega0"),))
    ranked, rows, evaluate = problem.evaluate([shown]), dict[str, set[str]](), problem.evaluate

    def noted(prompts: Sequence[Prompt], examples: Sequence[Example] | None = None) -> list[Evaluation]:
        found = evaluate(prompts, examples)
        rows.update((each.prompt.id, {outcome.example_id for outcome in each.outcomes}) for each in found)
        return found

    monkeypatch.setattr(problem, "evaluate", noted)
    for texts in (("Be brief.", "Be kind."), ("Be short.", "Be nice.")):
        Auto(finalists=1)._turn(problem, [Prompt(text) for text in texts], ranked, problem.dev)
    assert rows[Prompt("Be kind.").id] != rows[Prompt("Be nice.").id]
    assert [each.op for each in problem.ranking.candidates].count("with examples") == 2


def test_sets_are_dealt_alone_and_behind_the_instruction_by_turns() -> None:
    problem = toy.problem(toy.model(), replace(toy.task(), layout=toy.SHOWING))
    parent = Prompt("Say something of the alpha.")
    sets = dealt(problem, parent, 2, problem.dev)
    assert [each.instruction for each in sets] == [""] * 3 + [parent.instruction] * 2
    assert [len(each.demos) for each in sets] == [4, 12, 20, 4, 12], "as many as there are"
    assert {prompt.id for prompt in sets} <= {each.prompt.id for each in problem.ranking.candidates}
    assert {len(each.demos) for each in dealt(problem, parent, 1, problem.dev, 3)} == {3}
    assert dealt(problem, parent, 2, problem.dev, 0) == []
    assert dealt(toy.problem(toy.model()), parent, 2, problem.dev) == []


def test_finalists_are_new_prompts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best without its examples is the seed, which is known; its places are for what is not."""
    problem = toy.problem(toy.model(), replace(toy.task(dev=60), layout=toy.SHOWING))
    seed, demos = Prompt(toy.BEST), [Demo(each.inputs, each.targets[0]) for each in problem.train[:2]]
    ranked, new = problem.evaluate([seed]), [replace(seed, demos=(each,)) for each in demos]
    scored = _scored(problem, monkeypatch)
    Auto()._turn(problem, new, ranked, problem.dev)
    assert [prompt for prompt, n in scored if n == 60] == new


def test_an_operator_whose_request_does_not_fit_leaves_the_turns_to_the_others() -> None:
    def answer(prompt: str, seed: int) -> str:
        return toy.too_long_to_reword(prompt, seed) if "other words" in prompt else _writes(prompt, seed)

    given = replace(toy.task(train=20, dev=20, test=20), seeds=(Prompt("Say something of the alpha."),))
    observer = toy.Diary()
    found = localprompt.optimize(given, toy.model(answer=answer), method="auto", observer=observer)
    assert [turn.operator for turn in found.turns].count("reword") == 1
    assert found.best.instruction == toy.BEST
    assert any("reword takes no further part" in note for note in observer.notes)


def test_guesses_that_do_not_fit_leave_the_opening_its_sets() -> None:
    def answer(prompt: str, seed: int) -> str:
        if "The instruction" in prompt:
            raise localprompt.ContextOverflow("it has 500 tokens", "raise n_ctx")
        return toy.answer(prompt, seed)

    given = replace(toy.task(train=20, dev=20, test=20), seeds=(Prompt("Say something of the alpha."),))
    observer = toy.Diary()
    found = localprompt.optimize(
        replace(given, layout=toy.SHOWING), toy.model(answer=answer), method="auto", observer=observer
    )
    assert found.turns[0].proposals >= 6
    assert any("no guesses in the opening: it has 500 tokens" in note for note in observer.notes)


def test_what_has_no_instruction_is_not_reworded() -> None:
    problem = toy.problem(toy.model(answer=_writes), replace(toy.task(), layout=toy.SHOWING))
    shown = Prompt("", (Demo(problem.train[0].inputs, "omega0"),))
    other = replace(shown, demos=(Demo(problem.train[1].inputs, "omega1"),))
    ranked = [problem.evaluate([each])[0] for each in (shown, other, Prompt("Be kind."))]
    assert Auto()._operators(problem, problem.dev)["reword"](ranked)


def test_operators_in_turn_for_comparison() -> None:
    names = [turn.operator for turn in _search(choice="uniform", without="cross").turns[1:]]
    assert names[:3] == ["reword", "guess", "trajectory"]


@pytest.mark.parametrize(("setting", "value"), [("without", "crossing"), ("choice", "best")])
def test_an_unknown_operator_or_choice_is_one_sentence(setting: str, value: str) -> None:
    with pytest.raises(localprompt.ConfigError, match=value):
        configure("auto", {setting: value})


def test_other_worked_examples_are_of_train_fit_and_are_recorded() -> None:
    problem = toy.problem(toy.model(), replace(toy.task(), layout=toy.SHOWING))
    demos, other = (
        [Demo(each.inputs, each.targets[0]) for each in rows] for rows in (problem.train[:4], problem.train[4:8])
    )
    best = Prompt("Begin.", tuple(demos))
    found = swapped(problem, best, "auto")
    assert found
    of_train = [each.inputs for each in problem.train]
    assert all(demo.inputs in of_train for prompt in found for demo in prompt.demos)
    assert {each.prompt.id for each in problem.ranking.candidates} >= {prompt.id for prompt in found}
    assert {len(each.demos) for each in found} == {4, 8}, "twice as many, and none with fewer than the least"
    assert {len(each.demos) for each in swapped(problem, replace(best, demos=(*demos, *other)), "auto")} == {8, 6, 16}
    assert {len(each.demos) for each in swapped(problem, best, 4)} == {4}, "a number stays"
    assert swapped(problem, Prompt("Begin."), "auto") == []
    reasoned = replace(best, demos=(Demo(problem.train[0].inputs, "First I think. Then omega0."), demos[1]))
    assert all(
        set(map(str, each.demos)) <= set(map(str, reasoned.demos)) for each in swapped(problem, reasoned, "auto")
    )


def test_the_summary_adds_up_the_turns_of_each_operator() -> None:
    turns = [_turn("opening", 1000, 0.2), _turn("cross", 100), _turn("reason", 200, 0.05), _turn("cross", 150)]
    page = Console(width=200, record=True, file=io.StringIO())
    for part in turn_parts(turns):
        page.print(part)
    told = page.export_text()
    assert "what paid on dev: opening +0.200 (1,000 tokens, 69 %); reason +0.050 (200 tokens, 14 %)" in told
    assert "tried without a gain: cross (250 tokens, 17 %, 2 turns)" in told
    assert turn_parts([]) == []


def test_candidates_of_crossing_name_both_parents() -> None:
    problem = toy.problem(toy.model(answer=_writes))
    problem.record([Candidate(Prompt("Be brief."), "evaluated")])
    prompts = [Prompt("Be brief."), Prompt("Be kind.")]
    ranked = problem.evaluate(prompts)
    Auto()._operators(problem, problem.dev)["cross"](ranked)
    made = [each for each in problem.ranking.candidates if each.op == "cross"]
    assert made
    assert all(each.parents == tuple(prompt.id for prompt in prompts) for each in made)


def test_what_is_crossed_carries_the_better_worked_examples_of_its_instruction() -> None:
    given = replace(toy.task(), layout=toy.SHOWING)
    problem = toy.problem(toy.model(answer=_writes), given)
    shown = Prompt("Be brief.", tuple(Demo(each.inputs, each.targets[0]) for each in given.train[:2]))
    ranked = [problem.evaluate([each])[0] for each in (shown, Prompt("Be kind."), Prompt("Be brief."))]
    made = Auto()._operators(problem, problem.dev)["cross"](ranked)
    assert [each.demos for each in made] == [shown.demos]


def test_the_trajectory_draws_no_train_row_that_it_does_not_show() -> None:
    problem = toy.problem(toy.model(), toy.task(train=100))
    ranked = problem.evaluate([Prompt("Be brief.")])
    before = len(problem.unseen)
    Auto()._operators(problem, problem.dev)["trajectory"](ranked)
    assert before - len(problem.unseen) <= OPRO().draws * OPRO().exemplars


def test_a_task_without_train_rows_is_refused_before_anything_is_asked() -> None:
    lm = toy.Watched()
    with pytest.raises(localprompt.ConfigError, match="has none"):
        localprompt.optimize(toy.task(train=0), lm, method="auto")
    assert not lm.asked


def test_the_opening_counts_new_prompts_alone() -> None:
    found = _search(max_tokens=200)
    assert found.stopped
    assert [(turn.operator, turn.proposals) for turn in found.turns] == [("opening", 0), ("rest", 0)]


def _right_by_chance(context: str, continuation: str) -> float:
    """How many rows a prompt has right, and which, is drawn by its text."""
    prompt, _, question = context.rpartition("Input:")
    number = int("".join(filter(str.isdigit, question)) or 0)
    is_right = random.Random(f"{prompt}{number}").random() < random.Random(prompt).uniform(0.2, 0.7)
    return -0.5 if (continuation.strip() == ("even", "odd")[number % 2]) == is_right else -2.0


@pytest.mark.parametrize("limit", [1500, 2000, 2500, 3000])
def test_what_the_rest_of_the_budget_finds_is_told_too(limit: int) -> None:
    given = replace(toy.task(train=40, dev=30, labels=("even", "odd")), layout=toy.SHOWING, seeds=(Prompt("Sort it."),))
    lm = toy.model(answer=lambda prompt, seed: f" {seed % 97} {seed % 89} {seed % 83}.", logprob=_right_by_chance)
    found = localprompt.optimize(given, lm, method="auto", max_tokens=limit)
    assert found.dev is not None
    known = {each["prompt_id"]: each["mean"] for each in found.candidates if each["n"] == found.dev.n}
    rise = max(known.values()) - known[found.seed_prompt.id]
    assert found.turns[-1].operator == "rest"
    assert sum(turn.gain for turn in found.turns) == pytest.approx(rise)
    assert sum(turn.tokens for turn in found.turns) == found.spend.tokens_computed


@pytest.mark.parametrize("limit", [2000, 3000])
def test_an_operator_that_does_not_fit_the_budget_leaves_it_to_the_others(limit: int) -> None:
    given = replace(toy.task(train=40, dev=30, labels=("even", "odd")), layout=toy.SHOWING, seeds=(Prompt("Sort it."),))
    lm = toy.model(answer=lambda prompt, seed: f" {seed % 97} {seed % 89} {seed % 83}.", logprob=_right_by_chance)
    found = localprompt.optimize(given, lm, method="auto", max_tokens=limit)
    assert "the next step needs" in found.stopped
    last = {turn.operator: number for number, turn in enumerate(found.turns)}
    assert found.turns[-1].operator == "rest"
    assert set(OPERATORS) <= set(last), "each was tried once more before the end"
    assert found.spend.tokens_computed > 0.8 * limit
