"""What stands in one place of a data file, before it becomes a row of the task. Level 3."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final


class BadRow(Exception):  # noqa: N818 - becomes part of one TaskError
    """Why a row cannot be used."""


@dataclass(frozen=True, slots=True)
class Record:
    """Values by the names of their columns, or why they cannot be had."""

    line: int
    """Line, or row of a data set, where it begins; counts from 1."""
    values: Mapping[str, Any] | BadRow
    lines: int = 1
    """How many lines it takes."""


TWICE: Final = object()
"""The value of a column that is there twice: nobody can say which one is meant."""


def composed(text: str) -> str:
    """Return a text with its letters composed (NFC), so that two that nobody can tell apart are one."""
    return unicodedata.normalize("NFC", text)


def column_name(text: str) -> str:
    """Return the name of a column as names are compared: composed, without blank space around it."""
    return composed(text).strip()


def by_column(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the values by the names of their columns, `TWICE` where two columns have one name."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        column = column_name(name)
        values[column] = TWICE if column in values else value
    return values
