"""Adapters on the packages that they are made for, where a scripted model shows enough."""

from __future__ import annotations

from pathlib import Path

from adapters_outside import INSIDE
from outside_programs import HERE, PYTHON, called


def test_adapters_answer_and_refuse_as_their_programs_want_it(tmp_path: Path) -> None:
    where = {"MLFLOW_TRACKING_URI": f"file://{tmp_path / 'runs'}", "MLFLOW_ALLOW_FILE_STORE": "true"}
    where["DSPY_CACHEDIR"] = str(tmp_path / "dspy")
    script = HERE / "run_scripted_adapters.py"
    picture, unscored, logged, chosen, refused, chained, repeated, cached = called(
        PYTHON, script, tmp_path, folder=tmp_path, **INSIDE, **where
    )
    assert "reads text" in picture["error"]
    assert "gives no log-probabilities of prompts" in unscored["error"]
    assert logged == {"below": True, "problem": ""}
    assert chosen["texts"] == [["draw0", "draw1", "draw2"], ["draw0"] * 3]
    assert (chosen["computed"], chosen["calls"]) == (4, [3, 1])
    assert refused == {name: f"a local model has no {name}" for name in ("best_of", "extra_body")}
    assert chained["stopped"] == ["[user] x\n[assistant]  in "] * 2
    assert chained["parts"] == "[user] ab\n[assistant] "
    assert "tool calls" in chained["refused"]
    assert chained["opened"] == [{"kv_type": "f16"}, {"kv_type": "q8_0"}, {}]
    assert not chained["cached"]  # LangChain's cache tells the settings of the engine apart
    assert repeated == {"draws": ["Q:5", "Q:6", "Why?5", "Q:7"]}  # each of a task's repeats is a draw of its own
    # DSPy's cache knows a model by the LM's name alone, as docs/adapters.md warns.
    assert cached == {"again": ["a2", "a2", "a2"], "rolled": ["a0", "a1"]}
