"""Reading GGUF headers. Level 2: pure Python and numpy, nothing native.

Both functions work within 200 MB and a few seconds, whatever the bytes, and raise nothing but `ModelError`. The file is
read, not mapped: a mapped file that shrinks kills the process.

Source: the GGUF specification, versions 2 and 3, and llama.cpp's own reader for what it refuses. Differs: arrays of
arrays and big-endian files are refused (as llama.cpp does), and counts and sizes are capped far above what real models
have.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from localprompt.engine.gguf import GGUFHeader, StringArray, TensorInfo, Value
from localprompt.errors import ModelError

MAX_HEADER_BYTES = 64 << 20
"""Vocabularies of 260,000 tokens with their merges take 17 MB."""
MAX_STRINGS = 2_000_000
"""Strings in all arrays together."""
MAX_KEYS = 16_384
MAX_KEY_BYTES = 65_535
MAX_TEXT_BYTES = 8 << 20
"""In all string values together: as `str` they may take four times as much."""
CLIPPED_BYTES = 2 << 20
"""What is kept of one string value: some files carry the tokeniser a second time, as JSON."""
MAX_TENSORS = 16_384
MAX_NAME_BYTES = 63
"""Bytes of a tensor's name that ggml keeps."""
_CHUNK_BYTES = 4 << 20
_BEGINNING_BYTES = 16 << 10
"""What is read of a file at a time where its vocabulary is not wanted: mostly once."""

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
_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

_UNFINISHED = (".part", ".partial", ".incomplete", ".crdownload", ".download", ".opdownload", ".aria2", ".!qb", ".tmp")
"""How the names of downloads end that have not."""
_PIECE = re.compile(r"part[-_]?\d+(of\d+)?|split[-_]?[a-z\d]{1,3}", re.IGNORECASE)
"""How the names of files end that `split` made: pieces that `cat` puts together, unlike the parts of a split model."""
_OTHER_KINDS = (
    (rb"PK\x03\x04", "it is a zip archive, perhaps a PyTorch checkpoint: give a GGUF file of the model"),
    (rb".{8}\{", "it is a safetensors file: give a GGUF file of the model"),
    (rb"version https://git-lfs", "it is a Git LFS pointer: `git lfs pull` fetches the file itself"),
    (rb"\s*<", "it is a web page: download the file itself"),
    (rb"ggml|lmgg|fmgg|tjgg", "it is of the time before GGUF: take a newer file of the model"),
)
INCOMPLETE = "download the file again: it has not arrived as a whole"


def unusable(path: Path, what: str, hint: str = "") -> ModelError:
    """Return the error of a file that is no good, with what to do about it: as `hint` says, but for unfinished ones."""
    if path.name.lower().endswith(_UNFINISHED):
        hint = "by its name the download has not ended: let it end, or download the file again"
    elif _PIECE.fullmatch(path.name.lower().rpartition(".gguf")[2].lstrip(".-_")):
        hint = "by its name it is a piece of a file: put all pieces together with `cat`, in order, and give that file"
    hint = hint or "if its checksum is not that of its source, download the file again; else take another file"
    return ModelError(f"{path} is not a usable GGUF file: {what}", hint)


class _Cursor:
    """Reads forward through a header, fetching the file in chunks; every read is bounded by the file and the cap."""

    def __init__(self, file: BinaryIO, path: Path, chunk_bytes: int = _CHUNK_BYTES) -> None:
        self._file = file
        self._path = path
        self._chunk_bytes = chunk_bytes
        self.data = bytearray()
        self.at = 0
        self.n_strings = 0
        self.n_text_bytes = 0
        self.kinds: dict[str, int] = {}

    def fail(self, what: str, hint: str = "") -> ModelError:
        return unusable(self._path, what, hint)

    def need(self, end: int) -> None:
        """Make the bytes before `end` available."""
        if end > MAX_HEADER_BYTES:
            raise self.fail(f"its header claims to reach beyond {MAX_HEADER_BYTES >> 20} MiB")
        while len(self.data) < end:
            chunk = self._file.read(self._chunk_bytes)
            if not chunk:
                raise self.fail(f"it ends inside its header, at byte {len(self.data)}", INCOMPLETE)
            self.data += chunk

    def take(self, n_bytes: int) -> bytes:
        self.need(self.at + n_bytes)
        self.at += n_bytes
        return bytes(memoryview(self.data)[self.at - n_bytes : self.at])

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def name(self, most: int) -> str:
        n_bytes = self.u64()
        if n_bytes > most:
            raise self.fail(f"a name claims {n_bytes} bytes")
        return self.take(n_bytes).decode("utf-8", "replace")

    def text(self) -> str:
        n_bytes = self.u64()
        kept = min(n_bytes, CLIPPED_BYTES)
        self.n_text_bytes += kept
        if self.n_text_bytes > MAX_TEXT_BYTES:
            raise self.fail(f"its texts take more than {MAX_TEXT_BYTES >> 20} MiB")
        self.need(self.at + n_bytes)
        text = self.take(kept).decode("utf-8", "replace")
        self.at += n_bytes - kept
        return text

    def value(self, key: str) -> Value:
        kind = self.kinds[key] = self.u32()
        if kind == _STRING:
            return self.text()
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
        import numpy as np  # noqa: PLC0415 - it starts slowly, and the beginning of most files has no such array

        dtype = np.dtype(np.bool_) if kind == _BOOL else np.dtype(code)
        return np.frombuffer(self.take(count * dtype.itemsize), dtype=dtype)

    def _strings(self, count: int) -> StringArray:
        self.n_strings += count
        if self.n_strings > MAX_STRINGS:
            raise self.fail(f"its arrays claim more than {MAX_STRINGS} strings")
        at = self.at
        starts = array("Q")
        for _ in range(count):
            if at + 8 > len(self.data):
                self.need(at + 8)
            starts.append(at)
            at += 8 + _U64.unpack_from(self.data, at)[0]
        self.need(at)
        self.at = at
        return StringArray(self.data, starts, at)


def read_header(path: str | os.PathLike[str]) -> GGUFHeader:
    """Return the header of one GGUF file; of a split model, of that part alone.

    Only the structure is checked. Reading the 260,000 tokens of a large vocabulary takes a fraction of a second.

    Raises:
        ModelError: if the file cannot be read, is not GGUF 2 or 3, or its header breaks off or is beyond all bounds.
    """
    path = Path(path)
    with _opened(path) as file:
        return _read(_Cursor(file, path), path, os.fstat(file.fileno()).st_size)


def read_beginning(path: str | os.PathLike[str]) -> GGUFHeader:
    """Return what a GGUF file says of itself before its vocabulary, in a fraction of a millisecond; without tensors.

    Metadata behind the vocabulary is missing: `general.file_type` often is.

    Raises:
        ModelError: as `read_header`, as far as it is read.
    """
    path = Path(path)
    with _opened(path) as file:
        cursor = _Cursor(file, path, _BEGINNING_BYTES)
        version, _, n_keys = _read_counts(cursor, file_size := os.fstat(file.fileno()).st_size)
        metadata = _read_metadata(cursor, n_keys, until="tokenizer.")
        return GGUFHeader(path, version, metadata, (), 0, file_size)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise ModelError(f"{path} is not a regular file", "give the path of a GGUF file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error


def _read(cursor: _Cursor, path: Path, file_size: int) -> GGUFHeader:
    version, n_tensors, n_keys = _read_counts(cursor, file_size)
    metadata = _read_metadata(cursor, n_keys)
    alignment = metadata.get("general.alignment", 32)
    if cursor.kinds.get("general.alignment", _UINT32) != _UINT32:  # llama.cpp would abort
        raise cursor.fail("its alignment is not of the type uint32")
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise cursor.fail("its alignment is not a power of two")
    tensors = tuple(_read_tensor(cursor) for _ in range(n_tensors))
    data_offset = -(-cursor.at // alignment) * alignment
    return GGUFHeader(path, version, metadata, tensors, data_offset, file_size)


def _read_counts(cursor: _Cursor, file_size: int) -> tuple[int, int, int]:
    """Return the version and the numbers of tensors and of keys."""
    if (magic := cursor.take(min(4, file_size))) != b"GGUF":
        hints = (hint for kind, hint in _OTHER_KINDS if re.match(kind, cursor.data, re.DOTALL))
        hint = next(hints, "give the path of a GGUF file") if magic else INCOMPLETE
        raise cursor.fail(f"it begins with {magic!r}, not with b'GGUF'", hint)
    version = cursor.u32()
    if version not in (2, 3):
        raise cursor.fail(f"its version is {version}; versions 2 and 3 (little-endian) can be read")
    n_tensors, n_keys = cursor.u64(), cursor.u64()
    if n_tensors > MAX_TENSORS or n_keys > MAX_KEYS:
        raise cursor.fail(f"it claims {n_keys} keys and {n_tensors} tensors")
    return version, n_tensors, n_keys


def _read_metadata(cursor: _Cursor, n_keys: int, until: str | None = None) -> dict[str, Value]:
    """Return the values by key; those before the first key that begins with `until`, where that is given."""
    metadata: dict[str, Value] = {}
    for _ in range(n_keys):
        key = cursor.name(MAX_KEY_BYTES)
        if not key:
            raise cursor.fail("a key is empty")
        if key in metadata:
            raise cursor.fail(f"the key {key[:80]!r} occurs twice")
        if until is not None and key.startswith(until):
            break
        metadata[key] = cursor.value(key[:80])
    return metadata


def _read_tensor(cursor: _Cursor) -> TensorInfo:
    name = cursor.name(MAX_NAME_BYTES)
    if not name:
        raise cursor.fail("the name of a tensor is empty")
    n_dims = cursor.u32()
    if n_dims > 4:
        raise cursor.fail(f"the tensor {name!r} has {n_dims} dimensions")
    dims = tuple(cursor.u64() for _ in range(n_dims))
    return TensorInfo(name, dims, cursor.u32(), cursor.u64())
