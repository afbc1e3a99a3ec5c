"""`localprompt models quantize` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from localprompt.cli.main import main


def call(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(main, ["models", "quantize", *map(str, arguments)])


@pytest.fixture
def half(tiny_qwen: Path, tmp_path: Path) -> Path:
    """A model at Q8_0."""
    result = call(tiny_qwen, "--to", "Q8_0", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    return tmp_path / "tiny-qwen.Q8_0.gguf"


def test_a_table_on_standard_output_and_progress_on_standard_error(tiny_qwen: Path, tmp_path: Path) -> None:
    result = call(tiny_qwen, "--to", "Q8_0,q4_k_m", "--out", tmp_path, "--threads", 1)
    assert result.exit_code == 0, result.output
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["level", "file", "size", "bits", "per", "weight", "seconds"]
    assert [row.split()[:2] for row in rows[:2]] == [
        ["Q8_0", str(tmp_path / "tiny-qwen.Q8_0.gguf")],
        ["Q4_K_M", str(tmp_path / "tiny-qwen.Q4_K_M.gguf")],
    ]
    assert "Requantised" not in result.stdout
    assert "Q4_K_M: 15 of 27 tensors do not divide into its blocks" in result.stdout
    assert "Q8_0: tiny-qwen.Q8_0.gguf made in" in result.stderr
    again = call(tiny_qwen, "--to", "Q8_0", "--out", tmp_path)
    assert "is there already and was left as it is" in again.stderr
    assert "was there" in again.stdout


def test_what_was_quantised_before_is_said_on_standard_output_in_json_and_by_info(half: Path) -> None:
    result = call(half, "--to", "Q2_K")
    said = "Requantised: tiny-qwen.Q8_0.gguf is itself quantised (Q8_0), so these files are worse than ones of the same"
    assert said in result.stdout
    file = half.with_name("tiny-qwen.Q2_K.from-Q8_0.gguf")
    assert file.exists()
    found = json.loads(call(half, "--to", "Q2_K", "--json").stdout)
    assert (found["requantised_from"], found["source"], found["imatrix"]) == ("Q8_0", str(half), None)
    (row,) = found["files"]
    assert (row["path"], row["was_there"], row["requantised_from"]) == (str(file), True, "Q8_0")
    info = CliRunner(env={"COLUMNS": "300"}).invoke(main, ["models", "info", str(file)])
    assert "Q2_K, requantised from Q8_0: " in info.stdout


def test_a_files_name_cannot_command_the_terminal(half: Path) -> None:
    named = half.rename(half.with_name("ti\x1b[2Jny.Q8_0.gguf"))
    result = call(named, "--to", "Q2_K")
    assert "Requantised: ti\\u{1b}[2Jny.Q8_0.gguf is itself quantised" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr


def test_a_larger_level_is_made_for_speed_alone_and_that_is_said(half: Path) -> None:
    assert "no better than its source" not in call(half, "--to", "Q4_0").stdout
    said = call(half.with_name("tiny-qwen.Q4_0.from-Q8_0.gguf"), "--to", "Q8_0").stdout
    assert "Q8_0: no better than its source; `localprompt models bench` says whether it is faster here." in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "F16"], "Error: F16 would make tiny-qwen.Q8_0.gguf no smaller: it is quantised (Q8_0), and no level"),
        (["--to", "Q3KM"], "Error: unknown level of quantisation 'Q3KM'"),
        (["--to", ","], "Error: no level of quantisation is given"),
        (["--to", "Q2_K", "--imatrix", "absent.gguf"], "Error: cannot read absent.gguf: No such file"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_no_file(half: Path, arguments: list[str], said: str) -> None:
    before = sorted(half.parent.iterdir())
    result = call(half, *arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert sorted(half.parent.iterdir()) == before
