"""Who watches a run and who keeps its record. Level 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from localprompt.types import Candidate, Discard, Evaluation, Prompt, Spend


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

    def candidates(self, candidates: Sequence[Candidate]) -> None:
        """Prompts that are new, with their lineage."""

    def evaluations(self, kind: str, evaluations: Sequence[Evaluation]) -> None:
        """Scores of prompts told of before; `kind` is `metric`, `likelihood token` or `likelihood sequence`."""

    def discards(self, discards: Sequence[Discard]) -> None:
        """Proposals that were not used."""

    def event(self, kind: str, text: str) -> None:
        """What the run does now (kind `stage`) or something worth reading (kind `note`)."""


class SilentJournal:
    """A journal that keeps nothing."""

    def candidates(self, candidates: Sequence[Candidate]) -> None:
        """Ignore them."""

    def evaluations(self, kind: str, evaluations: Sequence[Evaluation]) -> None:
        """Ignore them."""

    def discards(self, discards: Sequence[Discard]) -> None:
        """Ignore them."""

    def event(self, kind: str, text: str) -> None:
        """Ignore it."""


class Relay:
    """An observer that passes everything on to another one; a subclass does something besides."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def stage(self, text: str) -> None:
        """Pass it on."""
        self._observer.stage(text)

    def plan(self, calls: int) -> None:
        """Pass it on."""
        self._observer.plan(calls)

    def progress(self, done: int, total: int) -> None:
        """Pass it on."""
        self._observer.progress(done, total)

    def best(self, prompt: Prompt, mean: float, n: int) -> None:
        """Pass it on."""
        self._observer.best(prompt, mean, n)

    def spend(self, spend: Spend) -> None:
        """Pass it on."""
        self._observer.spend(spend)

    def note(self, text: str) -> None:
        """Pass it on."""
        self._observer.note(text)


class Journalled(Relay):
    """An observer whose stages and notes also go into a journal."""

    def __init__(self, observer: Observer, journal: Journal) -> None:
        super().__init__(observer)
        self._journal = journal

    def stage(self, text: str) -> None:
        """Pass it on and enter it."""
        super().stage(text)
        self._journal.event("stage", text)

    def note(self, text: str) -> None:
        """Pass it on and enter it."""
        super().note(text)
        self._journal.event("note", text)


def counted(n: int, thing: str) -> str:
    """Return a number of things in words, for whoever waits: `1 prompt`, `2 prompts`."""
    return f"{n:,} {thing}{'s'[: n != 1]}"
