from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from localprompt.errors import TaskError
from localprompt.tasks.metrics import METRICS, find_metric, metric_hash
from localprompt.tasks.normalising import normalise


@pytest.mark.parametrize(
    ("metric", "prediction", "targets", "score"),
    [
        ("equals", " C++ ", ("C++",), 1.0),
        ("equals", "c++", ("C++",), 0.0),
        ("equals", "one\ntwo", ("one\r\ntwo",), 1.0),
        ("exact_match", "The Cat!", ("the cat",), 1.0),
        ("exact_match", "well-known", ("well known",), 1.0),
        ("exact_match", "cats. Because they are many", ("cats",), 1.0),
        ("exact_match", "cats\ndogs", ("cats",), 1.0),
        ("exact_match", "salt and pepper", ("salt pepper",), 1.0),
        ("exact_match", "Sentence 1: yes", ("yes",), 1.0),
        ("exact_match", "caf\u0065\u0301", ("caf\u00e9",), 1.0),
        ("exact_match", "dog", ("cat", "dog"), 1.0),
        ("exact_match", "dogs", ("cat", "dog"), 0.0),
        ("exact_match", "...", ("!",), 0.0),
        ("token_f1", "the cat sat", ("the cat",), 0.8),
        ("token_f1", "the the", ("the",), 2 / 3),
        ("token_f1", "dog", ("the cat", "a dog"), 2 / 3),
        ("token_f1", "", ("cat",), 0.0),
        ("set_match", "dog, cat and bee", ("bee, cat, dog",), 1.0),
        ("set_match", "dog, cat", ("bee, cat, dog",), 0.0),
        ("set_match", "!", ("?",), 0.0),
        ("set_match", "bee,cat;dog", ("dog, bee, cat",), 1.0),
        ("set_match", "7,5,3", ("3, 5, 7",), 1.0),
        ("set_match", "7,500", ("7500",), 1.0),
        ("contains", "I think. It is BLUE, surely", ("blue",), 1.0),
        ("contains", "bluebell", ("blue",), 0.0),
        ("contains", "costs 3.50 each", ("3.50",), 1.0),
        ("contains", "axb", ("a.b",), 0.0),
        ("contains", "written in C++ of course", ("c++",), 1.0),
        *[("contains", text, ("7",), 0.0) for text in ("it is 7.25", "it is 1.7", "7,000 men", "it is -7")],
        *[("contains", text, ("7",), 1.0) for text in ("it is 7.", "5,7,9", "7, 8", "from 5-7", "May-7", "7.\nDone")],
        ("contains", "1,700", ("700",), 0.0),
        ("numeric", "$1,234.50 in total", ("1234.5",), 1.0),
        ("numeric", "\u22125 %", ("-5",), 1.0),
        ("numeric", "0.333333333", ("0.3333333",), 1.0),
        ("numeric", "12.1", ("12",), 0.0),
        ("numeric", "7,006,651", ("7006652",), 0.0),
        ("numeric", "7,006,652.00", ("7006652",), 1.0),
        ("numeric", "7006652.4", ("7006652.41",), 1.0),
        ("numeric", "7.00665 million", ("7006652",), 1.0),
        ("numeric", "7.00665e6", ("7006652",), 1.0),
        ("numeric", "-1 1/2", ("-1.5",), 1.0),
        ("numeric", "twelve", ("12",), 0.0),
        ("numeric", "1 234,50 EUR", ("1234.5",), 1.0),
        ("numeric", "3 of 4", ("3", "4"), 1.0),
        ("multiple_choice", "B", ("(B)",), 1.0),
        ("multiple_choice", "(b) Paris", ("B",), 1.0),
        ("multiple_choice", "b) paris", ("(B)",), 1.0),
        ("multiple_choice", "[B].", ("B",), 1.0),
        ("multiple_choice", "The answer is (B), not a doubt", ("(B)",), 1.0),
        ("multiple_choice", "The answer is B", ("(B)",), 1.0),
        ("multiple_choice", "the answer is a dog", ("(A)",), 0.0),
        ("multiple_choice", "A cat is an animal", ("(A)",), 0.0),
        ("multiple_choice", "(A) or (B)", ("(B)",), 0.0),
        ("multiple_choice", "either (A) or (B)", ("(A)",), 0.0),
        ("multiple_choice", "paris", ("(B) Paris",), 1.0),
        ("multiple_choice", "(B) Paris", ("Paris",), 1.0),
        ("multiple_choice", "(C) Paris", ("(B) Paris",), 0.0),
        ("multiple_choice", "C\nbecause it fits", ("C",), 1.0),
    ],
)
def test_a_metric_scores_as_documented(metric: str, prediction: str, targets: tuple[str, ...], score: float) -> None:
    assert METRICS[metric](prediction, targets) == pytest.approx(score)


@pytest.mark.parametrize(
    "prediction",
    [
        *(
            "B",
            "b",
            "(B)",
            "B)",
            "B.",
            "[B]",
            "- B",
            "B: Paris",
            "B - Paris",
            "**B**",
            "<answer>B</answer>",
            "<Answer>\nB. Paris</Answer>",
            "`B`",
            "$\\boxed{\\text{B}}$",
        ),
        *("**B) Paris**", "**B.** Paris", "Answer: **B**", "**Answer:** B", "Answer:B", "### Answer\n\nB", "Choice B"),
        *(
            "the answer is b",
            "The correct answer is **B) Paris**.",
            "The correct answer is: B",
            "The correct option is B",
        ),
        *("Option B", "option b", "The answer is option B", 'The answer is "B".', "I think **B** fits best"),
        *("B is correct", "(B) is the correct answer.", "B is the right answer because A is not."),
        *("The answer is (B), not (A).", "(B) Paris, since (A) is in England", "Answer: B\nExplanation: A is wrong"),
        *("Option A is wrong, and C too. So the answer is (B).", "A) London is wrong.\nB) Paris is not.\nAnswer: B"),
        *("The answer is B, I think", "B\n\nQuestion: the next one\nAnswer: C"),
        *("(A) is wrong. (B) is correct.", "(A) is wrong, so (B)", "Option A is wrong, so it must be option B"),
    ],
)
def test_the_ways_in_which_chat_models_name_an_option_are_read(prediction: str) -> None:
    assert METRICS["multiple_choice"](prediction, ("B",)) == 1.0
    assert METRICS["multiple_choice"](prediction, ("(B) Paris",)) == 1.0
    assert METRICS["multiple_choice"](prediction, ("A",)) == METRICS["multiple_choice"](prediction, ("C",)) == 0.0


@pytest.mark.parametrize(
    "prediction",
    [
        *(
            "A or B",
            "(A) or (B)",
            "A) or B)",
            "A. or B.",
            "**A** or **B**",
            "A and B",
            "A, B",
            "A/B",
            "option A or option B",
        ),
        *(
            "The answer is A or B",
            "The answer is (A) or (B)",
            "The answer is both A and B",
            "Neither A nor B is correct",
        ),
        *("A) London\nB) Paris\nC) Rome", "B. The answer is A.", "The answer is not B", "B is not correct"),
        *("The answer is not (B)", "(A) is wrong", "Option A is incorrect.", "(A) is wrong, so (B) or (C)"),
        *("a dog", "A dog", "the answer is a dog", "Answer: A dog is an animal", "an option a user has", "e.g. a dog"),
        *("I think so", "I'm sure", "The answer I chose", "The choice I made", "a.m.", "U.S. history", "word(s)"),
        *("the answer's good", "answers s"),
    ],
)
def test_two_options_and_letters_that_are_words_name_no_option(prediction: str) -> None:
    assert [letter for letter in "ABCEISU" if METRICS["multiple_choice"](prediction, (letter,))] == []


@pytest.mark.parametrize(
    "prediction",
    [
        *("B, because it fits", "B because it fits", "b, since A is in England", "B; Paris", "B!", "B?", "B..."),
        "B | Paris",
        *("“B”", "‘B’", "«B»", "'B.'", '"B. Paris"', '"B" fits', "B\tParis", "B  Paris", "B Paris", "B—Paris"),
        "B – Paris",
        *("Ｂ", "（Ｂ）", "【B】", "「B」", "《B》", "B：巴黎", "B、巴黎", "B。", "B，因为"),
        *("B选项", "B です", "Ⓑ", "⒝", "ⓑ 巴黎"),
        *("答案：B", "答案是B", "正确答案是 B。", "答案是B选项", "我选B", "选择B"),
        *("正解はBです", "정답은 B입니다", "정답: B"),
        *("La respuesta es B", "La respuesta correcta es la B.", "Réponse : B", "La bonne réponse est la (B)"),
        "Antwort: B",
        *("Die richtige Antwort ist B, weil es passt.", "A resposta certa é a letra B", "Risposta: «B»", "Ответ: B"),
        "उत्तर: B",
        *("الإجابة: B", "Câu trả lời là B", "Правильный ответ — B", "Option B!", "option: B", "opción B"),
        "**B**, since",
        "(b), because",
        *("I choose B.", "I'd go with B", "I’ll pick (B), since A is wrong.", "I think B", "I think it's B."),
        "It is B!",
        "So, B.",
        *("It must be option B", "Definitely B", "I believe that the answer is B", "I guess B, because A is wrong"),
        "Solution: B",
        *("The answer's B", "The correct answer here is B.", "The answer to this question is B, as it fits."),
        *("The answer seems to be B.", "The right statement is indeed (B).", "The letter is B", "Answer - B"),
        *("B rather than A", "B instead of C.", "A and C are wrong, so the answer is B.", "\u2705 B", "B \U0001f600"),
        *("\U0001f449 B. Paris", "The answer is \u2705 B", "B is greater, so the answer is B", "B) is greater"),
        *("Explanation: it is far away. I would say B.", "B, not A", "C is wrong? No, it's B.", "\n\n“B”\n"),
    ],
)  # fmt: skip
def test_an_option_is_read_whatever_stands_around_its_letter(prediction: str) -> None:
    assert METRICS["multiple_choice"](prediction, ("B",)) == 1.0
    assert METRICS["multiple_choice"](prediction, ("A",)) == METRICS["multiple_choice"](prediction, ("C",)) == 0.0


@pytest.mark.parametrize(
    "prediction",
    [
        *("“A” or “B”", "A, or B", "（A）或（B）, 【C】", "I'd choose A or B", "Réponse : A / B", "答案：A, B"),
        "It's A. It's B.",
        *("I, for one, do not know", "I do not think B", "I wouldn't choose B.", "It is not B", "答案不是B"),
        "Das ist nicht B",
        *("La respuesta no es B", "Ответ не B", "La réponse n'est pas B", "A Paris hotel", "A股市场", "C major"),
        "E coli grows",
        *("B|C", "B; C", "B+C", "The wrong answer is B", "The only option that is wrong is B.", "It depends on B"),
        *("The answer is between A and B.", "The answer in question is not B.", "The answer is a B road"),
        *("B vitamins are good", "X-ray", "D'accord", "B&W film", "I think A dog", "so I left", "That's a dog"),
        "It is I, Hamlet",
        *("Réponse : Berlin", "Answer: Berlin", "选中国", "La respuesta es Buena", "It's C++", "so B vitamins help"),
        "i, too",
    ],
)  # fmt: skip
def test_what_only_looks_like_an_option_is_none(prediction: str) -> None:
    assert [letter for letter in "ABCDEISX" if METRICS["multiple_choice"](prediction, (letter,))] == []


def test_the_text_of_an_option_may_begin_or_end_with_a_letter() -> None:
    assert METRICS["multiple_choice"]("vitamin C", ("(A) Vitamin C",)) == 1.0
    assert METRICS["multiple_choice"]("B cells", ("(A) B cells",)) == 1.0
    assert METRICS["multiple_choice"]("The answer is **vitamin C**.", ("(A) Vitamin C",)) == 1.0
    assert METRICS["multiple_choice"]("Answer: not vitamin C", ("(A) Vitamin C",)) == 0.0
    assert (
        METRICS["multiple_choice"]("Ｂ：巴黎", ("B：巴黎",))
        == METRICS["multiple_choice"]("巴黎", ("（Ｂ）巴黎。",))
        == 1.0
    )
    assert METRICS["multiple_choice"]("B", ("(A) B",)) == METRICS["multiple_choice"]("A", ("A, B",)) == 0.0


@pytest.mark.parametrize(
    "part", ["B, ", "(", "so it is ", "respuesta ", "a: ", "【", "A or ", "not ", "\n", "B; ", "answer "]
)
def test_a_long_text_without_an_option_takes_no_long_time(part: str) -> None:
    start = time.process_time()
    METRICS["multiple_choice"](part * 4000, ("B",))
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "prediction",
    [
        "A",
        "a",
        "a)",
        "A, because",
        "A because",
        "a!",
        "I think A",
        "Réponse : A",
        "“A”",
        "the answer is a.",
        "Option A is correct",
        "Answer: A\nBecause",
    ],
)
def test_a_letter_that_could_be_a_word_but_is_none_names_its_option(prediction: str) -> None:
    assert METRICS["multiple_choice"](prediction, ("A",)) == 1.0


@pytest.mark.parametrize(
    ("prediction", "target"),
    [
        *[("2/3", "1/3"), ("9 1/3", "1/3"), ("08:15", "10:15"), ("7:15 am", "7:15 pm"), ("2021-03-09", "2022-04-09")],
        *[("4:3", "1:3"), ("2 to 7", "4-7"), ("4-7", "7"), ("4:3", "4/3"), ("2-1", "3-1"), ("(2)-3", "-3")],
        *[("(555) 123-4567", "(666) 123-4567"), ("1, 2", "3, 2"), ("2, 1", "1, 2"), ("10^3", "3"), ("10\u00b2", "2")],
        *[("6.6e-34", "9.1e-31"), ("0", "1e-12"), ("1e400", "1e500"), ("5 million", "5"), ("-$5", "5")],
        ("2\u03c0", "2"),
        *[(r"\frac{3}{2}", r"\frac{1}{2}"), ("\u221a2", "2"), ("1/0", "2/0"), ("5 \u00b1 2", "2"), ("12:30", "30")],
        *[("9\u65f630\u5206", "8\u65f630\u5206"), ("9e99999999999999999999", "8e99999999999999999999")],
    ],
)  # fmt: skip
def test_numbers_that_only_end_alike_are_not_equal(prediction: str, target: str) -> None:
    assert METRICS["numeric"](prediction, (target,)) == 0.0
    assert METRICS["numeric"](target, (prediction,)) == 0.0
    assert METRICS["numeric"](prediction, (prediction,)) == METRICS["numeric"](target, (target,)) == 1.0


@pytest.mark.parametrize(
    ("prediction", "target"),
    [
        *[("0.5", "1/2"), ("15/2", "7 1/2"), ("7\u00bd", "7.5"), (r"\dfrac{2}{4}", "1/2"), ("-1 1/2", "-1.5")],
        ("1/3", "0.3333333"),
        *[("9:30", "09:30"), ("2 to 7", "2\u20137"), ("1e3", "10^3"), ("2.5 \u00d7 10\u00b3", "2500")],
        ("3\u4e07", "30000"),
        *[("12,34,567", "1234567"), ("1,23,456.5", "123456.5"), ("1_000_000", "1000000"), ("9.8 m/s^2", "9.8")],
        *[(r"24\text{ cm}^2", "24"), ("24 cm^{2}", "24 cm\u00b2")],
        *[("\u0663", "3"), ("\uff11\uff12", "12"), ("2 + 3 = 5", "5"), ("5 million", "5,000,000"), ("50 %", "50")],
        *[("so they are 1, 2", "1, 2"), ("1e400", "10e399"), ("9" * 400, "9" * 400 + ".0")],
        ("It is in June 2024.", "2024"),
    ],
)  # fmt: skip
def test_numbers_worth_the_same_are_equal_however_they_are_written(prediction: str, target: str) -> None:
    assert METRICS["numeric"](prediction, (target,)) == 1.0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "prediction",
    [
        "1 1e99999999999999999999/3",
        "2^1e99999999999999999999",
        "",
        " ",
        "42",
        "(A) cat",
        "\x00",
        "(" * 50,
        "9" * 500,
        "1e999",
    ],
)
def test_every_metric_is_in_0_to_1_for_any_prediction(metric: str, prediction: str) -> None:
    assert 0 <= METRICS[metric](prediction, ("42", "(A) cat")) <= 1


def test_normalising_twice_changes_nothing_more() -> None:
    for text in ["Salt and Pepper.", "A-b  c", "Sentence 2: x\ny", ""]:
        assert normalise(normalise(text)) == normalise(text)


def test_an_unknown_metric_names_the_nearest_one() -> None:
    with pytest.raises(TaskError, match="exact_macth") as caught:
        find_metric("exact_macth")
    assert caught.value.hint == "did you mean 'exact_match'?"


def _module(folder: Path, name: str, code: str) -> Path:
    (folder / f"{name}.py").write_text(code)
    return folder


def test_code_is_not_run_without_permission(tmp_path: Path) -> None:
    _module(tmp_path, "refused_metric", "raise SystemExit('was run')")
    with pytest.raises(TaskError, match="was not run") as caught:
        find_metric("refused_metric:score", folder=tmp_path)
    assert "--allow-code" in caught.value.hint
    assert "refused_metric" not in sys.modules


def test_a_metric_beside_the_task_file_is_found_and_its_code_is_part_of_its_hash(tmp_path: Path) -> None:
    _module(tmp_path, "length_metric", "def score(prediction, targets):\n    return len(prediction) / 10\n")
    path = list(sys.path)
    metric = find_metric("length_metric:score", folder=tmp_path, allow_code=True)
    assert metric("12345", ("x",)) == 0.5
    assert sys.path == path
    assert len(metric_hash(metric).split()[1]) == 64
    assert metric_hash(find_metric("equals")) == "equals"
    with pytest.raises(TaskError, match=r"returned 1\.1"):
        metric("1" * 11, ("x",))


@pytest.mark.parametrize(
    "name",
    ["no_such_module:f", "broken_metric:f", "fine_metric:g", "fine_metric:x", "fine_metric:", ":f", "fine_metric.py:f"],
)
def test_code_that_cannot_be_had_is_named(tmp_path: Path, name: str) -> None:
    _module(tmp_path, "broken_metric", "def f(:\n")
    _module(tmp_path, "fine_metric", "x = 3\ndef f(p, t): return 1.0\n")
    with pytest.raises(TaskError) as caught:
        find_metric(name, folder=tmp_path, allow_code=True)
    assert repr(name) in caught.value.message
    assert "_localprompt_task" not in caught.value.message


def test_whatever_a_users_metric_raises_names_it_and_the_prediction(tmp_path: Path) -> None:
    _module(tmp_path, "raising_metric", "def f(p, t): return {}[p]\ndef g(p, t): return None\n")
    _module(tmp_path, "raising_module", "raise RuntimeError('no licence')\n")
    _module(tmp_path, "leaving_metric", "def f(p, t): raise SystemExit(0)\n")
    wrong = {"raising_metric:f": "KeyError", "raising_metric:g": "TypeError", "leaving_metric:f": "SystemExit"}
    for name, reason in wrong.items():
        metric = find_metric(name, folder=tmp_path, allow_code=True)
        with pytest.raises(TaskError, match=f"'{name}' failed on the prediction 'some text' .{reason}"):
            metric("some text", ("x",))
    with pytest.raises(TaskError, match=r"cannot be imported .RuntimeError: no licence"):
        find_metric("raising_module:f", folder=tmp_path, allow_code=True)
