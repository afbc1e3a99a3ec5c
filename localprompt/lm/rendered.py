"""Text in which some spans are control tokens. Level 3."""

from __future__ import annotations

from collections.abc import Sequence

Span = tuple[int, int]


class Rendered(str):
    """A `str` that remembers which of its spans a chat template, or `fim`, wrote as control tokens.

    Everything else in it stays text, whatever it looks like. Adding a `str` behind keeps the spans; any other string
    operation gives a plain `str`, in which nothing is a control token.
    """

    __slots__ = ("spans",)
    spans: tuple[Span, ...]

    def __new__(cls, text: str, spans: Sequence[Span]) -> Rendered:
        """Return the text with its (start, end) character spans."""
        self = super().__new__(cls, text)
        self.spans = tuple((int(start), int(end)) for start, end in spans)
        return self

    def __getnewargs__(self) -> tuple[str, tuple[Span, ...]]:  # type: ignore[override]
        """Return what copies are made of, pickled ones too."""
        return str(self), self.spans

    def __add__(self, other: str) -> Rendered:
        return Rendered(str.__add__(self, other), self.spans)


def spans_of(text: str) -> list[list[int]] | None:
    """Return the control spans of a text; None for plain text."""
    return [list(span) for span in text.spans] if isinstance(text, Rendered) else None
