"""How labels begin, as far as that tells them apart. Level 3, pure."""

from __future__ import annotations

from collections.abc import Sequence

import regex

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")


def beginnings(labels: Sequence[str]) -> tuple[str, ...]:
    """Return, for each label, its fewest first words with which no other label begins, or else all of it.

    Words end before blanks, hyphens, underscores and other signs: `card` of `card_payment` and `cash_withdrawal`.
    """
    return tuple(_beginning(label, [each for each in labels if each != label]) for label in labels)


def _beginning(label: str, others: Sequence[str]) -> str:
    cut = (label[: word.end()] for word in _WORD.finditer(label))
    return next((each for each in cut if not any(other.startswith(each) for other in others)), label)
