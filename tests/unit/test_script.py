"""A scripted model from a file of replies."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from localprompt.cli.main import main
from localprompt.errors import ModelError
from localprompt.lm.loading import open_model, source_of
from localprompt.lm.script import load_script
from localprompt.types import Sampling

ROOT = Path(__file__).parents[2]


def write(folder: Path, **plain: object) -> str:
    path = folder / "replies.json"
    path.write_text(json.dumps(plain), encoding="utf-8")
    return str(path)


def said(file: str, prompt: str, seed: int = 0) -> str:
    (generation,) = load_script(file).generate([prompt], Sampling(max_tokens=9), [seed])
    return generation.text


def test_the_first_pattern_that_is_found_replies(tmp_path: Path) -> None:
    file = write(tmp_path, replies={r"alpha(\d+)$": r"omega\1 \2 \x", "(a)|b": r"<\1>", "write": ["one", "two"]})
    assert said(file, "turn alpha7") == r"omega7 \2 \x"
    assert (said(file, "b"), said(file, "alpha7 a")) == ("<>", "<a>")
    assert [said(file, "write", seed) for seed in range(3)] == ["one", "two", "one"]
    assert said(file, "else") == ""


def test_a_label_is_probable_where_it_is_the_reply(tmp_path: Path) -> None:
    lm = load_script(write(tmp_path, replies={"4": " even\nmore"}))
    scores = lm.loglikelihood([("4", " even"), ("4", " evening"), ("5", " even")])
    assert [score.logprob for score in scores] == [-0.1, -5.0, -5.0]


def test_a_label_is_told_from_others_by_its_first_words(tmp_path: Path) -> None:
    lm = load_script(write(tmp_path, replies={"Text: A": "cash_withdrawal"}))
    scores = lm.loglikelihood([("Text: A", f" {text}") for text in ("card", "cash", "cash_withdrawal", "")])
    assert [score.logprob for score in scores] == [-5.0, -1.0, -0.1, -5.0]


def test_a_file_says_how_prompts_are_rendered(tmp_path: Path) -> None:
    lm = load_script(write(tmp_path, replies={}))
    assert (lm.name, lm.has_chat, lm.has_fim) == ("replies", True, False)
    lm = load_script(write(tmp_path, replies={}, has_chat=False, has_fim=True))
    assert (lm.has_chat, lm.has_fim) == (False, True)


def test_a_changed_file_is_another_model(tmp_path: Path) -> None:
    first = load_script(write(tmp_path, replies={"a": "b"})).fingerprint
    assert load_script(write(tmp_path, replies={"a": "b"})).fingerprint == first
    assert load_script(write(tmp_path, replies={"a": "c"})).fingerprint != first


def test_a_run_finds_the_file_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, replies={})
    monkeypatch.chdir(tmp_path)
    assert source_of("scripted:replies.json") == f"scripted:{file}"
    with open_model("scripted:replies.json", n_ctx=512) as lm:
        assert lm.facts.name == "replies"


@pytest.mark.parametrize(
    ("content", "problem", "hint"),
    [
        ("{", "is not JSON", "write {"),
        ("[" * 100_000, "is not JSON", "write {"),
        ("[]", "holds no replies", "write {"),
        ('{"reply": {}}', "holds no replies", "write {"),
        ('{"replies": {}, "has_chats": true}', "unknown key 'has_chats'", "did you mean 'has_chat'?"),
        ('{"replies": ["a"]}', r"replies is \['a'\]", "write {"),
        ('{"replies": {}, "has_fim": 1}', "has_fim is 1", "true or false"),
        ('{"replies": {"(": "a"}}', r"'\(' is not a regular expression", "write {"),
        ('{"replies": {"a": []}}', r"the reply to 'a' is \[\]", "a list of texts"),
        ('{"replies": {"a": [1]}}', r"the reply to 'a' is \[1\]", "a list of texts"),
    ],
)
def test_what_is_wrong_in_a_file_is_a_sentence(tmp_path: Path, content: str, problem: str, hint: str) -> None:
    path = tmp_path / "replies.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=f"replies.json:? {problem}") as error:
        load_script(str(path))
    assert hint in error.value.hint


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.json cannot be read: No such file"):
        load_script(str(tmp_path / "nowhere.json"))


def test_the_example_of_the_documents_finds_a_prompt(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/models.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "replies.json").write_text(example, encoding="utf-8")
    task, model = str(ROOT / "examples/past-tense/task.yaml"), f"scripted:{tmp_path / 'replies.json'}"
    found = CliRunner().invoke(main, ["optimize", task, "--model", model, "--json"])
    assert json.loads(found.stdout)["best"]["prompt"]["instruction"] == "Write the past tense of the verb."
    checked = CliRunner().invoke(main, ["tasks", "check", task, "--model", model])
    assert checked.exit_code == 0, checked.output


def test_completions_without_an_answer_are_counted_once_where_the_seed_stays(tmp_path: Path) -> None:
    (tmp_path / "replies.json").write_text('{"replies": {"Output:$": "\\n"}}', encoding="utf-8")
    given = [str(ROOT / "examples/past-tense/task.yaml"), "--model", f"scripted:{tmp_path / 'replies.json'}"]
    found = CliRunner().invoke(main, ["optimize", *given, "--method", "manual"])
    assert "84 completions held no answer: they score 0." in " ".join(found.stdout.split())
    found = CliRunner().invoke(main, ["evaluate", *given, "--prompt", "Do it."])
    assert "completions without an answer, which score 0: 84\n" in found.stdout
