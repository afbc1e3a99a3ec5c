"""Exact mode: the score of a text is the same, bit for bit, whatever is computed with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_architectures import write_gemma3, write_mamba2

from localprompt.engine.process import EngineProcess
from localprompt.engine.settings import EngineSettings
from localprompt.errors import ModelError
from localprompt.lm.local import LocalModel, load_model
from localprompt.types import Sampling

N_CTX = 256
"""Small, so that cells run out and walks begin again."""
SEED = np.random.default_rng(5)
STEMS = [tuple(SEED.integers(3, 250, n).tolist()) for n in (3, 30, 47, 48, 90, 200)]
ENDS = [tuple(SEED.integers(3, 250, n).tolist()) for n in (1, 2, 5, 20)]
REQUESTS = [(list(stem + end), len(stem)) for stem in STEMS for end in ENDS]


@pytest.fixture(scope="module")
def engine(tiny_qwen: Path) -> Iterator[EngineProcess]:
    with closing(EngineProcess(tiny_qwen, EngineSettings(exact=True, n_ctx=N_CTX, n_threads=1))) as process:
        yield process


@pytest.fixture(scope="module")
def alone(engine: EngineProcess) -> list[float]:
    return [engine.call("score", requests=[list(request)])[0][0] for request in REQUESTS]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(company=st.lists(st.integers(0, len(REQUESTS) - 1), min_size=1, max_size=30))
def test_scores_are_equal_bit_for_bit_in_any_company(
    engine: EngineProcess, alone: list[float], company: list[int]
) -> None:
    found = engine.call("score", requests=[list(REQUESTS[k]) for k in company])
    assert [score[0] for score in found] == [alone[k] for k in company]


def test_without_exact_mode_the_same_requests_differ(tiny_qwen: Path) -> None:
    """What exact mode is for: the numbers of other batches are other numbers on this machine."""
    with closing(EngineProcess(tiny_qwen, EngineSettings(n_ctx=N_CTX, n_ubatch=128, n_threads=1))) as process:
        single = [process.call("score", requests=[list(request)])[0][0] for request in REQUESTS]
        together = [score[0] for score in process.call("score", requests=[list(request) for request in REQUESTS])]
    assert single != together


def test_completions_do_not_depend_on_each_other(tiny_qwen: Path) -> None:
    prompts = ["the answer is", "the answer is positive or negative and " * 3, "x", "the review of the film", "the"]
    sampling = Sampling(max_tokens=12, temperature=1.0)
    with load_model(tiny_qwen, exact=True, n_ctx=N_CTX, n_threads=1, lanes=3, tune=False) as lm:
        together = lm.generate(prompts * 3, sampling, list(range(15)))
        single = [lm.generate([prompt], sampling, [seed])[0] for seed, prompt in enumerate(prompts * 3)]
    assert together == single


def test_a_request_of_all_cells_fits(tiny_qwen: Path) -> None:
    with load_model(tiny_qwen, exact=True, n_ctx=N_CTX, n_threads=1, tune=False) as lm:
        assert lm.n_ctx == N_CTX
        requests = [[list(range(3, 253))[: N_CTX - 10] + [7] * k, N_CTX - 30] for k in (10, 9)]
        assert len(lm._engine.call("score", requests=requests)) == 2


def test_settings_that_round_otherwise_are_refused_and_batches_stay_small(tiny_qwen: Path) -> None:
    with pytest.raises(ValueError, match="exact needs use_extra_bufts=False"):
        EngineSettings(exact=True, use_extra_bufts=True)
    assert EngineSettings(exact=True).n_ubatch < 64
    plain, exact = EngineSettings().numerics(), EngineSettings(exact=True).numerics()
    assert "exact" not in plain, "answers of before exact mode are still known"
    assert exact["exact"] is True


def test_a_model_whose_scores_are_not_exact_is_refused_in_a_sentence(tmp_path: Path) -> None:
    write_mamba2(tmp_path / "states.gguf")
    with pytest.raises(ModelError, match="no exact scores on this machine: the states of recurrent layers") as raised:
        load_model(tmp_path / "states.gguf", exact=True, tune=False)
    assert "leave exact out" in raised.value.hint


def test_it_is_tried_and_not_assumed(tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    def find_difference(lm: LocalModel) -> str:
        asked.append(lm.name)
        return "a text has another score among other texts than alone"

    monkeypatch.setattr(LocalModel, "find_difference", find_difference)
    with pytest.raises(ModelError, match="another score among other texts"):
        load_model(tiny_qwen, exact=True, n_ctx=N_CTX, tune=False)
    assert asked == [tiny_qwen.stem]
    load_model(tiny_qwen, tune=False).close()
    assert len(asked) == 1


def test_windows_are_exact_too(tmp_path: Path) -> None:
    write_gemma3(tmp_path / "windows.gguf")
    with load_model(tmp_path / "windows.gguf", exact=True, n_ctx=512, tune=False) as lm:
        pairs = [("the answer is " * n, end) for n in (1, 5, 20) for end in (" positive", " x", " negative or")]
        assert lm.loglikelihood(pairs) == [lm.loglikelihood([pair])[0] for pair in pairs]
