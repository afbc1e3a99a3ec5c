"""Quote marks in CSV and TSV: no row goes into another one without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from localprompt.errors import TaskError
from localprompt.tasks.data import Fields, Row, read_file, reading_doubts

FIELDS = Fields({"input": "input"})


def _read(folder: Path, text: str, name: str = "rows.csv") -> list[Row]:
    (folder / name).write_bytes(text.encode())
    return read_file(folder / name, FIELDS)


def _refused(folder: Path, text: str, name: str = "rows.csv") -> str:
    with pytest.raises(TaskError) as caught:
        _read(folder, text, name)
    assert caught.value.hint
    return caught.value.message.removeprefix(f"{folder / name}, ")


def _table(rows: list[str], end: str = "\n") -> str:
    return end.join(["input,target", *rows, ""])


CHOICES = [f"film {n},{'good' if n % 3 else 'bad'}" for n in range(30)]
FREE = [f"verb{n},verbed{n}" for n in range(30)]


def _with(rows: list[str], first: str, place: int, last: str, end: int) -> list[str]:
    return [*rows[:place], first, *rows[place + 1 : end], last, *rows[end + 1 :]]


def test_a_quote_mark_in_a_tsv_is_a_character(tmp_path: Path) -> None:
    text = 'input\ttarget\n"so it began\tx\nhe is 6\'2"\ty\n"all of it"\tz\n'
    rows = _read(tmp_path, text, "rows.tsv")
    assert [row.inputs["input"] for row in rows] == ['"so it began', "he is 6'2\"", '"all of it"']
    assert [row.targets[0] for row in rows] == ["x", "y", "z"]
    assert reading_doubts("rows.tsv", rows) == ()


def test_a_tsv_that_was_quoted_as_csv_is_doubtful_and_its_broken_lines_are_refused(tmp_path: Path) -> None:
    rows = _read(tmp_path, 'input\ttarget\nplain\tx\n"she said ""no"""\ty\n', "rows.tsv")
    (doubt,) = reading_doubts("rows.tsv", rows)
    assert "(line 3), but a TSV has no quoting" in doubt
    assert reading_doubts("rows.csv", rows) == ()
    message = _refused(tmp_path, 'input\ttarget\n"two\nlines"\tx\n', "rows.tsv")
    assert message.startswith("line 2: 1 column, the header has 2 (a quote mark joins neither cells nor lines")
    message = _refused(tmp_path, '"input"\t"target"\n"a"\t"x"\n', "rows.tsv")
    assert message.endswith("its fields stand in quote marks, which a TSV file does not have")


def test_spaces_before_quoted_fields_are_doubtful_since_the_marks_are_text(tmp_path: Path) -> None:
    rows = _read(tmp_path, 'input, target\nabc, "x"\nde, "y"\n')
    assert [row.targets for row in rows] == [('"x"',), ('"y"',)]
    assert reading_doubts("rows.csv", rows) == (
        "rows.csv: all rows have quote marks as part of a text: put no space before a quoted field",
    )
    assert reading_doubts("rows.csv", _read(tmp_path, 'input,target\n"""Twas""",x\nab,x\n')) == ()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_joined_by_stray_quote_marks_are_refused_with_both_lines(tmp_path: Path, end: str) -> None:
    opens, closes = '"Tis a film,good', 'no 12",bad'
    for rows in (CHOICES, FREE):
        message = _refused(tmp_path, _table(_with(rows, opens, 4, closes, 9), end))
        assert message == "line 6: a quote mark opens a field that ends only in line 11 and joins 6 rows"


@pytest.mark.parametrize(("first", "last"), [('"film,good', 'film",bad'), ('film,"good', 'film,bad"')])
def test_two_joined_rows_are_refused_where_the_text_has_a_label_of_the_other_rows(
    tmp_path: Path, first: str, last: str
) -> None:
    message = _refused(tmp_path, _table(_with(CHOICES, first, 4, last, 5)))
    assert message == "line 6: a quote mark opens a field that ends only in line 7 and joins 2 rows"


def test_two_joined_rows_of_which_nothing_tells_are_named_as_doubtful(tmp_path: Path) -> None:
    rows = _read(tmp_path, _table(_with(FREE, '"verb,x', 4, 'verb",y', 5)))
    assert len(rows) == 29
    assert reading_doubts("rows.csv", rows) == (
        "rows.csv: 29 rows take 30 lines, since quoted fields continue from line 6 to 7: see that each is one text",
    )


def test_several_joins_are_named_and_counted(tmp_path: Path) -> None:
    rows = CHOICES
    for place in range(0, 21, 3):
        rows = _with(rows, '"film,good', place, 'film",bad', place + 1)
    message = _refused(tmp_path, _table(rows))
    assert [f"line {2 + place}: " in message for place in range(0, 21, 3)] == [True] * 5 + [False] * 2
    assert message.endswith("; and 2 more")


def test_a_header_that_swallows_rows_is_refused(tmp_path: Path) -> None:
    message = _refused(tmp_path, 'input,"target\na,b\nc,d"\ne,f\n')
    assert message == "line 1: a quote mark makes the header continue to line 3, and it has no column 'target'"
    message = _refused(tmp_path, 'input,target,"note\na,b,1\nc,d,2"\ne,f,3\n')
    assert message == "line 1: a quote mark opens a field that ends only in line 3 and joins 3 rows"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_table([*FREE, '"verb,verbed']), "line 32: a quote mark opens a field that never ends"),
        (
            _table(_with(FREE, '"verb,x', 4, 'a "word" here,y', 7)),
            "line 6: a quote mark opens a field that ends in line 9 in the middle of a text",
        ),
        (
            _table(_with(FREE, '"verb,x', 4, 'verb,y"', 7)),
            "line 6: a quoted field continues to line 9; then the row has 1 column, the header has 2",
        ),
        (_table(['"verb,x', *FREE * 500]), "line 2: a quote mark opens a field that has not ended in line "),
        (_table(["a\rb,x"]), "line 2: a carriage return in the middle"),
        (_table(["a" * 200_000 + ",x"]), "line 2: field larger than"),
    ],
)
def test_a_field_that_does_not_end_as_it_should_is_named_with_its_lines(
    tmp_path: Path, text: str, message: str
) -> None:
    assert _refused(tmp_path, text).startswith(message)


CODE = '"def add(a, b):\n    return a + b\n\nprint(add(1, 2))",3'
POEM = '"Hello, Bob\nthanks, Al\nsee you",good'
ADDRESS = '"Mr Smith\n12 High St, Flat 3\nLondon, UK",bad'
LETTER = '"Dear Al,\nthanks,\nall the best,\nkind regards,\nBo",good'
TABLE = '"city,people\nParis,2M\nRome,3M\nOslo,1M\nBern,0M",bad'


@pytest.mark.parametrize("row", [CODE, POEM, ADDRESS, LETTER, TABLE])
@pytest.mark.parametrize("others", [CHOICES, FREE, []])
def test_a_text_of_several_lines_is_read_and_named_as_doubtful(tmp_path: Path, row: str, others: list[str]) -> None:
    rows = _read(tmp_path, _table([*others, row]))
    assert rows[-1].inputs["input"] == row.split('"')[1]
    assert len(rows) == len(others) + 1
    (doubt,) = reading_doubts("rows.csv", rows)
    begin = len(others) + 2
    assert f"{len(rows)} rows take {len(others) + row.count(chr(10)) + 1} lines" in doubt
    assert f"line {begin} to {begin + row.count(chr(10))}: " in doubt


def test_quote_marks_inside_an_unquoted_field_are_text(tmp_path: Path) -> None:
    rows = _read(tmp_path, _table(["he is 6'2\" tall,x", 'the "best" one,y']))
    assert [row.inputs["input"] for row in rows] == ["he is 6'2\" tall", 'the "best" one']
    assert reading_doubts("rows.csv", rows) == ()
