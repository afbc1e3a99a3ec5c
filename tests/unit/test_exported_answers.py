"""What exported programs take for the answer in a reply."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import toy
import yaml

import localprompt
from localprompt.exports.export import Exported
from localprompt.tasks import Task
from localprompt.tasks.answers import find_answer
from localprompt.types import Prompt

SEPARATORS = (" ", "\n", " -> ", "\nTeam (1): ")
REPLIES = ("{}even", "{}even\n", "even")
"""Of a server: with the grammar, with a line break at the end, and of one that has no grammars."""
NODE = pytest.mark.skipif(shutil.which("node") is None, reason="node runs what promptfoo runs")


def exported(to: str, asked: Task, folder: Path) -> Exported:
    run = localprompt.optimize(asked, toy.model(), method="manual").run_id
    return localprompt.export(run, to, out=folder, model=toy.model())


def labelled(separator: str) -> Task:
    asked = toy.task(train=2, dev=4, test=4, labels=("even", "odd"))
    return replace(asked, seeds=(Prompt("x"),), layout=replace(asked.layout, separator=separator))


def stub(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let a program import names of packages that are not here."""

    class Anything(ModuleType):
        Adapter = Module = object

        def __getattr__(self, name: str) -> Any:
            return Anything(name)

        def __call__(self, *_: Any, **__: Any) -> Any:
            return self

    for name in names:
        monkeypatch.setitem(sys.modules, name, Anything(name))


def of_a_program(folder: Path, name: str) -> Callable[[str], str]:
    label: Callable[[str], str] = runpy.run_path(str(folder / name))["label"]
    return label


def of_lm_eval(folder: Path) -> Callable[[str], str]:
    (file,) = (path for path in folder.glob("*.yaml") if not path.stem.endswith("likelihood"))
    pattern = yaml.safe_load(file.read_text(encoding="utf-8"))["filter_list"][0]["filter"][0]["regex_pattern"]
    return lambda reply: str(re.findall(pattern, reply)[0]).strip()


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("llama-server", "ask.py"),
        ("openai", "ask_openai.py"),
        ("dspy", "program.py"),
        ("langchain", "chain.py"),
        ("lm-eval", ""),
    ],
)
def test_a_label_comes_without_what_stands_before_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, to: str, name: str, separator: str
) -> None:
    exported(to, labelled(separator), tmp_path)
    stub(monkeypatch, "openai", "dspy", "langchain_core.output_parsers", "langchain_core.prompts")
    read = of_a_program(tmp_path, name) if name else of_lm_eval(tmp_path)
    assert [read(reply.format(separator)) for reply in REPLIES] == ["even"] * len(REPLIES)


@NODE
@pytest.mark.parametrize("separator", SEPARATORS)
def test_promptfoo_judges_a_label_without_what_stands_before_it(tmp_path: Path, separator: str) -> None:
    exported("promptfoo", labelled(separator), tmp_path)
    test = json.loads((tmp_path / "tests.json").read_text(encoding="utf-8"))[0]
    replies = [reply.format(separator) for reply in REPLIES]
    program = f"""
        const Provider = require('./provider.js'), assert = require('./assert.js');
        (async () => {{
          for (const content of {json.dumps(replies)}) {{
            global.fetch = async () => ({{ ok: true, json: async () => ({{ content }}) }});
            const {{ output }} = await new Provider().callApi('{{"prompt": ""}}');
            console.log(JSON.stringify([output, assert(output, {json.dumps(test)})]));
          }}
        }})();"""
    ended = subprocess.run(["node", "-e", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in ended.stdout.splitlines()] == [["even", True]] * len(replies)


PATTERNS = {
    r"(?i)answer:\s*(\w+)": "ANSWER: five",
    r"(?P<a>\d+)": "x 5",
    r"(?s)\A(.+?)\Z": "fi\nve",
    r"^label: (\w+)$": "label: five\n",
    r"(?im)^label:\s*(\w+)$": "x\nLabel: five\ny",
    r"\b(\p{Lu}\w+)": "say Paris",
    r"costs \$([$\d]+)": "costs $5",
    r"[A]: ([^]\\]+)[\]]": "A: five]",
    r"answer is (\w++)": "answer is five",
    r"is ([[:digit:]]+)": "is 5",
    r"(?|a (\d)|b (\d))": "b 5",
    r"\X: (?>five|(six))": "x: six",
}
"""Patterns for the package regex, and a completion that each takes an answer from."""
NO_JAVASCRIPT = ("++", "[[:", "(?|", "(?>")
NO_RE = ("[[:", "(?|", r"\p", r"\X")


def with_pattern(pattern: str) -> tuple[Task, str]:
    answer = find_answer("regex", pattern)
    target = answer(PATTERNS[pattern])
    assert target
    asked = replace(toy.task(train=2, dev=4, test=4), answer=answer, seeds=(Prompt("x"),))
    return replace(asked, dev=tuple(replace(row, targets=(target,)) for row in asked.dev)), target


@NODE
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_takes_the_same_in_promptfoo_or_that_is_said(tmp_path: Path, pattern: str) -> None:
    asked, _ = with_pattern(pattern)
    done = exported("promptfoo", asked, tmp_path)
    vars_ = json.loads((tmp_path / "tests.json").read_text(encoding="utf-8"))[0]["vars"]
    program = f"console.log(require('./assert.js')({json.dumps(PATTERNS[pattern])}, {json.dumps({'vars': vars_})}))"
    ended = subprocess.run(["node", "-e", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    is_lost = any(each in pattern for each in NO_JAVASCRIPT)
    assert (ended.stdout.strip() == "true") is not is_lost
    assert any("JavaScript has no" in note for note in done.notes) is is_lost


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_takes_the_same_in_lm_eval_or_that_is_said(tmp_path: Path, pattern: str) -> None:
    asked, target = with_pattern(pattern)
    done = exported("lm-eval", asked, tmp_path)
    is_noted = any("otherwise or not at all" in note for note in done.notes)
    # Before Python 3.11 `re` has no possessive quantifiers.
    assert is_noted is any(each in pattern for each in (*NO_RE, *(("++",) if sys.version_info < (3, 11) else ())))
    if not is_noted:
        assert of_lm_eval(tmp_path)(PATTERNS[pattern]) == target


@pytest.mark.parametrize(("to", "name"), [("llama-server", "ask.py"), ("openai", "ask_openai.py")])
def test_rows_may_hold_numbers_which_stay_as_they_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, to: str, name: str
) -> None:
    exported(to, labelled(" "), tmp_path)
    stub(monkeypatch, "openai")
    program = runpy.run_path(str(tmp_path / name))
    read, fill = program["row_of"], program["tokens" if to == "llama-server" else "filled"]
    row = read('{"input": 1.50, "more": true}')
    assert row == {"input": "1.50", "more": "true"}
    if to == "openai":
        assert "1.50" in fill(json.loads((tmp_path / "prompt.json").read_text(encoding="utf-8"))["pieces"], row)


@pytest.mark.parametrize(("to", "name"), [("llama-server", "ask.py"), ("openai", "ask_openai.py")])
def test_a_file_of_rows_may_begin_with_a_byte_order_mark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, to: str, name: str
) -> None:
    exported(to, labelled(" "), tmp_path)
    stub(monkeypatch, "openai")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"input": "one"}\r\n{"input": "two"}\r\n', encoding="utf-8-sig", newline="")
    monkeypatch.setattr(sys, "argv", [name, "--rows", str(rows)])
    main = runpy.run_path(str(tmp_path / name))["main"]
    main.__globals__["ask"] = lambda *given: next(each["input"] for each in given if isinstance(each, dict))
    main()
    assert capsys.readouterr().out == '"one"\n"two"\n'


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"message": "one"}', "rows.jsonl, line 3: no 'input' but 'message': name texts as the inputs of the prompt"),
        ("{}", "rows.jsonl, line 3: no 'input' but nothing"),
        ("input,target", 'rows.jsonl, line 3: not one JSON object, such as {"input": "text"}'),
        ("[1]", "rows.jsonl, line 3: not one JSON object"),
        (None, "rows.jsonl cannot be read"),
    ],
)
def test_a_row_that_cannot_be_asked_about_is_a_sentence_before_any_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, row: str | None, said: str
) -> None:
    rows = tmp_path / "rows.jsonl"
    if row is not None:
        rows.write_text(f'{{"input": "one"}}\n \n{row}\n', encoding="utf-8")
    stub(monkeypatch, "openai")
    for to, name in (("llama-server", "ask.py"), ("openai", "ask_openai.py")):
        exported(to, labelled(" "), tmp_path)
        monkeypatch.setattr(sys, "argv", [name, "--rows", str(rows)])
        main = runpy.run_path(str(tmp_path / name))["main"]
        main.__globals__.update(ask=pytest.fail, APIConnectionError=OSError, APIStatusError=OSError)
        with pytest.raises(SystemExit, match=re.escape(said)):
            main()


@pytest.mark.parametrize(
    ("score", "metrics", "is_noted"),
    [
        ("sum", ["acc"], False),
        ("byte", ["acc", "acc_bytes"], False),
        ("token", ["acc"], True),
        ("batch", ["acc"], True),
    ],
)
def test_the_task_of_likelihoods_says_where_it_compares_otherwise(
    tmp_path: Path, score: Any, metrics: list[str], is_noted: bool
) -> None:
    done = exported("lm-eval", replace(labelled(" "), label_score=score), tmp_path)
    (file,) = tmp_path.glob("*likelihood.yaml")
    made = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert [each["metric"] for each in made["metric_list"]] == metrics
    assert any(f"compares sums of log-probabilities, and the run `{score}`" in note for note in done.notes) is is_noted


def test_a_modelfile_has_room_for_rows_twice_as_long(tmp_path: Path) -> None:
    for n_words, room in ((1, 4096), (2500, 5000)):
        asked = toy.task(train=2, dev=4, test=4)
        asked = replace(asked, seeds=(Prompt("word " * n_words),))
        exported("ollama", asked, tmp_path)
        (found,) = re.findall(r"^PARAMETER num_ctx (\d+)$", (tmp_path / "Modelfile").read_text(encoding="utf-8"), re.M)
        assert room <= int(found) < 2 * room
