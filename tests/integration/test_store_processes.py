"""Processes that share a store, or die in it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from localprompt.errors import StoreError
from localprompt.store import Store, database

_WRITER = """
import sys
from pathlib import Path
from localprompt.store import Store, database
path, who, n = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with Store(path) as store:
    run = store.runs.create({"identity": who}, task="t", model="m", proposer="p", method="ape", seed=0)
    for start in range(0, n, 100):
        numbers = range(start, start + 100)
        # half of the keys belong to all writers, half to this one
        rows = [((f"{who if i % 2 else 'all'}:{i}").encode(), "score", b"\\x01") for i in numbers]
        store.answers.get([row[0] for row in rows], run.id)
        store.answers.put(rows, run.id)
"""


def test_four_processes_begin_and_fill_one_store_side_by_side(tmp_path: Path) -> None:
    n = 600
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path / "s"), str(who), str(n)], stderr=subprocess.PIPE)
        for who in range(4)
    ]
    errors = [writer.communicate()[1].decode() for writer in writers]
    assert [(writer.returncode, error) for writer, error in zip(writers, errors, strict=True)] == [(0, "")] * 4
    keys = [(f"{who if i % 2 else 'all'}:{i}").encode() for who in range(4) for i in range(n)]
    with Store(tmp_path / "s") as store:
        assert None not in store.answers.get(keys)
        assert len(store.runs.all()) == 4
        before = store.answers.get(keys)
        store.vacuum()
        assert store.answers.get(keys) == before
        assert store.check() == []


_FOREVER = """
import sys
from pathlib import Path
from localprompt.store import Store, database
store = Store(Path(sys.argv[1]))
run = store.runs.create({"identity": 1}, task="t", model="m", proposer="p", method="ape", seed=0)
with store.runs.hold(run.id):
    for i in range(10**9):
        store.answers.put([(str(i).encode(), "score", b"\\x01")], run.id)
        print(i, flush=True)
"""


def test_an_answer_that_was_put_survives_the_killing_of_its_process_and_the_run_is_free_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FOREVER, str(tmp_path / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        seen = [int(writer.stdout.readline()) for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        seen += [int(line) for line in writer.stdout.read().split()]
    with Store(tmp_path / "s") as store:
        assert None not in store.answers.get([str(i).encode() for i in seen])
        assert store.check() == []
        (run,) = store.runs.all()
        with store.runs.hold(run.id):
            assert run.status == "running"


_HOLDER = """
import sys
from pathlib import Path
from localprompt.store import Store, database
with Store(Path(sys.argv[1])) as store, store.runs.hold(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_the_first_ones_number(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        run = store.runs.create({"identity": 1}, task="t", model="m", proposer="p", method="ape", seed=0)
        command = [sys.executable, "-c", _HOLDER, str(store.path), run.id]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None
            assert first.stdout.readline() == "held\n"
            with pytest.raises(StoreError, match=f"in use by process {first.pid}$"), store.runs.hold(run.id):
                pass
            first.communicate("")
        assert first.returncode == 0
        with store.runs.hold(run.id):
            pass


def test_a_store_that_another_process_makes_while_one_looks_at_the_empty_file_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, schema = tmp_path / "s", database.schema

    def asked_late(connection: sqlite3.Connection) -> object:
        monkeypatch.setattr(database, "schema", schema)
        Store(path).close()
        return schema(connection)

    monkeypatch.setattr(database, "schema", asked_late)
    with Store(path) as store:
        assert store.check() == []
