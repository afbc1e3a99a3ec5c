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


def test_a_model_too_small_for_the_form_of_an_answer_is_held_to_it_when_it_is_asked_again(
    found: list[dict[str, Any]],
) -> None:
    assert len(found[1]["typed"]) == 3
    assert set(found[1]["typed"]) <= set(found[1]["known"])


def test_a_signature_gets_its_fields_and_the_tokens_are_counted(found: list[dict[str, Any]]) -> None:
    assert found[2] == {"team": "billing", "drawn": 11}


def test_a_form_that_a_model_cannot_be_held_to_is_said_to_be_dropped(found: list[dict[str, Any]]) -> None:
    assert found[3] == {"dropped": ["config.response_format"]}


def test_what_is_drawn_without_a_seed_differs_and_with_one_is_repeated(found: list[dict[str, Any]]) -> None:
    assert sorted(found[4]["several"]) == ["number 0", "number 1", "number 2"]
    assert found[4]["again"] == ["number 7"]


def test_an_engine_by_name_is_saved_with_its_settings(found: list[dict[str, Any]]) -> None:
    assert found[5]["saved"] == {"model": MODEL, "n_ctx": 512}


def test_copies_of_a_program_are_programs_of_their_own_that_ask_the_same_model(found: list[dict[str, Any]]) -> None:
    assert found[6] == {"same": True, "demos": 0, "pickled": {"model": MODEL, "n_ctx": 512}}


def test_what_a_local_model_cannot_do_is_an_error_of_dspy(found: list[dict[str, Any]]) -> None:
    assert [each["refused"] for each in found[7:]] == [["logprobs"], ["frequency_penalty"]]
    assert "no logprobs" in found[7]["says"]
