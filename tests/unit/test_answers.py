from __future__ import annotations

import time

import pytest

from localprompt.errors import TaskError
from localprompt.tasks.answers import find_answer
from localprompt.tasks.metrics import METRICS
from localprompt.tasks.numbers import last_number


@pytest.mark.parametrize(
    ("kind", "argument", "completion", "answer"),
    [
        ("whole", "", " a\nb \n", "a\nb"),
        ("first_line", "", "\n\n cats \ndogs", "cats"),
        ("first_line", "", " \n ", None),
        ("last_number", "", "3 apples and 1,234.50 pears.", "1234.50"),
        ("last_number", "", "none", None),
        ("after_marker", "####", "2+2=4\n#### 4\n", "4"),
        ("after_marker", "Answer:", "Answer: 1\nno, answer:\n 2 \n3", "2"),
        ("after_marker", "####", "4", None),
        ("after_marker", "####", "4 ####", None),
        ("after_marker", "(.*)", "a (.*) b", "b"),
        ("regex", r"is (\w+)", "it is blue, it is red", "blue"),
        ("regex", r"is (\w+)?", "it is ", None),
        ("regex", r"is (\w+)", "no", None),
        (
            "regex",
            r"([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})",
            f"it is {'12345678' + '-1234' * 4}12345678.",
            "12345678" + "-1234" * 4 + "12345678",
        ),
        ("json_field", "total", 'Sure! {"total": 12.50, "unit": "EUR"}', "12.50"),
        ("json_field", "total", '{not json} {"total": " x "}', "x"),
        ("json_field", "total", '```json\n{"total": true}\n```', "true"),
        ("json_field", "total", '{"sum": 1}', None),
        ("json_field", "total", '{"sum": 1} and {"total": 2}', "2"),
        ("json_field", "total", '{"bill": {"total": 2}}', "2"),
        ("json_field", "total", '{"total": "two\nlines"}', "two\nlines"),
        ("json_field", "total", '{"total": "\\ud800 and \\ud83d\\ude00"}', "\ufffd and \U0001f600"),
        ("after_marker", "total:", "**Total:** 5", "5"),
        ("after_marker", "total:", "Total: **5**", "**5**"),
        ("json_field", "total", '{"total": null}', None),
        ("json_field", "total", '{"total": [1]}', None),
        ("json_field", "total", '{"total": 1', None),
        ("json_field", "total", "{" * 5000, None),
        ("json_field", "total", '{"total":' * 3000, None),
        ("whole", "", "<think>is it 3?</think>4", "4"),
        ("whole", "", "<think>a</think>b<think>c</think>d", "bd"),
        ("whole", "", "so it is 3.</think>4", "4"),
        ("whole", "", "4 <think>or is it", None),
        ("last_number", "", "<think>12", None),
        ("first_line", "", "<think>\nhm\n</think>\n\n4\n", "4"),
        ("whole", "", "", None),
    ],
)
def test_an_answer_is_taken_as_documented(kind: str, argument: str, completion: str, answer: str | None) -> None:
    assert find_answer(kind, argument)(completion) == answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$1,234.50.", "1234.50"),
        ("1,2", "2"),
        ("1, 2", "2"),
        ("12,345,678", "12345678"),
        ("1,2345", "2345"),
        ("it is -3", "-3"),
        ("it is \u22123.5", "-3.5"),
        ("covid-19", "19"),
        ("(2)-3", "3"),
        (".5", ".5"),
        ("3.", "3"),
        ("2.5e-3 m", "2.5e-3"),
        ("\u0663", "3"),
        ("\u0661\u0662\u066b\u0665", "12.5"),
        ("\uff11\uff12", "12"),
        ("-$1,200", "-1200"),
        ("3 \u4e07", "3 \u4e07"),
        ("5 million people", "5 million"),
        ("5 m\u00b2 of H\u2082O", "5"),
        ("1 000 000", "1000000"),
        ("12 500 EUR", "12500"),
        ("1\u202f234\u2009567", "567"),
        ("1\u202f234\u202f567,25", "1234567.25"),
        ("2 4 8 16 32 64 128", "128"),
        ("64 128 256 7", "7"),
        ("555 123 4567", "4567"),
        ("in 2024 500 people", "500"),
        ("1'234\u2019567", "567"),
        ("1'234'567.5", "1234567.5"),
        ("1.234,56", "1234.56"),
        ("1.234.567", "1234567"),
        ("1.234", "1.234"),
        ("0.125,5", "5"),
        ("v1.2.3", None),
        ("it was 5 on 12.05.2024", "5"),
        ("wait...5", "5"),
    ],
)
def test_the_last_number_is_read_as_people_write_it(text: str, number: str | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("so it is 3/2.", "3/2"), ("8 / 10", "8/10"), ("7 1/2 cups", "7 1/2"), ("7\u00bd", "7 1/2")],
        ("-\u00bd", "-1/2"),
        *[(r"\boxed{-\frac{3}{2}}", "-3/2"), (r"7\frac12", "7 1/2"), (r"\frac{\pi}{2}", "\u03c0/2")],
        (r"2\sqrt{3}", "2\u221a3"),
        *[("at 09:30", "09:30"), ("9:30 P.M.", "9:30 pm"), ("2023-12-05T09:30", "2023-12-05 09:30"), ("3 : 2", "3:2")],
        *[("12/05/2024", "12/05/2024"), ("2023\u5e7412\u67085\u65e5", "2023\u5e7412\u67085"), ("3\uff1a2", "3:2")],
        *[("1 to 5", "1-5"), ("3\u20135 days", "3-5"), ("5-3", "5-3"), ("3\uff5e5", "3-5"), ("555-1234", "555-1234")],
        *[("10\u00b3", "10^3"), (r"2.5\times 10^{-3}", "2.5\u00d710^-3"), ("5 \u00b1 2", "5\u00b12"), ("3x4 m", "3x4")],
        *[("it rose from 3 to 5", "5"), ("Day 1 - 5 apples", "5"), ("Step 2 : 7", "7"), ("v2:5", "5")],
        ("16-3-4=9", "9"),
        *[("in 2024 1/2 of it", "1/2"), ("2 3/2", "3/2"), ("between 3 and 5", "5"), ("3, 5", "5"), ("1.2.3-4", "4")],
    ],
)  # fmt: skip
def test_what_is_written_with_several_numbers_as_one_comes_whole(text: str, number: str) -> None:
    assert last_number(text) == number
    assert last_number(number) == number


@pytest.mark.parametrize("part", ["1 - ", "1 to ", "1/", "9", "1 1/2 ", r"\frac{1}{2}", "10^", "1 234 ", "1e9"])
def test_many_numbers_take_no_long_time(part: str) -> None:
    start = time.process_time()
    last_number(part * 2000)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("text", ["10^1e9999999", "2 × 10^1e9999999", "1e9999999^1e9999999", "1e-9999999/0", "0^0"])
def test_a_number_of_any_size_is_read(text: str) -> None:
    assert last_number(text)
    assert METRICS["numeric"](text, ("5",)) == 0.0


def test_a_hostile_pattern_ends_in_an_error_instead_of_hanging() -> None:
    answer = find_answer("regex", r"^(?:a+)+(b)$|^(?:(?:a|aa)+)+c$")
    with pytest.raises(TaskError, match="took more than"):
        answer("a" * 5000 + "!")


@pytest.mark.parametrize(
    ("kind", "argument", "message"),
    [
        ("fist_line", "", "unknown answer extraction 'fist_line'"),
        ("regex", "", "needs a pattern"),
        ("after_marker", "", "needs a marker"),
        ("whole", "x", "takes no value"),
        ("regex", "(", "not a regular expression"),
        ("regex", "a", "0 groups"),
        ("regex", "(a)(b)", "2 groups"),
        ("regex", "(a)" + "b" * 2000, "longer than"),
        ("regex", "(?:(?:(?:x{1000}){1000}){1000})(y)", "repeats too much"),
    ],
)
def test_a_bad_extraction_is_refused_when_it_is_made(kind: str, argument: str, message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        find_answer(kind, argument)
    assert caught.value.hint
