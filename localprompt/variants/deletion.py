"""One word of the instruction left out, every word in turn. Level 6."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import regex

from localprompt.variants.variant import Origin, Variant
from localprompt.variants.wording import Edit, Span, edited, found_names, is_unspaced, names_of, words_in

_SHOWN = 40
"""Characters of a piece that are shown."""
_SHORT = 3
"""Letters of a word that goes with its neighbour: articles, prepositions, conjunctions of most languages."""


class Deletion:
    """The instruction without a word; without a piece of several words where there are too many."""

    name = "deletion"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return the variants in the order of the text, each with the span that it lacks.

        A short word goes with the next one. Outputs that the instruction names may be lost: what that does is to be
        seen.
        """
        text = origin.prompt.instruction
        pieces = _joined(_units(text, found_names(text, names_of(origin))), max(most, 2))
        edits = (
            Edit(f"without {_shown(text[start:end])}", _without(text, start, end), (start, end))
            for start, end in pieces
        )
        return edited(origin, self.name, edits, most, may_lose=True)


def _units(text: str, names: Sequence[Span]) -> list[Span]:
    """Return the words, each short one together with what stands beside it, with only blanks between."""
    named = {at for start, end in names for at in range(start, end)}
    words = words_in(text, names)
    units = list[Span]()
    is_open = False
    for start, end in words:
        is_short = start not in named and _is_short(text[start:end])
        touches = bool(units) and text[units[-1][1] : start].isspace()
        if is_open and touches:
            units[-1] = (units[-1][0], end)
        else:
            _close(text, units, is_open=is_open)
            units.append((start, end))
        is_open = is_short
    _close(text, units, is_open=is_open)
    return units if len(units) > 1 else words


def _close(text: str, units: list[Span], *, is_open: bool) -> None:
    """Give the last unit, if it is a short word that has no neighbour behind it, to the one before it."""
    if is_open and len(units) > 1 and text[units[-2][1] : units[-1][0]].isspace():
        _, end = units.pop()
        units[-1] = (units[-1][0], end)


def _is_short(word: str) -> bool:
    is_of_letters = regex.fullmatch(r"[\p{L}\p{M}\p{N}]+", word) and not regex.search(r"\p{Hangul}", word)
    return bool(is_of_letters) and not is_unspaced(word) and len(regex.findall(r"\X", word)) <= _SHORT


def _joined(units: Sequence[Span], most: int) -> list[Span]:
    """Return at most so many pieces of about equal numbers of units."""
    n = min(most, len(units))
    bounds = [i * len(units) // n for i in range(n + 1)] if n else [0]
    return [(units[first][0], units[last - 1][1]) for first, last in pairwise(bounds)]


def _without(text: str, start: int, end: int) -> str:
    """Return a text without a piece, and without the quotation marks, commas and blanks that were only its own."""
    before, after = text[:start], text[end:]
    while before and after and before[-1] + after[0] in ('""', "''", "“”", "‘’", "«»", "「」", "``", "**", "()"):
        before, after = before[:-1], after[1:]
    if regex.search(r"(?:\A|[,:(\[{])\s*\Z", before):
        after = regex.sub(r"\A[,、，]", "", after)
    if regex.match(r"\s*(?:\Z|[.;:)\]}?!])", after):
        before = regex.sub(r"[,、，]?\s*\Z", "", before)
    elif regex.match(r"[,，、]", after):
        before = before.rstrip()
    if not before or before[-1].isspace() or (before[-1] in "([{" and after[:1].isspace()):
        after = after.lstrip(" ")
    rest = before + after
    return rest if regex.search(r"[\p{L}\p{N}]", rest) else ""


def _shown(piece: str) -> str:
    flat = " ".join(piece.split())
    return repr(flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN // 2]} ... {flat[-_SHOWN // 2 :]}")
