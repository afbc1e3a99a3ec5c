from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from localprompt.cli.main import main

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
    arguments = ["tasks", "check", str(task), "--model", str(tiny_qwen), "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    example = json.loads(result.output)["examples"][0]
    (message,) = example["messages"]
    assert message["content"] in example["text"]
    assert len(example["text"]) > len(message["content"])
    assert example["n_tokens"] > 0


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


def _write(folder: Path, keys: str, text: str) -> Path:
    rows = "".join(json.dumps({"input": text if n else "first", "target": "ab"[n % 2]}) + "\n" for n in range(12))
    (folder / "rows.jsonl").write_text(rows)
    task = folder / "task.yaml"
    task.write_text("data: {file: rows.jsonl}\n" + keys)
    return task
