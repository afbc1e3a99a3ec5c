"""JSON Lines: one object per line. Level 3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from localprompt.errors import TaskError
from localprompt.tasks.records import BadRow, Record, by_column

_SHOWN = 40


def read_json_lines(source: str, text: str) -> Iterator[Record]:
    """Yield what each line holds that is not blank. Numbers stay as they are written.

    Raises:
        TaskError: if the text is a table, one JSON array, or objects over several lines.
    """
    filled = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    _check_whole(source, text, [line for _, line in filled[:2]])
    for number, line in filled:
        yield Record(number, _object(line))


def _object(line: str) -> Mapping[str, Any] | BadRow:
    try:
        value = _parsed(line)
    except BadRow as bad:
        return bad
    return value if isinstance(value, dict) else BadRow("not a JSON object")


def _parsed(text: str) -> object:
    try:
        # Numbers stay as they are written (1.50); NaN and Infinity are no JSON, though Python reads them.
        return json.loads(
            text, parse_int=str, parse_float=str, parse_constant=_no_constant, object_pairs_hook=by_column
        )
    except json.JSONDecodeError as error:
        if text[error.pos :].strip() == ",":
            raise BadRow("invalid JSON (a comma after the object)") from None
        raise BadRow(f"invalid JSON ({error.msg.removesuffix(' at')} at column {error.colno})") from None
    except RecursionError:
        raise BadRow("invalid JSON (nested too deep)") from None


def _no_constant(name: str) -> str:
    raise BadRow(f"invalid JSON ({name} is not a number)")


def _check_whole(source: str, text: str, first: list[str]) -> None:
    """Raise if the text as a whole is something else; `first` are its first two lines that are not blank."""
    if not first:
        return
    begins = [line.lstrip()[0] for line in first]
    if not {"{", "["} & set(begins):
        start = first[0].strip()[:_SHOWN]
        hint = "a .jsonl file has one JSON object a line; a table with a header row is a .csv or .tsv file"
        raise TaskError(f"{source}: holds no JSON objects, it begins with {start!r}", hint)
    if begins[0] == "[" and (len(first) == 1 or not _is_json(first[0])):
        raise TaskError(f"{source}: a JSON array", "write one object per line: jq -c '.[]' FILE")
    if begins[0] == "{":
        _check_first(source, text.lstrip())


def _check_first(source: str, text: str) -> None:
    """Raise if the first object goes on over several lines, or is the only one and holds all rows."""
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        return  # its first line is wrong by itself
    if not text[end:].strip():
        _check_only(source, value)
    if "\n" in text[:end]:
        raise TaskError(f"{source}: its JSON objects go on over several lines", "write one a line: jq -c . FILE")


def _check_only(source: str, content: Mapping[str, Any]) -> None:
    """Raise if an object holds all rows: as a list, or as columns of texts."""
    for key, rows in content.items():
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            hint = f"write one object per line: jq -c '.[{json.dumps(key)}][]' FILE"
            raise TaskError(f"{source}: one JSON object, which holds the rows in {key!r}", hint)
    columns = content.values()
    if columns and all(isinstance(each, dict) or (isinstance(each, list) and len(each) > 1) for each in columns):
        hint = "write one object per line; with pandas: to_json(FILE, orient='records', lines=True, force_ascii=False)"
        raise TaskError(f"{source}: one JSON object of columns, not of rows", hint)


def _is_json(text: str) -> bool:
    try:
        _parsed(text)
    except BadRow:
        return False
    return True
