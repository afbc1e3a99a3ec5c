"""Both walks on random forests, against simulated memories: every batch legal, every output where it is wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localprompt.engine import frozen_walk
from localprompt.engine.frozen_walk import FrozenWalk
from localprompt.engine.plan import Drop, PlannedBatch, Room, Walk
from localprompt.engine.radix import RadixTree, common_prefix, n_distinct
from localprompt.engine.shared_walk import Kept, Reuse, SharedWalk

tokens = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)
forests = st.lists(tokens, min_size=1, max_size=14).map(sorted)
Wanted = Sequence[Collection[int]]


class Memory:
    """llama.cpp's memory as the walks know it: which tokens each sequence has, and the rules that it aborts on."""

    def __init__(self, n_seq_max: int, *, copies_whole: bool) -> None:
        self.sequences: dict[int, list[int]] = {}
        self.n_seq_max = n_seq_max
        self.copies_whole = copies_whole
        self.decoded: Counter[tuple[int, ...]] = Counter()

    def run(self, batch: PlannedBatch) -> None:
        self._copy(batch.before)
        before = {i: len(self.sequences.get(i, ())) for i in batch.ids}
        assert len(set(batch.ids)) == len(batch.ids)
        for row in batch.rows:
            sharers = batch.ids[row.first : row.first + row.count]
            assert len(sharers) == row.count == 1 or not self.copies_whole, "no row may belong to two"
            assert len({before[i] for i in sharers}) == 1, "coupled sequences must have equally many cells before"
            for i in sharers:
                sequence = self.sequences.setdefault(i, [])
                assert len(sequence) == row.position, "positions must follow one another"
                sequence.append(row.token)
            assert len({tuple(self.sequences[i]) for i in sharers}) == 1
            self.decoded[tuple(self.sequences[sharers[0]])] += 1
        if self.copies_whole:
            owners = [batch.ids[row.first] for row in batch.rows]
            assert owners == sorted(owners), "neighbours are computed together where their ids ascend"

    def settle(self, batch: PlannedBatch) -> None:
        self._copy(batch.after)

    def _copy(self, steps: Sequence[object]) -> None:
        for step in steps:
            if isinstance(step, Drop):
                self.sequences.pop(step.sequence, None)
                continue
            source, target, length = step.source, step.target, step.length  # type: ignore[attr-defined]
            assert 0 <= target < self.n_seq_max
            assert target not in self.sequences, "the target of a copy is empty"
            assert length is None or not self.copies_whole
            whole = self.sequences[source]
            assert length is None or length <= len(whole)
            self.sequences[target] = list(whole if length is None else whole[:length])


def all_wanted(tree: RadixTree) -> list[set[int]]:
    return [set(range(shared, len(s))) for s, shared in zip(tree.sequences, tree.shared, strict=True)]


def prefixes(sequences: Sequence[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {s[: n + 1] for s in sequences for n in range(len(s))}


SHARED, FROZEN = "shared", "frozen"


def make(kind: str, tree: RadixTree, wanted: Wanted, reserve: Callable[[int], int] | None = None, n: int = 4) -> Walk:
    return SharedWalk(tree, wanted, reserve) if kind == SHARED else FrozenWalk(tree, wanted, reserve, frozen=n)


@pytest.fixture(autouse=True)
def _branches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_walk, "LEAST_SAVED", 1)


kinds = st.sampled_from([SHARED, FROZEN])
sizes = st.tuples(st.integers(1, 12), st.integers(2, 8), st.integers(1, 4))  # rows, sequences, outputs


def score(kind: str, tree: RadixTree, wanted: Wanted, size: tuple[int, int, int]) -> tuple[Memory, list[PlannedBatch]]:
    """Walk as the engine does when it scores."""
    n_rows, n_seq_max, n_outputs = size
    walk, memory = make(kind, tree, wanted, n=n_seq_max - 1), Memory(n_seq_max, copies_whole=kind == FROZEN)
    batches = []
    while not walk.done:
        assert set(memory.sequences) <= set(walk.held)
        free = [i for i in range(n_seq_max) if i not in set(walk.held)]
        batch = walk.next_batch(Room(n_rows, free, n_outputs, cells=10_000))
        assert batch is not None
        assert len(batch.rows) <= n_rows
        assert len(batch.outputs) == sum(row.output for row in batch.rows) <= n_outputs
        memory.run(batch)
        memory.settle(batch)
        batches.append(batch)
    assert not memory.sequences
    assert walk.n_done == len(tree.sequences)
    return memory, batches


@given(forests)
def test_the_tree_has_one_token_a_distinct_prefix(sequences: list[tuple[int, ...]]) -> None:
    assert n_distinct(reversed(sequences)) == len(prefixes(sequences))


@given(forests)
def test_a_path_names_for_each_position_the_first_sequence_with_that_prefix(sequences: list[tuple[int, ...]]) -> None:
    tree = RadixTree.of(sequences)
    for sequence, path in zip(tree.sequences, tree.paths(), strict=True):
        owners = [owner for owner, end in path for _ in range(end)]
        starts = [0, *(end for _, end in path)]
        assert starts[-1] == len(sequence)
        for (owner, end), start in zip(path, starts, strict=False):
            for position in range(start, end):
                prefix = sequence[: position + 1]
                assert owner == next(i for i, s in enumerate(tree.sequences) if s[: position + 1] == prefix)
        assert owners or not sequence


@given(forests, sizes)
def test_shared_cells_decode_every_prefix_exactly_once(
    sequences: list[tuple[int, ...]], size: tuple[int, int, int]
) -> None:
    tree = RadixTree.of(sequences)
    memory, _ = score(SHARED, tree, all_wanted(tree), size)
    assert set(memory.decoded) == prefixes(sequences)
    assert set(memory.decoded.values()) <= {1}


@given(forests, sizes)
def test_whole_copies_decode_every_prefix_and_again_only_where_no_sequence_can_stand_still(
    sequences: list[tuple[int, ...]], size: tuple[int, int, int]
) -> None:
    tree = RadixTree.of(sequences)
    memory, _ = score(FROZEN, tree, all_wanted(tree), size)
    assert set(memory.decoded) == prefixes(sequences)
    memory, _ = score(FROZEN, tree, all_wanted(tree), (size[0], 64, size[2]))
    assert set(memory.decoded.values()) <= {1}


@given(kinds, forests, sizes, st.data())
def test_exactly_the_wanted_rows_have_outputs(
    kind: str, sequences: list[tuple[int, ...]], size: tuple[int, int, int], data: st.DataObject
) -> None:
    tree = RadixTree.of(sequences)
    wanted = [data.draw(st.sets(st.sampled_from(sorted(owned)))) if owned else set() for owned in all_wanted(tree)]
    _, batches = score(kind, tree, wanted, size)
    planned = [at for batch in batches for at in batch.outputs]
    assert sorted(planned) == sorted((i, p) for i, positions in enumerate(wanted) for p in positions)
    for batch in batches:
        rows = [row for row in batch.rows if row.output]
        at = [(tree.sequences[owner][position], position) for owner, position in batch.outputs]
        assert [(row.token, row.position) for row in rows] == at


@given(kinds, forests, sizes, st.integers(1, 3), st.data())
def test_every_completion_begins_once_with_all_of_its_prompt_and_an_id_of_its_own(
    kind: str, sequences: list[tuple[int, ...]], size: tuple[int, int, int], n_lanes: int, data: st.DataObject
) -> None:
    """As the engine generates: lanes hold their ids until they end, whenever that is."""
    tree = RadixTree.of(sequences)
    n_rows, frozen, _ = size
    n_seq_max = n_lanes + frozen
    walk = make(kind, tree, [{len(s) - 1} for s in tree.sequences], lambda _: 3, frozen)
    memory, lanes, begun = Memory(n_seq_max, copies_whole=kind == FROZEN), list[int](), list[int]()
    cells = max(map(len, sequences)) + 3 + data.draw(st.sampled_from([0, 1, 5, 1000]))
    while lanes or not walk.done:
        free = [i for i in range(n_seq_max) if i not in {*walk.held, *lanes}]
        held = n_distinct(tuple(each) for each in memory.sequences.values())
        room = Room(n_rows, free, 4, cells - held - 3 * len(lanes), n_lanes - len(lanes))
        batch = walk.next_batch(room) if not walk.done and len(lanes) < n_lanes else None
        assert batch is not None or lanes, "a request that fits found no room"
        if batch is not None:
            memory.run(batch)
            memory.settle(batch)
            for sequence, lane in batch.ended:
                assert tuple(memory.sequences[lane]) == tree.sequences[sequence]
                begun.append(sequence)
            lanes += [lane for _, lane in batch.ended]
            assert len(set(lanes)) == len(lanes) <= n_lanes
            assert not set(lanes) & set(walk.held)
            assert n_distinct(tuple(s) for s in memory.sequences.values()) <= cells
        if batch is None or data.draw(st.booleans()):
            for lane in data.draw(st.sets(st.sampled_from(lanes), min_size=1)) if lanes else ():
                lanes.remove(lane)
                del memory.sequences[lane]
    assert sorted(begun) == list(range(len(sequences)))
    assert not memory.sequences


@given(forests, sizes, st.data())
def test_a_walk_goes_on_from_what_is_known_and_leaves_what_is_to_be_kept(
    sequences: list[tuple[int, ...]], size: tuple[int, int, int], data: st.DataObject
) -> None:
    tree = RadixTree.of(sequences)
    n_rows, n, n_outputs = size
    whole = sorted({s[:k] for s in sequences for k in range(1, len(s))})
    old = data.draw(st.lists(st.sampled_from(whole), unique=True, max_size=3)) if whole else []
    new = data.draw(st.lists(st.sampled_from(whole), unique=True, max_size=3)) if whole else []
    memory = Memory(n + 6, copies_whole=False)
    memory.sequences = {n + k: list(prefix) for k, prefix in enumerate(old)}

    def first(prefix: tuple[int, ...]) -> int:
        return next(i for i, s in enumerate(tree.sequences) if s[: len(prefix)] == prefix)

    known: dict[int, Kept] = {}
    for k, prefix in enumerate(old):
        if len(prefix) > known.get(first(prefix), Kept(0, 0)).length:
            known[first(prefix)] = Kept(n + k, len(prefix))
    keep: dict[int, list[Kept]] = {}
    for k, prefix in enumerate(new):
        keep.setdefault(first(prefix), []).append(Kept(n + 3 + k, len(prefix)))
    ends = [tree.sequences[i][: max(0, kept.length - 1)] for i, kept in known.items()]
    skipped = {s[: k + 1] for s in ends for k in range(len(s))}
    wanted = [{len(s) - 1} if len(s) > shared else set() for s, shared in zip(tree.sequences, tree.shared, strict=True)]
    walk = SharedWalk(tree, wanted, reuse=Reuse(known, keep))
    while not walk.done:
        batch = walk.next_batch(Room(n_rows, list(range(1, n)), n_outputs, cells=10_000))
        assert batch is not None
        memory.run(batch)
        memory.settle(batch)
    assert set(memory.decoded) | skipped >= prefixes(sequences) - {tuple(prefix) for prefix in old}
    assert set(memory.decoded.values()) <= {1}
    assert memory.sequences == {
        **{n + k: list(prefix) for k, prefix in enumerate(old)},
        **{n + 3 + k: list(prefix) for k, prefix in enumerate(new)},
    }


@given(kinds, forests)
def test_a_sequence_waits_until_its_cells_and_its_reserve_are_free(kind: str, sequences: list[tuple[int, ...]]) -> None:
    tree = RadixTree.of(sequences[:1])
    walk = make(kind, tree, [set()], lambda _: 5)
    first = len(tree.sequences[0])
    assert walk.next_batch(Room(100, range(1, 10), 10, cells=first + 4, lanes=10)) is None
    batch = walk.next_batch(Room(100, range(1, 10), 10, cells=first + 5, lanes=10))
    assert batch is not None
    assert [sequence for sequence, _ in batch.ended] == [0]


def test_branches_that_save_little_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch costs a copy, and its children wait for it."""
    monkeypatch.setattr(frozen_walk, "LEAST_SAVED", 16)
    for n_shared, saved in ((15, 0), (16, 16)):
        sequences = [(*range(n_shared), 100 + k) for k in range(2)]
        memory, _ = score(FROZEN, RadixTree.of(sequences), [{n_shared}] * 2, (64, 8, 4))
        assert sum(memory.decoded.values()) == 2 * (n_shared + 1) - saved


def test_a_path_with_more_branches_than_ids_is_walked() -> None:
    sequences = [*((1,) * n + (0,) for n in range(40)), (1,) * 41]
    tree = RadixTree.of(sorted(sequences))
    for n_seq_max in (2, 3, 5, 9):
        memory, _ = score(FROZEN, tree, all_wanted(tree), (7, n_seq_max, 4))
        assert set(memory.decoded) == prefixes(sequences)


@given(tokens, tokens)
def test_common_prefix_is_the_longest(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


def test_unsorted_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match="sorted"):
        RadixTree.of([(2,), (1,)])
