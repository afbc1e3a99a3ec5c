"""The test rows that a found prompt fixes or breaks, in the summary of a search and in `runs show`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
import toy
from click.testing import CliRunner
from rich.text import Text

import localprompt
from localprompt.cli.changed_rows import changed_parts
from localprompt.cli.main import main
from localprompt.run.history import TestRow, read_history
from localprompt.store import Store
from localprompt.types import Example, Outcome


def _localprompt(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def _row(name: str, before: float, after: float, said: str | None = "yes") -> TestRow:
    example = Example(name, {"input": f"input of {name}"}, ("right",))
    return TestRow(example, Outcome(name, "wrong", before), Outcome(name, said, after))


def _lines(*rows: TestRow) -> list[str]:
    return list(_plain(changed_parts(rows)))


def _plain(parts: Sequence[object]) -> Iterator[str]:
    for part in parts:
        assert isinstance(part, Text)
        yield part.plain


@pytest.mark.usefixtures("lm")
def test_a_search_shows_three_rows_before_and_after(task: str) -> None:
    lines = _localprompt("optimize", task, "--model", "toy:1").splitlines()
    start = lines.index("test rows that changed: 16 fixed, 0 broken, such as")
    assert all(line.startswith("fixed   alpha") for line in lines[start + 1 : start + 7 : 2])
    number = lines[start + 1].removeprefix("fixed   alpha").strip()
    assert lines[start + 2].strip() == f"target omega{number}, before no idea, after omega{number}"
    assert lines[start + 7].strip() == ""
    (run,) = json.loads(_localprompt("runs", "list", "--json"))
    assert "\n".join(lines[start : start + 7]) in _localprompt("runs", "show", run["run_id"])
    (shown,) = _localprompt("runs", "show", run["run_id"], "--json").splitlines()
    rows = json.loads(shown)["changed_rows"]
    assert len(rows) == len({row["example_id"] for row in rows}) == 16
    assert rows[0]["targets"] == [rows[0]["after"]["prediction"]]


def test_nothing_is_said_where_nothing_changed() -> None:
    found = localprompt.optimize(toy.task(), toy.model(), method="manual")
    assert "test rows that changed" not in _localprompt("runs", "show", found.run_id)


def test_a_run_without_a_test_has_no_changed_rows() -> None:
    found = localprompt.optimize(toy.task(), toy.model(), max_minutes=1e-9)
    with Store() as store:
        store.runs.update(found.run_id, result={})
        assert read_history(store, found.run_id).changed_rows == []


def test_rows_that_cannot_be_read_are_not_shown() -> None:
    found = localprompt.optimize(toy.task(), toy.model())
    with Store() as store:
        assert len(read_history(store, found.run_id).changed_rows) == 40
        record = store.runs.get(found.run_id)
        for rows in (7, [7], [["test:60", {}, []]], None):
            task = {**record.configuration["task"], "test": rows}
            store.runs.update(found.run_id, configuration={**record.configuration, "task": task})
            assert read_history(store, found.run_id).changed_rows == []


def test_three_rows_of_each_kind_are_shown() -> None:
    fixed, broken = [_row(f"fixed{n}", 0, 1) for n in range(4)], [_row(f"broken{n}", 1, 0.5) for n in range(2)]
    lines = _lines(*fixed, *broken, _row("same", 1, 1))
    assert lines[0] == "test rows that changed: 4 fixed, 2 broken, such as"
    assert [line.split()[-1] for line in lines[1::2]] == ["fixed0", "fixed1", "fixed2", "broken0", "broken1"]
    assert _lines(*broken)[0] == "test rows that changed: 0 fixed, 2 broken"
    assert _lines() == []


def test_folds_that_name_each_other_end() -> None:
    found = localprompt.optimize(toy.task(), toy.model())
    with Store() as store:
        configuration = store.runs.get(found.run_id).configuration
        store.runs.update(found.run_id, configuration={**configuration, "cross_validation": {"runs": [found.run_id]}})
        assert len(read_history(store, found.run_id).test_rows) == 40


def test_what_a_terminal_would_obey_is_shown_as_text() -> None:
    hostile = _row("\x1b[2J\n[bold]", 0, 1, "\u202eno\n" + "x" * 500)
    _, text, answers = _lines(hostile)
    assert text == "fixed   input of \\u{1b}[2J\\n[bold]"
    assert answers.startswith("        target right, before wrong, after \\u{202e}no\\n" + "x" * 100)
    assert answers.endswith("x…")


def test_an_answer_that_is_none_is_told_from_one_that_failed() -> None:
    assert _lines(_row("a", 1, 0, None))[2].endswith("after (no answer)")
    failed = TestRow(
        Example("b", {"x": "1", "y": "2"}, ("r",)), Outcome("b", None, 0, failed=True), Outcome("b", "r", 1)
    )
    assert _lines(failed)[1:] == ["fixed   x: 1 | y: 2", "        target r, before (failed), after r"]
    assert failed.to_json()["before"]["failed"] is True
