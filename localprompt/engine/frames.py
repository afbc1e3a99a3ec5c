"""Length-prefixed msgpack frames between parent and worker. Level 1.

msgpack holds only numbers, strings, lists and maps: reading what the worker wrote executes nothing.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import msgpack

_LENGTH = struct.Struct("<Q")
_MAX_BYTES = 1 << 32


def write_frame(stream: BinaryIO, value: Any) -> None:
    """Write one value. Lone surrogates in strings pass unchanged."""
    data = msgpack.packb(value, unicode_errors="surrogatepass")
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def read_frame(stream: BinaryIO) -> Any:
    """Return the next value.

    Raises:
        EOFError: at the end of the stream, also in the middle of a frame.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    if length > _MAX_BYTES:
        raise EOFError(f"a frame of {length} bytes")
    return msgpack.unpackb(_read(stream, length), unicode_errors="surrogatepass")


def _read(stream: BinaryIO, n: int) -> bytes:
    data = stream.read(n)
    if len(data) < n:
        raise EOFError("the stream ended")
    return data
