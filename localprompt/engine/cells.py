"""How many cells of a memory of llama.cpp's are taken. Level 2, pure.

What two sequences have in common is in the same cells where one was copied from the other, or one batch decoded it for
both. Equal texts that were decoded one after the other take cells of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


class Cells:
    """The cells of each sequence, as pieces that were decoded together."""

    def __init__(self) -> None:
        self._pieces: dict[int, list[tuple[int, int]]] = {}  # sequence to (number of the piece, how much of it)
        self._own: dict[int, int] = {}  # sequence to the piece at its end that no other has
        self._n_pieces = 0

    @property
    def n_taken(self) -> int:
        """Cells that a sequence holds."""
        return self.held_by(self._pieces)

    def held_by(self, sequences: Collection[int]) -> int:
        """Return how many cells these sequences hold, those that they share counted once."""
        most: dict[int, int] = {}
        for sequence in sequences:
            for number, length in self._pieces.get(sequence, ()):
                if length > most.get(number, 0):
                    most[number] = length
        return sum(most.values())

    def extend(self, sequences: Sequence[int], n: int) -> None:
        """Give sequences `n` further cells that they share."""
        first = self._pieces.setdefault(sequences[0], [])
        if len(sequences) == 1 and first and self._own.get(sequences[0]) == first[-1][0]:
            first[-1] = first[-1][0], first[-1][1] + n
            return
        self._n_pieces += 1
        for sequence in sequences:
            self._pieces.setdefault(sequence, []).append((self._n_pieces, n))
            self._own.pop(sequence, None)
        if len(sequences) == 1:
            self._own[sequences[0]] = self._n_pieces

    def copy(self, source: int, target: int, length: int | None) -> None:
        """Let a sequence share the first cells of another, or all of them, and have no others."""
        self._own.pop(source, None)
        self._own.pop(target, None)
        self._pieces[target] = _first(self._pieces.get(source, []), length)

    def truncate(self, sequence: int, length: int) -> None:
        """Take the cells of a sequence back from so many on, but for those that others share."""
        pieces = self._pieces.get(sequence, [])
        kept = _first(pieces, length)
        if len(kept) < len(pieces):
            self._own.pop(sequence, None)
        self._pieces[sequence] = kept

    def drop(self, sequence: int) -> None:
        """Take the cells of a sequence back, but for those that others share."""
        self._pieces.pop(sequence, None)
        self._own.pop(sequence, None)

    def clear(self) -> None:
        """Take all back."""
        self._pieces.clear()
        self._own.clear()


def _first(pieces: Sequence[tuple[int, int]], length: int | None) -> list[tuple[int, int]]:
    """Return what pieces say of the first cells; all where no length is given."""
    if length is None:
        return list(pieces)
    taken: list[tuple[int, int]] = []
    for number, n in pieces:
        if length <= 0:
            break
        taken.append((number, min(n, length)))
        length -= n
    return taken
