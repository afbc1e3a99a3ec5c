"""What two texts have in common, by their words. Level 4, pure functions."""

from __future__ import annotations

import re
import unicodedata

# Scripts written without spaces count by character, else every Chinese instruction would be one word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
# Of text as `_Bare` leaves it: what is no `\w` there and no space is a mark, which belongs to the character before it.
_WORD = re.compile(f"[{_UNSPACED}][^\\w ]*|[^\\W{_UNSPACED}][^ {_UNSPACED}]*")
JOINERS = "\u200c\u200d"
"""Invisible inside words of Persian and Hindi, and between emoji."""
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_FILLERS = frozenset({"a", "an", "the", "please", "just", "simply"})
"""Words without which an instruction is still the same one. No more of them: one word may change every answer."""


class _Bare(dict[int, str]):
    """Each character as it stands in a word, or a space.

    Vowels of Hindi, Bengali and Tamil and points of Arabic and Hebrew are marks, no part of a word to `re`.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_of_words = character == "_" or unicodedata.category(character)[0] in "LNM"
        self[code] = "" if character in JOINERS else character if is_of_words else " "
        return self[code]


_BARE = _Bare()


def words(text: str) -> list[str]:
    """Return the words of a text, NFKC-normalised and case-folded, without punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold().translate(_BARE))


def is_unspaced(word: str) -> bool:
    """Return whether a word of `words` is one character of a script without spaces."""
    return _IS_UNSPACED.match(word) is not None


def normalised(text: str) -> str:
    """Return what two texts that differ only in case, punctuation, spacing or width of characters have in common."""
    return " ".join(words(text))


def gist(text: str) -> str:
    """Return the normalised words of a text without those that carry nothing; all of them where no other is there."""
    tokens = words(text)
    return " ".join(token for token in tokens if token not in _FILLERS) or " ".join(tokens)
