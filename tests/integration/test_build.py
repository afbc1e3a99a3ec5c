"""The installed llama.cpp is tried on a model of known numbers before it is believed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from localprompt.engine import build, tuning
from localprompt.errors import ModelError
from localprompt.lm.local import load_model

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import write_selftest


@pytest.fixture(autouse=True)
def _memory_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("localprompt.engine.build.platformdirs.user_cache_dir", lambda _: str(tmp_path))


def test_the_expected_number_is_that_of_the_formulas() -> None:
    tokens = [1, *(3 + byte for byte in build.SENTENCE)]
    assert write_selftest.log_probability(write_selftest.weights(), tokens) == pytest.approx(build.EXPECTED, abs=1e-6)


def test_the_file_is_the_one_that_the_script_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(write_selftest, "SELFTEST", tmp_path / "again.gguf")
    write_selftest.main()
    assert (tmp_path / "again.gguf").read_bytes() == build.SELFTEST.read_bytes()


def test_this_build_computes_what_it_should() -> None:
    assert build.score() == pytest.approx(build.EXPECTED, abs=build.TOLERANCE / 10)


def test_another_number_is_refused_and_the_right_one_remembered(
    tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [build.EXPECTED + 0.01, float("nan"), build.EXPECTED]
    monkeypatch.setattr(build, "score", lambda: scores.pop(0))
    for _ in range(2):
        with pytest.raises(ModelError, match="are right"):
            load_model(tiny_qwen, tune=False)
    load_model(tiny_qwen, tune=False).close()
    assert not scores
    build.check_build()  # a further score would fail


@pytest.mark.parametrize("other", ["another processor", "the same version, compiled otherwise"])
def test_another_processor_or_build_is_tried_again(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [build.EXPECTED, float("nan")]
    monkeypatch.setattr(build, "score", lambda: scores.pop(0))
    build.check_build()
    name = "cpu_name" if "processor" in other else "build"
    monkeypatch.setattr(tuning, name, lambda *_: other)
    with pytest.raises(ModelError, match="are right"):
        build.check_build()
