"""Arguments of the public functions, held to their annotations before anything is done. Level 1."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import math
import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from localprompt.errors import ConfigError
from localprompt.interface.values import told

_P = ParamSpec("_P")
_R = TypeVar("_R")
_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    Path: "a path",
    os.PathLike: "a path",
    types.NoneType: "None",
}


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return the function, which from now on refuses an argument that is not what its annotation says.

    Checked are numbers, text, flags, paths, lists, mappings and objects of this project, also inside lists. A text is
    no list of its letters, and True is no number.

    Raises:
        ConfigError: when called, naming the argument and what is expected.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        names, hints = _wanted(function)
        for name, value in {**dict(zip(names, args, strict=False)), **kwargs}.items():
            if name in hints:
                _check(name, value, hints[name])
        return function(*args, **kwargs)

    return call


@functools.cache
def _wanted(function: Callable[..., object]) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Return the names of the positional parameters, and each parameter's type."""
    parameters = inspect.signature(function).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    hints = get_type_hints(function)
    single = [each.name for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD]
    return (
        tuple(each.name for each in parameters if each.kind in positional),
        {name: hints[name] for name in single if name in hints},
    )


def check_record(name: str, record: Any) -> None:
    """Check that each field of a record is what its annotation says, also in the records that it holds.

    Raises:
        ConfigError: naming the field and what is expected.
    """
    kind: Any = type(record)
    for field, hint in _fields(kind).items():
        _check(f"{name}.{field}", getattr(record, field), hint, deep=True)


@functools.cache
def _fields(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _check(name: str, value: object, hint: Any, *, deep: bool = False) -> None:
    if not _fits(value, hint):
        raise ConfigError(f"{name} is {told(value)}, not {_said(hint)}", _advice(value, hint))
    for place, part, wanted in _parts(name, value, hint):
        _check(place, part, wanted, deep=deep)
    if deep and dataclasses.is_dataclass(value):
        check_record(name, value)


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of a type, its parts aside."""
    origin = get_origin(hint) or hint
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if origin is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if origin is tuple:
        return _is_list(value) and (... in get_args(hint) or len(value) == len(get_args(hint)))
    if origin in _TESTS:
        return _TESTS[origin](value)
    if getattr(origin, "_is_protocol", False):
        return not isinstance(value, type) and not _lacking(value, origin)
    return not isinstance(origin, type) or isinstance(value, origin)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    try:
        return (_is_whole(value) or isinstance(value, float)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


_TESTS: Mapping[Any, Callable[[Any], bool]] = {
    int: _is_whole,
    float: _is_number,
    os.PathLike: lambda value: isinstance(value, os.PathLike) and isinstance(os.fspath(value), str),
    Sequence: _is_list,
    Mapping: lambda value: isinstance(value, Mapping),
}


def _parts(name: str, value: Any, hint: Any) -> Iterator[tuple[str, object, Any]]:
    """Yield the parts of a list or mapping that fits a type: how each is called, itself, and its type."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(each for each in get_args(hint) if _fits(value, each))
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Sequence, tuple):
        wanted = itertools.repeat(inner[0]) if origin is Sequence or ... in inner else inner
        yield from ((f"{name}[{index}]", *pair) for index, pair in enumerate(zip(value, wanted, strict=False)))
    elif origin is Mapping:
        yield from ((f"a key of {name}", key, inner[0]) for key in value)
        yield from ((f"{name}[{key!r}]", part, inner[1]) for key, part in value.items())


def _said(hint: Any) -> str:
    """Return a type in words."""
    origin = get_origin(hint) or hint
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_said(each) for each in get_args(hint)))
    if origin is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if origin is Sequence or (origin is tuple and ... in get_args(hint)):
        return f"a list, each item {_said(get_args(hint)[0])}"
    if origin is tuple:
        return f"a pair, each {_said(get_args(hint)[0])}"
    if origin is Mapping:
        return "a mapping of names"
    return _WORDS.get(origin) or f"a localprompt.{origin.__name__}"


def _advice(value: object, hint: Any) -> str:
    if get_origin(hint) is Sequence and isinstance(value, str | os.PathLike):
        return "put it into a list: [...]"
    if hasattr(value, "item"):
        return "give its .item(), which is Python's own"  # a number of numpy or a tensor
    protocols = [each for each in (get_args(hint) or (hint,)) if getattr(each, "_is_protocol", False)]
    for protocol in protocols:
        if (lacking := _lacking(value, protocol)) and len(lacking) < len(_members(protocol)):
            meaning = inspect.getdoc(getattr(protocol, lacking[0])) if len(lacking) == 1 else None
            return f"it lacks {', '.join(lacking)}" + (f". {meaning.rstrip('.')}" if meaning else "")
    return "the documentation of the function says what each argument is"


def _lacking(value: object, protocol: Any) -> list[str]:
    """Return what an object lacks of a protocol. Nothing of it is computed: a property may load a model."""
    if hasattr(type(value), "__getattr__"):
        return []  # it may have everything
    absent = object()
    return [name for name in _members(protocol) if inspect.getattr_static(value, name, absent) is absent]


def _members(protocol: Any) -> list[str]:
    return [name for name in vars(protocol) if not name.startswith("_")]
