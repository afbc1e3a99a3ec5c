"""What the pages of comparisons, transfer studies and ports say, on scripted models."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.comparison.plan import compare, resume_comparison
from localprompt.lm.scripted import ScriptedLM
from localprompt.reports.comparison_report import ComparisonReport
from localprompt.reports.page import page
from localprompt.reports.port_report import PortReport
from localprompt.reports.report import find
from localprompt.reports.transfer_report import TransferReport
from localprompt.store import Store
from localprompt.types import Prompt

SEEDS = (Prompt("Say something kind about the alpha."), Prompt(""))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def _compared(home: Store, methods: tuple[str, ...] = ("ape", "random"), **changes: Any) -> localprompt.Comparison:
    given = replace(toy.task(train=10, dev=12, test=12), seeds=SEEDS, **changes)
    settings: Mapping[str, Mapping[str, object]] = {"random": {"proposals": 8}} if "random" in methods else {}
    return compare([given], toy.model(), methods=methods, n_seeds=2, max_tokens=6000, settings=settings, store=home)


def _of_comparison(home: Store, what: str) -> ComparisonReport:
    found = find(home, what)[1]
    assert isinstance(found, ComparisonReport)
    return found


def test_a_comparison_is_read_as_it_was_printed_and_nothing_is_asked(home: Store) -> None:
    result = _compared(home)
    found = _of_comparison(home, result.id[:6])
    assert found.result is not None
    assert found.result.to_json() == result.to_json()
    assert (found.status, found.unfinished, found.damage) == ("finished", (), ())
    assert f"compare --resume {result.id}" in found.command
    assert found.configuration["model"]["name"] == "scripted"
    assert result.id in page(found.to_json())


def test_curves_end_at_the_best_and_give_the_area(home: Store) -> None:
    result = _compared(home)
    found = _of_comparison(home, result.id)
    assert [each.run_id for each in found.curves] == [run.result.run_id for run in result.runs]
    for curve, run in zip(found.curves, result.runs, strict=True):
        assert run.result.dev is not None
        assert curve.steps[-1][1] == run.result.dev.mean
        area, since, value = 0.0, 0.0, curve.start
        for tokens, mean in curve.steps:
            area, since, value = area + value * (tokens - since), tokens, mean
        assert (area + value * (curve.limit - since)) / curve.limit == pytest.approx(run.area)


def test_the_headline_says_what_is_shown_and_what_is_not(home: Store) -> None:
    better = _of_comparison(home, _compared(home).id).headline
    assert "scores highest on test on toy with 1.000" in better
    assert "not shown to be better than that" in better
    alone = _of_comparison(home, _compared(home, ("ape",)).id).headline
    assert "Without a run of random" in alone
    same = _compared(home, ("manual",), name="other")
    assert "No method is shown to be better than the seed prompt on other" in _of_comparison(home, same.id).headline


def test_runs_that_are_not_finished_are_named_and_count_nowhere(home: Store) -> None:
    given = replace(toy.task(train=10, dev=12, test=12), seeds=SEEDS)
    lm = toy.model(answer=toy.failing(KeyboardInterrupt(), after=60))
    with pytest.raises(KeyboardInterrupt):
        compare([given], lm, methods=("ape", "random"), n_seeds=1, max_tokens=6000, store=home)
    (study,) = home.studies.all("comparison")
    found = _of_comparison(home, study.id)
    assert found.status == "paused"
    assert {each.method for each in found.unfinished} >= {"random"}
    assert "not finished" in found.headline
    assert found.result is None or len(found.result.runs) + len(found.unfinished) == 2
    assert study.id in page(found.to_json())
    resume_comparison(study.id, model=toy.model(), store=home)
    assert _of_comparison(home, study.id).unfinished == ()


def test_a_comparison_with_a_run_that_is_gone_says_so(home: Store) -> None:
    result = _compared(home)
    home.runs.delete(result.runs[0].result.run_id)
    found = _of_comparison(home, result.id)
    assert found.result is None
    assert "are gone" in found.damage[0]
    assert result.id in page(found.to_json())


def test_a_metric_in_python_is_not_loaded(home: Store, tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("def score(prediction, targets):\n    return float(prediction in targets)\n")
    path = toy.write_task(tmp_path, 10, 12, 12, keys="metric: score:score\n")
    result = compare([path], toy.model(), methods=("random",), n_seeds=1, max_tokens=6000, allow_code=True, store=home)
    (tmp_path / "score.py").write_text("raise SystemExit\n")
    assert _of_comparison(home, result.id).result is not None


def _transferred(home: Store) -> localprompt.Transfer:
    task = replace(toy.task(labels=("even", "odd"), test=20), seeds=(Prompt("Say which."),))
    models = [ScriptedLM(logprob=toy.parity, name=name) for name in ("one", "two")]
    return localprompt.transfer([task], models, prompts=("Name the parity.",), store=home)


def test_a_transfer_study_is_shown_as_it_is(home: Store) -> None:
    result = _transferred(home)
    found = find(home, result.id[:5])[1]
    assert isinstance(found, TransferReport)
    assert found.result == result
    assert "--models one,two" in found.command
    assert found.to_json()["report"] == "transfer"
    assert result.id in page(found.to_json())


@pytest.mark.parametrize("change", ["gone", "damaged", "unfit"])
def test_a_transfer_study_without_a_result_says_why(home: Store, change: str) -> None:
    result = _transferred(home)
    stored = json.dumps(result.to_json())
    broken = {"gone": None, "damaged": '{"transfer": 5}', "unfit": stored.replace('"models": [', '"models": [', 1)}[
        change
    ]
    if change == "unfit":
        plain = json.loads(stored)
        plain["tasks"][0]["cells"].pop()
        broken = json.dumps(plain)
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        connection.execute("UPDATE studies SET result = ?, status = 'paused'", [broken])
    found = find(home, result.id)[1]
    assert isinstance(found, TransferReport)
    assert (found.result, found.status) == (None, "paused")
    assert bool(found.damage) == (change != "gone")
    assert result.id in page(found.to_json())


def test_a_port_is_shown_with_both_runs(home: Store) -> None:
    def answer(prompt: str, seed: int) -> str:
        if toy.is_asked_to_write(prompt):
            return " turn every alpha into the omicron that has its number."
        return f" {toy.solved(prompt.replace('omega', 'beta').replace('omicron', 'omega'))}\n"

    given = replace(toy.task(train=10, dev=20, test=30), seeds=SEEDS)
    old = localprompt.optimize(given, toy.model(name="old"), store=home)
    result = localprompt.port(old.run_id, toy.model(answer=answer, name="new"), store=home)
    found = find(home, result.id)[1]
    assert isinstance(found, PortReport)
    assert found.result == result
    assert found.runs == (old.run_id, result.run_id)
    assert f"port {old.run_id}" in found.command
    assert found.to_json()["result"]["conclusion"] == result.conclusion
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        connection.execute("UPDATE studies SET result = '{\"port\": 1}'")
    damaged = find(home, result.id)[1]
    assert isinstance(damaged, PortReport)
    assert damaged.result is None
    assert damaged.damage
    assert result.id in page(damaged.to_json())
