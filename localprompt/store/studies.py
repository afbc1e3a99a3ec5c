"""Work that is not one search: comparisons, and whatever else has a beginning and a result. Level 2."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from localprompt.errors import RunInUse, StoreError
from localprompt.interface.arguments import checked
from localprompt.store.database import Database
from localprompt.store.records import RunStatus, dumped, named
from localprompt.store.rows import read_columns

STUDY_COLUMNS = "id, kind, status, created, updated, configuration, result"
"""What `read_study` reads, in its order."""


@dataclass(frozen=True, slots=True)
class Study:
    """A study as the store knows it."""

    id: str
    """12 hexadecimal digits."""
    kind: str
    """What it is, such as `comparison`."""
    status: RunStatus
    created: float
    """Seconds since 1970, as `updated`."""
    updated: float
    configuration: Mapping[str, Any]
    """JSON: what it was begun with."""
    result: Mapping[str, Any] | None
    """JSON; None until there is one."""
    runs: tuple[str, ...] = ()
    """Ids of the runs that it is made of, in order; one of them may be deleted."""


def read_study(row: Sequence[Any]) -> Study:
    """Return the study of a row of the store, without its runs.

    Raises:
        ValueError: if a value is not what it should be.
    """
    return Study(**read_columns(STUDY_COLUMNS, row))


class Studies:
    """The studies of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enter(self, kind: str, key: str, configuration: Mapping[str, Any], runs: Sequence[str] = ()) -> Study:
        """Return a new study with the status `running`, or the one that there is of this kind and key.

        Args:
            kind: what it is.
            key: what makes two studies the same; the id is a hash of it, so the same work has the same id anywhere.
            configuration: what it is begun with, plain data.
            runs: ids of the runs that it is made of, in order.

        Raises:
            StoreError: if the store cannot be written, or the key is that of a study of another kind.
        """
        study_id, now = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:12], time.time()
        with self._database.transaction() as connection:
            before = connection.execute("SELECT kind FROM studies WHERE id = ?", [study_id]).fetchone()
            if before not in (None, (named(kind),)):
                raise StoreError(f"the study {study_id} is a {before[0]}, not a {kind}", "choose another key")
            connection.execute(
                f"INSERT INTO studies ({STUDY_COLUMNS}) VALUES (?, ?, 'running', ?, ?, ?, NULL)"
                " ON CONFLICT (id) DO UPDATE SET status = 'running', updated = excluded.updated",
                [study_id, named(kind), now, now, dumped(configuration)],
            )
            (number,) = connection.execute("SELECT number FROM studies WHERE id = ?", [study_id]).fetchone()
            connection.executemany(
                "INSERT OR IGNORE INTO study_runs (study, place, run) VALUES (?, ?, ?)",
                [(number, place, run) for place, run in enumerate(runs)],
            )
        return self.get(kind, study_id)

    @checked
    def get(self, kind: str, prefix: str) -> Study:
        """Return the study of a kind whose id begins with `prefix`, which is not empty.

        Raises:
            StoreError: if none or several do, which are listed, or it is damaged.
        """
        found = [study for study in self.all(kind) if prefix and study.id.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        if found:
            some = ", ".join(sorted(study.id for study in found)[:5])
            raise StoreError(f"several {kind}s begin with {prefix!r}: {some}", "give more digits")
        raise StoreError(f"no {kind} begins with {prefix!r} in {self._database.path}", "--store names another store")

    @checked
    def all(self, kind: str = "") -> list[Study]:
        """Return all studies of a kind, or of any, that can be read, newest first.

        Raises:
            StoreError: if the store cannot be read.
        """
        query = f"SELECT number, {STUDY_COLUMNS} FROM studies WHERE ? IN ('', kind) ORDER BY number DESC"
        found = []
        with self._database.reading() as connection:
            for number, *row in connection.execute(query, [named(kind)]).fetchall():
                ids = connection.execute("SELECT run FROM study_runs WHERE study = ? ORDER BY place", [number])
                try:
                    study = read_study(row)
                except (ValueError, RecursionError):
                    continue  # `Store.check` names it
                found.append(replace(study, runs=tuple(run for (run,) in ids)))
        return found

    @checked
    def update(self, study_id: str, *, status: RunStatus, result: Mapping[str, object] | None = None) -> None:
        """Change the status of a study, and its result where one is given; one that has a result stays finished.

        Raises:
            StoreError: if the store cannot be written.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE studies SET status = CASE WHEN result IS NULL THEN ? ELSE 'finished' END, updated = ?,"
                " result = coalesce(?, result) WHERE id = ?",
                [status, time.time(), None if result is None else dumped(result), study_id],
            )

    @contextmanager
    def ending(self, study_id: str) -> Iterator[None]:
        """Keep how the work on a study ended, if an error ends it: paused by Ctrl-C, or failed.

        One that another process works on is left to that.
        """
        try:
            yield
        except RunInUse:
            raise
        except BaseException as error:
            with suppress(StoreError):  # the first error says more
                self.update(study_id, status="paused" if isinstance(error, KeyboardInterrupt) else "failed")
            raise

    @checked
    def delete(self, study_id: str) -> None:
        """Remove a study; its runs stay.

        Raises:
            StoreError: if the store cannot be written.
        """
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM studies WHERE id = ?", [study_id])
