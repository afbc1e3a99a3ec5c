"""Tables of pandas and polars as the data of a task: anything with their method that gives rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localprompt.errors import TaskError
from localprompt.tasks import load_task


@dataclass
class Pandas:
    rows: Sequence[Mapping[Any, object]]
    columns: Sequence[str] = ()

    def to_dict(self, orient: str) -> Sequence[Mapping[Any, object]]:
        assert orient == "records"
        return self.rows


@dataclass
class Array:
    values: list[str]

    def tolist(self) -> list[str]:
        return self.values


@dataclass
class Polars:
    rows: Sequence[Mapping[Any, object]]

    def to_dicts(self) -> Sequence[Mapping[Any, object]]:
        return self.rows


ROWS = [{"input": f"word {n}", "target": n} for n in range(60)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "task.yaml"
    path.write_text("name: t\ndata: {file: rows}\n", encoding="utf-8")
    return path


def test_a_number_of_very_many_digits_is_text_as_in_a_file(file: Path) -> None:
    rows = [{"input": n, "target": 10**5000 + n} for n in range(60)]
    task = load_task(file, frames={"rows": Pandas(rows)})
    assert {len(each.targets[0]) for each in task.test} == {5001}


def test_a_gap_in_a_list_of_answers_is_an_error(file: Path) -> None:
    rows = [{"input": f"word {n}", "target": ["a", float("nan") if n == 7 else "b"]} for n in range(60)]
    with pytest.raises(TaskError, match="row 8: 'target' is null"):
        load_task(file, frames={"rows": Pandas(rows)})


@pytest.mark.parametrize("table", [Pandas(ROWS), Polars(ROWS)], ids=["pandas", "polars"])
def test_a_table_is_the_data_that_a_file_with_the_same_rows_is(file: Path, table: object) -> None:
    task = load_task(file, frames={"rows": table})
    lines = "".join(f'{{"input": "word {n}", "target": "{n}"}}\n' for n in range(60))
    (file.parent / "rows.jsonl").write_text(lines, encoding="utf-8")
    file.write_text("name: t\ndata: {file: rows.jsonl}\n", encoding="utf-8")
    other = load_task(file)
    assert (task.train, task.dev, task.test) == (other.train, other.dev, other.test)
    assert task.fingerprint == other.fingerprint


def test_splits_may_be_tables_of_their_own_beside_files(file: Path) -> None:
    (file.parent / "test.jsonl").write_text('{"input": "c", "target": "3"}\n', encoding="utf-8")
    file.write_text("name: t\ndata: {train: a, dev: b, test: test.jsonl}\n", encoding="utf-8")
    tables = {name: Pandas([{"input": name, "target": "1"}]) for name in ("a", "b")}
    task = load_task(file, frames=tables)
    assert [split[0].inputs["input"] for split in (task.train, task.dev, task.test)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ({"rows": Pandas([{"input": "a", "target": float("nan")}])}, "rows, row 1: 'target' is null"),
        ({"rows": Pandas([{"input": "a", "target": "b"}, {"input": object(), "target": "b"}])}, "row 2: .* object"),
        ({"rows": Pandas([])}, "rows: holds no rows"),
        ({"rows": 5}, "the data 'rows' is a int, not a table"),
        ({"row": Pandas(ROWS)}, "names no data 'row'"),
    ],
    ids=["gap", "object", "empty", "number", "name"],
)
def test_what_is_no_table_or_has_gaps_is_a_sentence(file: Path, frames: Mapping[str, object], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        load_task(file, frames=frames)


def test_a_column_that_is_there_twice_is_an_error_where_the_task_uses_it(file: Path) -> None:
    table = Pandas([{**row, "other": 1} for row in ROWS])  # as pandas gives it: one of each name
    table.columns = ["input", "target", "other", "other"]
    assert len(load_task(file, frames={"rows": table}).train) == 12
    table.columns = ["input", "target", "target", "other"]
    with pytest.raises(TaskError, match="rows, row 1: 'target' is there twice, and so in all 60 rows"):
        load_task(file, frames={"rows": table})


def test_a_list_of_answers_may_be_an_array(file: Path) -> None:
    table = Pandas([{"input": row["input"], "target": Array(["a", "b"])} for row in ROWS])
    assert load_task(file, frames={"rows": table}).dev[0].targets == ("a", "b")
