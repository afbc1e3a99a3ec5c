"""Frames between parent and worker."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localprompt.engine.frames import read_frame, write_frame


@given(st.text(st.characters(), max_size=50))
def test_any_text_arrives_as_it_was_sent(text: str) -> None:
    for sent in (text, text + "\ud800\x00"):
        stream = io.BytesIO()
        write_frame(stream, [sent])
        stream.seek(0)
        assert read_frame(stream) == [sent]


@given(st.binary(max_size=100))
def test_bytes_that_are_no_frame_are_the_end_of_the_stream(data: bytes) -> None:
    framed = struct.pack("<Q", len(data)) + data
    for stream in (io.BytesIO(data), io.BytesIO(framed)):
        try:
            read_frame(stream)
        except EOFError:
            continue


def test_a_frame_of_an_absurd_length_is_not_waited_for() -> None:
    with pytest.raises(EOFError, match="a frame of"):
        read_frame(io.BytesIO(struct.pack("<Q", 1 << 40)))


def test_a_frame_nested_beyond_reason_is_the_end_of_the_stream() -> None:
    data = b"\x91" * 100_000
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(struct.pack("<Q", len(data)) + data))
