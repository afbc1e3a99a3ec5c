"""The LM evaluation harness on models of localprompt, with the package by name: its numbers are the engine's own."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters_outside import INSIDE, MODEL, model, rows
from outside_programs import HERE, PYTHON, QUIET, called

from localprompt.lm.local import LocalModel
from localprompt.types import Message, Sampling

NOISE = 0.3
"""Nats by which a score moves with the batch, as tests/real measures it: the root of the mean square."""
TASK: dict[str, Any] = {"dataset_path": "json", "test_split": "test", "metadata": {"version": 1}}


@pytest.fixture
def lm() -> Iterator[LocalModel]:
    yield from model(n_ctx=1024)  # a fresh one: beginnings that earlier calls leave would change the batches


def write(folder: Path, name: str, documents: list[dict[str, str]], **task: object) -> None:
    lines = "".join(json.dumps(each) + "\n" for each in documents)
    (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    files = {"data_files": {"test": str(folder / f"{name}.jsonl")}}
    # JSON is YAML.
    (folder / f"{name}.yaml").write_text(json.dumps({"task": name, "dataset_kwargs": files, **TASK, **task}))


def evaluated(folder: Path, name: str, *more: str) -> tuple[list[dict[str, Any]], dict[str, float]]:
    found = called(PYTHON, HERE / "run_lm_eval_adapter.py", folder, name, MODEL, *more, folder=folder, **INSIDE)
    return found[:-1], found[-1]


LABELS = ["billing", "shipping", "returns", "technical", "account"]
CHOOSING = {
    "output_type": "multiple_choice",
    "doc_to_text": "Message: {{message}}\nTeam:",
    "doc_to_choice": LABELS,
    "doc_to_target": "team",
    "metric_list": [{"metric": "acc"}],
}


@pytest.mark.parametrize("how", ["plain", "chat"])
def test_choices_have_the_likelihoods_of_the_engine_in_one_call(lm: LocalModel, how: str, tmp_path: Path) -> None:
    documents = rows("support-routing/data.jsonl")
    write(tmp_path, "choosing", documents, **CHOOSING)
    found, scores = evaluated(tmp_path, "choosing", *(["chat"] if how == "chat" else []))
    texts = [f"Message: {each['message']}\nTeam:" for each in documents]
    contexts = [lm.chat([Message("user", text)]) if how == "chat" else text for text in texts]
    gap = "" if how == "chat" else " "
    before = lm.stats
    native = lm.loglikelihood([(context, gap + label) for context in contexts for label in LABELS])
    nats = [float(answer[0][0]) for each in found for answer in each["answers"]]
    assert nats == pytest.approx([each.logprob for each in native], abs=1e-4)
    best = [max(range(5), key=lambda n: native[5 * i + n].logprob) for i in range(len(documents))]
    right = sum(LABELS[n] == each["team"] for n, each in zip(best, documents, strict=True))
    assert scores["acc,none"] == pytest.approx(right / len(documents))
    assert scores["decoded"] == lm.stats.tokens_decoded - before.tokens_decoded < scores["requested"]


def test_choices_have_the_likelihoods_of_one_request_at_a_time_within_the_noise(lm: LocalModel, tmp_path: Path) -> None:
    documents = rows("support-routing/data.jsonl")[:10]
    write(tmp_path, "choosing", documents, **CHOOSING)
    found, _ = evaluated(tmp_path, "choosing")
    pairs = [(f"Message: {each['message']}\nTeam:", f" {label}") for each in documents for label in LABELS]
    alone = [lm.loglikelihood([pair])[0].logprob for pair in pairs]
    nats = [float(answer[0][0]) for each in found for answer in each["answers"]]
    differences = [a - b for a, b in zip(nats, alone, strict=True)]
    assert math.sqrt(sum(each**2 for each in differences) / len(differences)) < NOISE
    assert max(map(abs, differences)) < 3 * NOISE


def test_completions_are_those_of_the_engine(lm: LocalModel, tmp_path: Path) -> None:
    documents = rows("amount-due/data.jsonl")
    drawing = {"until": ["\n"], "max_gen_toks": 8, "do_sample": False}
    how = {"output_type": "generate_until", "doc_to_text": "{{message}}\nDue:"}
    write(tmp_path, "writing", documents, **how, doc_to_target="amount", generation_kwargs=drawing)
    found, _ = evaluated(tmp_path, "writing")
    prompts = [f"{each['message']}\nDue:" for each in documents]
    native = lm.generate(prompts, Sampling(8, stop=("\n",)), [0] * len(prompts))
    assert [each["answers"][0][0] for each in found] == [each.text for each in native]


def test_a_text_longer_than_the_context_is_read_in_pieces_and_none_of_it_twice(lm: LocalModel, tmp_path: Path) -> None:
    long = " ".join(each["message"] for each in rows("support-routing/data.jsonl")) * 2
    documents = [{"text": "A short text."}, {"text": long}]
    how = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"}
    write(tmp_path, "reading", documents, **how, metric_list=[{"metric": "word_perplexity"}])
    found, _ = evaluated(tmp_path, "reading")
    short, of_long = (float(each["answers"][0][0]) for each in found)
    assert short == pytest.approx(lm.loglikelihood([("", "A short text.")])[0].logprob, abs=NOISE)
    assert lm.count_tokens([long])[0] > lm.facts.n_ctx
    whole = lm.count_tokens([long])[0]
    assert -8 * whole < of_long < -1 * whole


def test_the_command_line_of_the_harness_runs_a_model_by_name(tmp_path: Path) -> None:
    write(tmp_path, "choosing", rows("support-routing/data.jsonl")[:5], **CHOOSING)
    code = "import inside; from localprompt.cli.main import main; main()"
    given = f"model={MODEL},n_ctx=1024,n_threads=1"
    command = ["lm-eval", "run", "--model", "localprompt", "--model_args", given, "--tasks", "choosing"]
    run = subprocess.run(
        [str(PYTHON), "-c", code, *command, "--include_path", str(tmp_path), "--output_path", str(tmp_path / "out")],
        env={**os.environ, **QUIET, **INSIDE, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    (file,) = (tmp_path / "out").rglob("results*.json")
    written = json.loads(file.read_text())
    assert written["config"]["model_name"] == MODEL
    assert written["n-samples"]["choosing"]["effective"] == 5
