"""A walk through a tree of requests in a memory that can only be copied whole. Level 2, pure and deterministic.

The state of a recurrent model cannot be truncated, and the stream of one sequence cannot show a part of itself to
another. So a sequence stands still where the tree branches, and each child begins as a copy of all of it; the last
child takes its place. Each node of the tree that is alive has a sequence id of its own, and no row belongs to two.

Nodes start in the order of the tree, several at once. A node that branches holds its id until all of its children have
started, so not too many may be alive: at most `frozen`, of which one path of the tree, the first that is not finished,
can always have its nodes. Nodes that would save less than they cost, and those deeper than half of `frozen`, do not
branch: what is behind them is decoded once for each child.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from localprompt.engine.plan import Copy, Drop, PlannedBatch, Room, Row
from localprompt.engine.radix import RadixTree

LEAST_SAVED = 16
"""Tokens that a branch must save: it costs a copy, and its children wait for it."""


@dataclass(slots=True)
class _Node:
    """Tokens [start, end) of the sequences that pass through it, of which `first` is the first."""

    first: int
    start: int
    end: int
    children: list[_Node] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """Sequences that end here."""
    number: int = 0
    """In the order of the walk."""
    parent: _Node | None = None
    id: int = -1
    depth: int = 0
    """Tokens in the memory."""
    uses: int = 0
    """Children and ends that still need it."""

    @property
    def is_leaf(self) -> bool:
        """True if it needs no more than its own id: nothing branches here."""
        return len(self.children) + len(self.ends) < 2


class FrozenWalk:
    """A walk through a tree, one batch at a time; see `Walk`. No row belongs to two sequences.

    Args:
        tree: the sequences.
        wanted: for each sequence, the positions that it owns whose logits are needed.
        reserve: when generating: for each sequence, cells to keep free beside its own rows, for its completion.
        frozen: how many nodes that branch may be alive, at least 2. There must be more sequence ids than this and, when
            generating, one for each completion.
    """

    def __init__(
        self,
        tree: RadixTree,
        wanted: Sequence[Collection[int]],
        reserve: Callable[[int], int] | None = None,
        *,
        frozen: int,
    ) -> None:
        self._tree = tree
        self._wanted = wanted
        self._reserve = reserve
        self._ahead = frozen - frozen // 2
        self._longest = max((len(s) + self._reserved(i) for i, s in enumerate(tree.sequences)), default=0)
        self._ready: list[tuple[int, _Node]] = []  # (number, node): a heap of those whose parents stand still
        self._active: dict[int, _Node] = {}  # started, not yet decoded to the end
        self._standing: dict[int, _Node] = {}  # decoded, needed by children or ends
        self._ending: list[tuple[int, _Node]] = []  # (sequence, node) that waits for a lane
        self._left = 0  # nodes not yet decoded, ends not yet begun
        self._reached = 0
        for node in _prepared(_roots(tree), frozen // 2, by_ends=reserve is not None):
            self._left += 1 + len(node.ends)
            if node.parent is None:
                heapq.heappush(self._ready, (node.number, node))

    @property
    def done(self) -> bool:
        """True when all sequences are whole."""
        return not self._left

    @property
    def n_done(self) -> int:
        """How many sequences are whole; about, until all are."""
        return len(self._tree.sequences) if self.done else self._reached

    @property
    def held(self) -> Sequence[int]:
        """The ids of nodes that are being decoded or stand still."""
        return [node.id for node in self._live()]

    def next_batch(self, room: Room) -> PlannedBatch | None:
        """Return the next piece of the walk, or None if there is no room for any now."""
        active = [self._active[number] for number in sorted(self._active)]
        cells = room.cells - sum(node.end - node.depth + self._reserved(node.first) for node in active)
        promised = sum(node.is_leaf for node in active)  # completions that begin where these end
        draft = _Draft(list(room.ids), room.rows, room.outputs, cells, room.lanes - promised)
        draft.finished += [node for node in active if self._extend(node, draft)]
        self._start_nodes(draft)
        for node in draft.finished:
            self._ending += [(sequence, node) for sequence in node.ends]
            for child in node.children:
                heapq.heappush(self._ready, (child.number, child))
        self._end_sequences(draft)
        if not (draft.pieces or draft.after or draft.ended):
            return None
        return draft.batch(self._tree, self._wanted)

    def _live(self) -> list[_Node]:
        return [*self._active.values(), *self._standing.values()]

    def _reserved(self, sequence: int) -> int:
        return 0 if self._reserve is None else self._reserve(sequence)

    def _start_nodes(self, draft: _Draft) -> None:
        """Start what is ready, in order, as far as there is room."""
        waiting: list[tuple[int, _Node]] = []
        while self._ready and draft.rows and draft.outputs and len(waiting) <= self._ahead:
            item = heapq.heappop(self._ready)
            node = item[1]
            # What is behind a node that stands, or ends in this batch, comes before this one.
            stands = [before for _, before in self._ending if before.number < node.number]
            ends = [before for before in draft.finished if before.children or (before.ends and not before.is_leaf)]
            is_first = not (waiting or stands or ends)
            if not self._may_start(node, draft, is_first=is_first):
                waiting.append(item)
                continue
            if node.parent is None:
                node.id = draft.ids.pop(0)
            else:
                node.id = self._taken(node.parent, draft.before, draft.ids)
            node.depth = node.start
            self._active[node.number] = node
            draft.cells -= node.end - node.start + self._reserved(node.first)
            draft.lanes -= node.is_leaf
            if self._extend(node, draft):
                draft.finished.append(node)
        for item in waiting:
            heapq.heappush(self._ready, item)

    def _may_start(self, node: _Node, draft: _Draft, *, is_first: bool) -> bool:
        if not draft.ids and (node.parent is None or node.parent.uses > 1):
            return False
        if self._reserve is not None and node.is_leaf and draft.lanes < 1:
            return False
        left = draft.cells - (node.end - node.start) - self._reserved(node.first)
        if is_first and all(node.number < number for number in self._active):
            return left >= 0  # the first path that is not finished: the others have left it ids and cells
        alive = sum(not each.is_leaf for each in self._live())
        return left >= self._longest and (node.is_leaf or alive < self._ahead)

    def _taken(self, node: _Node, steps: list[Any], ids: list[int]) -> int:
        """Return the id of what goes on from a node that stands still: of a copy, or the node's own for the last."""
        node.uses -= 1
        if node.uses:
            target = ids.pop(0)
            steps.append(Copy(node.id, target))
            return target
        del self._standing[node.number]
        return node.id

    def _extend(self, node: _Node, draft: _Draft) -> bool:
        """Decode as much of a node as there is room for; return whether that was all."""
        wanted, begin = self._wanted[node.first], node.depth
        while node.depth < node.end and draft.rows:
            if node.depth in wanted:
                if not draft.outputs:
                    break
                draft.outputs -= 1
            node.depth += 1
            draft.rows -= 1
        if node.depth > begin:
            draft.pieces.append((node.id, node, begin, node.depth))
        if node.depth < node.end:
            return False
        del self._active[node.number]
        self._left -= 1
        self._reached = max(self._reached, node.first + 1)
        if node.uses:
            self._standing[node.number] = node
        else:
            draft.after.append(Drop(node.id))
        return True

    def _end_sequences(self, draft: _Draft) -> None:
        """Give sequences that are whole an id of their own, as far as completions may begin."""
        waiting = []
        for sequence, node in self._ending:
            if not node.is_leaf:  # the lane and the cells of a leaf were promised when it started
                need = self._reserved(sequence)
                if draft.lanes < 1 or draft.cells < need or (not draft.ids and node.uses > 1):
                    waiting.append((sequence, node))
                    continue
                draft.lanes -= 1
                draft.cells -= need
            draft.ended.append((sequence, self._taken(node, draft.after, draft.ids)))
            self._left -= 1
        self._ending = waiting


@dataclass(slots=True)
class _Draft:
    """A batch in the making: the room that is left, and what there is so far."""

    ids: list[int]
    rows: int
    outputs: int
    cells: int
    lanes: int
    before: list[Copy] = field(default_factory=list)
    pieces: list[tuple[int, _Node, int, int]] = field(default_factory=list)
    after: list[Copy | Drop] = field(default_factory=list)
    ended: list[tuple[int, int]] = field(default_factory=list)
    finished: list[_Node] = field(default_factory=list)
    """Nodes that are decoded to the end with this batch."""

    def batch(self, tree: RadixTree, wanted: Sequence[Collection[int]]) -> PlannedBatch:
        """Return the batch, its rows by ascending ids: llama.cpp computes those of neighbours together."""
        rows, outputs = [], []
        pieces = sorted(self.pieces, key=lambda piece: piece[0])
        for k, (_, node, begin, end) in enumerate(pieces):
            path, owned = tree.sequences[node.first], wanted[node.first]
            rows += [Row(path[p], p, k, 1, p in owned) for p in range(begin, end)]
            outputs += [(node.first, p) for p in range(begin, end) if p in owned]
        ids = tuple(piece[0] for piece in pieces)
        return PlannedBatch(tuple(self.before), ids, tuple(rows), tuple(outputs), tuple(self.after), tuple(self.ended))


def _roots(tree: RadixTree) -> list[_Node]:
    """Return the roots of the tree with its edges compressed."""
    top = _Node(0, 0, 0)
    path = [top]
    for i, (sequence, shared) in enumerate(zip(tree.sequences, tree.shared, strict=True)):
        below = None
        while path[-1].end > shared:
            below = path.pop()
        if below is not None and path[-1].end < shared:
            middle = _Node(below.first, below.start, shared, [below])
            path[-1].children[-1] = middle
            below.start = shared
            path.append(middle)
        if len(sequence) > shared:
            leaf = _Node(i, shared, len(sequence))
            path[-1].children.append(leaf)
            path.append(leaf)
        path[-1].ends.append(i)
    return top.children


def _prepared(roots: Sequence[_Node], most: int, *, by_ends: bool) -> Iterator[_Node]:
    """Yield the nodes in the order of the walk, numbered, with parents; those that do not pay are taken apart.

    Children that are equally long follow one another: llama.cpp computes equally many tokens of each sequence at once.

    Args:
        roots: nodes without parents.
        most: how many may stand above one another.
        by_ends: a sequence that ends at a node needs it too.
    """
    number = 0
    todo: list[tuple[_Node, _Node | None, int]] = [(n, None, 0) for n in reversed(_apart(roots, most, by_ends=by_ends))]
    while todo:
        node, parent, depth = todo.pop()
        node.number, node.parent = number, parent
        node.children = _apart(node.children, most - depth - 1, by_ends=by_ends)
        node.ends = node.ends if by_ends else []
        node.uses = len(node.children) + len(node.ends)
        number += 1
        yield node
        todo += [(child, node, depth + 1) for child in reversed(node.children)]


def _apart(nodes: Sequence[_Node], most: int, *, by_ends: bool) -> list[_Node]:
    """Return nodes, or what is behind them where they do not pay, the shortest first."""
    found, todo = [], list(nodes)
    while todo:
        node = todo.pop()
        uses = len(node.children) + (len(node.ends) if by_ends else 0)
        saved = (node.end - node.start) * (uses - 1)
        if not node.children or (most > 0 and (uses < 2 or saved >= LEAST_SAVED)):
            found.append(node)
            continue
        behind = [*node.children, *([_Node(node.first, node.start, node.end, [], node.ends)] if node.ends else [])]
        for child in behind:
            child.start = node.start
        todo += behind
    return sorted(found, key=lambda node: (node.end - node.start, node.first))
