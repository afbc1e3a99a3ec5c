"""What runs found, read from the store: candidates, scores, discards, events. Level 2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.interface.arguments import checked
from localprompt.store.database import Database
from localprompt.store.records import Event, Mark, named
from localprompt.store.rows import COLUMNS, UNREADABLE, read_row
from localprompt.types import Candidate, Discard, Evaluation, Exchange, Outcome

_Read = TypeVar("_Read")
_NUMBER = "SELECT number FROM runs WHERE id = ?"
_OF_KIND = "evaluation IN (SELECT number FROM evaluations WHERE run = :run AND kind = :kind)"


class Findings:
    """What the runs of a store found; each value that is damaged is an error that names its run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def candidates(self, run_id: str) -> list[Candidate]:
        """Return the candidates of a run in the order in which they were found.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        return self._all(run_id, "candidates")

    def evaluations(self, run_id: str, kind: str = "metric") -> list[Evaluation]:
        """Return one evaluation per prompt with all its outcomes, prompts and outcomes in the order they came in.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        found: dict[int, list[Outcome]] = {}
        for evaluation, outcome in self._all(run_id, "outcomes", _OF_KIND, kind):
            found.setdefault(evaluation, []).append(outcome)
        prompts = self._all(run_id, "evaluations", "kind = :kind", kind)
        return [Evaluation(prompt, tuple(found[number])) for number, prompt, _ in prompts if number in found]

    def by_example(self, run_id: str, kind: str = "metric") -> dict[str, dict[str, Outcome]]:
        """Return the outcomes by the prompt's id and the example's: what came in first need not be first in the task.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        found = self.evaluations(run_id, kind)
        return {each.prompt.id: {outcome.example_id: outcome for outcome in each.outcomes} for each in found}

    def first_measured(self, run_id: str) -> dict[str, Mark]:
        """Return, by the id of each prompt, what the search had spent when it was first measured in any way.

        Prompts of before this was kept are missing.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        marks: dict[str, Mark] = {}
        for _, prompt, spent in self._all(run_id, "evaluations"):
            if spent is not None:
                marks.setdefault(prompt.id, spent)
        return marks

    def discards(self, run_id: str) -> list[Discard]:
        """Return the proposals that were not used, in order.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        return self._all(run_id, "discards")

    def exchanges(self, run_id: str) -> list[Exchange]:
        """Return what the proposer was asked with its replies, in order; empty for runs of before these were kept.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        return self._all(run_id, "requests")

    def events(self, run_id: str) -> list[Event]:
        """Return what happened, in order.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        return self._all(run_id, "events")

    @checked
    def _number(self, run_id: str) -> int:
        with self._database.reading() as connection:
            row = connection.execute(_NUMBER, [named(run_id)]).fetchone()
        if row is None:
            raise self._unknown(f"there is no run {run_id!r}")
        return int(row[0])

    def _unknown(self, what: str) -> StoreError:
        lists = command("runs", "list", store=self._database.path)
        hint = f"{lists} shows those that are there; --store names another store"
        return StoreError(f"{what} in {self._database.path}", hint)

    def _all(self, run_id: str, table: str, which: str = "TRUE", kind: str = "") -> list[Any]:
        wanted = {"run": self._number(run_id), "kind": kind}
        query = f"SELECT {COLUMNS[table]} FROM {table} WHERE run = :run AND {which} ORDER BY number"
        with self._database.reading() as connection:
            rows = connection.execute(query, wanted).fetchall()
        return [self._parsed(run_id, partial(read_row, table), row) for row in rows]

    def _parsed(self, run_id: str, read: Callable[[Any], _Read], row: Any) -> _Read:
        try:
            return read(row)
        except UNREADABLE as error:
            look, remove = (
                command("runs", *words, store=self._database.path) for words in (("check",), ("delete", run_id))
            )
            hint = f"{look} says how far; {remove} removes the run"
            raise StoreError(f"the store {self._database.path}: the run {run_id} is damaged ({error})", hint) from error
