"""What is the same text in another writing, in every script."""

from __future__ import annotations

import random
import string

import pytest

from localprompt.tasks.metrics import METRICS
from localprompt.tasks.normalising import holds, normalise, parts, words


def _of_the_papers(text: str) -> str:
    """Return what the code published with APE makes of an answer, its runs of blanks made one."""
    text = text.replace(" and ", " ").replace("Sentence 1:", " ").replace("Sentence 2:", " ").strip()
    text = text.split("\n")[0].split(".")[0].lower().replace("-", " ")
    return " ".join(text.translate(str.maketrans("", "", string.punctuation)).split())


def test_in_ascii_it_is_what_the_papers_code_does() -> None:
    pieces = [
        *string.printable,
        " and ",
        "Sentence 1:",
        "sentence 2:",
        "Sentence 2: ",
        "\n",
        ". ",
        "The ",
        "well-known ",
    ]
    draw = random.Random(0)
    for _ in range(5000):
        text = "".join(draw.choices(pieces, k=draw.randrange(20)))
        assert normalise(text) == _of_the_papers(text), repr(text)
        assert words(text) == _of_the_papers(text).split()


@pytest.mark.parametrize(
    ("text", "same"),
    [
        *[("„Paris“", "Paris"), ("‹Paris›", "paris"), ("「パリ」", "パリ"), ("¡Hola!", "hola"), ("パリ！", "パリ")],
        ("क्या?", "क्या"),
        *[("सही।", "सही"), ("نعم،", "نعم"), ("کیا؟", "کیا"), ("այո։", "այո"), ("ሰላም፡ለዓለም", "ሰላም ለዓለም")],
        ("巴黎。因为大", "巴黎"),
        *[("Paris… I think", "Paris"), ("…Paris", "Paris"), ("it´s", "its"), ("Hawaiʻi", "Hawai'i")],
        ("co−op", "co-op"),
        *[("twenty—one", "twenty-one"), ("twenty‑one", "twenty one"), ("ＡＢＣ　１２", "abc 12"), ("ﾊﾟﾘ", "パリ")],
        ("ﬁne", "fine"),
        *[("STRASSE", "straße"), ("İstanbul", "istanbul"), ("DIŞ", "dış"), ("ΟΔΟΣ", "οδος"), ("é", "e\u0301")],
        ("٣ أيام", "3 أيام"),
        *[("iPhone 手机", "iPhone手机"), ("东京、大阪", "东京大阪"), ("สวัสดี ครับ", "สวัสดีครับ"), ("می‌خواهم", "میخواهم")],
        ("❤️", "❤"),
        *[("Paris\u200b", "Paris"), ("a\u00a0b", "a b"), ("“it’s” — so", '"it\'s" - so'), ("№ Ⅳ", "No IV")],
    ],
)  # fmt: skip
def test_punctuation_case_and_width_count_in_no_script(text: str, same: str) -> None:
    assert METRICS["exact_match"](text, (same,)) == METRICS["exact_match"](same, (text,)) == 1.0
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        *[("巴黎", "巴"), ("किताब", "कताब"), ("10²", "102"), ("½", "12"), ("☺", "☹"), ("€5", "£5"), ("かき", "がき")],
        ("①", "②"),
        *[("año", "ano"), ("。", "、"), ("«»", "“”"), ("كتاب", "كتب"), ("ＬＯＮＤＯＮ", "Paris")],
    ],
)  # fmt: skip
def test_letters_marks_and_symbols_count(text: str, other: str) -> None:
    assert METRICS["exact_match"](text, (other,)) == 0.0


def test_words_of_scripts_without_spaces_are_set_apart_by_punctuation_or_counted_by_character() -> None:
    assert METRICS["set_match"]("苹果、香蕉", ("香蕉，苹果",)) == 1.0
    assert METRICS["set_match"]("蜜蜂", ("蜂蜜",)) == 0.0
    assert parts("iPhone手机、很good") == ["iphone", "手", "机", "很", "good"]
    assert METRICS["token_f1"]("我爱北京", ("我爱东京",)) == 0.75
    assert METRICS["token_f1"]("น้ำ", ("น้ำ",)) == 1.0
    assert METRICS["token_f1"]("किताब नई", ("नई किताब है",)) == 0.8


@pytest.mark.parametrize(
    ("text", "wanted", "is_held"),
    [
        *[("答案是巴黎吗", "巴黎", True), ("答案是Paris吗", "paris", True), ("คำตอบคือปารีสครับ", "ปารีส", True)],
        ("दिल्ली", "दिल", False),
        *[("I don’t know", "don't", True), ("it is “ＢＬＵＥ”", "blue", True)],
        ("a well-known man", "well known", True),
        *[("Paris, I think", "Paris.", True), ("答案是巴黎！", "巴黎。", True), ("written in C", "C++", False)],
        ("C++.", "c++", True),
        *[("costs 350 each", "3.50", False), ("it is 2-3", "2 3", False), ("STRASSE 5", "Straße", True)],
        ("cafés", "café", False),
        *[("No. It is a process", "process", True), ("a dog", "(A)", False), ("what ?", "?", True), ("x", " ", False)],
        *[("Written in C#, of course", "C#", True), ("e\u0301t\u00e9", "\u00e9te\u0301", True)],
        ("a\u202fb", "a b", True),
    ],
)  # fmt: skip
def test_a_text_is_held_as_whole_words_where_a_script_has_them(text: str, wanted: str, is_held: bool) -> None:
    assert holds(text, wanted) is is_held
    assert METRICS["contains"](text, (wanted,)) == is_held


def test_the_same_letters_in_other_code_points_are_equal_to_the_letter() -> None:
    assert METRICS["equals"]("caf\u00e9", ("cafe\u0301",)) == 1.0
    assert METRICS["equals"]("Caf\u00e9", ("caf\u00e9",)) == METRICS["equals"]("ＣＡ", ("CA",)) == 0.0
