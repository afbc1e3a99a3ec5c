"""What runs found, read from the store: candidates, scores, discards, events. Level 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.interface.arguments import checked
from localprompt.store.database import Database
from localprompt.store.records import (
    Event,
    check_finite,
    check_texts,
    named,
    read_prompt,
    read_texts,
    text_of,
)
from localprompt.types import Candidate, Discard, Evaluation, Exchange, Outcome

_Read = TypeVar("_Read")
_NUMBER = "SELECT number FROM runs WHERE id = ?"
UNREADABLE = (ValueError, RecursionError)
"""What reading a damaged value raises."""


class Findings:
    """What the runs of a store found; each value that is damaged is an error that names its run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def candidates(self, run_id: str) -> list[Candidate]:
        """Return the candidates of a run in the order in which they were found.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        query = "SELECT prompt, op, parents, is_proposed FROM candidates WHERE run = ? ORDER BY number"
        return self._read(
            run_id,
            query,
            lambda row: Candidate(
                read_prompt(json.loads(row[0])), row[1], read_texts(json.loads(row[2])), is_proposed=row[3] == 1
            ),
        )

    def evaluations(self, run_id: str, kind: str = "metric") -> list[Evaluation]:
        """Return one evaluation per prompt with all its outcomes, prompts and outcomes in the order they came in.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        query = (
            "SELECT e.number, e.prompt, o.example_id, o.prediction, o.score, o.margin, o.completion FROM evaluations e"
            " JOIN outcomes o ON o.run = e.run AND o.evaluation = e.number"
            " WHERE e.run = ? AND e.kind = ? ORDER BY e.number, o.number"
        )
        grouped: dict[int, tuple[str, list[Outcome]]] = {}
        for index, prompt, outcome in self._read(run_id, query, _outcome, kind):
            grouped.setdefault(index, (prompt, []))[1].append(outcome)
        return [
            Evaluation(self._parsed(run_id, lambda text: read_prompt(json.loads(text)), prompt), tuple(outcomes))
            for prompt, outcomes in grouped.values()
        ]

    def discards(self, run_id: str) -> list[Discard]:
        """Return the proposals that were not used, in order.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        query = "SELECT text, reason FROM discards WHERE run = ? ORDER BY number"
        return self._read(run_id, query, lambda row: Discard(text_of(json.loads(row[0])), row[1]))

    def exchanges(self, run_id: str) -> list[Exchange]:
        """Return what the proposer was asked with its replies, in order; empty for runs of before these were kept.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        query = "SELECT prompt, replies FROM requests WHERE run = ? ORDER BY number"
        return self._read(
            run_id, query, lambda row: Exchange(text_of(json.loads(row[0])), read_texts(json.loads(row[1])))
        )

    def events(self, run_id: str) -> list[Event]:
        """Return what happened, in order.

        Raises:
            StoreError: if there is no such run, or it is damaged.
        """
        query = "SELECT at, kind, text FROM events WHERE run = ? ORDER BY number"
        return self._read(run_id, query, lambda row: Event(row[0], row[1], text_of(json.loads(row[2]))))

    @checked
    def _number(self, run_id: str) -> int:
        with self._database.reading() as connection:
            row = connection.execute(_NUMBER, [named(run_id)]).fetchone()
        if row is None:
            raise self._unknown(f"there is no run {run_id!r}")
        number: int = row[0]
        return number

    def _unknown(self, what: str) -> StoreError:
        lists = command("runs", "list", store=self._database.path)
        hint = f"{lists} shows those that are there; --store names another store"
        return StoreError(f"{what} in {self._database.path}", hint)

    def _read(self, run_id: str, query: str, read: Callable[[Any], _Read], *parameters: object) -> list[_Read]:
        number = self._number(run_id)
        with self._database.reading() as connection:
            rows = connection.execute(query, [number, *parameters]).fetchall()
        return [self._parsed(run_id, read, row) for row in rows]

    def _parsed(self, run_id: str, read: Callable[[Any], _Read], row: Any) -> _Read:
        try:
            if isinstance(row, tuple):
                check_texts(row)
            return read(row)
        except UNREADABLE as error:
            look, remove = (
                command("runs", *words, store=self._database.path) for words in (("check",), ("delete", run_id))
            )
            hint = f"{look} says how far; {remove} removes the run"
            raise StoreError(f"the store {self._database.path}: the run {run_id} is damaged ({error})", hint) from error


def _outcome(row: Any) -> tuple[int, str, Outcome]:
    index, prompt, example_id, prediction, score, margin, completion = row
    answer, written = (None if text is None else text_of(json.loads(text)) for text in (prediction, completion))
    check_finite([score, margin])
    return index, prompt, Outcome(example_id, answer, score, margin, completion=written)
