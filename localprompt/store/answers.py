"""Answers of models by the hash of the question: the same question is computed once. Level 2."""

from __future__ import annotations

from collections.abc import Sequence

from localprompt.store.database import Database
from localprompt.store.records import named_params

_KEYS_A_QUERY = 500
_REMEMBERED = 20_000
"""Used keys that wait for the next write; more are written at once."""


class Answers:
    """The answer cache of a store. Which run used an answer is kept, for `export` and `vacuum`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[tuple[str, bytes], None] = {}
        """(run, key) found by `get` and not written yet; a dictionary because it keeps its order."""

    def get(self, keys: Sequence[bytes], run_id: str | None = None, *, is_use: bool = True) -> list[bytes | None]:
        """Return the values of keys, same order and length, None where there is none.

        Answers that were imported with a run are seen by that run alone, and before all others. Where it `is_use` it is
        written down, later, that the run used what was found.

        Raises:
            StoreError: if the store cannot be read.
        """
        found: dict[bytes, bytes] = {}
        with self._database.reading() as connection:
            for start in range(0, len(keys), _KEYS_A_QUERY):
                chunk = keys[start : start + _KEYS_A_QUERY]
                among = ",".join("?" * len(chunk))
                found.update(connection.execute(f"SELECT key, value FROM answers WHERE key IN ({among})", chunk))
                if run_id is not None:
                    self._used.update({(run_id, key): None for key in chunk if is_use and key in found})
                    found.update(
                        connection.execute(
                            "SELECT key, value FROM imported_answers WHERE run = (SELECT number FROM runs WHERE id = ?)"
                            f" AND key IN ({among})",
                            [run_id, *chunk],
                        )
                    )
        if len(self._used) > _REMEMBERED:
            self.flush()
        return [found.get(key) for key in keys]

    def put(self, rows: Sequence[tuple[bytes, str, bytes]], run_id: str | None = None) -> None:
        """Keep (key, kind, value) rows in one transaction, committed on return; a key that is there keeps its value.

        Raises:
            StoreError: if the store cannot be written; then none of the rows is kept.
        """
        used = [(run_id, key) for key, _, _ in rows] if run_id is not None else []
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO answers (key, kind, value) VALUES (?, ?, ?)", rows)
            connection.executemany(_USE, [named_params(*each) for each in (*self._used, *used)])
        self._used.clear()

    def flush(self) -> None:
        """Write down which answers runs used, where that waited for the next `put`.

        Raises:
            StoreError: if the store cannot be written.
        """
        if self._used:
            self.put(())


# A run that is gone used nothing.
_USE = "INSERT OR IGNORE INTO run_answers (run, key) SELECT number, :b FROM runs WHERE id = :a"
