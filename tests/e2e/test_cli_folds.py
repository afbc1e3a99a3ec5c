"""Cross-validation through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import toy
from click.testing import CliRunner, Result

from localprompt.cli.main import main


def _task(folder: Path, split: str = "{cv: 3}") -> str:
    path = Path(toy.write_task(folder, 10, 10, 10))
    path.write_text(f"name: omegas\ndata: {{file: rows.jsonl, split: {split}}}\n")
    return str(path)


def _run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_a_small_task_is_cross_validated_shown_and_gone_on_with(tmp_path: Path, named_model: toy.NamedModel) -> None:
    named_model(toy.model())
    words = ("optimize", _task(tmp_path), "--model", toy.NAMED, "--store", str(tmp_path / "store.db"))
    done = _run(*words)
    assert done.exit_code == 0, done.output
    assert "search 4 of 4: on 30 rows, for the prompt that is returned" in done.stderr
    assert "significant improvement" in done.stdout
    assert "test rows that changed: 30 fixed, 0 broken" in done.stdout
    shown = " ".join(done.stdout.split())
    assert "Note: cross-validation: 3 searches on other rows" in shown
    plain = _run(*words, "--json")
    found = json.loads(plain.stdout)
    assert (found["test"]["best"]["n"], found["test"]["best"]["mean"]) == (30, 1.0)
    runs = json.loads(_run("runs", "list", "--json", "--store", str(tmp_path / "store.db")).stdout)
    assert sorted(run["task"] for run in runs) == ["omegas", *(f"omegas, fold {n} of 3" for n in (1, 2, 3))]
    for run in runs:
        facts = _run("runs", "show", run["run_id"], "--store", str(tmp_path / "store.db"))
        assert facts.exit_code == 0
        assert ("cross-validation: 3 searches" in " ".join(facts.stdout.split())) == (run["task"] == "omegas")
    resumed = _run("resume", found["run_id"], "--max-calls", "9999", "--store", str(tmp_path / "store.db"))
    assert resumed.exit_code != 0
    assert "the last search of a cross-validation" in resumed.stderr


def test_a_search_that_its_budget_ends_is_gone_on_with_by_optimize(tmp_path: Path, named_model: toy.NamedModel) -> None:
    named_model(toy.model())
    words = ("--model", toy.NAMED, "--store", str(tmp_path / "store.db"), "--max-calls", "240", "--preset", "paper")
    done = _run("optimize", _task(tmp_path), "--method", "ape", *words)
    again = " ".join(done.stdout.split())
    assert "localprompt optimize TASK --store" in again
    assert "with a higher limit continues" in again


def test_a_dry_run_says_what_all_searches_cost(tmp_path: Path, named_model: toy.NamedModel) -> None:
    named_model(toy.model())
    words = ("--model", toy.NAMED, "--dry-run", "--json")
    found = json.loads(_run("optimize", _task(tmp_path), *words).stdout)
    one_split = _run("optimize", _task(tmp_path, "{train: 10, dev: 10, test: 10}"), *words)
    assert found["evaluations"] > 3 * json.loads(one_split.stdout)["evaluations"]
    limited = json.loads(_run("optimize", _task(tmp_path), *words, "--max-calls", "600").stdout)
    assert 0 < limited["proposals"] + limited["evaluations"] <= 600


def test_check_offers_cross_validation_and_shows_what_it_shows(tmp_path: Path) -> None:
    before = _run("tasks", "check", _task(tmp_path, "{train: 10, dev: 10, test: 10}")).stdout
    assert "30 rows: `data.split: cv` tests each of them once, so that a gain of 0.251 or more can be shown" in before
    after = _run("tasks", "check", _task(tmp_path, "cv")).stdout
    assert after.startswith("omegas: 30 rows, each tested once in 5 folds; the last search has 10 train, 20 dev\n")
    assert "The 30 test examples can show a gain of 0.251 or more" in after
    assert "data.split: cv" not in after
    assert "warning" not in after
    found = json.loads(_run("tasks", "check", _task(tmp_path, "cv"), "--json").stdout)
    assert (found["folds"], found["splits"]["test"]["n"], found["cross_validation"]) == (5, 30, None)


def test_check_offers_to_test_all_rows_of_the_file(tmp_path: Path) -> None:
    path = Path(toy.write_task(tmp_path, 4, 5, 5))
    path.write_text("data: {file: rows.jsonl}\n", encoding="utf-8")
    found = json.loads(_run("tasks", "check", str(path), "--json").stdout)
    assert sum(split["n"] for split in found["splits"].values()) == 12, "fractions are rounded down"
    assert found["cross_validation"]["rows"] == 14
    assert "14 rows: `data.split: cv` tests each of them once" in _run("tasks", "check", str(path)).stdout


def test_check_offers_nothing_where_cross_validation_has_other_rows(tmp_path: Path) -> None:
    part = Path(toy.write_task(tmp_path, 20, 20, 20))
    part.write_text("data: {file: rows.jsonl, split: {train: 4, dev: 4, test: 6}}\n", encoding="utf-8")
    assert json.loads(_run("tasks", "check", str(part), "--json").stdout)["cross_validation"] is None
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for name, rows in (("train", lines[:4]), ("dev", lines[4:8]), ("test", lines[8:16])):
        (tmp_path / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    part.write_text("data: {train: train.jsonl, dev: dev.jsonl, test: test.jsonl}\n", encoding="utf-8")
    found = json.loads(_run("tasks", "check", str(part), "--json").stdout)
    assert (found["smallest_gain"] is not None, found["cross_validation"]) == (True, None)


def test_check_offers_nothing_where_there_are_enough_rows(tmp_path: Path) -> None:
    path = toy.write_task(tmp_path, 20, 20, 20)
    assert "data.split: cv" not in _run("tasks", "check", path).stdout
    assert json.loads(_run("tasks", "check", path, "--json").stdout)["cross_validation"] is None


def test_what_cannot_be_done_yet_is_said_in_a_sentence(tmp_path: Path, named_model: toy.NamedModel) -> None:
    named_model(toy.model())
    path = _task(tmp_path)
    for words in (
        ("tasks", "check", path),
        ("evaluate", path, "--prompt", "hello"),
        ("compare", path, "--max-tokens", "9999"),
        ("optimize", path, "--pause-after", "1"),
    ):
        done = _run(*words, "--model", toy.NAMED)
        assert done.exit_code in (1, 2)
        assert "cross-validated" in done.stderr
        assert "Hint:" in done.stderr
