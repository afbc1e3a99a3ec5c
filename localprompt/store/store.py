"""The store: one SQLite file of runs, studies and answers. Level 2."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from localprompt.errors import StoreError
from localprompt.interface.arguments import checked
from localprompt.interface.paths import default_store, expanded
from localprompt.store.answers import Answers
from localprompt.store.database import Database, file_bytes, in_words, is_begun
from localprompt.store.runs import Runs, in_use
from localprompt.store.studies import Studies
from localprompt.store.transfer import check_values

_SHOWN = 20
"""Problems of one kind that `check` lists."""


class Store:
    """Everything that outlives a process. A context manager; processes may share the file, threads not an instance.

    It belongs to the process that opened it: in a forked child each call raises StoreError.

    Args:
        path: the file, made with its folders if it is new; None: where `default_store` says.
        create: False: open only a store that is there, for whoever only reads; an empty file is none.

    Raises:
        ConfigError: for a path that is none.
        StoreError: if the file cannot be opened or written, is damaged, another program's, or of another format.
    """

    @checked
    def __init__(self, path: str | os.PathLike[str] | None = None, *, create: bool = True) -> None:
        found = default_store() if path is None else expanded(path)
        with in_words(f"the store {found}"):
            is_there = create or is_begun(found)
        if not is_there:
            hint = "give the --store that the run was made with; `localprompt optimize` begins a new one"
            raise StoreError(f"there is no store {found}", hint)
        self._database = Database(found)
        self.answers = Answers(self._database)
        self.runs = Runs(self._database, self.answers)
        self.studies = Studies(self._database)

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    def check(self) -> list[str]:
        """Return what is wrong with the store, a sentence each; empty if it is sound.

        Raises:
            StoreError: if it was closed, or opened by another process or thread: that is no damage.
        """
        problems: list[str] = []
        with self._database.reading():
            pass
        for look in (self._damage, self._lost_rows, self._unreadable):
            try:
                problems += look()
            except StoreError as error:
                problems.append(error.message)
        return problems

    def vacuum(self) -> tuple[int, int]:
        """Drop answers that no run used, give free space back, and return the bytes of the store before and after.

        Only searches are runs: what evaluations, sensitivity and transfer studies asked goes too. Results stay.

        Raises:
            StoreError: if a process has a run, the store cannot be written, or another process is writing.
        """
        self.answers.flush()
        before = file_bytes(self.path)
        with self._database.transaction() as connection:
            # What a run that is going on uses is not all written down yet. None can begin meanwhile: before it asks for
            # answers it writes who has it.
            for run_id, pid in connection.execute("SELECT id, pid FROM runs WHERE pid IS NOT NULL").fetchall():
                if self.runs.is_held(run_id):
                    raise in_use(run_id, pid)
            connection.execute("DELETE FROM answers WHERE key NOT IN (SELECT key FROM run_answers)")
        self._database.shrink()
        return before, file_bytes(self.path)

    def close(self) -> None:
        """Write what waits and close the file; safe to call twice, and does nothing in a forked child.

        Raises:
            StoreError: if what waits cannot be written; the file is closed all the same.
        """
        if not self._database.is_own:
            return
        try:
            self.answers.flush()
        finally:
            self._database.close()

    def __reduce__(self) -> NoReturn:
        raise StoreError(f"the store {self.path} cannot be pickled", "give its path, and open it in each process")

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StoreError:
            if error is None:  # the first error says more than what it led to
                raise

    def _damage(self) -> list[str]:
        with self._database.reading() as connection:
            rows = connection.execute(f"PRAGMA integrity_check({_SHOWN})").fetchall()
        return [f"damaged: {text}" for (text,) in rows if text != "ok"]

    def _lost_rows(self) -> list[str]:
        with self._database.reading() as connection:
            rows = connection.execute("PRAGMA foreign_key_check").fetchmany(_SHOWN)
            (gone,) = connection.execute(
                "SELECT count(*) FROM run_answers WHERE key NOT IN (SELECT key FROM answers)"
            ).fetchone()
        lost = [f"{table}: a row belongs to no row of {parent}" for table, _, parent, _ in rows]
        return lost + ([f"{gone} answers that runs used are gone"] if gone else [])

    def _unreadable(self) -> list[str]:
        with self._database.reading() as connection:
            return [problem for problem, _ in zip(check_values(connection), range(_SHOWN), strict=False)]
