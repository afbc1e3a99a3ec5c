"""Commands in hints and reports can be pasted: they name the store and the options that they need."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner, Result

import localprompt
from localprompt.cli.main import main
from localprompt.errors import ModelError, StoreError
from localprompt.store import Store

pytestmark = pytest.mark.usefixtures("lm")
COMMAND = re.compile(r"`localprompt ([^`]+)`")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "a folder's store" / "runs.db"


@pytest.fixture
def task(tmp_path: Path) -> str:
    return toy.write_task(tmp_path, 8, 16, 16, name="my task.yaml")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def pasted(text: str, command: str, *more: str) -> Result:
    """Run the one command of that name which a text advises, with further options."""
    (line,) = {each for each in COMMAND.findall(text) if each.startswith(command)}
    return call(*shlex.split(line), *more)


def test_a_search_that_was_cut_short_says_how_to_go_on(task: str, store: Path) -> None:
    cut = call("optimize", task, "--model", "toy:1", "--set", "per_query=6", "--max-calls", 60, "--store", store)
    assert "finished: " in cut.stdout
    for text in (cut.stdout, call("replay", _only(store), "--store", store).stdout):
        further = pasted(text, "resume", "--max-calls", "5000", "--json")
        assert further.exit_code == 0, further.output
        assert json.loads(further.stdout)["stopped"] == ""


def test_a_search_that_was_interrupted_says_how_to_go_on_with_code(
    tmp_path: Path, store: Path, named_model: toy.NamedModel
) -> None:
    (tmp_path / "strict.py").write_text("def judge(prediction, targets):\n    return 0\n", encoding="utf-8")
    task = toy.write_task(tmp_path, 8, 16, 16, keys="metric: strict:judge\n")

    named_model(toy.model(answer=toy.failing(KeyboardInterrupt())))
    stopped = call("optimize", task, "--model", "toy:1", "--allow-code", "--store", store)
    named_model(toy.model())
    assert stopped.exit_code == 130
    shown = call("runs", "show", _only(store), "--store", store)
    for text in (stopped.stderr, shown.stdout):
        assert re.search(r"resume \w+ --allow-code --store '", text) or "'\"'\"'" in text
        result = pasted(text, "resume", "--json")
        assert (result.exit_code, json.loads(result.stdout)["status"]) == (0, "finished"), result.output


def test_a_comparison_that_failed_says_how_to_go_on(task: str, store: Path, named_model: toy.NamedModel) -> None:
    limits = ("--methods", "manual", "--seeds", 1, "--max-tokens", 500)
    named_model(toy.model(answer=toy.failing(ModelError("the machine is too hot"))))
    failed = call("compare", task, "--model", "toy:1", *limits, "--store", store)
    named_model(toy.model())
    assert failed.exit_code == 1
    again = pasted(failed.stdout, "compare", "--json")
    assert (again.exit_code, json.loads(again.stdout)["failures"]) == (0, []), again.output


def test_a_run_that_was_given_its_model_says_that_the_command_needs_one(store: Path) -> None:
    lm = toy.model(answer=toy.failing(ModelError("the machine is too hot")))
    with pytest.raises(ModelError):
        localprompt.optimize(toy.task(), lm, method="manual", store=store)
    for command in (("runs", "show"), ("replay",)):
        said = call(*command, _only(store), "--store", store).stdout
        assert re.search(r"`localprompt resume \w+ --model MODEL --store ", said), said


def test_a_run_that_is_not_found_may_be_in_another_store(task: str, store: Path) -> None:
    call("optimize", task, "--model", "toy:1", "--method", "manual", "--store", store)
    with Store():
        pass
    for command in (["resume"], ["replay"], ["runs", "show"], ["runs", "export"]):
        result = call(*command, _only(store), *(["x.run"] if "export" in command else []))
        assert result.exit_code == 1
        assert "`localprompt runs list` shows those that are there; --store names another store" in result.stderr
        elsewhere = call(*command, "xyz", *(["x.run"] if "export" in command else []), "--store", store)
        assert json.loads(pasted(elsewhere.stderr, "runs list", "--json").stdout)[0]["run_id"] == _only(store)


def test_a_run_that_is_there_already_can_be_removed_as_the_hint_says(task: str, store: Path, tmp_path: Path) -> None:
    call("optimize", task, "--model", "toy:1", "--method", "manual", "--store", store)
    call("runs", "export", _only(store), tmp_path / "it.run", "--store", store)
    refused = call("runs", "import", tmp_path / "it.run", "--store", store)
    assert pasted(refused.stderr, "runs delete", "--yes").exit_code == 0
    assert call("runs", "import", tmp_path / "it.run", "--store", store).exit_code == 0


def test_a_search_that_needs_a_larger_context_says_how_it_begins_anew(store: Path) -> None:
    task, settings = toy.task(labels=("omega1", "omega2")), {"resample_rounds": 1, "variants": 1}
    found = localprompt.optimize(
        task, toy.model(answer=toy.too_long_to_reword), method="ape", settings=settings, store=store
    )
    (command,) = [each for note in found.notes for each in COMMAND.findall(note)]
    words = ["--model", "MODEL", "--force", "--engine", "n_ctx=...", "--store", str(store)]
    assert shlex.split(command) == ["resume", found.run_id, *words]


def test_a_damaged_answer_is_looked_for_as_the_hint_says(task: str, store: Path) -> None:
    call("optimize", task, "--model", "toy:1", "--method", "manual", "--store", store)
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("UPDATE candidates SET prompt = 'x'")
    with Store(store) as opened, pytest.raises(StoreError, match="is damaged") as error:
        opened.runs.candidates(_id(opened))
    checked = pasted(error.value.hint, "runs check")
    assert (checked.exit_code, "candidates: the row" in checked.stdout) == (1, True)


def _id(store: Store) -> str:
    return store.runs.every()[0].id


def _only(path: Path) -> str:
    with Store(path) as store:
        return _id(store)
