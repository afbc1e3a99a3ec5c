from __future__ import annotations

from collections import Counter

import pytest
import toy

from localprompt.variants.spelling import Spelling

SENTIMENT = toy.task(labels=("positive", "negative", "正面"))


def slips(instruction: str, most: int = 100, seed: int = 0) -> dict[str, str]:
    """The word there was by the word there is."""
    found = {}
    for each in Spelling().variants(toy.origin(instruction, SENTIMENT, seed=seed), most):
        assert each.span is not None
        start, end = each.span
        old, new = instruction[start:end], each.prompt.instruction
        assert new.startswith(instruction[:start])
        assert new.endswith(instruction[end:])
        found[new[start : len(new) - len(instruction) + end]] = old
        assert each.change == f"{new[start : len(new) - len(instruction) + end]!r} for {old!r}"
    return found


def test_each_word_has_one_slip_of_each_kind_and_names_of_outputs_have_none() -> None:
    found = slips("Classify it as positive or Negative, {{input}} text.")
    assert Counter(found.values()) == {"Classify": 5, "text": 5}
    assert {"classify", "TEXT"} <= set(found)
    assert all(word[0].casefold() in "ct" for word in found)


def test_all_words_have_a_slip_before_one_has_two_and_the_seed_draws_them() -> None:
    assert sorted(slips("Name every planet", 3).values()) == ["Name", "every", "planet"]
    assert slips("Name every planet") == slips("Name every planet") != slips("Name every planet", seed=1)


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ("判断评论", {"断判": "判断", "论评": "评论"}),
        ("评论正面", {"论评": "评论"}),
        ("Say no", {}),
        ("", {}),
        ("positive", {}),
        ("12345 a1b2c3", {}),
    ],
)
def test_other_scripts_are_only_swapped_and_there_may_be_no_word(instruction: str, words: dict[str, str]) -> None:
    assert slips(instruction) == words


def test_other_alphabets_have_no_neighbouring_keys() -> None:
    found = slips("Назови")
    assert "назови" in found
    assert all(set(word.lower()) <= set("назови") for word in found)
    assert {len(word) for word in found} == {5, 6}


def test_a_slip_never_makes_another_word_of_the_prompt() -> None:
    for seed in range(50):
        assert "from" not in slips("Form from", seed=seed)
        assert "Form" not in slips("Form from", seed=seed)
