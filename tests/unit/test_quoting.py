"""Quote marks in CSV and TSV: no row goes into another one without a word."""

from __future__ import annotations

import csv
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
    assert len(reading_doubts("rows.csv", _read(tmp_path, 'input,target\n "ab c",x\n "de",y\n'))) == 1


def test_texts_that_are_quotations_are_not_doubtful(tmp_path: Path) -> None:
    rows = _read(tmp_path, 'input,target\n"""Hello"" ",x\n"""Bye""","""y"""\n')
    assert [row.inputs["input"] for row in rows] == ['"Hello" ', '"Bye"']
    assert reading_doubts("rows.csv", rows) == ()
    assert reading_doubts("rows.csv", _read(tmp_path, 'input,target\nab, "x"\nde,y\n')) == (), "not all rows"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_joined_by_stray_quote_marks_are_named_as_doubtful(tmp_path: Path, end: str) -> None:
    rows = _read(tmp_path, _table(_with(FREE, '"verb,x', 4, 'verb",y', 5), end))
    assert len(rows) == 29
    assert reading_doubts("rows.csv", rows) == (
        "rows.csv: 29 rows take 30 lines, since quoted fields continue from line 6 to 7: see that each is one text",
    )


def test_a_header_that_swallows_rows_is_refused(tmp_path: Path) -> None:
    message = _refused(tmp_path, 'input,"target\na,b\nc,d"\ne,f\n')
    assert message == "line 1: a quote mark makes the header continue to line 3, and it has no column 'target'"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_table([*FREE, '"verb,verbed']), "line 32: this row cannot be read (unexpected end of data)"),
        (
            _table(_with(FREE, '"verb,x', 4, 'a "word" here,y', 7)),
            "line 6 to 9: this row cannot be read (',' expected after",
        ),
        (
            _table(_with(FREE, '"verb,x', 4, 'verb,y"', 7)),
            "line 6: a quoted field continues to line 9; then the row has 1 column, the header has 2",
        ),
        (_table(['"verb,x', *FREE * 500]), "line 2 to "),
        (_table(["a\rb,x"]), "line 2: this row cannot be read (a carriage return in the middle"),
        (_table(["a" * 200_000 + ",x"]), "line 2: 'input' is longer than 131072 characters"),
    ],
)
def test_a_field_that_does_not_end_as_it_should_is_named_with_its_lines(
    tmp_path: Path, text: str, message: str
) -> None:
    assert _refused(tmp_path, text).startswith(message)


def test_a_long_text_in_a_column_that_nobody_needs_is_no_fault(tmp_path: Path) -> None:
    long = "h" * 200_000
    for name, divider in (("rows.csv", ","), ("rows.tsv", "\t")):
        text = f"input,target,html\na,x,{long}\nb,y,z\n".replace(",", divider)
        assert [row.inputs["input"] for row in _read(tmp_path, text, name)] == ["a", "b"]
    assert csv.field_size_limit() == 131_072, "as it was"


def test_what_is_wrong_with_a_row_has_a_hint_of_its_own(tmp_path: Path) -> None:
    for row, hint in (("a\rb,x", "quote marks"), ('"verb,x', "written twice"), ("a" * 200_000 + ",x", "remove these")):
        (tmp_path / "rows.csv").write_bytes(_table([row]).encode())
        with pytest.raises(TaskError) as caught:
            read_file(tmp_path / "rows.csv", FIELDS)
        assert hint in caught.value.hint
        assert ("written twice" in caught.value.hint) == (hint == "written twice")
    assert len(_read(tmp_path, _table(['"a\rb",x', "c,y"]))) == 2


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
