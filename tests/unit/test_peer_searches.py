"""The benchmark against peers: their process, what is kept of it, and what is told."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import toy

import localprompt
from localprompt.lm.scripted import ScriptedLM
from localprompt.tasks import Task
from localprompt.types import Example, Prompt

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FINDS = """
import json, sys
job = json.load(open(sys.argv[1]))
test = "".join("1" if text == "late" else "0" for text, label in job["test"])
found = {"prompt": job["instruction"], "demos": len(job["train"]), "test": test}
json.dump(found, open(job["out"], "w"))
"""


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("peer_searches")


def _plan(benchmark: ModuleType, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "data": Path(),
        "tasks": ("subj",),
        "contenders": ("auto", "auto fifth", "capo"),
        "seeds": 1,
        "minutes": 0.1,
        "rows": 10,
        "model": "m",
        "threads": 1,
        "slots": 1,
        "python": Path(sys.executable),
        "server": Path("llama-server"),
    }
    return benchmark.Plan(**settings | changes)


def _peer(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, name: str = "capo") -> Any:
    side = tmp_path / "side.py"
    side.write_text(code, encoding="utf-8")
    monkeypatch.setattr(benchmark, "SIDE", side)
    rows = tuple(Example(f"test:{n}", {"input": text}, ("yes",)) for n, text in ((10, "late"), (9, "soon")))
    task = replace(toy.task(labels=("yes", "no")), test=rows, seeds=(Prompt("Classify."),))
    return benchmark.peer(_plan(benchmark), task, name, 0, Path("model.gguf"))


def test_a_peer_has_the_rows_and_its_scores_are_in_the_order_of_the_ids(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = _peer(benchmark, monkeypatch, tmp_path, FINDS)
    assert (found["prompt"], found["demos"], found["test"]) == ("Classify.", 20, "01")


@pytest.mark.parametrize(("name", "told"), [("gepa", ["gepa", []]), ("gepa ours", ["gepa", [str(BENCHMARKS.parent)]])])
def test_a_peer_on_our_engine_is_told_where_it_is(
    name: str, told: list[object], benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = FINDS.replace('"prompt": job["instruction"]', '"prompt": [job["peer"], job.get("packages", [])[:1]]')
    assert _peer(benchmark, monkeypatch, tmp_path, code, name)["prompt"] == told


def test_what_auto_found_is_tested_on_all_rows(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_a_hurry(task: Task, lm: ScriptedLM, **choices: Any) -> localprompt.RunResult:
        return optimize(replace(task, test=task.test[:5]), lm, **choices)

    optimize, task = localprompt.optimize, toy.task(dev=10, labels=("even", "odd"))
    monkeypatch.setattr(localprompt, "optimize", in_a_hurry)
    monkeypatch.setattr(benchmark, "load_model", lambda *_, **__: nullcontext(toy.model(logprob=toy.parity)))
    assert len(benchmark.search(_plan(benchmark), task, 0, 1.0)["test"]) == len(task.test)


def test_what_does_not_run_is_said_with_its_message(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "no JSON here" in _peer(benchmark, monkeypatch, tmp_path, "raise ValueError('no JSON here')")["error"]
    monkeypatch.setattr(benchmark, "OVERTIME", 0.1)
    found = _peer(benchmark, monkeypatch, tmp_path, "import time; time.sleep(60)")
    assert found["error"].startswith("stopped after")


def test_a_peer_that_is_stopped_takes_its_server_along(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = f"""
import contextlib
import fcntl, subprocess, time
held = open({str(tmp_path / "held")!r}, "w")
fcntl.flock(held, fcntl.LOCK_EX)
subprocess.Popen(["sleep", "600"], pass_fds=[held.fileno()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
time.sleep(600)
"""
    monkeypatch.setattr(benchmark, "OVERTIME", 0.2)
    assert "stopped after" in _peer(benchmark, monkeypatch, tmp_path, code)["error"]
    with (tmp_path / "held").open("w") as held:
        for _ in range(500):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.01)
    pytest.fail("its server runs on and holds the lock")


def test_the_test_of_what_was_found_in_time_has_as_long_as_it_takes(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class OverWhenItHasFound(subprocess.Popen[str]):
        def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
            if timeout is None:
                return super().communicate(input)
            while not (self.args[-1].parent / "found.json").exists():  # type: ignore[index,union-attr] # a list of paths
                time.sleep(0.01)
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(subprocess, "Popen", OverWhenItHasFound)
    searched = FINDS.replace(', "test": test', "")
    assert _peer(benchmark, monkeypatch, tmp_path, searched + FINDS)["test"] == "01"
    assert "no test" in _peer(benchmark, monkeypatch, tmp_path, searched + "raise ValueError('no test')")["error"]


def test_the_report_has_costs_differences_and_failures(benchmark: ModuleType) -> None:
    def found(test: str, seconds: float) -> dict[str, Any]:
        return {"seconds": seconds, "model_seconds": 4.0, "tokens": 100, "demos": 0, "prompt": "p", "test": test}

    searches = {
        "auto 0": found("1111111100", 5.0),
        "capo 0": found("1111000000", 9.0),
        "auto fifth 0": {"error": "no room"},
    }
    told = benchmark.report(_plan(benchmark), {"tasks": {"subj": {"searches": searches}}})
    assert "| subj | capo | 1 | 0.400" in told
    assert "| 9 | 5.0 | 100 |" in told
    assert "auto less capo, all tasks, paired: +0.400" in told
    assert "- subj, auto fifth 0: no room" in told
    assert json.dumps(searches["auto fifth 0"]) not in told
