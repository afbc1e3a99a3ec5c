"""A run as one file: a small store with that run alone. Level 2.

A file from elsewhere is hostile until it was looked through. It is copied first, so that it cannot change under our
eyes; its tables must be defined exactly as ours, so that it brings no triggers or views; each value is read as what it
should be; and what passes is copied row by row.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.store.database import FORMAT, Database, check_owner, expected_schema, in_words, make, schema
from localprompt.store.records import check_plain, id_of_run, identity_hash, named_params
from localprompt.store.rows import COLUMNS, RUN_COLUMNS, UNREADABLE, read_answer, read_row, read_run
from localprompt.store.studies import STUDY_COLUMNS, read_study

MAX_FILE_BYTES = 4 << 30
MAX_VALUE_BYTES = 64 << 20
_MOST_RUNS = 10**9
"""Of one identity; a larger ordinal leaves no room for the next one."""
_RUN = (
    "id, identity, ordinal, status, created, updated, task, model, proposer, method, seed,"
    " configuration, result, stopped"
)
_ANSWERS_OF_A_RUN = (
    "SELECT key, kind, value FROM imported_answers WHERE run = :a UNION ALL"
    " SELECT key, kind, value FROM answers JOIN run_answers USING (key) WHERE run = :a"
    " AND key NOT IN (SELECT key FROM imported_answers WHERE run = :a) ORDER BY key"
)


def export(database: Database, number: int, path: Path) -> None:
    """Write run `number` with the answers it used to a new file, whole or not at all.

    Raises:
        StoreError: if the file is there already or cannot be written.
    """
    if path.exists():
        raise StoreError(f"{path} is there already", "choose another name")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with in_words(str(path)):
        try:
            with closing(sqlite3.connect(part, isolation_level=None)) as target:
                target.execute("PRAGMA journal_mode = OFF")  # nothing to go back to: what fails is thrown away
                make(target)
                target.execute("BEGIN")
                with database.reading() as source:
                    _copy(source, number, target)
                target.execute("COMMIT")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def import_(database: Database, path: Path) -> str:
    """Take in the run of an exported file and return its id.

    Raises:
        StoreError: if the file is not such a file or is damaged, or the run is in the store already.
    """
    with _checked_copy(path) as source:
        (found,) = source.execute("SELECT id FROM runs").fetchone()
        with database.transaction() as target:
            if target.execute("SELECT 1 FROM runs WHERE id = ?", [found]).fetchone():
                hint = f"{command('runs', 'delete', str(found), store=database.path)} removes it"
                raise StoreError(f"the run {found} is in {database.path} already", hint)
            _copy(source, 1, target)
            target.execute("UPDATE runs SET imported = 1 WHERE id = ?", [found])
            # A run that was going on when it was exported goes on nowhere now.
            target.execute("UPDATE runs SET status = 'paused' WHERE id = ? AND status = 'running'", [found])
    return str(found)


def check_values(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what is wrong with the values of a store, a sentence each."""
    for table, (columns, read) in _READERS.items():
        whose = "(SELECT id FROM runs WHERE number = run)" if table in COLUMNS else "NULL"
        for run_id, *row in connection.execute(f"SELECT {whose}, {columns} FROM {table}"):
            try:
                read(row)
            except UNREADABLE as error:
                place = f"the row {row[0]!r}" + (f" of the run {run_id}" if run_id else "")
                yield f"{table}: {place} cannot be read ({type(error).__name__}: {error})"


def _copy(source: sqlite3.Connection, number: int, target: sqlite3.Connection) -> None:
    """Copy run `number` of one store into another inside their transactions; the answers become imported ones."""
    row = source.execute(f"SELECT {_RUN} FROM runs WHERE number = ?", [number]).fetchone()
    places = ", ".join("?" * len(row))
    new = target.execute(f"INSERT INTO runs ({_RUN}) VALUES ({places})", row).lastrowid
    for table, columns in COLUMNS.items():
        query = f"SELECT {columns} FROM {table} WHERE run = :a ORDER BY 1, 2"
        rows = source.execute(_ANSWERS_OF_A_RUN if table == "imported_answers" else query, named_params(number))
        places = ", ".join("?" * (columns.count(",") + 2))
        target.executemany(f"INSERT INTO {table} (run, {columns}) VALUES ({places})", ((new, *row) for row in rows))


@contextmanager
def _checked_copy(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a copy of an exported file that may be trusted in form."""
    with tempfile.TemporaryDirectory(prefix="localprompt-") as folder, in_words(str(path)):
        if not path.is_file():
            raise StoreError(f"{path} is not a file", "name a file that `localprompt runs export` wrote")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise StoreError(f"{path} has more than {MAX_FILE_BYTES >> 30} GiB, more than a run")
        copy = Path(shutil.copyfile(path, Path(folder) / "run.sqlite"))
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            _check(connection, path)
            yield connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a file is an export.

    Raises:
        StoreError: if it is not, or is damaged.
    """
    try:
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "foreign_keys = ON", "synchronous = OFF"):
            connection.execute(f"PRAGMA {setting}")
        check_owner(connection, path)
        problem = _problem(connection)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        problem = str(error)
    if problem:
        raise StoreError(f"{path} is not a run that this program exported: {problem}", "ask for it once more")


def _problem(connection: sqlite3.Connection) -> str:
    """Return what is wrong with an exported file, empty if nothing is."""
    # Definitions first: nothing else is safe to read before.
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != FORMAT or schema(connection) != expected_schema():
        return "its tables are not those of an export"
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        return str(found)
    if connection.execute("PRAGMA foreign_key_check").fetchone():
        return "its rows do not belong together"
    if _longest(connection) > MAX_VALUE_BYTES:
        return f"a value has more than {MAX_VALUE_BYTES >> 20} MiB"
    if connection.execute("SELECT count(*), min(number) FROM runs").fetchone() != (1, 1):
        return "it does not hold one run"
    return next(check_values(connection), "") or _wrong_id(connection)


def _wrong_id(connection: sqlite3.Connection) -> str:
    query = "SELECT id, identity, ordinal, configuration FROM runs"
    found, identity, ordinal, configuration = connection.execute(query).fetchone()
    is_own = identity == identity_hash(json.loads(configuration)) and found == id_of_run(identity, ordinal)
    return "" if is_own else "its id is not that of its configuration"


def _longest(connection: sqlite3.Connection) -> int:
    """Return the bytes of the longest value, none of which is read into Python for that."""
    lengths = [0]
    for table, (columns, _) in _READERS.items():
        each = ", ".join(f"max(length(CAST({column} AS BLOB)))" for column in columns.split(", "))
        lengths += [length or 0 for length in connection.execute(f"SELECT {each} FROM {table}").fetchone()]
    return max(lengths)


def _check_run(row: Sequence[Any]) -> None:
    *columns, _, ordinal = row
    run = read_run(columns)
    if not 0 <= ordinal < _MOST_RUNS:
        raise ValueError(f"{ordinal} is no ordinal")
    check_plain([run.seed, run.configuration, run.result, run.task, run.model, run.proposer, run.method, run.stopped])


_READERS: Mapping[str, tuple[str, Callable[[Sequence[Any]], object]]] = {
    "runs": (f"{RUN_COLUMNS}, identity, ordinal", _check_run),
    **{table: (columns, partial(read_row, table)) for table, columns in COLUMNS.items()},
    "studies": (STUDY_COLUMNS, read_study),
    "answers": (COLUMNS["imported_answers"], lambda row: read_answer(*row)),
}
"""What of each table must be readable, and how it is read."""
