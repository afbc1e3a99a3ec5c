"""`localprompt compare` from the command line, with a scripted model behind a name."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner, Result

from localprompt.cli.compare_output import print_comparison
from localprompt.cli.main import main
from localprompt.comparison.plan import compare
from localprompt.comparison.table import Comparison, Row
from localprompt.errors import ModelError
from localprompt.lm.scripted import ScriptedLM
from localprompt.stats.intervals import Difference
from localprompt.stats.seeds import OverSeeds

SMALL = ("--methods", "ape,random", "--seeds", "2", "--set", "ape.queries=2", "--set", "random.proposals=14")


@pytest.fixture
def task(tmp_path: Path) -> str:
    return toy.write_task(tmp_path, 20, 12, 12)


def _compare(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["compare", *arguments])


def _small(task: str, *more: str) -> Result:
    return _compare(task, "--model", "toy:1", "--max-tokens", "6000", *SMALL, *more)


def test_a_difference_within_the_noise_floor_has_no_star(capsys: pytest.CaptureFixture[str]) -> None:
    gain = Difference(mean=0.05, low=0.02, high=0.08, n=400, p=0.001)
    for noise, cell in ((0.05, "+0.050 (p = 0.001) "), (0.02, "+0.050 (p = 0.001)*"), (None, "+0.050 (p = 0.001)*")):
        test = OverSeeds(0.6, None, None, 1)
        row = Row("t", "ape", 1, test, gain, None, noise, None, 100.0, 50.0, 10.0, 1.0, 0.0, 4, {})
        print_comparison(Comparison("c", "m", "m", 100, None, {}, (), (), (row,), ()), "again")
        assert cell in capsys.readouterr().out


@pytest.mark.usefixtures("lm")
def test_a_person_sees_a_row_a_method_and_the_prompts(task: str) -> None:
    result = _small(task)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["omegas"] in lines
    (ape,) = (line for line in lines if line[:1] == ["ape"])
    assert ape[1:5] == ["2", "1.000", "+1.000", "(p"]
    assert "+1.000 (p < 0.001)*" in " ".join(ape)
    assert f"omegas, random, seed 1, test 1.000: {toy.BEST}" in result.stdout
    assert "over all tasks" not in result.stdout
    assert (
        "settings: ape local, queries=2, per_query=12, example_sets=16, finalists=6; random local, proposals=14"
        in result.stdout
    )
    assert "run 4 of 4: omegas, random, seed 1" in result.stderr


@pytest.mark.usefixtures("lm")
def test_json_is_all_there_is_on_standard_output_and_csv_has_the_table_and_the_runs(task: str, tmp_path: Path) -> None:
    files = "--csv", str(tmp_path / "table.csv"), "--csv-runs", str(tmp_path / "runs.csv")
    result = _small(task, "--json", *files)
    plain = json.loads(result.stdout)
    assert (plain["max_tokens"], plain["max_calls"], plain["model"]) == (6000, None, "scripted")
    assert [(row["task"], row["method"], row["test"]["n"]) for row in plain["rows"]] == [
        ("omegas", "ape", 2),
        ("omegas", "random", 2),
    ]
    assert result.stdout.count("\n") == 1
    with (tmp_path / "runs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run_id"] for row in rows] == [run["run_id"] for run in plain["runs"]]
    assert [json.loads(row["instruction"]) for row in rows] == [toy.BEST] * 4
    assert {row["status"] for row in rows} == {"finished"}
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["task"], row["method"], row["runs"], row["test"]) for row in table] == [
        ("omegas", "ape", "2", "1.0"),
        ("omegas", "random", "2", "1.0"),
    ]
    assert [row["changed"] for row in table] == [
        '{"queries": 2, "per_query": 12, "example_sets": 16, "finalists": 6}',
        '{"proposals": 14}',
    ]


def test_where_every_run_failed_the_files_are_written_all_the_same(
    task: str, tmp_path: Path, named_model: toy.NamedModel
) -> None:
    named_model(toy.model(answer=toy.failing(ModelError("it broke", "mend it"))))
    files = "--csv", str(tmp_path / "table.csv"), "--csv-runs", str(tmp_path / "runs.csv")
    result = _small(task, *files)
    assert result.exit_code == 1, result.output
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").startswith("comparison,task,method,preset,")
    assert (tmp_path / "runs.csv").read_text(encoding="utf-8").count("it broke") == 4


def test_a_comparison_goes_on_by_its_arguments_or_by_its_id(task: str, lm: ScriptedLM) -> None:
    first = json.loads(_small(task, "--json").stdout)
    seen = len(lm.seen)
    assert json.loads(_small(task, "--json").stdout) == first
    assert json.loads(_compare("--resume", first["comparison"][:5], "--json").stdout) == first
    assert len(lm.seen) == seen


def test_ctrl_c_says_how_to_go_on(task: str, named_model: toy.NamedModel) -> None:
    named_model(toy.model(answer=toy.failing(KeyboardInterrupt(), 60)))
    result = _small(task)
    assert (result.exit_code, result.stdout) == (130, "")
    (comparison,) = (line.split()[3] for line in result.stderr.splitlines() if "compare --resume" in line)
    named_model(toy.model())
    resumed = _compare("--resume", comparison.strip("`"), "--json")
    assert len(json.loads(resumed.stdout)["runs"]) == 4


def test_a_failed_run_is_shown_and_makes_the_exit_code_1(task: str, named_model: toy.NamedModel) -> None:
    def answer(prompt: str, seed: int) -> str:
        if toy.is_asked_to_write(prompt):
            raise ModelError("it broke \u202e", "mend it")
        return toy.answer(prompt, seed)

    named_model(toy.model(answer=answer))
    result = _compare(task, "--model", "toy:1", "--max-tokens", "6000", "--methods", "manual,random", "--seeds", "1")
    assert result.exit_code == 1
    assert "omegas, random, seed 0 failed: it broke \\u{202e}; mend it" in result.stdout
    assert "tries again what failed" in result.stdout
    assert any(line.split()[:1] == ["manual"] for line in result.stdout.splitlines())


@pytest.mark.usefixtures("lm")
def test_a_dry_run_says_what_each_method_will_cost_and_runs_nothing(task: str) -> None:
    result = _small(task, "--dry-run")
    assert result.exit_code == 0, result.output
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:3]] == [["omegas", "ape"], ["omegas", "random"]]
    assert "4 runs with 2 seeds: about" in result.stdout
    costs = json.loads(_small(task, "--dry-run", "--json").stdout)
    assert [each["method"] for each in costs] == ["ape", "random"]
    assert all(0 < each["tokens_decoded"] <= 6000 for each in costs)
    listed = CliRunner().invoke(main, ["runs", "list", "--json"])
    assert json.loads(listed.stdout) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["TASK", "--model", "toy:1"], 2, "--max-tokens are needed, or --resume"),
        (["TASK", "--max-tokens", "9"], 2, "--model and --max-tokens are needed"),
        (["--model", "toy:1", "--max-tokens", "9"], 2, "TASK..., --model"),
        (["TASK", "--model", "toy:1", "--max-tokens", "9", "--methods", "ape,oprro"], 2, "did you mean 'opro'?"),
        (["TASK", "--model", "toy:1", "--max-tokens", "9", "--set", "queries=2"], 2, "does not name a method"),
        (["TASK", "--model", "toy:1", "--max-tokens", "9", "--set", "ape.querys=2"], 2, "did you mean 'queries'?"),
        (["TASK", "--model", "toy:1", "--max-tokens", "9", "--preset", "papers"], 2, "did you mean 'paper'?"),
        (["TASK", "--model", "toy:1", "--max-tokens", "9", "--csv", "no-such/x.csv"], 2, "its folder does not exist"),
        (["TASK", "--model", "toy:1", "--max-tokens", "9", "--csv", "x", "--csv-runs", "./x"], 2, "both name x"),
        (["TASK", "--model", "toy:1", "--max-tokens", f"{10**19}"], 2, "is not in the range"),
        (["TASK", "--model", "toy:1", "--max-tokens", "9", "--max-calls", f"{10**19}"], 2, "is not in the range"),
        (["no-such.yaml", "--model", "toy:1", "--max-tokens", "9"], 1, "no-such.yaml"),
        (["--resume", "abc"], 1, "there is no store"),
        (["--resume", "abc", "--seeds", "9"], 2, "'--seeds' was fixed when the comparison started"),
        (["--resume", "abc", "--exact"], 2, "'--exact' was fixed when the comparison started"),
        (["TASK", "--resume", "abc"], 2, "was fixed when the comparison started"),
    ],
)
def test_errors_are_a_sentence_and_an_exit_code(
    task: str, lm: ScriptedLM, arguments: list[str], code: int, message: str
) -> None:
    result = _compare(*[task if each == "TASK" else each for each in arguments])
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert lm.seen == []


def test_a_narrow_terminal_shows_every_number_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"ape": {"queries": 2}, "random": {"proposals": 14}}
    task = toy.task(dev=12, test=12)
    result = compare([task], toy.model(), methods=("ape", "random"), n_seeds=2, max_tokens=6000, settings=small)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    print_comparison(result, "again")
    printed = capsys.readouterr().out
    assert "\u2026" not in printed
    assert f"{result.rows[0].tokens_computed:,.0f}" in printed
