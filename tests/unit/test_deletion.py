from __future__ import annotations

import pytest
import toy

from localprompt.variants.deletion import Deletion

TOPICS = toy.task(labels=("World", "Sports", "Tech", "no"))


def without(instruction: str, most: int = 100) -> list[str]:
    return [each.prompt.instruction for each in Deletion().variants(toy.origin(instruction, TOPICS), most)]


def test_each_word_is_left_out_in_turn_and_a_short_one_goes_with_the_next() -> None:
    instruction = "Given the item, assign a label from ['World', 'Sports', 'Tech']. Say it."
    origin = toy.origin(instruction, TOPICS)
    variants = Deletion().variants(origin, 100)
    assert [each.prompt.instruction for each in variants] == [
        "the item, assign a label from ['World', 'Sports', 'Tech']. Say it.",
        "Given, assign a label from ['World', 'Sports', 'Tech']. Say it.",
        "Given the item, a label from ['World', 'Sports', 'Tech']. Say it.",
        "Given the item, assign from ['World', 'Sports', 'Tech']. Say it.",
        "Given the item, assign a label ['World', 'Sports', 'Tech']. Say it.",
        "Given the item, assign a label from ['World', 'Sports', 'Tech'].",
    ]
    assert [instruction[slice(*each.span or ())] for each in variants][:3] == ["Given", "the item", "assign"]
    assert variants[1].change == "without 'the item'"


def test_names_of_outputs_stay_and_no_piece_goes_over_one() -> None:
    assert without("Answer no or Tech.") == ["no or Tech.", "Answer no Tech."]
    assert without("It is World if all is well, else no, as ever.", 3) == [
        "World if all is well, else no, as ever.",
        "It is World no, as ever.",
        "It is World if all is well, else no.",
    ]
    assert without("World") == without("World, no") == []


def test_neighbours_go_together_where_there_are_more_words_than_variants() -> None:
    words = [f"word{n}" for n in range(5_000)]
    found = without(" ".join(words), 30)
    assert len(found) == 30
    lengths = [len(text.split()) for text in found]
    assert (min(lengths), max(lengths)) == (4833, 4834)


@pytest.mark.parametrize(
    ("instruction", "texts"),
    [
        ("Classify", [""]),
        ("Classify!", [""]),
        ("", []),
        ("🙂", []),
        ("{{input}}", [""]),
        ("判断评论", ["评论", "判断"]),
        ("判断 text", ["text", "判断"]),
        ("กำกาดี", ["าดี", "กำก"]),
        ("سجل النص", ["النص", "سجل"]),
        ("Is it so?", ["it so?", "Is so?", "Is it?"]),
    ],
)
def test_a_text_of_one_word_leaves_nothing_and_scripts_without_spaces_go_by_two(
    instruction: str, texts: list[str]
) -> None:
    assert without(instruction) == texts


def test_a_prompt_of_several_words_is_never_left_empty() -> None:
    assert without("Name every planet", 1) == ["every planet"]


def test_a_bracket_or_comma_of_which_the_other_half_is_gone_goes_too() -> None:
    classes = toy.task(labels=("good", "great"))
    found = Deletion().variants(toy.origin("Choose one: (1) good, and (2) great.", classes), 2)
    assert [each.prompt.instruction for each in found] == ["good, and (2) great.", "Choose one: (1) good, great."]
    assert "Please do it. give a label." in without("Please do it. Given the item, give a label.", 4)
