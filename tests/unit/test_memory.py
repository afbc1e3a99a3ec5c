"""What a model needs of the machine's memory."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest
from gguf_files import write

from localprompt.engine import memory
from localprompt.engine.gguf_validator import validate
from localprompt.engine.memory import MemoryNeed
from localprompt.engine.settings import EngineSettings
from localprompt.errors import ModelError

ROWS = np.ones((8, 32), np.float32)


def with_heads(writer: gguf.GGUFWriter) -> None:
    writer.add_head_count(4)
    writer.add_head_count_kv(2)


def need(path: Path, **settings: object) -> MemoryNeed:
    return memory.needed(validate(path), EngineSettings(**settings))  # type: ignore[arg-type]


def test_cells_are_counted_from_layers_heads_and_precision(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", more=with_heads)  # 1 layer, 32 wide: 2 heads of 8 for keys, 2 for values
    assert need(path, n_ctx=1024).cells == 1024 * 2 * (8 + 8) * 2
    assert need(path, n_ctx=1024, kv_type="f32").cells == 1024 * 2 * (8 + 8) * 4
    assert need(path, n_ctx=1024, kv_type="q8_0").cells == 1024 * 2 * (8 + 8) * 34 // 32


def test_heads_that_differ_from_layer_to_layer_are_summed(tmp_path: Path) -> None:
    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_head_count([4, 4])
        writer.add_head_count_kv([1, 2])

    assert need(write(tmp_path / "m.gguf", more=more), n_ctx=1024).cells == 1024 * 3 * (8 + 8) * 2


def test_millions_of_layers_are_counted_in_no_time(tmp_path: Path) -> None:
    header = validate(write(tmp_path / "m.gguf"))
    claims = {**header.metadata, "llama.attention.head_count": np.full(20_000_000, 4, np.uint8)}
    started = time.process_time()  # of this process: others may be busy
    assert memory.needed(replace(header, metadata=claims), EngineSettings()).cells
    assert time.process_time() - started < 1


def test_repacked_weights_are_there_twice(tmp_path: Path) -> None:
    def more(writer: gguf.GGUFWriter) -> None:
        blocks = gguf.quantize(ROWS, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor("blocks", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    path = write(tmp_path / "m.gguf", more=more, tensors={"a": ROWS})
    once, n_blocks = ROWS.nbytes, ROWS.size // 32 * 34
    assert need(path).weights == once + n_blocks
    assert need(path, use_extra_bufts=True).weights == once + 2 * n_blocks, "F32 is not repacked"


def test_a_header_that_says_little_has_an_estimate_all_the_same(tmp_path: Path) -> None:
    estimate = need(write(tmp_path / "m.gguf"), n_ctx=1024, flash_attn=False)
    assert estimate.total > estimate.process > 0


def test_what_does_not_fit_is_refused_with_the_numbers() -> None:
    too_much = MemoryNeed(weights=1 << 60, cells=1, states=1, compute=1, outputs=1, process=1)
    with pytest.raises(ModelError, match=r"big\.gguf needs about .* GB .* weights, .* are free"):
        memory.check(Path("big.gguf"), too_much)
    memory.check(Path("small.gguf"), MemoryNeed(1, 1, 1, 1, 1, 1))


def test_no_more_is_available_than_the_machine_has() -> None:
    assert 0 < memory.available() <= psutil.virtual_memory().total


def recurrent(path: Path, *, state_size: int) -> Path:
    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_head_count(4)
        writer.add_head_count_kv([0, 2])
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(64)
        writer.add_ssm_state_size(state_size)
        writer.add_ssm_group_count(1)

    return write(path, more=more)


def test_a_sequence_of_a_recurrent_model_takes_a_state(tmp_path: Path) -> None:
    path = recurrent(tmp_path / "m.gguf", state_size=16)
    past, state = 3 * (64 + 2 * 16), 16 * 64
    assert memory.state_bytes(validate(path)) == 4 * (past + state), "the layer without heads alone"
    assert need(path, n_seq_max=32, lanes=8).states == 32 * 4 * (past + state)
    assert memory.state_bytes(validate(write(tmp_path / "plain.gguf", more=with_heads))) == 0


def test_only_every_so_many_layers_have_cells_where_the_header_says_so_and_the_others_states(tmp_path: Path) -> None:
    def more(writer: gguf.GGUFWriter, every: int | None) -> None:
        writer.add_block_count(8)
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(64)
        writer.add_ssm_state_size(16)
        if every is not None:
            writer.add_full_attention_interval(every)

    plain, fourth = (
        validate(write(tmp_path / f"{every}.gguf", more=partial(more, every=every))) for every in (None, 4)
    )
    assert plain.block_count == fourth.block_count == 8
    settings = EngineSettings()
    assert memory.cell_bytes(fourth, settings) == memory.cell_bytes(plain, settings) / 4
    assert memory.cell_bytes(fourth, settings, first=3) == memory.cell_bytes(fourth, settings), "the fourth and eighth"
    assert memory.cell_bytes(fourth, settings, first=4) == memory.cell_bytes(fourth, settings) / 2
    assert memory.state_bytes(fourth) == memory.state_bytes(plain) * 6 / 8


def test_as_many_sequences_as_states_fit_and_what_is_fixed_stays(tmp_path: Path) -> None:
    header = validate(recurrent(tmp_path / "m.gguf", state_size=1 << 18))  # 68 MB a sequence
    chosen = memory.fitted(header, EngineSettings(), ())
    fit = (1 << 30) // memory.state_bytes(header)
    assert 8 < fit < 20
    assert (chosen.n_seq_max, chosen.lanes) == (fit, fit // 2)
    lanes = memory.fitted(header, EngineSettings(lanes=30), {"lanes"})
    assert (lanes.n_seq_max, lanes.lanes) == (32, 30)
    sequences = memory.fitted(header, EngineSettings(n_seq_max=100), {"n_seq_max"})
    assert (sequences.n_seq_max, sequences.lanes) == (100, 50)
    small = memory.fitted(validate(recurrent(tmp_path / "s.gguf", state_size=16)), EngineSettings(), ())
    assert small.n_seq_max == EngineSettings().n_seq_max
    large = validate(recurrent(tmp_path / "l.gguf", state_size=1 << 20))
    assert memory.fitted(large, EngineSettings(), ()).n_seq_max == 8
    assert memory.fitted(large, EngineSettings(exact=True), ()).n_seq_max == 10, "the fewest of exact mode"


def test_streams_take_no_more_than_half_of_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = validate(write(tmp_path / "m.gguf", more=with_heads))
    settings = EngineSettings(n_ctx=1024)
    total, cell = memory.needed(header, settings).total, 2 * (8 + 8) * 2
    for free, cells in ((0, 0), (total + 2 * 9000 * cell, 8192), (total + (1 << 40), settings.stream_ctx)):
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        assert memory.fitted(header, settings, ()).stream_ctx == cells
        assert memory.fitted(header, settings, {"stream_ctx"}).stream_ctx == settings.stream_ctx


def test_counts_that_are_no_whole_numbers_say_nothing(tmp_path: Path) -> None:
    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_array(f"{writer.arch}.attention.head_count", [float("nan"), 4.0])
        writer.add_array(f"{writer.arch}.feed_forward_length", [float("inf")])

    assert need(write(tmp_path / "m.gguf", more=more)) == need(write(tmp_path / "plain.gguf"))
