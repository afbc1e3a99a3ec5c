"""A run logged to MLflow, with the package by name."""

from __future__ import annotations

import json
from pathlib import Path

import toy
from adapters_outside import INSIDE
from outside_programs import HERE, PYTHON, called


def test_a_finished_run_is_a_run_of_mlflow_with_prompts_and_metrics(tmp_path: Path) -> None:
    task = toy.write_task(tmp_path, 20, 40, 40)
    (tmp_path / "replies.json").write_text(json.dumps({"replies": {"": "Say it."}}), encoding="utf-8")
    command = ["optimize", task, "--model", f"scripted:{tmp_path / 'replies.json'}", "--method", "random", "--json"]
    where = {"MLFLOW_TRACKING_URI": f"file://{tmp_path / 'runs'}", "MLFLOW_ALLOW_FILE_STORE": "true"}
    store = {"LOCALPROMPT_STORE": str(tmp_path / "store.db")}
    options = ["--max-calls", "300", "--log", "mlflow"]
    found = called(
        PYTHON, HERE / "run_mlflow_adapter.py", *command, *options, folder=tmp_path, **INSIDE, **where, **store
    )
    logged = found[-1]
    assert logged["params"]["task"] == "omegas"
    assert logged["params"]["method"] == "random"
    assert logged["metrics"]["test.best"] == 0.0
    assert {"test.seed.low", "test.difference", "test.p_value", "search.tokens_computed"} <= logged["metrics"].keys()
    assert logged["localprompt.verdict"] == "no better prompt found"
    assert isinstance(logged["best"], str)
