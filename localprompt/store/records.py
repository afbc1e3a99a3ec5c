"""What the store keeps of runs. Level 2."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

RunStatus = Literal["running", "finished", "paused", "failed"]

_LARGEST = 10**100
_LONGEST = 1 << 20
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the store knows it."""

    id: str
    """12 hexadecimal digits."""
    status: RunStatus
    created: float
    """Seconds since 1970, as `updated`."""
    updated: float
    task: str
    """Names for people, as `model`, `proposer` and `method`; what counts is the configuration."""
    model: str
    proposer: str
    method: str
    seed: int
    configuration: Mapping[str, Any]
    """JSON: everything needed to run again. `configuration["identity"]` is what makes two runs the same."""
    result: Mapping[str, Any] | None
    """JSON; None until there is one."""
    stopped: str
    """Why the run ended before its end; empty if it did not."""
    imported: bool = False
    """True for a run that came as a file: nobody can tell here whether its result is true."""


@dataclass(frozen=True, slots=True)
class DamagedRun:
    """A run whose record cannot be read; what it found may be readable."""

    id: str
    why: str
    """What is wrong, in a few words."""
    task: str
    """As far as it can be read, as `model`, `proposer` and `method`."""
    model: str
    proposer: str
    method: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What a search had spent at some point of it."""

    tokens: int
    """Computed, as in `Spend`."""
    seconds: float
    """Of model calls, over all sessions until then; an answer from the store takes none."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run."""

    at: float
    """Seconds since 1970."""
    kind: str
    text: str
    spent: Mark | None = None
    """By the search until then; None in runs of before this was kept."""


def id_of_run(identity_hash: str, ordinal: int) -> str:
    """Return the id of the run that is number `ordinal` of its identity: no clock and no chance in it."""
    return hashlib.sha256(f"{identity_hash}:{ordinal}".encode()).hexdigest()[:12]


def identity_hash(configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of `configuration["identity"]` in canonical form, 64 hexadecimal digits."""
    return hashlib.sha256(dumped(configuration["identity"], canonical=True).encode()).hexdigest()


def dumped(value: object, *, canonical: bool = False) -> str:
    """Return a value as JSON in ASCII, in which every Python text has a place, lone surrogates too."""
    return json.dumps(value, ensure_ascii=True, sort_keys=canonical, separators=(",", ":"))


def named(text: str) -> str:
    """Return a name in a form that every column holds: what UTF-8 cannot say is written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def check_plain(plain: Any, depth: int = 0) -> None:
    """Check that JSON from elsewhere holds nothing that overflows what reads it: finite numbers, bounded texts.

    Raises:
        ValueError: for a number that is none or beyond 1e100, a text of more than a million characters, deep nesting.
    """
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(plain, int | float) and not -_LARGEST <= plain <= _LARGEST:  # NaN lies nowhere
        raise ValueError("a number is not finite, or too large")
    if isinstance(plain, str) and len(plain) > _LONGEST:
        raise ValueError("a text is too long")
    parts = [*plain, *plain.values()] if isinstance(plain, dict) else plain if isinstance(plain, list) else ()
    for part in parts:
        check_plain(part, depth + 1)


def named_params(*values: object) -> dict[str, object]:
    """Return parameters of a statement that uses one of them twice and calls them `:a`, `:b`, ...

    Python 3.12 warns of a sequence for numbered ones.
    """
    return dict(zip("abcdefg", values, strict=False))
