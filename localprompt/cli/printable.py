"""Text from models, data and files, made fit for a terminal. Level 10."""

from __future__ import annotations

import unicodedata

_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_KEPT = "\n\t\u200c\u200d"
"""Persian words and emoji are spelled with the last two; they command nothing."""


def printable(text: str) -> str:
    """Return the text with all that could command a terminal or hide from the eye written as an escape.

    That is controls except line ends and tabs, direction marks, zero-width characters, lone surrogates.
    """
    return "".join(c if c in _KEPT or unicodedata.category(c) not in _UNSEEN else f"\\u{{{ord(c):x}}}" for c in text)


def printable_line(text: str) -> str:
    """Return the text as `printable` does, on one line: for tables and messages."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def cut(text: str, most: int) -> str:
    """Return the text, one that is longer than `most` characters cut to so many with an ellipsis at its end."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
