"""What a model needs of the machine's memory."""

from __future__ import annotations

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
    too_much = MemoryNeed(weights=1 << 60, cells=1, compute=1, outputs=1, process=1)
    with pytest.raises(ModelError, match=r"big\.gguf needs about .* GB .* weights, .* are free"):
        memory.check(Path("big.gguf"), too_much)
    memory.check(Path("small.gguf"), MemoryNeed(1, 1, 1, 1, 1))


def test_no_more_is_available_than_the_machine_has() -> None:
    assert 0 < memory.available() <= psutil.virtual_memory().total
