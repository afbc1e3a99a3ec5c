"""A completion becomes an answer, or None where it holds none. Level 3.

Every kind first removes thoughts, such as `<think>...</think>`: reasoning models decide after them. One that never ends
means that the tokens ran out before the answer: None. A blank answer is None too, which scores 0 and is counted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import regex

from localprompt.engine.thoughts import listen
from localprompt.errors import TaskError, nearest
from localprompt.tasks.fingerprint import function_hash
from localprompt.tasks.numbers import last_number

Answer = Callable[[str], "str | None"]
"""Completion text to answer."""

_PATTERN_SECONDS = 1.0
_MAX_PATTERN = 1000
_MAX_EXPANDED = 10_000_000
"""Characters of a pattern times its repetitions: what is repeated is written out, at 277 bytes a character."""
_TIMES = re.compile(r"\{(\d+)")
_SHOWN = 200
"""Characters of a completion in an error."""
_READS_TAGS = ("regex", "after_marker")
"""Kinds that may look for the tags which a model puts around its reply."""
_MAX_OBJECTS = 100
"""Opening braces tried before a completion counts as one without JSON."""
_HALF_PAIR = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which JSON can write and no file can hold."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """An `Answer` that knows its name, so that a task can be written down."""

    kind: str
    argument: str
    extract: Answer = field(repr=False, compare=False)

    def __call__(self, completion: str) -> str | None:
        """Return the answer in a completion; None if it holds none."""
        spoken = listen(completion)
        if spoken.is_cut:
            return None
        found = self.extract(spoken.said if self.kind in _READS_TAGS else spoken.reply)
        return (found.strip() or None) if found is not None else None


def find_answer(kind: str, argument: str = "") -> Extraction:
    """Return the extraction of that kind; `argument` is the pattern, marker or field of those kinds that need one.

    Raises:
        TaskError: if the kind is unknown, its argument missing or given without need, or the pattern not usable.
    """
    if kind not in _KINDS:
        raise TaskError(f"unknown answer extraction {kind!r}", nearest(kind, _KINDS))
    make, needs = _KINDS[kind]
    if bool(argument) != bool(needs):
        problem = f"needs a {needs}" if needs else "takes no value"
        hint = f"write `answer: {{{kind}: ...}}`" if needs else f"write `answer: {kind}`"
        raise TaskError(f"answer extraction {kind!r} {problem}", hint)
    return Extraction(kind, argument, make(argument))


@dataclass(frozen=True, slots=True)
class CodeAnswer:
    """An extraction of the user's that raises only TaskError."""

    name: str
    function: Callable[..., Any] = field(repr=False, compare=False)

    def __call__(self, completion: str) -> str | None:
        """Return what the function returns.

        Raises:
            TaskError: if it raises, or returns neither text nor None.
        """
        try:
            found: object = self.function(completion)
        except (Exception, SystemExit) as error:  # a user's function may raise anything
            what = f"the answer function {self.name!r} failed on {repr(completion)[:_SHOWN]}"
            problem = f"{what} ({type(error).__name__}: {error})"
            raise TaskError(problem, "it returns the answer that any text holds, or None") from error
        if found is not None and not isinstance(found, str):
            problem = f"the answer function {self.name!r} returned {repr(found)[:_SHOWN]}"
            raise TaskError(problem, "an answer is text, or None")
        return found


def guarded_answer(answer: Answer) -> Answer:
    """Return an extraction that raises only TaskError, as one from a task file does.

    A function of the user's may raise anything, and then its run has failed, not the comparison.
    """
    if isinstance(answer, Extraction | CodeAnswer):
        return answer
    return CodeAnswer(getattr(answer, "__qualname__", type(answer).__qualname__), answer)


def answer_spec(answer: Answer) -> tuple[str, str]:
    """Return what tells an extraction from another: its kind and argument, or of a function of the user's its hash."""
    if isinstance(answer, Extraction):
        return answer.kind, answer.argument
    return function_hash(answer.function if isinstance(answer, CodeAnswer) else answer), ""


def _line(text: str) -> str:
    # Chat models like to begin with an empty line.
    return next(iter(text.strip().splitlines()), "")


def _regex(pattern: str) -> Answer:
    if len(pattern) > _MAX_PATTERN:
        raise TaskError(f"the pattern is longer than {_MAX_PATTERN} characters", "use a shorter one")
    if math.prod(max(1, int(times)) for times in _TIMES.findall(pattern)) * len(pattern) > _MAX_EXPANDED:
        raise TaskError(f"the pattern {pattern!r} repeats too much", "use + or {1,...} in the place of large numbers")
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        problem = f"the pattern {pattern!r} is not a regular expression ({error})"
        raise TaskError(problem, "see docs/tasks.md") from error
    if compiled.groups != 1:
        hint = "put round brackets around the answer and write (?:...) for all other groups"
        raise TaskError(f"the pattern {pattern!r} has {compiled.groups} groups instead of one", hint)
    return partial(_matched, compiled)


def _matched(pattern: regex.Pattern[str], text: str) -> str | None:
    try:
        match = pattern.search(text, timeout=_PATTERN_SECONDS)
    except TimeoutError:
        problem = f"the pattern {pattern.pattern!r} took more than {_PATTERN_SECONDS:g} s on one completion"
        raise TaskError(problem, "avoid a repeated group inside a repeated group, such as (a+)+") from None
    return match.group(1) if match else None


def _after_marker(marker: str) -> Answer:
    # `**Answer:** 5`: what ends the bold type of the marker is no part of the answer.
    return partial(_after, re.compile(rf"{re.escape(marker)}(?:(?:\*\*|__)(?=\s))?", re.IGNORECASE))


def _after(marker: re.Pattern[str], text: str) -> str | None:
    ends = [match.end() for match in marker.finditer(text)]
    return _line(text[ends[-1] :]) if ends else None


def _field(name: str, text: str) -> str | None:
    # Numbers stay as they were written: 1.50 keeps its zero. Models break lines inside of texts.
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, strict=False)
    start = -1
    for _ in range(_MAX_OBJECTS):
        start = text.find("{", start + 1)
        if start < 0:
            return None
        try:
            value = decoder.raw_decode(text, start)[0][name]
        except (ValueError, RecursionError, KeyError):
            continue
        if isinstance(value, bool):
            return "true" if value else "false"
        return _HALF_PAIR.sub("\ufffd", value) if isinstance(value, str) else None
    return None


_KINDS: dict[str, tuple[Callable[[str], Answer], str]] = {
    "first_line": (lambda _: _line, ""),
    "whole": (lambda _: str, ""),
    "last_number": (lambda _: last_number, ""),
    "regex": (_regex, "pattern"),
    "after_marker": (_after_marker, "marker"),
    "json_field": (lambda name: partial(_field, name), "field name"),
}
"""Kind to its factory and to what its argument is; an empty name: it takes none."""
