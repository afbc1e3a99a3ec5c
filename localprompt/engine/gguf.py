"""What a GGUF file says of itself: its metadata, vocabulary, special tokens and tensors. Level 2.

Records only, pure Python and numpy, nothing native: `gguf_reader.py` makes them from a file, `gguf_validator.py` says
whether llama.cpp may be given that file. What llama.cpp assumes where a key is missing is assumed here too.

Source: the GGUF specification, versions 2 and 3, and llama.cpp's own vocabulary loader.
"""

from __future__ import annotations

import math
import struct
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GGML_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
"""Type number to name, elements of a block, bytes of a block."""

_MIXES = """
    F32 F16 Q4_0 Q4_1 - - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ2_XXS IQ2_XS
    Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16 - - - TQ1_0 TQ2_0
"""
FILE_TYPES: Mapping[int, str] = {number: name for number, name in enumerate(_MIXES.split()) if name != "-"}
"""`general.file_type` to the name of the quantisation mix."""

FULL_TYPES = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8"})
"""Types, and mixes, in which nothing is quantised."""
REQUANTISED_KEY = "localprompt.requantised_from"
"""Metadata of a file that was made from a quantised one: its level, behind those that it was made from itself."""

_U64 = struct.Struct("<Q")

# What llama.cpp assumes where the header is silent: the BOS of each tokenizer model, and who adds it.
_DEFAULT_BOS: Mapping[str, int] = {"llama": 1, "bert": 101, "gpt2": 11, "plamo2": 1}
_ADDS_BOS = frozenset({"llama", "bert"})
_BPE_ADDS_BOS = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken", "chameleon"}
)
_BPE_WITHOUT_BOS = frozenset({"glm4", "chatglm-bpe"})


class StringArray:
    """An array of strings as it lies in the file: a `str` is made only where one is asked for.

    Args:
        data: the header, which all arrays of a file share.
        starts: where in it each string begins, with its length.
        end: where the last one ends.
    """

    __slots__ = ("_data", "_end", "_starts")

    def __init__(self, data: bytes | bytearray = b"", starts: array[int] | None = None, end: int = 0) -> None:
        self._data = data
        self._starts = array("Q") if starts is None else starts
        self._end = end

    def __len__(self) -> int:
        return len(self._starts)

    def raw(self, index: int) -> bytes:
        """Return the bytes of one string."""
        start = self._starts[index]
        (length,) = _U64.unpack_from(self._data, start)
        return bytes(self._data[start + 8 : start + 8 + length])

    def __getitem__(self, index: int) -> str:
        return self.raw(index).decode("utf-8", "replace")

    def index(self, text: str) -> int | None:
        """Return the first index of `text`, or None."""
        needle = text.encode()
        needle = _U64.pack(len(needle)) + needle
        at = self._data.find(needle, self._starts[0], self._end) if len(self) else -1
        while at >= 0:
            position = bisect_left(self._starts, at)
            if position < len(self._starts) and self._starts[position] == at:
                return position
            at = self._data.find(needle, at + 1, self._end)
        return None

    def first_duplicate(self) -> tuple[int, int] | None:
        """Return the indices of two equal strings, or None. Empty strings do not count: llama.cpp numbers them."""
        import numpy as np  # noqa: PLC0415 - it starts slowly, and lists of models need no vocabulary

        data = bytes(self._data)
        ends = chain(islice(self._starts, 1, None), (self._end,))  # the strings of an array lie one behind the other
        texts = (data[start + 8 : end] for start, end in zip(self._starts, ends, strict=True))
        hashes = np.fromiter((hash(text or i) for i, text in enumerate(texts)), dtype=np.int64, count=len(self))
        order = np.argsort(hashes, kind="stable")
        for at in np.flatnonzero(np.diff(hashes[order]) == 0):
            first, second = int(order[at]), int(order[at + 1])
            text = self.raw(first)
            if text and text == self.raw(second):
                return first, second
        return None


Value: TypeAlias = "bool | int | float | str | StringArray | NDArray[np.generic]"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of the file."""

    name: str
    dims: tuple[int, ...]
    """Elements along each dimension, the contiguous one first."""
    type: int
    """ggml's number of the type; a key of `GGML_TYPES` once validated."""
    offset: int
    """Bytes from the start of the file's data."""

    @property
    def parameters(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def n_bytes(self) -> int:
        """Bytes of the tensor's data; 0 for an unknown type."""
        _, elements, size = GGML_TYPES.get(self.type, ("", 1, 0))
        return self.parameters // elements * size


@dataclass(frozen=True, slots=True)
class TypeShare:
    """How much of a model one ggml type holds."""

    name: str
    n_tensors: int
    n_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class GGUFHeader:
    """What a GGUF file says of itself. Properties give 0, "" or None where the header does not say."""

    path: Path
    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    """Where the tensors' data begins, in bytes."""
    file_size: int
    """Bytes; of all parts together once a split model is validated."""

    def text(self, key: str) -> str:
        """Return a string value; "" where the key is missing or holds something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def integer(self, key: str) -> int | None:
        """Return an integer value; None where the key is missing or holds something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def architecture(self) -> str:
        """Such as `qwen2`."""
        return self.text("general.architecture")

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.text("general.name")

    @property
    def alignment(self) -> int:
        """Bytes to which tensor data is aligned."""
        return self.integer("general.alignment") or 32

    @property
    def context_length(self) -> int:
        """Tokens the model was trained for."""
        return self.integer(f"{self.architecture}.context_length") or 0

    @property
    def block_count(self) -> int:
        """Layers."""
        return self.integer(f"{self.architecture}.block_count") or 0

    @property
    def embedding_length(self) -> int:
        """Width of the residual stream."""
        return self.integer(f"{self.architecture}.embedding_length") or 0

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(tensor.parameters for tensor in self.tensors)

    @property
    def is_whole(self) -> bool:
        """True if the file ends where its tensors do, but for padding."""
        end = self.data_offset + max((tensor.offset + tensor.n_bytes for tensor in self.tensors), default=0)
        return end <= self.file_size < end + self.alignment

    @property
    def size_label(self) -> str:
        """Such as `1.5B`: the file's own label, else counted."""
        label = self.text("general.size_label")
        n = self.parameters
        return label or (f"{n / 1e9:.1f}B" if n >= 1e9 else f"{n / 1e6:.0f}M")

    @property
    def file_type(self) -> str:
        """Name of the quantisation mix, such as `Q4_K_M`."""
        number = self.integer("general.file_type")
        return "" if number is None else FILE_TYPES.get(number, "")

    @property
    def quantisation(self) -> tuple[TypeShare, ...]:
        """The mix: a share for each type in use, the one with the most bytes first."""
        counts, sizes = Counter[str](), Counter[str]()
        for tensor in self.tensors:
            name = GGML_TYPES[tensor.type][0] if tensor.type in GGML_TYPES else f"type {tensor.type}"
            counts[name] += 1
            sizes[name] += tensor.n_bytes
        mix = (TypeShare(name, count, sizes[name]) for name, count in counts.items())
        return tuple(sorted(mix, key=lambda share: (-share.n_bytes, share.name)))

    @property
    def rounded_to(self) -> str:
        """The levels at which the weights were rounded, the last one last, such as `Q4_K_M-Q2_K`; "" for none."""
        types = [share.name for share in self.quantisation if share.name not in FULL_TYPES]
        if not types:
            return ""
        level = types[0] if self.file_type in FULL_TYPES else self.file_type or types[0]
        return "-".join(filter(None, [self.requantised_from, level]))

    @property
    def requantised_from(self) -> str:
        """The same of the file that this one was made from, where that was quantised and this file says so."""
        levels = self.text(REQUANTISED_KEY).split("-")
        known = {*FILE_TYPES.values(), *(name for name, *_ in GGML_TYPES.values())}  # a type: of a mix without a name
        return "-".join(levels) if known.issuperset(levels) else ""

    @property
    def tokens(self) -> StringArray:
        """The vocabulary; empty where the file has none."""
        value = self.metadata.get("tokenizer.ggml.tokens")
        return value if isinstance(value, StringArray) else StringArray()

    @property
    def n_vocab(self) -> int:
        """Tokens of the vocabulary."""
        return len(self.tokens)

    @property
    def chat_template(self) -> str | None:
        """The Jinja template; None for a base model. Hostile input: render it in a sandbox only."""
        return self.text("tokenizer.chat_template") or None

    @property
    def bos_id(self) -> int | None:
        """Id of the beginning-of-sequence token, by llama.cpp's rules: it aborts where a text wants one that is not."""
        without = self._is_bpe and self.text("tokenizer.ggml.pre") in _BPE_WITHOUT_BOS
        default = None if without else _DEFAULT_BOS.get(self.text("tokenizer.ggml.model"))
        ids = (self.integer("tokenizer.ggml.bos_token_id"), default)
        return next((token for token in ids if token is not None and 0 <= token < self.n_vocab), None)

    @property
    def add_bos(self) -> bool:
        """Whether a text starts with a BOS, by llama.cpp's rules: the file's word, else the tokenizer's default."""
        model, pre = self.text("tokenizer.ggml.model"), self.text("tokenizer.ggml.pre")
        if "gemma4" in (model, pre):
            return True  # llama.cpp overrules official files that say otherwise
        value = self.metadata.get("tokenizer.ggml.add_bos_token")
        if isinstance(value, bool):
            return value
        return model in _ADDS_BOS or (self._is_bpe and pre in _BPE_ADDS_BOS)

    @property
    def _is_bpe(self) -> bool:
        return self.text("tokenizer.ggml.model") == "gpt2"
