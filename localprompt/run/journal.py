"""What a search finds, written into the store as it is found. Level 7.

A resumed run finds everything again and writes it again: candidates and outcomes have names, and the store numbers
discards and events from the beginning of each session, so nothing is there twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from localprompt.run.config import RunConfig
from localprompt.store import RunRecord, Runs, Store
from localprompt.store.records import Mark
from localprompt.types import Candidate, Discard, Evaluation, Exchange, Spend


def enter(store: Store, config: RunConfig) -> RunRecord:
    """Return a new run, which has not begun."""
    return store.runs.create(config.to_json(), method=config.method, seed=config.seed, **config.names)


def enter_for_later(store: Store, config: RunConfig) -> str:
    """Return the id of a new run, which says that it has not begun."""
    record = enter(store, config)
    store.runs.update(record.id, status="paused", stopped="it has not started")
    return record.id


class RunJournal:
    """The journal of one run. See `Journal` in search/observer.py."""

    def __init__(self, runs: Runs, run_id: str) -> None:
        self._runs = runs
        self._run_id = run_id
        # A session counts its seconds from 0; what was measured first stays as it was kept then.
        self._before = max((mark.seconds for mark in runs.first_measured(run_id).values()), default=0.0)
        self._spent = Mark(0, self._before)

    def spend(self, spend: Spend) -> None:
        """Remember it: what is kept next says what the search had spent."""
        self._spent = Mark(spend.tokens_computed, self._before + spend.seconds)

    def candidates(self, candidates: Sequence[Candidate]) -> None:
        """Keep prompts with their lineage."""
        self._runs.add_candidates(self._run_id, candidates)

    def evaluations(self, kind: str, evaluations: Sequence[Evaluation]) -> None:
        """Keep outcomes by how they were measured."""
        self._runs.add_evaluations(self._run_id, kind, evaluations, self._spent)

    def discards(self, discards: Sequence[Discard]) -> None:
        """Keep proposals that were not used."""
        self._runs.add_discards(self._run_id, discards)

    def exchanges(self, exchanges: Sequence[Exchange]) -> None:
        """Keep what the proposer was asked, with its replies."""
        self._runs.add_exchanges(self._run_id, exchanges)

    def event(self, kind: str, text: str) -> None:
        """Keep what happened."""
        self._runs.add_event(self._run_id, kind, text, self._spent)
