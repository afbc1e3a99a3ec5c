"""promptfoo on a model of localprompt as a Python provider, with the package by name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from adapters_outside import INSIDE, MODEL, QUESTION, check_answers, model, rows
from outside_programs import HERE, PACKAGES, PYTHON, called

from localprompt.types import Message

PROVIDER = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import inside
from localprompt.adapters.promptfoo import call_api, call_classification_api
"""
LABELS = ["billing", "shipping", "returns"]


def test_promptfoo_asks_the_provider_and_gets_the_answers_of_the_engine(node: str, tmp_path: Path) -> None:
    (tmp_path / "provider.py").write_text(PROVIDER, encoding="utf-8")
    engine = {"tune": False, "n_ctx": 1024, "n_threads": 1}
    config = {"model": MODEL, "max_tokens": 4, "engine": engine, "labels": LABELS, "pythonExecutable": str(PYTHON)}
    asked = "my card was charged twice"
    suite = {
        "providers": [{"id": "file://provider.py", "config": config}],
        "prompts": [QUESTION.format("{{message}}")],
        "tests": [{"vars": {"message": each["message"]}} for each in rows("support-routing/data.jsonl")],
        "classified": QUESTION.format(asked),
    }
    (tmp_path / "suite.json").write_text(json.dumps(suite), encoding="utf-8")
    *found, classified = called(node, HERE / "run_promptfoo_adapter.mjs", PACKAGES, tmp_path, folder=tmp_path, **INSIDE)
    assert not [each["error"] for each in found if each["error"]]
    check_answers([each["output"] for each in sorted(found, key=lambda each: int(each["test"]))])
    assert all(each["usage"]["completion"] == 4 for each in found)
    for lm in model(n_ctx=1024):
        prompt = lm.chat([Message("user", QUESTION.format(asked))])
        nats = [each.logprob for each in lm.loglikelihood([(prompt, label) for label in LABELS])]
        weights = [math.exp(each - max(nats)) for each in nats]
        wanted = {label: each / sum(weights) for label, each in zip(LABELS, weights, strict=True)}
        assert classified["classification"] == pytest.approx(wanted, abs=1e-4)
