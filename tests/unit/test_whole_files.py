"""What is wrong with a whole data file is named once, with what to do, and not blamed on its rows."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from localprompt.errors import TaskError
from localprompt.tasks.data import Fields, Row, read_file

FIELDS = Fields({"input": "input"})
CSV = "input,target\n" + "".join(f"go{n},went{n}\n" for n in range(20))
JSONL = "".join(f'{{"input": "go{n}", "target": "went{n}"}}\n' for n in range(20))


def _read(folder: Path, content: str | bytes, name: str, fields: Fields = FIELDS) -> list[Row]:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(folder / name, fields)


def _refused(folder: Path, content: str | bytes, name: str = "rows.csv") -> str:
    """Message without the folder, and hint."""
    with pytest.raises(TaskError) as caught:
        _read(folder, content, name)
    assert "\n" not in caught.value.message
    assert "these rows" not in caught.value.hint
    assert caught.value.message.count(", line ") <= 1
    return f"{caught.value.message.removeprefix(str(folder))[1:]} | {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (CSV.replace(",", ";"), "rows.csv", "divided by ';', not by commas | save it with commas"),
        (CSV.replace(",", "|"), "rows.csv", "divided by '|', not by commas | save it with commas"),
        (CSV.replace(",", "\t"), "rows.csv", "divided by tabs, not by commas | save it with commas, or call it .tsv"),
        (CSV, "rows.tsv", "divided by commas, not by tabs | save it with tabs, or call it .csv"),
        ('"input";"target"\n"a; b";"c"\n', "rows.csv", "divided by ';'"),
        ("question;answer\na;b\nc;d\n", "rows.csv", "divided by ';'"),
        ("sep=,\n" + CSV, "rows.csv", "the first line is Excel's sep= line, not the header | remove that line"),
        ("\ufeffSEP=;\r\ninput;target\r\na;b\r\n", "rows.csv", "remove that line, and save the table with commas"),
        ('"sep=\t"\ninput\ttarget\n', "rows.tsv", "Excel's sep= line"),
    ],
)
def test_a_table_that_is_divided_otherwise_is_named(tmp_path: Path, text: str, name: str, said: str) -> None:
    assert said in _refused(tmp_path, text, name)


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(("text", "name"), [(CSV, "rows.csv"), (JSONL, "rows.jsonl")])
def test_another_coding_is_named_with_and_without_its_mark(tmp_path: Path, coding: str, text: str, name: str) -> None:
    said = _refused(tmp_path, text.encode(coding), name)
    assert said == f"{name}: UTF-16 or UTF-32, not UTF-8 | save the file as UTF-8"


@pytest.mark.parametrize(("text", "name"), [(CSV, "rows.csv"), (JSONL, "rows.jsonl")])
def test_letters_of_windows_are_named_with_the_first_line_that_has_one(tmp_path: Path, text: str, name: str) -> None:
    content = (text + text.replace("go", "caf\u00e9")).encode("cp1252")
    first = text.count("\n") + (2 if name == "rows.csv" else 1)
    assert f"line {first}: not UTF-8 | save the file as UTF-8" in _refused(tmp_path, content, name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"input": "a", "target": "b"}, {"input": "c", "target": "d"}]', "a JSON array | write one object per line"),
        ('[\n {"input": "a",\n  "target": "b"}\n]\n', "a JSON array | write one object per line"),
        ('[{"input": "a", "target": "b"},\n{"input": "c", "tar', "a JSON array"),
        ('{\n "input": "a",\n "target": "b"\n}\n{\n "input": "c"}', "its JSON objects span several lines"),
        ('{\n"data":\n[{"input": "a", "target": "b"}]}', "its JSON objects span several lines"),
        (CSV, "holds no JSON objects, it begins with 'input,target' | a .jsonl file has one JSON object a line"),
        ("{'input': 'a', 'target': 'b'}\n" * 9, "line 1: invalid JSON (Expecting property name enclosed in double"),
        ('{"input": "a", "target": "b"},\n' * 9, "line 1: invalid JSON (a comma after the object), and so in all 9"),
        ('{"question": "a", "answer": "b"}\n' * 9, "line 1: no 'input' (known: answer, question), and so in all 9"),
        ('{"question": "a", "answer": "b"}\n' * 9, "so name your columns in `fields`"),
        ('["a", "b"]\n' * 9, "line 1: not a JSON object, and so in all 9 rows"),
        ('["a", "b"]\n' * 9, "so see how the file was made"),
    ],
)
def test_a_jsonl_file_of_another_shape_is_named(tmp_path: Path, text: str, said: str) -> None:
    assert said in _refused(tmp_path, text, "rows.jsonl")


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
@pytest.mark.parametrize("text", [JSONL, '{"input":"a, b","target":"c"}\n', '[{"input": "a"}]', "[\n{}]", "{\n}"])
def test_json_in_a_table_is_named(tmp_path: Path, text: str, name: str) -> None:
    assert ", not a table | call it .jsonl, with one object per line" in _refused(tmp_path, text, name)


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(CSV.encode()), "a compressed file | unpack it"),
        (_zip("rows.csv"), "a zip archive | unpack it"),
        (_zip("[Content_Types].xml", "xl/workbook.xml"), "a spreadsheet | save the sheet as CSV"),
        (b"PAR1\x15\x04\x15\xff", "a Parquet file"),
        (b"%PDF-1.7\n\xff", "a PDF document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "a pointer of Git LFS"),
        (b"/annex/objects/SHA256E-s12--4d7a.csv\n", "a pointer of git-annex"),
        (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>\n", "a web page, not the data itself | download"),
        (b"<?xml version='1.0'?><rows/>", "an XML file"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, said: str, name: str) -> None:
    assert _refused(tmp_path, content, name).startswith(f"{name}: {said}")


def test_a_name_that_ends_otherwise_gets_the_hint_that_fits(tmp_path: Path) -> None:
    for name, hint in {"r.json": "call it .jsonl", "r.csv.gz": "unpack it", "r.xlsx": "save the sheet"}.items():
        assert hint in _refused(tmp_path, "x", name)
    assert "known: .jsonl, .csv, .tsv" in _refused(tmp_path, "x", "r.txt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dull film,bad\nfine film,good\nawful film,bad\n", "line 1: no header row, the first line is data"),
        ("w " * 40 + ",x\nb,y\n", "line 1: no header row, the first line is data"),
        ("go,went\nsee,saw\n", "line 1: no column 'input' (known: go, went) | the first line is the header"),
        ("Results of May,\n,\n" + CSV, "line 3: the header appears only here | remove the lines before it"),
        ("Input,Target\na,b\n", "line 1: no column 'input' (did you mean 'Input'?)"),
        ("input,target\n", "holds no rows"),
        ("", "holds no rows"),
        ("\ufeff\n \n", "holds no rows"),
    ],
)
def test_a_header_that_is_missing_or_another_one_is_named_once(tmp_path: Path, text: str, said: str) -> None:
    assert said in _refused(tmp_path, text)


def test_one_bad_row_among_good_ones_is_still_blamed_on_that_row(tmp_path: Path) -> None:
    for bad in ("input,target", '["a"]', "{'input': 'a'}", '{"input": "a"},'):
        for text, line in ((f"{JSONL}{bad}\n", 21), (f"{JSONL}\n{bad}\n{JSONL}", 22)):
            with pytest.raises(TaskError, match=f"line {line}: ") as caught:
                _read(tmp_path, text, "rows.jsonl")
            assert caught.value.hint.endswith("mend or remove these rows")


def test_files_put_together_are_read_if_nothing_else_stands_between_them(tmp_path: Path) -> None:
    marked = "\ufeff" + JSONL
    assert len(_read(tmp_path, "\ufeff" + marked + marked, "rows.jsonl")) == 40
    with pytest.raises(TaskError, match="line 22: the header stands here again"):
        _read(tmp_path, f"\ufeff{CSV}\ufeff{CSV}", "rows.csv")


def test_lines_may_end_as_on_an_old_macintosh_and_a_text_may_hold_other_breaks(tmp_path: Path) -> None:
    for text, name in ((CSV, "rows.csv"), (JSONL, "rows.jsonl"), (CSV.replace(",", "\t"), "rows.tsv")):
        rows = _read(tmp_path, text, name)
        assert len(rows) == 20
        assert _read(tmp_path, text.replace("\n", "\r"), name) == rows
        assert _read(tmp_path, text.replace("go1", "go\u20281\x85"), name)[1].inputs["input"] == "go\u20281\x85"


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    margin = "".join(f"{n},go{n},went{n},,\n" for n in range(3))
    rows = _read(tmp_path, f",input,target,,\n{margin}", "rows.csv")
    assert [row.inputs["input"] for row in rows] == ["go0", "go1", "go2"]
    assert len(_read(tmp_path, " ,input,target,\t\n0,a,b,c\n", "rows.csv")) == 1
    assert len(_read(tmp_path, "\tinput\ttarget\t\n0\ta\tb\tc\n", "rows.tsv")) == 1


def test_cells_beyond_the_header_may_be_empty_and_those_of_nameless_columns_missing(tmp_path: Path) -> None:
    rows = _read(tmp_path, "input,target,,\na,b\nc,d,,\ne,f,,,,\n", "rows.csv")
    assert [row.targets[0] for row in rows] == ["b", "d", "f"]
    for short in ("input,target,note\na,b,\nc,d\n", "input,target,\na,b,,x\nc,d\n"):
        with pytest.raises(TaskError, match="columns, the header has 3"):
            _read(tmp_path, short, "rows.csv")


def test_a_column_that_is_there_twice_is_an_error_only_if_the_task_uses_it(tmp_path: Path) -> None:
    assert len(_read(tmp_path, "note,input,target,note\n1,a,b,2\n", "rows.csv")) == 1
    assert "line 1: the header has the column 'target' twice" in _refused(tmp_path, "input,target,target\na,b,c\n")
    assert "line 1: the header has the column 'input' twice" in _refused(tmp_path, "input,target,input \na,b,c\n")
    assert len(_read(tmp_path, '{"note": 1, "note": 2, "input": "a", "target": "b"}', "rows.jsonl")) == 1
    with pytest.raises(TaskError, match="line 1: 'input' is there twice"):
        _read(tmp_path, '{"input": "a", "input": "c", "target": "b"}\n' + JSONL, "rows.jsonl")


def test_composed_and_decomposed_names_of_columns_are_one(tmp_path: Path) -> None:
    one, other = "r\u00e9ponse", "re\u0301ponse"
    for asked, written in ((one, other), (other, one)):
        fields = Fields({"input": asked}, "target")
        assert _read(tmp_path, f" {written} ,target\na,b\n", "rows.csv", fields)[0].inputs == {"input": "a"}
        assert _read(tmp_path, f'{{"{written}": "a", "target": "b"}}', "rows.jsonl", fields)[0].inputs == {"input": "a"}
        fields = Fields({"input": "input"}, asked)
        assert _read(tmp_path, f"input\t{written}\na\tb\n", "rows.tsv", fields)[0].targets == ("b",)


def test_a_name_of_a_column_that_only_looks_the_same_is_shown_with_escapes(tmp_path: Path) -> None:
    said = "did you mean 'input\\u200b'? They look the same, but 'input' is not 'input\\u200b'"
    assert said in _refused(tmp_path, "input\u200b,target\na,b\n")
    assert said in _refused(tmp_path, '{"input\u200b": "a", "target": "b"}\n' * 2, "rows.jsonl")


def test_inputs_stay_as_they_are_written_and_targets_are_composed(tmp_path: Path) -> None:
    rows = _read(tmp_path, "input,target\ncafe\u0301,the\u0301\u00a0\n", "rows.csv")
    assert rows == [Row(2, {"input": "cafe\u0301"}, ("th\u00e9",))]
    fields = Fields({"input": "input"}, separator="\u00e9")
    assert _read(tmp_path, "input,target\na,1e\u03012\n", "rows.csv", fields)[0].targets == ("1", "2")


def test_a_file_is_found_whether_its_name_is_composed_or_not(tmp_path: Path) -> None:
    (tmp_path / "e\u0301te\u0301.csv").write_text(CSV)
    assert len(read_file(tmp_path / "\u00e9t\u00e9.csv", FIELDS)) == 20
