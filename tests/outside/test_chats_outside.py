"""LangChain and Inspect on models of localprompt, with the packages by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters_outside import INSIDE, MODEL, QUESTION, check_answers, model, rows
from outside_programs import HERE, PYTHON, called

from localprompt.lm.local import LocalModel
from localprompt.types import Message

TEXT, TARGET = "Message: my card was charged twice\nTeam:", " billing"


@pytest.fixture(scope="module")
def lm() -> Iterator[LocalModel]:
    yield from model(n_ctx=1024)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in rows("support-routing/data.jsonl")), encoding="utf-8")
    return file


def test_langchain_batches_and_its_answers_are_those_of_the_engine(data: Path) -> None:
    found = called(PYTHON, HERE / "run_langchain_adapter.py", MODEL, data, folder=data.parent, **INSIDE)
    check_answers(found[0]["answers"])
    assert found[1] == {
        "text": "[system] be brief\n[user] hello\n[assistant] :5",
        "usage": {"input_tokens": 7, "output_tokens": 7, "total_tokens": 14},
        "meta": {"finish_reason": "stop"},
    }
    assert found[2] == {"refused": "a local model does not take tools"}


@pytest.fixture(scope="module")
def inspected(data: Path) -> list[dict[str, Any]]:
    program = HERE / "run_inspect_adapter.py"
    return called(PYTHON, program, MODEL, data, data.parent / "logs", folder=data.parent, **INSIDE)


def test_inspect_asks_and_its_answers_are_those_of_the_engine(inspected: list[Any]) -> None:
    assert inspected[0]["status"] == "success"
    check_answers(inspected[0]["answers"])
    assert inspected[3]["opened"] == 1


def test_inspect_has_the_log_probabilities_of_each_token_that_was_drawn(
    lm: LocalModel, inspected: list[dict[str, Any]]
) -> None:
    told = inspected[1]
    assert told["status"] == "success"
    check_answers(told["answers"])
    texts = [QUESTION.format(each["message"]) for each in rows("support-routing/data.jsonl")]
    pairs = [(lm.chat([Message("user", text)]), answer) for text, answer in zip(texts, told["answers"], strict=True)]
    native = lm.loglikelihood([(context, answer) for context, answer in pairs])
    for answer, known, tokens in zip(told["answers"], native, told["logprobs"], strict=True):
        assert b"".join(bytes(each["bytes"]) for each in tokens).decode() == answer
        assert len(tokens) == known.n_tokens
        # Kernels round differently with the rows of a batch.
        assert sum(each["logprob"] for each in tokens) == pytest.approx(known.logprob, abs=1.5)
        for each in tokens:
            nats = [top["logprob"] for top in each["top_logprobs"]]
            assert len(nats) == 3
            assert nats == sorted(nats, reverse=True)
            assert each["logprob"] == nats[0]  # greedy
            assert each["top_logprobs"][0]["token"] == each["token"]


def test_inspects_perplexity_is_that_of_the_engine(lm: LocalModel, inspected: list[Any]) -> None:
    assert "".join(inspected[2]["tokens"]) in TEXT + TARGET
    (target,) = lm.loglikelihood([(TEXT, TARGET)])
    of_target = inspected[3]["scores"]["target_perplexity"]
    assert of_target["num_tokens"] == target.n_tokens
    assert of_target["sum_log_probs"] == pytest.approx(target.logprob, abs=0.3)
    (count,) = lm.count_tokens([TEXT + TARGET])
    assert len(inspected[2]["nats"]) == count - 1
    assert all(math.isfinite(each) and each <= 0.001 for each in inspected[2]["nats"])
