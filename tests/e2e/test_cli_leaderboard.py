"""`localprompt leaderboard` from the command line."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner, Result

import localprompt
from localprompt.cli.main import main
from localprompt.lm.scripted import ScriptedLM


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


def test_names_stay_whole_on_80_columns_and_a_star_says_who_is_behind_beyond_chance(tmp_path: Path) -> None:
    def knowing(n: int, name: str) -> ScriptedLM:
        def answer(text: str, _: int) -> str:
            number = re.findall(r"alpha(\d+)", text)[-1]
            return f" omega{number}" if int(number) % n else " nothing"

        return ScriptedLM(answer=answer, name=name)

    models = [knowing(2, "made-up-coder-0.5b-instruct"), knowing(16, "made-up-coder-1.5b-instruct"), knowing(9, "near")]
    store, task = tmp_path / "s.sqlite", toy.task(test=16)
    localprompt.sensitivity(task, models, size="quick", families=("surface", "format"), store=store)
    result = _run("leaderboard", "--quick", "--store", str(store), "--csv", str(tmp_path / "board.csv"))
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert max(map(len, result.stdout.partition("note:")[0].splitlines())) <= 80
    assert "made-up-coder-1.5b-instruct" in lines
    assert lines["made-up-coder-0.5b-instruct"][5].endswith("*")
    assert not lines["near"][5].endswith("*")
    with (tmp_path / "board.csv").open(encoding="utf-8") as file:
        first, *_, last = csv.DictReader(file)
    assert first["behind_mean"] == first["behind_p"] == ""
    assert float(last["behind_low"]) < float(last["behind_mean"]) < float(last["behind_high"]) < 0


def test_an_empty_store_is_one_sentence() -> None:
    assert _run("runs", "list").exit_code in (0, 1)
    result = _run("leaderboard")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Hint: " in result.output
