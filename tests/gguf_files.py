"""GGUF files of a few tokens and tensors, written by the `gguf` package: no weights that mean anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

TOKENS = ("<unk>", "<s>", "</s>", "the", "é", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
TENSORS = {"token_embd.weight": np.ones((8, 32), np.float32), "output.weight": np.ones((8, 32), np.float16)}


def write(
    path: Path,
    *,
    architecture: str = "llama",
    tokens: Sequence[str] = TOKENS,
    model: str = "llama",
    pre: str | None = None,
    add_bos: bool | None = None,
    more: Callable[[gguf.GGUFWriter], Any] = lambda writer: None,
    without: Sequence[str] = (),
    tensors: Mapping[str, Any] = TENSORS,
) -> Path:
    """A GGUF file with a vocabulary of a few tokens and two tensors."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(128)
    writer.add_block_count(1)
    writer.add_embedding_length(32)
    writer.add_tokenizer_model(model)
    writer.add_token_list(list(tokens))
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([1] * len(tokens))
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)
    more(writer)
    for key in without:
        del writer.kv_data[0][key]
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
