"""The benchmark of label calibration: what it says of scores that are known."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


def test_means_are_over_prompts_and_the_interval_over_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    benchmark = importlib.import_module("calibration")
    scores = {"sum": ["1100", "0000"], "calibrated": ["1000", "0000"], "batch": ["1111", "1100"]}
    (row,) = benchmark.rows_of({"subj": {"a/b-2.5.gguf": {"scores": scores}}})
    assert row[:4] == ["subj", "b-2.5", "2", "4"]
    assert row[4] == "0.250 ± 0.250 (0.00, 0.50)"
    assert row[6] == "0.750 ± 0.250 (0.50, 1.00)"
    assert row[7].startswith("+0.500 [")
