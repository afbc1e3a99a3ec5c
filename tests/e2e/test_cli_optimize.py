"""`localprompt optimize` and `localprompt evaluate` from the command line, with a scripted model behind a name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner, Result

from localprompt.cli.main import main
from localprompt.errors import ModelError
from localprompt.lm.loading import scheme
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers.pe2 import PE2

SIZES = (20, 40, 40)


@pytest.fixture
def task(tmp_path: Path) -> str:
    return toy.write_task(tmp_path, *SIZES)


def _localprompt(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.usefixtures("lm")
def test_optimize_prints_a_summary_that_a_person_can_read(task: str) -> None:
    result = _localprompt("optimize", task, "--model", "toy:1", "--method", "ape")
    assert result.exit_code == 0, result.output
    difference = "On the same 40 examples the difference is +100 points (95 % interval "
    for piece in (toy.BEST, "significant improvement: 0.000 to 1.000 on test", difference, "tokens", "not used: "):
        assert piece in " ".join(result.stdout.split())
    (second,) = [line for line in result.stdout.splitlines() if line.startswith("The runner-up is ")]
    assert re.match(r"The runner-up is [\d.]+ points behind the found prompt on 4\d examples \(\d of them", second)
    assert re.search(r"^runner-up +0\.\d+ .*Say something kind about the alpha\. *$", result.stdout, re.MULTILINE)
    assert "asking the proposer for 48 texts" in result.stderr
    assert f"best so far 1.00 on 40 dev examples: {toy.BEST}" in result.stderr


def test_where_the_seed_stays_the_summary_says_so_and_names_the_runner_up(
    task: str, named_model: toy.NamedModel
) -> None:
    named_model(
        toy.model(answer=lambda prompt, seed: toy.answer(prompt, seed) if toy.is_asked_to_write(prompt) else "")
    )
    result = _localprompt("optimize", task, "--model", "toy:1")
    assert result.exit_code == 0, result.output
    assert "no better prompt found" in result.stdout
    assert "Seed prompt" in result.stdout
    assert "Found prompt" not in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines() if line.endswith(" 40")] == ["seed"]
    assert re.search(r"^seed +0\.000 +40 ", result.stdout, re.MULTILINE)
    assert "The runner-up is level with the seed prompt on 4" in result.stdout


@pytest.mark.usefixtures("lm")
def test_json_is_all_there_is_on_standard_output(task: str) -> None:
    result = _localprompt("optimize", task, "--model", "toy:1", "--seed", "4", "--json")
    plain = json.loads(result.stdout)
    assert plain["best"]["prompt"]["instruction"] == toy.BEST
    assert plain["seed"] == 4
    assert plain["runner_up"]["difference"]["mean"] < 0
    assert result.stdout.count("\n") == 1


@pytest.mark.usefixtures("lm")
def test_settings_and_limits_reach_the_search(task: str) -> None:
    arguments = ["--set", "queries=2", "--set", "per_query = 3", "--max-calls", "200", "--json"]
    result = _localprompt("optimize", task, "--model", "toy:1", *arguments)
    assert "asking the proposer for 6 texts" in result.stderr
    assert json.loads(result.stdout)["spend"]["calls"] <= 200


def test_a_dry_run_says_what_to_expect_and_spends_nothing(task: str, lm: ScriptedLM) -> None:
    shown = _localprompt("optimize", task, "--model", "toy:1", "--dry-run")
    assert shown.exit_code == 0, shown.output
    search = r"expected: about [\d,]+ proposals and [\d,]+ evaluations, [\d,]+ tokens \([\d,]+ requested\)"
    cost = shown.stdout.splitlines()[-1]
    assert re.match(search + r"; after it, for noise, choice and test, [\d,]+ evaluations, [\d,]+ tokens$", cost)
    plain = json.loads(_localprompt("optimize", task, "--model", "toy:1", "--dry-run", "--json").stdout)
    assert plain["proposals"] >= 24
    assert plain["seconds"] is None, "a scripted model has no rates"
    assert (lm.n_generated, lm.n_scored) == (0, 0)
    assert json.loads(_localprompt("runs", "list", "--json").stdout) == []


@pytest.mark.usefixtures("lm")
def test_a_dry_run_shows_every_setting_and_which_are_not_the_default(task: str) -> None:
    arguments = ["--model", "toy:1", "--dry-run", "--method", "pe2", "--preset", "paper", "--set", "steps=1"]
    lines = _localprompt("optimize", task, *arguments).stdout.splitlines()
    assert lines[0] == "method pe2, preset paper:"
    shown = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[1:-1]}
    assert list(shown) == [field.name for field in fields(PE2)]
    assert (shown["steps"], shown["beam"], shown["score_examples"]) == (
        "1 (default: 3)",
        "4 (default: 2)",
        "none (default: 16)",
    )
    assert (shown["batch_size"], shown["backtrack"]) == ("2", "true")
    plain = json.loads(_localprompt("optimize", task, *arguments, "--json").stdout)
    assert (plain["method"], plain["preset"]) == ("pe2", "paper")
    assert (plain["settings"]["steps"], plain["settings"]["beam"]) == (1, 4)


def test_a_wrong_folder_of_meta_prompts_is_refused_before_a_model_is_loaded(task: str, tmp_path: Path) -> None:
    arguments = ["--model", "toy:1", "--method", "random", "--templates", str(tmp_path / "nowhere")]
    loaded: list[str] = []

    def load(text: str) -> ScriptedLM:
        loaded.append(text)
        return toy.model()

    with scheme("toy", load):
        result = _localprompt("optimize", task, *arguments)
    assert result.exit_code == 2
    assert "nowhere does not exist" in result.stderr
    assert loaded == []


@pytest.mark.usefixtures("lm")
def test_the_estimate_stands_beside_the_truth(task: str) -> None:
    plain = json.loads(_localprompt("optimize", task, "--model", "toy:1", "--json").stdout)
    expected = json.loads(_localprompt("optimize", task, "--model", "toy:1", "--dry-run", "--json").stdout)
    assert plain["expected"].items() <= expected.items()
    shown = _localprompt("resume", plain["run_id"])
    assert "The search computed " in shown.stdout
    assert f"It was expected to take about {plain['expected']['proposals']} proposals" in shown.stdout


@pytest.mark.usefixtures("lm")
def test_evaluate_measures_one_prompt(task: str, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text(f"{toy.BEST}\n", encoding="utf-8-sig")
    result = _localprompt("evaluate", task, "--model", "toy:1", "--prompt", f"@{tmp_path / 'prompt.txt'}", "--json")
    plain = json.loads(result.stdout)
    assert plain["prompt"]["instruction"] == toy.BEST
    assert (plain["split"], plain["score"]["mean"], plain["score"]["n"]) == ("test", 1.0, 40)
    shown = _localprompt("evaluate", task, "--model", "toy:1", "--prompt", "Be kind.", "--split", "dev")
    assert "dev: 0.000 (95 % interval 0.000 to" in shown.stdout


@pytest.mark.usefixtures("lm")
def test_evaluate_measures_what_a_run_found_with_its_worked_examples(tmp_path: Path) -> None:
    shown = f"prompts: [{{instruction: '{toy.BEST}', demos: [{{input: alpha, output: omega}}]}}]\n"
    task = toy.write_task(tmp_path, *SIZES, keys=shown, template=toy.SHOWING.template)
    found = json.loads(_localprompt("optimize", task, "--model", "toy:1", "--method", "manual", "--json").stdout)
    again = json.loads(_localprompt("evaluate", task, "--model", "toy:1", "--prompt", found["run_id"], "--json").stdout)
    assert found["best"]["prompt"]["demos"]
    assert again["prompt"] == found["best"]["prompt"]
    assert again["score"]["mean"] == found["test"]["best"]["mean"]
    unknown = _localprompt("evaluate", task, "--model", "toy:1", "--prompt", "decade")
    assert (unknown.exit_code, "a prompt of such letters is given as @FILE" in unknown.stderr) == (1, True)


@pytest.fixture
def one_class(tmp_path: Path) -> str:
    """A task whose rows all have one of its two labels, which come in the order of the rows' halves."""
    rows = [json.dumps({"input": f"alpha{n}", "target": "positive"}) for n in range(28)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    path = tmp_path / "task.yaml"
    path.write_text(
        "name: praise\nlabels: [positive, negative]\ndata: {file: rows.jsonl, split: {train: 8, dev: 10, test: 10}}\n"
    )
    return str(path)


def _praising(context: str, continuation: str) -> float:
    """Takes everything for positive once an instruction speaks of the omega."""
    return -0.5 if (continuation.strip() == "positive") == ("the omega" in context) else -4.0


def test_the_doubts_about_a_task_stand_with_every_score(one_class: str, named_model: toy.NamedModel) -> None:
    named_model(toy.model(logprob=_praising))
    missing = "test has no example of 'negative'"
    always = "labels are unbalanced in test: always answering 'positive' would score 1.00"
    for arguments in (
        ["optimize", one_class, "--model", "toy:1"],
        ["evaluate", one_class, "--model", "toy:1", "--prompt", toy.BEST],
        ["compare", one_class, "--model", "toy:1", "--methods", "random", "--max-tokens", "6000", "--seeds", "1"],
    ):
        result = _localprompt(*arguments)
        assert result.exit_code == 0, result.output
        shown = " ".join(result.stdout.split())
        assert missing in shown
        assert always in shown
        assert "significant improvement" not in shown
        assert "*" not in shown.partition("test score: mean")[0]
        notes = json.loads(_localprompt(*arguments, "--json").stdout)["notes"]
        assert any(note.endswith(missing) for note in notes)
    result = _localprompt("optimize", one_class, "--model", "toy:1")
    assert "no better than one constant answer" in " ".join(result.stdout.split())
    assert "Note: 3 more doubts: `localprompt tasks check TASK` shows them." in result.stdout
    assert missing in _localprompt("optimize", one_class, "--model", "toy:1", "--dry-run").stderr


@pytest.mark.usefixtures("lm")
def test_answers_that_cannot_fit_explain_a_score_of_0(tmp_path: Path) -> None:
    task = toy.write_task(tmp_path, *SIZES, keys="max_tokens: 1\n")
    doubt = "100 answers may not fit into max_tokens 1: train:"
    for command in ("evaluate", "optimize"):
        prompt = ["--prompt", toy.BEST] if command == "evaluate" else []
        assert doubt in " ".join(_localprompt(command, task, "--model", "toy:1", *prompt).stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["optimise"], 2, "did you mean 'optimize'?"),
        (["optimize", "TASK"], 2, "Missing option '--model'"),
        (["optimize", "TASK", "--model", "toy:1", "--set", "queries"], 2, "'queries' is not NAME=VALUE"),
        (["optimize", "TASK", "--model", "toy:1", "--set", "querys=1"], 2, "did you mean 'queries'?"),
        (["optimize", "TASK", "--model", "toy:1", "--method", "app"], 2, "did you mean 'ape'?"),
        (["optimize", "TASK", "--model", "toy:1", "--engine", "n_ctx"], 2, "'n_ctx' is not NAME=VALUE"),
        (["evaluate", "TASK", "--model", "toy:1", "--prompt", "", "--engine", "n_ctx=many"], 2, "engine setting n_ctx"),
        (
            ["evaluate", "TASK", "--model", "toy:1", "--prompt", "", "--engine", "kv_type=f8"],
            2,
            "engine setting kv_type",
        ),
        (["optimize", "TASK", "--model", "toy:1", "--max-calls", "0"], 2, "--max-calls"),
        (
            ["optimize", "TASK", "--model", "toy:1", "--max-minutes", "nan"],
            2,
            "max_minutes is nan, not a finite number",
        ),
        (["optimize", "TASK", "--model", "toy:1", "--max-tokens", "10000000000000000000"], 2, "--max-tokens"),
        (["optimize", "TASK", "--model", "toy:1", "--set", "queries=2000000"], 2, "queries must be at most 1,000,000"),
        (["optimize", "no-such.yaml", "--model", "toy:1"], 1, "no-such.yaml"),
        (["evaluate", "TASK", "--model", "toy:1", "--prompt", "@no-such.txt"], 2, "no-such.txt"),
    ],
)
@pytest.mark.usefixtures("lm")
def test_errors_are_a_sentence_and_an_exit_code(task: str, arguments: list[str], code: int, message: str) -> None:
    result = _localprompt(*[task if each == "TASK" else each for each in arguments])
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_engine_settings_are_read_as_their_types(task: str) -> None:
    given: list[dict[str, object]] = []

    def load(text: str, **engine: object) -> ScriptedLM:
        given.append(engine)
        return toy.model()

    engine = ["n_ctx=4096", "use_extra_bufts=true", "flash_attn=none", "kv_type=q8_0"]
    arguments = [piece for each in engine for piece in ("--engine", each)]
    values = {"n_ctx": 4096, "use_extra_bufts": True, "flash_attn": None, "kv_type": "q8_0"}
    with scheme("toy", load):
        _localprompt("evaluate", task, "--model", "toy:1", "--prompt", "", *arguments)
        _localprompt("optimize", task, "--model", "toy:1", "--max-calls", "1", *arguments)
    assert given == [values, values]


@pytest.mark.parametrize("command", [["optimize"], ["evaluate", "--prompt", ""]])
def test_an_unknown_model_or_engine_setting_is_wrong_usage(task: str, command: list[str]) -> None:
    result = _localprompt(*command, task, "--model", "qwen2.5-coder-1.5b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'qwen2.5-coder-1.5b-instruct'?" in result.stderr
    result = _localprompt(*command, task, "--model", "qwen2.5-coder-1.5b", "--engine", "n_ctxt=4096")
    assert result.exit_code == 2
    assert "did you mean 'n_ctx'?" in result.stderr


def test_completions_without_an_answer_are_a_line_of_the_summary(task: str, named_model: toy.NamedModel) -> None:
    silent = toy.model(answer=lambda p, s: "" if "alpha" in p and "omega" not in p else toy.answer(p, s))
    named_model(silent)
    result = _localprompt("optimize", task, "--model", "toy:1")
    assert "40 completions held no answer, 40 with the seed prompt and 0 with the found prompt" in " ".join(
        result.stdout.split()
    )


@pytest.mark.parametrize("command", [["list"], ["path", "no-such"], ["info", "no-such"], ["pull", "no-such"]])
def test_debug_is_an_option_of_every_models_command(command: list[str]) -> None:
    result = _localprompt("models", *command, "--debug")
    assert result.exit_code == (0 if command == ["list"] else 2)
    assert ("Traceback" in result.stderr) == (command != ["list"])


@pytest.mark.usefixtures("lm")
@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback_of_an_error(before: bool) -> None:
    arguments = ["optimize", "no-such.yaml", "--model", "toy:1"]
    result = _localprompt(*(["--debug", *arguments] if before else [*arguments, "--debug"]))
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(KeyboardInterrupt(), 130, "interrupted"), (ModelError("it broke", "mend it"), 1, "it broke")],
)
def test_a_run_that_does_not_reach_its_end_says_the_best_so_far(
    task: str, named_model: toy.NamedModel, error: BaseException, code: int, message: str
) -> None:
    named_model(toy.model(answer=toy.failing(error, 280)))
    result = _localprompt(
        "optimize", task, "--model", "toy:1", "--method", "ape", "--set", "queries=4", "--set", "stages=40"
    )
    assert result.exit_code == code
    assert message in result.stderr
    assert f"The best prompt so far scores 1.00 on 40 dev examples:\n{toy.BEST}" in result.stderr


def _run_that_was_interrupted(task: str, named_model: toy.NamedModel, *options: str) -> str:
    named_model(toy.model(answer=toy.failing(KeyboardInterrupt(), 100)))
    result = _localprompt("optimize", task, "--model", "toy:1", *options)
    assert result.exit_code == 130
    run_id = re.findall(r"`localprompt resume ([0-9a-f]{12})` continues from here", result.stderr)[0]
    assert f"run {run_id}, kept in " in " ".join(result.stderr.split())
    return str(run_id)


def test_a_run_that_was_interrupted_is_resumed_and_replayed(task: str, named_model: toy.NamedModel) -> None:
    run_id = _run_that_was_interrupted(task, named_model)
    Path(task).unlink()
    half = _localprompt("replay", run_id)
    assert "answers that the store has of this run end here" in " ".join(half.stdout.split())
    named_model(toy.model())
    resumed = _localprompt("resume", run_id[:6], "--json")
    plain = json.loads(resumed.stdout)
    assert (plain["run_id"], plain["status"], plain["best"]["prompt"]["instruction"]) == (run_id, "finished", toy.BEST)
    assert plain["spend"]["answers_cached"] > 0
    replayed = json.loads(_localprompt("replay", run_id, "--json").stdout)
    assert {**replayed, "spend": 0, "proof": 0} == {**plain, "spend": 0, "proof": 0}
    again = _localprompt("resume", run_id)
    assert f"the run {run_id} is finished" in again.stderr
    for piece in ("Measuring again changed none of ", "% of the answers were known", "significant improvement"):
        assert piece in " ".join(again.stdout.split())


def test_a_run_that_cannot_go_on_as_it_began_says_why(task: str, named_model: toy.NamedModel) -> None:
    run_id = _run_that_was_interrupted(task, named_model, "--no-cache")
    named_model(toy.model(name="other"))
    refused = _localprompt("resume", run_id)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "the model differs" in refused.stderr
    assert "--force" in refused.stderr
    assert _localprompt("resume", run_id, "--force").exit_code == 0
    assert _localprompt("resume", "no-such-run").exit_code == 1


def test_each_store_is_for_itself(task: str, tmp_path: Path, named_model: toy.NamedModel) -> None:
    models = [toy.model() for _ in range(3)]
    for lm, name in zip(models, ("one", "two", "one"), strict=True):
        named_model(lm)
        arguments = ["--model", "toy:1", "--store", str(tmp_path / name), "--json"]
        assert _localprompt("evaluate", task, "--prompt", "Go.", *arguments).exit_code == 0
        assert _localprompt("optimize", task, "--max-calls", "100", *arguments).exit_code == 0
    assert models[0].seen == models[1].seen
    assert models[2].seen == []


def test_model_text_cannot_command_the_terminal(task: str, named_model: toy.NamedModel) -> None:
    hostile = "Turn [red]alpha[/red] into omega\u202e \x9b31m [/] now."
    model = toy.model(answer=lambda p, s: hostile if toy.is_asked_to_write(p) else toy.answer(p, s))
    named_model(model)
    result = _localprompt("optimize", task, "--model", "toy:1")
    assert result.exit_code == 0, result.output
    assert "Turn [red]alpha[/red] into omega" in result.stdout
    assert not any(c in result.output for c in "\x1b\x9b\u202e")


@pytest.mark.parametrize("command", [["evaluate", "--prompt", "Go."], ["optimize"]], ids=["evaluate", "optimize"])
def test_the_name_of_a_model_cannot_command_the_terminal(
    command: list[str], task: str, named_model: toy.NamedModel
) -> None:
    named_model(toy.model(name="e\x1b[31mvil\u202e"))
    result = _localprompt(command[0], task, "--model", "toy:1", *command[1:])
    assert result.exit_code == 0, result.output
    assert not any(c in result.output for c in "\x1b\x9b\u202e")


def test_python_dash_m_is_the_same_program() -> None:
    environment = {**os.environ, "COLUMNS": "100"}
    run = subprocess.run(
        [sys.executable, "-m", "localprompt", "--help"], capture_output=True, text=True, check=True, env=environment
    )
    for command in ("optimize", "evaluate", "resume", "replay", "runs", "methods", "models", "tasks"):
        assert f"  {command} " in run.stdout


@pytest.mark.usefixtures("lm")
def test_a_robust_search_shows_the_variants_beside_the_score(task: str) -> None:
    words = ("optimize", task, "--model", "toy:1", "--objective", "robust")
    done = _localprompt(*words)
    assert done.exit_code == 0, done.output
    shown = " ".join(done.stdout.split())
    for piece in ("found, mean of 5 variants", "seed, worst: ", "objective robust"):
        assert piece in shown
    found = json.loads(_localprompt(*words, "--json").stdout)
    assert found["objective"] == "robust"
    assert found["test"]["best_variants"].keys() == {"mean", "worst", "change"}
    of_run = _localprompt("runs", "show", found["run_id"])
    assert "objective robust" in of_run.stdout
    wrong = _localprompt(*words[:-1], "best")
    assert wrong.exit_code == 2
    assert "'score', 'robust', 'worst'" in wrong.stderr
