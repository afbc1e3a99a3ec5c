"""`localprompt models list --local`: what other programs keep on this machine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import programs
import pytest
from click.testing import CliRunner
from gguf_files import write

from localprompt.cli.main import main
from localprompt.interface.rounding import size_text

LIBRARY = "registry.ollama.ai/library"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs.empty_home(tmp_path / "home", monkeypatch)
    return tmp_path / "home"


def listed(*options: str) -> str:
    result = CliRunner().invoke(main, ["models", "list", "--local", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_nothing_on_this_machine_is_a_sentence() -> None:
    assert listed().startswith("No model was found on this machine.")
    assert json.loads(listed("--json")) == []


def test_what_can_be_used_is_a_line_and_of_the_rest_is_said_why_not(home: Path, tmp_path: Path) -> None:
    content, models = write(tmp_path / "it.gguf").read_bytes(), home / ".ollama" / "models"
    programs.ollama(models, f"{LIBRARY}/llama3.2/3b", [("model", content)])
    cloud = {"remote_host": "https://ollama.com\x1b[2J"}
    programs.ollama(models, f"{LIBRARY}/cloud/1b", [("model", content)], cloud)
    (models / "manifests" / LIBRARY / "llama3.2" / "1b").write_text("{", encoding="utf-8")
    pulled = home / "pulled" / "qwen3-8b" / "Qwen3-8B-Q4_K_M.gguf"
    pulled.parent.mkdir(parents=True)
    pulled.touch()
    shown = listed()
    assert "\x1b" not in shown
    assert [line.split() for line in shown.splitlines()[:3]] == [
        ["name", "architecture", "mix", "size"],
        ["qwen3-8b", "-", "Q4_K_M", "5.03", "GB"],
        ["ollama:llama3.2:3b", "llama", "Q4_K_M", *size_text(len(content)).split()],
    ]
    assert "ollama:cloud:1b runs at https://ollama.com" in shown
    assert f"Ollama: {models}/manifests/{LIBRARY}/llama3.2/1b: not a JSON object." in shown.replace("\n", "")

    rows = json.loads(listed("--json"))
    assert [row["model"] for row in rows] == ["qwen3-8b", "ollama:cloud:1b", "ollama:llama3.2:3b", None]
    assert rows[2]["sha256"] == [hashlib.sha256(content).hexdigest()]
    assert [row["problem"] is None for row in rows] == [True, False, True, False]


def test_one_can_be_tried_where_it_lies(home: Path, tmp_path: Path) -> None:
    file = programs.lmstudio(home / ".lmstudio" / "models", "org/model/it.gguf", write(tmp_path / "it.gguf"))
    for command in ("check", "info"):
        result = CliRunner().invoke(main, ["models", command, "lmstudio:org/model", "--json"])
        assert json.loads(result.stdout)["path"] == str(file)


def test_a_mistyped_name_is_a_sentence_with_the_nearest_wherever_it_is_asked_for(home: Path, tmp_path: Path) -> None:
    content = write(tmp_path / "it.gguf").read_bytes()
    programs.ollama(home / ".ollama" / "models", f"{LIBRARY}/llama3.2/3b", [("model", content)])
    example = str(Path(__file__).parents[2] / "examples" / "past-tense" / "task.yaml")
    commands = (
        *(("models", command, "ollama:llama3.2") for command in ("info", "check", "path")),
        ("evaluate", example, "--prompt", "", "--model", "ollama:llama3.2"),
    )
    for command in commands:
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2
        assert result.stderr.endswith(
            "Ollama has no model 'ollama:llama3.2'\nHint: did you mean 'ollama:llama3.2:3b'?\n"
        )


COUNTED = """
import sys, time
from localprompt.cli.main import main
main(["models", "list", "--local", "--json"], standalone_mode=False)
print(time.process_time(), "numpy" in sys.modules, file=sys.stderr)
"""


def test_two_hundred_files_are_listed_within_a_second_without_what_starts_slowly(home: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "model.gguf")
    for number in range(200):
        programs.lmstudio(home / ".lmstudio" / "models", f"org/model-{number}/model-{number}-Q8_0.gguf", file)
    run = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert len([row for row in json.loads(run.stdout) if row["program"] == "LM Studio"]) == 200
    seconds, has_numpy = run.stderr.split()[-2:]
    assert float(seconds) < 1, "seconds of the processor: others on the machine do not count"
    assert has_numpy == "False"
