"""`localprompt leaderboard` from the command line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner, Result

from localprompt.cli.main import main


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def other(tmp_path: Path) -> str:
    (tmp_path / "other.json").write_text('{"replies": {"": "nothing"}}', encoding="utf-8")
    return f"scripted:{tmp_path}/other.json"


@pytest.mark.usefixtures("lm")
def test_models_are_measured_and_then_read_from_the_store(tmp_path: Path, other: str) -> None:
    task = toy.write_task(tmp_path, 8, 16, 16, keys="prompts: [Turn every alpha into the omega.]\n")
    measured = _run("leaderboard", task, "--models", f"{other},toy:1", "--quick")
    assert measured.exit_code == 0, measured.output
    lines = [line.split() for line in measured.stdout.splitlines()]
    (first,) = (place for place, line in enumerate(lines) if line[:1] == ["scripted"])
    (second,) = (place for place, line in enumerate(lines) if line[:1] == ["other"])
    assert first < second
    assert float(lines[first][1]) > 0.5 > float(lines[second][1]) == 0
    assert "omegas: 16 test rows, quick" in measured.stdout
    for names in ([], [task], ["omegas"]):
        read = _run("leaderboard", *names, "--quick", "--csv", str(tmp_path / "board.csv"))
        assert read.stdout == measured.stdout
    with (tmp_path / "board.csv").open(encoding="utf-8") as file:
        assert [row["model"] for row in csv.DictReader(file)] == ["scripted", "other"]


def test_an_empty_store_is_one_sentence() -> None:
    assert _run("runs", "list").exit_code in (0, 1)
    result = _run("leaderboard")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Hint: " in result.output
