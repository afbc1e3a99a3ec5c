"""A model that Ollama keeps, through the commands and Python: named, searched with, resumed, never written to."""

from __future__ import annotations

import json
from pathlib import Path

import programs
import pytest
import toy
from click.testing import CliRunner, Result

import localprompt
from localprompt.cli.main import main
from localprompt.errors import ConfigError, RunMismatch
from localprompt.hub.files import sha256
from localprompt.hub.quantising import plan
from localprompt.lm.loading import open_vocabulary
from localprompt.lm.local import load_model
from localprompt.store import Store

NAME = "ollama:tiny:1b"


@pytest.fixture
def blob(tmp_path: Path, tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model as Ollama keeps it."""
    programs.empty_home(tmp_path / "home", monkeypatch)
    layers = [("model", tiny_qwen.read_bytes()), ("template", b"{{ .Prompt }}")]
    return programs.ollama(tmp_path / "home/.ollama/models", "registry.ollama.ai/library/tiny/1b", layers)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result


def test_a_model_of_ollama_is_evaluated_searched_with_and_found_again_where_a_run_is_resumed(
    tmp_path: Path, blob: Path
) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "home/.ollama").rglob("*"))
    task = toy.write_task(tmp_path, 8, 8, 8)
    options = ("--model", NAME, "--engine", "n_ctx=512")
    evaluated = json.loads(run("evaluate", task, *options, "--prompt", "Say omega.", "--json").stdout)
    assert evaluated["model"] == NAME
    found = json.loads(run("optimize", task, *options, "--method", "manual", "--json").stdout)
    assert found["status"] == "finished"
    with Store() as store:
        configuration = store.runs.get(found["run_id"]).configuration
        assert configuration["sources"]["model"] == NAME
    assert localprompt.resume(found["run_id"]).run_id == found["run_id"]
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "home/.ollama").rglob("*")) == before


def test_a_run_is_not_resumed_with_another_model_that_has_its_name_by_then(
    tmp_path: Path, blob: Path, tiny_llama: Path
) -> None:
    task = toy.write_task(tmp_path, 8, 8, 8)
    cut = localprompt.optimize(task, NAME, pause_after=1e-6, engine={"n_ctx": 512})
    assert cut.status == "paused"
    layers = [("model", tiny_llama.read_bytes())]
    programs.ollama(tmp_path / "home/.ollama/models", "registry.ollama.ai/library/tiny/1b", layers)
    with pytest.raises(RunMismatch):
        localprompt.resume(cut.run_id)


def test_the_model_is_the_same_by_its_name_and_by_its_path_and_its_identity_is_the_files_hash(
    blob: Path, tiny_qwen: Path
) -> None:
    with (
        load_model(NAME, tune=False, n_ctx=512) as by_name,
        load_model(blob, tune=False, n_ctx=512) as by_path,
        load_model(tiny_qwen, tune=False, n_ctx=512) as original,
    ):
        assert by_name.facts.name == NAME
        assert by_name.facts.identity["file"] == sha256(blob)
        assert by_name.fingerprint == by_path.fingerprint == original.fingerprint


def test_the_vocabulary_alone_is_loaded_by_the_name_too(blob: Path) -> None:
    with open_vocabulary(NAME) as words, load_model(blob, tune=False, n_ctx=512) as whole:
        assert words.facts.name == NAME
        assert words.tokenize(["Say omega."]) == whole.tokenize(["Say omega."])
        assert (words.facts.n_ctx, whole.facts.n_ctx) == (0, 512)  # without weights there is no context


def test_info_and_path_take_the_name_and_quantize_writes_nothing_beside_it(tmp_path: Path, blob: Path) -> None:
    facts = json.loads(run("models", "info", NAME, "--json").stdout)
    assert (facts["path"], facts["architecture"], facts["problem"]) == (str(blob), "qwen2", None)
    assert run("models", "path", NAME).stdout == f"{blob}\n"
    with pytest.raises(ConfigError, match="a folder of another program") as error:
        plan(NAME, ["Q8_0"])
    assert "--out" in error.value.hint
    (target,) = plan(NAME, ["Q8_0"], folder=tmp_path / "levels").targets
    assert target.path == tmp_path / "levels" / "tiny-qwen2.Q8_0.gguf"
