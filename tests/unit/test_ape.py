"""APE's own choices; what holds for every optimiser is in contracts/."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

from localprompt.errors import BudgetExhausted, ConfigError
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure
from localprompt.optimizers.ape import APE, fills_blanks
from localprompt.search.filtering import spend_remaining
from localprompt.search.problem import Problem
from localprompt.types import Example, Prompt

PROBE = {"She was": "Paris", "His favourite": "dog", "They sell": "banana"}


def _filling(prompt: str, seed: int) -> str:
    """A model that can fill blanks: it knows the probe, and repeats the suffix after what it writes."""
    for beginning, word in PROBE.items():
        if prompt.startswith(f"[prefix]{beginning}"):
            return word
    return toy.answer(prompt, seed)


def _run(lm: ScriptedLM, **settings: Any) -> Problem:
    problem = toy.problem(lm)
    APE(**settings).run(problem)
    return problem


def _shown(lm: ScriptedLM) -> list[str]:
    return [text for text in lm.seen if toy.is_asked_to_write(text)]


@pytest.mark.parametrize("selection", ["filter", "ucb"])
@pytest.mark.parametrize("scoring", ["exec", "logprob"])
@pytest.mark.parametrize("mode", ["forward", "fim", "cloze", "sir", "auto"])
def test_every_way_of_proposing_scoring_and_selecting_finds_the_best_prompt(
    mode: str, scoring: str, selection: str
) -> None:
    problem = _run(toy.model(answer=_filling, has_fim=True), mode=mode, scoring=scoring, selection=selection)
    winner = problem.ranking.winner()
    assert winner.candidate.prompt == Prompt(toy.BEST)
    assert winner.candidate.op == ("fim" if mode == "auto" else mode)
    assert winner.evaluation is not None
    assert (winner.evaluation.mean, len(winner.evaluation.outcomes)) == (1.0, len(problem.dev))


def test_the_demos_are_different_training_examples_with_one_of_their_answers() -> None:
    lm = toy.model()
    _run(lm, queries=3, per_query=2, demos=4, resample_rounds=0)
    shown = _shown(lm)
    assert len(dict.fromkeys(shown)) == 3
    assert shown[0] == shown[1] != shown[2]
    assert all(text.endswith(" was to") for text in shown)
    numbers = [int(line.removeprefix("Input: alpha")) for line in shown[0].splitlines() if line.startswith("Input:")]
    assert len(set(numbers)) == 4
    assert all(f"Input: alpha{n}\nOutput: omega{n}\n" in shown[0] + "\n" for n in numbers)


def test_fewer_training_examples_than_demos_are_all_shown() -> None:
    lm = toy.model()
    problem = toy.problem(lm, toy.task(train=2))
    APE(queries=1, per_query=7, demos=5).run(problem)
    assert _shown(lm)[0].count("Input:") == 2


def test_a_question_to_a_chat_model_ends_in_the_opening_of_its_answer() -> None:
    lm = toy.model()
    _run(lm, style="auto", queries=2, per_query=2)
    assert _shown(lm)[0].startswith("[user] ")
    assert _shown(lm)[0].endswith("[assistant] The instruction was to")


@pytest.mark.parametrize(
    ("settings", "message"), [({"mode": "cloze"}, "mode=cloze"), ({"style": "chat"}, "style=chat")]
)
def test_a_base_model_is_not_asked_to_chat(settings: dict[str, Any], message: str) -> None:
    lm = toy.model(has_chat=False)
    with pytest.raises(ConfigError, match=message):
        _run(lm, **settings)
    assert lm.seen == []


def test_a_blank_is_refused_where_the_model_has_no_tokens_for_it() -> None:
    with pytest.raises(ConfigError, match="has no fill-in-the-middle tokens"):
        _run(toy.model(), mode="fim")


def test_a_blank_is_refused_where_the_probe_shows_that_the_model_cannot_fill_one() -> None:
    lm = toy.model(has_fim=True)
    assert not fills_blanks(toy.problem(lm))
    with pytest.raises(ConfigError, match="could not fill the blank"):
        _run(lm, mode="fim")
    assert _run(toy.model(has_fim=True), mode="auto").ranking.candidates[1].op == "sir"


def test_the_blank_stands_before_the_examples() -> None:
    lm = toy.model(answer=_filling, has_fim=True)
    _run(lm, mode="fim", queries=2, per_query=2)
    asked = [text for text in lm.seen if text.startswith("[prefix]Instruction: [suffix]\n\nInput: alpha")]
    assert len(asked) == 2 * 2


def test_importance_resampling_keeps_what_explains_unseen_examples() -> None:
    guesses = [f"say thing number {word}." for word in ("one", "two", "three", "four", "five", "six")]

    def answer(prompt: str, seed: int) -> str:
        return ([*guesses, toy.GUESSES[1]])[seed % 7] if toy.is_asked_to_write(prompt) else toy.answer(prompt, seed)

    problem = _run(toy.model(answer=answer), mode="sir", sir_keep=1, sir_temperature=0.05)
    guessed = [each for each in problem.ranking.finalists() if each.candidate.op == "sir"]
    assert [each.candidate.prompt.instruction for each in guessed] == [toy.BEST]
    assert sum(candidate.op == "sir" for candidate in problem.ranking.candidates) == 7  # also those that were not drawn


def test_variants_have_the_same_meaning_asked_for_and_their_parent_recorded() -> None:
    def answer(prompt: str, seed: int) -> str:
        if prompt.endswith("Second way:"):
            return f" Way {seed % 100} to turn an alpha into its omega."
        return " say a thing about the alpha." if toy.is_asked_to_write(prompt) else toy.answer(prompt, seed)

    lm = toy.model(answer=answer)
    problem = _run(lm, style="raw", resample_rounds=3)
    winner = problem.ranking.winner().candidate
    assert winner.op == "resample"
    assert winner.parents == (Prompt("Say a thing about the alpha.").id,)
    assert any("First way: Say a thing about the alpha.\n" in text for text in lm.seen)


def test_a_long_instruction_may_get_long_variants() -> None:
    long = "".join(f" Think of step {n}." for n in range(20))
    lm = toy.model(answer=lambda p, s: long if toy.is_asked_to_write(p) else toy.answer(p, s))
    given = toy.task()
    object.__setattr__(given, "seeds", (Prompt("Speak of the alpha. " + "Be brief. " * 30),))
    problem = toy.problem(lm, given)
    APE(resample_rounds=1).run(problem)
    variants = [candidate for candidate in problem.ranking.candidates if candidate.op == "resample"]
    assert [len(variant.prompt.instruction.split()) for variant in variants] == [80]


def test_resampling_ends_when_nothing_gets_better() -> None:
    def answer(prompt: str, seed: int) -> str:
        if prompt.endswith("Second way:"):
            return f" Way {seed % 1000} to do nothing."
        return " say a thing about the alpha." if toy.is_asked_to_write(prompt) else toy.answer(prompt, seed)

    lm = toy.model(answer=answer)
    _run(lm, style="raw", resample_rounds=9)
    assert sum(text.endswith("Second way:") for text in lm.seen) == 4


@pytest.mark.parametrize("scoring", ["exec", "logprob"])
def test_the_result_is_never_worse_on_dev_than_a_seed(scoring: str) -> None:
    lm = toy.model(answer=lambda p, s: " say so and so." if toy.is_asked_to_write(p) else toy.answer(p, s))
    given = toy.task()
    object.__setattr__(given, "seeds", (Prompt(""), Prompt("Think of an omega.")))
    problem = toy.problem(lm, given)
    APE(scoring=scoring, resample_rounds=0).run(problem)  # type: ignore[arg-type]
    assert problem.ranking.winner().candidate.prompt == Prompt("Think of an omega.")


def test_a_search_cut_short_knows_no_worse_prompt_than_its_seed() -> None:
    lm = toy.model(answer=lambda p, s: f" say thing {s}." if toy.is_asked_to_write(p) else toy.answer(p, s))
    given = toy.task()
    object.__setattr__(given, "seeds", (Prompt("Speak of the alpha."),))
    for max_calls in range(40, 900, 20):
        problem = toy.problem(lm, given, budget=Budget(max_calls=max_calls))
        with suppress(BudgetExhausted):
            APE().run(problem)
        assert problem.ranking.winner().candidate.prompt == given.seeds[0]


def test_a_default_run_on_a_hundred_dev_rows_costs_about_a_thousand_answers() -> None:
    budget = Budget()
    APE().run(toy.problem(toy.model(), toy.task(dev=100), budget=budget))
    assert budget.spend.calls < 1100


def test_candidates_of_a_few_shot_search_carry_the_same_training_examples() -> None:
    problem = toy.problem(toy.model(), replace(toy.task(), layout=toy.SHOWING))
    APE(shots=3, resample_rounds=0).run(problem)
    found = [candidate.prompt for candidate in problem.ranking.candidates if candidate.op == "forward"]
    assert found
    assert {prompt.demos for prompt in problem.seeds} == {()}
    assert len(found[0].demos) == 3
    assert all(prompt.demos == found[0].demos for prompt in found)
    train = {example.inputs["input"]: example.targets for example in problem.train}
    assert all(demo.output in train[demo.inputs["input"]] for demo in found[0].demos)


def _ever_new(prompt: str, seed: int) -> str:
    """A model that never says the same twice."""
    return f" turn the alpha into the omega number {seed}." if toy.is_asked_to_write(prompt) else "no idea"


def test_examples_whose_guesses_are_of_no_use_are_asked_about_once_more() -> None:
    lm = toy.model(answer=lambda prompt, seed: "..." if toy.is_asked_to_write(prompt) else "no idea")
    problem = _run(lm, queries=3, per_query=2)
    assert len(_shown(lm)) == 2 * 3 * 2
    assert problem.proposer.discards == {"empty": 12}


@pytest.mark.parametrize(("mode", "style"), [("forward", "chat"), ("forward", "raw"), ("cloze", "chat")])
def test_examples_that_do_not_fit_the_context_are_shown_shorter(mode: str, style: str) -> None:
    lm = toy.model()
    lm.n_ctx = 240
    long = tuple(Example(f"train:{n}", {"input": f"alpha{n} " + "so " * 99}, (f"omega{n}",)) for n in range(9))
    APE(mode=mode, queries=2, per_query=2, style=style).run(toy.problem(lm, replace(toy.task(), train=long)))  # type: ignore[arg-type]
    asked = _shown(lm)[:4]
    assert all(text.count(" ... ") == 5 for text in asked)
    assert all(n + APE().max_tokens <= lm.n_ctx for n in lm.count_tokens(asked))


def test_the_preset_of_the_paper_guesses_fifty_times_and_varies_nothing() -> None:
    lm = toy.model(answer=_ever_new)
    problem = toy.problem(lm)
    configure("ape", {}, "paper").run(problem)
    assert len(_shown(lm)) == 50
    assert not any(candidate.op == "resample" for candidate in problem.ranking.candidates)
    assert lm.n_scored == 0  # no ties are broken by likelihood


def test_meta_prompts_can_be_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "induce.txt").write_text("{{demos}}\n\nMy own question:\n", encoding="utf-8")
    (tmp_path / "induce_pair.txt").write_text("{{inputs}} -> {{output}}\n", encoding="utf-8")
    lm = toy.model()
    _run(lm, style="raw", templates=tmp_path, queries=1, per_query=2)
    assert _shown(lm)[0].startswith("Input: alpha")
    assert _shown(lm)[0].endswith("\n\nMy own question:")
    assert " -> omega" in _shown(lm)[0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("induce_chat.txt", "{{demos}} Begin:", "no blank line"),
        ("induce_chat.txt", "Say.\n\n{{demos}}\n", "slot in its last paragraph"),
        ("cloze.txt", "Fill in.\n\nExamples: {{demos}}", "slot in its last paragraph"),
        ("induce.txt", "no slot", "lacks the slot {{demos}}"),
        ("induce.txt", "{{demos}} {{demos}}", "more than once"),
        ("induce.txt", "{{demos}} {{demo}}", "unknown slot {{demo}}"),
        ("indoce.txt", "{{demos}}", "no meta-prompt of this method"),
        ("induce.txt", "\udcff", "not UTF-8"),
    ],
)
def test_a_meta_prompt_that_cannot_work_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    lm = toy.model()
    with pytest.raises(ConfigError, match=message.replace("{", r"\{")):
        _run(lm, templates=tmp_path)
    assert lm.seen == []


def test_a_budget_that_has_room_for_one_finalist_measures_the_best() -> None:
    free = Budget()
    APE(resample_rounds=0).run(toy.problem(toy.model(), budget=free))
    budget = Budget(max_calls=free.spend.calls - 20)  # a prompt that was filtered takes 16 more
    problem = toy.problem(toy.model(), budget=budget)
    with pytest.raises(BudgetExhausted):
        APE(resample_rounds=0).run(problem)
    winner = problem.ranking.winner()
    assert winner.candidate.prompt == Prompt(toy.BEST)
    assert winner.evaluation is not None
    assert len(winner.evaluation.outcomes) == len(problem.dev)


def test_a_small_set_of_outputs_is_listed_for_the_proposer() -> None:
    lm = toy.model()
    APE(queries=1, per_query=1).run(toy.problem(lm, toy.task(labels=("yes", "no"))))
    assert "Every output is one of these: no, yes." in _shown(lm)[0]
    lm = toy.model()
    _run(lm, queries=1, per_query=1)
    assert "Every output is one of these" not in _shown(lm)[0]


def test_where_no_candidate_scores_the_likelihood_of_the_right_answers_decides() -> None:
    def answers_nothing(prompt: str, seed: int) -> str:
        return toy.answer(prompt, seed) if toy.is_asked_to_write(prompt) else ""

    lm = toy.model(answer=answers_nothing)
    problem = _run(lm, stages=(6,), keep=0.01, finalists=1, resample_rounds=0)
    asked = Counter(text.partition("\n")[0] for text in lm.seen if text.endswith("Output:"))
    assert asked[toy.BEST] == len(problem.dev)
    assert sorted(asked.values())[-2] == 6  # every other candidate


def test_slots_inside_data_are_not_filled() -> None:
    given = toy.task(train=1)
    given.train[0].inputs["input"] = "{{demos}} {{output}}"  # type: ignore[index]
    lm = toy.model()
    APE(queries=1, per_query=1).run(toy.problem(lm, given))
    assert "Input: {{demos}} {{output}}\n" in _shown(lm)[0]


@pytest.mark.parametrize("settings", [{"queries": 0}, {"keep": 0.0}, {"stages": (8, 0)}, {"temperature": -1.0}])
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        APE(**settings)


def test_wherever_the_budget_ends_the_result_is_not_worse_on_dev_than_a_good_seed() -> None:
    def answer(prompt: str, seed: int) -> str:
        word = ("red", "green", "blue", "grey", "pink", "teal")[seed % 6]
        return f" say something {word} about the alpha." if toy.is_asked_to_write(prompt) else toy.answer(prompt, seed)

    seed = Prompt(toy.BEST)
    for limit in range(20, 420, 5):
        problem = toy.problem(
            toy.model(answer=answer), replace(toy.task(), seeds=(seed,)), budget=Budget(max_calls=limit)
        )
        with suppress(BudgetExhausted):
            APE(queries=2, per_query=6, tiebreak=False).run(problem)
        with suppress(BudgetExhausted):
            spend_remaining(problem)
        assert problem.ranking.winner().candidate.prompt == seed, limit
