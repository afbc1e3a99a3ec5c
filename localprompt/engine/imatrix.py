"""Importance matrices as llama.cpp's `llama-imatrix` writes them, as GGUF. Level 2: pure Python and numpy.

For each weight the mean squared activation of its columns over a text: a quantiser errs less where that is large.

Source: llama.cpp's `common/imatrix-loader.cpp` for the file and `tools/quantize` for the values. Differs: the format
from before GGUF is refused, and so are values that are negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from localprompt.engine.gguf import GGUFHeader, TensorInfo
from localprompt.engine.gguf_reader import read_header
from localprompt.errors import ModelError

_F32 = 0
_SAME_MODEL = "give the importance matrix that was made with this model"


def read_importance(path: Path, weights: Iterable[TensorInfo]) -> dict[str, NDArray[np.float32]]:
    """Return the importance of the columns of each weight that the matrix knows, expert after expert.

    Args:
        path: the importance matrix.
        weights: tensors of the model.

    Raises:
        ModelError: if it is no importance matrix as GGUF, is damaged, or is of another model.
    """
    _check_format(path)
    header = read_header(path)
    kind = header.text("general.type") or "model"
    if kind != "imatrix":
        raise ModelError(f"{path} is of the type {kind}, not an importance matrix", "give what `llama-imatrix` wrote")
    known = {tensor.name: tensor for tensor in header.tensors}
    with path.open("rb") as file:
        found = {
            weight.name: _importance(header, file, weight, known)
            for weight in weights
            if f"{weight.name}.in_sum2" in known
        }
    if not found:
        raise ModelError(f"{path} knows none of the model's weights", _SAME_MODEL)
    return found


def _check_format(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if magic != b"GGUF":
        hint = f"`llama-imatrix --in-file {path.name} -o NEW.gguf` makes one of the format from before GGUF"
        raise ModelError(f"{path} is not an importance matrix as GGUF", hint)


def _importance(
    header: GGUFHeader, file: BinaryIO, weight: TensorInfo, known: dict[str, TensorInfo]
) -> NDArray[np.float32]:
    n_columns, n_experts = weight.dims[0], weight.dims[2] if len(weight.dims) > 2 else 1
    sums = _values(header, file, known[f"{weight.name}.in_sum2"], (n_columns * n_experts,))
    counts = known.get(f"{weight.name}.counts")
    if counts is None:
        raise ModelError(f"{header.path} is damaged: it has no counts for {weight.name}", "make it again")
    n = np.rint(_values(header, file, counts, (1, n_experts)))
    each = np.broadcast_to(n[:, None], (n_experts, 1))
    # An expert that the text never reached is as important as any: its columns count alike.
    mean = np.divide(sums.reshape(n_experts, n_columns), each, where=each > 0, out=np.ones((n_experts, n_columns)))
    return np.asarray(mean.ravel(), np.float32)


def _values(header: GGUFHeader, file: BinaryIO, tensor: TensorInfo, lengths: tuple[int, ...]) -> NDArray[np.float64]:
    if tensor.type != _F32 or tensor.parameters not in lengths:
        what = f"{header.path} does not fit the model: {tensor.name} has {tensor.parameters} values, not {lengths[-1]}"
        raise ModelError(what, _SAME_MODEL)
    place = header.data_offset + tensor.offset
    if place + tensor.n_bytes > header.file_size:
        raise ModelError(f"{header.path} is truncated: {tensor.name} lies beyond its end", "make or download it again")
    file.seek(place)
    values = np.frombuffer(file.read(tensor.n_bytes), "<f4").astype(np.float64)
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ModelError(
            f"{header.path} is damaged: {tensor.name} has values that are no sums of squares", "make it again"
        )
    return values
