"""What a table says is what is read, or an error: never fewer rows without a word."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from localprompt.errors import TaskError
from localprompt.tasks.data import Fields, Row, read_file, reading_doubts

FIELDS = Fields({"input": "input"})
TEXTS = st.text(st.sampled_from("ab\",\n \t;'x"), min_size=1, max_size=12).filter(str.strip)
WORDS = st.text("abc", min_size=1, max_size=3)


def _read(text: str, name: str) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(text.encode())
        return read_file(path, FIELDS)


@given(rows=st.lists(st.tuples(TEXTS, WORDS), min_size=1, max_size=30))
def test_what_the_csv_module_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryFile("w+", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("input", "target"), *rows])
        file.seek(0)
        text = file.read()
    found = _read(text, "rows.csv")
    assert [(row.inputs["input"], row.targets[0]) for row in found] == rows
    doubts = reading_doubts("rows.csv", found)
    assert any("quoted fields continue" in doubt for doubt in doubts) == any("\n" in text for text, _ in rows)


@given(rows=st.lists(st.tuples(TEXTS.map(lambda text: text.replace(",", ";").replace("\n", ".")), WORDS), min_size=1))
def test_a_csv_that_was_written_without_quoting_gives_all_rows_or_a_word(rows: list[tuple[str, str]]) -> None:
    try:
        found = _read("\n".join(["input,target", *map(",".join, rows)]), "rows.csv")
    except TaskError:
        return
    assert len(found) == len(rows) or reading_doubts("rows.csv", found)


@given(rows=st.lists(st.tuples(st.text("ab\", '", min_size=1).filter(str.strip), WORDS), min_size=1))
def test_a_tsv_gives_every_line_as_it_is(rows: list[tuple[str, str]]) -> None:
    found = _read("\n".join(["input\ttarget", *map("\t".join, rows)]), "rows.tsv")
    assert [(row.inputs["input"], row.targets[0]) for row in found] == rows
