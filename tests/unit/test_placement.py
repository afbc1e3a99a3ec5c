"""Which layers lie on GPUs, and whether these have the memory for them."""

from __future__ import annotations

import logging
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import write

from localprompt.engine import memory, placement
from localprompt.engine.devices import Device, LoadLog
from localprompt.engine.gguf import GGUFHeader
from localprompt.engine.gguf_validator import validate
from localprompt.engine.settings import EngineSettings, read_settings
from localprompt.errors import ConfigError, ModelError, NotEnoughMemory

N_BLOCKS, WEIGHT = 4, 1 << 20
ROOMY = Device("CUDA0", "a large one", 64 << 30, 64 << 30)


@pytest.fixture
def header(tmp_path: Path) -> GGUFHeader:
    def more(writer: gguf.GGUFWriter) -> None:
        del writer.kv_data[0]["llama.block_count"]
        writer.add_block_count(N_BLOCKS)
        writer.add_head_count(4)
        writer.add_head_count_kv(2)

    ones = np.ones((WEIGHT // 4 // 32, 32), np.float32)
    names = ["token_embd.weight", "output.weight", *(f"blk.{i}.ffn_up.weight" for i in range(N_BLOCKS))]
    return validate(write(tmp_path / "m.gguf", more=more, tensors=dict.fromkeys(names, ones)))


def gpu(room: int, name: str = "CUDA0") -> Device:
    return Device(name, "one", room, room + (512 << 20))


def test_layers_go_to_gpus_from_the_last_one_on_and_the_input_never(header: GGUFHeader) -> None:
    settings = EngineSettings(n_ctx=1024)
    weights = [placement.on_gpus(header, settings, n).weights // WEIGHT for n in range(N_BLOCKS + 2)]
    assert weights == [0, 1, 2, 3, 4, 5]
    cells = [placement.on_gpus(header, settings, n).cells for n in range(N_BLOCKS + 2)]
    assert cells == [memory.needed(header, settings).cells * n // N_BLOCKS for n in (0, 0, 1, 2, 3, 4)]


def test_the_machine_needs_memory_for_the_rest(header: GGUFHeader) -> None:
    settings = EngineSettings(n_ctx=1024)
    everything = memory.needed(header, settings)
    assert placement.on_host(header, settings, []) == everything
    rest = placement.on_host(header, settings, [ROOMY])
    assert (rest.weights, rest.cells) == (WEIGHT, 0), "the input"
    half = placement.on_host(header, EngineSettings(n_ctx=1024, n_gpu_layers=3), [ROOMY])
    assert (half.weights, half.cells) == (3 * WEIGHT, everything.cells // 2)
    assert placement.on_host(header, EngineSettings(n_ctx=1024, n_gpu_layers=0), [ROOMY]) == everything
    shared = Device("MTL0", "one", 64 << 30, 64 << 30, shares_ram=True)
    assert placement.on_host(header, settings, [shared]) == everything


def test_as_many_layers_as_fit_are_chosen_and_it_is_said(header: GGUFHeader, caplog: pytest.LogCaptureFixture) -> None:
    need = placement.on_gpus(header, EngineSettings(), 3).total
    with caplog.at_level(logging.WARNING, "localprompt"):
        chosen = placement.fitted(header, EngineSettings(), (), [gpu(need)])
    assert chosen.n_gpu_layers == 3
    assert "3 of 5 layers fit on CUDA0" in caplog.text
    assert placement.fitted(header, EngineSettings(), (), [ROOMY]).n_gpu_layers is None, "all"
    fixed = EngineSettings(n_gpu_layers=5)
    assert placement.fitted(header, fixed, {"n_gpu_layers"}, [gpu(need)]).n_gpu_layers == 5


def test_the_choice_does_not_depend_on_what_is_free_at_the_moment(header: GGUFHeader) -> None:
    busy = Device("CUDA0", "one", 0, 64 << 30)
    assert placement.fitted(header, EngineSettings(), (), [busy]).n_gpu_layers is None


def test_streams_take_half_of_what_the_gpu_has_left(header: GGUFHeader) -> None:
    settings = EngineSettings()
    need, cell = placement.on_gpus(header, settings, 5).total, memory.cell_bytes(header, settings)
    for left, cells in ((0, 0), (2 * 9000 * cell, 8192), (1 << 40, settings.stream_ctx)):
        assert placement.fitted(header, settings, (), [gpu(int(need + left))]).stream_ctx == cells


def test_what_does_not_fit_is_refused_with_the_number_to_set(header: GGUFHeader) -> None:
    settings = EngineSettings(n_ctx=1024)
    room = placement.on_gpus(header, settings, 2).total
    with pytest.raises(NotEnoughMemory, match=r"MB more than is free on CUDA0 \(one, .*\) for 5 layers") as caught:
        placement.check(Path("m.gguf"), header, settings, [gpu(room)])
    assert "set n_gpu_layers=2" in caught.value.hint
    placement.check(Path("m.gguf"), header, EngineSettings(n_ctx=1024, n_gpu_layers=2), [gpu(room)])


def test_each_gpu_must_have_room_for_its_share_and_a_batch(header: GGUFHeader) -> None:
    need = placement.on_gpus(header, EngineSettings(n_ctx=1024), 5)
    dealt = need.total - need.compute
    pair = [gpu(need.compute + dealt // 2 + 1), gpu(need.compute + dealt // 2 + 1, "CUDA1")]
    placement.check(Path("m.gguf"), header, EngineSettings(n_ctx=1024), pair)
    placement.check(Path("m.gguf"), header, EngineSettings(n_ctx=1024, tensor_split=(1.0, 1.0)), pair)
    with pytest.raises(NotEnoughMemory):
        placement.check(Path("m.gguf"), header, EngineSettings(n_ctx=1024, tensor_split=(3.0, 1.0)), pair)
    with pytest.raises(NotEnoughMemory, match="CUDA1"):
        placement.check(Path("m.gguf"), header, EngineSettings(n_ctx=1024, main_gpu=1), pair)


@pytest.mark.parametrize("settings", [EngineSettings(main_gpu=1), EngineSettings(tensor_split=(1.0, 2.0))])
def test_a_gpu_that_there_is_not_is_refused(header: GGUFHeader, settings: EngineSettings) -> None:
    with pytest.raises(ModelError, match=r"names GPU number 1, and llama\.cpp sees CUDA0"):
        placement.check(Path("m.gguf"), header, settings, [ROOMY])
    with pytest.raises(ModelError, match="sees none"):
        placement.check(Path("m.gguf"), header, settings, [])


def test_a_driver_that_does_not_say_what_it_has_is_left_to_llama_cpp(header: GGUFHeader) -> None:
    silent = Device("SYCL0", "one", 0, 0)
    placement.check(Path("m.gguf"), header, EngineSettings(), [silent])
    assert placement.fitted(header, EngineSettings(), (), [silent]).n_gpu_layers is None


def test_settings_of_several_gpus_are_read_and_held_together() -> None:
    assert read_settings({"tensor_split": "3,1"}).tensor_split == (3.0, 1.0)
    assert EngineSettings(tensor_split=[3, 1]).tensor_split == (3, 1)  # type: ignore[arg-type]
    assert "tensor_split" not in EngineSettings().numerics()
    assert EngineSettings(main_gpu=0).numerics()["main_gpu"] == 0
    for wrong in ({"tensor_split": "0,0"}, {"main_gpu": "16"}, {"main_gpu": "0", "tensor_split": "1"}):
        with pytest.raises(ConfigError, match="impossible engine settings"):
            read_settings(wrong)


LOG = """prepare: using device Vulkan0 (llvmpipe (LLVM 15.0.6, 256 bits)) (unknown id) - 100 MiB free
load_tensors: offloading output layer to GPU
load_tensors: offloaded 3/5 layers to GPU
load_tensors:   CPU_Mapped model buffer size =    27.55 MiB
load_tensors:      Vulkan0 model buffer size =    98.25 MiB
"""


def test_what_a_load_put_where_is_read_from_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    log = LoadLog()
    for line in LOG.splitlines():
        log(2, line)
    assert log.facts() == {
        "devices": [["Vulkan0", "llvmpipe (LLVM 15.0.6, 256 bits)"]],
        "layers": 3,
        "of": 5,
        "mebibytes": {"Vulkan0": 98.25},
    }
    log(4, "failed\n")
    assert capsys.readouterr().err == "failed\n"


def test_layers_that_are_counted_but_lie_nowhere_are_not_on_a_gpu() -> None:
    log = LoadLog()
    for line in LOG.replace("     Vulkan0 model", "CPU_REPACK model").splitlines():
        log(2, line)
    assert log.facts() == {}


@pytest.mark.parametrize(("n_seq_max", "lanes"), [(8, 7), (256, 64), (2, 1)])
def test_fewer_sequences_leave_fewer_lanes(n_seq_max: int, lanes: int) -> None:
    assert read_settings({"n_seq_max": n_seq_max}).lanes == lanes
