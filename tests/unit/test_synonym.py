from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import toy

from localprompt.errors import BudgetExhausted
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.types import Prompt
from localprompt.variants.synonym import Synonym, _other_than
from localprompt.variants.variant import Origin, Variant

TEXT = 'Choose the label of a given sentence: odd or even, after "Answer is".'
WORDS = {"Choose": "select", "label": "class", "given": "shown", "sentence": "phrase", "after": "following"}
"""What the model says in place of each word."""
BACK = {new: old for old, new in WORDS.items()}


def asked(prompt: str) -> str:
    return str(re.findall(r'instead of "(.*?)" in', prompt)[-1])


def answer(prompt: str, seed: int) -> str:
    return WORDS.get(asked(prompt), "xyz") + '"'


def logprob(context: str, continuation: str) -> float:
    """Likely there and back where the two are a pair, and in every text."""
    if context.startswith("Instruction: "):
        return -1.0
    said, word = continuation.strip('"').casefold(), asked(context)
    return -1.0 if said in (WORDS.get(word), BACK.get(word.casefold(), "").casefold()) else -20.0


def origin(
    said: Callable[[str, int], str] = answer,
    weighed: Callable[[str, str], float] = logprob,
    *,
    text: str = TEXT,
    budget: Budget | None = None,
) -> Origin:
    task = replace(toy.task(labels=("odd", "even")), seeds=(Prompt(text),))
    return Origin(Prompt(text), task, toy.problem(ScriptedLM(answer=said, logprob=weighed), task, budget=budget))


def replaced(each: Variant, text: str = TEXT) -> tuple[str, str]:
    """Return the old word and the new one; the rest is as it was."""
    assert each.span
    start, end = each.span
    new, n_after = each.prompt.instruction, len(text) - end
    assert (new[:start], new[len(new) - n_after :]) == (text[:start], text[end:])
    return text[start:end], new[start : len(new) - n_after]


def test_each_word_is_replaced_by_a_synonym_in_its_case_and_what_is_named_stays() -> None:
    found = Synonym().variants(origin(), 20)
    assert sorted(map(replaced, found)) == [
        ("Choose", "Select"), ("after", "following"), ("given", "shown"), ("label", "class"), ("sentence", "phrase"),
    ]  # fmt: skip
    assert {each.change for each in found} >= {"'Select' for 'Choose'"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "no single word"),
        ('two words"', "no single word"),
        ('word-like"', "no single word"),
        ("Even", "names another output"),
        ("choosing", "a form of the same word"),
        ("Chose", "a form of the same word"),
        ("выбери", "in another script"),
        ("{{input}}", "no single word"),
        ("a " * 40, "no single word"),
        ("Ignore", "unlikely synonym"),
        ("the", "no single word"),
        ("Text", "in the text already"),
    ],
)
def test_what_is_no_other_word_of_the_same_meaning_is_discarded_and_counted(reply: str, reason: str) -> None:
    text = "Choose it: a text."
    given = origin(lambda prompt, seed: reply if asked(prompt) == "Choose" else "", text=text)
    assert not Synonym().variants(given, 3)
    assert set(given.problem.proposer.discards) <= {reason, "duplicate", "no single word"}
    assert given.problem.proposer.discards[reason]


@pytest.mark.parametrize("weak", ["there", "back", "text"])
def test_a_word_is_used_only_if_likely_there_and_back_and_in_the_text(weak: str) -> None:
    def weighed(context: str, continuation: str) -> float:
        if context.startswith("Instruction: "):
            return -40.0 if weak == "text" and continuation.startswith("Select") else -1.0
        direction = "there" if continuation == 'Select"' else "back"
        return -20.0 if direction == weak else -1.0

    assert not Synonym().variants(origin(weighed=weighed, text="Choose it."), 3)


def test_the_article_before_a_word_stays_right() -> None:
    given = origin(lambda prompt, seed: "utterance", lambda *_: -1.0, text="Is a sentence true?")
    assert [replaced(each, "Is a sentence true?")[0] for each in Synonym().variants(given, 9)] == ["true"]
    assert given.problem.proposer.discards["wrong article"]


def test_a_few_are_spread_over_the_instruction() -> None:
    text = " ".join("choose" if i % 2 else "label" for i in range(40))
    spans = [each.span for each in Synonym().variants(origin(lambda *_: "select", lambda *_: -1.0, text=text), 4)]
    quarters = sorted(span[0] * 4 // len(text) for span in spans if span)
    assert quarters == [0, 1, 2, 3]


def test_several_words_in_place_of_one_come_after_each_had_its_turn() -> None:
    given = origin(
        lambda prompt, seed: ("select", "determine", "prefer")[seed % 3], lambda *_: -1.0, text="Choose label"
    )
    words = [replaced(each, "Choose label")[0] for each in Synonym().variants(given, 6)]
    assert sorted(words[:2]) == ["Choose", "label"]
    assert len(words) > 2


def test_no_more_is_asked_than_is_needed() -> None:
    lm = ScriptedLM(answer=answer, logprob=logprob)
    given = Origin(Prompt(TEXT), toy.task(), toy.problem(lm))
    assert len(Synonym().variants(given, 1)) == 1
    assert lm.n_generated <= 2 * 6


def test_a_long_prompt_is_shown_in_part() -> None:
    lm = ScriptedLM(answer=lambda *_: "select", logprob=lambda *_: -1.0)
    given = Origin(Prompt("label " * 5_000), toy.task(), toy.problem(lm))
    assert len(Synonym().variants(given, 2)) == 2
    assert max(map(len, lm.seen)) < 2_000


@pytest.mark.parametrize(
    "text", ["", " \n", "odd or even?", "请判断这句话的情感。", "{{input}}", "a b c", "Five or seven, odd?"]
)
def test_where_no_word_may_be_replaced_nothing_is_asked(text: str) -> None:
    assert not Synonym().variants(origin(toy.failing(AssertionError()), text=text), 5)


def test_a_context_without_room_gives_nothing() -> None:
    given = origin()
    lm = ScriptedLM(answer=answer)
    lm.n_ctx = 30
    assert not Synonym().variants(replace(given, problem=toy.problem(lm)), 5)


def test_what_was_asked_before_changes_nothing() -> None:
    def said(prompt: str, seed: int) -> str:
        return ("select", "determine", "prefer", "take", "name", "find")[seed % 6]

    given = origin(said, lambda *_: -1.0)
    first = Synonym().variants(given, 3)
    given.problem.proposer.complete(["something else"], toy.task().sampling)
    assert Synonym().variants(given, 3) == first
    assert Synonym().variants(replace(given, seed=1), 3) != first


def test_a_model_without_chat_is_asked_too() -> None:
    lm = ScriptedLM(answer=lambda *_: "select", logprob=lambda *_: -1.0, has_chat=False)
    assert Synonym().variants(Origin(Prompt(TEXT), toy.task(), toy.problem(lm)), 1)


def test_an_exhausted_budget_is_told() -> None:
    with pytest.raises(BudgetExhausted):
        Synonym().variants(origin(budget=Budget(max_tokens=5)), 3)


@pytest.mark.parametrize(
    ("word", "is_other"),
    [("select", True), ("chat", True), ("Choose", False), ("chose", False), ("choosing", False), ("ch", False)],
)
def test_the_grammar_has_no_form_of_the_word(word: str, is_other: bool) -> None:
    # Python has neither classes of letters nor differences of classes.
    pattern = re.sub(r"\[\\p\{L\}--\[(\w+)\]\]", r"[^\\W\1]", _other_than("Choose")).replace(r"[\p{L}\p{M}]", r"\w")
    assert (re.fullmatch(pattern, f'{word}"') is not None) == is_other
