from __future__ import annotations

import copy
import json
import os
import pickle  # noqa: TID251 - users send tasks to other processes
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import toy

from localprompt.errors import TaskError
from localprompt.run.spec import loaded_task
from localprompt.tasks import Task, load_task
from localprompt.tasks.answers import find_answer
from localprompt.tasks.check import find_doubts
from localprompt.tasks.fingerprint import function_hash
from localprompt.tasks.metrics import METRICS, Metric, exact_match
from localprompt.tasks.schema import DataSection, LayoutSection, TaskFile, read_task_file
from localprompt.tasks.stored import from_plain, to_plain
from localprompt.types import Demo, Example, Prompt, Sampling

ROWS = "".join(f'{{"input": "i{n}", "target": "{"ab"[n % 2]}"}}\n' for n in range(20))
EXAMPLES = Path(__file__).parents[2] / "examples"


def _load(folder: Path, text: str, rows: str = ROWS, *, allow_code: bool = False) -> Task:
    (folder / "rows.jsonl").write_text(rows)
    (folder / "task.yaml").write_text(text)
    return load_task(folder / "task.yaml", allow_code=allow_code)


def _refused(folder: Path, text: str, rows: str = ROWS) -> tuple[str, str]:
    with pytest.raises(TaskError) as caught:
        _load(folder, text, rows)
    return caught.value.message.replace(f"{folder}{os.sep}", ""), caught.value.hint


def test_the_shortest_task_file_has_defaults_for_everything_else(tmp_path: Path) -> None:
    task = _load(tmp_path, "data: {file: rows.jsonl}")
    assert (len(task.train), len(task.dev), len(task.test)) == (4, 8, 8)
    assert task.seeds == (Prompt(""),)
    assert task.sampling == Sampling(max_tokens=32, stop=("\n",))
    assert (task.inputs, task.labels, task.label_score) == (("input",), (), "sum")
    assert task.layout.render(task.seeds[0], {"input": "x"}).text == "Input: x\nOutput:"
    assert task.answer(" b\nc") == "b"
    assert task.metric("B!", ("b",)) == 1.0
    assert task.name == tmp_path.name


def test_every_key_is_heard(tmp_path: Path) -> None:
    task = _load(
        tmp_path,
        """
        name: letters
        description: " the letter "
        data:
          file: rows.jsonl
          fields: {word: input, target: target}
          split: {train: 2, dev: 0.25, test: 3}
        layout:
          mode: chat
          system: "{{instruction}}"
          template: "{{demos}}Word: {{word}}"
          demo: "{{word}} -> {{output}}; "
          opening: "It is"
        answer: {after_marker: "#"}
        metric: contains
        max_tokens: 16
        stop: ["!", "\\n\\n"]
        seed: 5
        prompts:
          - Name the letter.
          - instruction: Which letter?
            demos: [{word: i0, output: a}]
        """,
    )
    assert (task.name, task.description) == ("letters", "the letter")
    assert (len(task.train), len(task.dev), len(task.test)) == (2, 5, 3)
    assert task.seeds == (Prompt("Name the letter."), Prompt("Which letter?", (Demo({"word": "i0"}, "a"),)))
    assert task.sampling == Sampling(max_tokens=16, stop=("!", "\n\n"))
    rendering = task.layout.render(task.seeds[1], task.dev[0].inputs)
    assert [message.role for message in rendering.messages] == ["system", "user"]
    assert rendering.messages[1].content.startswith("i0 -> a; Word: i")
    assert (rendering.opening, task.layout.separator) == ("It is", " ")
    assert task.answer("x # b\ny") == "b"


def test_every_scalar_is_text_as_it_is_written(tmp_path: Path) -> None:
    rows = '{"input": "x", "target": "yes"}\n{"input": "y", "target": 1.0}\n{"input": "z", "target": "no"}\n'
    task = _load(tmp_path, "data: {file: rows.jsonl, split: {train: 1, dev: 1, test: 1}}\nlabels: [yes, no, 1.0]", rows)
    assert task.labels == ("yes", "no", "1.0")


def test_labels_are_compared_to_the_letter(tmp_path: Path) -> None:
    rows = ROWS.replace('"a"', '"C"').replace('"b"', '"C++"')
    task = _load(tmp_path, "data: {file: rows.jsonl}\nlabels: [C, C++]\nlabel_score: byte", rows)
    assert task.metric("C", ("C++",)) == 0.0
    assert task.label_score == "byte"
    assert task.sampling.stop == ()


@pytest.mark.parametrize(
    ("labels", "compared"),
    [
        (("atm support", "cancel transfer"), ("atm", "cancel")),
        (("card arrival", "card not working", "pin blocked"), ("card arrival", "card not", "pin")),
        (("transfer", "transfer fee"), ("transfer", "transfer fee")),
        (("pin", "pinned tweet", "pine tree"), ("pin", "pinned", "pine")),
        (("card_arrival", "card_lost-again", "top-up"), ("card_arrival", "card_lost", "top")),
        (("(1) yes", "(2) no", "C++", "C"), ("(1", "(2", "C++", "C")),
        (("very positive", "very positive"), ("very", "very")),
        (("à vendre", "à louer", "支払い方法", "支払い期限"), ("à vendre", "à louer", "支払い方法", "支払い期限")),
    ],
)
def test_of_labels_as_little_is_compared_as_tells_them_apart(
    labels: tuple[str, ...], compared: tuple[str, ...]
) -> None:
    task = toy.task(labels=labels, label_score="prefix")
    assert task.compared == compared
    assert replace(task, label_score="sum").compared == labels


def test_labels_and_targets_are_one_whether_they_are_composed_or_not(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for label, target in ((composed, decomposed), (decomposed, composed)):
        task = _load(
            tmp_path,
            f"data: {{file: rows.jsonl}}\nlabels: [{label}, b]\nprompts: [demos: [{{input: x, output: {decomposed}}}]]",
            ROWS.replace('"a"', f'"{target}"').replace("i0", decomposed),
        )
        assert task.labels == (composed, "b")
        assert {example.targets for example in task.dev} == {(composed,), ("b",)}
        assert task.seeds[0].demos[0].output == composed
        assert any(example.inputs == {"input": decomposed} for example in (*task.train, *task.dev, *task.test))
    found, _ = _refused(tmp_path, f"data: {{file: rows.jsonl}}\nlabels: [{composed}, {decomposed}]")
    assert "key 'labels[2]': 'caf\u00e9' is given twice" in found


@pytest.mark.parametrize(
    ("label", "apart"),
    [
        ("New York", r"'New\u00a0York' is not 'New York'"),
        ("\u039dew\u00a0York", r"'New\u00a0York' is not '\u039dew\u00a0York'"),
        ("New\u00a0York\u200b", r"'New\u00a0York' is not 'New\u00a0York\u200b'"),
    ],
)
def test_a_target_that_only_looks_like_a_label_is_shown_where_it_differs(
    tmp_path: Path, label: str, apart: str
) -> None:
    rows = ROWS.replace('"a"', '"New\u00a0York"')
    found, hint = _refused(tmp_path, f"data: {{file: rows.jsonl}}\nlabels: ['{label}', b]", rows)
    assert "line 1: the target " in found
    assert hint.replace("\u00a0", r"\u00a0").endswith(f"They look the same, but {apart}")


def test_a_key_that_only_looks_right_is_shown_where_it_differs(tmp_path: Path) -> None:
    _, hint = _refused(tmp_path, "data: {file: rows.jsonl}\nlabels\u00ad: [a, b]")
    assert hint == r"did you mean 'labels'? They look the same, but 'labels\u00ad' is not 'labels'"


def test_what_is_doubtful_about_a_file_is_told_of_the_task(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.csv").write_text("input,target\na,x\nb,y\n")
    (tmp_path / "test.csv").write_text('input,target\n"c\nd",x\n')
    task = _load(tmp_path, "data: {train: train.csv, dev: dev.csv, test: test.csv}")
    doubt = "test.csv: 1 rows take 2 lines, since quoted fields continue from line 2 to 3: see that each is one text"
    assert task.doubts == (doubt,)
    assert find_doubts(task)[0] == doubt


@pytest.mark.parametrize(
    ("text", "template", "separator"),
    [
        ("  template: |\n    {{instruction}}\n    Q: {{input}}\n    A:\n", "{{instruction}}\nQ: {{input}}\nA:", " "),
        ('  template: "{{instruction}}\\nQ: {{input}}\\nA:\\n\\n"', "{{instruction}}\nQ: {{input}}\nA:\n", ""),
        ('  template: "{{instruction}} {{input}}="\n  separator: ""', "{{instruction}} {{input}}=", ""),
        ('  mode: chat\n  template: "{{instruction}} {{input}}"', "{{instruction}} {{input}}", ""),
    ],
)
def test_the_separator_follows_from_how_the_prompt_ends(
    tmp_path: Path, text: str, template: str, separator: str
) -> None:
    layout = _load(tmp_path, f"data: {{file: rows.jsonl}}\nlayout:\n{text}").layout
    assert (layout.template, layout.separator) == (template, separator)


@pytest.mark.parametrize(
    ("keys", "stop"),
    [
        ("", ("\n",)),
        ("answer: last_number", ("\nInput:",)),
        ("layout: chat", ()),
        ("answer: whole\nlayout: {template: '{{instruction}}{{demos}}{{input}}='}", ()),
        ("answer: whole\nstop: ['###']", ("###",)),
    ],
)
def test_a_raw_answer_stops_before_the_next_example_that_the_model_makes_up(
    tmp_path: Path, keys: str, stop: tuple[str, ...]
) -> None:
    assert _load(tmp_path, f"data: {{file: rows.jsonl}}\n{keys}").sampling.stop == stop


def test_three_files_are_three_splits_and_sizes_take_a_sample(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.csv").write_text("input,target\n" + "".join(f"{name}{n},x\n" for n in range(10)))
    text = "data: {train: train.csv, dev: dev.csv, test: test.csv%s}"
    task = _load(tmp_path, text % "")
    assert [example.id for example in task.dev] == [f"dev:{line}" for line in range(2, 12)]
    assert task.test[3].inputs == {"input": "test3"}
    task = _load(tmp_path, text % ", split: {train: 3, dev: 0.5, test: 10}")
    assert (len(task.train), len(task.dev), len(task.test)) == (3, 5, 10)


def test_the_parts_of_a_data_set_are_splits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Table(list[dict[str, object]]):
        features: ClassVar[dict[str, object]] = {}

    module = ModuleType("datasets")
    module.load_dataset = lambda name, config, split, revision: Table(  # type: ignore[attr-defined]
        [{"input": f"{name} {config} {split} {revision}", "target": 4.5}]
    )
    monkeypatch.setitem(sys.modules, "datasets", module)
    task = _load(tmp_path, "data: {dataset: d, config: c, revision: r, train: a, dev: b, test: c}")
    assert task.dev == (Example("dev:1", {"input": "d c b r"}, ("4.5",)),)


UNKNOWN = [
    ("data: {file: rows.jsonl}\nmetrc: equals", "task.yaml, line 2: key 'metrc' is unknown", "'metric'"),
    ("dta: {file: rows.jsonl}", "task.yaml, line 1: key 'dta' is unknown", "'data'"),
    ("data:\n  fil: rows.jsonl", "task.yaml, line 2: key 'data.fil' is unknown", "'file'"),
    ("data: {file: rows.jsonl, split: {trian: 1}}", "line 1: key 'data.split.trian' is unknown", "'train'"),
    ("data: {file: rows.jsonl}\nlayout: {tmplate: x}", "line 2: key 'layout.tmplate' is unknown", "'template'"),
    ("data: {file: rows.jsonl}\nprompts: [{demo: []}]", "key 'prompts[1].demo' is unknown", "'demos'"),
    (
        "data: {file: rows.jsonl}\nprompts:\n- Answer: a or b",
        "key 'prompts[1].Answer' is unknown",
        "holds ': ' or '#', needs quotes",
    ),
    ("data: rows.jsonl", "key 'data' must be a mapping, such as {file: rows.jsonl}", ""),
    ("data: {file: rows.jsonl}\nlayout: chta", "key 'layout.mode' must be 'raw' or 'chat'", "'chat'"),
    ("data: {file: rows.jsonl}\nlabels: [a, b]\nlabel_score: bite", "key 'label_score' must be", "'byte'"),
    ("data: {file: rows.jsonl}\nmetric: equal", "line 2: key 'metric': unknown metric 'equal'", "'equals'"),
    ("data: {file: rows.jsonl}\nanswer: firstline", "key 'answer': unknown answer extraction", "'first_line'"),
    ("data: {file: rows.jsonl, fields: {input: inptu}}", "rows.jsonl, line 1: no 'inptu' (did you mean 'input'?)", ""),
    (
        "data: {file: rows.jsonl, fields: {word: input}}\nlayout: {template: '{{instruction}}{{wrd}}'}",
        "line 2: key 'layout.template': unknown slot {{wrd}}",
        "'word'",
    ),
    (
        "data: {file: rows.jsonl}\nprompts: [{demos: [{inptu: a, output: b}]}]",
        "key 'prompts[1].demos[1]': unknown slot 'inptu'",
        "'input'",
    ),
    (
        "data: {file: rows.jsonl}\nlabels: [a, b, billing]\nprompts: [{demos: [{input: x, output: biling}]}]",
        "line 3: key 'prompts[1].demos[1]': 'biling' is not among the labels",
        "'billing'",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), UNKNOWN)
def test_an_unknown_name_is_named_with_its_line_and_the_nearest_known_one(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    found = _refused(tmp_path, text)
    assert message in found[0]
    assert hint in found[1]


@pytest.mark.parametrize("name", ["rows.csv", "rows.TSV", "rows.jsonl"])
def test_a_file_of_rows_in_the_place_of_a_task_file_is_named_with_the_line_that_a_task_file_needs(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("input,target\nsay: no,b\n", encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        load_task(tmp_path / name)
    assert f"{name}: a file of rows" in caught.value.message
    assert f"data: {{file: {name}, fields: {{input: COLUMN, target: COLUMN}}}}" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a task file is a YAML mapping"),
        ("- a", "a task file is a YAML mapping"),
        ("name: x", "the key 'data' is missing"),
        ("a: b: c", "line 1: not valid YAML"),
        ("name: '\nx: y", "not valid YAML"),
        ("data: {file: rows.jsonl}\n---\nname: x", "not valid YAML"),
        ("data: {file: rows.jsonl, file: x.csv}", "key 'data.file' is given twice"),
        ("? [a]\n: b", "a key must be a word"),
        ('data: {file: rows.jsonl}\ndescription: "\\ud800"', "line 2: a character that is no text"),
        ("data: 3", "key 'data' must be a mapping"),
        ("data: {}", "needs either file, or all of train, dev and test"),
        ("data: {file: rows.jsonl, dev: rows.jsonl}", "needs either file, or all"),
        ("data: {train: rows.jsonl, dev: rows.jsonl}", "needs either file, or all"),
        ("data: {train: a.csv, dev: b.csv, test: b.csv}", "the same rows in two splits"),
        ("data: {file: rows.jsonl, split: {train: 1, dev: 1}}", "the key 'data.split.test' is missing"),
        ("data: {file: rows.jsonl, split: {train: 1, dev: 1, test: none}}", "key 'data.split.test' must be a number"),
        ("data: {file: rows.jsonl, split: {train: 1, dev: 1, test: 0}}", "must be greater than 0"),
        (
            "data:\n  file: rows.jsonl\n  split: {train: 1, dev: 1.5, test: 0.5}",
            "line 3: key 'data.split.dev' must be a whole number of rows or a fraction below 1, not 1.5",
        ),
        ("data: {file: rows.jsonl, split: {train: 1, dev: 1, test: 1.0}}", "'data.split.test' must be a whole number"),
        ("data: {file: rows.jsonl, split: {train: 15e-1, dev: 1, test: 1}}", "'data.split.train' must be a whole"),
        (
            "data: {file: rows.jsonl, split: {train: 8, dev: 8, test: 8}}",
            "line 1: key 'data.split': the split asks for",
        ),
        ("data: {file: rows.jsonl, config: x}", "key 'data.config' needs `dataset`"),
        ("data: {file: rows.jsonl, fields: {output: input}}", "'output' cannot be the name of an input"),
        ("data: {file: rows.jsonl, fields: {my input: input}}", "'my input' cannot be the name of an input"),
        (
            "data: {file: rows.jsonl}\nlayout: {template: '{{instruction}}{{input}} {{target}}'}",
            "key 'layout.template': 'target' cannot be the name of an input",
        ),
        (
            "data: {file: rows.jsonl, fields: {question: input, answer: target}}",
            "key 'data.fields': the input 'answer' is the column of the right answers",
        ),
        (
            "data: {file: rows.jsonl, fields: {question: input, input: input, target: input}}",
            "key 'data.fields': the input 'question' is the column of the right answers",
        ),
        ("data: {file: rows.jsonl}\nname: ../x", "key 'name' must be letters"),
        ("data: {file: rows.jsonl}\nlabels: a", "key 'labels' must be a list"),
        ("data: {file: rows.jsonl}\nlabels: [a]", "has 1: a choice needs two"),
        ("data: {file: rows.jsonl}\nlabels: [a, ' a']", "key 'labels[2]': 'a' is given twice"),
        ("data: {file: rows.jsonl}\nlabels: [a, '']", "key 'labels[2]' is empty"),
        ("data: {file: rows.jsonl}\nlabels: [a, c]", "rows.jsonl, line 2: the target 'b' is not among the labels"),
        ("data: {file: rows.jsonl}\nlabels: [a, b]\nanswer: whole", "line 3: key 'answer' has no effect"),
        ("data: {file: rows.jsonl}\nlabels: [a, b]\nmax_tokens: 3", "key 'max_tokens' has no effect"),
        ("data: {file: rows.jsonl}\nlabel_score: sum", "key 'label_score' has no effect without labels"),
        ("data: {file: rows.jsonl}\nmax_tokens: 0", "key 'max_tokens' must be greater than or equal to 1"),
        ("data: {file: rows.jsonl}\nmax_tokens: many", "key 'max_tokens' must be a whole number"),
        (f"data: {{file: rows.jsonl}}\nseed: {'9' * 5000}", "key 'seed' is too large a number"),
        ("data: {file: rows.jsonl}\nstop: ['']", "key 'stop[1]' must not be empty"),
        ("data: {file: rows.jsonl}\nprompts: Do it.", "key 'prompts' must be a list"),
        ("data: {file: rows.jsonl}\nprompts: []", "key 'prompts' must not be empty"),
        ("data: {file: rows.jsonl}\nprompts: [{demos: [{input: a}]}]", "'output' is missing"),
        ("data: {file: rows.jsonl}\nanswer: {regex: '('}", "key 'answer': the pattern '(' is not"),
        ("data: {file: rows.jsonl}\nanswer: {regex: (a), whole: ''}", "key 'answer' must name one of them"),
        ("data: {file: rows.jsonl}\nmetric: a:b", "key 'metric': the metric 'a:b' is code"),
        ("data: {file: rows.jsonl}\nmetric: numeric", "line 1: the target 'a' does not match itself under numeric"),
        ("data: {file: rows.jsonl}\nlayout: {opening: x}", "key 'layout.opening' needs `mode: chat`"),
        (
            "data: {file: rows.jsonl}\nlayout: {mode: chat, opening: '{\"total\":'}\nanswer: {json_field: total}",
            "key 'layout.opening' begins the JSON object, so no completion holds 'total' in one",
        ),
        (
            "data: {file: rows.jsonl}\nlayout: {template: '{{instruction}}{{input}} {'}\nanswer: {json_field: total}",
            "key 'layout.template' begins the JSON object",
        ),
        ("data: {file: rows.jsonl}\nlayout: {template: '{{input}}'}", "has no {{instruction}} slot"),
        ("data: {file: rows.jsonl}\nlayout: {template: '{{instruction}}'}", "has no slot for an input"),
        ("data: {file: rows.jsonl}\nlayout: {demo: '{{input}}'}", "key 'layout.demo' has no {{output}} slot"),
        (
            "data: {file: rows.jsonl, fields: {a: input, b: input}}\nlayout: {template: '{{instruction}}{{a}}'}",
            "key 'layout.template' does not show the input 'b'",
        ),
        (
            "data: {file: rows.jsonl}\nlayout: {template: '{{instruction}}{{input}}'}\nprompts: [demos: [{}]]",
            "line 3: key 'prompts[1]' has demos but the template no slot",
        ),
    ],
)
def test_an_impossible_task_file_is_refused_in_one_sentence_with_a_hint(
    tmp_path: Path, text: str, message: str
) -> None:
    found, hint = _refused(tmp_path, text)
    assert message in found
    assert "\n" not in found
    assert hint


@pytest.mark.parametrize(
    "value", ["{{instruction}} {{input}}", "{{instruction}}", "{input}", "[{{input}}]", '"{{instruction}}" {{input}}']
)
def test_braces_without_quotes_are_said_to_need_them(tmp_path: Path, value: str) -> None:
    found, hint = _refused(tmp_path, f"data: {{file: rows.jsonl}}\nlayout:\n  mode: chat\n  template: {value}\n")
    assert "line 4: " in found
    assert hint.startswith("text that begins with '{'")
    assert '"{{instruction}} {{input}}"' in hint


def test_a_file_that_would_unfold_or_nest_without_end_is_refused(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{name}: &{name} [*{old}, *{old}]\n" for old, name in zip("abcdef", "bcdefg", strict=True)
    )
    assert "anchors and aliases" in _refused(tmp_path, bomb)[0]
    assert "nested more than" in _refused(tmp_path, "a: " + "[" * 5000)[0]
    assert "longer than 256 KiB" in _refused(tmp_path, "description: " + "x" * 300_000)[0]


def test_a_tag_constructs_nothing(tmp_path: Path) -> None:
    task = _load(tmp_path, "data: {file: rows.jsonl}\ndescription: !!python/object/apply:os.getcwd x")
    assert task.description == "x"


def test_a_task_file_that_is_missing_or_not_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"absent\.yaml: cannot be read"):
        load_task(tmp_path / "absent.yaml")
    (tmp_path / "task.yaml").write_bytes(b"name: a\ndescription: \xff\n")
    with pytest.raises(TaskError, match=r"task.yaml, line 2: not UTF-8"):
        load_task(tmp_path / "task.yaml")


FINGERPRINTED = "data: {file: rows.jsonl}\nmax_tokens: 8\n"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (FINGERPRINTED + "seed: 1", ROWS),
        (FINGERPRINTED + "metric: equals", ROWS),
        (FINGERPRINTED + "answer: whole", ROWS),
        (FINGERPRINTED + "layout: chat", ROWS),
        (FINGERPRINTED.replace("8", "9"), ROWS),
        (FINGERPRINTED, ROWS.replace("i7", "i8")),
        ("data: {file: rows.jsonl}\nlabels: [a, b]", ROWS),
    ],
)
def test_the_fingerprint_changes_with_whatever_changes_scores(tmp_path: Path, text: str, rows: str) -> None:
    assert _load(tmp_path, FINGERPRINTED).fingerprint != _load(tmp_path, text, rows).fingerprint


@pytest.mark.parametrize(
    ("keys", "known"),
    [
        ("", "2a84fe215d34a80920a03f3a5ed0957fc96f11a49960f1dbaf087a00c94863ab"),
        ("labels: [a, b]\nlabel_score: token", "7ebd35ed2155e490002f2dc323f89ac3ae9d45f85bebbf60890d1c90f9a3e8c6"),
        (
            "answer: {regex: '(a|b)'}\nmetric: equals\nlayout: chat",
            "13d724fc07869818e37eb7ea15c2c1f59243bc4ba86f3d139616a993cd873fb7",
        ),
        (
            "metric: score:f\nstop: [x]\nmax_tokens: 5",
            "78e6c1a496e87c7ea0308d01d1ff95fdd21cc53dc6c2d99caa2d024768f2146c",
        ),
    ],
)
def test_the_fingerprint_is_the_one_that_earlier_versions_gave(tmp_path: Path, keys: str, known: str) -> None:
    (tmp_path / "score.py").write_bytes(b"def f(p, t): return 0.5\n")
    assert _load(tmp_path, f"data: {{file: rows.jsonl}}\n{keys}", allow_code=True).fingerprint == known


def _judge(threshold: float) -> Metric:
    if threshold > 1:
        return lambda prediction, targets: 1.0
    return lambda prediction, targets: 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"layout": toy.task().layout.placed("Q_end")},
        {"labels": ("omega1", "omega2")},
        {"label_score": "token"},
        {"sampling": Sampling(max_tokens=9)},
        {"answer": find_answer("whole")},
        {"answer": find_answer("regex", "(o)")},
        {"answer": str.strip},
        {"metric": METRICS["equals"]},
        {"metric": _judge(0)},
        {"train": ()},
        {"test": toy.task().test[1:]},
    ],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize("given", ["", "mine"])
def test_a_task_with_something_replaced_that_changes_scores_is_another_task(
    given: str, changes: dict[str, Any]
) -> None:
    task = replace(toy.task(), fingerprint=given)
    changed = replace(task, **changes)
    assert changed.fingerprint not in (task.fingerprint, toy.task().fingerprint)
    back = replace(changed, **{name: getattr(task, name) for name in changes})
    assert back.fingerprint == toy.task().fingerprint
    assert replace(task, **changes, fingerprint="other").fingerprint == "other"


def test_a_fingerprint_that_is_given_stays_with_the_task() -> None:
    task = replace(toy.task(), fingerprint="mine")
    for same in (
        replace(task, name="x", description="y", seeds=(Prompt("z"),), doubts=("d",)),
        copy.deepcopy(task),
        pickle.loads(pickle.dumps(task)),
        from_plain(json.loads(json.dumps(to_plain(task)))),
        loaded_task(task, allow_code=False),
    ):
        assert same.fingerprint == "mine"


def _at_least(score: Any, prediction: str, targets: tuple[str, ...]) -> float:
    return float(exact_match(prediction, targets) >= score)


def test_an_empty_label_is_refused_in_python_too() -> None:
    with pytest.raises(TaskError, match="has an empty label"):
        toy.task(labels=("a", ""))


def test_functions_are_told_by_what_they_do_and_guarding_them_changes_nothing() -> None:
    one, two = (replace(toy.task(), metric=_judge(threshold), answer=str.strip) for threshold in (0, 2))
    assert one.fingerprint != two.fingerprint
    assert one.fingerprint == replace(toy.task(), metric=_judge(0), answer=str.strip).fingerprint
    strict, lax, other = (replace(toy.task(), metric=partial(_at_least, each)).fingerprint for each in (1, 0.5, object))
    assert len({one.fingerprint, strict, lax, other}) == 4
    assert strict == replace(toy.task(), metric=partial(_at_least, 1)).fingerprint
    assert function_hash(partial(_at_least, _judge(0))) == function_hash(partial(_at_least, _judge(0))), "no addresses"
    guarded = loaded_task(one, allow_code=False)
    assert loaded_task(guarded, allow_code=False).fingerprint == guarded.fingerprint == one.fingerprint


def test_the_fingerprint_does_not_change_with_names_and_seed_prompts(tmp_path: Path) -> None:
    text = FINGERPRINTED + "name: x\ndescription: y\nprompts: [z]"
    assert _load(tmp_path, FINGERPRINTED).fingerprint == _load(tmp_path, text).fingerprint


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    path = EXAMPLES / "support-routing" / "task.yaml"
    code = f"from localprompt.tasks import load_task; print(load_task({str(path)!r}).fingerprint)"
    env = {**os.environ, "PYTHONHASHSEED": "123"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert run.stdout.strip() == load_task(path).fingerprint


def test_a_metric_of_the_users_is_used_with_permission(tmp_path: Path) -> None:
    (tmp_path / "users_metric.py").write_text("def half(prediction, targets):\n    return 0.5\n")
    task = _load(tmp_path, "data: {file: rows.jsonl}\nmetric: users_metric:half", allow_code=True)
    assert task.metric("x", ("y",)) == 0.5


DOCUMENT = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL))
def test_what_the_document_shows_is_a_valid_task_file(tmp_path: Path, block: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(block if "data:" in block else f"data: {{file: rows.jsonl}}\n{block}")
    assert read_task_file(path).keys.data is not None


def test_the_document_names_every_key_and_metric() -> None:
    sections = (TaskFile, DataSection, LayoutSection)
    names = [name for section in sections for name in section.model_fields] + list(METRICS)
    assert [name for name in names if not re.search(rf"`{name}`|^ *(?:# )?{name}:", DOCUMENT, re.MULTILINE)] == []


@pytest.mark.parametrize("name", ["support-routing", "past-tense", "amount-due"])
def test_a_shipped_example_is_valid_and_large_enough(name: str) -> None:
    task = load_task(EXAMPLES / name / "task.yaml")
    examples = (*task.train, *task.dev, *task.test)
    assert task.name == name
    assert len(examples) >= 150
    assert len(task.train) >= 40
    assert min(len(task.dev), len(task.test)) >= 70
    assert len({json.dumps(dict(example.inputs)) for example in examples}) == len(examples)
    assert max(len(text) for example in examples for text in example.inputs.values()) <= 200
    assert all(task.metric(example.targets[0], example.targets) == 1.0 for example in examples)
