"""Saying whether llama.cpp may be let near a GGUF file. Level 2: pure Python and numpy, nothing native.

Some malformed and even some official files make llama.cpp abort the process, which Python cannot catch. `validate`
finds them from their headers alone, within the bounds of `gguf_reader.py`, and raises nothing but `ModelError`.

Source: llama.cpp's own reader and vocabulary loader for what they refuse, Ollama's `convert` for what it alone reads.
Differs: a tensor without elements is refused, and a chat template beyond any real one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from localprompt.engine.gguf import GGML_TYPES, GGUFHeader
from localprompt.engine.gguf_reader import INCOMPLETE, read_header, unusable
from localprompt.engine.parts import other_parts
from localprompt.errors import ModelError
from localprompt.interface.advice import command

MAX_TEMPLATE_CHARS = 262_144
MAX_TOKENS = 1_000_000
_OTHER_FILES: Mapping[str, str] = {
    "adapter": "an adapter, such as a LoRA,",
    "imatrix": "an importance matrix",
    "mmproj": "a projector of pictures or sound",
}
"""What a file is that says of itself that it is no model, by `general.type`."""
_ENCODERS = """
    bert modern-bert nomic-bert nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert gemma-embedding llama-embed
    t5encoder
"""
_OTHER_KINDS: Mapping[str, str] = {
    **dict.fromkeys(_ENCODERS.split(), "an encoder"),
    **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1"), "a diffusion model"),
    **dict.fromkeys(("eagle3", "dflash", "gemma4-assistant"), "a draft model, which guesses for another one"),
    "t5": "an encoder-decoder model",
    "gptoss": "a model in a form that only Ollama reads",
    "wavtokenizer-dec": "a decoder of sound",
}
"""What a model is that writes no text from left to right by itself, by architecture: llama.cpp has no cache for it, or
kills the process, or returns numbers that are no logits."""


def validate(path: str | os.PathLike[str]) -> GGUFHeader:
    """Return the header of a model that llama.cpp can be given without aborting the process.

    A split model is given by its first part; all parts are checked, and the header holds the tensors of all of them.

    Raises:
        ModelError: one sentence that names the file and what is wrong with it.
    """
    header = read_header(path)
    parts = [header, *other_parts(header)]
    _check_required_keys(header)
    _check_vocabulary(header)
    for part in parts:
        _check_tensors(part)
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    if not tensors:
        raise _unusable(header, "it has no tensors")
    twice = [name for name, n in Counter(tensor.name for tensor in tensors).items() if n > 1]
    if twice:
        raise _unusable(header, f"the tensor {twice[0]!r} occurs twice")
    return replace(header, tensors=tensors, file_size=sum(part.file_size for part in parts))


def other_kind(header: GGUFHeader) -> str:
    """Return what a file is, such as `an encoder`, if it writes no text from left to right; else an empty text.

    What it says before its vocabulary is enough, see `read_beginning`; where that leaves a doubt, the rest is read.

    Raises:
        ModelError: if the rest cannot be read.
    """
    kind = _stated_type(header)
    if kind != "model":
        return _OTHER_FILES.get(kind, "something else").rstrip(",")
    sees = header.integer(f"{header.architecture}.vision.block_count")  # of the projector, which may lie apart
    if sees and any(tensor.name.startswith("v.") for tensor in header.tensors or read_header(header.path).tensors):
        return "a model packed with its projector of pictures, which only Ollama reads"
    is_encoder = header.metadata.get(f"{header.architecture}.attention.causal") is False
    return _OTHER_KINDS.get(header.architecture, "an encoder" if is_encoder else "")


def _stated_type(header: GGUFHeader) -> str:
    return header.text("general.type") or ("mmproj" if header.architecture == "clip" else "model")


def _unusable(header: GGUFHeader, what: str, hint: str = "") -> ModelError:
    return unusable(header.path, what, hint)


def _check_required_keys(header: GGUFHeader) -> None:
    kind = _stated_type(header)
    if kind != "model":
        what = _OTHER_FILES.get(kind, "something else")
        raise ModelError(f"{header.path} is {what} (of the type {kind[:80]}), not a model", "give the model's own file")
    if not header.architecture:
        raise _unusable(header, "general.architecture is missing")
    if what := other_kind(header):
        raise ModelError(
            f"{header.path} is {what} ({header.architecture[:80]}); a model that writes from left to right is needed",
            f"{command('models', 'list')} names some",
        )
    for key in ("context_length", "block_count", "embedding_length"):
        full_key = f"{header.architecture}.{key}"
        value = header.integer(full_key)
        if value is None or not 0 < value < 1 << 31:
            raise _unusable(header, f"{full_key[:80]!r} is missing or not a count")
    template = header.metadata.get("tokenizer.chat_template", "")
    if not isinstance(template, str) or len(template) > MAX_TEMPLATE_CHARS:
        raise _unusable(header, f"its chat template is not a text of at most {MAX_TEMPLATE_CHARS} characters")


def _check_vocabulary(header: GGUFHeader) -> None:
    import numpy as np  # noqa: PLC0415 - it starts slowly, and lists of models validate nothing

    n_vocab = header.n_vocab
    if not n_vocab or not header.text("tokenizer.ggml.model"):
        raise _unusable(header, "it has no vocabulary")
    if n_vocab > MAX_TOKENS:
        raise _unusable(header, f"its vocabulary claims {n_vocab} tokens")
    for key, kinds in (("scores", "fi"), ("token_type", "i")):
        value = header.metadata.get(f"tokenizer.ggml.{key}")
        if value is None:
            continue
        if not isinstance(value, np.ndarray) or value.dtype.itemsize != 4 or value.dtype.kind not in kinds:
            raise _unusable(header, f"tokenizer.ggml.{key} is not an array of 32-bit numbers")
        if len(value) != n_vocab:
            raise _unusable(header, f"tokenizer.ggml.{key} has {len(value)} entries for {n_vocab} tokens")
    if (pair := header.tokens.first_duplicate()) is not None:
        raise _unusable(header, f"the tokens {pair[0]} and {pair[1]} are both {header.tokens[pair[0]][:80]!r}")
    if header.add_bos and header.bos_id is None:
        raise _unusable(header, "it wants a BOS token but does not say which")


def _check_tensors(header: GGUFHeader) -> None:
    room = header.file_size - header.data_offset
    for tensor in header.tensors:
        if tensor.type not in GGML_TYPES:
            raise _unusable(header, f"the tensor {tensor.name!r} has the unknown type {tensor.type}")
        if not 0 < tensor.parameters < 1 << 63:
            raise _unusable(header, f"the tensor {tensor.name!r} has {tensor.parameters} elements")
        name, elements, _ = GGML_TYPES[tensor.type]
        if name != "F32" and "norm" in tensor.name:  # nothing quantises these; the kernels abort on other types
            raise _unusable(header, f"the tensor {tensor.name!r} has the type {name}; a norm has F32")
        if (tensor.dims[0] if tensor.dims else 1) % elements:
            raise _unusable(header, f"the rows of the tensor {tensor.name!r} are not whole blocks of {name}")
        if tensor.offset % header.alignment:
            raise _unusable(header, f"the tensor {tensor.name!r} is not aligned to {header.alignment} bytes")
        if tensor.offset + tensor.n_bytes > room:
            missing = tensor.offset + tensor.n_bytes - room
            raise _unusable(
                header, f"the tensor {tensor.name!r} lies {missing} bytes beyond the end: it is truncated", INCOMPLETE
            )
    in_order = sorted(header.tensors, key=lambda tensor: tensor.offset)
    for tensor, after in pairwise(in_order):
        if tensor.offset + tensor.n_bytes > after.offset:
            raise _unusable(header, f"the tensors {tensor.name!r} and {after.name!r} lie on one another")
