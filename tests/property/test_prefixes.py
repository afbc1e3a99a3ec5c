"""What stays in memory from call to call, on random calls: within its room, and used where it fits."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from localprompt.engine.prefixes import LEAST, Prefixes
from localprompt.engine.radix import RadixTree, n_distinct
from localprompt.engine.shared_walk import Kept

IDS = (10, 11, 12)
stems = st.lists(st.sampled_from(range(6)), min_size=0, max_size=3).map(
    lambda parts: tuple(token for part in parts for token in range(20 * part, 20 * part + 18))
)
calls = st.lists(
    st.lists(
        st.tuples(stems, st.lists(st.integers(200, 203), min_size=1, max_size=3).map(tuple)), min_size=1, max_size=9
    ),
    min_size=1,
    max_size=5,
)


def tree_of(call: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> tuple[RadixTree, list[set[int]], list[int]]:
    """Contexts with one more token each, wanted after the context."""
    contexts = sorted({stem + end for stem, end in call})
    tree = RadixTree.of(sorted((*context, 900) for context in contexts))
    wanted = [
        {len(s) - 2} if len(s) - 2 >= shared else set() for s, shared in zip(tree.sequences, tree.shared, strict=True)
    ]
    return tree, wanted, [len(s) - 1 for s in tree.sequences]


@settings(max_examples=200)
@given(calls, st.integers(0, 80))
def test_what_is_known_is_there_and_nothing_takes_more_than_its_room(
    calls: Sequence[Sequence[tuple[tuple[int, ...], tuple[int, ...]]]], most_cells: int
) -> None:
    prefixes, memory = Prefixes(IDS, most_cells), dict[int, tuple[int, ...]]()
    for call in calls:
        tree, wanted, contexts = tree_of(call)
        reuse, gone = prefixes.plan(tree, contexts, wanted, 1000)
        for drop in gone:
            del memory[drop.sequence]
        for i, kept in reuse.known.items():
            assert memory[kept.id] == tree.sequences[i][: kept.length]
            assert i == 0 or tree.shared[i] < kept.length
            assert all(position >= kept.length for position in wanted[i])
        for i, parts in reuse.keep.items():
            for part in parts:
                assert part.id in IDS
                assert part.id not in memory
                memory[part.id] = tree.sequences[i][: part.length]
                assert part.length >= LEAST
        assert n_distinct(memory.values()) <= most_cells


def test_the_second_round_of_a_race_has_its_prompts() -> None:
    prompts = [tuple(range(100 * k, 100 * k + 40)) for k in range(3)]
    prefixes = Prefixes(IDS, 1000)
    first, second = ([(prompt, (200 + row,)) for prompt in prompts for row in rows] for rows in ((0, 1), (2, 3)))
    tree, wanted, contexts = tree_of(first)
    reuse, _ = prefixes.plan(tree, contexts, wanted, 1000)
    assert not reuse.known
    tree, wanted, contexts = tree_of(second)
    reuse, gone = prefixes.plan(tree, contexts, wanted, 1000)
    assert {i: kept.length for i, kept in reuse.known.items()} == {0: 40, 2: 40, 4: 40}
    assert not gone
    assert not reuse.keep


def test_what_was_used_last_stays() -> None:
    prefixes = Prefixes(IDS[:1], 1000)
    for start in (0, 300, 0):
        call = [(tuple(range(start, start + 30)), (200 + row,)) for row in range(2)]
        tree, wanted, contexts = tree_of(call)
        reuse, _ = prefixes.plan(tree, contexts, wanted, 1000)
        assert not reuse.known


def test_the_labels_of_a_row_are_no_beginning_worth_keeping() -> None:
    context = tuple(range(50))
    tree = RadixTree.of(sorted((*context, label, 901) for label in range(60, 66)))
    reuse, _ = Prefixes(IDS, 1000).plan(tree, [50] * 6, [{49, 50}] + [{50}] * 5, 1000)
    assert not reuse.keep


def one_by_one(prefixes: Prefixes, context: tuple[int, ...]) -> tuple[list[Kept], list[Kept]]:
    """What a completion after this context has of earlier ones, and what it leaves."""
    reuse, _ = prefixes.plan(RadixTree.of([context]), [len(context)], [{len(context) - 1}], 1000)
    return list(reuse.known.values()), [part for parts in reuse.keep.values() for part in parts]


def test_contexts_that_come_one_by_one_branch_off_earlier_ones() -> None:
    prefixes, instruction = Prefixes(IDS, 1000), tuple(range(40))
    assert one_by_one(prefixes, (*instruction, 200, 201)) == ([], [])
    (known, keep) = one_by_one(prefixes, (*instruction, 202))
    assert (known, [part.length for part in keep]) == ([], [40])
    assert one_by_one(prefixes, (*instruction, 203)) == (keep, [])
    # The logits behind a context are needed, so all but its last token is kept where it comes again.
    assert one_by_one(prefixes, tuple(range(300, 330))) == ([], [])
    (known, keep) = one_by_one(prefixes, tuple(range(300, 330)))
    assert (known, [part.length for part in keep]) == ([], [29])
    assert one_by_one(prefixes, tuple(range(300, 330))) == (keep, [])


def test_what_a_walk_that_was_given_up_has_not_left_is_not_known() -> None:
    prefixes, instruction = Prefixes(IDS, 1000), tuple(range(40))
    one_by_one(prefixes, (*instruction, 200))
    (_, keep) = one_by_one(prefixes, (*instruction, 201))
    prefixes.lose([part.id for part in keep])
    known, again = one_by_one(prefixes, (*instruction, 202))
    assert (known, again) == ([], keep)
