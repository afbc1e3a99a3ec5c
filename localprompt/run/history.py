"""Everything that a store has of one run, read back. Level 7.

A result, and whatever else comes from the store, may be of another version, or damaged: what cannot be read is missing,
and `damage` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

from localprompt.errors import StoreError
from localprompt.run.config import RunConfig
from localprompt.run.results import RunResult
from localprompt.store import RunRecord, Store
from localprompt.store.plain import plain
from localprompt.store.records import DamagedRun, Event, Mark
from localprompt.tasks.stored import read_example
from localprompt.types import Candidate, Discard, Evaluation, Example, Exchange, Outcome

_Found = TypeVar("_Found")
_ODD = (TypeError, ValueError, KeyError)
"""Data of another shape: `runs check` says what is wrong."""
Change = Literal["fixed", "broken", "still wrong", "still right"]
"""What the found prompt does to a test row; a row is right where its score is 1."""


@dataclass(frozen=True, slots=True)
class TestRow:
    """A test row with the seed prompt and with the found prompt."""

    __test__ = False  # it is no test of pytest's

    example: Example
    before: Outcome
    """With the seed prompt."""
    after: Outcome
    """With the found prompt."""

    @property
    def change(self) -> Change:
        """Fixed or broken: the found prompt has a higher or a lower score."""
        if self.before.score != self.after.score:
            return "fixed" if self.after.score > self.before.score else "broken"
        return "still right" if self.after.score >= 1 else "still wrong"

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain data."""
        found: dict[str, Any] = plain(self)
        example = found.pop("example")
        return {"example_id": example.pop("id"), **example, **found}


@dataclass(frozen=True)
class RunHistory:
    """What a store has of a run."""

    run: RunRecord | DamagedRun
    status: str
    """As in the store; `interrupted` for a run whose process is gone, `damaged` for one that cannot be read."""
    config: RunConfig | None
    """None where it cannot be read."""
    result: RunResult | None
    """None where there is none yet, or it cannot be read."""
    candidates: tuple[Candidate, ...]
    """In the order in which they were found."""
    dev: tuple[Evaluation, ...]
    """By the task's metric on train and dev examples, a prompt each."""
    likelihoods: tuple[Evaluation, ...]
    """Log-probabilities of targets in nats on train and dev examples, where the search used them."""
    first_measured: Mapping[str, Mark]
    """Prompt id to what the search had spent when it was first measured; empty for runs of before this was kept."""
    test_rows: tuple[TestRow, ...]
    """In the order of the task; of a cross-validated task those of all folds, each with the prompts of its search."""
    discards: tuple[Discard, ...]
    exchanges: tuple[Exchange, ...]
    events: tuple[Event, ...]
    damage: tuple[str, ...]
    """What cannot be read, in sentences."""

    @cached_property
    def examples(self) -> dict[str, Example]:
        """The examples of the task by id: train, dev, test; none where the task is damaged."""
        task = {} if self.config is None else self.config.task
        with suppress(*_ODD):
            return {each.id: each for split in ("train", "dev", "test") for each in map(read_example, task[split])}
        return {}

    @cached_property
    def dev_scores(self) -> dict[str, tuple[float, ...]]:
        """The scores of each prompt on the dev examples that it was given, by the prompt's id."""
        return {each.prompt.id: each.dev_scores for each in self.dev}

    @property
    def ranked(self) -> list[Candidate]:
        """The candidates, the best on dev first; those measured on more examples stand before those on fewer.

        Scores on few examples are flattering.
        """

        def standing(each: Candidate) -> tuple[int, float]:
            scores = self.dev_scores.get(each.prompt.id, ())
            return len(scores), math.fsum(scores)

        return sorted(self.candidates, key=standing, reverse=True)

    @property
    def changed_rows(self) -> list[TestRow]:
        """The test rows whose score differs."""
        return [row for row in self.test_rows if row.before.score != row.after.score]


def read_history(store: Store, run_id: str) -> RunHistory:
    """Return what a store has of a run.

    Raises:
        StoreError: if there is no such run, or the store cannot be read.
    """
    runs, damage = store.runs, list[str]()
    run = runs.look(run_id)

    def read(what: Callable[[], _Found], otherwise: _Found) -> _Found:
        try:
            return what()
        except StoreError as error:
            damage.append(error.message)
            return otherwise

    record = None if isinstance(run, DamagedRun) else run
    result, config = None, None
    if record is not None:
        with suppress(StoreError):  # of another version: `runs check` says what is wrong
            result = None if record.result is None else RunResult.from_json(record.result, store.path)
        with suppress(StoreError):
            config = RunConfig.read(record.configuration)
    return RunHistory(
        run=run,
        status=runs.status_of(run),
        config=config,
        result=result,
        candidates=tuple(read(lambda: runs.candidates(run_id), [])),
        dev=tuple(read(lambda: runs.evaluations(run_id), [])),
        likelihoods=tuple(read(lambda: _likelihoods(store, run_id), [])),
        first_measured=read(lambda: runs.first_measured(run_id), {}),
        test_rows=tuple(read(lambda: _test_rows(store, run_id), [])) if result else (),
        discards=tuple(read(lambda: runs.discards(run_id), [])),
        exchanges=tuple(read(lambda: runs.exchanges(run_id), [])),
        events=tuple(read(lambda: runs.events(run_id), [])),
        damage=tuple(dict.fromkeys(damage)),
    )


def _likelihoods(store: Store, run_id: str) -> list[Evaluation]:
    return [each for norm in ("token", "sequence") for each in store.runs.evaluations(run_id, f"likelihood {norm}")]


def _test_rows(store: Store, run_id: str) -> list[TestRow]:
    """Return the test rows that were measured with both prompts, as in a history; none where they are not known.

    Raises:
        StoreError: if one of them is damaged.
    """
    records = list[RunRecord]()
    with suppress(StoreError, *_ODD):  # the search of a fold may be gone
        folds = store.runs.get(run_id).configuration.get("cross_validation")
        records = [store.runs.get(each) for each in (folds["runs"] if folds else [run_id])]
    with suppress(*_ODD):
        return [row for each in records for row in _own_rows(store, each)]
    return []


def _own_rows(store: Store, record: RunRecord) -> list[TestRow]:
    result = RunResult.from_json(record.result or {})
    known = store.runs.by_example(record.id, "test")
    before, after = (known.get(prompt.id, {}) for prompt in (result.seed_prompt, result.best))
    if not all(0 <= each.score <= 1 for each in (*before.values(), *after.values())):
        raise StoreError(f"the store {store.path}: the run {record.id} is damaged (a score on test is not from 0 to 1)")
    test = map(read_example, record.configuration["task"]["test"])
    return [TestRow(each, before[each.id], after[each.id]) for each in test if each.id in before.keys() & after]
