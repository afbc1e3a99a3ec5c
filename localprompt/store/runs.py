"""Runs: what they were asked, what they found, how far they are. Level 2."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from filelock import Timeout

from localprompt.errors import RunInUse, StoreError
from localprompt.interface.arguments import checked
from localprompt.interface.paths import expanded
from localprompt.store import transfer
from localprompt.store.answers import Answers
from localprompt.store.database import Database, in_words
from localprompt.store.findings import Findings
from localprompt.store.plain import plain
from localprompt.store.records import (
    DamagedRun,
    Mark,
    RunRecord,
    RunStatus,
    dumped,
    id_of_run,
    identity_hash,
    named,
    named_params,
)
from localprompt.store.rows import RUN_COLUMNS, UNREADABLE, read_damaged, read_run
from localprompt.types import Candidate, Discard, Evaluation, Exchange, Outcome

_NEXT_ORDINAL = (
    "SELECT coalesce(max(ordinal) + 1, 0) FROM"
    " (SELECT ordinal FROM runs WHERE identity = :a UNION ALL SELECT ordinal FROM deleted WHERE identity = :a)"
)
_DELETED = (
    "INSERT INTO deleted SELECT identity, ordinal FROM runs WHERE id = ?"
    " ON CONFLICT (identity) DO UPDATE SET ordinal = max(ordinal, excluded.ordinal)"
)
_PATIENCE = 0.2
"""Seconds to wait for a lock that somebody only tries."""


class Runs(Findings):
    """The runs of a store.

    A run is resumed by running it again from its seed, so everything it finds is written a second time: within one
    `hold`, discards and events are numbered from the beginning and fall on those of the time before.
    """

    def __init__(self, database: Database, answers: Answers) -> None:
        super().__init__(database)
        self._answers = answers
        self._written: Counter[tuple[str, str]] = Counter()
        """(table, run) to rows written since the run was last held."""

    def create(  # noqa: PLR0913 - the fields of a record
        self, configuration: Mapping[str, Any], *, task: str, model: str, proposer: str, method: str, seed: int
    ) -> RunRecord:
        """Return a new run, with the status `running`.

        Its id is a hash of `configuration["identity"]` and of how many runs with this identity there were, deleted
        ones too: the same history of a store gives the same ids, and no id is given twice.

        Raises:
            StoreError: if the store cannot be written, or could not read the run again; then nothing is written.
        """
        try:
            identity, written, now = identity_hash(configuration), dumped(configuration), time.time()
        except (TypeError, ValueError, RecursionError) as error:
            raise StoreError(f"a run of {task} cannot be kept ({error})", "a configuration is plain data") from error
        with self._database.transaction() as connection:
            ordinal: int = connection.execute(_NEXT_ORDINAL, named_params(identity)).fetchone()[0]
            created = id_of_run(identity, ordinal)
            names = [named(name) for name in (task, model, proposer, method)]
            connection.execute(
                "INSERT INTO runs (id, identity, ordinal, status, created, updated, task, model, proposer, method,"
                " seed, configuration, stopped) VALUES (?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, '')",
                [created, identity, ordinal, now, now, *names, str(seed), written],
            )
            row = connection.execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ?", [created]).fetchone()
            return self._parsed(created, read_run, row)

    @checked
    def find(self, prefix: str) -> str:
        """Return the id of the run that begins with `prefix`, also of one that is damaged.

        Raises:
            StoreError: if none or several do; the message lists them.
        """
        with self._database.reading() as connection:
            query = "SELECT id FROM runs WHERE substr(id, 1, ?) = ? ORDER BY number DESC"
            prefix = named(prefix)
            ids = [row[0] for row in connection.execute(query, [max(len(prefix), 1), prefix]).fetchmany(6)]
        if len(ids) == 1:
            return str(ids[0])
        if ids:
            some = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
            raise StoreError(f"several runs begin with {prefix!r}: {some}", "give more digits")
        raise self._unknown(f"no run begins with {prefix!r}")

    def get(self, prefix: str) -> RunRecord:
        """Return the run whose id begins with `prefix`.

        Raises:
            StoreError: if none or several do, which are listed, or it is damaged.
        """
        row = self._row(self.find(prefix))
        return self._parsed(row[0], read_run, row)

    def look(self, prefix: str) -> RunRecord | DamagedRun:
        """Return the run whose id begins with `prefix`, also one that is damaged.

        Raises:
            StoreError: if none or several do.
        """
        return _read_either(self._row(self.find(prefix)))

    def all(self) -> list[RunRecord]:
        """Return all runs that can be read, newest first; `every` has the others too.

        Raises:
            StoreError: if the store cannot be read.
        """
        return [run for run in self.every() if isinstance(run, RunRecord)]

    def every(self) -> list[RunRecord | DamagedRun]:
        """Return all runs, newest first, also those that are damaged.

        Raises:
            StoreError: if the store cannot be read.
        """
        with self._database.reading() as connection:
            rows = connection.execute(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY number DESC").fetchall()
        return [_read_either(row) for row in rows]

    @checked
    def delete(self, run_id: str, *others: str) -> None:
        """Remove runs and all that they found, all of them or none; answers stay until `Store.vacuum`.

        Raises:
            StoreError: if there is no such run or a process has it.
        """
        with ExitStack() as stack:
            for each in (run_id, *others):
                stack.enter_context(self.hold(each))
            connection = stack.enter_context(self._database.transaction())
            for each in (run_id, *others):
                connection.execute(_DELETED, [each])
                connection.execute("DELETE FROM runs WHERE id = ?", [each])

    @contextmanager
    def hold(self, run_id: str) -> Iterator[None]:
        """Have a run for this process alone, until the context ends or the process dies.

        Raises:
            StoreError: if there is no such run, or another process has it, which is named.
        """
        self._number(run_id)
        lock = self._database.lock(run_id)
        with in_words(f"the lock of the run {run_id}"):
            try:
                lock.acquire(timeout=_PATIENCE, poll_interval=_PATIENCE / 10)
            except Timeout:
                raise in_use(run_id, self.holder(run_id)) from None
        try:
            self._forget(run_id)
            self._set(run_id, {"pid": os.getpid()})
            try:
                yield
            except BaseException:
                with suppress(StoreError):  # the first error says more
                    self._let_go(run_id)
                raise
            self._let_go(run_id)
        finally:
            lock.release()

    @checked
    def is_held(self, run_id: str) -> bool:
        """Return True if a process has the run at this moment: the lock knows, also of processes that were killed.

        Raises:
            StoreError: if the lock cannot be tried.
        """
        lock = self._database.lock(run_id)
        with in_words(f"the lock of the run {run_id}"), suppress(Timeout), lock.acquire(blocking=False):
            return False
        return True

    def status_of(self, run: RunRecord | DamagedRun) -> str:
        """Return the status of a run for people: `damaged`; `interrupted` where it is running and no process has it.

        Raises:
            StoreError: if the lock cannot be tried.
        """
        if isinstance(run, DamagedRun):
            return "damaged"
        return "interrupted" if run.status == "running" and not self.is_held(run.id) else run.status

    @checked
    def holder(self, run_id: str) -> int | None:
        """Return the process that last began to hold a run and did not end that; it may have died since.

        Raises:
            StoreError: if the store cannot be read.
        """
        with self._database.reading() as connection:
            row = connection.execute("SELECT pid FROM runs WHERE id = ?", [run_id]).fetchone()
        pid: int | None = row[0] if row else None
        return pid

    def update(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        result: Mapping[str, Any] | None = None,
        stopped: str | None = None,
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is given of a run.

        Raises:
            StoreError: if there is no such run, or the store cannot be written.
        """
        self._number(run_id)
        values = {
            "status": status,
            "result": None if result is None else dumped(result),
            "stopped": None if stopped is None else named(stopped),
            "configuration": None if configuration is None else dumped(configuration),
        }
        self._set(
            run_id, {"updated": time.time(), **{name: value for name, value in values.items() if value is not None}}
        )

    def reset(self, run_id: str, configuration: Mapping[str, Any], *, task: str, model: str, proposer: str) -> None:
        """Begin a run again with another configuration: what it found is gone, its result too; its answers stay.

        Args:
            run_id: which run.
            configuration: that it has from now on.
            task: name of the one that it has from now on.
            model: the same of the task LM.
            proposer: the same of the proposer.

        Raises:
            StoreError: if there is no such run, or the store cannot be written; then nothing is changed.
        """
        number, written = self._number(run_id), dumped(configuration)
        with self._database.transaction() as connection:
            for table in ("candidates", "evaluations", "discards", "events", "requests"):
                connection.execute(f"DELETE FROM {table} WHERE run = ?", [number])
            connection.execute(
                "UPDATE runs SET status = 'running', result = NULL, stopped = '', updated = ?, configuration = ?,"
                " task = ?, model = ?, proposer = ? WHERE number = ?",
                [time.time(), written, *map(named, (task, model, proposer)), number],
            )
        self._forget(run_id)

    def add_candidates(self, run_id: str, candidates: Sequence[Candidate]) -> None:
        """Keep candidates in their order; the first origin of a prompt stays.

        Raises:
            StoreError: if there is no such run, or the store cannot be written.
        """
        number = self._number(run_id)
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO candidates SELECT :a, coalesce(max(number) + 1, 0), :b, :c, :d, :e, :f FROM candidates"
                " WHERE run = :a ON CONFLICT (run, prompt_id) DO NOTHING",
                [
                    named_params(
                        number,
                        each.prompt.id,
                        dumped(plain(each.prompt)),
                        named(each.op),
                        dumped(each.parents),
                        each.is_proposed,
                    )
                    for each in candidates
                ],
            )

    def add_evaluations(
        self, run_id: str, kind: str, evaluations: Sequence[Evaluation], spent: Mark | None = None
    ) -> None:
        """Keep outcomes; of a (prompt, example) measured twice in the same way the last one stays.

        Args:
            run_id: of which run.
            kind: what was measured: `metric`, `likelihood token`, `likelihood sequence`, `evidence`: the metric on rows
                that the search did not use, `test`: the metric on the test split, or `test variant 1` and so on: the
                same with the prompt asked in other ways.
            evaluations: may hold any part of the examples each.
            spent: by the search until now; kept of a prompt that is new in this way.

        Raises:
            StoreError: if there is no such run, or the store cannot be written.
        """
        number, mark = self._number(run_id), _columns_of(spent)
        with self._database.transaction() as connection:
            for evaluation in evaluations:
                prompt = evaluation.prompt
                connection.execute(
                    "INSERT INTO evaluations SELECT :a, coalesce(max(number) + 1, 0), :b, :c, :d, :e, :f"
                    " FROM evaluations WHERE run = :a ON CONFLICT (run, kind, prompt_id) DO NOTHING",
                    named_params(number, kind, prompt.id, dumped(plain(prompt)), *mark),
                )
                which = "SELECT number FROM evaluations WHERE run = ? AND kind = ? AND prompt_id = ?"
                index: int = connection.execute(which, (number, kind, prompt.id)).fetchone()[0]
                connection.executemany(
                    "INSERT INTO outcomes SELECT :a, :b, coalesce(max(number) + 1, 0), :c, :d, :e, :f, :g FROM outcomes"
                    " WHERE run = :a AND evaluation = :b ON CONFLICT (run, evaluation, example_id) DO UPDATE"
                    " SET prediction = excluded.prediction, score = excluded.score, margin = excluded.margin,"
                    " completion = excluded.completion",
                    [named_params(number, index, *_row_of(outcome)) for outcome in evaluation.outcomes],
                )

    def add_discards(self, run_id: str, discards: Sequence[Discard]) -> None:
        """Keep proposals that were not used.

        Raises:
            StoreError: if there is no such run, or the store cannot be written.
        """
        rows = [(dumped(each.text), named(each.reason)) for each in discards]
        self._add(run_id, "discards", "text, reason", rows)

    def add_event(self, run_id: str, kind: str, text: str, spent: Mark | None = None) -> None:
        """Keep something that happened, with the time and what the search had spent.

        Raises:
            StoreError: if there is no such run, or the store cannot be written.
        """
        row = (time.time(), named(kind), dumped(text), *_columns_of(spent))
        self._add(run_id, "events", "at, kind, text, tokens, seconds", [row])

    def add_exchanges(self, run_id: str, exchanges: Sequence[Exchange]) -> None:
        """Keep what the proposer was asked, with its replies.

        Raises:
            StoreError: if there is no such run, or the store cannot be written.
        """
        rows = [(dumped(each.prompt), dumped(each.replies), named(each.kind)) for each in exchanges]
        self._add(run_id, "requests", "prompt, replies, kind", rows)

    @checked
    def export(self, run_id: str, path: str | os.PathLike[str]) -> None:
        """Write a run with the answers it used to a new file.

        Raises:
            StoreError: if there is no such run, the file is there already or cannot be written.
        """
        self._answers.flush()
        transfer.export(self._database, self._number(run_id), expanded(path))

    @checked
    def import_(self, path: str | os.PathLike[str]) -> RunRecord:
        """Take in a run that `export` wrote, and return it, marked as imported. Its answers serve this run alone.

        Raises:
            StoreError: if the file is not such a file or is damaged, or the run is in the store already.
        """
        return self.get(transfer.import_(self._database, expanded(path)))

    def _row(self, run_id: str) -> tuple[Any, ...]:
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ?", [run_id]).fetchone()
        if row is None:
            raise self._unknown(f"there is no run {run_id!r} any more")
        return tuple(row)

    def _let_go(self, run_id: str) -> None:
        self._answers.flush()
        self._set(run_id, {"pid": None})

    def _set(self, run_id: str, values: Mapping[str, object]) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE runs SET {columns} WHERE id = ?", [*values.values(), run_id])

    def _add(self, run_id: str, table: str, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
        number, first = self._number(run_id), self._written[table, run_id]
        places = ", ".join("?" * (len(columns.split(",")) + 2))
        with self._database.transaction() as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO {table} (run, number, {columns}) VALUES ({places})",
                [(number, index, *row) for index, row in enumerate(rows, start=first)],
            )
        self._written[table, run_id] += len(rows)

    def _forget(self, run_id: str) -> None:
        for table in ("discards", "events", "requests"):
            self._written[table, run_id] = 0


def _read_either(row: tuple[Any, ...]) -> RunRecord | DamagedRun:
    try:
        return read_run(row)
    except UNREADABLE as error:
        return read_damaged(row, str(error))


def in_use(run_id: str, pid: int | None) -> RunInUse:
    """Return the error that a process has a run; None: it is not known which one."""
    who = f"process {pid}" if pid else "another process"
    return RunInUse(f"the run {run_id} is in use by {who}", "wait until it has ended, or end it")


def _row_of(outcome: Outcome) -> tuple[object, ...]:
    texts = _optional(outcome.prediction), outcome.score, outcome.margin, _optional(outcome.completion)
    return named(outcome.example_id), *texts


def _columns_of(spent: Mark | None) -> tuple[int | None, float | None]:
    return (spent.tokens, spent.seconds) if spent else (None, None)


def _optional(text: str | None) -> str | None:
    return None if text is None else dumped(text)
