"""A disk that is full, a folder that is read-only, a file that is damaged or not ours: one sentence, nothing harmed."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - what is refused
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from localprompt.errors import StoreError
from localprompt.store import Answers, Runs, Store
from localprompt.store.database import FORMAT, Database, make, schema
from localprompt.types import Candidate, Prompt

ROWS = [(b"key %d" % n, "score", b"\x91\x01") for n in range(300)]
NOBODY = 65534


def fill(path: Path, n_rows: int = len(ROWS)) -> str:
    with Store(path) as store:
        run = store.runs.create({"identity": 1}, task="t", model="m", proposer="p", method="ape", seed=0)
        store.runs.add_candidates(run.id, [Candidate(Prompt(f"prompt {n}"), "seed") for n in range(100)])
        store.answers.put(ROWS[:n_rows], run.id)
    return run.id


def test_a_full_disk_is_one_sentence_and_what_was_stored_before_is_unharmed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    fill(path)
    database = Database(path)
    (pages,) = database.connection.execute("PRAGMA page_count").fetchone()
    database.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    answers = Answers(database)
    with pytest.raises(StoreError, match=f"the store {path}: the disk is full") as error:
        answers.put([(b"%d" % n, "score", b"\xda\x07\xd0" + bytes(2000)) for n in range(1000)])
    assert "make room" in error.value.hint
    assert answers.get([b"0", ROWS[0][0]]) == [None, ROWS[0][2]]
    answers.put([(b"small", "score", b"\x01")])  # goes on where there is room again
    database.close()
    with Store(path) as store:
        assert store.check() == []
        assert store.answers.get([b"small", ROWS[299][0]]) == [b"\x01", ROWS[299][2]]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach: those of pytest belong to one."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for each in (folder, *folder.rglob("*")):
        each.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def _without_privileges() -> Iterator[None]:
    """File permissions do not bind root."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_cannot_be_written_is_one_sentence(open_folder: Path) -> None:
    fill(open_folder / "s")
    for each in (open_folder, *open_folder.rglob("*")):
        each.chmod(0o555)
    with _without_privileges():
        for path in (open_folder / "new", open_folder / "folder" / "new", open_folder / "s"):
            with pytest.raises(StoreError, match=r"the store .*: it cannot be (opened|written)") as error, Store(path):
                pass
            assert str(path) in error.value.message
            assert "permissions" in error.value.hint


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_that_cannot_be_written_is_one_sentence(open_folder: Path) -> None:
    run_id = fill(open_folder / "s")
    open_folder.chmod(0o777)
    (open_folder / "s").chmod(0o444)
    with (
        _without_privileges(),
        pytest.raises(StoreError, match=r": it cannot be (opened|written)"),
        Store(open_folder / "s") as store,
        store.runs.hold(run_id),
    ):
        store.answers.put([(b"new", "score", b"\x01")])


def test_a_folder_in_the_place_of_the_file_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, Path(os.devnull)):
        with pytest.raises(StoreError, match=f"the store {path}: it cannot be opened, for it is no file"):
            Store(path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="a file stands where its folder should be"):
        Store(tmp_path / "file" / "store.sqlite")
    run_id = fill(tmp_path / "s")
    with Store(tmp_path / "s") as store, pytest.raises(StoreError, match="a file stands where its folder should be"):
        store.runs.export(run_id, tmp_path / "file" / "it.run")


def test_a_store_that_is_closed_or_another_threads_is_not_called_damaged(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store, ThreadPoolExecutor(1) as pool:
        with pytest.raises(StoreError, match="cannot be pickled"):
            pickle.dumps(store)
        with pytest.raises(StoreError, match="it was opened in another thread"):
            pool.submit(store.check).result()
        assert store.check() == []
    with pytest.raises(StoreError, match="it was closed"):
        store.check()


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 1000, encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"the store {path}: it is not a store"):
        Store(path)
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"{path} is another program's database"):
        Store(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch()  # what a crash between making and filling leaves
    fill(path)


@pytest.mark.parametrize("keep", [10, 100, 5000])
def test_a_truncated_store_is_one_sentence(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "s"
    fill(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"it is (damaged|not a store)"):
        _use(path)


def test_whatever_page_is_damaged_nothing_but_store_errors_comes_out(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    fill(whole)
    content, rng = whole.read_bytes(), random.Random(5)
    seen = 0
    for number in range(80):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 4, 200])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path = tmp_path / f"{number}"
        path.write_bytes(damaged)
        try:
            seen += bool(_use(path))
        except StoreError:
            seen += 1
    assert seen > 30  # the others hit free space or text that reads as other text


def _use(path: Path) -> list[str]:
    with Store(path) as store:
        problems = store.check()
        for run in store.runs.all():
            store.runs.candidates(run.id)
            store.runs.evaluations(run.id)
        store.answers.get([row[0] for row in ROWS])
        store.answers.put([(b"new", "score", b"\x01")])
    return problems


def test_check_names_values_that_cannot_be_read_and_rows_that_are_lost(tmp_path: Path) -> None:
    path = tmp_path / "s"
    run_id = fill(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE answers SET value = x'c1' WHERE key = ?", [ROWS[0][0]])
        connection.execute("UPDATE candidates SET prompt = '{\"instruction\": 3}' WHERE number = 1")
        connection.execute("UPDATE candidates SET prompt_id = 'other' WHERE number = 2")
        connection.execute("DELETE FROM answers WHERE key = ?", [ROWS[1][0]])
        connection.execute("INSERT INTO events (run, number, at, kind, text) VALUES (77, 0, 0.0, 'note', '\"x\"')")
    with Store(path) as store:
        problems = "\n".join(store.check())
        for part in ("answers: the row b'key 0'", "a text was expected", "not the one that its id names", "1 answers"):
            assert part in problems
        assert "events: a row belongs to no row of runs" in problems
        with pytest.raises(StoreError, match=f"the run {run_id} is damaged"):
            store.runs.candidates(run_id)


@pytest.mark.parametrize("version", [1, 99])
def test_a_store_of_another_format_is_refused_in_one_sentence_and_left_alone(tmp_path: Path, version: int) -> None:
    path = tmp_path / "s"
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(
        StoreError, match=f"has format {version}, and this version of localprompt knows format {FORMAT}"
    ):
        Store(path)
    assert path.read_bytes() == before


def test_a_store_that_cannot_be_begun_is_left_as_it_was(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE run_answers (in_the_way)")
        before = schema(connection)
        with pytest.raises(sqlite3.OperationalError, match="run_answers already exists"):
            make(connection)
        assert schema(connection) == before
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)


def test_an_error_inside_keeps_its_name_when_the_store_cannot_be_closed_properly_either(tmp_path: Path) -> None:
    path = tmp_path / "s"
    run_id = fill(path)

    def work() -> None:
        with Store(path) as store:
            store.answers.get([ROWS[0][0]], run_id)  # waits to be written down
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("DROP TABLE run_answers")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_runs_and_answers_of_one_database_see_the_same_runs(tmp_path: Path) -> None:
    database = Database(tmp_path / "s")
    with closing(database):
        runs = Runs(database, Answers(database))
        assert runs.all() == []
