"""One word of the instruction left out, every word in turn. Level 6."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import groupby, pairwise

import regex

from localprompt.variants.variant import Origin, Variant
from localprompt.variants.wording import Edit, Span, edited, found_names, is_unspaced, names_of, outside, words_in

_SHOWN = 40
"""Characters of a piece that are shown."""
_SHORT = 3
"""Letters of a word that goes with the next one: articles, prepositions, conjunctions of most languages."""


class Deletion:
    """The instruction without a word; without a piece of several words where there are too many."""

    name = "deletion"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return the variants in the order of the text, each with the span that it lacks.

        A short word goes with the next one. Names of outputs stay: without one of them the task would be another.
        """
        text, names = origin.prompt.instruction, found_names(origin.prompt.instruction, names_of(origin))
        words = outside(words_in(text, names), names)
        units = _units(text, words)
        pieces = _joined(units if len(units) > 1 else words, names, max(most, 2))
        edits = (Edit(f"without {_shown(text[a:b])}", _without(text, a, b), (a, b)) for a, b in pieces)
        return edited(origin, self.name, edits, most)


def _units(text: str, words: Sequence[Span]) -> list[Span]:
    """Return the words, each short one together with the next if only blanks stand between."""
    units = list[Span]()
    is_open = False
    for start, end in words:
        if is_open and text[units[-1][1] : start].isspace():
            units[-1] = (units[-1][0], end)
        else:
            units.append((start, end))
        is_open = _is_short(text[start:end])
    return units


def _is_short(word: str) -> bool:
    is_of_letters = regex.fullmatch(r"[\p{L}\p{M}\p{N}]+", word) and not regex.search(r"\p{Hangul}", word)
    return bool(is_of_letters) and not is_unspaced(word) and len(regex.findall(r"\X", word)) <= _SHORT


def _joined(units: Sequence[Span], names: Sequence[Span], most: int) -> list[Span]:
    """Return at most so many pieces of about equal numbers of units; none goes over a name."""
    starts = [start for start, _ in names]
    runs = [list(run) for _, run in groupby(units, key=lambda unit: bisect(starts, unit[0]))]
    longest = max(map(len, runs), default=0)
    size = next((n for n in range(1, longest) if sum(-(-len(run) // n) for run in runs) <= most), longest)
    pieces = list[tuple[int, Span]]()
    for run in runs:
        n = -(-len(run) // size)
        bounds = [i * len(run) // n for i in range(n + 1)]
        pieces += [(last - first, (run[first][0], run[last - 1][1])) for first, last in pairwise(bounds)]
    largest = sorted(pieces, key=lambda piece: -piece[0])[:most]
    return sorted(span for _, span in largest)


def _without(text: str, start: int, end: int) -> str:
    """Return a text without a piece, and without the quotation marks, commas and blanks that were only its own."""
    before, piece, after = text[:start], text[start:end], text[end:]
    for opening, closing in ("()", "[]", "{}", "“”", "«»", "「」"):
        if after[:1] == closing and piece.count(opening) > piece.count(closing):
            after = after[1:]
    while before and after and before[-1] + after[0] in ('""', "''", "“”", "‘’", "«»", "「」", "``", "**", "()"):
        before, after = before[:-1], after[1:]
    if regex.search(r"(?:\A|[.!?。！？])\s*\Z", before):  # a whole sentence is gone, and its sign with it
        after = regex.sub(r"\A[.!?。！？]", "", after)
    if regex.search(r"(?:\A|[.!?。！？,:(\[{])\s*\Z", before):
        after = regex.sub(r"\A[,、，]", "", after)
    if regex.match(r"\s*(?:\Z|[.;:)\]}?!])", after):
        before = regex.sub(r"[,、，]?\s*\Z", "", before)
    elif regex.match(r"[,，、]", after):
        before = before.rstrip()
    if not before or regex.search(r"(?:\s|[(\[{]|(?:\A|[\s(\[{])[\"'“‘«「])\Z", before):
        after = after.lstrip(" ")
    rest = before + after
    return rest if regex.search(r"[\p{L}\p{N}]", rest) else ""


def _shown(piece: str) -> str:
    flat = " ".join(piece.split())
    return repr(flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN // 2]} ... {flat[-_SHOWN // 2 :]}")
