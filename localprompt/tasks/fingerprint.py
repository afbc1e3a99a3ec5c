"""What tells a task from another: a hash of all that its scores depend on. Level 3."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from types import CodeType
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""In what an object says of itself; differs from process to process."""


class Fingerprint(str):
    """A task's fingerprint, which knows the content that it stands for."""

    content: str
    """Hash of that content; another text than the fingerprint where somebody chose the fingerprint."""

    def __new__(cls, text: str, content: str = "") -> Fingerprint:
        """Make one; the content may be unknown."""
        made = super().__new__(cls, text)
        made.content = content
        return made


def fingerprint_of(content: Sequence[object], given: str) -> Fingerprint:
    """Return the fingerprint of a content: what is given, unless it is nothing or stands for another content.

    Raises:
        TypeError: if the content is no JSON.
    """
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    is_old = isinstance(given, Fingerprint) and given.content != digest
    return Fingerprint(digest if is_old or not given else given, digest)


def function_hash(function: Callable[..., Any]) -> str:
    """Return what tells a Python function from another: its name and a hash of its bytecode.

    The bytecode is that of this version of Python. What the function gets from elsewhere, such as defaults, variables
    around it or other functions, does not count, but for the arguments of a `functools.partial`; an object is told by
    its class.
    """
    if isinstance(function, partial):
        given = _ADDRESS.sub("", repr((function.args, sorted(function.keywords.items()))))
        return f"{function_hash(function.func)} {given}"
    name = getattr(function, "__qualname__", type(function).__qualname__)
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return f"{name} {hashlib.sha256(json.dumps(_plain(code)).encode()).hexdigest()}" if code else name


def _plain(constant: object) -> object:
    if isinstance(constant, CodeType):
        return [constant.co_code.hex(), constant.co_names, [_plain(each) for each in constant.co_consts]]
    # The order of a set differs from process to process.
    return sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)
