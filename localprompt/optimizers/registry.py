"""Optimisers by name, and their settings from plain values. Level 5.

Adding an optimiser is one file with `@optimizer("name")` and one import in `optimizers/__init__.py`.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from localprompt.errors import ConfigError, nearest
from localprompt.problem import Problem


class Optimizer(Protocol):
    """An algorithm that searches for a prompt: a frozen dataclass of hyperparameters with one method.

    A class variable `PRESETS`, name to the hyperparameters that differ from the defaults, is optional; `paper` is the
    setting of the publication.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def run(self, problem: Problem) -> None:
        """Search; scores, lineage and discards stay with `problem`, which also knows the winner.

        Raises:
            BudgetExhausted: from the model call that does not fit; everything before it counts.
        """


LOCAL = "local"
"""The preset of the defaults: sized for one quantised model on one machine."""

_T = TypeVar("_T")
_REGISTRY: dict[str, type[Any]] = {}


def optimizer(name: str) -> Callable[[type[_T]], type[_T]]:
    """Return a class decorator that registers a frozen dataclass with a method `run(problem)` under `name`."""

    def register(cls: type[_T]) -> type[_T]:
        if name in _REGISTRY:
            raise ValueError(f"an optimizer {name!r} is registered already")
        _REGISTRY[name] = cls
        return cls

    return register


def names() -> tuple[str, ...]:
    """Return the names of all registered optimisers, sorted."""
    return tuple(sorted(_REGISTRY))


def presets(name: str) -> dict[str, Mapping[str, object]]:
    """Return the presets of the optimiser `name`: `local`, its defaults, and those in its class variable `PRESETS`.

    A preset names the hyperparameters that differ from the defaults.

    Raises:
        ConfigError: for an unknown method, naming the nearest known one.
    """
    return {LOCAL: {}, **getattr(_found(name), "PRESETS", {})}


def configure(name: str, settings: Mapping[str, object], preset: str = LOCAL) -> Optimizer:
    """Return the optimiser `name` as in `preset`, changed by `settings`.

    Text such as `8`, `8,24` or `none` is read as the field's type.

    Raises:
        ConfigError: for an unknown method, preset or setting, naming the nearest known one, or a value of the wrong
            kind.
    """
    cls = _found(name)
    if preset not in presets(name):
        raise ConfigError(f"{name} has no preset {preset!r}", nearest(preset, presets(name)))
    hints = get_type_hints(cls)
    known = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    values = {}
    for key, value in {**presets(name)[preset], **settings}.items():
        if key not in known:
            raise ConfigError(f"{name} has no setting {key!r}", nearest(key, known))
        values[key] = read_value(f"the setting {key}", value, known[key])
    chosen: Optimizer = cls(**values)
    return chosen


def _found(name: str) -> type[Any]:
    if name not in _REGISTRY:
        raise ConfigError(f"unknown method {name!r}", nearest(name, _REGISTRY))
    return _REGISTRY[name]


def read_value(what: str, value: object, wanted: Any) -> object:
    """Return `value` as the type `wanted`: text is parsed, other values must have the type already.

    Raises:
        ConfigError: naming `what`, for a value of the wrong kind.
    """
    if get_origin(wanted) in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        wanted = next(each for each in get_args(wanted) if each is not types.NoneType)
    if get_origin(wanted) is Literal:
        return _one_of(what, value, get_args(wanted))
    if get_origin(wanted) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise ConfigError(f"{what} is a list such as 8,24, not {value!r}", "separate its values with commas")
        return tuple(read_value(what, part, get_args(wanted)[0]) for part in parts if part != "")
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
        raise ConfigError(f"{what} cannot be {value!r}", nearest(str(value), known))
    return value


def _whole(what: str, value: object) -> int:
    try:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise ConfigError(f"{what} is a whole number, not {value!r}", "write it as 8")


def _number(what: str, value: object) -> float:
    try:
        if (
            isinstance(value, int | float | str)
            and not isinstance(value, bool)
            and math.isfinite(number := float(value))
        ):
            return number
    except ValueError:
        pass
    raise ConfigError(f"{what} is a number, not {value!r}", "write it as 0.9")


def _yes_or_no(what: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
        return value.lower() in ("true", "yes")
    raise ConfigError(f"{what} is true or false, not {value!r}", "write true or false")


def _path(what: str, value: object) -> Path:
    if isinstance(value, str | Path) and str(value):
        return Path(value).expanduser()
    raise ConfigError(f"{what} is a path, not {value!r}", "give a path")


def _text(what: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise ConfigError(f"{what} is text, not {value!r}", "give text")
