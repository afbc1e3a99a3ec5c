from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest

from localprompt.errors import TaskError
from localprompt.tasks.data import Fields, Row, divide, read_dataset, read_file, to_examples

FIELDS = Fields({"input": "input"})


def _file(folder: Path, content: str | bytes, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _problem(folder: Path, content: str | bytes, name: str = "rows.jsonl", fields: Fields = FIELDS) -> str:
    path = _file(folder, content, name)
    with pytest.raises(TaskError) as caught:
        read_file(path, fields)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value.message


def test_a_row_keeps_its_line_and_its_answers(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"input": "a", "target": "x"}\n\n{"input": "b", "targets": ["y", "z", "y"]}\n')
    assert read_file(path, FIELDS) == [Row(1, {"input": "a"}, ("x",)), Row(3, {"input": "b"}, ("y", "z"))]


def test_byte_order_mark_crlf_and_empty_last_lines_do_not_matter(tmp_path: Path) -> None:
    jsonl = b'\xef\xbb\xbf{"input": "\xc3\xa4", "target": "x"}\r\n\r\n\r\n'
    csv = b"\xef\xbb\xbfinput,target\r\n\xc3\xa4,x\r\n\r\n,\r\n"
    assert read_file(_file(tmp_path, jsonl), FIELDS) == [Row(1, {"input": "ä"}, ("x",))]
    assert read_file(_file(tmp_path, csv, "rows.csv"), FIELDS) == [Row(2, {"input": "ä"}, ("x",))]


def test_numbers_stay_as_they_are_written_and_booleans_become_words(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"input": 1.50, "target": [12345678901234567890, true, 1e3]}')
    assert read_file(path, FIELDS) == [Row(1, {"input": "1.50"}, ("12345678901234567890", "true", "1e3"))]


def test_columns_are_mapped_to_slots(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"question": "q", "passage": "p", "answer": " a "}')
    fields = Fields({"input": "question", "context": "passage"}, target="answer")
    assert read_file(path, fields) == [Row(1, {"input": "q", "context": "p"}, ("a",))]


def test_a_csv_field_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = _file(tmp_path, 'input,target\n"a, ""b""\nc",x\nd,"y"\n', "rows.csv")
    assert read_file(path, FIELDS) == [Row(2, {"input": 'a, "b"\nc'}, ("x",), 2), Row(4, {"input": "d"}, ("y",))]


def test_a_tsv_file_is_divided_at_tabs_and_a_separator_divides_answers(tmp_path: Path) -> None:
    path = _file(tmp_path, "input\ttarget\na, b\tx|y\n", "rows.TSV")
    assert read_file(path, Fields({"input": "input"}, separator="|")) == [Row(2, {"input": "a, b"}, ("x", "y"))]


def test_a_row_of_100_000_characters_is_read(tmp_path: Path) -> None:
    long = "ä" * 100_000
    assert read_file(_file(tmp_path, f'{{"input": "{long}", "target": "x"}}'), FIELDS)[0].inputs["input"] == long
    assert read_file(_file(tmp_path, f"input,target\n{long},x\n", "r.csv"), FIELDS)[0].inputs["input"] == long


def test_a_number_of_5000_digits_is_a_text_in_the_first_row_too(tmp_path: Path) -> None:
    content = f'{{"input": "a", "target": {"9" * 5000}}}\n'
    assert read_file(_file(tmp_path, content), FIELDS)[0].targets == ("9" * 5000,)


GOOD = '{"input": "a", "target": "x"}\n'


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"input": "a", "target": "x"', "invalid JSON"),
        ('{"input": "a", "target": NaN}', "NaN is not a number"),
        ("[" * 100_000, "nested too deep"),
        ('["a", "x"]', "not a JSON object"),
        ('{"inptu": "a", "target": "x"}', "no 'input' (did you mean 'inptu'?)"),
        ('{"input": "a", "trget": "x"}', "no 'target' (did you mean 'trget'?)"),
        ('{"input": "a", "target": "  "}', "empty target"),
        ('{"input": "a", "target": []}', "empty target"),
        ('{"input": "a", "target": null}', "null"),
        ('{"input": {"b": "c"}, "target": "x"}', "'input' is a dict"),
        ('{"input": " ", "target": "x"}', "empty 'input'"),
        ('{"input": "\\ud800", "target": "x"}', "no text"),
        ('{"input": "\\u0000", "target": "x"}', "no text"),
        (f'{{"input": "{"a" * 200_000}", "target": "x"}}', "longer than"),
        ("{}", "the row is empty"),
    ],
)
def test_a_bad_row_is_named_with_file_line_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    message = _problem(tmp_path, f"{GOOD}\n{row}\n{GOOD}")
    assert "rows.jsonl, line 3: " in message
    assert reason in message


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    assert "line 2: not UTF-8" in _problem(tmp_path, GOOD.encode() + b'{"input": "\xff", "target": "x"}\n')
    assert "line 3: not UTF-8" in _problem(tmp_path, b"input,target\na,x\n\xff,x\n", "rows.csv")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("input,target\na,x\nb\n", "line 3: 1 column, the header has 2"),
        ("input,target\na,x,y\n", "line 2: 3 columns, the header has 2"),
        ('input,target\na,x\n"b" c,x\n', "line 3: "),
        ('input,target\n"b,x\n', "line 2: "),
        ("input,input,target\na,b,x\n", "line 1: the header has the column 'input' twice"),
        ("question,target\na,x\n", "line 1: no column 'input' (known: question, target)"),
        ("input,target\n", "no rows"),
        ("question,target\na\rb,x\n", "line 2: this row cannot be read (a carriage return in the middle"),
        ("question\rinput,target\na,x\n", "line 1: this row cannot be read (a carriage return in the middle"),
        (f"question,target\n{'a' * 200_000},x\n", "line 1: no column 'input' (known: question, target)"),
        (f"question,{'a' * 200_000}\na,x\n", "line 1: no header row, the first line is data ('question,aaaa"),
    ],
)
def test_a_bad_table_is_named_with_file_line_and_reason(tmp_path: Path, content: str, reason: str) -> None:
    assert reason in _problem(tmp_path, content, "rows.csv")


def test_the_first_five_bad_rows_are_named_and_the_others_counted(tmp_path: Path) -> None:
    message = _problem(tmp_path, GOOD + "{\n" * 7)
    assert [f"line {n}:" in message for n in range(1, 9)] == [False] + [True] * 5 + [False] * 2
    assert message.endswith("and 2 more bad rows")


def test_a_file_that_is_missing_empty_or_of_an_unknown_kind_is_named(tmp_path: Path) -> None:
    assert "holds no rows" in _problem(tmp_path, "\n\n")
    assert "unknown kind" in _problem(tmp_path, "x", "rows.xlsx")
    with pytest.raises(TaskError, match="no such data file"):
        read_file(tmp_path / "absent.jsonl", FIELDS)
    with pytest.raises(TaskError, match="no such data file"):
        read_file(tmp_path.with_suffix(".jsonl"), FIELDS)
    with pytest.raises(TaskError, match="cannot be read"):
        read_file(tmp_path / f"{'long' * 100}.jsonl", FIELDS)


ROWS = [Row(line, {"input": str(line)}, ("ab"[line % 4 == 0],)) for line in range(1, 41)]


def test_fractions_and_counts_give_the_sizes_they_say() -> None:
    assert [len(split) for split in divide(ROWS, (0.25, 0.3, 0.45), seed=0, stratify=True)] == [10, 12, 18]
    assert [len(split) for split in divide(ROWS, (1, 2, 3), seed=0, stratify=True)] == [1, 2, 3]
    assert [len(split) for split in divide(ROWS, (0.001, 0.1, 20), seed=0, stratify=True)] == [1, 4, 20]


def test_a_split_has_the_targets_in_proportion() -> None:
    for split in divide(ROWS, (0.4, 0.3, 0.3), seed=3, stratify=False):
        counts = Counter(row.targets[0] for row in split)
        assert abs(counts["b"] - len(split) / 4) <= 1


def test_another_seed_gives_another_split() -> None:
    assert divide(ROWS, (20,), seed=0, stratify=True) != divide(ROWS, (20,), seed=1, stratify=True)


def test_more_rows_than_there_are_are_refused() -> None:
    with pytest.raises(TaskError, match=r"20 \+ 20 \+ 1 = 41 rows of 40"):
        divide(ROWS, (20, 20, 1), seed=0, stratify=True)
    with pytest.raises(TaskError, match=r"1 \+ 1 \+ 1 = 3 rows of 2") as caught:
        divide(ROWS[:2], (0.2, 0.4, 0.4), seed=0, stratify=True)
    assert "give more rows" in caught.value.hint


def test_an_example_is_called_by_split_and_line() -> None:
    assert [example.id for example in to_examples("dev", ROWS[4:6])] == ["dev:5", "dev:6"]


class FakeTable:
    """What `datasets.load_dataset` gives, as far as it is used."""

    features: ClassVar = {"text": SimpleNamespace(dtype="string"), "label": SimpleNamespace(names=["neg", "pos"])}

    def __iter__(self) -> Iterator[dict[str, object]]:
        return iter([{"text": "fine", "label": 1}, {"text": "bad", "label": 0}])


def test_class_labels_of_a_hugging_face_data_set_become_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, config: str | None, **options: object) -> FakeTable:
        asked.append((name, config, options))
        return FakeTable()

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    rows = read_dataset("imdb", "train[:2]", Fields({"input": "text"}, "label"), revision="abc")
    assert rows == [Row(1, {"input": "fine"}, ("pos",)), Row(2, {"input": "bad"}, ("neg",))]
    assert asked == [("imdb", None, {"split": "train[:2]", "revision": "abc"})]


def test_columns_and_class_labels_of_a_data_set_are_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Decomposed:
        features: ClassVar = {"e\u0301tat": SimpleNamespace(names=["gele\u0301", "sec"])}

        def __iter__(self) -> Iterator[dict[str, object]]:
            return iter([{"text": "gele\u0301", "e\u0301tat": 0}])

    module = ModuleType("datasets")
    module.load_dataset = lambda *_, **__: Decomposed()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    rows = read_dataset("etat", "train", Fields({"input": "text"}, "\u00e9tat"))
    assert rows == [Row(1, {"input": "gele\u0301"}, ("gel\u00e9",))]


def test_a_data_set_without_the_column_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("datasets")
    module.load_dataset = lambda *_, **__: FakeTable()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(TaskError, match=r"row 1: no 'txt' \(did you mean 'text'\?\), and so in all 2 rows"):
        read_dataset("imdb", "train", Fields({"input": "txt"}, "label"))


def test_a_data_set_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, config: str | None, **options: object) -> FakeTable:
        raise ValueError("Unknown split")

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(TaskError, match=r"'imdb', part 'tset'.*Unknown split"):
        read_dataset("imdb", "tset", FIELDS)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(TaskError, match="not installed") as caught:
        read_dataset("imdb", "train", FIELDS)
    assert (
        caught.value.hint == "pip install 'datasets>=3'"
    )  # right whether localprompt came from an index or a checkout
