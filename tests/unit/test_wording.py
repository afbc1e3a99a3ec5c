"""Words of scripts that write vowels as marks, or no spaces."""

from __future__ import annotations

import pytest

from localprompt.proposals.similarity import gist, is_unspaced, normalised, words


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
