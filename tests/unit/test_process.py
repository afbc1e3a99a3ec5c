"""The parent's side of the engine process, with a worker that dies and hangs on demand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import fake_worker
import gguf_files
import pytest

from localprompt.engine.process import EngineProcess, RequestsDied
from localprompt.engine.settings import EngineSettings
from localprompt.engine.watchdog import Timeouts
from localprompt.errors import ModelError, WorkerDied
from localprompt.types import EngineStats

COMMAND = [sys.executable, str(Path(fake_worker.__file__))]
HASTY = Timeouts(silence=1, stall=20, unmeasured=20, deaths=12)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    path = gguf_files.write(tmp_path / "model.gguf")
    engine = EngineProcess(path, EngineSettings(), timeouts=HASTY, command=COMMAND)
    yield engine
    engine.close()


def test_answers_have_the_order_of_their_requests(engine: EngineProcess) -> None:
    assert engine.map("square", [3, 1, 2]) == [9, 1, 4]
    assert engine.map("square", []) == []


def test_a_worker_that_dies_by_chance_is_replaced_and_nobody_hears_of_it(engine: EngineProcess, tmp_path: Path) -> None:
    first = engine.pid
    once = f"die once {tmp_path / 'mark'}"
    assert engine.map("square", [1, once, 2]) == [1, once, 4]
    assert engine.pid != first


@pytest.mark.parametrize("killers", [{0}, {5}, {9}, {2, 7}, {0, 1, 8, 9}, {0, 1, 2, 3}, {5, 6, 7, 8, 9}])
def test_requests_that_kill_are_found_and_the_others_answered(engine: EngineProcess, killers: set[int]) -> None:
    requests = ["die" if i in killers else i for i in range(10)]
    with pytest.raises(RequestsDied) as error:
        engine.map("square", requests)
    assert set(error.value.failed) == set(error.value.killers) == killers
    assert error.value.results == tuple(None if i in killers else i * i for i in range(10))
    assert all(f"request {i}" in error.value.message for i in killers)
    assert "SIGKILL" in error.value.message
    assert engine.map("square", [4]) == [16], "the engine goes on"


def test_after_many_deaths_in_a_row_no_further_worker_is_started(engine: EngineProcess) -> None:
    with pytest.raises(RequestsDied, match=f"died {HASTY.deaths} times in a row") as error:
        engine.map("square", ["die"] * 100)
    assert (len(error.value.failed), error.value.killers) == (100, ())
    with pytest.raises(WorkerDied, match="not started again"):
        engine.map("square", [1])


def test_an_engine_that_is_not_started_again_says_how_it_died_and_what_helps(engine: EngineProcess) -> None:
    with pytest.raises(RequestsDied, match=r"in a row \(signal SIGILL, .*: leave use_extra_bufts out, or build"):
        engine.map("square", ["ill"] * 100)


@pytest.mark.parametrize(
    ("request_", "cause"),
    [("hang", "no progress for 20 seconds"), ("stop", "no sign of life for 1 seconds"), ("rubbish", "exit status")],
)
def test_a_worker_that_hangs_counts_as_dead(engine: EngineProcess, request_: str, cause: str) -> None:
    with pytest.raises(RequestsDied, match="request 0 of 1") as error:
        engine.map("square", [request_])
    assert cause in error.value.message


def test_a_question_over_which_two_workers_die_is_an_error(engine: EngineProcess) -> None:
    with pytest.raises(WorkerDied, match="died twice over 'square'"):
        engine.call("square", requests=["die"])
    assert engine.call("square", requests=[2]) == [4]


def test_a_worker_that_dies_while_it_loads_accuses_no_request(engine: EngineProcess, tmp_path: Path) -> None:
    sick = tmp_path / "sick"
    with pytest.raises(ModelError, match=r"died while loading .*model\.gguf \(signal SIGABRT\)") as error:
        engine.map("square", [1, f"die once {sick}", 2])
    assert not isinstance(error.value, WorkerDied)
    sick.unlink()
    assert engine.map("square", [4]) == [16], "the engine goes on"


def test_one_death_over_loading_again_may_be_chance(engine: EngineProcess, tmp_path: Path) -> None:
    sick = tmp_path / "sick once"
    sick.touch()
    assert engine.map("square", [1, f"die once {tmp_path / 'died'}", 2])[::2] == [1, 4]
    assert not sick.exists()


def test_a_malformed_file_never_reaches_a_worker(tmp_path: Path) -> None:
    path = tmp_path / "not.gguf"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match="begins with"):
        EngineProcess(path, EngineSettings(), command=["/nonexistent"])


def test_a_model_that_cannot_fit_never_reaches_a_worker(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "model.gguf", more=lambda w: w.add_head_count(1 << 20))
    with pytest.raises(ModelError, match=r"needs about .* GB of memory \(.* KV cells.*\), .* are free"):
        EngineProcess(path, EngineSettings(n_ctx=1 << 24), command=["/nonexistent"])


def test_patience_comes_from_measured_rates() -> None:
    timeouts = Timeouts()
    assert timeouts.for_batches(512, EngineStats()) == timeouts.unmeasured
    fast = EngineStats(tokens_decoded=100_000, seconds=10)
    slow = EngineStats(tokens_decoded=100, seconds=10)
    assert timeouts.for_batches(512, fast) == timeouts.stall
    assert timeouts.for_batches(512, slow) == pytest.approx(30 * 51.2, abs=1)
    assert timeouts.for_bytes(10_000_000) == timeouts.stall + 100
