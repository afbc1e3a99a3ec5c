"""Length-prefixed msgpack frames between parent and worker. Level 2.

msgpack holds only numbers, strings, lists and maps: reading what the worker wrote executes nothing.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import msgpack

_LENGTH = struct.Struct("<Q")
_MAX_BYTES = 1 << 30


def write_frame(stream: BinaryIO, value: Any) -> int:
    """Write one value and return its size in bytes. Lone surrogates in strings pass unchanged."""
    data = msgpack.packb(value, unicode_errors="surrogatepass")
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()
    return len(data)


def read_frame(stream: BinaryIO) -> Any:
    """Return the next value.

    Raises:
        EOFError: at the end of the stream, also in the middle of a frame; and where the bytes are malformed, after
            which nothing on this stream can be understood.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    if length > _MAX_BYTES:
        raise EOFError(f"a frame of {length} bytes")
    try:
        return msgpack.unpackb(_read(stream, length), unicode_errors="surrogatepass")
    except (ValueError, msgpack.UnpackException) as error:
        raise EOFError(f"a malformed frame: {error}") from None


def _read(stream: BinaryIO, n: int) -> bytes:
    data = stream.read(n)
    if len(data) < n:
        raise EOFError("the stream ended")
    return data
