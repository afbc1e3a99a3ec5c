"""Synthetic models of benchmarks/synthetic.py: shapes of the real size, and files that the engine can run."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from localprompt.engine.gguf_reader import read_header
from localprompt.engine.gguf_validator import validate
from localprompt.errors import ModelError
from localprompt.lm.local import load_model
from localprompt.types import Sampling

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import synthetic
from synthetic import SHAPES, Shape, tensors, write, written

SMALL = {"n_embd": 256, "n_ff": 512, "n_head": 4, "n_head_kv": 2, "n_vocab": 400, "n_ctx": 512}


def _size(shape: Shape) -> tuple[int, int]:
    """Parameters and bytes of all tensors."""
    wanted = [(math.prod(dims), *gguf.GGML_QUANT_SIZES[kind]) for _, dims, kind in tensors(shape)]
    return sum(n for n, _, _ in wanted), sum(n // per_block * n_bytes for n, per_block, n_bytes in wanted)


@pytest.mark.parametrize(
    ("name", "parameters", "size"),
    [
        ("qwen2.5-7b", 7_615_616_512, 4_683_073_536),
        ("llama-3.1-8b", 8_030_261_248, 4_920_739_232),
        ("granite-4-h-tiny", 6_940_000_000, 4_230_000_000),
    ],
)
def test_a_shape_has_the_parameters_and_the_size_of_the_real_model(name: str, parameters: int, size: int) -> None:
    found = _size(SHAPES[name])
    assert found[0] == pytest.approx(parameters, rel=0.001)
    assert found[1] == pytest.approx(size, rel=0.003)


@pytest.mark.parametrize("name", SHAPES)
def test_a_small_model_of_each_shape_runs_and_its_numbers_are_finite(
    name: str, tmp_path: Path, tiny_qwen: Path
) -> None:
    small = replace(SHAPES[name], n_layer=4, **SMALL)  # type: ignore[arg-type]
    if small.n_expert:
        small = replace(small, n_expert=4, n_expert_used=2, n_ff_shared=256, attention_layers=(1, 3), n_ssm_head=8)
    path = tmp_path / "synthetic.gguf"
    write(path, name, small, read_header(tiny_qwen))
    header = validate(path)
    assert "synthetic" in header.name
    assert {share.name for share in header.quantisation} == {"Q4_K", "Q6_K", "F32"}
    with load_model(path, tune=False, n_ctx=512, n_ubatch=128, n_threads=1) as lm:
        scores = lm.loglikelihood([("the answer is", f" {word}") for word in ("good", "bad", "the slow one")])
        assert all(np.isfinite(score.logprob) and score.logprob < 0 for score in scores)
        assert lm.generate(["the"] * 3, Sampling(max_tokens=4, temperature=1.0), range(3))[0].n_tokens >= 1


def test_a_file_is_whole_or_not_there_and_nothing_is_written_where_it_has_no_room(
    tmp_path: Path, tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SHAPES["qwen2.5-7b"], n_layer=1, **SMALL)  # type: ignore[arg-type]
    monkeypatch.setitem(SHAPES, "small", small)
    vocabulary, path = read_header(tiny_qwen), tmp_path / "synthetic.gguf"

    class Full:
        free = 1000

    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda folder: Full())
        with pytest.raises(ModelError, match=r"has 0\.0 GB free and the file needs 0\.0"):
            written(path, "small", vocabulary)

    def interrupted(part: Path, *rest: object) -> None:
        part.write_bytes(b"GGUF")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            written(path, "small", vocabulary)
    assert list(tmp_path.iterdir()) == []
    written(path, "small", vocabulary)
    before = path.stat().st_mtime_ns
    written(path, "small", vocabulary)
    assert (list(tmp_path.iterdir()), path.stat().st_mtime_ns) == ([path], before)
