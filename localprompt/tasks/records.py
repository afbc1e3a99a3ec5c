"""What stands in one place of a data file, before it becomes a row of the task; the lines of JSON Lines. Level 3."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from localprompt.errors import TaskError

_SHOWN = 40


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


def read_json_lines(source: str, text: str) -> Iterator[Record]:
    """Yield what each line holds that is not blank. Numbers stay as they are written.

    Raises:
        TaskError: if the text is a table, one JSON array, or objects over several lines.
    """
    filled = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if filled:
        _check_whole(source, text, [line for _, line in filled[:2]])
    for number, line in filled:
        value = _parsed(line)
        yield Record(number, value if isinstance(value, dict | BadRow) else BadRow("not a JSON object"))


def _parsed(text: str) -> Any:
    """Return the value of a JSON text, or why there is none."""
    try:
        # Numbers stay as they are written (1.50); NaN and Infinity are no JSON, though Python reads them.
        return json.loads(
            text, parse_int=str, parse_float=str, parse_constant=_no_constant, object_pairs_hook=by_column
        )
    except json.JSONDecodeError as error:
        if text[error.pos :].strip() == ",":
            return BadRow("invalid JSON (a comma after the object)")
        return BadRow(f"invalid JSON ({error.msg.removesuffix(' at')} at column {error.colno})")
    except RecursionError:
        return BadRow("invalid JSON (nested too deep)")
    except BadRow as bad:
        return bad


def _no_constant(name: str) -> str:
    raise BadRow(f"invalid JSON ({name} is not a number)")


def _check_whole(source: str, text: str, first: list[str]) -> None:
    """Raise if the text as a whole is something else; `first` are its first two lines that are not blank."""
    begins = [line.lstrip()[0] for line in first]
    if not {"{", "["} & set(begins):
        start = first[0].strip()[:_SHOWN]
        hint = "a .jsonl file has one JSON object a line; a table with a header row is a .csv or .tsv file"
        raise TaskError(f"{source}: holds no JSON objects, it begins with {start!r}", hint)
    if begins[0] == "[" and (len(first) == 1 or isinstance(_parsed(first[0]), BadRow)):
        raise TaskError(f"{source}: a JSON array", "write one object per line: jq -c '.[]' FILE")
    if begins[0] == "{" and _spans_lines(text.lstrip()):
        raise TaskError(f"{source}: its JSON objects span several lines", "write one per line: jq -c . FILE")


def _spans_lines(text: str) -> bool:
    """Return whether the object that a text begins with goes on in its next line."""
    try:
        _, end = json.JSONDecoder(parse_int=str).raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        return False  # its first line is wrong by itself
    return "\n" in text[:end]
