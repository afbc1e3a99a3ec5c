"""Who watches a run and who keeps its record. Level 5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from localprompt.types import Candidate, Discard, Evaluation, Exchange, Prompt, Spend


class Observer(Protocol):
    """Who wants to know how a run goes. Called between and, for `progress`, during model calls; must return soon."""

    def stage(self, text: str) -> None:
        """What the run does now."""

    def plan(self, calls: int) -> None:
        """About how many model calls the whole search will make."""

    def progress(self, done: int, total: int) -> None:
        """How far the running model call is, in requests."""

    def best(self, prompt: Prompt, mean: float, n: int) -> None:
        """A new best prompt so far, with its mean score on `n` dev examples."""

    def spend(self, spend: Spend) -> None:
        """What the search has spent so far."""

    def note(self, text: str) -> None:
        """Something worth reading that is not an error."""


class SilentObserver:
    """An observer that does nothing."""

    def stage(self, text: str) -> None:
        """Ignore it."""

    def plan(self, calls: int) -> None:
        """Ignore it."""

    def progress(self, done: int, total: int) -> None:
        """Ignore it."""

    def best(self, prompt: Prompt, mean: float, n: int) -> None:
        """Ignore it."""

    def spend(self, spend: Spend) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""


class Journal(Protocol):
    """Who keeps what a run found. Told of everything in order, and of the same again when a run is replayed."""

    def spend(self, spend: Spend) -> None:
        """What the search has spent so far, before it tells what it spent that on."""

    def candidates(self, candidates: Sequence[Candidate]) -> None:
        """Prompts that are new, with their lineage."""

    def evaluations(self, kind: str, evaluations: Sequence[Evaluation]) -> None:
        """Scores of prompts; `kind` is `metric`, `likelihood token`, `likelihood sequence`, `evidence` or `test`."""

    def discards(self, discards: Sequence[Discard]) -> None:
        """Proposals that were not used."""

    def exchanges(self, exchanges: Sequence[Exchange]) -> None:
        """What the proposer was asked, with its replies."""

    def event(self, kind: str, text: str) -> None:
        """What the run does now (kind `stage`) or something worth reading (kind `note`)."""


class SilentJournal:
    """A journal that keeps nothing."""

    def spend(self, spend: Spend) -> None:
        """Ignore it."""

    def candidates(self, candidates: Sequence[Candidate]) -> None:
        """Ignore them."""

    def evaluations(self, kind: str, evaluations: Sequence[Evaluation]) -> None:
        """Ignore them."""

    def discards(self, discards: Sequence[Discard]) -> None:
        """Ignore them."""

    def exchanges(self, exchanges: Sequence[Exchange]) -> None:
        """Ignore them."""

    def event(self, kind: str, text: str) -> None:
        """Ignore it."""


class Announcer:
    """What a search tells: to an observer, to a journal, or to both.

    A stage is told once where the same one comes again, as in the pulls of a race, and with the part of the search
    that it belongs to.
    """

    def __init__(self, observer: Observer | None = None, journal: Journal | None = None) -> None:
        observer, journal = observer or SilentObserver(), journal or SilentJournal()
        self.best = observer.best
        self.candidates = journal.candidates
        self.evaluations = journal.evaluations
        self.discards = journal.discards
        self.exchanges = journal.exchanges
        self._observer = observer
        self._journal = journal
        self._part = ""
        self._last = ""

    def spend(self, spend: Spend) -> None:
        """Tell what the search has spent so far."""
        self._journal.spend(spend)
        self._observer.spend(spend)

    def begin(self, part: str) -> None:
        """Name the part of the search that the next stages belong to."""
        self._part = f"{part}: "

    def stage(self, text: str) -> None:
        """Tell what the search does now."""
        text = f"{self._part}{text}"
        if text != self._last:
            self._last = text
            self._observer.stage(text)
            self._journal.event("stage", text)

    def note(self, text: str) -> None:
        """Tell something worth reading."""
        text = f"{self._part}{text}"
        self._observer.note(text)
        self._journal.event("note", text)


def pluralize(n: int, thing: str) -> str:
    """Return a number of things in words, for whoever waits: `1 prompt`, `2 prompts`."""
    return f"{n:,} {thing}{'s'[: n != 1]}"
