"""The planner on random forests: every prefix decoded once, every batch legal, every output where it is wanted."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localprompt.engine.plan import PlannedBatch, Planner, Room
from localprompt.engine.radix import RadixTree, common_prefix

tokens = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)
forests = st.lists(tokens, min_size=1, max_size=14).map(sorted)
rooms = st.builds(
    Room, rows=st.integers(1, 12), lanes=st.integers(1, 6), outputs=st.integers(1, 4), cells=st.just(10_000)
)


def prefixes(sequences: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {s[: n + 1] for s in sequences for n in range(len(s))}


def walk(tree: RadixTree, wanted: list[set[int]], room: Room) -> list[PlannedBatch]:
    planner = Planner(tree, wanted)
    batches = []
    while not planner.done:
        batch = planner.next_batch(room)
        assert batch is not None
        batches.append(batch)
    return batches


def all_wanted(tree: RadixTree) -> list[set[int]]:
    return [set(range(shared, len(s))) for s, shared in zip(tree.sequences, tree.shared, strict=True)]


@given(forests)
def test_the_tree_has_one_token_a_distinct_prefix(sequences: list[tuple[int, ...]]) -> None:
    assert RadixTree.of(sequences).n_tokens == len(prefixes(sequences))


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


@given(forests, rooms)
def test_every_prefix_is_decoded_exactly_once(sequences: list[tuple[int, ...]], room: Room) -> None:
    tree = RadixTree.of(sequences)
    decoded = Counter(
        tree.sequences[batch.visits[row.first].sequence][: row.position + 1]
        for batch in walk(tree, all_wanted(tree), room)
        for row in batch.rows
    )
    assert set(decoded) == prefixes(sequences)
    assert set(decoded.values()) <= {1}


@given(forests, rooms)
def test_a_batch_stays_within_its_room(sequences: list[tuple[int, ...]], room: Room) -> None:
    tree = RadixTree.of(sequences)
    for batch in walk(tree, all_wanted(tree), room):
        assert len(batch.rows) <= room.rows
        assert len(batch.visits) <= room.lanes
        assert len(batch.outputs) == sum(row.output for row in batch.rows) <= room.outputs


@given(forests, rooms)
def test_a_cache_driven_by_the_plan_holds_each_sequence_whole_and_in_order(
    sequences: list[tuple[int, ...]], room: Room
) -> None:
    """Simulate llama.cpp's unified cache: what each lane sees, and the rules that it aborts on."""
    tree = RadixTree.of(sequences)
    trunk: tuple[int, ...] = ()
    seen: set[int] = set()
    for batch in walk(tree, all_wanted(tree), room):
        lanes = [list(trunk[: visit.kept]) for visit in batch.visits]
        assert all(len(lane) == visit.kept for lane, visit in zip(lanes, batch.visits, strict=True))
        kept = [visit.kept for visit in batch.visits]
        for row in batch.rows:
            sharers = range(row.first, row.first + row.count)
            assert len({kept[k] for k in sharers}) == 1, "coupled sequences must have equally many cells before"
            for k in sharers:
                assert len(lanes[k]) == row.position, "positions must follow one another"
                lanes[k].append(row.token)
        for visit, lane in zip(batch.visits, lanes, strict=True):
            assert tuple(lane) == tree.sequences[visit.sequence][: visit.end]
            if visit.end == len(lane) == len(tree.sequences[visit.sequence]):
                seen.add(visit.sequence)
        trunk = tuple(lanes[-1][: batch.trunk])
        assert len(trunk) == batch.trunk
    assert seen == set(range(len(tree.sequences)))


@given(forests, rooms, st.data())
def test_exactly_the_wanted_rows_have_outputs(
    sequences: list[tuple[int, ...]], room: Room, data: st.DataObject
) -> None:
    tree = RadixTree.of(sequences)
    wanted = [data.draw(st.sets(st.sampled_from(sorted(owned)))) if owned else set() for owned in all_wanted(tree)]
    planned = [at for batch in walk(tree, wanted, room) for at in batch.outputs]
    assert sorted(planned) == sorted((i, p) for i, positions in enumerate(wanted) for p in positions)


@given(forests)
def test_a_sequence_waits_until_its_cells_and_its_reserve_are_free(sequences: list[tuple[int, ...]]) -> None:
    tree = RadixTree.of(sequences)
    planner = Planner(tree, [set() for _ in tree.sequences], reserve=lambda _: 5)
    first = len(tree.sequences[0])
    assert planner.next_batch(Room(rows=100, lanes=10, outputs=10, cells=first + 4)) is None
    batch = planner.next_batch(Room(rows=100, lanes=10, outputs=10, cells=first + 5))
    assert batch is not None
    assert batch.visits[0].end == first


@given(tokens, tokens)
def test_common_prefix_is_the_longest(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


def test_unsorted_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match="sorted"):
        RadixTree.of([(2,), (1,)])
