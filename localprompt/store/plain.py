"""Records as plain data, fit for JSON, and back. Level 2.

What is read back may have come from anywhere. pydantic does not fit: where it converts nothing it takes no object for a
record, and it refuses lone surrogates, which prompts and data may hold; and lists of runs start faster without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from localprompt.errors import StoreError

_LARGEST = 10**18
_PLAIN = frozenset({str, int, float, bool, type(None)})
_EXPECTED = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}

_SHOWN = 200
"""Characters of what is wrong with a record."""
_Record = TypeVar("_Record", bound="PlainRecord")

_hints = lru_cache(get_type_hints)


class PlainRecord:
    """A dataclass that is printed and kept as JSON."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain data; a record in it that has a form of its own, in that."""
        found = {key: getattr(self, field.name) for key, field in kept(type(self)).items()}
        return {key: part.to_json() if hasattr(part, "to_json") else plain(part) for key, part in found.items()}

    @classmethod
    def read(cls: type[_Record], stored: Mapping[str, Any]) -> _Record:
        """Return what `to_json` made plain.

        Raises:
            StoreError: if it is damaged.
        """
        try:
            found: _Record = read(cls, stored)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(f"the result is damaged ({str(error)[:_SHOWN]})", "measure again") from error
        return found


def plain(value: Any) -> Any:
    """Return a value as plain data: records and mappings as objects, tuples as lists."""
    if type(value) in _PLAIN:  # by far the most, so they are asked nothing else
        return value
    if is_dataclass(value):
        return {key: plain(getattr(value, field.name)) for key, field in kept(type(value)).items()}
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, tuple | list) else value


def kept(record: type) -> Mapping[str, Field[Any]]:
    """Return the fields of a record by key: their names, or what their metadata has for `key`, a name of before.

    One whose `key` is None is no part of the data.
    """
    named = {field.name: field for field in fields(record)}
    keys = {name: field.metadata.get("key", name) for name, field in named.items()}
    return {key: named[name] for name, key in keys.items() if key is not None}


def read(kind: Any, value: Any, place: str = "") -> Any:
    """Return the value of a type that `plain` made plain; nothing is converted, but whole numbers where others fit.

    Args:
        kind: a record, a text, a number, `Literal`; `| None`, `tuple[..., ...]`, `Mapping[str, ...]` of these.
        value: JSON.
        place: where it stands, for the error.

    Raises:
        ValueError: naming the place, if the data is not of that shape, or a number is not finite or beyond 1e18.
    """
    if kind is Any or (value is None and type(None) in get_args(kind)):
        return value
    kind = get_args(kind)[0] if get_origin(kind) in (Union, UnionType) else kind
    origin, parts = get_origin(kind), get_args(kind)
    if origin is tuple:
        listed = _checked(isinstance(value, list), "a list", value, place)
        return tuple(read(parts[0], part, f"{place}[{number}]") for number, part in enumerate(listed))
    if origin is Mapping:
        named = _checked(isinstance(value, dict), "an object", value, place)
        return {read(str, key, place): read(parts[1], part, _below(place, key)) for key, part in named.items()}
    if origin is Literal:
        return _checked(value in parts, f"one of {', '.join(parts)}", value, place)
    if is_dataclass(kind):
        return _read_record(kind, _checked(isinstance(value, dict), "an object", value, place), place)
    is_kind = type(value) is kind or (kind is float and type(value) is int)
    is_finite = not isinstance(value, int | float) or -_LARGEST <= value <= _LARGEST  # NaN lies nowhere
    return kind(_checked(is_kind and is_finite, _EXPECTED[kind], value, place))


def _read_record(kind: Any, found: Mapping[str, Any], place: str) -> Any:
    known = {key: field for key, field in kept(kind).items() if field.init}
    needed = [name for name, field in known.items() if field.default is field.default_factory is MISSING]
    for name in [name for name in needed if name not in found]:
        raise ValueError(f"an object with the key {_below(place, name)!r} was expected")
    for name in [name for name in found if name not in known]:
        raise ValueError(f"{_below(place, name)} is unknown")
    hints = _hints(kind)
    names = {key: field.name for key, field in known.items()}
    return kind(**{names[key]: read(hints[names[key]], part, _below(place, key)) for key, part in found.items()})


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _checked(is_right: bool, expected: str, value: Any, place: str) -> Any:
    if not is_right:
        raise ValueError(f"{place}: {expected} was expected" if place else f"{expected} was expected")
    return value
