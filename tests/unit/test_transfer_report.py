"""The report of a transfer study has its result as it is, and says what is known of one without."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import toy

import localprompt
from localprompt.lm.loading import scheme
from localprompt.lm.scripted import ScriptedLM
from localprompt.reports.page import page
from localprompt.reports.report import find
from localprompt.reports.transfer_report import TransferReport
from localprompt.store import Store
from localprompt.types import Prompt


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


TASK = replace(toy.task(labels=("even", "odd"), test=20), seeds=(Prompt("Say which."),))


def _transferred(home: Store) -> localprompt.Transfer:
    models = [ScriptedLM(logprob=toy.parity, name=name) for name in ("one", "two")]
    return localprompt.transfer([TASK], models, prompts=("Name the parity.",), store=home)


def _report(home: Store, what: str) -> TransferReport:
    found = find(home, what)[1]
    assert isinstance(found, TransferReport)
    return found


def _changed(home: Store, result: str | None, configuration: str = "") -> None:
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        connection.execute("UPDATE studies SET result = ?, status = 'paused'", [result])
        if configuration:
            connection.execute("UPDATE studies SET configuration = ?", [configuration])


def test_a_transfer_study_is_shown_as_it_is(home: Store) -> None:
    result = _transferred(home)
    found = _report(home, result.id[:5])
    assert found.result == result
    assert (found.tasks, len(found.models)) == (("toy",), 2)
    assert "--models scripted-one,scripted-two" in found.command
    plain = found.to_json()
    assert plain["report"] == "transfer"
    assert list(plain) == [
        *("study_id", "status", "created", "updated", "tasks", "models", "result", "damage", "configuration"),
        *("command", "report", "version"),
    ]
    assert result.id in page(plain)


def test_its_command_has_the_models_as_they_were_named_and_the_settings_of_the_engine(home: Store) -> None:
    engine = {"n_ctx": 2048, "exact": True}
    with scheme("file", lambda text, **engine: ScriptedLM(logprob=toy.parity, name=f"name of {text}")):
        localprompt.transfer([TASK], ["file:a", "file:b"], prompts=("Which?",), engine=engine, store=home)
    told = _report(home, localprompt.Transfer.read(home.studies.all("transfer")[0].result or {}).id).command
    assert "--models file:a,file:b --prompts PROMPTS --engine n_ctx=2048 --engine exact=True" in told


@pytest.mark.parametrize("change", ["gone", "damaged", "unfit"])
def test_a_transfer_study_without_a_result_says_why_and_what_it_was_begun_with(home: Store, change: str) -> None:
    result = _transferred(home)
    stored = json.loads(json.dumps(result.to_json()))
    stored["tasks"][0]["cells"].pop()
    _changed(home, {"gone": None, "damaged": '{"transfer": 5}', "unfit": json.dumps(stored)}[change])
    found = _report(home, result.id)
    assert (found.result, found.status) == (None, "paused")
    assert bool(found.damage) == (change != "gone")
    assert (found.tasks, len(found.models)) == (("toy",), 2)
    assert result.id in page(found.to_json())


@pytest.mark.parametrize("configuration", ["{}", '{"tasks": 5, "models": "x"}', '{"tasks": [[], 5], "models": [7]}'])
def test_a_study_whose_beginning_is_damaged_has_a_page(home: Store, configuration: str) -> None:
    result = _transferred(home)
    _changed(home, None, configuration)
    found = _report(home, result.id)
    assert (found.tasks, found.models) == ((), ())
    assert result.id in page(found.to_json())
