"""`--to lm-eval`: tasks of the LM evaluation harness, the rendered prompt of each row in the data. Level 9.

What a row says is never read as a template: the task names columns.
"""

from __future__ import annotations

import json
import re
import warnings
from typing import Any

import yaml

from localprompt.exports.form import Export, label_notes, llama_cpp_options, sampling
from localprompt.exports.rendering import filled
from localprompt.exports.winner import Winner
from localprompt.tasks.metrics import equals, exact_match

_NO_NAME = re.compile(r"[^A-Za-z0-9_]+")
_FILTERS = {
    "first_line": r"^\s*{2}([^\r\n]*)",
    "last_number": r"(-?\d[\d,]*(?:\.\d+)?)(?![\s\S]*\d)",
    "after_marker": r"(?is:.*{0}(?:(?:\*\*|__)(?=\s))?\s*)([^\r\n]*)",
    "json_field": r'{1}\s*:\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,{{}}\[\]"]+))',
}
"""Kind of answer to a pattern that takes it out of a completion; {0} is a marker, {1} the name of a field in JSON,
{2} what stands before a label."""


def lm_eval(winner: Winner) -> Export:
    """Return a task that generates, and for labels in a raw layout another one that compares their likelihoods."""
    name = f"localprompt_{_NO_NAME.sub('_', winner.task.name)}_{winner.found.run_id}"
    rows = [
        {
            "id": row.id,
            "prompt": filled(winner.open.pieces, row.inputs),
            "target": row.targets[0],
            "targets": repr(list(row.targets)),  # a column of texts such as 2024-05-01 would be read as one of times
            "choices": list(winner.task.labels),
        }
        for row in winner.found.rows
    ]
    files = {f"{name}.yaml": _yaml(_generating(winner, name))}
    notes = list(label_notes(winner))
    if winner.task.metric not in (equals, exact_match):
        notes.append("the harness compares texts but for case and punctuation, not by the task's metric: scores differ")
    if winner.open.is_chat:
        notes.append("the prompts hold the chat already: leave out --apply_chat_template")
    if winner.task.labels and winner.open.is_chat:
        why = "its marks stand in the prompts as text, which `--model localprompt` does not read as control tokens"
        notes.append(f"no task that compares likelihoods is written of a chat: {why}")
    elif winner.task.labels:
        choosing = f"{name}_likelihood"
        files[f"{choosing}.yaml"] = _yaml(_choosing(winner, choosing))
        if (score := winner.task.label_score) not in ("sum", "byte"):
            notes.append(f"{choosing} compares sums of log-probabilities, and the run `{score}`: scores may differ")
        if several := sum(len(row.targets) > 1 for row in winner.found.rows):
            notes.append(f"{choosing} counts the first right label of a row alone; rows with several: {several}")
        notes.append(f"{choosing} needs a model that gives log-probabilities of prompts: llama.cpp's server does not")
    model = "model=any,base_url=http://127.0.0.1:8080/v1/completions,tokenizer_backend=None"
    return Export(
        {**files, "rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows)},
        f"in this folder: lm_eval --model local-completions --model_args {model} --tasks {name} --include_path .",
        (*notes, *_pattern_notes(*winner.answer)),
    )


def _pattern_notes(kind: str, pattern: str) -> tuple[str, ...]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a set inside of a set is a literal bracket there
            re.compile(pattern if kind == "regex" else "")
    except (re.error, Warning) as error:
        return (f"the harness reads the pattern of `answer` otherwise or not at all ({error}): change it in the task",)
    return ()


def _common(name: str) -> dict[str, Any]:
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
        "test_split": "test",
        "doc_to_text": "prompt",
        "num_fewshot": 0,
        "metadata": {"version": 1},
    }


def _generating(winner: Winner, name: str) -> dict[str, Any]:
    named = sampling(winner)
    kind, argument = winner.answer
    separator = re.escape(winner.task.layout.separator.strip()) if winner.task.labels else ""
    names = map(re.escape, (argument, json.dumps(argument, ensure_ascii=False)))
    pattern = argument if kind == "regex" else _FILTERS.get(kind, "").format(*names, f"(?:{separator})?\\s*")
    how = {"ignore_case": True, "ignore_punctuation": winner.task.metric is not equals}
    taken = [{"function": "regex", "regex_pattern": pattern, "group_select": 0}] if pattern else []
    return {
        **_common(name),
        "output_type": "generate_until",
        "doc_to_target": "{{targets}}",
        "generation_kwargs": {
            "until": named.get("stop", []),
            "do_sample": False,
            "temperature": named["temperature"],
            "max_gen_toks": named["max_tokens"],
            **llama_cpp_options(winner),
        },
        "filter_list": [
            {"name": "answer", "filter": [*taken, {"function": "remove_whitespace"}, {"function": "take_first"}]}
        ],
        "metric_list": [{**_metric("exact_match"), **how}],
    }


def _choosing(winner: Winner, name: str) -> dict[str, Any]:
    names = ("acc", "acc_bytes") if winner.task.label_score == "byte" else ("acc",)
    return {
        **_common(name),
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "target",
        "target_delimiter": winner.task.layout.separator,
        "metric_list": list(map(_metric, names)),
    }


def _metric(name: str) -> dict[str, Any]:
    return {"metric": name, "aggregation": "mean", "higher_is_better": True}


def _yaml(task: dict[str, Any]) -> str:
    return yaml.safe_dump(task, sort_keys=False, allow_unicode=True, width=100)
