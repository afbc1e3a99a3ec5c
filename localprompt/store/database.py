"""One SQLite file: opening, transactions, and SQLite's errors in words. Level 2."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock

from localprompt.errors import StoreError
from localprompt.interface.advice import command

APPLICATION_ID = 0x6C707374
FORMAT = 6
"""Of `schema.sql`; those before were never released. The next one comes with a script that leads there from here."""
_PATIENCE = 30.0
"""Seconds to wait for another process's transaction; all of ours take milliseconds, except `vacuum`."""
_OLDEST_SQLITE = (3, 37)
"""The first with STRICT tables."""

_PERMISSIONS = "check the permissions of the file and of its folder, or choose another place"
_DAMAGE = "move the file away to begin a new store"
_ROOM = "make room and go on: what was stored before is unharmed"
_WAIT = "wait until that process has ended"
_MEANINGS = (
    ("could not be acquired", f"another process kept it locked for {_PATIENCE:.0f} s", _WAIT),  # first: it holds a path
    ("disk is full", "the disk is full", _ROOM),
    ("no space left", "the disk is full", _ROOM),
    ("file too large", "the disk is full", _ROOM),
    ("file exists", "a file stands where its folder should be", "choose another place"),
    ("not a directory", "a file stands where its folder should be", "choose another place"),
    ("readonly", "it cannot be written", _PERMISSIONS),
    ("unable to open", "it cannot be opened", _PERMISSIONS),
    ("read-only", "it cannot be written", _PERMISSIONS),
    ("permission denied", "it cannot be opened", _PERMISSIONS),
    ("not a database", "it is not a store", "choose another file"),
    ("malformed", "it is damaged", _DAMAGE),
    ("decode to utf-8", "it is damaged", _DAMAGE),
    ("codec can't decode", "it is damaged", _DAMAGE),
    ("i/o error", "reading or writing it failed", "check the disk: its space, its quota and its health"),
    ("closed database", "it was closed", "open it again"),
    ("same thread", "it was opened in another thread", "open it in each thread"),
    ("locked", f"another process kept it locked for {_PATIENCE:.0f} s", _WAIT),
)
"""Part of SQLite's message, what it means, what to do. Texts, because Python 3.10 does not pass on the error's code."""


class Database:
    """An open store file. Use it in the thread that opened it, and no fork.

    Raises:
        StoreError: if it cannot be opened or written, is damaged, another program's, or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owner = os.getpid()
        self._of_damage = f"{command('runs', 'check', store=path)} says how far; {_DAMAGE}"
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            found = f"Python's SQLite is {sqlite3.sqlite_version}, and the store needs 3.37 or newer"
            raise StoreError(found, "use a newer Python")
        with in_words(f"the store {path}"):
            if path.exists() and not path.is_file():
                raise StoreError(f"the store {path}: it cannot be opened, for it is no file", "give the path of a file")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
            self.connection.text_factory = _text
            try:
                self._prepare()
            except BaseException:
                self.connection.close()
                raise

    @property
    def is_own(self) -> bool:
        """False in a forked child: the connection is its parent's."""
        return os.getpid() == self._owner

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._in_words():
            self.connection.close()

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Yield the connection inside a writing transaction: committed at the end, undone by any error.

        Raises:
            StoreError: if SQLite fails, or in a forked child.
        """
        # Write-locked from the beginning: a transaction that reads first may find the store changed when it writes.
        return self._between("BEGIN IMMEDIATE", "COMMIT")

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Yield the connection with one unchanging view of the store.

        Raises:
            StoreError: if SQLite fails, or in a forked child.
        """
        return self._between("BEGIN", "ROLLBACK")

    def shrink(self) -> None:
        """Give free space back to the file system.

        Raises:
            StoreError: if there is no room for the copy that this needs, or another process is writing.
        """
        self._check_owner()
        with self._in_words():
            self.connection.execute("VACUUM")
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def lock(self, name: str) -> FileLock:
        """Return the operating system's lock of this name, which is free again when the process that has it dies.

        Raises:
            StoreError: if the folder of locks cannot be made, or in a forked child.
        """
        self._check_owner()
        folder = self.path.with_name(self.path.name + ".locks")
        with self._in_words():
            folder.mkdir(exist_ok=True)
        return FileLock(folder / f"{quote(name, safe='')}.lock")

    @contextmanager
    def _between(self, begin: str, end: str) -> Iterator[sqlite3.Connection]:
        self._check_owner()
        with self._in_words():
            self.connection.execute(begin)
            try:
                yield self.connection
                self.connection.execute(end)
            finally:
                if self.connection.in_transaction:  # SQLite itself undoes some, of a full disk for example
                    self.connection.execute("ROLLBACK")

    def _check_owner(self) -> None:
        """Refuse a forked child: SQLite's locks do not go with it, and two would write as one."""
        if not self.is_own:
            raise StoreError(
                f"the store {self.path} was opened by process {self._owner}, and this is a forked child, {os.getpid()}",
                "open it here",
            )

    def _in_words(self) -> AbstractContextManager[None]:
        """Return what turns errors into a StoreError about this store, which could be opened."""
        return in_words(f"the store {self.path}", self._of_damage)

    def _prepare(self) -> None:
        for setting in (
            "foreign_keys = ON",
            "trusted_schema = OFF",
            "cell_size_check = ON",
            # A commit is in the file system's cache when it returns, so it survives the death of the process. What a
            # power cut may take, the last commits, is computed again.
            "synchronous = NORMAL",
        ):
            self.connection.execute(f"PRAGMA {setting}")
        check_owner(self.connection, self.path)
        if _version(self.connection) != FORMAT or _pragma(self.connection, "journal_mode") != "wal":
            # Two processes may begin the same store: SQLite does not wait when it changes the journal mode.
            with self.lock("store").acquire(timeout=_PATIENCE):
                self.connection.execute("PRAGMA journal_mode = WAL")
                if _version(self.connection) != FORMAT:
                    make(self.connection)


@contextmanager
def in_words(subject: str, of_damage: str = _DAMAGE) -> Iterator[None]:
    """Turn errors of SQLite and the operating system into a StoreError about `subject`, which names the file.

    Args:
        subject: what the sentence is about.
        of_damage: the hint where it is damaged.
    """
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:  # UnicodeDecodeError: a message that quotes damage
        text = (isinstance(error, OSError) and error.strerror) or str(error)  # the whole of an OSError holds a path
        for part, meaning, hint in _MEANINGS:
            if part in text.lower():
                raise StoreError(f"{subject}: {meaning} ({text})", of_damage if hint is _DAMAGE else hint) from error
        raise StoreError(f"{subject}: {text or type(error).__name__}") from error


def check_owner(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a file is new or one of ours, and of this version's format.

    Raises:
        StoreError: if it is not.
    """
    version = _version(connection)
    # The id last: another process may make a store of an empty file between two of these questions.
    is_new = version == 0 and not schema(connection)
    if not is_new and _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreError(f"{path} is another program's database", "choose another file")
    if version not in (0, FORMAT):
        raise StoreError(
            f"{path} has format {version}, and this version of localprompt knows format {FORMAT} alone",
            "use the version of localprompt that wrote it, or choose another file",
        )


def make(connection: sqlite3.Connection) -> None:
    """Define the tables of a new store, all or none."""
    script = (resources.files("localprompt.store") / "schema.sql").read_text(encoding="utf-8")
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {FORMAT};\nCOMMIT;")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def schema(connection: sqlite3.Connection) -> list[tuple[str, str, str, str | None]]:
    """Return everything that a file defines: type, name, table, SQL."""
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


def expected_schema() -> list[tuple[str, str, str, str | None]]:
    """Return what `schema` returns for a store."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        make(connection)
        return schema(connection)


def is_begun(path: Path) -> bool:
    """Return True if there is anything at a path but an empty file, which the next one who writes makes a store."""
    return path.exists() and not (path.is_file() and path.stat().st_size == 0)


def file_bytes(path: Path) -> int:
    """Return the bytes of a store with its write-ahead log."""
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _text(raw: bytes) -> str:
    """Return a text of the store. Bytes that are no UTF-8 become lone surrogates: one bad value hides no other row."""
    return raw.decode("utf-8", "surrogateescape")


def _version(connection: sqlite3.Connection) -> int:
    return int(_pragma(connection, "user_version"))


def _pragma(connection: sqlite3.Connection, name: str) -> int | str:
    value: int | str = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
