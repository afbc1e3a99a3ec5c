"""A run as one file, and files that only look like one."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from localprompt.errors import StoreError
from localprompt.store import Store, transfer
from localprompt.store.records import id_of_run, identity_hash
from localprompt.types import Candidate, Demo, Discard, Evaluation, Outcome, Prompt

UGLY = "a\x00b\ud800\u202e 中文"
PROMPT = Prompt(UGLY, (Demo({"input": "x"}, UGLY),))


def fill(store: Store, identity: object = 1) -> str:
    run = store.runs.create({"identity": identity}, task=UGLY, model="m", proposer="p", method="ape", seed=3)
    with store.runs.hold(run.id):
        store.runs.add_candidates(run.id, [Candidate(Prompt("a"), "seed"), Candidate(PROMPT, "forward", ("x",))])
        outcomes = (Outcome("dev:2", UGLY, 1.0, 0.5), Outcome("dev:1", None, 0.0))
        store.runs.add_evaluations(run.id, "metric", [Evaluation(PROMPT, outcomes)])
        store.runs.add_discards(run.id, [Discard(UGLY, "too long")])
        store.runs.add_event(run.id, "note", UGLY)
        store.answers.put([(b"%d" % n, "score", b"\x91\x01") for n in range(50)], run.id)
        store.runs.update(run.id, status="finished", result={"verdict": UGLY})
    return run.id


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A run beside others, in a file of its own."""
    with Store(tmp_path / "first") as store:
        fill(store, identity=0)
        run_id = fill(store)
        store.answers.put([(b"secret", "score", b"\x91\x01")], fill(store, identity=2))
        store.runs.export(run_id, tmp_path / "run")
    return tmp_path / "run"


def everything(store: Store, run_id: str) -> tuple[object, ...]:
    runs = store.runs
    found = (runs.candidates(run_id), runs.evaluations(run_id), runs.discards(run_id), runs.events(run_id))
    return (
        replace(runs.get(run_id), imported=False),
        *found,
        store.answers.get([b"%d" % n for n in range(51)], run_id),
    )


def test_a_run_is_in_another_store_what_it_was(exported: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "first") as first, Store(tmp_path / "second") as second:
        run = second.runs.import_(exported)
        assert run.id == first.runs.all()[1].id
        assert everything(second, run.id) == everything(first, run.id)
        assert second.check() == []


def test_an_export_holds_nothing_of_other_runs(exported: Path) -> None:
    with closing(sqlite3.connect(exported)) as file:
        for table, n in {"runs": 1, "candidates": 2, "answers": 0, "imported_answers": 50}.items():
            assert file.execute(f"SELECT count(*) FROM {table}").fetchone() == (n,)
    assert b"secret" not in exported.read_bytes()


def test_imported_answers_serve_their_run_alone_and_before_all_others(exported: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "second") as store:
        store.answers.put([(b"7", "score", b"\x91\x02")])
        run = store.runs.import_(exported)
        assert store.answers.get([b"7", b"8"]) == [b"\x91\x02", None]
        assert store.answers.get([b"7", b"8"], run.id) == [b"\x91\x01", b"\x91\x01"]
        store.vacuum()
        assert store.answers.get([b"8"], run.id) == [b"\x91\x01"]
        store.runs.delete(run.id)
        assert store.answers.get([b"8"], run.id) == [None]


def test_an_imported_run_can_be_exported_again(exported: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "second") as second, Store(tmp_path / "third") as third:
        run = second.runs.import_(exported)
        second.answers.put([(b"50", "score", b"\x91\x03")], run.id)
        second.runs.export(run.id, tmp_path / "again")
        third.runs.import_(tmp_path / "again")
        assert everything(third, run.id) == everything(second, run.id)


def test_a_run_that_is_there_already_is_refused_and_not_changed(exported: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "first") as store:
        before = everything(store, store.runs.all()[1].id)
        with pytest.raises(StoreError, match="already") as error:
            store.runs.import_(exported)
        assert "runs delete" in error.value.hint
        assert everything(store, store.runs.all()[1].id) == before


def test_an_imported_run_is_marked_as_such_and_stays_so(exported: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "second") as second, Store(tmp_path / "third") as third:
        run = second.runs.import_(exported)
        second.runs.export(run.id, tmp_path / "again")
        assert run.imported
        assert third.runs.import_(tmp_path / "again").imported
        assert not second.runs.get(fill(second)).imported


def test_the_id_of_an_imported_run_that_was_deleted_is_not_given_again(exported: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "second") as store:
        run = store.runs.import_(exported)
        store.runs.delete(run.id)
        assert fill(store) != run.id
        assert store.runs.import_(exported).id == run.id  # the very run


def test_a_run_that_was_going_on_when_it_was_exported_is_paused(tmp_path: Path) -> None:
    with Store(tmp_path / "first") as first, Store(tmp_path / "second") as second:
        run = first.runs.create({"identity": 1}, task="t", model="m", proposer="p", method="ape", seed=0)
        first.runs.export(run.id, tmp_path / "run")
        assert second.runs.import_(tmp_path / "run").status == "paused"
        assert first.runs.get(run.id).status == "running"


def test_export_never_overwrites_and_leaves_no_half_file(exported: Path, tmp_path: Path) -> None:
    content = exported.read_bytes()
    with Store(tmp_path / "first") as store:
        run_id = store.runs.all()[0].id
        with pytest.raises(StoreError, match="is there already"):
            store.runs.export(run_id, exported)
        with pytest.raises(StoreError, match="cannot be opened"):
            store.runs.export(run_id, tmp_path / "no folder" / "run")
        with pytest.raises(StoreError, match="no run 'x'"):
            store.runs.export("x", tmp_path / "x")
    assert exported.read_bytes() == content
    assert not [path for path in tmp_path.iterdir() if "part" in path.name]


def _json_of_depth(n: int) -> str:
    return "[" * n + "]" * n


def _set_result(file: sqlite3.Connection, text: str) -> None:
    file.execute("UPDATE runs SET result = ?", [text])


def _set_ordinal(file: sqlite3.Connection, ordinal: int) -> None:
    identity = identity_hash({"identity": 1})
    file.execute("UPDATE runs SET ordinal = ?, id = ?", [ordinal, id_of_run(identity, ordinal)])


HOSTILE: dict[str, Callable[[sqlite3.Connection], object]] = {
    "a trigger": lambda file: file.execute("CREATE TRIGGER t AFTER INSERT ON candidates BEGIN DELETE FROM runs; END"),
    "a view": lambda file: file.execute("CREATE VIEW v AS SELECT * FROM runs"),
    "a table too many": lambda file: file.execute("CREATE TABLE t (a)"),
    "a table that is a view": lambda file: file.executescript(
        "DROP TABLE events; CREATE VIEW events AS SELECT 1 AS run, 0 AS number, 0.0 AS at, 'note' AS kind, 'x' AS text;"
    ),
    "a table without its checks": lambda file: file.executescript(
        "PRAGMA writable_schema = ON;"
        "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'discards';"
    ),
    "a type that the column forbids": lambda file: file.executescript(
        "PRAGMA ignore_check_constraints = ON; PRAGMA writable_schema = ON;"
        "UPDATE sqlite_schema SET sql = replace(sql, 'text TEXT', 'text BLOB') WHERE name = 'discards';"
    ),
    "an id that is a path": lambda file: (
        file.execute("PRAGMA ignore_check_constraints = ON"),
        file.execute("UPDATE runs SET id = '../../../../x'"),
    ),
    "another run's id": lambda file: file.execute("UPDATE runs SET id = '0123456789ab'"),
    "another configuration": lambda file: file.execute("UPDATE runs SET configuration = '{\"identity\": 2}'"),
    "a configuration that is no object": lambda file: file.execute("UPDATE runs SET configuration = '3'"),
    "a result that is no object": lambda file: file.execute("UPDATE runs SET result = '[]'"),
    "a seed that is no number": lambda file: file.execute("UPDATE runs SET seed = 'x'"),
    "a time beyond all calendars": lambda file: file.execute("UPDATE runs SET created = 1e300"),
    "a result with a number that no float holds": lambda file: _set_result(file, f'{{"mean": 1{"0" * 400}}}'),
    "a result that is not a number": lambda file: _set_result(file, '{"mean": NaN}'),
    "a result beyond all numbers": lambda file: _set_result(file, '{"mean": [-1e999]}'),
    "a result of one long text": lambda file: _set_result(file, f'{{"a": [{{"{"x" * 1_000_000 * 2}": 1}}]}}'),
    "a result that is nested deeply": lambda file: _set_result(file, '{"a":' + _json_of_depth(200) + "}"),
    "a configuration with a number that no float holds": lambda file: file.execute(
        "UPDATE runs SET configuration = ?", [f'{{"identity": 1, "expected": -1{"0" * 400}}}']
    ),
    "a name without end": lambda file: file.execute("UPDATE runs SET model = ?", ["m" * 2_000_000]),
    "an ordinal after which there is none": lambda file: _set_ordinal(file, 2**63 - 1),
    "an ordinal below all": lambda file: _set_ordinal(file, -5),
    "an event before all calendars": lambda file: file.execute("UPDATE events SET at = -1e300"),
    "no run": lambda file: file.execute("DELETE FROM runs"),
    "two runs": lambda file: file.execute(
        "INSERT INTO runs SELECT 2, '0123456789ab', 'x', 1, status, created, updated, task, model, proposer, method,"
        " seed, configuration, result, stopped, pid, imported FROM runs"
    ),
    "a row of no run": lambda file: file.execute("UPDATE candidates SET run = 5"),
    "a score that overflows": lambda file: file.execute("UPDATE outcomes SET score = 1e308"),
    "a margin without end": lambda file: file.execute("UPDATE outcomes SET margin = -9e999"),
    "a prompt that is none": lambda file: file.execute("UPDATE candidates SET prompt = '[]'"),
    "a prompt with another id": lambda file: file.execute("UPDATE candidates SET prompt_id = 'x' WHERE number = 0"),
    "parents that are numbers": lambda file: file.execute("UPDATE candidates SET parents = '[1]'"),
    "text that is no JSON": lambda file: file.execute("UPDATE discards SET text = 'x'"),
    "text that is nested without end": lambda file: file.execute(
        "UPDATE events SET text = ?", [_json_of_depth(100_000)]
    ),
    "an answer that is no msgpack": lambda file: file.execute("UPDATE imported_answers SET value = x'c1'"),
    "an answer that claims a billion items": lambda file: file.execute(
        "UPDATE imported_answers SET value = x'dd3fffffff'"
    ),
    "an answer that is nested without end": lambda file: file.execute(
        "UPDATE imported_answers SET value = ?", [b"\x91" * 100_000]
    ),
    "a key without end": lambda file: file.execute(
        "INSERT INTO imported_answers VALUES (1, zeroblob(1000), '', x'01')"
    ),
    "a value without end": lambda file: file.execute(
        "UPDATE imported_answers SET value = zeroblob(5000) WHERE key = x'37'"
    ),
    "a study without end": lambda file: file.execute(
        "INSERT INTO studies VALUES (1, '0123456789ab', 'x', 'running', 1.0, 1.0, '{}', ?)",
        [f'{{"a":"{"x" * 5000000}"}}'],
    ),
    "a newer format": lambda file: file.execute("PRAGMA user_version = 99"),
    "a format that never was": lambda file: file.execute("PRAGMA user_version = -1"),
    "no format": lambda file: file.execute("PRAGMA user_version = 0"),
    "another program's mark": lambda file: file.execute("PRAGMA application_id = 5"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_is_refused_that_has(what: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MAX_VALUE_BYTES", 3_000_000)
    if what == "a value without end":
        monkeypatch.setattr(transfer, "MAX_VALUE_BYTES", 4_000)
    with closing(sqlite3.connect(exported, isolation_level=None)) as file:
        HOSTILE[what](file)
    with Store(tmp_path / "second") as store:
        fill(store, identity="mine")
        mine = store.runs.all()
        with pytest.raises(StoreError, match=str(exported)):
            store.runs.import_(exported)
        assert store.runs.all() == mine
        assert store.check() == []
    assert not (tmp_path.parent / "x.lock").exists()


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\x00", b"x" * 10_000, b"SQLite format 3\x00" + bytes(range(256)) * 40]
)
def test_a_file_is_refused_that_is_no_store(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(content)
    with Store(tmp_path / "second") as store:
        for path in (tmp_path / "run", tmp_path / "not there", tmp_path):
            with pytest.raises(StoreError, match=str(path)):
                store.runs.import_(path)


def test_a_file_that_is_too_large_is_not_even_copied(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "MAX_FILE_BYTES", 1000)
    with Store(tmp_path / "second") as store, pytest.raises(StoreError, match="more than a run"):
        store.runs.import_(exported)


def test_a_damaged_export_is_refused_or_harmless(exported: Path, tmp_path: Path) -> None:
    content, rng = exported.read_bytes(), random.Random(11)
    refused = 0
    with Store(tmp_path / "second") as store:
        for number in range(80):
            damaged = bytearray(content)
            for _ in range(rng.choice([1, 3, 50])):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            path = tmp_path / f"damaged-{number}"
            path.write_bytes(damaged)
            try:
                run = store.runs.import_(path)
            except StoreError:
                refused += 1
            else:
                everything(store, run.id)
                json.dumps(run.configuration)
                store.runs.delete(run.id)
        assert store.check() == []
    assert refused > 30
