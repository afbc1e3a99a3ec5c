"""DSPy's own optimizers on a model of localprompt, and the searches of localprompt on a program of DSPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adapters_outside import INSIDE, MODEL, rows
from outside_programs import HERE, PYTHON, called

N = 8
"""Rows of each split."""


def printed(program: str, *arguments: str, folder: Path) -> list[dict[str, Any]]:
    lines = "".join(json.dumps(each) + "\n" for each in rows("support-routing/data.jsonl"))
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    home = {"DSPY_CACHEDIR": str(folder / "cache")}
    return called(PYTHON, HERE / program, *arguments, MODEL, folder / "rows.jsonl", folder=folder, **INSIDE, **home)


@pytest.mark.parametrize("which", ["mipro", "gepa"])
def test_an_optimizer_of_dspy_compiles_a_program_on_our_engine(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # it saves its program there
    (found,) = printed("run_dspy_optimizers.py", which, folder=tmp_path)
    # Proposals come one by one, the rows of an evaluation together.
    assert max(found["calls"]) > 1
    assert len(found["calls"]) < sum(found["calls"]) * 0.75
    assert len(found["calls_held"]) <= N / 2
    assert sum(found["calls_held"]) == N
    # What it says of its program is what DSPy finds again, from its cache.
    assert found["again"] == pytest.approx(found["score"])
    assert found["calls_again"] == 0
    right = sum(a == b for a, b in zip(found["answers"], found["gold"], strict=True))
    assert found["held"] == pytest.approx(100 * right / N, abs=0.01)
    assert set(found["answers"]) <= set(found["teams"])
    assert found["loaded"] == found["answers"]
    assert found["instruction"]
    assert found["is_shown"]
    assert len(found["demos"]) <= 1


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("search"))  # it keeps its runs there
        return printed("run_dspy_search.py", "scripted", folder=folder)


def test_a_search_finds_an_instruction_for_a_program_with_the_turns_and_scores_of_dspy(
    found: list[dict[str, Any]],
) -> None:
    for each in found[:4]:
        assert each["instruction"] == "Turn every alpha into the omega that has its number."
        assert each["before"] != each["instruction"]
        assert each["test"] == each["dspy"] == [0.0, 1.0]
        assert each["asked_before"] == each["asked"] == 2 * 12  # letter by letter what the search asked


def test_what_a_search_cannot_do_for_a_program_is_a_sentence(found: list[dict[str, Any]]) -> None:
    wanted = ("not a Two", "no teacher", "too few rows", "no outputs", "no 'hint'", "temperature is 1.0", "no model of")
    said = found[4]["refused"]
    assert len(said) == len(wanted) + 1
    for words, sentence in zip((*wanted, "no option 'objective'"), said, strict=True):
        assert words in sentence


def test_a_metric_may_have_threads_ask_the_same_model(found: list[dict[str, Any]]) -> None:
    assert found[5] == {"test": 1.0, "judged": True}


def test_a_search_on_a_real_model_measures_what_dspy_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (found,) = printed("run_dspy_search.py", "real", folder=tmp_path)
    assert found["n"] == 4
    assert found["instruction"]
    assert found["test"] == pytest.approx(found["dspy"], abs=0.26)  # one row, by the rounding of other batches
