"""Where the tokens of a text begin, in characters, also where one ends inside a character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localprompt.serve import records


class Pieces:
    """A vocabulary: token n is the n-th of these."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def data(self, token: int) -> bytes:
        return self._pieces[token]

    def name(self, token: int) -> str:
        return repr(self._pieces[token])


def offsets(pieces: Sequence[bytes], text: str) -> list[int]:
    words: Any = Pieces(pieces)
    found: list[int] = records.of_prompt(words, range(len(pieces)), [], text, 0)["text_offset"]
    return found


@pytest.mark.parametrize(
    ("pieces", "text", "expected"),
    [
        ([b"a", b"b", b"\xe2", b"\x98"], "ab\ufffd", [0, 1, 2, 2]),  # token ids that end inside a character
        ([b"a", b"\x98", b"b"], "a\ufffdb", [0, 1, 2]),
        ([b"\xe2", b"b"], "\ufffdb", [0, 1]),
        ([b"", b" a", b"\xf0\x9f", b"\xa6\x99", b"b"], "a🦙b", [0, 0, 1, 1, 2]),  # BOS, and a space that is not in it
        ([b"a", b""], "a", [0, 1]),
    ],
)
def test_each_token_begins_at_the_character_that_its_first_byte_is_in(
    pieces: list[bytes], text: str, expected: list[int]
) -> None:
    assert offsets(pieces, text) == expected


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=4), st.text(min_size=1, max_size=2).map(str.encode))))
def test_offsets_are_those_of_the_text_whatever_the_bytes(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    starts = [sum(map(len, pieces[:n])) for n in range(len(pieces))]
    expected = [len(data[: start + 1].decode(errors="replace")) - 1 for start in starts]
    assert offsets(pieces, data.decode(errors="replace")) == expected


@given(st.text(min_size=1), st.integers(0, 8))
def test_what_is_drawn_begins_behind_what_was_written(text: str, cut: int) -> None:
    data = text.encode(errors="replace")
    cut = min(cut, len(data) - 1)
    words: Any = Pieces([data[cut : cut + 1]])
    found = records.of_drawn(words, [(0, -1.0, [])], data[:cut], 100, 0)["text_offset"]
    assert found == [100 + len(data[: cut + 1].decode(errors="replace")) - 1]
