"""Words of scripts that write vowels as marks, or no spaces."""

from __future__ import annotations

import pytest

from localprompt.proposals.similarity import gist, is_unspaced, loops, normalised, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("विपरीत शब्द लिखो।", ["विपरीत", "शब्द", "लिखो"]),
        ("বিপরীত শব্দ লেখো", ["বিপরীত", "শব্দ", "লেখো"]),
        ("எதிர்ச்சொல்லை எழுது", ["எதிர்ச்சொல்லை", "எழுது"]),
        ("كَتَبَ، ثم", ["كَتَبَ", "ثم"]),
        ("שָׁלוֹם!", ["שָׁלוֹם"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("snake_case, x2 ½", ["snake_case", "x2", "1", "2"]),
        ("❤️ ✔️ 👩‍👧", []),
        ("ที่ ไทย", ["ที่", "ไ", "ท", "ย"]),
        ("写now写", ["写", "now", "写"]),
        ("ရေးပါ။", ["ရေး", "ပါ"]),
    ],
)
def test_a_mark_belongs_to_the_character_before_it(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_texts_that_differ_in_their_marks_differ() -> None:
    assert normalised("किताब लिखो") != normalised("कताब लखी")
    assert gist("शब्द लिखो") == "शब्द लिखो"


def test_a_joiner_makes_no_other_word() -> None:
    assert normalised("Wri\u200dte it") == "write it"


@pytest.mark.parametrize(
    ("word", "is_one"), [("写", True), ("ที่", True), ("write", False), ("शब्द", False), ("1", False)]
)
def test_characters_of_scripts_without_spaces_are_known(word: str, is_one: bool) -> None:
    assert is_unspaced(word) == is_one


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("Write the word, write the word, write the word", True),
        ("Name it: the opposite of the word, the opposite of the word, the opposite of the word", True),
        ("Answer no no no no no no.", True),
        ("把句子翻译把句子翻译把句子翻译", True),
        ("把句子翻译成英文，例如：哈哈哈哈哈哈 -> hahaha", False),
        ("Write the word, write the word, then stop.", False),
        ("Answer no, no, no.", False),
        ("Write the word. Then write the word again, and write the word a third time.", False),
        ("", False),
    ],
)
def test_a_phrase_that_is_said_three_times_in_a_row_is_a_loop(text: str, loop: bool) -> None:
    assert loops(text) is loop
