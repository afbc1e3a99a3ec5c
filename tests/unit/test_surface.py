from __future__ import annotations

import re
from dataclasses import replace

import pytest
import toy

from localprompt.tasks.answers import Extraction, find_answer
from localprompt.variants.spelling import Spelling
from localprompt.variants.surface import Surface
from localprompt.variants.variant import Family

SENTIMENT = toy.task(labels=("Good", "bad"))


def changes(instruction: str) -> dict[str, str]:
    origin = toy.origin(instruction, SENTIMENT)
    return {each.change: each.prompt.instruction for each in Surface().variants(origin, 20)}


def test_each_change_of_the_surface_leaves_what_is_said() -> None:
    assert changes("Rate the review. Answer Good or bad.") == {
        "without the final full stop": "Rate the review. Answer Good or bad",
        "all in capitals": "RATE THE REVIEW. ANSWER Good OR bad.",
        "all in lower case": "rate the review. answer Good or bad.",
        "with 'please'": "Please help with this: Rate the review. Answer Good or bad.",
        "first letter in lower case": "rate the review. Answer Good or bad.",
        "a line break between sentences": "Rate the review.\nAnswer Good or bad.",
        "two spaces between sentences": "Rate the review.  Answer Good or bad.",
        "a space at the end": "Rate the review. Answer Good or bad. ",
        "with thanks": "Rate the review. Answer Good or bad. Thank you.",
    }


def test_a_polite_prompt_loses_its_please_and_a_bare_end_gets_a_full_stop() -> None:
    found = changes('please rate it as "Good" or "bad"')
    assert found["without 'please'"] == 'rate it as "Good" or "bad"'
    assert found["with a final full stop"] == 'please rate it as "Good" or "bad".'
    assert changes("Please rate it.")["without 'please'"] == "Rate it."
    assert changes("Rate it, please.")["without 'please'"] == "Rate it."


@pytest.mark.parametrize(
    ("instruction", "texts"),
    [
        ("判断评论。回答好或坏", ["判断评论。回答好或坏。", "判断评论。\n回答好或坏", "判断评论。回答好或坏 "]),
        ("שלום", ["שלום.", "שלום "]),
        ("ตอบ", ["ตอบ "]),
        ("🙂", ["🙂 "]),
        ("good", ["good.", "good "]),
        ("{{Input}}", ["{{Input}} "]),
        ("", []),
        (" \n", []),
    ],
)
def test_scripts_without_case_and_texts_without_words_get_only_what_fits(instruction: str, texts: list[str]) -> None:
    assert list(changes(instruction).values()) == texts


def test_no_more_than_asked_for_and_no_end_of_abbreviations() -> None:
    assert len(Surface().variants(toy.origin("Rate the review.", SENTIMENT), 2)) == 2
    assert "a line break between sentences" not in changes("Rate it, e.g. With a word.")


@pytest.mark.parametrize(
    ("instruction", "broken", "wide"),
    [
        (
            'Say "Not now. Ask later" if unsure. Be brief.',
            'Say "Not now. Ask later" if unsure.\nBe brief.',
            'Say "Not now. Ask later" if unsure.  Be brief.',
        ),
        ("判断「好。坏。」的评论。回答好", "判断「好。坏。」的评论。\n回答好", None),
    ],
)
def test_sentences_of_a_quotation_stay_together(instruction: str, broken: str, wide: str | None) -> None:
    found = changes(instruction)
    assert found["a line break between sentences"] == broken
    assert found.get("two spaces between sentences") == wide


@pytest.mark.parametrize("family", [Surface(), Spelling()])
@pytest.mark.parametrize(
    ("answer", "asked_for"),
    [
        (find_answer("json_field", "result"), 'Reply as JSON with the key "result".'),
        (find_answer("json_field", "result"), "Reply as JSON whose key is result and nothing else."),
        (find_answer("after_marker", "Answer:"), "Think first, then write Answer: and the word."),
        (find_answer("whole"), "Begin the reply with `<Reply>` and 'Dear Sir'."),
    ],
)
def test_how_an_answer_is_found_is_no_matter_of_wording(family: Family, answer: Extraction, asked_for: str) -> None:
    origin = toy.origin(f"Turn every alpha into the omega. {asked_for}", replace(toy.task(), answer=answer))
    kept = [*re.findall("\"result\"|`<Reply>`|'Dear Sir'", asked_for), answer.argument]
    found = family.variants(origin, 100)
    assert len(found) > 5
    assert all(piece in each.prompt.instruction for each in found for piece in kept)


@pytest.mark.parametrize("family", [Surface(), Spelling()])
@pytest.mark.parametrize(
    "kept",
    [
        '```json\n{"verdict": "keep this", "reason": "one sentence. Another one"}\n```',
        "```python\ndef answer(text):\n    return label",
        f'"I am sorry, but {"I cannot say anything about that, " * 3}and nobody else can."',
        f"“I am sorry, but {'I cannot say anything about that, ' * 3}and nobody else can.”",
    ],
)
def test_code_and_long_quotations_stay_as_they_are(family: Family, kept: str) -> None:
    found = family.variants(toy.origin(f"Rate every review. Where none is there, say {kept}", SENTIMENT), 100)
    assert len(found) > 5
    assert all(kept in each.prompt.instruction for each in found)
