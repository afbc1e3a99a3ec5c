"""The estimate of memory against what a worker really occupies."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from localprompt.engine import memory
from localprompt.engine.gguf_validator import validate
from localprompt.hub import files as models
from localprompt.lm.local import load_model

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def path() -> Path:
    return models.resolve("smollm2-135m-instruct")


@pytest.mark.parametrize("n_ctx", [1024, 8192])
def test_a_worker_occupies_what_was_estimated_or_a_little_less(
    path: Path, n_ctx: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with load_model(path, tune=False, n_ctx=n_ctx, n_threads=1) as model:
        estimate = memory.needed(validate(path), model.settings).total
        model.prefill_rate(512)
        model.loglikelihood([("the answer is", f" {n}") for n in range(200)])
        occupied = psutil.Process(model.pid).memory_info().rss
    with capsys.disabled():
        print(f"\nestimated {estimate >> 20} MiB, occupied {occupied >> 20} MiB")  # noqa: T201 - a measurement
    assert 0.75 * estimate < occupied < 1.02 * estimate
