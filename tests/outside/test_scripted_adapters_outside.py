"""Adapters on the packages that they are made for, where a scripted model shows enough."""

from __future__ import annotations

from pathlib import Path

from adapters_outside import INSIDE
from outside_programs import HERE, PYTHON, called


def test_inspect_is_told_of_what_is_no_text_and_mlflows_active_run_is_above_the_new_one(tmp_path: Path) -> None:
    where = {"MLFLOW_TRACKING_URI": f"file://{tmp_path / 'runs'}", "MLFLOW_ALLOW_FILE_STORE": "true"}
    script = HERE / "run_scripted_adapters.py"
    picture, one_token, logged = called(PYTHON, script, tmp_path, folder=tmp_path, **INSIDE, **where)
    assert "reads text" in picture["error"]
    assert one_token == {"text": "yes", "nats": []}  # nothing is before the only token
    assert logged == {"below": True, "problem": ""}
