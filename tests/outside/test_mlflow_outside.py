"""A run logged to MLflow, and its prompts registered there, with the package by name."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import toy
from adapters_outside import INSIDE
from outside_programs import HERE, PYTHON, QUIET, called

BEST = "Turn it into the omega of { its } number, as in {x: 1}."
KNOWS = r"(?s)omega.*alpha(\d+)\nOutput:\Z"


def search(folder: Path, replies: dict[str, str], keys: str = "", layout: str = "") -> tuple[list[str], dict[str, str]]:
    """The command of a search with a scripted model that is logged to MLflow's file store, and its environment."""
    task = Path(toy.write_task(folder, 20, 40, 40, keys=keys))
    if layout:
        kept = [line for line in task.read_text().splitlines() if not line.startswith("layout:")]
        task.write_text("\n".join([*kept, f"layout: {layout}"]))
    (folder / "replies.json").write_text(json.dumps({"replies": replies}), encoding="utf-8")
    options = ["--model", f"scripted:{folder / 'replies.json'}", "--method", "random", "--max-calls", "600"]
    command = [PYTHON, HERE / "run_mlflow_adapter.py", "optimize", task, *options, "--log", "mlflow"]
    where = {"MLFLOW_TRACKING_URI": f"file://{folder / 'runs'}", "MLFLOW_ALLOW_FILE_STORE": "true"}
    return list(map(str, command)), {**INSIDE, **where, "LOCALPROMPT_STORE": str(folder / "store.db")}


def logged(folder: Path, replies: dict[str, str], **task: str) -> list[Any]:
    """What MLflow has of a search: the run, then each prompt."""
    command, where = search(folder, replies, **task)
    return called(*command, folder=folder, **where)


def test_a_finished_run_is_a_run_of_mlflow_with_prompts_and_metrics(tmp_path: Path) -> None:
    run, prompt = logged(tmp_path, {"": "Say it."})
    assert run["status"] == "FINISHED"
    assert run["params"]["task"] == "omegas"
    assert run["params"]["method"] == "random"
    assert run["metrics"]["test.best"] == 0.0
    assert {"test.seed.low", "test.difference", "test.p_value", "search.tokens_computed"} <= run["metrics"].keys()
    assert run["localprompt.verdict"] == "no better prompt found"
    assert isinstance(run["best"], str)
    # The seed stays, so it is the only prompt there is to register.
    assert prompt["tags"]["localprompt_role"] == "seed"


def test_seed_and_winner_are_versions_of_a_prompt_of_mlflow_linked_to_the_run(tmp_path: Path) -> None:
    run, seed, best = logged(tmp_path, {KNOWS: r"omega\1", r"Output:\Z": "no idea", "": BEST})
    assert run["linked"] == [{"name": "omegas", "version": "1"}, {"name": "omegas", "version": "2"}]
    assert best["template"] == f"{BEST}\n\nInput: {{{{ input }}}}\nOutput:"
    assert best["filled"] == f"{BEST}\n\nInput: alpha3\nOutput:"
    assert best["variables"] == ["input"]
    assert seed["filled"] == "Input: alpha3\nOutput:"
    for role, each in (("seed", seed), ("best", best)):
        tags = each["tags"]
        assert tags["localprompt_run_id"] == run["localprompt.run_id"]
        assert tags["localprompt_role"] == role
        assert (tags["localprompt_model"], tags["localprompt_method"]) == ("replies", "random")
        assert float(tags[f"localprompt_test_{role}"]) == run["metrics"][f"test.{role}"] == (role == "best")
    assert best["tags"]["localprompt_verdict"] == "significant improvement"


HOSTILE = "An {{ other }} of {% endraw %} {# {{{input}}} {% raw %}\r\n{ #} {"
CHAT = "{mode: chat, system: 'Be brief. {{instruction}}', template: '{%% {{input}}{{{input}} {', opening: 'It is '}"


def test_a_chat_is_registered_as_turns_and_what_mlflow_would_read_as_a_tag_stays_text(tmp_path: Path) -> None:
    keys = f"prompts: [{json.dumps(HOSTILE)}]\n"
    _, prompt = logged(tmp_path, {"": "Say it."}, keys=keys, layout=CHAT)
    assert prompt["filled"] == [
        {"role": "system", "content": f"Be brief. {HOSTILE}"},
        {"role": "user", "content": "{%% alpha3{alpha3 {"},
        {"role": "assistant", "content": "It is "},
    ]
    assert prompt["variables"] == ["input"]


@pytest.mark.parametrize("registry", ["databricks", "uc:http://127.0.0.1:1"])
def test_a_registry_without_prompts_is_a_sentence_and_the_run_is_there(tmp_path: Path, registry: str) -> None:
    command, where = search(tmp_path, {"": "Say it."})
    environment = {**os.environ, **QUIET, **where, "MLFLOW_REGISTRY_URI": registry}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stderr
    (told,) = [line for line in run.stderr.splitlines() if line.startswith("MLflow's registry")]
    assert told.startswith("MLflow's registry did not take the prompts (The 'register_prompt' API is not supported")
    assert json.loads(run.stdout.splitlines()[-1])["status"] == "FINISHED"
