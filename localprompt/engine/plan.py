"""From a radix tree to decode batches: pure, deterministic, no native code. Level 2.

A depth-first walk through the tree is cut into batches. Sequence ids of the KV cache are used like this:

    id 0            the trunk: cells [0, kept) of the path of the last sequence visited, from one batch to the next
    other ids       lanes: one for each sequence that has rows in the batch, plus those that generate

Before a batch each of its sequences gets the part of the trunk that it shares, `copy(trunk -> lane, [0, kept))`, which
is metadata only in a unified cache. A row is decoded once, with the ids of all sequences of the batch that pass through
it; these are neighbours in the walk, so a row needs just (first, count) into the batch's list of lanes. llama.cpp
demands that sequences which share a row of a batch have equally many cells before it: two sequences that share a row at
position p have `kept` from the same trunk and branch off it at the same place, so this holds by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from localprompt.engine.radix import RadixTree


@dataclass(frozen=True, slots=True)
class Room:
    """What the next batch may use at most."""

    rows: int
    lanes: int
    outputs: int
    cells: int
    """KV cells free for new rows and for what is reserved with them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One token to decode."""

    token: int
    position: int
    first: int
    """Index of the first of the batch's sequences that pass through this row; `count` follow one another."""
    count: int
    output: bool


@dataclass(frozen=True, slots=True)
class Visit:
    """One sequence's part in a batch."""

    sequence: int
    kept: int
    """Tokens taken over from the trunk."""
    end: int
    """Tokens in the cache after the batch; less than its length if the batch cuts it."""


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """A piece of the walk. `outputs` names the rows with logits as (owner, position), in row order."""

    visits: tuple[Visit, ...]
    rows: tuple[Row, ...]
    outputs: tuple[tuple[int, int], ...]
    trunk: int
    """Tokens of the last visited sequence to keep for the next batch; 0 at the end of the walk."""


class Planner:
    """A walk through a tree, one batch at a time.

    Args:
        tree: the sequences.
        wanted: for each sequence, the positions that it owns whose logits are needed.
        reserve: for each sequence, KV cells to keep free beside its own rows (its completion); 0 for scoring.
    """

    def __init__(
        self, tree: RadixTree, wanted: Sequence[Collection[int]], reserve: Callable[[int], int] = lambda _: 0
    ) -> None:
        self._tree = tree
        self._wanted = wanted
        self._reserve = reserve
        self._next = 0  # sequence
        self._depth = 0  # its tokens that are in the trunk

    @property
    def done(self) -> bool:
        """True when every sequence has been visited to its end."""
        return self._next == len(self._tree.sequences)

    @property
    def trunk(self) -> int:
        """Cells that the trunk holds now."""
        return self._depth

    @property
    def upcoming(self) -> tuple[int, ...]:
        """The sequence to be visited next; its first `trunk` tokens are in the trunk."""
        return self._tree.sequences[self._next]

    def next_batch(self, room: Room) -> PlannedBatch | None:
        """Return the next piece of the walk, or None if not even one sequence finds room now."""
        visits: list[Visit] = []
        rows: list[Row] = []
        outputs: list[tuple[int, int]] = []
        cells = room.cells
        i, kept = self._next, self._depth
        while i < len(self._tree.sequences) and len(visits) < room.lanes:
            start = kept if not visits else self._tree.shared[i]
            kept = min(kept, start)
            length = len(self._tree.sequences[i])
            cells -= length - start + self._reserve(i)
            if cells < 0:
                break
            end = self._end(i, start, room.rows - len(rows), room.outputs - len(outputs))
            if end == start < length:
                break
            path, wanted = self._tree.sequences[i], self._wanted[i]
            rows += [Row(path[p], p, len(visits), 1, p in wanted) for p in range(start, end)]
            outputs += [(i, p) for p in range(start, end) if p in wanted]
            visits.append(Visit(i, kept, end))
            if end < length:
                break
            i += 1
        if not visits:
            return None
        self._move_on(visits[-1])
        return PlannedBatch(tuple(visits), _with_sharers(rows, visits, self._tree), tuple(outputs), self._depth)

    def _end(self, i: int, start: int, n_rows: int, n_outputs: int) -> int:
        """Return how far sequence i gets from `start` with so many rows and outputs."""
        end = min(len(self._tree.sequences[i]), start + n_rows)
        for position in range(start, end):
            if position in self._wanted[i]:
                if n_outputs == 0:
                    return position
                n_outputs -= 1
        return end

    def _move_on(self, last: Visit) -> None:
        if last.end < len(self._tree.sequences[last.sequence]):
            self._next, self._depth = last.sequence, last.end
        else:
            self._next = last.sequence + 1
            self._depth = 0 if self.done else self._tree.shared[self._next]


def _with_sharers(rows: list[Row], visits: list[Visit], tree: RadixTree) -> tuple[Row, ...]:
    """Return the rows with `count` extended over the following visits that share them."""
    reach: list[list[int]] = [[] for _ in visits]  # per visit: depth shared with each following visit, falling
    for first in range(len(visits)):
        depth = None
        for visit in visits[first + 1 :]:
            step = tree.shared[visit.sequence]
            depth = step if depth is None else min(depth, step)
            if depth <= visits[first].kept:
                break
            reach[first].append(depth)
    return tuple(
        Row(row.token, row.position, row.first, 1 + sum(depth > row.position for depth in reach[row.first]), row.output)
        for row in rows
    )
