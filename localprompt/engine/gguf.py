"""Reading and validating GGUF headers. Level 1: pure Python and numpy, nothing native.

`read_header` reads a header; `validate` says whether llama.cpp may be let near the file: some malformed and even some
official files make it abort the process, which Python cannot catch. Both work within 200 MB and a few seconds,
whatever the bytes, and raise nothing but `ModelError`. The file is read, not mapped: a mapped file that shrinks kills
the process.

Source: the GGUF specification, versions 2 and 3, and llama.cpp's own reader and vocabulary loader for what it refuses
and what it assumes where a key is missing. Differs: arrays of arrays and big-endian files are refused (as llama.cpp
does), counts and sizes are capped far above what real models have, and a tensor without elements is refused.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from localprompt.errors import ModelError

MAX_HEADER_BYTES = 64 << 20
"""Vocabularies of 260,000 tokens with their merges take 17 MB."""
MAX_STRINGS = 2_000_000
"""Strings in all arrays together."""
MAX_KEYS = 16_384
MAX_TENSORS = 16_384
MAX_NAME_BYTES = 63
"""Bytes of a tensor's name that ggml keeps."""
MAX_TEMPLATE_CHARS = 262_144
MAX_PARTS = 1_000
_CHUNK_BYTES = 4 << 20

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

_SCALARS: Mapping[int, str] = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<B",  # bool
    10: "<Q",
    11: "<q",
    12: "<d",
}
_BOOL, _STRING, _ARRAY = 7, 8, 9
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

# Texts by which llama.cpp recognises fill-in-the-middle tokens where no key names them.
_FIM_TEXTS: Mapping[str, tuple[str, ...]] = {
    "pre": (
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<｜fim▁begin｜>",
        "<PRE>",
        "▁<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ),
    # DeepSeek puts the suffix after the "hole" and the answer after the "end".
    "suf": (
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<｜fim▁hole｜>",
        "<SUF>",
        "▁<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ),
    "mid": (
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<｜fim▁end｜>",
        "<MID>",
        "▁<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ),
}
_FIM_OLD_KEYS: Mapping[str, str] = {"pre": "prefix", "suf": "suffix", "mid": "middle"}

# What llama.cpp assumes where the header is silent: (bos id, eos id) for each tokenizer model, and who adds a BOS.
_DEFAULT_IDS: Mapping[str, tuple[int | None, int | None]] = {
    "llama": (1, 2),
    "bert": (101, None),
    "gpt2": (11, 11),
    "t5": (None, 1),
    "plamo2": (1, 2),
}
_ADDS_BOS = frozenset({"llama", "bert"})
_BPE_ADDS_BOS = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken", "chameleon"}
)
_BPE_WITHOUT_BOS = frozenset({"glm4", "chatglm-bpe"})

_PART_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)


class StringArray:
    """An array of strings as it lies in the file: a `str` is made only where one is asked for."""

    __slots__ = ("_data", "_starts")

    def __init__(self, data: bytes, starts: array[int]) -> None:
        self._data = data
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts)

    def raw(self, index: int) -> bytes:
        """Return the bytes of one string."""
        start = self._starts[index]
        (length,) = _U64.unpack_from(self._data, start)
        return self._data[start + 8 : start + 8 + length]

    def __getitem__(self, index: int) -> str:
        return self.raw(index).decode("utf-8", "replace")

    def index(self, text: str) -> int | None:
        """Return the first index of `text`, or None."""
        needle = text.encode()
        needle = _U64.pack(len(needle)) + needle
        at = self._data.find(needle)
        while at >= 0:
            position = bisect_left(self._starts, at)
            if position < len(self._starts) and self._starts[position] == at:
                return position
            at = self._data.find(needle, at + 1)
        return None

    def first_duplicate(self) -> tuple[int, int] | None:
        """Return the indices of two equal strings, or None. Empty strings do not count: llama.cpp numbers them."""
        hashes = np.fromiter((hash(self.raw(i) or i) for i in range(len(self))), dtype=np.int64, count=len(self))
        order = np.argsort(hashes, kind="stable")
        for at in np.flatnonzero(np.diff(hashes[order]) == 0):
            first, second = int(order[at]), int(order[at + 1])
            text = self.raw(first)
            if text and text == self.raw(second):
                return first, second
        return None


Value = bool | int | float | str | StringArray | NDArray[np.generic]


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


@dataclass(frozen=True, slots=True)
class FimIds:
    """Token ids for filling in the middle. Presence says nothing about ability."""

    prefix: int
    suffix: int
    middle: int | None
    """None for models that are prompted suffix first and need no third token."""


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
        shares: dict[str, tuple[int, int]] = {}
        for tensor in self.tensors:
            name = GGML_TYPES[tensor.type][0] if tensor.type in GGML_TYPES else f"type {tensor.type}"
            count, size = shares.get(name, (0, 0))
            shares[name] = (count + 1, size + tensor.n_bytes)
        mix = (TypeShare(name, count, size) for name, (count, size) in shares.items())
        return tuple(sorted(mix, key=lambda share: (-share.n_bytes, share.name)))

    @property
    def tokens(self) -> StringArray:
        """The vocabulary; empty where the file has none."""
        value = self.metadata.get("tokenizer.ggml.tokens")
        return value if isinstance(value, StringArray) else StringArray(b"", array("Q"))

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
        """Id of the beginning-of-sequence token, by llama.cpp's rules."""
        without = self._is_bpe and self.text("tokenizer.ggml.pre") in _BPE_WITHOUT_BOS
        return self._special_id("bos", None if without else self._default_ids[0])

    @property
    def eos_id(self) -> int | None:
        """Id of the end-of-sequence token, by llama.cpp's rules."""
        return self._special_id("eos", self._default_ids[1])

    @property
    def bos_text(self) -> str | None:
        """Text of the beginning-of-sequence token."""
        return None if self.bos_id is None else self.tokens[self.bos_id]

    @property
    def eos_text(self) -> str | None:
        """Text of the end-of-sequence token."""
        return None if self.eos_id is None else self.tokens[self.eos_id]

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
    def fim_ids(self) -> FimIds | None:
        """Tokens for filling in the middle, named by keys or known by their texts; None where there are none."""
        ids = {role: self._fim_id(role) for role in _FIM_TEXTS}
        if ids["pre"] is None or ids["suf"] is None:
            return None
        return FimIds(prefix=ids["pre"], suffix=ids["suf"], middle=ids["mid"])

    @property
    def _is_bpe(self) -> bool:
        return self.text("tokenizer.ggml.model") == "gpt2"

    @property
    def _default_ids(self) -> tuple[int | None, int | None]:
        return _DEFAULT_IDS.get(self.text("tokenizer.ggml.model"), (None, None))

    def _special_id(self, role: str, default: int | None) -> int | None:
        for token_id in (self.integer(f"tokenizer.ggml.{role}_token_id"), default):
            if token_id is not None and 0 <= token_id < self.n_vocab:
                return token_id
        return None

    def _fim_id(self, role: str) -> int | None:
        keyed = self._special_id(f"fim_{role}", None)
        if keyed is None:
            keyed = self._special_id(_FIM_OLD_KEYS[role], None)
        if keyed is not None:
            return keyed
        found = (self.tokens.index(text) for text in _FIM_TEXTS[role])
        return next((token_id for token_id in found if token_id is not None), None)


class _Cursor:
    """Reads forward through a header, fetching the file in chunks; every read is bounded by the file and the cap."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self.data = bytearray()
        self.at = 0
        self.n_strings = 0

    def fail(self, what: str) -> ModelError:
        return ModelError(f"{self._path} is not a usable GGUF file: {what}", "download the file again")

    def need(self, end: int) -> None:
        """Make the bytes before `end` available."""
        if end > MAX_HEADER_BYTES:
            raise self.fail(f"its header claims to reach beyond {MAX_HEADER_BYTES >> 20} MiB")
        while len(self.data) < end:
            chunk = self._file.read(_CHUNK_BYTES)
            if not chunk:
                raise self.fail(f"it ends inside its header, at byte {len(self.data)}")
            self.data += chunk

    def take(self, n_bytes: int) -> bytes:
        self.need(self.at + n_bytes)
        self.at += n_bytes
        return bytes(memoryview(self.data)[self.at - n_bytes : self.at])

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def string(self) -> str:
        return self.take(self.u64()).decode("utf-8", "replace")

    def value(self, key: str) -> Value:
        kind = self.u32()
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._array(key)
        number = self._scalar(kind, key)
        return bool(number) if kind == _BOOL else number

    def _scalar(self, kind: int, key: str) -> int | float:
        code = _SCALARS.get(kind)
        if code is None:
            raise self.fail(f"the key {key!r} has the unknown value type {kind}")
        number: int | float = struct.unpack(code, self.take(struct.calcsize(code)))[0]
        return number

    def _array(self, key: str) -> Value:
        kind, count = self.u32(), self.u64()
        if kind == _STRING:
            return self._strings(count)
        code = _SCALARS.get(kind)
        if code is None:
            raise self.fail(f"the key {key!r} is an array of the unsupported type {kind}")
        dtype = np.dtype(np.bool_) if kind == _BOOL else np.dtype(code)
        return np.frombuffer(self.take(count * dtype.itemsize), dtype=dtype)

    def _strings(self, count: int) -> StringArray:
        self.n_strings += count
        if self.n_strings > MAX_STRINGS:
            raise self.fail(f"its arrays claim more than {MAX_STRINGS} strings")
        base = at = self.at
        starts = array("Q")
        for _ in range(count):
            if at + 8 > len(self.data):
                self.need(at + 8)
            starts.append(at - base)
            at += 8 + _U64.unpack_from(self.data, at)[0]
        return StringArray(self.take(at - base), starts)


def read_header(path: str | os.PathLike[str]) -> GGUFHeader:
    """Return the header of one GGUF file; of a split model, of that part alone.

    Only the structure is checked. Reading the 260,000 tokens of a large vocabulary takes a fraction of a second.

    Raises:
        ModelError: if the file cannot be read, is not GGUF 2 or 3, or its header breaks off or is beyond all bounds.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise ModelError(f"{path} is not a regular file", "give the path of a GGUF file")
        with path.open("rb") as file:
            return _read(_Cursor(file, path), path, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error


def _read(cursor: _Cursor, path: Path, file_size: int) -> GGUFHeader:
    if (magic := cursor.take(min(4, file_size))) != b"GGUF":
        raise cursor.fail(f"it begins with {magic!r}, not with b'GGUF'")
    version = cursor.u32()
    if version not in (2, 3):
        raise cursor.fail(f"its version is {version}; versions 2 and 3 (little-endian) can be read")
    n_tensors, n_keys = cursor.u64(), cursor.u64()
    if n_tensors > MAX_TENSORS or n_keys > MAX_KEYS:
        raise cursor.fail(f"it claims {n_keys} keys and {n_tensors} tensors")
    metadata = _read_metadata(cursor, n_keys)
    alignment = metadata.get("general.alignment", 32)
    if isinstance(alignment, bool) or not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise cursor.fail("its alignment is not a power of two")
    tensors = tuple(_read_tensor(cursor) for _ in range(n_tensors))
    data_offset = -(-cursor.at // alignment) * alignment
    return GGUFHeader(path, version, metadata, tensors, data_offset, file_size)


def _read_metadata(cursor: _Cursor, n_keys: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for _ in range(n_keys):
        key = cursor.string()
        if not key:
            raise cursor.fail("a key is empty")
        if key in metadata:
            raise cursor.fail(f"the key {key[:80]!r} occurs twice")
        metadata[key] = cursor.value(key[:80])
    return metadata


def _read_tensor(cursor: _Cursor) -> TensorInfo:
    name = cursor.string()
    if not 0 < len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES:
        raise cursor.fail(f"the tensor name {name[:80]!r} is empty or longer than {MAX_NAME_BYTES} bytes")
    n_dims = cursor.u32()
    if n_dims > 4:
        raise cursor.fail(f"the tensor {name!r} has {n_dims} dimensions")
    dims = tuple(cursor.u64() for _ in range(n_dims))
    return TensorInfo(name, dims, cursor.u32(), cursor.u64())


def split_paths(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the files of a model in order: the parts of a `-00001-of-0000N` set, else the file alone.

    Only the name is looked at; the files need not exist.
    """
    path = Path(path)
    match = _PART_NAME.fullmatch(path.name)
    if match is None or not 1 <= int(match[3]) <= MAX_PARTS:
        return (path,)
    stem, count = match[1], int(match[3])
    return tuple(path.with_name(f"{stem}-{part:05}-of-{count:05}.gguf") for part in range(1, count + 1))


def validate(path: str | os.PathLike[str]) -> GGUFHeader:
    """Return the header of a model that llama.cpp can be given without aborting the process.

    A split model is given by its first part; all parts are checked, and the header holds the tensors of all of them.

    Raises:
        ModelError: one sentence that names the file and what is wrong with it.
    """
    header = read_header(path)
    _check_required_keys(header)
    _check_vocabulary(header)
    parts = [header, *_other_parts(header)]
    for part in parts:
        _check_tensors(part)
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    if not tensors:
        raise _unusable(header, "it has no tensors")
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        raise _unusable(header, f"the tensor {_repeated(names)!r} occurs twice")
    return replace(header, tensors=tensors, file_size=sum(part.file_size for part in parts))


def _unusable(header: GGUFHeader, what: str) -> ModelError:
    return ModelError(f"{header.path} is not a usable GGUF file: {what}", "download the file again")


def _repeated(names: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def _check_required_keys(header: GGUFHeader) -> None:
    if not header.architecture:
        raise _unusable(header, "general.architecture is missing")
    for key in ("context_length", "block_count", "embedding_length"):
        full_key = f"{header.architecture}.{key}"
        value = header.integer(full_key)
        if value is None or not 0 < value < 1 << 31:
            raise _unusable(header, f"{full_key[:80]!r} is missing or not a count")
    template = header.metadata.get("tokenizer.chat_template", "")
    if not isinstance(template, str) or len(template) > MAX_TEMPLATE_CHARS:
        raise _unusable(header, f"its chat template is not a text of at most {MAX_TEMPLATE_CHARS} characters")


def _check_vocabulary(header: GGUFHeader) -> None:
    n_vocab = header.n_vocab
    if not n_vocab or not header.text("tokenizer.ggml.model"):
        raise _unusable(header, "it has no vocabulary")
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
        if (tensor.dims[0] if tensor.dims else 1) % elements:
            raise _unusable(header, f"the rows of the tensor {tensor.name!r} are not whole blocks of {name}")
        if tensor.offset % header.alignment:
            raise _unusable(header, f"the tensor {tensor.name!r} is not aligned to {header.alignment} bytes")
        if tensor.offset + tensor.n_bytes > room:
            missing = tensor.offset + tensor.n_bytes - room
            raise _unusable(header, f"the tensor {tensor.name!r} lies {missing} bytes beyond the end: it is truncated")


def _other_parts(header: GGUFHeader) -> list[GGUFHeader]:
    count = header.integer("split.count") or 1
    if count == 1:
        return []
    paths = split_paths(header.path)
    if header.integer("split.no") != 0:
        raise ModelError(f"{header.path} is not the first part of a split model", f"give {paths[0]}")
    if len(paths) != count or paths[0] != header.path:
        raise _unusable(header, f"it is the first of {count} parts, but its name is not of the form *-00001-of-0000N")
    others = [read_header(path) for path in paths[1:]]
    for number, other in enumerate(others, start=1):
        if other.integer("split.count") != count or other.integer("split.no") != number:
            raise _unusable(other, f"it is not part {number + 1} of {count}")
    return others
