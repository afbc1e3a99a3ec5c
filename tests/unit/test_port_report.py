"""The report of a port has its result and leads to both runs, however far the new search is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import toy

import localprompt
from localprompt.reports.page import page
from localprompt.reports.port_report import PortReport
from localprompt.reports.report import find
from localprompt.store import Store
from localprompt.types import Prompt

SEEDS = (Prompt("Say something kind about the alpha."), Prompt(""))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def _answer(prompt: str, seed: int) -> str:
    if toy.is_asked_to_write(prompt):
        return " turn every alpha into the omicron that has its number."
    return f" {toy.solved(prompt.replace('omega', 'beta').replace('omicron', 'omega'))}\n"


def _old(home: Store) -> str:
    given = replace(toy.task(train=10, dev=20, test=30), seeds=SEEDS)
    return localprompt.optimize(given, toy.model(name="old"), store=home).run_id


def _report(home: Store, what: str | None = None) -> PortReport:
    found = find(home, what or home.studies.all("port")[0].id)[1]
    assert isinstance(found, PortReport)
    return found


def test_a_port_is_shown_with_both_runs(home: Store) -> None:
    old = _old(home)
    result = localprompt.port(old, toy.model(answer=_answer, name="new"), store=home)
    found = _report(home, result.id)
    assert found.result == result
    assert (found.old_run_id, found.run_id, found.run_status) == (old, result.run_id, "finished")
    lines = list(found.commands.values())
    assert f"port {old} --model MODEL" in lines[0]
    assert (f"report {old}" in lines[1], f"report {result.run_id}" in lines[2]) == (True, True)
    plain = found.to_json()
    assert plain["result"]["conclusion"] == result.conclusion
    assert list(plain) == [
        *("port_id", "status", "created", "updated", "old_run_id", "run_id", "run_status", "result", "damage"),
        *("commands", "report", "version"),
    ]
    assert result.id in page(plain)


def test_the_command_of_a_port_allows_code_and_names_the_model(home: Store, tmp_path: Path) -> None:
    (tmp_path / "judge_of_ports.py").write_text("def right(p, t):\n    return float(p in t)\n", encoding="utf-8")
    path = toy.write_task(tmp_path, 10, 20, 30, keys="metric: judge_of_ports:right\n")
    old = localprompt.optimize(path, toy.model(name="old"), method="manual", allow_code=True, store=home)
    localprompt.port(old.run_id, toy.model(name="new"), allow_code=True, store=home)
    found = _report(home)
    assert f"port {old.run_id} --model MODEL --allow-code " in next(iter(found.commands.values()))
    run = home.runs.get(found.run_id or "")
    home.runs.update(run.id, configuration={**run.configuration, "sources": {"model": "tiny", "proposer": None}})
    assert f"port {old.run_id} --model tiny --allow-code " in next(iter(_report(home).commands.values()))


def test_a_damaged_result_is_left_out_and_named(home: Store) -> None:
    result = localprompt.port(_old(home), toy.model(answer=_answer, name="new"), store=home)
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        connection.execute("UPDATE studies SET result = '{\"port\": 1}'")
    found = _report(home, result.id)
    assert found.result is None
    assert found.damage
    assert result.id in page(found.to_json())


def test_an_unfinished_port_says_how_far_its_search_is(home: Store) -> None:
    old = _old(home)
    calls = iter(range(10_000))

    def answer(prompt: str, seed: int) -> str:
        if next(calls) > 100:
            raise KeyboardInterrupt
        return _answer(prompt, seed)

    with pytest.raises(KeyboardInterrupt):
        localprompt.port(old, toy.model(answer=answer, name="new"), store=home)
    found = _report(home)
    assert (found.result, found.status, found.run_status) == (None, "paused", "paused")
    assert found.run_id is not None
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        connection.execute("UPDATE studies SET status = 'running'")
        connection.execute("UPDATE runs SET status = 'running' WHERE id = ?", [found.run_id])
    left = _report(home)
    assert (left.status, left.run_status) == ("interrupted", "interrupted")
    home.runs.delete(found.run_id)
    assert _report(home).run_status == "gone"
    assert found.port_id in page(found.to_json())
