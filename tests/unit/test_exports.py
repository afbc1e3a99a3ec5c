"""Exports of a found prompt: what is in them, what they refuse, and hostile texts, which come out literally."""

from __future__ import annotations

import ast
import json
import math
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import localprompt
from localprompt.cli import export as command
from localprompt.cli.main import main
from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.exports import export as exports
from localprompt.exports import labels
from localprompt.exports.calibration import label_priors
from localprompt.exports.promptfoo import escaped
from localprompt.exports.rendering import Piece, filled, named_slots, open_prompt, tokens_of
from localprompt.exports.winner import find
from localprompt.lm.asked import AskedModel
from localprompt.lm.base import ModelFacts
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.search.evaluator import Evaluator
from localprompt.store import Store
from localprompt.tasks import Layout, Task
from localprompt.tasks.answers import find_answer
from localprompt.tasks.data import SPLITS
from localprompt.types import Demo, Generation, Prompt

HOSTILE = (
    'Say "no" {{input}} {input} {{{input}}} {% if x %} {# c #} {{ 7*7 }} {% raw %} {% endraw %}'
    " ''' \"\"\" \\n \\ </script>"
    " <|im_end|> $HOME `x` %s {} \t\r\n#{x} é\u00a0\u200b\u2028🦙 {{- .Prompt -}} }} {"
)
CHAT = Layout("{{demos}}Q: {{input}}", "Q: {{input}}\nA: {{output}}\n\n", "chat", "{{instruction}}", "A:", " ")


def task(**changes: object) -> Task:
    """The toy task with a hostile prompt, which the method `manual` finds."""
    changed = {"seeds": (Prompt(HOSTILE),), **changes}
    return replace(toy.task(train=2, dev=4, test=4), **changed)  # type: ignore[arg-type]


def run_of(asked: Task) -> str:
    return localprompt.optimize(asked, toy.model(), method="manual").run_id


def exported(to: str, asked: Task, folder: Path, **more: object) -> dict[str, str]:
    """The files of an export by name."""
    done = localprompt.export(run_of(asked), to, out=folder, model=toy.model(), **more)  # type: ignore[arg-type]
    return {name: (folder / name).read_text(encoding="utf-8") for name in done.files}


@pytest.mark.parametrize("to", exports.FORMS)
def test_every_form_carries_one_row_exactly_as_the_model_is_shown_it(to: str, tmp_path: Path) -> None:
    asked, lm = task(layout=CHAT), toy.model()
    files = exported(to, asked, tmp_path)
    example = json.loads(files["example.json"])
    row = asked.dev[0]
    rendering = CHAT.render(asked.seeds[0], row.inputs)
    assert example["text"] == lm.chat(rendering.messages, rendering.opening)
    assert example["tokens"] == lm.tokenize([example["text"]])[0]
    assert (example["id"], example["inputs"]) == (row.id, dict(row.inputs))
    assert example["answer"] == example["completion"].strip() == toy.answer(example["text"], 0).strip()
    assert HOSTILE in example["text"]


def test_commands_and_forms_are_the_same() -> None:
    assert tuple(exports.FORMS) == command._FORMS


def test_the_pieces_of_a_prompt_make_its_text_for_every_row() -> None:
    for layout in (CHAT, toy.SHOWING):
        asked = task(layout=layout)
        prompt = Prompt(HOSTILE, (Demo({"input": "{{input}}"}, HOSTILE),))
        rendered, lm = open_prompt(asked, prompt, toy.model()), toy.model()
        for text in ("alpha7", HOSTILE, "", " "):
            rendering = layout.render(prompt, {"input": text})
            whole = lm.chat(rendering.messages, rendering.opening) if rendering.messages else rendering.text
            assert filled(rendered.pieces, {"input": text}) == whole


def test_names_in_braces_are_never_those_of_the_text() -> None:
    pieces = (Piece("a {{x}} b {{{x}}} "), Piece("x", is_input=True))
    assert named_slots(pieces) == "a {{x}} b {{{x}}} {{{{x}}}}"
    assert named_slots((Piece("a "), Piece("x", is_input=True))) == "a {{x}}"


def test_a_chat_is_its_turns_with_the_beginning_of_the_answer(tmp_path: Path) -> None:
    files = exported("chat-json", task(layout=CHAT, seeds=(Prompt("Go."),)), tmp_path)
    assert json.loads(files["messages.json"]) == [
        {"role": "system", "content": "Go."},
        {"role": "user", "content": "Q: {{input}}"},
        {"role": "assistant", "content": "A:"},
    ]
    assert json.loads(files["example_messages.json"])[1]["content"] == "Q: alpha2"


def test_an_input_of_a_chat_is_written_as_no_turn_has_it(tmp_path: Path) -> None:
    files = exported("chat-json", task(layout=CHAT, seeds=(Prompt("Read {{input}} and answer."),)), tmp_path)
    system, user, _ = json.loads(files["messages.json"])
    assert (system["content"], user["content"]) == ("Read {{input}} and answer.", "Q: {{{input}}}")


def test_a_text_to_continue_is_no_chat(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="raw layout: its prompt is a text to continue, no chat"):
        exported("chat-json", task(), tmp_path)


def test_labels_become_a_grammar_with_the_separator_before_each(tmp_path: Path) -> None:
    asked = replace(toy.task(train=2, dev=4, test=4, labels=('a "b"\\', "c\nd\x01é🦙")), seeds=(Prompt("x"),))
    files = exported("llama-server", asked, tmp_path)
    request = json.loads(files["request.json"])
    assert files["labels.gbnf"] == 'root ::= " a \\"b\\"\\\\" | " c\\x0Ad\\x01é🦙"\n'
    tokens = toy.model().tokenize([" " + label for label in asked.labels])
    rules = (" ".join(f"<[{token}]>" for token in label) for label in tokens)
    assert request["grammar"] == f"root ::= {' | '.join(rules)}\n"
    assert request["n_predict"] >= len(" c\nd\x01é🦙".encode())
    assert request["temperature"] == 0


@given(st.lists(st.text(min_size=1), min_size=2, max_size=4), st.sampled_from(["", " ", "\n"]))
def test_a_label_is_read_back_out_of_the_grammar(names: list[str], separator: str) -> None:
    rule = labels.grammar(names, separator)
    body = rule.removeprefix("root ::= ").removesuffix("\n")
    assert "\n" not in body
    assert read_gbnf(body) == [separator + name for name in names]


def read_gbnf(body: str) -> list[str]:
    """The literals of a rule of alternatives, by the escapes that llama.cpp's parser knows."""
    found, at = [], 0
    while at < len(body):
        assert body[at] == '"'
        text, at = "", at + 1
        while body[at] != '"':
            if body[at] != "\\":
                text, at = text + body[at], at + 1
                continue
            size = {"x": 2, "u": 4, "U": 8}.get(body[at + 1], 0)
            text += chr(int(body[at + 2 : at + 2 + size], 16)) if size else body[at + 1]
            assert size or body[at + 1] in '"\\'
            at += 2 + size
        found.append(text)
        at += 1
        assert body[at : at + 3] in (" | ", "")
        at += 3
    return found


def test_a_request_has_the_limits_of_the_task_and_the_tokens_of_the_example(tmp_path: Path) -> None:
    files = exported("llama-server", task(), tmp_path)
    request = json.loads(files["request.json"])
    assert request["prompt"] == json.loads(files["example.json"])["tokens"]
    assert (request["n_predict"], request["stop"], request["temperature"]) == (8, ["\n"], 0)
    assert "grammar" not in request


def test_rows_of_test_go_along_only_where_they_are_asked_for(tmp_path: Path) -> None:
    assert json.loads(exported("text", task(), tmp_path / "a")["example.json"])["id"].startswith("dev:")
    files = exported("text", task(), tmp_path / "b", rows="test")
    assert json.loads(files["example.json"])["id"].startswith("test:")


@pytest.mark.parametrize(("rows", "answer"), [("dev", None), ("test", "omega6")])
def test_an_answer_to_a_variant_of_the_prompt_is_none_to_the_prompt(tmp_path: Path, rows: Any, answer: object) -> None:
    asked, lm = task(seeds=(Prompt(toy.BRITTLE),)), toy.model(answer=toy.brittle)
    run = localprompt.optimize(asked, lm, method="manual", objective="worst").run_id
    localprompt.export(run, "text", out=tmp_path, model=lm, rows=rows)
    example = json.loads((tmp_path / "example.json").read_text(encoding="utf-8"))
    assert toy.brittle(example["text"], 0).strip() in example["targets"]
    assert example["answer"] == answer


def test_what_cannot_be_exported_is_said_in_a_sentence(tmp_path: Path) -> None:
    run = run_of(task())
    with pytest.raises(ConfigError, match="unknown form 'texts'"):
        localprompt.export(run, "texts")
    with pytest.raises(ConfigError, match="rows is 'train', not 'dev' or 'test'"):
        localprompt.export(run, "text", rows="train")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the run used a loaded model, 'scripted'"):
        localprompt.export(run, "text")
    with pytest.raises(StoreError, match="no run begins with 'zzz'"):
        localprompt.export("zzz", "text", model=toy.model())
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written"):
        localprompt.export(run, "text", out=tmp_path / "file" / "folder", model=toy.model())


def test_a_model_of_which_only_replies_are_seen_has_no_tokens_to_export(tmp_path: Path) -> None:
    facts = ModelFacts("asked", "asked-1", 4096, True, False, False)
    lm = AskedModel(facts, lambda question: Generation("omega1", 1, "stop"))
    run = localprompt.optimize(task(layout=CHAT), lm, method="manual").run_id
    for to in exports.FORMS:
        with pytest.raises(ConfigError, match="of asked only replies are seen"):
            localprompt.export(run, to, out=tmp_path / "files", model=lm)
    assert not (tmp_path / "files").exists()
    assert localprompt.export(run, "text", out=tmp_path / "files", model=toy.model()).files


def test_half_a_character_is_written_as_an_escape(tmp_path: Path) -> None:
    exported("text", task(seeds=(Prompt("half \ud800"),)), tmp_path)
    assert "half \\ud800" in (tmp_path / "prompt.txt").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.part"))


def test_another_model_than_that_of_the_run_is_told_of(tmp_path: Path) -> None:
    run = run_of(task())
    done = localprompt.export(run, "text", out=tmp_path, model=toy.model(name="other"))
    assert any("another model file" in note for note in done.notes)
    same = localprompt.export(run, "text", out=tmp_path, model=toy.model())
    assert not any("another model file" in note for note in same.notes)


def test_functions_of_a_user_stay_behind_and_that_is_said(tmp_path: Path) -> None:
    asked = task(answer=lambda text: text.strip() or None)
    done = localprompt.export(run_of(asked), "text", out=tmp_path, model=toy.model())
    assert any("code of its own" in note for note in done.notes)


def test_the_tokens_of_the_pieces_are_those_of_the_whole() -> None:
    asked = task(layout=CHAT)
    rendered, lm = open_prompt(asked, Prompt("Go on."), toy.model()), toy.model()
    rendering = CHAT.render(Prompt("Go on."), {"input": "alpha1"})
    assert tokens_of(rendered, {"input": "alpha1"}, lm) == lm.tokenize([lm.chat(rendering.messages, "A:")])[0]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", *arguments])


def test_the_command_writes_a_folder_and_says_what_to_do(
    named_model: toy.NamedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named_model(toy.model())
    run = localprompt.optimize(task(), toy.NAMED, method="manual").run_id
    done = call(run[:6], "--to", "llama-server")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == f"localprompt-{run}-llama-server"
    assert "python ask.py input='TEXT'" in done.stdout
    assert (tmp_path / f"localprompt-{run}-llama-server" / "request.json").is_file()
    found = json.loads(call(run, "--to", "text", "--out", "there", "--json").stdout)
    assert (found["folder"], found["run_id"], found["to"]) == ("there", run, "text")
    assert sorted(found["files"]) == sorted(path.name for path in Path("there").iterdir())


def test_programs_that_go_along_are_python_or_run_by_node(tmp_path: Path) -> None:
    for to in exports.FORMS:
        layout = CHAT
        files = exported(to, task(layout=layout), tmp_path / to)
        for name in files:
            if name.endswith(".py"):
                subprocess.run([sys.executable, "-m", "py_compile", str(tmp_path / to / name)], check=True)


@settings(max_examples=25)
@given(st.text(), st.text())
def test_any_text_is_the_same_in_pieces(instruction: str, row: str) -> None:
    for layout in (CHAT, toy.SHOWING):
        asked = task(layout=layout)
        prompt, lm = Prompt(instruction), toy.model()
        rendering = layout.render(prompt, {"input": row})
        whole = lm.chat(rendering.messages, rendering.opening) if rendering.messages else rendering.text
        assert filled(open_prompt(asked, prompt, lm).pieces, {"input": row}) == whole


def test_a_cross_validated_task_has_no_test_rows(tmp_path: Path) -> None:
    asked = replace(task(), folds=2, test=())
    run = localprompt.optimize(asked, toy.model(), method="manual").run_id
    with pytest.raises(TaskError, match="cross-validated and has no test rows"):
        localprompt.export(run, "text", out=tmp_path, rows="test", model=toy.model())
    localprompt.export(run, "text", out=tmp_path, model=toy.model())


def calibrated(*names: str, how: str = "calibrated", **options: object) -> tuple[str, ScriptedLM]:
    """A run of calibrated labels, the first of which is probable for nothing; and its model."""

    def given(context: str, continuation: str) -> float:
        return -0.1 if continuation == f" {names[0]}" else -2.5

    lm = ScriptedLM(logprob=given)
    asked = toy.task(train=2, dev=4, test=4, labels=names, label_score=how)
    asked = replace(asked, seeds=(Prompt("Say it."),))
    return localprompt.optimize(asked, lm, method="manual", **options).run_id, lm  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["calibrated", "batch"])
@pytest.mark.parametrize("use_cache", [True, False], ids=["shared answers", "answers of its own"])
def test_calibration_goes_along_as_a_bias_of_each_labels_token(tmp_path: Path, use_cache: bool, how: str) -> None:
    run, lm = calibrated("even", "odd", use_cache=use_cache, how=how)
    done = localprompt.export(run, "llama-server", out=tmp_path, model=lm)
    request = json.loads((tmp_path / "request.json").read_text(encoding="utf-8"))
    total = math.log(math.exp(-0.1) + math.exp(-2.5))
    (even,), (odd,) = lm.tokenize([" even", " odd"])
    assert request["logit_bias"] == [[even, pytest.approx(total + 0.1)], [odd, pytest.approx(total + 2.5)]]
    assert json.loads((tmp_path / "prompt.json").read_text())["llama_cpp"]["logit_bias"] == request["logit_bias"]
    assert "a bias for the calibration choose the same, as one token tells each label apart" in " ".join(done.notes)


def test_a_small_budget_has_the_prior_on_the_same_rows() -> None:
    lm = ScriptedLM(logprob=lambda context, continuation: -float(len(context) % 7 + len(continuation)))
    asked = replace(
        toy.task(train=2, dev=200, test=4, labels=("even", "odd"), label_score="batch"), seeds=(Prompt("x"),)
    )
    run = localprompt.optimize(asked, lm, method="ape", max_tokens=3000)
    assert run.expected is not None
    assert run.expected.sizes["dev_examples"] < 200
    with Store() as home:
        priors = find(home, run.run_id, "test").label_priors
    evaluator = Evaluator(lm, asked, Budget())
    evaluator.evaluate([run.best], asked.test[:1])
    found = evaluator.label_likelihoods(run.best, asked.test[0])
    assert found is not None
    assert priors == tuple(nats - left for nats, left in zip(found.logprobs, found.scores, strict=True))


def test_what_is_lost_of_calibration_is_said(tmp_path: Path) -> None:
    run, lm = calibrated("very even", "very odd")
    done = localprompt.export(run, "llama-server", out=tmp_path, model=lm)
    assert "logit_bias" not in json.loads((tmp_path / "request.json").read_text(encoding="utf-8"))
    assert "the calibration is lost, which cost" in " ".join(done.notes)
    (note,) = (each for each in localprompt.export(run, "ollama", out=tmp_path, model=lm).notes if "labels" in each)
    assert "Ollama has no grammars" in note


@pytest.mark.parametrize("mode", ["raw", "chat"])
def test_likelihoods_are_not_compared_by_lm_eval_in_a_chat_and_that_is_said(tmp_path: Path, mode: str) -> None:
    asked = toy.task(train=2, dev=4, test=4, labels=("even", "odd"))
    asked = replace(asked, seeds=(Prompt("x"),), layout=CHAT if mode == "chat" else asked.layout)
    done = localprompt.export(run_of(asked), "lm-eval", out=tmp_path, model=toy.model())
    assert sum(name.endswith("_likelihood.yaml") for name in done.files) == (mode == "raw")
    (note,) = (each for each in done.notes if "likelihood" in each and "labels by" not in each)
    assert ("no task that compares likelihoods is written of a chat: its marks" in note) == (mode == "chat")


@pytest.mark.skipif(shutil.which("node") is None, reason="node runs what promptfoo runs")
def test_the_task_of_likelihoods_says_where_rows_have_several_right_labels(tmp_path: Path) -> None:
    asked = toy.task(train=2, dev=4, test=4, labels=("even", "odd"))
    both = replace(asked.dev[0], targets=("even", "odd"))
    asked = replace(asked, seeds=(Prompt("x"),), dev=(both, *asked.dev[1:]))
    done = localprompt.export(run_of(asked), "lm-eval", out=tmp_path, model=toy.model())
    assert "_likelihood counts the first right label of a row alone; rows with several: 1" in " ".join(done.notes)
    done = localprompt.export(run_of(asked), "lm-eval", out=tmp_path, model=toy.model(), rows="test")
    assert "rows with several" not in " ".join(done.notes)


def test_promptfoo_takes_answers_out_as_the_task_does(tmp_path: Path) -> None:
    exported("promptfoo", task(), tmp_path)
    cases = [
        ("regex", r"is (\d+)", "It is 5.", "5"),
        ("regex", r"is (\p{L}+)", "Es is Öl", "Öl"),
        ("regex", r"is (\d+)", "5", None),
        ("json_field", "total", '```json\n{"bill": {"total": 1.50}}\n``` {more}', "1.50"),
        ("json_field", "a.b", '{"a.b": "say \\"no\\"\nto \\u00e9"}', 'say "no"\nto é'),
        ("json_field", "total", '{"total": [1]}', None),
        ("json_field", "total", '{"total": "\\x"}', None),
        ("last_number", "", "3 and\n1,007.50.", "1007.50"),
        ("after_marker", "Answer:", "answer: 1\n**Answer:** 2\nx", "2"),
    ]
    asked = [
        (text, {"vars": {"row_expected": {"kind": kind, "argument": argument, "targets": [wanted or "1"]}}})
        for kind, argument, text, wanted in cases
    ]
    (tmp_path / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    program = "console.log(JSON.stringify(require('./asked.json').map((each) => require('./assert.js')(...each))))"
    ended = subprocess.run(["node", "-e", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == [wanted is not None for *_, wanted in cases]
    for kind, argument, text, wanted in cases:
        assert find_answer(kind, argument)(text) == wanted


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("naïve-name", '{{ row["naïve-name"] }}'),
        ('a"]+range.constructor("x")()+row["b', r'{{ row["a\"]+range.constructor(\"x\")()+row[\"b"] }}'),
    ],
)
def test_the_name_of_an_input_ends_no_tag_of_promptfoo(name: str, tag: str) -> None:
    assert escaped(Piece(name, is_input=True)) == tag


@pytest.mark.parametrize("to", ["llama-server", "openai"])
def test_the_command_of_an_export_runs_no_name_of_an_input(to: str, tmp_path: Path) -> None:
    asked, name = task(), "$(id)"
    rows: dict[str, Any] = {
        split: tuple(replace(row, inputs={name: row.inputs["input"]}) for row in getattr(asked, split))
        for split in SPLITS
    }
    layout = Layout("{{instruction}}{{demos}}Q: {{$(id)}}\nA:", "Q: {{$(id)}}\nA: {{output}}\n\n")
    run = run_of(replace(asked, inputs=(name,), layout=layout, **rows))
    assert localprompt.export(run, to, out=tmp_path, model=toy.model()).use.endswith(f" '{name}'='TEXT'")


def test_lm_eval_reads_answers_as_texts_and_the_last_number_of_all_lines(tmp_path: Path) -> None:
    asked = task(answer=find_answer("last_number"))
    asked = replace(asked, dev=tuple(replace(row, targets=("2024-05-01", '"[{{x}}]"')) for row in asked.dev))
    files = exported("lm-eval", asked, tmp_path)
    (made,) = (yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml"))
    # A list would be one of times where every target looks like one.
    assert made["doc_to_target"] == "{{targets}}"
    for line in files["rows.jsonl"].splitlines():
        assert ast.literal_eval(json.loads(line)["targets"]) == ["2024-05-01", '"[{{x}}]"']
    assert taken_by(made, "3 and 4 are\n7.50, or\n1,007.") == "1,007"


def taken_by(made: dict[str, Any], completion: str) -> str | None:
    """What the harness takes out of a completion: the first match, and of several groups the first that is there."""
    found = re.findall(made["filter_list"][0]["filter"][0]["regex_pattern"], completion)[:1]
    groups = found[0] if found and isinstance(found[0], tuple) else found
    return next((each.strip() for each in groups if each), None)


@pytest.mark.parametrize(
    ("kind", "argument", "text"),
    [
        ("first_line", "", "\n a b \nc"),
        ("last_number", "", "2 + 2\nis 4.50 in all"),
        ("regex", r"is (\d+)", "2 is 3, 3 is 4"),
        ("after_marker", "#### (a+)", "#### (A+) 1\n#### (a+) 2\nx"),
        ("after_marker", "Answer:", "**Answer:**\n5\n"),
        ("after_marker", "####", "5"),
        ("json_field", "total", '```json\n{"bill": {"total": 1.50}}\n``` {more}'),
        ("json_field", "a.{b}", '{"a.{b}": "x, y"}'),
        ("json_field", "total", '{"total": [1]}'),
    ],
)
def test_lm_eval_takes_answers_out_as_the_task_does(tmp_path: Path, kind: str, argument: str, text: str) -> None:
    answer = find_answer(kind, argument)
    files = exported("lm-eval", task(answer=answer), tmp_path)
    (made,) = (yaml.safe_load(content) for name, content in files.items() if name.endswith(".yaml"))
    assert taken_by(made, text) == answer(text)


WORDS = {" a": -0.7, " b": -0.5, " c": -0.5, " d": -0.5, " e-f": -0.8}
BLANK = {" a": -0.1, " b": -2.0, " c": -2.0, " d": -2.0, " e-f": -0.8}
"""Nats of tokens behind a row, and behind an input that says nothing."""


@pytest.mark.parametrize(
    ("how", "wanted"), [("sum", "a"), ("token", "b c d"), ("byte", "e-f"), ("calibrated", "b c d")]
)
def test_labels_of_several_tokens_are_compared_by_ask_as_in_the_run(tmp_path: Path, how: str, wanted: str) -> None:
    def given(context: str, continuation: str) -> float:
        nats = WORDS if "Input: alpha" in context else BLANK
        return sum(nats[f" {word}"] for word in continuation.split())

    lm = ScriptedLM(logprob=given)
    asked = toy.task(train=2, dev=4, test=4, labels=("a", "b c d", "e-f"), label_score=how)
    run = localprompt.optimize(replace(asked, seeds=(Prompt("Say it."),)), lm, method="manual")
    assert {outcome["prediction"] for outcome in run.outcomes} == {wanted}
    done = localprompt.export(run.run_id, "llama-server", out=tmp_path, model=lm)
    assert "ask.py compares likelihoods as the run did" in done.notes[-1]
    nats = {ids[0]: WORDS[word] for word, ids in zip(WORDS, lm.tokenize(list(WORDS)), strict=True)}

    def server(url: str, body: dict[str, Any]) -> dict[str, Any]:
        if url.endswith("/tokenize"):
            return {"tokens": lm.tokenize([body["content"]])[0]}
        forced = [int(token) for token in re.findall(r"<\[(\d+)\]>", body["grammar"])]
        assert len(forced) == body["n_predict"]
        return {"completion_probabilities": [{"id": token, "logprob": nats[token]} for token in forced]}

    program = runpy.run_path(str(tmp_path / "ask.py"))
    program["ask"].__globals__["post"] = server
    assert program["ask"]("", {"input": "alpha1"}) == wanted
    program["ask"].__globals__["post"] = lambda url, body: {"tokens": []}
    with pytest.raises(SystemExit, match="gives no log-probabilities of tokens"):
        program["ask"]("", {"input": "alpha1"})


@pytest.mark.parametrize(
    ("labels", "wanted", "compared"),
    [
        (("up there", "down now"), "up there", None),
        (("up now", "up there", "down there now"), "down there now", [" up now", " up there", " down"]),
    ],
    ids=["one token tells each apart", "two are needed"],
)
def test_what_is_compared_of_labels_goes_along(
    tmp_path: Path, labels: tuple[str, ...], wanted: str, compared: Any
) -> None:
    lm = ScriptedLM(logprob=lambda context, continuation: -float(len(continuation)))
    asked = toy.task(train=2, dev=4, test=4, labels=labels, label_score="prefix")
    run = localprompt.optimize(replace(asked, seeds=(Prompt("Say it."),)), lm, method="manual")
    assert {outcome["prediction"] for outcome in run.outcomes} == {wanted}
    done = localprompt.export(run.run_id, "llama-server", out=tmp_path, model=lm)
    made = json.loads((tmp_path / "prompt.json").read_text(encoding="utf-8"))
    assert [each["tokens"] for each in made["likelihoods"]] == (lm.tokenize(compared) if compared else [])
    whole = lm.tokenize([f" {label}" for label in labels])
    rules = (" ".join(f"<[{token}]>" for token in tokens) for tokens in whole)
    assert made["llama_cpp"]["grammar"] == f"root ::= {' | '.join(rules)}\n"
    assert ("one token tells each label apart" in " ".join(done.notes)) is (compared is None)


def test_a_store_without_the_answers_knows_no_priors(tmp_path: Path) -> None:
    run, _ = calibrated("even", "odd")
    with Store() as store, Store(tmp_path / "other.db") as empty:
        found = find(store, run, "dev")
        assert len(found.label_priors) == 2
        asked = (found.task, found.prompt, found.rows[0])
        assert label_priors(empty, run, found.config, asked) == ()


def test_a_server_that_does_not_answer_is_a_sentence(tmp_path: Path) -> None:
    exported("llama-server", task(), tmp_path)
    given = [sys.executable, str(tmp_path / "ask.py"), "--server", "http://127.0.0.1:1", "input=x"]
    ended = subprocess.run(given, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("http://127.0.0.1:1/tokenize does not answer")
    assert "start llama-server" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("begun", "kept"), [("A:", "A:"), ("A {{input}}:", ""), ("", "")])
def test_the_beginning_of_the_answer_goes_along_to_be_cut_from_replies(tmp_path: Path, begun: str, kept: str) -> None:
    files = exported("openai", task(layout=replace(CHAT, opening=begun)), tmp_path)
    assert json.loads(files["prompt.json"])["opening"] == kept
