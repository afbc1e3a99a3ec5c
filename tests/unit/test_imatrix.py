"""Importance matrices: what is read from one, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from localprompt.engine.gguf import TensorInfo
from localprompt.engine.imatrix import read_importance
from localprompt.errors import ModelError

Values = npt.NDArray[np.generic]
WEIGHTS = (
    TensorInfo("blk.0.ffn_up.weight", (4, 8), 0, 0),
    TensorInfo("blk.0.ffn_up_exps.weight", (2, 8, 3), 0, 0),
    TensorInfo("blk.0.attn_norm.weight", (4,), 0, 0),
)
SUMS = np.array([[1, 2, 3, 4]], np.float32)
COUNTS = np.array([[2]], np.float32)


def write(path: Path, tensors: Mapping[str, Values], kind: str = "imatrix") -> Path:
    writer = gguf.GGUFWriter(path, "")
    writer.add_type(kind)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def of(name: str, sums: Values = SUMS, counts: Values = COUNTS) -> dict[str, Values]:
    return {f"{name}.in_sum2": sums, f"{name}.counts": counts}


def test_importance_is_the_mean_square_of_each_column_and_one_for_experts_never_reached(tmp_path: Path) -> None:
    experts = of(
        "blk.0.ffn_up_exps.weight",
        np.array([[1, 3], [5, 7], [0, 0]], np.float32),
        np.array([[1], [2], [0]], np.float32),
    )
    path = write(tmp_path / "it.gguf", {**of("blk.0.ffn_up.weight"), **experts, **of("blk.9.of_another.weight")})
    found = read_importance(path, WEIGHTS)
    assert {name: values.tolist() for name, values in found.items()} == {
        "blk.0.ffn_up.weight": [0.5, 1, 1.5, 2],
        "blk.0.ffn_up_exps.weight": [1, 3, 2.5, 3.5, 1, 1],
    }
    assert all(values.dtype == np.float32 and values.flags.c_contiguous for values in found.values())


@pytest.mark.parametrize(
    ("tensors", "kind", "said"),
    [
        (of("blk.0.ffn_up.weight"), "model", "is of the type model, not an importance matrix"),
        (of("blk.7.ffn_up.weight"), "imatrix", "knows none of the model's weights"),
        ({"blk.0.ffn_up.weight.in_sum2": SUMS}, "imatrix", "it has no counts for blk.0.ffn_up.weight"),
        (of("blk.0.ffn_up.weight", SUMS[:, :3]), "imatrix", "has 3 values, not 4"),
        (of("blk.0.ffn_up.weight", SUMS, np.ones((5, 1), np.float32)), "imatrix", "has 5 values, not 1"),
        (of("blk.0.ffn_up.weight", SUMS.astype(np.float16)), "imatrix", "does not fit the model"),
        (of("blk.0.ffn_up.weight", SUMS * np.float32("nan")), "imatrix", "values that are no sums of squares"),
        (of("blk.0.ffn_up.weight", SUMS * np.float32("inf")), "imatrix", "values that are no sums of squares"),
        (of("blk.0.ffn_up.weight", -SUMS), "imatrix", "values that are no sums of squares"),
        (of("blk.0.ffn_up.weight", SUMS, -COUNTS), "imatrix", "values that are no sums of squares"),
    ],
)
def test_what_does_not_fit_or_is_no_number_is_one_sentence(
    tmp_path: Path, tensors: dict[str, Values], kind: str, said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        read_importance(write(tmp_path / "it.gguf", tensors, kind), WEIGHTS)


def test_the_old_format_is_named_with_what_converts_it(tmp_path: Path) -> None:
    old = tmp_path / "imatrix.dat"
    old.write_bytes((3).to_bytes(4, "little") + b"\x13\0\0\0blk.0.ffn_up.weight")
    with pytest.raises(ModelError, match="is not an importance matrix as GGUF") as raised:
        read_importance(old, WEIGHTS)
    assert "`llama-imatrix --in-file imatrix.dat -o NEW.gguf`" in raised.value.hint


def test_a_truncated_or_absent_file_is_one_sentence(tmp_path: Path) -> None:
    whole = write(tmp_path / "it.gguf", of("blk.0.ffn_up.weight")).read_bytes()
    with pytest.raises(ModelError, match="cannot read"):
        read_importance(tmp_path / "absent.gguf", WEIGHTS)
    with pytest.raises(ModelError, match="cannot read"):
        read_importance(tmp_path, WEIGHTS)
    cut = tmp_path / "cut.gguf"
    for length in range(0, len(whole) - 33, 7):
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_importance(cut, WEIGHTS)
    cut.write_bytes(whole[: len(whole) - 60])
    with pytest.raises(ModelError, match=r"is truncated: blk\.0\.ffn_up\.weight\.in_sum2 lies beyond its end"):
        read_importance(cut, WEIGHTS)


def test_places_far_beyond_the_file_are_not_gone_to(tmp_path: Path) -> None:
    path = write(tmp_path / "it.gguf", of("blk.0.ffn_up.weight"))
    data = path.read_bytes()
    name = b"blk.0.ffn_up.weight.in_sum2"
    at = data.index(name) + len(name) + 4 + 16 + 4  # behind the number of dimensions, two of them and the type
    path.write_bytes(data[:at] + (2**63 - 32).to_bytes(8, "little") + data[at + 8 :])
    with pytest.raises(ModelError, match="lies beyond its end"):
        read_importance(path, WEIGHTS)
