"""Which beginnings of texts stay in memory from one call to the next. Level 2, pure and deterministic.

A race scores the same prompts on further rows, a beam goes on with the prompts of the last round, and a meta-prompt is
asked again with another ending: their beginnings are computed once. Kept is where contexts of a call branched, for
there others may branch again; not where only their continuations differ (the labels of a row), for those are known
then. Contexts that come one by one branch off those of the calls before: their beginning is computed twice and then
kept. What was used last stays longest, and of equals what many contexts share.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from localprompt.engine.plan import Drop
from localprompt.engine.radix import RadixTree, common_prefix, n_distinct
from localprompt.engine.shared_walk import Kept, Reuse

LEAST = 16
"""Tokens that a beginning must add to a shorter one that is kept, or has to itself."""
_REMEMBERED = 64
"""Contexts of earlier calls that those of a call may branch off; a call of more shows by itself where they branch."""
_BEYOND = (1 << 62,)
"""Sorts behind all tokens."""


@dataclass(slots=True)
class _Entry:
    tokens: tuple[int, ...]
    value: int
    """Tokens that it has to itself, times the ways in which contexts went on from it."""
    used: int
    """Number of the call that used it last."""
    id: int = -1


class Prefixes:
    """Beginnings of texts under sequence ids of their own.

    Args:
        ids: sequence ids for them.
        most_cells: most cells that they may take.
    """

    def __init__(self, ids: Sequence[int], most_cells: int) -> None:
        self.ids = ids
        self._most_cells = most_cells
        self._entries: list[_Entry] = []
        self._earlier: list[tuple[int, ...]] = []
        self._calls = 0

    def forget(self) -> None:
        """Know of nothing: the memory is empty."""
        self._entries = []

    def lose(self, ids: Collection[int]) -> None:
        """Know no more of what a walk that was given up has not left under these ids."""
        self._entries = [entry for entry in self._entries if entry.id not in ids]

    def plan(
        self, tree: RadixTree, contexts: Sequence[int], wanted: Sequence[Collection[int]], most_cells: int
    ) -> tuple[Reuse, list[Drop]]:
        """Return what a walk has and leaves, and what has to be dropped before it.

        Args:
            tree: what is walked.
            contexts: for each sequence, how much of it is context.
            wanted: for each sequence, the positions that it owns whose logits are needed: cells have none.
            most_cells: most cells that all may take during this walk, if that is less than always.
        """
        self._calls += 1
        most_cells = min(most_cells, self._most_cells)
        first = {entry.tokens: _first_with(tree, wanted, entry.tokens) for entry in self._entries}
        for entry in self._entries:
            if first[entry.tokens] is not None:
                entry.used = self._calls
        branches = [*self._branches_off(tree, contexts), *_branches(tree, contexts)]
        found = {tree.sequences[i][:depth]: (i, value) for i, depth, value in branches}
        new = [_Entry(tokens, value, self._calls) for tokens, (_, value) in found.items() if tokens not in first]
        stay: list[_Entry] = []
        for entry in sorted([*self._entries, *new], key=lambda each: (-each.used, each.id < 0, -each.value)):
            if len(stay) == len(self.ids):
                break
            if n_distinct([*(each.tokens for each in stay), entry.tokens]) <= most_cells:
                stay.append(entry)
        gone = [Drop(entry.id) for entry in self._entries if entry not in stay]
        known: dict[int, Kept] = {}
        for entry in stay:
            place = first.get(entry.tokens)
            if place is not None and len(entry.tokens) > known.get(place, Kept(0, 0)).length:
                known[place] = Kept(entry.id, len(entry.tokens))
        free = iter(sorted(set(self.ids) - {entry.id for entry in stay}))
        keep: dict[int, list[Kept]] = {}
        for entry in stay:
            if entry.id < 0:
                entry.id = next(free)
                keep.setdefault(found[entry.tokens][0], []).append(Kept(entry.id, len(entry.tokens)))
        self._entries = stay
        return Reuse(known, keep), gone

    def _branches_off(self, tree: RadixTree, contexts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """Yield (sequence, depth, value) where a context leaves those of earlier calls, and remember the new ones.

        All but the last token of a context that comes again is kept: the logits behind it are needed.
        """
        new = [s[:n] for s, n in zip(tree.sequences, contexts, strict=True)]
        earlier = sorted(self._earlier)
        for i, context in enumerate(new if len(new) <= _REMEMBERED else ()):
            place = bisect_left(earlier, context)
            shared = max((common_prefix(context, each) for each in earlier[max(0, place - 1) : place + 1]), default=0)
            depth = min(shared, len(context) - 1)
            lengths = [len(entry.tokens) for entry in self._entries if context[: len(entry.tokens)] == entry.tokens]
            if (own := depth - max((n for n in lengths if n <= depth), default=0)) >= LEAST:
                yield i, depth, own
        before = dict.fromkeys(self._earlier)
        for context in new:
            before.pop(context, None)
        self._earlier = [*before, *dict.fromkeys(new)][-_REMEMBERED:]


def _first_with(tree: RadixTree, wanted: Sequence[Collection[int]], prefix: tuple[int, ...]) -> int | None:
    """Return the first sequence that begins with a prefix; None if there is none, or logits inside it are needed."""
    place = bisect_left(tree.sequences, prefix)
    if place == bisect_left(tree.sequences, prefix + _BEYOND) or any(p < len(prefix) for p in wanted[place]):
        return None
    return place


def _branches(tree: RadixTree, contexts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (first sequence through it, depth, value) of each place where contexts branch and that is worth keeping."""
    path: list[list[int]] = [[0, 0, 0]]  # [first sequence, depth, branches]

    def ended(depth: int) -> Iterator[tuple[int, int, int]]:
        while path[-1][1] > depth:
            first, end, n = path.pop()
            own = end - max(path[-1][1], depth)
            if own >= LEAST:
                yield first, end, own * n

    for i in range(1, len(tree.sequences)):
        depth = tree.shared[i]
        if depth >= min(contexts[i - 1], contexts[i]):
            continue  # the same context with another continuation
        yield from ended(depth)
        if path[-1][1] < depth:
            path.append([i - 1, depth, 1])
        path[-1][2] += 1
    yield from ended(0)
