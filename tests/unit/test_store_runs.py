"""Runs: ids, prefixes, holding, and what they found, written twice as a replay does."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Timer

import pytest
from filelock import FileLock

from localprompt.errors import StoreError
from localprompt.store import RunRecord, Store
from localprompt.types import Candidate, Demo, Discard, Evaluation, Outcome, Prompt

UGLY = "a\x00b\ud800\n\u202e'; DROP TABLE runs; -- {instruction} %s 中文"
BEST = Prompt(UGLY, (Demo({"input": UGLY}, UGLY),))
PLAIN = Prompt("Answer.")


def create(store: Store, identity: object = 1, seed: int = 0) -> RunRecord:
    return store.runs.create(
        {"identity": identity, "machine": UGLY}, task=UGLY, model="m", proposer="p", method="ape", seed=seed
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "folders" / "are made" / "store.sqlite")


@pytest.fixture(autouse=True)
def _closed(store: Store) -> object:
    yield
    store.close()


def test_a_new_run_comes_back_as_it_was_given(store: Store) -> None:
    run = create(store, seed=10**30)
    assert (run.status, run.seed, run.result, run.stopped, run.method) == ("running", 10**30, None, "", "ape")
    assert run.configuration == {"identity": 1, "machine": UGLY}
    assert run.task == UGLY.replace("\ud800", "\\ud800")  # a name for people
    assert store.runs.get(run.id) == run


def test_the_same_history_gives_the_same_ids_and_equal_runs_different_ones(store: Store, tmp_path: Path) -> None:
    ids = [create(store, identity).id for identity in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 2)]
    with Store(tmp_path / "other") as other:
        assert [create(other, identity).id for identity in ({"a": 1, "b": 2}, {"a": 1, "b": 2}, 2)] == ids
    assert len(set(ids)) == 3


def test_deleting_an_earlier_equal_run_leads_to_no_id_that_is_taken(store: Store) -> None:
    first, second = create(store), create(store)
    store.runs.delete(first.id)
    third = create(store)
    assert third.id not in (first.id, second.id)
    assert [run.id for run in store.runs.all()] == [third.id, second.id]  # newest first


def test_the_id_of_a_deleted_run_is_never_given_again(store: Store) -> None:
    ids = []
    for _ in range(3):
        ids.append(create(store).id)
        store.runs.delete(ids[-1])
    first, second = create(store), create(store)
    store.runs.delete(second.id)
    store.runs.delete(first.id)
    assert len({*ids, first.id, second.id, create(store).id}) == 6


def test_the_beginning_of_an_id_is_enough_if_one_run_has_it(store: Store) -> None:
    runs = [create(store, identity) for identity in range(40)]
    assert store.runs.get(runs[7].id[:8]) == runs[7]
    shared = next(a.id[0] for a in runs for b in runs if a != b and a.id[0] == b.id[0])
    with pytest.raises(StoreError, match=f"several runs begin with '{shared}': ") as error:
        store.runs.get(shared)
    assert any(run.id in error.value.message for run in runs if run.id.startswith(shared))


@pytest.mark.parametrize("prefix", ["zz", "%", "_", UGLY, "0" * 13])
def test_an_unknown_id_is_an_error_that_names_it(store: Store, prefix: str) -> None:
    create(store)
    with pytest.raises(StoreError, match="no run begins with"):
        store.runs.get(prefix)


def test_no_id_is_every_id(store: Store) -> None:
    run = create(store)
    with pytest.raises(StoreError, match="no run begins with ''"):
        store.runs.get("")
    assert store.runs.all() == [run]


def test_what_changes_of_a_run_is_changed_and_nothing_else(store: Store) -> None:
    run = create(store)
    store.runs.update(run.id, status="finished", result={"best": UGLY, "n": 1.5})
    store.runs.update(run.id, stopped="the budget of 10 calls", configuration={"identity": 1, "limits": [2]})
    found = store.runs.get(run.id)
    assert (found.status, found.result) == ("finished", {"best": UGLY, "n": 1.5})
    assert (found.stopped, found.configuration) == ("the budget of 10 calls", {"identity": 1, "limits": [2]})
    assert found.updated >= run.updated
    with pytest.raises(StoreError, match="no run 'nothing'"):
        store.runs.update("nothing", status="failed")


def _record(store: Store, run_id: str) -> None:
    with store.runs.hold(run_id):
        store.runs.add_candidates(run_id, [Candidate(PLAIN, "seed"), Candidate(BEST, "forward", (PLAIN.id,))])
        outcomes = (Outcome("dev:1", UGLY, 1.0, 0.25), Outcome("dev:2", None, 0.0, failed=True))
        store.runs.add_evaluations(run_id, "metric", [Evaluation(BEST, outcomes), Evaluation(PLAIN, outcomes[1:])])
        store.runs.add_evaluations(run_id, "likelihood token", [Evaluation(BEST, (Outcome("dev:1", None, -3.5),))])
        store.runs.add_evaluations(run_id, "metric", [Evaluation(PLAIN, outcomes[:1])])
        store.runs.add_discards(run_id, [Discard(UGLY, "too long"), Discard(UGLY, "too long")])
        store.runs.add_discards(run_id, [Discard("x", "a question")])
        store.runs.add_event(run_id, "stage", "filtering")
        store.runs.add_event(run_id, "note", UGLY)


def test_what_a_run_found_is_the_same_after_it_was_written_twice(store: Store) -> None:
    run = create(store)
    other = create(store)
    _record(store, other.id)
    for _ in range(2):  # a resumed run writes everything again
        _record(store, run.id)
        assert store.runs.candidates(run.id) == [Candidate(PLAIN, "seed"), Candidate(BEST, "forward", (PLAIN.id,))]
        both = (Outcome("dev:1", UGLY, 1.0, 0.25), Outcome("dev:2", None, 0.0, failed=True))
        assert store.runs.evaluations(run.id) == [Evaluation(BEST, both), Evaluation(PLAIN, both[::-1])]
        assert store.runs.evaluations(run.id, "likelihood token") == [Evaluation(BEST, (Outcome("dev:1", None, -3.5),))]
        assert store.runs.discards(run.id) == [Discard(UGLY, "too long")] * 2 + [Discard("x", "a question")]
        assert [(event.kind, event.text) for event in store.runs.events(run.id)] == [
            ("stage", "filtering"),
            ("note", UGLY),
        ]
    assert store.check() == []


def test_the_first_origin_of_a_prompt_and_its_last_measurement_stay(store: Store) -> None:
    run = create(store)
    store.runs.add_candidates(run.id, [Candidate(BEST, "seed"), Candidate(BEST, "forward", (PLAIN.id,))])
    assert store.runs.candidates(run.id) == [Candidate(BEST, "seed")]
    for score in (0.0, 1.0):
        store.runs.add_evaluations(run.id, "metric", [Evaluation(BEST, (Outcome("dev:1", "a", score),))])
    assert store.runs.evaluations(run.id)[0].mean == 1.0


def test_a_run_that_is_reset_found_nothing(store: Store) -> None:
    run, other = create(store), create(store)
    _record(store, run.id)
    _record(store, other.id)
    store.runs.reset(run.id, {}, task="t", model="m", proposer="m")
    found = (store.runs.candidates(run.id), store.runs.evaluations(run.id), store.runs.discards(run.id))
    assert found == ([], [], [])
    assert store.runs.events(run.id) == []
    assert len(store.runs.candidates(other.id)) == 2


def test_a_deleted_run_takes_what_it_found_with_it(store: Store) -> None:
    run = create(store)
    _record(store, run.id)
    store.answers.put([(b"k", "score", b"\x01")], run.id)
    store.runs.delete(run.id)
    assert store.runs.all() == []
    with pytest.raises(StoreError, match=f"no run '{run.id}'"):
        store.runs.candidates(run.id)
    store.vacuum()
    assert store.answers.get([b"k"]) == [None]


def test_a_run_that_somebody_has_is_refused_with_the_process_that_has_it(store: Store) -> None:
    run = create(store)
    with store.runs.hold(run.id), Store(store.path) as second:
        for attempt in (second.runs.hold(run.id).__enter__, lambda: second.runs.delete(run.id)):
            with pytest.raises(StoreError, match=f"the run {run.id} is in use by process {os.getpid()}$"):
                attempt()
        with second.runs.hold(create(second).id):  # another run is free
            pass
    with store.runs.hold(run.id):
        assert store.runs.holder(run.id) == os.getpid()
        assert second_sees(store, run.id)
    assert store.runs.holder(run.id) is None
    assert not second_sees(store, run.id)


def second_sees(store: Store, run_id: str) -> bool:
    with Store(store.path) as second:
        return second.runs.is_held(run_id)


def test_a_run_that_is_only_looked_at_can_be_had(store: Store) -> None:
    run = create(store)
    folder = store.path.with_name("store.sqlite.locks")
    with FileLock(folder / f"{run.id}.lock", thread_local=False) as look:
        Timer(0.05, look.release, kwargs={"force": True}).start()
        with store.runs.hold(run.id):
            pass


def test_a_run_is_free_after_an_error(store: Store) -> None:
    run = create(store)
    with pytest.raises(ZeroDivisionError), store.runs.hold(run.id):
        raise ZeroDivisionError
    with store.runs.hold(run.id):
        pass
    with pytest.raises(StoreError, match="no run 'nothing'"), store.runs.hold("nothing"):
        pass


def test_the_place_of_the_store_can_be_set_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALPROMPT_STORE", str(tmp_path / "mine.sqlite"))
    with Store() as chosen:
        assert chosen.path == tmp_path / "mine.sqlite"
