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
        return _one_of(what, value, get_args(wanted))
    if get_origin(wanted) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise ConfigError(f"{what} is a list such as 8,24, not {told(value)}", "separate its values with commas")
        return tuple(
            read_value(what, part, get_args(wanted)[0]) for part in parts if not (isinstance(part, str) and not part)
        )
    readers: dict[Any, Callable[[str, object], object]] = {
        int: _whole,
        float: _number,
        bool: _yes_or_no,
        Path: _path,
        str: _text,
    }
    return readers[wanted](what, value)


def _one_of(what: str, value: object, known: tuple[str, ...]) -> object:
    if value not in known:
        raise ConfigError(
            f"{what} cannot be {told(value)}", nearest(str(value) if isinstance(value, str) else "", known)
        )
    return value


def _whole(what: str, value: object) -> int:
    try:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise ConfigError(f"{what} is a whole number, not {told(value)}", "write it as 8")


def _number(what: str, value: object) -> float:
    try:
        if (
            isinstance(value, int | float | str)
            and not isinstance(value, bool)
            and math.isfinite(number := float(value))
        ):
            return number
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f"{what} is a number, not {told(value)}", "write it as 0.9")


def _yes_or_no(what: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
        return value.lower() in ("true", "yes")
    raise ConfigError(f"{what} is true or false, not {told(value)}", "write true or false")


def _path(what: str, value: object) -> Path:
    if isinstance(value, str | Path) and str(value):
        return expanded(value)
    raise ConfigError(f"{what} is a path, not {told(value)}", "give a path")


def _text(what: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise ConfigError(f"{what} is text, not {told(value)}", "give text")
