"""What a walk through a tree of requests asks of the memory: batches to decode, sequences to copy. Level 2, pure.

Two walks make such batches, one for each kind of memory that llama.cpp has:

    SharedWalk (shared_walk.py)    cells of attention in one buffer: a row may belong to many sequences, any part of a
                                   sequence may be shared, and sharing moves no data
    FrozenWalk (frozen_walk.py)    recurrent states, and buffers with a stream for each sequence: nothing is truncated,
                                   so a sequence stands still at each branch and is copied whole to its children
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Room:
    """What the next batch may use at most."""

    rows: int
    ids: Sequence[int]
    """Sequence ids that are free, ascending."""
    outputs: int
    cells: int
    """Cells free for new rows and for what is reserved with them."""
    lanes: int = 0
    """How many more completions may begin; of no concern when scoring."""


@dataclass(frozen=True, slots=True)
class Held:
    """What completions under way have of a memory while others use the rest."""

    ids: Collection[int] = ()
    """Their sequence ids."""
    promised: int = 0
    """Cells that they will need beside those that they have."""


NOTHING = Held()


@dataclass(frozen=True, slots=True)
class Copy:
    """Sequence `target`, which is empty, gets the first `length` tokens of `source`; None: all of it."""

    source: int
    target: int
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """A sequence is forgotten, and its id is free."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Row:
    """One token to decode."""

    token: int
    position: int
    first: int
    """Index of the first of the batch's ids that it belongs to; `count` follow one another."""
    count: int
    output: bool


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """A piece of a walk: first the copies, then one decode call, then what follows it."""

    before: tuple[Copy, ...]
    ids: tuple[int, ...]
    rows: tuple[Row, ...]
    """Possibly none: then nothing is decoded."""
    outputs: tuple[tuple[int, int], ...]
    """The rows with logits as (owner, position), in row order; see `RadixTree.paths`."""
    after: tuple[Copy | Drop, ...]
    ended: tuple[tuple[int, int], ...]
    """When generating: sequences that are whole now, with the id that each has from now on."""


class Walk(Protocol):
    """A walk through a tree, one batch at a time."""

    @property
    def n_done(self) -> int:
        """How many sequences are whole."""

    @property
    def done(self) -> bool:
        """True when all sequences are whole."""

    @property
    def held(self) -> Sequence[int]:
        """Sequence ids that the walk needs until its next batch."""

    def next_batch(self, room: Room) -> PlannedBatch | None:
        """Return the next piece of the walk, or None if there is no room for any now."""
