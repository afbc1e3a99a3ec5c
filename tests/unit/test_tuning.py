"""Settings measured on a simulated engine, which knows its speed for each choice and counts the seconds."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import platformdirs
import pytest

from localprompt.engine import settings, tuning
from localprompt.engine.devices import Device
from localprompt.engine.settings import EngineSettings
from localprompt.errors import ModelError, NotEnoughMemory, WorkerDied

FILE = Path("some.gguf")
SETTINGS = EngineSettings(n_threads=1)
OPEN = ("use_extra_bufts", "n_ubatch", "n_threads")


class Machine:
    """Engines that prefill at `rate` tokens a second, times a factor for each choice; each probe is a little off."""

    def __init__(self, rate: float, **factors: float) -> None:
        self.rate, self.factors = rate, factors
        self.seconds = 0.0
        self.loaded: list[EngineSettings] = []
        self.probes: list[int] = []
        self.refused: list[bool] = []

    def __call__(self, path: Path, settings: EngineSettings) -> Machine:
        if settings.use_extra_bufts in self.refused:
            raise ModelError("there is not the memory")
        self.loaded.append(settings)
        return self

    def call(self, op: str, n_tokens: int) -> float:
        assert op == "prefill_rate"
        now = self.loaded[-1]
        chosen = {"repacked": now.use_extra_bufts, "threads": now.n_threads > 1, "halved": now.n_ubatch < 512}
        rate = self.rate
        for name, is_so in chosen.items():
            rate *= self.factors.get(name, 1.0) if is_so else 1.0
        self.probes.append(n_tokens)
        self.seconds += n_tokens / rate
        return rate * (1.0 - 0.01 * (len(self.probes) % 3))  # the same for all but 2 %

    def close(self) -> None:
        """Nothing to end."""


MachineT = TypeVar("MachineT", bound=Machine)


class Others:
    """What other processes use of the machine, now and while something is measured."""

    def __init__(self, cores: float | None = 0.1) -> None:
        self.now = self.meanwhile = cores

    def cores(self) -> float | None:
        return self.meanwhile


@pytest.fixture(autouse=True)
def others(monkeypatch: pytest.MonkeyPatch) -> Others:
    found = Others()
    monkeypatch.setattr(tuning, "Neighbours", lambda: found)
    monkeypatch.setattr(tuning, "cores_of_others", lambda _: found.now)
    return found


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path))
    monkeypatch.setattr(tuning, "available_threads", lambda: 2)
    return tmp_path / "tuning.json"


def _on(machine: MachineT, monkeypatch: pytest.MonkeyPatch) -> MachineT:
    monkeypatch.setattr(tuning, "EngineProcess", machine)
    return machine


def _tuned() -> EngineSettings:
    return tuning.tuned(FILE, "a hash", SETTINGS, fixed=()).settings


def test_what_was_measured_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(Machine(200.0, threads=1.8), monkeypatch)
    first, n_loaded = _tuned(), len(machine.loaded)
    assert first.n_threads == 2
    assert (_tuned(), len(machine.loaded)) == (first, n_loaded)


def test_of_two_processes_that_measure_at_once_the_first_decides(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(Machine(200.0, threads=0.7), monkeypatch)
    first = _tuned()
    found = memory.read_text(encoding="utf-8")
    memory.unlink()
    machine = _on(Machine(200.0, threads=1.8), monkeypatch)
    monkeypatch.setattr(machine, "close", lambda: memory.write_text(found, encoding="utf-8"))
    assert _tuned() == first
    assert machine.loaded
    assert (_tuned(), first.n_threads) == (first, 1)


def test_a_container_with_one_core_does_not_decide_for_a_machine_with_more(monkeypatch: pytest.MonkeyPatch) -> None:
    _on(Machine(200.0, threads=1.8), monkeypatch)
    monkeypatch.setattr(tuning, "available_threads", lambda: 1)
    assert _tuned().n_threads == 1
    monkeypatch.setattr(tuning, "available_threads", lambda: 2)
    assert _tuned().n_threads == 2
    monkeypatch.setattr(tuning, "available_threads", lambda: 1)
    assert _tuned().n_threads == 1, "nor the other way round"


def test_no_more_threads_than_the_quota_of_a_container_is_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(settings, "CPU_QUOTA", quota)
    monkeypatch.setattr("psutil.Process.cpu_affinity", lambda _: [0, 1, 2, 3], raising=False)
    found = []
    for said in ("200000 100000", "50000 100000", "800000 100000", "max 100000", "rubbish"):
        quota.write_text(said)
        found.append(settings.available_threads())
    assert found == [2, 1, 4, 4, 4]


def test_a_llama_cpp_that_was_built_anew_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(Machine(200.0, repacked=1.6), monkeypatch)
    machine.refused.append(True)
    assert not _tuned().use_extra_bufts
    machine.refused.clear()
    assert not _tuned().use_extra_bufts, "remembered"
    monkeypatch.setattr(tuning, "build", lambda: "the same version, compiled otherwise")
    assert _tuned().use_extra_bufts


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", "[1]"])
def test_a_damaged_memory_of_measurements_is_none(damaged: str, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(Machine(200.0, threads=1.8), monkeypatch)
    memory.write_text(damaged)
    assert _tuned().n_threads == 2


def test_a_cpu_is_named_by_its_model() -> None:
    assert tuning.cpu_name(
        "processor\t: 0\nmodel name\t: Some CPU: 3 GHz\nprocessor\t: 1\nmodel name\t: Some CPU: 3 GHz"
    ) == ("Some CPU: 3 GHz")


def test_a_cpu_without_a_model_name_is_named_by_maker_and_parts() -> None:
    core = "processor\t: {}\nBogoMIPS\t: 48.00\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {}\n\n"
    small, mixed = core.format(0, "0xd05"), core.format(0, "0xd05") + core.format(1, "0xd41")
    assert tuning.cpu_name(small) == "0x41 0xd05"
    assert tuning.cpu_name(mixed) == "0x41 0xd05 0xd41"


def test_virtual_processors_of_one_name_differ_by_their_instructions() -> None:
    """A measured choice of one with AMX must not decide for one without, where repacked weights are slower."""
    core = "processor\t: {}\nmodel name\t: Intel(R) Xeon(R) Processor\nflags\t\t: fpu sse2{}\n\n"
    with_amx, without = (tuning.cpu_name(core.format(0, more) + core.format(1, more)) for more in (" amx_int8", ""))
    assert with_amx != without
    assert with_amx.startswith("Intel(R) Xeon(R) Processor ")
    assert tuning.cpu_name(core.format(0, "")) == without, "however many cores"


def test_a_cpu_of_which_the_kernel_says_nothing_has_the_name_that_python_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.processor", lambda: "a processor")
    assert tuning.cpu_name("processor\t: 0\nhart\t: 1\n") == tuning.cpu_name("") == "a processor"


@pytest.mark.parametrize("rate", [5.0, 30.0, 100.0, 200.0, 3000.0])
@pytest.mark.parametrize("factor", [1.6, 1 / 1.6])
def test_a_choice_that_matters_is_found_in_seconds_whatever_the_speed(
    rate: float, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = _on(Machine(rate, repacked=factor), monkeypatch)
    assert tuning.measure(FILE, SETTINGS, OPEN).settings.use_extra_bufts == (factor > 1)
    assert machine.seconds / len(machine.loaded) < 16.5
    assert machine.seconds < 60


def test_a_hopeless_choice_does_not_take_long_either(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(Machine(200.0, threads=0.05), monkeypatch)
    assert tuning.measure(FILE, SETTINGS, OPEN).settings.n_threads == 1
    assert machine.seconds < 45


def test_rows_a_batch_are_chosen_where_a_probe_fills_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = _on(Machine(400.0, halved=1.2), monkeypatch)
    assert tuning.measure(FILE, SETTINGS, OPEN).settings.n_ubatch == 256
    assert max(fast.probes) == 512
    slow = _on(Machine(30.0, halved=1.2), monkeypatch)
    assert tuning.measure(FILE, SETTINGS, OPEN).settings.n_ubatch == 512
    assert max(slow.probes) == 128, "one batch either way"
    assert {each.n_ubatch for each in slow.loaded} == {512}


def test_candidates_of_about_one_speed_have_probes_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(Machine(30.0, repacked=0.9, threads=1.3), monkeypatch)
    tuning.measure(FILE, SETTINGS, OPEN)
    assert set(machine.probes) == {16, 128}


def test_what_cannot_be_loaded_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(Machine(200.0, repacked=3.0), monkeypatch)
    machine.refused.append(True)
    assert not tuning.measure(FILE, SETTINGS, OPEN).settings.use_extra_bufts


def test_it_is_said_what_is_measured(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    _on(Machine(30.0), monkeypatch)
    with caplog.at_level(logging.INFO, "localprompt"):
        _tuned()
        said = caplog.text
        _tuned()
    assert "some.gguf: measuring which settings are fastest" in said
    assert "some.gguf: measuring use_extra_bufts=True (30 tokens/s so far)" in said
    assert "n_threads=2" in said
    assert caplog.text == said, "what is remembered is not measured"


def test_settings_that_are_given_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(Machine(200.0, repacked=2.0, threads=2.0), monkeypatch)
    found: Any = tuning.tuned(FILE, "a hash", SETTINGS, fixed=("n_threads", "n_ubatch")).settings
    assert (found.use_extra_bufts, found.n_threads) == (True, 1)
    assert tuning.tuned(FILE, "a hash", SETTINGS, fixed=OPEN) == tuning.Tuned(SETTINGS)
    assert {each.n_threads for each in machine.loaded} == {1}


def test_what_each_choice_gave_is_kept_beside_the_choice(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(Machine(200.0, repacked=1.5, threads=0.5), monkeypatch)
    first = tuning.tuned(FILE, "a hash", SETTINGS, fixed=("n_ubatch",))
    tried = [(trial.settings["use_extra_bufts"], trial.settings["n_threads"]) for trial in first.trials]
    assert tried == [(False, 1), (True, 1), (True, 2)]
    rates = [trial.rate or 0.0 for trial in first.trials]
    assert rates == pytest.approx([200.0, 300.0, 150.0], rel=0.02)
    n_loaded = len(machine.loaded)
    assert (tuning.tuned(FILE, "a hash", SETTINGS, fixed=("n_ubatch",)), len(machine.loaded)) == (first, n_loaded)


def test_a_choice_that_could_not_be_loaded_is_kept_without_a_rate_and_it_is_said_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _on(Machine(200.0), monkeypatch).refused.append(True)
    with caplog.at_level(logging.INFO, "localprompt"):
        trials = tuning.measure(FILE, SETTINGS, OPEN).trials
    assert [trial.rate for trial in trials if trial.settings["use_extra_bufts"]] == [None]
    assert "some.gguf: not with use_extra_bufts=True: there is not the memory" in caplog.text


def test_a_choice_remembered_without_what_the_others_gave_is_still_taken(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = _on(Machine(200.0, threads=1.8), monkeypatch)
    _tuned()
    known = json.loads(memory.read_text())
    for entry in known.values():
        del entry["trials"]
    memory.write_text(json.dumps(known))
    n_loaded = len(machine.loaded)
    found = tuning.tuned(FILE, "a hash", SETTINGS, fixed=())
    assert (found.settings.n_threads, found.trials, len(machine.loaded)) == (2, (), n_loaded)


def test_what_was_measured_beside_others_holds_until_they_are_gone(
    others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    others.now = others.meanwhile = 0.9
    disturbed = _on(Machine(200.0, threads=0.7), monkeypatch)
    assert _tuned().n_threads == 1
    machine = _on(Machine(200.0, threads=1.8), monkeypatch)
    for _ in range(2):
        assert (_tuned().n_threads, machine.loaded) == (1, []), "other settings would be other numbers, for no reason"
    others.now = others.meanwhile = 0.1
    assert _tuned().n_threads == 2
    others.now = others.meanwhile = 0.9
    n_loaded = len(machine.loaded)
    assert (_tuned().n_threads, len(machine.loaded)) == (2, n_loaded), "measured at rest, it is remembered"
    assert disturbed.loaded


def test_others_who_come_back_while_it_is_measured_again_change_nothing(
    others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    others.meanwhile = 0.9
    _on(Machine(200.0, threads=0.7), monkeypatch)
    assert _tuned().n_threads == 1
    _on(Machine(200.0, threads=1.8), monkeypatch)
    assert _tuned().n_threads == 1
    others.meanwhile = 0.1
    assert _tuned().n_threads == 2


def test_where_others_come_and_go_it_is_not_measured_again_for_ever(
    others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    others.meanwhile = 0.9  # never while it is looked whether the machine is free
    machine = _on(Machine(200.0, threads=0.7), monkeypatch)
    loaded = []
    for _ in range(6):
        assert _tuned().n_threads == 1
        loaded.append(len(machine.loaded))
    assert loaded[3] > loaded[2] > loaded[1] > loaded[0] > 0
    assert loaded[3:] == [loaded[3]] * 3


def test_where_nothing_is_known_of_others_what_was_measured_is_remembered(
    others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    others.now = others.meanwhile = None
    machine = _on(Machine(200.0, threads=1.8), monkeypatch)
    first, n_loaded = _tuned(), len(machine.loaded)
    assert (_tuned(), len(machine.loaded)) == (first, n_loaded)


def test_it_is_said_that_others_use_the_machine(
    others: Others, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    others.now = others.meanwhile = 0.9
    _on(Machine(200.0), monkeypatch)
    with caplog.at_level(logging.INFO, "localprompt"):
        _tuned()
        assert "some.gguf: other processes used 0.9 of 2 cores meanwhile, so it is measured again" in caplog.text
        caplog.clear()
        _tuned()
    (said,) = caplog.messages
    assert said.startswith("some.gguf: other processes use 0.9 of 2 cores, which slows it down; its settings were")


GPU = Device("CUDA0", "A card", 20 << 30, 24 << 30)
ON_GPU = ["n_ubatch", "flash_attn", "n_seq_max", "lanes"]


class GpuMachine(Machine):
    """The same on a GPU, where batches, attention and lanes matter; a loaded engine that can complete, too."""

    info: ClassVar[dict[str, int]] = {"start_token": 1}

    def __init__(self, rate: float, **factors: float) -> None:
        super().__init__(rate, **factors)
        self.drawn: list[int] = []
        self.most_rows = 1 << 20

    def __call__(self, path: Path, settings: EngineSettings) -> GpuMachine:
        if settings.n_ubatch > self.most_rows:
            raise NotEnoughMemory("a batch does not fit")
        super().__call__(path, settings)
        return self

    def call(self, op: str, n_tokens: int) -> float:
        rate = super().call(op, n_tokens)
        now, factors = self.loaded[-1], self.factors
        rate *= factors.get(f"rows_{now.n_ubatch}", 1.0)
        return rate * (factors.get("no_flash", 1.0) if now.flash_attn is False else 1.0)

    def map(self, op: str, requests: list[Any], read: Any) -> list[Any]:
        assert op == "generate"
        self.drawn.append(len(requests))
        speed = self.factors.get(f"lanes_{len(requests)}", 1.0) * 1000.0
        clock.now += 16 * len(requests) / speed
        return [read(["", 15, "stop"]) for _ in requests]


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


clock = Clock()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr(tuning, "visible", lambda: (GPU,))
    monkeypatch.setattr(tuning, "descriptions", lambda: (GPU.description,))
    monkeypatch.setattr(tuning, "time", clock)
    return GPU


def test_on_a_gpu_larger_batches_attention_and_lanes_are_tried(gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(GpuMachine(4000.0, rows_1024=1.3, rows_2048=1.5, no_flash=0.8, lanes_192=1.6), monkeypatch)
    found = tuning.tuned(FILE, "a hash", SETTINGS, fixed=())
    assert found.settings == replace(SETTINGS, n_ubatch=2048, n_seq_max=256, lanes=192)
    assert [(trial.settings["n_ubatch"], trial.settings["flash_attn"], trial.of) for trial in found.trials] == [
        *[(n, None, "prefill") for n in (512, 1024, 2048)],
        (2048, False, "prefill"),
        *[(2048, None, "completions")] * 2,
    ]
    assert [trial.rate for trial in found.trials[-2:]] == pytest.approx([1000.0, 1600.0])
    assert max(machine.probes) == 4096, "a probe of two of the largest batches"
    n_loaded = len(machine.loaded)
    assert (tuning.tuned(FILE, "a hash", SETTINGS, fixed=()), len(machine.loaded)) == (found, n_loaded)


def test_on_a_gpu_that_gains_nothing_all_stays(gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(GpuMachine(4000.0, rows_1024=1.02, no_flash=1.02, lanes_192=1.02), monkeypatch)
    assert tuning.tuned(FILE, "a hash", SETTINGS, fixed=()).settings == SETTINGS


def test_a_batch_that_does_not_fit_on_the_gpu_is_not_chosen(gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(GpuMachine(4000.0, rows_1024=1.3, rows_2048=1.5), monkeypatch)
    machine.most_rows = 1024
    found = tuning.tuned(FILE, "a hash", SETTINGS, fixed=())
    assert found.settings.n_ubatch == 1024
    assert [trial.rate for trial in found.trials if trial.settings["n_ubatch"] == 2048] == [None]


def test_a_model_that_cannot_complete_is_still_measured(gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(GpuMachine(4000.0, rows_1024=1.3), monkeypatch)
    monkeypatch.setattr(machine, "map", _dying)
    assert tuning.tuned(FILE, "a hash", SETTINGS, fixed=()).settings == replace(SETTINGS, n_ubatch=1024)


def _dying(*_: Any, **__: Any) -> Any:
    raise WorkerDied("the engine process died")


def test_a_slow_gpu_is_not_asked_for_batches_that_no_probe_fills(gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _on(GpuMachine(40.0), monkeypatch)
    tuning.tuned(FILE, "a hash", SETTINGS, fixed=())
    assert {each.n_ubatch for each in machine.loaded} == {512}
    assert machine.seconds < 60


@pytest.mark.parametrize(
    ("settings", "fixed", "wanted"),
    [
        (SETTINGS, (), ON_GPU),
        (SETTINGS, ("lanes",), ["n_ubatch", "flash_attn"]),
        (SETTINGS, ("n_ubatch",), ["flash_attn", "n_seq_max", "lanes"]),
        (replace(SETTINGS, n_seq_max=64, lanes=32), (), ["n_ubatch", "flash_attn"]),
        (replace(SETTINGS, kv_type="q8_0"), (), ["n_ubatch", "n_seq_max", "lanes"]),
        (replace(SETTINGS, n_gpu_layers=12), (), [*ON_GPU, "use_extra_bufts", "n_threads"]),
        (replace(SETTINGS, n_gpu_layers=0), (), list(OPEN)),
        (replace(SETTINGS, exact=True), (), []),
    ],
)
def test_what_is_measured_where_there_is_a_gpu(
    settings: EngineSettings, fixed: tuple[str, ...], wanted: list[str], gpu: Device
) -> None:
    assert tuning.choices(settings, fixed) == wanted
