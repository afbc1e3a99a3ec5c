"""Answers: alignment, the first value stays, and which run used what."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import pytest

from localprompt.errors import StoreError
from localprompt.store import RunRecord, Store

ROW = (b"k" * 32, "score", b"\x93\x01\x02\x03")


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def a_run(store: Store) -> RunRecord:
    return store.runs.create({"identity": 1}, task="t", model="m", proposer="p", method="ape", seed=0)


def test_values_come_back_in_the_order_of_their_keys_also_over_many_queries(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.answers.put([(key(n), "score", b"%d" % n) for n in range(0, 3000, 2)])
        found = store.answers.get([key(n) for n in range(3000)])
    assert found == [None if n % 2 else b"%d" % n for n in range(3000)]


def test_a_key_that_is_asked_twice_is_answered_twice(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.answers.put([ROW])
        assert store.answers.get([ROW[0], b"?", ROW[0]]) == [ROW[2], None, ROW[2]]
        assert store.answers.get([]) == []


def test_a_key_that_is_there_keeps_its_value(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.answers.put([ROW])
        store.answers.put([(ROW[0], "score", b"\x01")])
        assert store.answers.get([ROW[0]]) == [ROW[2]]


def test_answers_are_there_for_the_next_process(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.answers.put([ROW])
    with Store(tmp_path / "s") as store:
        assert store.answers.get([ROW[0]]) == [ROW[2]]


def test_vacuum_drops_answers_that_no_run_used_and_keeps_those_that_one_found_or_made(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        run = a_run(store)
        store.answers.put([(key(n), "score", b"\xc4\x64" + bytes(100)) for n in range(3000)])
        store.answers.get([key(1)], run.id)
        store.answers.put([(key(5000), "score", b"\x01")], run.id)
        store.answers.get([key(2)], run.id)  # known to nobody but this process so far
        before, after = store.vacuum()
        assert store.answers.get([key(n) for n in (0, 1, 2, 5000)]) == [None, *store.answers.get([key(1)]) * 2, b"\x01"]
        assert store.answers.get([key(1)]) != [None]
        assert after < before / 3
        assert store.check() == []


def test_vacuum_waits_for_runs_that_are_going_on(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store, Store(tmp_path / "s") as cleaner:
        run = a_run(store)
        store.answers.put([ROW])
        with store.runs.hold(run.id):
            store.answers.get([ROW[0]], run.id)  # known to this process alone, as in a run that asks nothing new
            with pytest.raises(StoreError, match=f"the run {run.id} is in use by process {os.getpid()}"):
                cleaner.vacuum()
        cleaner.vacuum()
        assert store.answers.get([ROW[0]]) == [ROW[2]]


def test_what_a_run_used_that_ended_in_an_error_outlives_vacuum(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store, Store(tmp_path / "s") as cleaner:
        run = a_run(store)
        store.answers.put([ROW])
        with suppress(ZeroDivisionError), store.runs.hold(run.id):
            store.answers.get([ROW[0]], run.id)
            raise ZeroDivisionError
        cleaner.vacuum()
        assert store.answers.get([ROW[0]]) == [ROW[2]]


def test_what_a_run_used_is_written_down_when_the_store_is_closed(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        run = a_run(store)
        store.answers.put([ROW])
        store.answers.get([ROW[0]], run.id)
    with Store(tmp_path / "s") as store:
        store.vacuum()
        assert store.answers.get([ROW[0]]) == [ROW[2]]
