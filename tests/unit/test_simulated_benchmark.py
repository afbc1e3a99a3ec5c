"""The benchmark of searches on simulated models: the model is as right as it is said to be."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from localprompt.lm.budget import Budget
from localprompt.search.evaluator import Evaluator
from localprompt.types import Demo, Prompt


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("simulated")


def test_the_model_is_right_on_as_many_rows_as_is_said(simulated: ModuleType) -> None:
    world = simulated.World(3, 12)
    task = world.task()
    demos = tuple(Demo(each.inputs, each.targets[0]) for each in task.train[:12])
    prompts = [Prompt(simulated.SEED), Prompt("", demos), Prompt("Judge by the river.", demos)]
    found = Evaluator(world.model(task), task, Budget()).evaluate(prompts, (*task.dev, *task.train[12:]))
    assert [each.mean for each in found] == pytest.approx([world.accuracy(each) for each in prompts], abs=0.06)
    assert len({round(each.mean, 3) for each in found}) == 3


def test_a_world_is_the_same_for_every_method_and_another_for_every_seed(simulated: ModuleType, tmp_path: Path) -> None:
    first, again = (simulated.searched("ape", 0, 3_000, 8, tmp_path / name) for name in ("first", "again"))
    assert first == again
    assert first["accuracy"] > first["seed"] == simulated.World(1, 8).accuracy(Prompt(simulated.SEED))
    other = simulated.World(1, 8).task()
    assert other.train != simulated.World(0, 8).task().train


def test_versions_are_compared_in_pairs(simulated: ModuleType) -> None:
    rows = {str(n): {"accuracy": 0.7, "seed": 0.5, "tokens": 100, "examples": 4} for n in range(9)}
    better = {n: {**row, "accuracy": 0.8} for n, row in rows.items()}
    assert "| +0.1000 [" in simulated.table({"ape": better}, ["ape"], {"ape": rows})
    assert "9 pairs" in simulated.table({"ape": better}, ["ape"], {"ape": rows})


def test_a_method_with_settings_is_compared_with_the_method_itself(simulated: ModuleType, tmp_path: Path) -> None:
    way = "auto without=examples,deal"
    alone = simulated.searched(way, 0, 3_000, 8, tmp_path)
    assert not {"examples", "deal"}.intersection(operator for operator, *_ in alone["turns"])
    rows = {str(n): {"accuracy": 0.7, "seed": 0.5, "tokens": 100, "examples": 4} for n in range(9)}
    worse = {n: {**row, "accuracy": 0.65} for n, row in rows.items()}
    assert f"| {way} | 9 | 0.500 | 0.6500 | -0.0500 [" in simulated.table({"auto": rows, way: worse}, ["auto", way], {})
