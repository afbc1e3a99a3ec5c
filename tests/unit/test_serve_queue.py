"""Whose turn it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localprompt.serve.queue import Queue, QueueFull
from localprompt.serve.work import Item, Job, Score


def job(client: str, n_items: int, n_tokens: int = 1) -> Job:
    return Job(client, client, [Score([0] * n_tokens, 1)] * n_items, lambda *_: None)


def anything(_: Item) -> bool:
    return True


def test_clients_take_turns_however_much_one_of_them_asks() -> None:
    queue = Queue(1000)
    greedy, modest = job("greedy", 500), job("modest", 2)
    queue.add(greedy)
    queue.add(modest)
    taken = queue.take(4, anything)
    assert [(each.client, i) for each, i in taken] == [("greedy", 0), ("modest", 0), ("greedy", 1), ("modest", 1)]
    queue.add(job("late", 1))
    assert [each.client for each, _ in queue.take(2, anything)] == ["greedy", "late"]


def test_turns_go_on_where_the_last_wave_ended() -> None:
    queue = Queue(1000)
    for name in "abcd":
        queue.add(job(name, 5))
    waves = ["".join(each.client for each, _ in queue.take(3, anything)) for _ in range(4)]
    assert waves == ["abc", "dab", "cda", "bcd"]


def test_what_is_too_large_for_what_is_left_waits_and_others_go_first() -> None:
    queue = Queue(1000)
    queue.add(job("large", 1, n_tokens=100))
    queue.add(job("small", 3))
    assert [each.client for each, _ in queue.take(10, lambda item: len(item.tokens) < 50)] == ["small"] * 3
    assert [each.client for each, _ in queue.take(10, anything)] == ["large"]


def test_what_nobody_awaits_is_left_out_and_makes_room() -> None:
    queue = Queue(10)
    gone, there = job("gone", 8), job("there", 2)
    queue.add(gone)
    queue.add(there)
    with pytest.raises(QueueFull, match=r"10 items wait and this request has 1; at most 10"):
        queue.add(job("late", 1))
    gone.cancel()
    queue.add(job("late", 1))
    assert len(queue) == 3
    there.cancel()
    assert [each.client for each, _ in queue.take(10, anything)] == ["late"]
    assert len(queue) == 0


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.booleans()), max_size=12),
    st.lists(st.integers(1, 7), min_size=30, max_size=30),
)
def test_each_item_is_taken_once_in_the_order_of_its_client(
    jobs: list[tuple[str, int, bool]], sizes: list[int]
) -> None:
    queue = Queue(1000)
    expected: dict[str, list[tuple[int, int]]] = {}
    known: dict[int, int] = {}
    for number, (client, n_items, is_gone) in enumerate(jobs):
        each = job(client, n_items)
        known[id(each)] = number
        queue.add(each)
        if is_gone:
            each.cancel()
        else:
            expected.setdefault(client, []).extend((number, i) for i in range(n_items))
        jobs_alive.append(each)
    found: dict[str, list[tuple[int, int]]] = {}
    for size in sizes:
        taken = queue.take(size, anything)
        assert len(taken) <= size
        for each, i in taken:
            found.setdefault(each.client, []).append((known[id(each)], i))
    assert found == expected
    assert len(queue) == 0


jobs_alive: list[Job] = []
"""So that no two jobs have one id."""
