"""`localprompt transfer` from the command line, with scripted models from files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import localprompt
from localprompt.cli.main import main
from localprompt.store import Store

PROMPTS = ("Say the number.", "Name the parity.")


@pytest.fixture
def task(tmp_path: Path) -> str:
    rows = [{"input": f"item {n}", "target": ("even", "odd")[n % 2]} for n in range(44)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    split = "split: {train: 4, dev: 20, test: 20}"
    path = tmp_path / "task.yaml"
    path.write_text(f"name: parity\ndata: {{file: rows.jsonl, {split}}}\nlabels: [even, odd]\nprompts: [Answer.]\n")
    return str(path)


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, ...]:
    """Two models, each of which knows the answers where the prompt has its word."""
    for word in ("number", "parity"):
        replies = {
            rf"{word}[\s\S]*item \d*[02468]\n(?![\s\S]*item)": "even",
            rf"{word}[\s\S]*item \d*[13579]\n(?![\s\S]*item)": "odd",
        }
        (tmp_path / f"{word}.json").write_text(json.dumps({"replies": {**replies, "": "odd"}}))
    return tuple(f"scripted:{tmp_path / word}.json" for word in ("number", "parity"))


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "prompts.txt"
    path.write_text("\n\n".join(PROMPTS) + "\n", encoding="utf-8")
    return str(path)


def _transfer(task: str, models: tuple[str, ...], *more: str) -> Result:
    return CliRunner().invoke(main, ["transfer", task, "--models", ",".join(models), *more])


def test_a_person_sees_the_verdict_the_matrix_and_what_is_best_for_all(
    task: str, models: tuple[str, ...], prompts: str
) -> None:
    result = _transfer(task, models, "--prompts", prompts)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Prompts do not carry over: the best of one model scores -0.50 on another")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "1 1.00* 0.50 0.50 0.75 prompts.txt:1: Say the number." in lines
    assert "2 0.50 1.00* 0.50 0.75 prompts.txt:2: Name the parity." in lines
    assert any("partly luck" in line for line in lines)
    assert "localprompt report " in lines[-1]
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if line[:2] in ("0 ", "1 ", "2 ", "th"))


def test_many_models_stand_in_several_matrices_with_whole_scores(
    task: str, models: tuple[str, ...], prompts: str, tmp_path: Path
) -> None:
    text = (tmp_path / "number.json").read_text()
    for n in range(9):
        (tmp_path / f"m{n}.json").write_text(text)
    result = _transfer(task, tuple(f"scripted:{tmp_path}/m{n}.json" for n in range(9)), "--prompts", prompts)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for letters in ("A B C D E F", "G H I"):
        at = lines.index(f"{letters} lowest mean prompt")
        assert lines[at + 2].startswith("1 " + "1.00* " * len(letters.split()) + "1.00 1.00 prompts.txt:1:")
        assert max(map(len, result.stdout.splitlines()[at : at + 4])) <= 80


def test_json_and_csv_hold_the_same_scores(tmp_path: Path, task: str, models: tuple[str, ...], prompts: str) -> None:
    result = _transfer(task, models, "--prompts", prompts, "--json", "--csv", str(tmp_path / "scores.csv"))
    found = json.loads(result.stdout)
    with (tmp_path / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 20
    cell = next(each for each in found["tasks"][0]["cells"] if each["is_best"] and each["model_number"] == 1)
    scores = [float(row["score"]) for row in rows if row["prompt"] == "2 prompts.txt:2" and row["model"] == "parity"]
    assert scores == cell["scores"] == [1.0] * 20


def test_what_a_run_found_is_marked_where_it_was_found(tmp_path: Path, task: str, models: tuple[str, ...]) -> None:
    (tmp_path / "one.txt").write_text(PROMPTS[0], encoding="utf-8")
    run = localprompt.optimize(task, models[0], method="manual", settings={"prompts": str(tmp_path / "one.txt")})
    result = _transfer(task, models, "--prompts", run.run_id[:8], "--prompts", PROMPTS[1])
    assert result.exit_code == 0, result.output
    assert "1.00*o" in result.stdout
    assert f"run {run.run_id} on number" in result.stdout
    assert "which favours it where these choose" in result.stdout


def test_a_file_of_prompts_has_any_name_and_only_its_lines_are_prompts_of_their_own(
    tmp_path: Path, task: str, models: tuple[str, ...]
) -> None:
    path = tmp_path / "my own prompts.txt"
    path.write_bytes("Say the number.\r\nName\u2028the parity.\n".encode())
    found = json.loads(_transfer(task, models, "--prompts", str(path), "--json").stdout)
    texts = [each["prompt"]["instruction"] for each in found["tasks"][0]["prompts"]]
    assert texts[1:] == ["Say the number.", "Name\u2028the parity."]


def test_a_dry_run_says_what_it_costs_and_keeps_nothing(task: str, models: tuple[str, ...], prompts: str) -> None:
    result = _transfer(task, models, "--prompts", prompts, "--dry-run", "--json")
    costs = json.loads(result.stdout)
    assert [(each["model"], each["n_prompts"], each["n_rows"]) for each in costs] == [
        ("number", 3, 40),
        ("parity", 3, 40),
    ]
    assert costs[0]["tokens_computed"] > 0
    assert "At most about" in _transfer(task, models, "--prompts", prompts, "--dry-run").stdout
    with Store() as store:
        assert not store.studies.all("transfer")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--prompts", "nowhere"], "the prompt file nowhere cannot be read"),
        (["--prompts", "@no where"], "the prompt file no where cannot be read"),
        (["--prompts", "abcdef12"], "no"),
        (["--csv", "nowhere/x.csv"], "its folder does not exist"),
        ([], "only one prompt"),
    ],
)
def test_bad_input_is_one_sentence(task: str, models: tuple[str, ...], more: list[str], message: str) -> None:
    result = _transfer(task, models, *more)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "loading" not in result.output
