"""The benchmark of the robust objective: what it compares."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import toy

from localprompt.store import Store
from localprompt.types import Prompt


@pytest.fixture
def robust(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("robust")


def test_means_are_paired_and_the_worst_ways_are_those_of_each_prompt(robust: ModuleType) -> None:
    plain = [[1.0] * 10, [0.0] * 10]
    other = [[1.0] * 8 + [0.0] * 2, [1.0] * 7 + [0.0] * 3]
    found = robust.compared(plain, other, list(range(10)))
    assert (found["mean"], found["worst"]) == ([0.5, 0.75], [0.0, 0.7])
    assert found["mean_difference"][0] == pytest.approx(0.25)
    value, low, high = found["worst_difference"]
    assert value == pytest.approx(0.7)
    assert 0.3 < low < 0.7 < high <= 1.0


def test_a_pair_of_searches_shows_what_the_robust_one_gains(robust: ModuleType, tmp_path: Path) -> None:
    task = replace(toy.task(train=0, dev=30, test=30), seeds=(Prompt(toy.BRITTLE), Prompt(toy.STABLE)))
    with Store(tmp_path / "store.db") as store:
        choices = {"method": "manual", "settings": {}, "max_tokens": 50_000}
        pair = robust.run_pair(task, toy.model(answer=toy.brittle), store, objective="robust", seed=0, choices=choices)
    assert [run["prompt"] for run in pair["runs"]] == [toy.BRITTLE, toy.STABLE]
    assert pair["searched"]["worst"][0] == 0.0
    assert pair["searched"]["worst_difference"][0] > 0.5
    plain, other = (run["others"]["changes"] for run in pair["runs"])
    assert plain == other
    assert len(plain) > 4
    assert not set(plain) & set(pair["runs"][0]["searched"]["changes"])
    results = {"pairs": {"toy 0": pair}}
    assert "searched, worst: +0.667 over 1 pairs, aim +0.05: True" in robust.report(results)
