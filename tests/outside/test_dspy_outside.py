"""DSPy on models of localprompt, with the package by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adapters_outside import INSIDE, MODEL, N_ROWS, check_answers, rows
from outside_programs import HERE, PYTHON, called


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("dspy")
    lines = "".join(json.dumps(each) + "\n" for each in rows("support-routing/data.jsonl"))
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    home = {"DSPY_CACHEDIR": str(folder / "cache")}
    program = HERE / "run_dspy_adapter.py"
    return called(PYTHON, program, MODEL, folder / "rows.jsonl", folder=Path(folder), **INSIDE, **home)


def test_requests_of_the_threads_of_evaluate_are_few_calls_with_the_answers_of_the_engine(
    found: list[dict[str, Any]],
) -> None:
    check_answers(found[0]["answers"])
    assert sum(found[0]["calls"]) == N_ROWS
    assert len(found[0]["calls"]) <= N_ROWS / 4


def test_a_signature_gets_its_fields_and_the_tokens_are_counted(found: list[dict[str, Any]]) -> None:
    assert found[1] == {"team": "billing", "drawn": 11}


def test_what_is_drawn_without_a_seed_differs_and_with_one_is_repeated(found: list[dict[str, Any]]) -> None:
    assert sorted(found[2]["several"]) == ["number 0", "number 1", "number 2"]
    assert found[2]["again"] == ["number 7"]


def test_an_engine_by_name_is_saved_with_its_settings(found: list[dict[str, Any]]) -> None:
    assert found[3]["saved"] == {"model": MODEL, "n_ctx": 512}


def test_what_a_local_model_cannot_do_is_an_error_of_dspy(found: list[dict[str, Any]]) -> None:
    assert [each["refused"] for each in found[4:]] == [["logprobs"], ["frequency_penalty"]]
    assert "no logprobs" in found[4]["says"]
