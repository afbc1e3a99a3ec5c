"""Texts that look the same and are not, told apart for a message. Level 0: imports nothing of the project."""

from __future__ import annotations

import difflib
import re
import unicodedata

# The pairs that nearly every font draws alike; Unicode's own list (UTS 39) has thousands that no keyboard writes.
_DRAWN_ALIKE = str.maketrans(
    "АВЕКМНОРСТУХІЈЅԁаеорсухіјѕһԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧοιν‘’ʼ′`´“”″‐‑‒–—−",
    "ABEKMHOPCTYXIJSdaeopcyxijshqwABEZHIKMNOPTYXoiv''''''\"\"\"------",
)
_UNSEEN = re.compile("[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
                     "\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]")  # fmt: skip


def look_the_same(one: str, other: str) -> bool:
    """Return whether two texts differ in nothing that a reader sees.

    Composed and decomposed letters, wide ones, kinds of blank space, invisible characters, and letters of other scripts
    that are drawn alike look the same; upper and lower case do not.
    """
    return _appearance(one) == _appearance(other)


def told_apart(one: str, other: str) -> str:
    r"""Return `'cafe\u0301' is not 'caf\u00e9'`: both texts, with escapes where they differ."""
    codes = difflib.SequenceMatcher(None, one, other, False).get_opcodes()
    first = "".join(_shown(one[start:end], code) for code, start, end, _, _ in codes)
    second = "".join(_shown(other[start:end], code) for code, _, _, start, end in codes)
    return f"'{first}' is not '{second}'"


def _appearance(text: str) -> str:
    return " ".join(_UNSEEN.sub("", unicodedata.normalize("NFKC", text).translate(_DRAWN_ALIKE)).split())


def _shown(piece: str, code: str) -> str:
    return piece if code == "equal" and piece.isprintable() else "".join(map(_escaped, piece))


def _escaped(character: str) -> str:
    code = ord(character)
    if " " <= character <= "~":
        return character
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
