"""A damaged row never blocks the others: lists name it, `delete` removes it, everything else goes on."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import toy
from click.testing import CliRunner

import localprompt
from localprompt.cli.main import main
from localprompt.errors import StoreError
from localprompt.store import DamagedRun, RunRecord, Store

DAMAGE = (
    "status = 'done'",
    "seed = 'None'",
    "seed = '1.5'",
    "seed = ''",
    "created = 1e300",
    "created = -1.0",
    "updated = 9e999",
    "configuration = '{'",
    "configuration = '[]'",
    "configuration = 'null'",
    "configuration = '{}'",
    f"configuration = '{'[' * 5000}'",
    "configuration = CAST(x'7bff7d' AS TEXT)",
    "result = 'nonsense'",
    "result = '3'",
    "task = CAST(x'ff' AS TEXT)",
    "model = CAST(x'ff' AS TEXT)",
    "proposer = CAST(x'ff' AS TEXT)",
    "method = CAST(x'ff' AS TEXT)",
    "stopped = CAST(x'ff' AS TEXT)",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept.sqlite"


def search(path: Path, seed: int = 0) -> str:
    return localprompt.optimize(toy.task(), toy.model(), method="manual", seed=seed, store=path).run_id


def change(path: Path, statement: str, *parameters: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement, parameters)


def call(path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(main, [*arguments, "--store", str(path)])


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A closed store, and its two runs."""
    made = tmp_path_factory.mktemp("two") / "kept.sqlite"
    return made, search(made), search(made, seed=1)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda text: text[:40])
def test_a_damaged_row_hides_no_other_run_and_can_be_deleted(
    damage: str, two_runs: tuple[Path, str, str], path: Path, tmp_path: Path
) -> None:
    made, sound, damaged = two_runs
    shutil.copy(made, path)
    change(path, f"UPDATE runs SET {damage} WHERE id = ?", damaged)

    listed = call(path, "runs", "list")
    assert listed.exit_code == 0, listed.output
    assert "no better prompt found" in listed.stdout
    assert f"the run {damaged} is damaged ({damage.partition(' ')[0]}: " in listed.stderr
    rows = {row["run_id"]: row for row in json.loads(call(path, "runs", "list", "--json").stdout)}
    assert {run_id: row["status"] for run_id, row in rows.items()} == {sound: "finished", damaged: "damaged"}
    assert set(rows[sound]) == set(rows[damaged])

    check = call(path, "runs", "check")
    assert (check.exit_code, damaged in check.stdout, sound in check.stdout) == (1, True, False)
    shown = call(path, "runs", "show", damaged)
    assert shown.exit_code == 0, shown.output
    assert f"localprompt runs delete {damaged} --store {path}" in shown.stdout

    assert call(path, "runs", "show", sound).exit_code == 0
    assert call(path, "replay", sound).exit_code == 0
    assert call(path, "runs", "export", sound, str(tmp_path / "sound.run")).exit_code == 0
    assert localprompt.resume(sound, store=path).run_id == sound
    compared = localprompt.compare([toy.task()], toy.model(), methods=["manual"], max_tokens=500, n_seeds=2, store=path)
    assert len(compared.runs) == 2
    for command in (["resume", damaged], ["replay", damaged], ["runs", "export", damaged, str(tmp_path / "x.run")]):
        refused = call(path, *command)
        assert (refused.exit_code, f"the run {damaged} is damaged" in refused.stderr) == (1, True), refused.output
        assert f"`localprompt runs delete {damaged} --store {path}` removes the run" in refused.stderr

    assert call(path, "runs", "delete", damaged[:8], "--yes").exit_code == 0
    assert damaged not in call(path, "runs", "list").output
    assert call(path, "runs", "check").exit_code == 0


PARTS: dict[str, str] = {
    "UPDATE candidates SET prompt = 'x'": "candidates",
    "UPDATE candidates SET op = CAST(x'ff' AS TEXT)": "candidates",
    "UPDATE candidates SET parents = '{}'": "candidates",
    "UPDATE evaluations SET prompt = '[]'": "evaluations",
    "UPDATE outcomes SET score = 9e999": "outcomes",
    "UPDATE outcomes SET prediction = '3'": "outcomes",
    "UPDATE events SET text = '3'": "events",
    "UPDATE events SET kind = CAST(x'ff' AS TEXT)": "events",
}


@pytest.mark.parametrize("damage", PARTS)
def test_damage_in_what_a_run_found_is_named_and_the_rest_of_it_is_shown(damage: str, path: Path) -> None:
    run_id = search(path)
    change(path, damage)
    shown = call(path, "runs", "show", run_id)
    assert shown.exit_code == 0, shown.output
    assert "no better prompt found" in shown.stdout
    assert f"Damage: the store {path}: the run {run_id} is damaged" in shown.stdout
    assert json.loads(call(path, "runs", "show", run_id, "--json").stdout)["damage"]
    check = call(path, "runs", "check")
    assert (check.exit_code, f"{PARTS[damage]}: the row " in check.stdout) == (1, True)
    assert f"of the run {run_id} cannot be read" in check.stdout
    assert call(path, "runs", "list").exit_code == 0


@pytest.mark.parametrize("score", ["9e999", "5.0", "-1.0"])
def test_a_damaged_score_on_test_is_named_and_its_run_is_compared_with_no_other(score: str, path: Path) -> None:
    sound, damaged = search(path), search(path, seed=1)
    of_test = "SELECT number FROM evaluations WHERE run = 2 AND kind = 'test'"
    change(path, f"UPDATE outcomes SET score = {score} WHERE run = 2 AND evaluation IN ({of_test})")
    named = f"the store {path}: the run {damaged} is damaged"
    assert f"Damage: {named}" in call(path, "runs", "show", damaged).stdout
    compared = call(path, "runs", "diff", sound, damaged, "--json")
    assert compared.exit_code == 0, compared.output
    assert json.loads(compared.stdout)["not_compared"].startswith(named)


def test_a_store_tells_runs_that_it_can_read_from_those_that_it_cannot(path: Path) -> None:
    sound, damaged = search(path), search(path, seed=1)
    change(path, "UPDATE runs SET seed = 'None' WHERE id = ?", damaged)
    with Store(path) as store:
        assert [run.id for run in store.runs.all()] == [sound]
        first, second = store.runs.every()
        assert isinstance(first, DamagedRun)
        assert (first.id, first.task, first.method, second.id) == (damaged, "toy", "manual", sound)
        assert "None" in first.why
        assert isinstance(store.runs.look(sound), RunRecord)
        assert isinstance(store.runs.look(damaged[:6]), DamagedRun)
        with pytest.raises(StoreError, match=f"the run {damaged} is damaged"):
            store.runs.get(damaged)


def test_a_comparison_goes_on_beside_damaged_runs_and_names_its_own(path: Path) -> None:
    again: Callable[[], Any] = lambda: localprompt.compare(  # noqa: E731 - the same call twice
        [toy.task()], toy.model(), methods=["manual"], max_tokens=500, n_seeds=2, store=path
    )
    first = again()
    change(path, "UPDATE runs SET seed = 'None' WHERE id = ?", first.runs[0].result.run_id)
    lost = call(path, "compare", "--resume", first.id)
    assert (lost.exit_code, "1 runs of the comparison" in lost.stderr) == (1, True)
    assert [run.result.test for run in again().runs] == [run.result.test for run in first.runs]


def test_an_id_that_is_none_is_damage_and_names_no_file_elsewhere(path: Path) -> None:
    sound, damaged = search(path), search(path, seed=1)
    change(path, "UPDATE runs SET id = '../../zz', status = 'running' WHERE id = ?", damaged)
    rows = {row["run_id"]: row["status"] for row in json.loads(call(path, "runs", "list", "--json").stdout)}
    assert rows == {"../../zz": "damaged", sound: "finished"}
    assert call(path, "runs", "delete", "../../zz", "--yes").exit_code == 0
    assert call(path, "runs", "check").exit_code == 0
    assert not list(path.parent.parent.glob("zz*"))


@pytest.mark.parametrize("verdict", ["null", "5"])
def test_a_result_of_another_shape_is_shown_as_far_as_it_is_known(path: Path, verdict: str) -> None:
    run_id, other = search(path), search(path, seed=1)
    test = '{"seed": {"mean": 0.5}, "best": {"mean": %s}}'
    result = f'{{"verdict": {verdict}, "test": {test}}}'
    change(path, "UPDATE runs SET result = ? WHERE id = ?", result % "0.9996", run_id)
    change(path, "UPDATE runs SET result = ? WHERE id = ?", result % "1e99", other)
    listed = call(path, "runs", "list").stdout
    assert "0.500 to 0.9996, no verdict" in listed
    rows = {row["run_id"]: row for row in json.loads(call(path, "runs", "list", "--json").stdout)}
    assert (rows[run_id]["verdict"], rows[other]["test"]) == (None, None)
