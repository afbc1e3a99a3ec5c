"""`~` is the home folder wherever a path is given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner

import localprompt
from localprompt.cli.main import main
from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.hub import files as models
from localprompt.interface.advice import command
from localprompt.interface.paths import default_store, expanded
from localprompt.optimizers import configure
from localprompt.store import Store

TASK = "name: omegas\ndata: {file: '~/rows.jsonl', split: {train: 2, dev: 4, test: 4}}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a task; the working directory is another one."""
    folder = tmp_path / "home"
    (folder / "templates").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    rows = [json.dumps({"input": f"alpha{n}", "target": f"omega{n}"}) for n in range(10)]
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (folder / "task.yaml").write_text(TASK, encoding="utf-8")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.chdir(tmp_path / "here")
    return folder


@pytest.fixture(autouse=True)
def _nothing_is_made_here(home: Path) -> object:
    yield
    assert list(home.with_name("here").iterdir()) == []


def test_a_store_is_in_the_home_folder_however_it_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: tuple[str | Path, ...] = ("~/0.db", Path("~/1.db"))
    for number, named in enumerate(names):
        with Store(named) as store:
            assert store.path == home / f"{number}.db"
    monkeypatch.setenv("LOCALPROMPT_STORE", "~/2.db")
    assert default_store() == home / "2.db"
    run = localprompt.optimize("~/task.yaml", toy.model(), method="manual", store="~/3.db")
    assert localprompt.replay(run.run_id, store="~/3.db").test == run.test
    listed = CliRunner().invoke(main, ["runs", "list", "--json", "--store=~/3.db"])
    assert [row["run_id"] for row in json.loads(listed.stdout)] == [run.run_id]


def test_what_only_reads_makes_no_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["show", "abc"], ["check"], ["delete", "abc"], ["vacuum"], ["export", "abc", "~/x.run"]):
        result = CliRunner().invoke(main, ["runs", *arguments, "--store=~/gone/s.db"])
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"there is no store {home / 'gone' / 's.db'}" in result.stderr
    listed = CliRunner().invoke(main, ["runs", "list", "--json", "--store=~/gone/s.db"])
    assert (listed.exit_code, json.loads(listed.stdout)) == (0, [])
    assert f"there is no store {home / 'gone' / 's.db'}" in listed.stderr
    for arguments in (["replay", "abc"], ["resume", "abc"], ["compare", "--resume", "abc"]):
        result = CliRunner().invoke(main, [*arguments, "--store=~/gone/s.db"])
        assert (result.exit_code, "there is no store" in result.stderr) == (1, True), result.output
    monkeypatch.setenv("LOCALPROMPT_STORE", "~/gone/too.db")
    for call in (localprompt.replay, localprompt.resume):
        with pytest.raises(StoreError, match="there is no store"):
            call("abc")
    assert not (home / "gone").exists()


def test_files_that_commands_read_and_write_are_in_the_home_folder(home: Path, named_model: toy.NamedModel) -> None:
    named_model(toy.model())
    (home / "prompt.txt").write_text(toy.BEST, encoding="utf-8")
    shutil.copy(home / "task.yaml", home / "other.yaml")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout

    assert run("tasks", "check", "~/task.yaml").startswith("omegas: 2 train")
    scored = run("evaluate", "~/task.yaml", "--model", "toy:1", "--prompt", "@~/prompt.txt", "--json")
    assert json.loads(scored)["score"]["mean"] == 1.0
    run_id = json.loads(run("optimize", "~/task.yaml", "--model", "toy:1", "--method", "manual", "--json"))["run_id"]
    run("runs", "export", run_id, "~/it.run")
    assert (home / "it.run").is_file()
    run("runs", "import", "~/it.run", "--store=~/other.db")
    limits = ("--max-tokens", "500", "--seeds", "1", "--methods", "manual")
    run("compare", "~/task.yaml", "--model", "toy:1", *limits, "--csv=~/table.csv", "--csv-runs=~/runs.csv")
    assert {"table.csv", "runs.csv", "other.db"} <= {path.name for path in home.iterdir()}


def test_models_and_templates_are_in_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "my.gguf").touch()
    assert models.file_at("~/my.gguf") == models.file_at(Path("~/my.gguf")) == home / "my.gguf"
    monkeypatch.setenv("LOCALPROMPT_MODELS", "~/models")
    assert models.models_dir() == home / "models"
    for folder in ("~/templates", Path("~/templates")):
        assert configure("ape", {"templates": folder}).templates == home / "templates"  # type: ignore[attr-defined]


def test_a_home_folder_of_nobody_is_named(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"~no-such-user/s.db begins with a home folder that is not known"):
        Store("~no-such-user/s.db")
    (home / "task.yaml").write_text(TASK.replace("~/", "~no-such-user/"), encoding="utf-8")
    with pytest.raises(TaskError, match=r"task.yaml, line 2: key 'data'.*~no-such-user/rows.jsonl"):
        localprompt.load_task("~/task.yaml")
    result = CliRunner().invoke(main, ["runs", "list", "--store=~no-such-user/s.db"])
    assert result.exit_code == 2


def test_only_a_home_folder_is_replaced(home: Path) -> None:
    for path in ("$HOME/x", "a/~/x", "./~", "./~/x"):
        assert expanded(path) == Path(path)
    assert expanded("~") == home


def test_a_command_in_a_hint_can_be_pasted(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr("os.name", "posix")
    assert command("resume", "ab12") == "`localprompt resume ab12`"
    assert (
        command("resume", "ab12", store=home / "my runs.db") == f"`localprompt resume ab12 --store '{home}/my runs.db'`"
    )
    assert command("runs", "list", store=default_store()) == "`localprompt runs list`"
    monkeypatch.setenv("LOCALPROMPT_STORE", "elsewhere.db")
    assert command("runs", "list", store=Path("elsewhere.db")) == "`localprompt runs list`"


@pytest.mark.parametrize("path", ["a" * 300, "a/" * 4000])
def test_a_name_that_no_file_system_holds_is_no_path(path: str) -> None:
    for call in (
        lambda: Store(path),
        lambda: Store(path, create=False),
        lambda: localprompt.load_task(path),
        lambda: localprompt.load_model(path),
        lambda: configure("ape", {"templates": path}),
    ):
        with pytest.raises(ConfigError, match="is no path: File name too long"):
            call()


def test_an_empty_file_is_no_store_to_read_and_a_new_one_to_write(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(StoreError, match=f"there is no store {empty}"):
        Store(empty, create=False)
    listed = CliRunner().invoke(main, ["runs", "list", "--json", "--store", str(empty)])
    assert (listed.exit_code, json.loads(listed.stdout), empty.stat().st_size) == (0, [], 0)
    with Store(empty):
        assert empty.stat().st_size > 0
