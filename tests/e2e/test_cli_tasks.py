from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner

from localprompt.cli.main import main
from localprompt.errors import ModelError

EXAMPLES = Path(__file__).parents[2] / "examples"
ROUTING = str(EXAMPLES / "support-routing" / "task.yaml")


def test_check_shows_examples_exactly_as_the_model_sees_them() -> None:
    result = CliRunner().invoke(main, ["tasks", "check", ROUTING])
    assert result.exit_code == 0, result.output
    assert "support-routing: 50 train, 70 dev, 70 test" in result.output
    assert "\nWhich team should handle this message?\n\nMessage: " in result.output
    assert "\nTeam:\n--- right answer: ' " in result.output
    assert "The 70 test examples can show a gain of 0.1" in result.output
    assert "warning" not in result.output


def test_check_prints_nothing_but_json_when_asked_to() -> None:
    report = json.loads(CliRunner().invoke(main, ["tasks", "check", ROUTING, "--json"]).output)
    assert report["splits"]["test"]["n"] == 70
    assert sum(report["splits"]["dev"]["labels"].values()) == 70
    assert 0.1 < report["smallest_gain"] < 0.2
    assert report["warnings"] == []
    example = report["examples"][0]
    assert example["text"].endswith("\nTeam:")
    assert example["n_tokens"] is None


def test_check_with_a_model_counts_tokens_and_applies_its_chat_template(tmp_path: Path, tiny_qwen: Path) -> None:
    task = _write(tmp_path, "layout: chat\n", "dog")
    rows = [json.dumps({"input": f"dog {n}", "target": "ab"[n % 2]}) for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    arguments = ["tasks", "check", str(task), "--model", str(tiny_qwen), "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    example = json.loads(result.stdout)["examples"][0]
    (message,) = example["messages"]
    assert message["content"] in example["text"]
    assert len(example["text"]) > len(message["content"])
    assert example["n_tokens"] > 0


def test_check_loads_the_model_with_the_engine_settings(tmp_path: Path, tiny_qwen: Path) -> None:
    task = _write(tmp_path, "max_tokens: 500\n", "dog")
    result = CliRunner().invoke(
        main, ["tasks", "check", str(task), "--model", str(tiny_qwen), "--engine", "n_ctx=512", "--json"]
    )
    assert result.exit_code == 1
    assert "but the context has 512" in result.stderr
    assert result.stdout == ""


def test_check_of_several_seed_prompts_says_which_is_meant(task: str, named_model: toy.NamedModel) -> None:
    named_model(toy.model())
    _with_seed(task, f"Hum., {toy.BEST}")
    output = CliRunner().invoke(main, ["tasks", "check", task, "--model", "toy:1"]).output
    assert "\nBelow, the seed prompt is number 2, the best on these rows.\n" in output
    assert re.search(r"^seed prompt 1: Hum\. +0\.000 ", output, re.MULTILINE)
    assert "- The seed prompt is right on every row" in output


def test_check_shows_a_chat_as_turns(tmp_path: Path) -> None:
    task = _write(
        tmp_path, "layout: {mode: chat, system: '{{instruction}}', template: '{{input}}', opening: It is}\n", "dog"
    )
    task.write_text(task.read_text() + "prompts: [Be brief.]\n")
    output = CliRunner().invoke(main, ["tasks", "check", str(task)]).output
    assert "[system]\nBe brief.\n[user]\ndog" in output
    assert "[assistant begins]\nIt is\n" in output


def test_check_shows_warnings(tmp_path: Path) -> None:
    task = _write(tmp_path, "", "the same")
    output = CliRunner().invoke(main, ["tasks", "check", str(task)]).output
    assert "warning: 4 examples have the same inputs in dev and in train" in output


@pytest.mark.parametrize(("n", "gain"), [(1, None), (5, None), (6, 0.9635)])
def test_check_promises_no_gain_that_the_test_split_cannot_show(tmp_path: Path, n: int, gain: float | None) -> None:
    rows = [json.dumps({"input": f"word {i}", "target": f"answer {i}"}) for i in range(10 + n)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    task = tmp_path / "task.yaml"
    task.write_text(f"data: {{file: rows.jsonl, split: {{train: 5, dev: 5, test: {n}}}}}\n")
    shown = CliRunner().invoke(main, ["tasks", "check", str(task)]).output
    assert ("can show a gain" in shown) == (gain is not None)
    assert ("too few to show any gain" in shown) == (gain is None)
    report = json.loads(CliRunner().invoke(main, ["tasks", "check", str(task), "--json"]).output)
    assert report["smallest_gain"] == gain
    assert len(report["warnings"]) == (gain is None)


def test_check_counts_copies_of_test_rows_once(tmp_path: Path) -> None:
    for name, n in (("train", 4), ("dev", 4), ("test", 12)):
        rows = [json.dumps({"input": f"{name} {i % 8}", "target": f"answer {i % 8}"}) for i in range(n)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    task = tmp_path / "task.yaml"
    task.write_text("data: {train: train.jsonl, dev: dev.jsonl, test: test.jsonl}\n")
    shown = CliRunner().invoke(main, ["tasks", "check", str(task)]).output
    assert "The 12 test examples, 8 of them different, can show a gain of 0.802 or more" in shown
    report = json.loads(CliRunner().invoke(main, ["tasks", "check", str(task), "--json"]).output)
    assert (report["splits"]["test"]["n"], report["splits"]["test"]["different"]) == (12, 8)


def test_data_cannot_command_the_terminal(tmp_path: Path) -> None:
    task = _write(tmp_path, "", "\x1b[2J\u202ehidden")
    output = CliRunner().invoke(main, ["tasks", "check", str(task)]).output
    assert "\x1b" not in output
    assert "Input: \\u{1b}[2J\\u{202e}hidden" in output


def test_a_bad_task_file_ends_in_one_sentence_and_a_hint(tmp_path: Path) -> None:
    task = _write(tmp_path, "metrc: equals\n", "dog")
    result = CliRunner().invoke(main, ["tasks", "check", str(task)])
    assert result.exit_code == 1
    assert f"Error: {task}, line 2: key 'metrc' is unknown" in result.output
    assert "Hint: did you mean 'metric'?" in result.output
    assert "Traceback" not in result.output


def test_check_with_a_model_says_what_the_seed_prompt_does(task: str, named_model: toy.NamedModel) -> None:
    named_model(toy.model())
    _with_seed(task, "Speak of the alpha.")
    result = CliRunner().invoke(main, ["tasks", "check", task, "--model", "toy:1"])
    assert result.exit_code == 0, result.output
    report, _, found = result.stdout.partition(
        "\nScores with scripted on 16 dev rows, the same rows for each prompt:\n"
    )
    assert "--- dev:" in report
    assert re.search(r"^seed prompt: Speak of the alpha\. +0\.\d+ +0\.\d+ to 0\.\d+ +0$", found, re.MULTILINE)
    assert re.search(r"^seed prompt: Speak of the alpha\. \+ 2 examples +1\.000 ", found, re.MULTILINE)
    assert re.search(r"^\(no instruction\) +0\.000 ", found, re.MULTILINE)
    assert re.search(r"^  dev:\d+: ' no idea'; right: 'omega\d+'$", found, re.MULTILINE)
    assert re.search(
        r"^A search with default settings is expected to make about [\d,]+ model calls\.$", found, re.MULTILINE
    )
    assert "\n- The seed prompt is ahead of no instruction by +0." in found
    assert "\n- 16 rows reliably show only differences of about 4" in found
    assert "scoring 4 prompts on 16 dev examples" in result.stderr


def test_check_with_a_model_shows_answers_beside_right_ones_and_warns_of_one_for_all(tmp_path: Path) -> None:
    (tmp_path / "replies.json").write_text('{"replies": {"": "billing"}}')
    model = f"scripted:{tmp_path / 'replies.json'}"
    output = CliRunner().invoke(main, ["tasks", "check", ROUTING, "--model", model]).output
    assert re.search(r"^answer +given for rows +right for rows +both$", output, re.MULTILINE)
    assert re.search(r"^account +0 +4 +0$", output, re.MULTILINE)
    assert "Wrong answers" not in output, "the table says it where answers are labels"


def test_check_with_a_model_prints_nothing_but_json_when_asked_to(task: str, named_model: toy.NamedModel) -> None:
    named_model(toy.model())
    result = CliRunner().invoke(main, ["tasks", "check", task, "--model", "toy:1", "--json"])
    report = json.loads(result.stdout)
    found = report["diagnosis"]
    assert report["examples"][0]["n_tokens"] > 0
    assert [trial["score"]["mean"] for trial in found["trials"]] == [0.0, 1.0]
    assert (found["seed_gain"], found["shots_gain"]["mean"]) == (None, 1.0)
    assert found["wrong"][0]["completion"] == " no idea"
    assert found["expected"]["evaluations"] > 0
    assert found["conclusions"]
    without = json.loads(CliRunner().invoke(main, ["tasks", "check", task, "--json"]).stdout)
    assert "diagnosis" not in without


def test_check_keeps_answers_in_the_store_that_is_named(task: str, tmp_path: Path, named_model: toy.NamedModel) -> None:
    lm = toy.model()
    named_model(lm)
    arguments = ["tasks", "check", task, "--model", "toy:1", "--store", str(tmp_path / "answers.db")]
    for _ in range(2):
        assert CliRunner().invoke(main, arguments).exit_code == 0
        assert lm.n_generated == 32
    assert (tmp_path / "answers.db").exists()


def test_what_a_model_writes_cannot_command_the_terminal(task: str, named_model: toy.NamedModel) -> None:
    named_model(toy.model(answer=lambda prompt, seed: "\x1b[2J\u202e[red]hidden\n"))
    output = CliRunner().invoke(main, ["tasks", "check", task, "--model", "toy:1"]).output
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "[red]hidden" in output


def test_check_with_a_model_that_fails_ends_in_one_sentence(task: str, named_model: toy.NamedModel) -> None:
    named_model(toy.model(answer=toy.failing(ModelError("it is too hot", "wait"))))
    result = CliRunner().invoke(main, ["tasks", "check", task, "--model", "toy:1"])
    assert result.exit_code == 1
    assert result.stderr.endswith("Error: it is too hot\nHint: wait\n")
    gone = CliRunner().invoke(main, ["tasks", "check", task, "--model", "gone.gguf"])
    assert gone.exit_code == 1
    assert "Traceback" not in gone.output


@pytest.mark.parametrize("option", ["--engine=n_ctx=512", "--store=answers.db"])
def test_what_concerns_a_model_is_refused_without_one(task: str, option: str) -> None:
    result = CliRunner().invoke(main, ["tasks", "check", task, option])
    assert result.exit_code == 2
    assert "--engine and --store are for a model: name it with --model" in result.output


def _with_seed(task: str, seed: str) -> None:
    path = Path(task)
    path.write_text(path.read_text() + f"prompts: [{seed}]\n")


def _write(folder: Path, keys: str, text: str) -> Path:
    rows = "".join(json.dumps({"input": text if n else "first", "target": "ab"[n % 2]}) + "\n" for n in range(12))
    (folder / "rows.jsonl").write_text(rows)
    task = folder / "task.yaml"
    task.write_text("data: {file: rows.jsonl}\n" + keys)
    return task
