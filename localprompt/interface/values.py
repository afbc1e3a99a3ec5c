"""Values as the types that are wanted of them: from text, or as they are. Level 1."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from localprompt.errors import ConfigError, nearest
from localprompt.interface.paths import expanded

_SHOWN = 100


def told(value: object) -> str:
    """Return a value in a message: as Python writes it, cut where it is long, or its type where that fails."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything; so does a number of 5000 digits
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def read_value(what: str, value: object, wanted: Any) -> object:
    """Return `value` as the type `wanted`: text is parsed, other values must have the type already.

    Raises:
        ConfigError: naming `what`, for a value of the wrong kind.
    """
    if get_origin(wanted) in (Union, types.UnionType):
        *words, kind = [each for each in get_args(wanted) if each is not types.NoneType]
        is_optional = types.NoneType in get_args(wanted)
        if is_optional and (value is None or (isinstance(value, str) and value.lower() == "none")):
            return None
        known = [word for each in words for word in get_args(each)]
        if isinstance(value, str) and value in known:
            return value
        return read_value(" or ".join([f"{what} is {known[0]!r}", "it"]) if known else what, value, kind)
    if get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            near = nearest(str(value) if isinstance(value, str) else "", get_args(wanted))
            raise ConfigError(f"{what} cannot be {told(value)}", near)
        return value
    if get_origin(wanted) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise ConfigError(f"{what} is a list such as 8,24, not {told(value)}", "separate its values with commas")
        return tuple(
            read_value(what, part, get_args(wanted)[0]) for part in parts if not (isinstance(part, str) and not part)
        )
    read, expected, hint = _READERS[wanted]
    try:
        return read(value)
    except (ValueError, OverflowError):
        raise ConfigError(f"{what} is {expected}, not {told(value)}", hint) from None


def finite(value: Any) -> Any:
    """Return JSON with null for each number that JSON does not have, such as NaN."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole(value: object) -> int:
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError
    return int(value)


def _number(value: object) -> float:
    if not isinstance(value, int | float | str) or isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _yes_or_no(value: object) -> bool:
    words = {"true": True, "yes": True, "false": False, "no": False}
    if str(value).lower() not in words:
        raise ValueError
    return words[str(value).lower()]


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError
    return expanded(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


_READERS: dict[Any, tuple[Callable[[object], object], str, str]] = {
    int: (_whole, "a whole number", "write it as 8"),
    float: (_number, "a number", "write it as 0.9"),
    bool: (_yes_or_no, "true or false", "write true or false"),
    Path: (_path, "a path", "give a path"),
    str: (_text, "text", "give text"),
}
"""Type to how a value is read as it, what is expected in words, and a hint."""
