"""The radix tree over token sequences, kept as a sorted list. Level 2, pure Python.

Sorting token tuples puts them in the depth-first order of their radix tree, and the length that each shares with the
one before says where it branches off. That is the whole tree: sequence `i` adds the tokens `[shared[i], len(i))`, and
what two sequences `i < j` share is `min(shared[i + 1 .. j])`. So everything still needed of the past, at any moment of
a walk in this order, lies on the path of the last sequence visited (the *trunk*).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from os.path import commonprefix


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many leading tokens two sequences share."""
    limit = min(len(a), len(b))
    for depth in range(limit):
        if a[depth] != b[depth]:
            return depth
    return limit


def n_distinct(paths: Iterable[tuple[int, ...]]) -> int:
    """Return how many distinct prefixes paths have: the rows that a walk decodes, the cells that they take."""
    ordered = sorted(paths)
    return sum(map(len, ordered)) - sum(common_prefix(a, b) for a, b in pairwise(ordered))


def any_of(texts: Sequence[str]) -> str:
    """Return a regular expression of texts, the longest first: as their tree, thousands cost it as little as one."""
    shared = commonprefix(texts)  # noqa: RUF071 - they are no paths
    ends = sorted(text[len(shared) :] for text in texts)
    behind = [any_of(list(group)) for first, group in groupby(ends, key=lambda end: end[:1]) if first]
    return re.escape(shared) + (f"(?:{'|'.join(behind)}){'?' * ('' in ends)}" if behind else "")


@dataclass(frozen=True, slots=True)
class RadixTree:
    """Token sequences in depth-first order."""

    sequences: tuple[tuple[int, ...], ...]
    """Sorted; equal sequences stand side by side."""
    shared: tuple[int, ...]
    """Tokens shared with the sequence before; `shared[0]` is 0. Same length as `sequences`."""

    @classmethod
    def of(cls, sequences: Sequence[tuple[int, ...]]) -> RadixTree:
        """Return the tree of sequences that are sorted already.

        Raises:
            ValueError: if they are not sorted.
        """
        if any(a > b for a, b in pairwise(sequences)):
            raise ValueError("sequences must be sorted")
        shared = [0, *(common_prefix(a, b) for a, b in pairwise(sequences))]
        return cls(tuple(sequences), tuple(shared[: len(sequences)]))

    def paths(self) -> list[list[tuple[int, int]]]:
        """Return, for each sequence, its path as (owner, end) pieces.

        The token at position `p` of sequence `i` is computed once, for its *owner*: the first sequence that has this
        prefix. The pieces of a path are half-open, `[previous end, end)`, in order, and the last end is `len(i)`.
        """
        result: list[list[tuple[int, int]]] = []
        path: list[tuple[int, int]] = []
        for i, (sequence, shared) in enumerate(zip(self.sequences, self.shared, strict=True)):
            kept = [(owner, end) for owner, end in path if end <= shared]
            if (kept[-1][1] if kept else 0) < shared:
                owner = next(owner for owner, end in path if end > shared)
                kept.append((owner, shared))
            path = [*kept, (i, len(sequence))] if len(sequence) > shared else kept
            result.append(path)
        return result
