"""The whole way of a new user: a model that Ollama pulled, a task from a CSV, a search, an export, a real server."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import programs
import pytest
from adapters_outside import MODEL
from outside_programs import FIGURES, ROOT, called

from localprompt.exports.winner import find
from localprompt.hub import files as models
from localprompt.store import Store

N_ROWS = 50
NOISE = 5
"""Answers of 50 that may differ where two labels are nearly as probable; 3 did when this was measured."""
TASK = """
name: tickets
data: {file: tickets.csv, fields: {input: message, target: team}, split: {train: 12, dev: 50, test: 10}}
labels: [billing, shipping, returns, technical, account]
label_score: calibrated
"""


def command(folder: Path, *arguments: str) -> str:
    """What the command line prints; of Ollama it knows the folder alone."""
    environment = {
        **os.environ,
        "OLLAMA_MODELS": str(folder / "ollama"),
        "LOCALPROMPT_STORE": str(folder / "store.db"),
        "PYTHONPATH": str(ROOT),
    }
    run = subprocess.run(
        [sys.executable, "-m", "localprompt", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def pulled(folder: Path) -> Path:
    """The blob of what `ollama pull tiny:135m` leaves, which is a real model."""
    layers = [("model", models.resolve(MODEL).read_bytes()), ("template", b"{{ .Prompt }}"), ("license", b"Apache")]
    config = {"model_format": "gguf", "model_family": "llama", "model_type": "134.52M", "file_type": "Q4_1"}
    return programs.ollama(folder / "ollama", "registry.ollama.ai/library/tiny/135m", layers, config)


@pytest.mark.timeout(900)  # the model is tuned first, since nobody has used it
def test_a_model_of_ollama_a_csv_a_search_and_the_export_give_the_same_answers_in_a_real_server(
    serve: Callable[[Path], str], tmp_path: Path
) -> None:
    blob = pulled(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ollama").rglob("*")}
    with (tmp_path / "tickets.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["message", "team"])
        table.writeheader()
        table.writerows(all_rows())
    assert "ollama:tiny:135m" in command(tmp_path, "models", "list", "--local")
    (tmp_path / "task.yaml").write_text(TASK, encoding="utf-8")
    sizes = [part for each in ("queries", "per_query", "variants") for part in ("--set", f"{each}=1")]
    engine = ["--engine", "n_ctx=1024", "--engine", "n_threads=1"]
    search = ["--method", "ape", "--set", "shots=0", *sizes, *engine, "--json"]
    run = json.loads(command(tmp_path, "optimize", "task.yaml", "--model", "ollama:tiny:135m", *search))["run_id"]
    assert f"llama-server -m {blob}" in command(tmp_path, "export", run, "--to", "llama-server", "--out", "exported")
    assert compared(tmp_path, run, serve(blob)) >= N_ROWS - NOISE
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "ollama").rglob("*")} == before


def all_rows() -> list[dict[str, str]]:
    text = (ROOT / "examples" / "support-routing" / "data.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def compared(folder: Path, run: str, server: str) -> int:
    """How many answers of the server are those of the engine, with the found prompt on 50 rows of dev."""
    with Store(folder / "store.db", create=False) as store:
        found = find(store, run, "dev")
    asked = "".join(json.dumps(dict(row.inputs)) + "\n" for row in found.rows)
    (folder / "asked.jsonl").write_text(asked, encoding="utf-8")
    options = ("--server", server, "--rows", folder / "asked.jsonl")
    outside = called(sys.executable, folder / "exported" / "ask.py", *options, folder=folder)
    inside = [found.answers[row.id].prediction for row in found.rows]
    assert len(outside) == len(inside) == N_ROWS
    same: int = sum(one == other for one, other in zip(outside, inside, strict=True))
    right = [row.targets[0] for row in found.rows]
    before, after = (sum(map(str.__eq__, answers, right)) / N_ROWS for answers in (map(str, inside), outside))
    FIGURES.append(f"| a model of Ollama, llama-server | tickets, calibrated | {same} | {before:.2f} | {after:.2f} |")
    return same
