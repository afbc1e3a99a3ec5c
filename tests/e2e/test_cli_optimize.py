"""`localprompt optimize` and `localprompt evaluate` from the command line, with a scripted model behind a name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner, Result

from localprompt import runs
from localprompt.cli.main import main
from localprompt.errors import ModelError
from localprompt.lm.scripted import ScriptedLM

TASK = """\
name: omegas
data:
  file: rows.jsonl
  split: {train: 20, dev: 40, test: 40}
"""


@pytest.fixture
def task(tmp_path: Path) -> str:
    rows = [json.dumps({"input": f"alpha{n}", "target": f"omega{n}"}) for n in range(100)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    path = tmp_path / "task.yaml"
    path.write_text(TASK, encoding="utf-8")
    return str(path)


@pytest.fixture
def lm(monkeypatch: pytest.MonkeyPatch) -> ScriptedLM:
    model = toy.model()
    monkeypatch.setattr(runs, "open_model", lambda name: model)
    return model


def _localprompt(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.usefixtures("lm")
def test_optimize_prints_a_summary_that_a_person_can_read(task: str) -> None:
    result = _localprompt("optimize", task, "--model", "any")
    assert result.exit_code == 0, result.output
    for piece in (toy.BEST, "95 % interval", "difference +1.000", "significant improvement", "tokens", "not used: "):
        assert piece in " ".join(result.stdout.split())
    assert "asking for 48 instructions (forward)" in result.stderr
    assert f"best so far 1.00 on 40 dev examples: {toy.BEST}" in result.stderr


@pytest.mark.usefixtures("lm")
def test_json_is_all_there_is_on_standard_output(task: str) -> None:
    result = _localprompt("optimize", task, "--model", "any", "--seed", "4", "--json")
    plain = json.loads(result.stdout)
    assert plain["best"]["prompt"]["instruction"] == toy.BEST
    assert plain["seed"] == 4
    assert result.stdout.count("\n") == 1


@pytest.mark.usefixtures("lm")
def test_settings_and_limits_reach_the_search(task: str) -> None:
    arguments = ["--set", "queries=2", "--set", "per_query = 3", "--max-calls", "200", "--json"]
    result = _localprompt("optimize", task, "--model", "any", *arguments)
    assert "asking for 6 instructions" in result.stderr
    assert json.loads(result.stdout)["spend"]["calls"] <= 200


@pytest.mark.usefixtures("lm")
def test_evaluate_measures_one_prompt(task: str, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text(f"{toy.BEST}\n", encoding="utf-8")
    result = _localprompt("evaluate", task, "--model", "any", "--prompt", f"@{tmp_path / 'prompt.txt'}", "--json")
    plain = json.loads(result.stdout)
    assert plain["prompt"]["instruction"] == toy.BEST
    assert (plain["split"], plain["score"]["mean"], plain["score"]["n"]) == ("test", 1.0, 40)
    shown = _localprompt("evaluate", task, "--model", "any", "--prompt", "Be kind.", "--split", "dev")
    assert "dev: 0.000 (95 % interval 0.000 to" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["optimise"], 2, "did you mean 'optimize'?"),
        (["optimize", "TASK"], 2, "Missing option '--model'"),
        (["optimize", "TASK", "--model", "any", "--set", "queries"], 2, "'queries' is not NAME=VALUE"),
        (["optimize", "TASK", "--model", "any", "--set", "querys=1"], 2, "did you mean 'queries'?"),
        (["optimize", "TASK", "--model", "any", "--method", "app"], 2, "did you mean 'ape'?"),
        (["optimize", "TASK", "--model", "any", "--engine", "n_ctx"], 2, "'n_ctx' is not NAME=VALUE"),
        (["evaluate", "TASK", "--model", "any", "--prompt", "", "--engine", "n_ctx=many"], 2, "engine setting n_ctx"),
        (["evaluate", "TASK", "--model", "any", "--prompt", "", "--engine", "kv_type=f8"], 2, "engine setting kv_type"),
        (["optimize", "TASK", "--model", "any", "--max-calls", "0"], 2, "--max-calls"),
        (["optimize", "no-such.yaml", "--model", "any"], 1, "no-such.yaml"),
        (["evaluate", "TASK", "--model", "any", "--prompt", "@no-such.txt"], 2, "no-such.txt"),
    ],
)
@pytest.mark.usefixtures("lm")
def test_errors_are_a_sentence_and_an_exit_code(task: str, arguments: list[str], code: int, message: str) -> None:
    result = _localprompt(*[task if each == "TASK" else each for each in arguments])
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_engine_settings_are_read_as_their_types(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, object]] = []

    def open_model(name: str, **engine: object) -> ScriptedLM:
        given.append(engine)
        return toy.model()

    monkeypatch.setattr(runs, "open_model", open_model)
    engine = ["n_ctx=4096", "use_extra_bufts=true", "flash_attn=none", "kv_type=q8_0", "not_one=1"]
    arguments = [piece for each in engine for piece in ("--engine", each)]
    values = {"n_ctx": 4096, "use_extra_bufts": True, "flash_attn": None, "kv_type": "q8_0", "not_one": "1"}
    _localprompt("evaluate", task, "--model", "any", "--prompt", "", *arguments)
    _localprompt("optimize", task, "--model", "any", "--max-calls", "1", *arguments)
    assert given == [values, values]


@pytest.mark.parametrize("command", [["optimize"], ["evaluate", "--prompt", ""]])
def test_an_unknown_model_or_engine_setting_is_wrong_usage(task: str, command: list[str]) -> None:
    result = _localprompt(*command, task, "--model", "qwen2.5-coder-1.5b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'qwen2.5-coder-1.5b-instruct'?" in result.stderr
    result = _localprompt(*command, task, "--model", "qwen2.5-coder-1.5b", "--engine", "n_ctxt=4096")
    assert result.exit_code == 2
    assert "did you mean 'n_ctx'?" in result.stderr


def test_completions_without_an_answer_are_a_line_of_the_summary(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = toy.model(answer=lambda p, s: "" if "alpha" in p and "omega" not in p else toy.answer(p, s))
    monkeypatch.setattr(runs, "open_model", lambda name: silent)
    result = _localprompt("optimize", task, "--model", "any")
    assert "40 completions with the seed and" in " ".join(result.stdout.split())


@pytest.mark.parametrize("command", [["list"], ["path", "no-such"], ["info", "no-such"], ["pull", "no-such"]])
def test_debug_is_an_option_of_every_models_command(command: list[str]) -> None:
    result = _localprompt("models", *command, "--debug")
    assert result.exit_code == (0 if command == ["list"] else 2)
    assert ("Traceback" in result.stderr) == (command != ["list"])


@pytest.mark.usefixtures("lm")
@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback_of_an_error(before: bool) -> None:
    arguments = ["optimize", "no-such.yaml", "--model", "any"]
    result = _localprompt(*(["--debug", *arguments] if before else [*arguments, "--debug"]))
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(KeyboardInterrupt(), 130, "interrupted"), (ModelError("it broke", "mend it"), 1, "it broke")],
)
def test_a_run_that_does_not_reach_its_end_says_the_best_so_far(
    task: str, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    asked = []

    def answer(prompt: str, seed: int) -> str:
        asked.append(prompt)
        if len(asked) > 280:
            raise error
        return toy.answer(prompt, seed)

    monkeypatch.setattr(runs, "open_model", lambda name: toy.model(answer=answer))
    result = _localprompt("optimize", task, "--model", "any", "--set", "queries=4", "--set", "stages=40")
    assert result.exit_code == code
    assert message in result.stderr
    assert f"The best prompt so far scores 1.00 on 40 dev examples:\n{toy.BEST}" in result.stderr


def test_model_text_cannot_command_the_terminal(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "Turn [red]alpha[/red] into omega\u202e \x9b31m [/] now."
    model = toy.model(answer=lambda p, s: hostile if toy.is_asked_to_write(p) else toy.answer(p, s))
    monkeypatch.setattr(runs, "open_model", lambda name: model)
    result = _localprompt("optimize", task, "--model", "any")
    assert result.exit_code == 0, result.output
    assert "Turn [red]alpha[/red] into omega" in result.stdout
    assert not any(c in result.output for c in "\x1b\x9b\u202e")


def test_python_dash_m_is_the_same_program() -> None:
    environment = {**os.environ, "COLUMNS": "100"}
    run = subprocess.run(
        [sys.executable, "-m", "localprompt", "--help"], capture_output=True, text=True, check=True, env=environment
    )
    for command in ("optimize", "evaluate", "models", "tasks"):
        assert f"  {command} " in run.stdout
