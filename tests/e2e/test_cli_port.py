"""`localprompt port` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner, Result

from localprompt.cli.main import main


def _run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


@pytest.mark.usefixtures("lm")
def test_a_run_of_the_store_is_ported_without_its_task_file(
    task: str, tmp_path: Path, named_model: toy.NamedModel
) -> None:
    old = json.loads(_run("optimize", task, "--model", toy.NAMED, "--json").stdout)
    Path(task).unlink()
    # The new model answers what it always answered: the found prompt gains nothing with it.
    named_model(toy.model(name="new", answer=lambda prompt, seed: " omega35\n"))
    words = ("port", old["run_id"][:6], "--model", toy.NAMED, "--max-tokens", "20000")
    done = _run(*words)
    assert done.exit_code == 0, done.output
    shown = " ".join(done.stdout.split())
    assert "On test the swap to new lost" in shown
    assert "it was not worth it: keep the old prompt." in shown
    for piece in ("old seed", "old winner", "new winner", "from the old winner to the new one: +0.000", "New winner"):
        assert piece in shown
    assert "the old winner on 16 dev examples: 1.000 with scripted" in " ".join(done.stderr.split())
    plain = json.loads(_run(*words, "--json").stdout)
    assert plain["old_run_id"] == old["run_id"]
    assert (plain["old_model"], plain["model"]) == ("scripted", "new")
    listed = json.loads(_run("runs", "list", "--json").stdout)
    assert [run["run_id"] for run in listed] == [plain["run_id"], old["run_id"]]
    assert _run("runs", "show", plain["run_id"]).exit_code == 0


@pytest.mark.usefixtures("lm")
def test_a_run_that_cannot_be_ported_is_refused_in_a_sentence(task: str) -> None:
    assert _run("port", "3f2a", "--model", toy.NAMED).exit_code == 1
    paused = json.loads(_run("optimize", task, "--model", toy.NAMED, "--pause-after", "1e-9", "--json").stdout)
    refused = _run("port", paused["run_id"], "--model", toy.NAMED)
    assert refused.exit_code == 2
    assert f"the run {paused['run_id']} is paused" in refused.stderr
    assert f"localprompt resume {paused['run_id']}" in refused.stderr
