"""A walk through a tree of requests in one buffer of cells that sequences share. Level 2, pure and deterministic.

A depth-first walk is cut into batches. Sequence ids are used like this:

    holders         cells [0, kept), the trunk, of the path of the last sequence visited, from one batch to the next
    ids of Room     one for each sequence that has rows in the batch

Before a batch each of its sequences gets the part of the trunk that it shares, which is metadata only. A row is decoded
once, with the ids of all sequences of the batch that pass through it; these are neighbours in the walk, so a row needs
just (first, count) into the batch's ids. llama.cpp demands that sequences which share a row of a batch have equally
many cells before it: two sequences that share a row at position p have `kept` from the same place and branch off it at
the same place, so this holds by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from localprompt.engine.plan import Copy, Drop, PlannedBatch, Room, Row
from localprompt.engine.radix import RadixTree

TRUNK = 0
"""Sequence id that carries shared cells from one batch to the next."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The first `length` tokens of a sequence, in the memory under this id."""

    id: int
    length: int


@dataclass(frozen=True, slots=True)
class Reuse:
    """What one walk has of earlier ones and leaves to later ones."""

    known: Mapping[int, Kept]
    """For some sequences, the longest part of them that is in the memory already."""
    keep: Mapping[int, Sequence[Kept]]
    """For some sequences, parts of them that stay in the memory after the walk, under ids that are empty."""


_NOTHING = Kept(TRUNK, 0)


@dataclass(frozen=True, slots=True)
class _Visit:
    """One sequence's part in a batch."""

    sequence: int
    source: int
    kept: int
    """Tokens taken over from `source`."""
    end: int
    """Tokens in the memory after the batch; less than its length if the batch cuts it."""


class SharedWalk:
    """A walk through a tree, one batch at a time; see `Walk`.

    Args:
        tree: the sequences.
        wanted: for each sequence, the positions that it owns whose logits are needed.
        reserve: when generating: for each sequence, cells to keep free beside its own rows, for its completion.
        holders: ids that hold the trunk. Two where layers have windows: llama.cpp writes over
            cells that only one sequence holds and that its window has passed, and the trunk may become shorter.
        reuse: what earlier walks have left, and what is left to later ones.
    """

    def __init__(
        self,
        tree: RadixTree,
        wanted: Sequence[Collection[int]],
        reserve: Callable[[int], int] | None = None,
        *,
        holders: Sequence[int] = (TRUNK,),
        reuse: Reuse | None = None,
    ) -> None:
        self._tree = tree
        self._wanted = wanted
        self._reserve = reserve
        self._holders = holders
        self._known: Mapping[int, Kept] = reuse.known if reuse else {}
        self._keep = {i: list(parts) for i, parts in reuse.keep.items()} if reuse else {}
        self._next = 0
        self._depth = 0  # tokens of the next sequence that are in the trunk

    @property
    def done(self) -> bool:
        """True when every sequence has been visited to its end."""
        return self._next == len(self._tree.sequences)

    @property
    def n_done(self) -> int:
        """How many sequences are whole."""
        return self._next

    @property
    def held(self) -> Sequence[int]:
        """Those that hold the trunk."""
        return self._holders

    @property
    def unkept(self) -> Sequence[int]:
        """Ids under which parts were to stay in the memory that have not been decoded yet."""
        return [part.id for parts in self._keep.values() for part in parts]

    def restart(self) -> None:
        """Go on in an empty memory: the path of the next sequence is decoded from its beginning.

        Nothing is there any more, and nothing is kept.
        """
        self._depth = 0
        self.let_go()

    def let_go(self) -> None:
        """Have nothing more of earlier walks, and leave nothing more to later ones."""
        self._known, self._keep = {}, {}

    def next_batch(self, room: Room) -> PlannedBatch | None:
        """Return the next piece of the walk, or None if not even one sequence finds room now."""
        visits: list[_Visit] = []
        rows: list[Row] = []
        outputs: list[tuple[int, int]] = []
        cells = room.cells
        most = len(room.ids) if self._reserve is None else min(room.lanes, len(room.ids))
        i, source, kept = self._next, self._holders[0], self._depth
        while i < len(self._tree.sequences) and len(visits) < most:
            start = kept if not visits else self._tree.shared[i]
            known = self._known.get(i, _NOTHING)
            if known.length > start:
                source, start, kept = known.id, known.length, known.length
            kept = min(kept, start)
            length = len(self._tree.sequences[i])
            cells -= length - start + (self._reserve(i) if self._reserve else 0)
            if cells < 0:
                break
            end = self._end(i, start, room.rows - len(rows), room.outputs - len(outputs))
            if end == start < length:
                break
            path, wanted = self._tree.sequences[i], self._wanted[i]
            rows += [Row(path[p], p, len(visits), 1, p in wanted) for p in range(start, end)]
            outputs += [(i, p) for p in range(start, end) if p in wanted]
            visits.append(_Visit(i, source, kept, end))
            if end < length:
                break
            i += 1
        if not visits:
            return None
        self._move_on(visits[-1])
        ids = tuple(room.ids[: len(visits)])
        before = [Copy(visit.source, lane, visit.kept) for visit, lane in zip(visits, ids, strict=True) if visit.kept]
        after, ended = self._settled(visits, ids)
        shared = _with_sharers(rows, visits, self._tree)
        return PlannedBatch(tuple(before), ids, shared, tuple(outputs), tuple(after), tuple(ended))

    def _end(self, i: int, start: int, n_rows: int, n_outputs: int) -> int:
        """Return how far sequence i gets from `start` with so many rows and outputs."""
        end = min(len(self._tree.sequences[i]), start + n_rows)
        for position in range(start, end):
            if position in self._wanted[i]:
                if n_outputs == 0:
                    return position
                n_outputs -= 1
        return end

    def _move_on(self, last: _Visit) -> None:
        if last.end < len(self._tree.sequences[last.sequence]):
            self._next, self._depth = last.sequence, last.end
        else:
            self._next = last.sequence + 1
            self._depth = 0 if self.done else self._tree.shared[self._next]

    def _settled(self, visits: Sequence[_Visit], ids: Sequence[int]) -> tuple[list[Copy | Drop], list[tuple[int, int]]]:
        """Return what follows the batch: the trunk moves on, parts are kept, lanes end or live on."""
        after: list[Copy | Drop] = [Drop(holder) for holder in self._holders]
        if self._depth:
            after += [Copy(ids[-1], holder, self._depth) for holder in self._holders]
        ended = []
        for visit, lane in zip(visits, ids, strict=True):
            parts = self._keep.get(visit.sequence, [])
            after += [Copy(lane, part.id, part.length) for part in parts if part.length <= visit.end]
            self._keep[visit.sequence] = [part for part in parts if part.length > visit.end]
            if self._reserve is not None and visit.end == len(self._tree.sequences[visit.sequence]):
                ended.append((visit.sequence, lane))
            else:
                after.append(Drop(lane))
        return after, ended


def _with_sharers(rows: list[Row], visits: list[_Visit], tree: RadixTree) -> tuple[Row, ...]:
    """Return the rows with `count` extended over the following visits that share them."""
    reach: list[list[int]] = [[] for _ in visits]  # per visit: depth shared with each following visit, falling
    for first in range(len(visits)):
        depth = None
        for visit in visits[first + 1 :]:
            step = tree.shared[visit.sequence]
            depth = step if depth is None else min(depth, step)
            if depth <= visits[first].kept or visit.kept != visits[first].kept:
                break
            reach[first].append(depth)
    return tuple(
        Row(row.token, row.position, row.first, 1 + sum(depth > row.position for depth in reach[row.first]), row.output)
        for row in rows
    )
