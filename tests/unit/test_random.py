"""Random search: no feedback, and what the proposer is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
import toy

from localprompt.errors import ConfigError
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure
from localprompt.problem import Problem
from localprompt.types import Prompt

SMALL = {"proposals": 4, "per_round": 4, "per_request": 2, "demos": 2}


def _run(lm: ScriptedLM, *seeds: str, **settings: object) -> Problem:
    given = replace(toy.task(), seeds=tuple(Prompt(seed) for seed in seeds))
    problem = toy.problem(lm, given)
    configure("random", {**SMALL, **settings}).run(problem)
    return problem


def _asked(lm: ScriptedLM) -> list[str]:
    return list(dict.fromkeys(text for text in lm.seen if toy.is_asked_to_write(text)))


def test_an_empty_seed_is_replaced_by_guesses_from_examples() -> None:
    lm = toy.model()
    problem = _run(lm, "", proposals=32)
    assert {each.op for each in problem.candidates} == {"seed", "induce"}
    first, *others = _asked(lm)
    assert len(others) == 15
    assert first == (
        "[user] One rule turned each of these inputs into its output.\n\n"
        "Input: alpha2\nOutput: omega2\n\nInput: alpha10\nOutput: omega10\n\n"
        "State the rule as an instruction in one general sentence, which also says what an output may look like.\n"
        "[assistant] The instruction was to"
    )
    assert problem.winner().candidate.prompt == Prompt(toy.BEST)


def test_a_seed_with_words_is_said_in_other_words() -> None:
    lm = toy.model()
    problem = _run(lm, "Say it.")
    (asked,) = _asked(lm)
    assert asked == (
        "[user] Rewrite this instruction with a wording of your own. What it asks for stays the same, and nothing is "
        "added.\n\nSay it.\n[assistant] Another wording:"
    )
    assert {each.parents for each in problem.candidates if each.op == "paraphrase"} == {(Prompt("Say it.").id,)}


def test_a_base_model_gets_plain_text() -> None:
    lm = toy.model(has_chat=False)
    _run(lm, "", "Say it.")
    paraphrase, induce = _asked(lm)
    assert induce.endswith("the rule that makes an output from an input is to")
    assert paraphrase == "Two wordings of one instruction.\n\nWording A: Say it.\n\nWording B:"


def test_the_proposer_never_learns_a_score_or_an_earlier_proposal() -> None:
    seen_by = []
    for gives in (toy.answer, lambda prompt, seed: toy.GUESSES[seed % 7] if toy.is_asked_to_write(prompt) else " no"):
        lm = toy.model(answer=gives)
        _run(lm, "", proposals=32)
        seen_by.append(_asked(lm))
    assert seen_by[0] == seen_by[1]


def test_as_many_proposals_are_asked_for_as_set() -> None:
    asked = []
    lm = toy.model(answer=lambda p, s: asked.append(s) or f" say {s}." if toy.is_asked_to_write(p) else " no")
    _run(lm, "", proposals=24, per_round=8, per_request=4)
    assert len(asked) == 24


def test_examples_are_needed_only_for_an_empty_seed() -> None:
    given = toy.task(train=0)
    with pytest.raises(ConfigError, match="needs worked examples"):
        configure("random", SMALL).run(toy.problem(toy.model(), given))
    configure("random", SMALL).run(toy.problem(toy.model(), replace(given, seeds=(Prompt("Say it."),))))


@pytest.mark.parametrize("settings", [{"proposals": 0}, {"demo_chars": 3}, {"temperature": -1}, {"top_p": 0}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        configure("random", settings)
