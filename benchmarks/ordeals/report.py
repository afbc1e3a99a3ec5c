"""One row of the table that `reliability.py` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """What was tried, what came out, and whether that is what must hold."""

    what: str
    tried: str
    result: str
    """What was counted."""
    claim: str
    """What holds if nothing failed."""
    failures: Sequence[str]
    """A sentence each; empty if all held."""
    details: Mapping[str, Any]
    """Everything that was counted or measured, as JSON."""

    def __str__(self) -> str:
        held = f"**{len(self.failures)} FAILED**" if self.failures else "all held"
        return f"| {self.what} | {self.tried} | {self.outcome} | {held} |"

    @property
    def outcome(self) -> str:
        """What was counted and, if it is so, what holds."""
        return "; ".join(filter(None, [self.result, "" if self.failures else self.claim]))


HEAD = "| what | tried | result | |\n|---|---|---|---|"
