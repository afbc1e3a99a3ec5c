"""A completion becomes an answer, or None where it holds none. Level 2.

Every kind first removes `<think>...</think>` blocks: reasoning models decide after them. A block that never closes
means that the tokens ran out before the answer: None. A blank answer is None too, which scores 0 and is counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import regex

from localprompt.errors import TaskError, nearest

Answer = Callable[[str], "str | None"]
"""Completion text to answer."""

_PATTERN_SECONDS = 1.0
_MAX_PATTERN = 1000
_SHOWN = 200
"""Characters of a completion in an error."""
_MAX_OBJECTS = 100
"""Opening braces tried before a completion counts as one without JSON."""

_NUMBER = re.compile(
    r"""
    (?P<sign>(?<![\w)])[-\u2212])?      # after a letter, digit or bracket: a hyphen ("covid-19") or a subtraction
    (?: (?P<points>                     # 1.234,56 and 1.234.567, but not 1.234
            (?<![\w.,])[1-9][0-9]{0,2}
            (?: (?:\.[0-9]{3})+ (?=,[0-9]+(?![.,]?[0-9])) | (?:\.[0-9]{3}){2,} (?!\.?[0-9]) ))
      | (?P<spaces>                     # 1 234 567, but not the list 64 128 256 7
            (?<![0-9.,])(?<![0-9][ \u00a0\u2009\u202f])[1-9][0-9]{0,2}
            (?P<gap>[ \u00a0\u2009\u202f'\u2019])[0-9]{3} (?:(?P=gap)[0-9]{3})* (?!(?P=gap)?[0-9]))
      | (?P<parts>[0-9]+(?:\.[0-9]+){2,})   # a version or a date
      | (?P<plain>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]) | [0-9]+)
      | (?<![\w.])(?=\.[0-9]) )
    (?P<fraction>(?(points),|(?(spaces)[.,]|\.))[0-9]+)?
    (?P<exponent>[eE][-+]?[0-9]+)?
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Extraction:
    """An `Answer` that knows its name, so that a task can be written down."""

    kind: str
    argument: str
    extract: Answer = field(repr=False, compare=False)

    def __call__(self, completion: str) -> str | None:
        """Return the answer in a completion; None if it holds none."""
        text = _without_thoughts(completion)
        found = self.extract(text) if text is not None else None
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
        raise TaskError(
            f"answer extraction {kind!r} {problem}",
            f"write `answer: {{{kind}: ...}}`" if needs else f"write `answer: {kind}`",
        )
    return Extraction(kind, argument, make(argument))


def guarded_answer(answer: Answer) -> Answer:
    """Return an extraction that raises only TaskError, as one from a task file does.

    A function of the user's may raise anything, and then its run has failed, not the comparison.
    """
    if isinstance(answer, Extraction):
        return answer
    name = getattr(answer, "__qualname__", type(answer).__qualname__)

    def extract(completion: str) -> str | None:
        try:
            found: object = answer(completion)
        except TaskError:  # a guarded one, which has said it
            raise
        except Exception as error:  # a user's function may raise anything
            why = f"({type(error).__name__}: {error})"
            problem = f"the answer function {name!r} failed on {repr(completion)[:_SHOWN]} {why}"
            raise TaskError(problem, "it returns the answer that any text holds, or None") from error
        if found is not None and not isinstance(found, str):
            problem = f"the answer function {name!r} returned {repr(found)[:_SHOWN]}"
            raise TaskError(problem, "an answer is text, or None")
        return found

    return extract


def last_number(text: str) -> str | None:
    """Return the last number of a text without thousands separators, such as `-1234.50`; None if there is none.

    Thousands are set apart by commas, apostrophes or spaces, and by points where a second point or a decimal comma
    leaves no doubt: `$1,234.50.`, `1 234.50`, `1'234.50` and `1.234,50` give `1234.50`. Otherwise a point is decimal,
    and a comma is not: `1.234` stays, and `1,2` gives `2`. Versions and dates such as `1.2.3` are no numbers.
    """
    found = [match for match in _NUMBER.finditer(text) if match["parts"] is None]
    if not found:
        return None
    last = found[-1]
    whole = re.sub("[^0-9]", "", last["points"] or last["spaces"] or last["plain"] or "")
    fraction = f".{last['fraction'][1:]}" if last["fraction"] else ""
    return ("-" if last["sign"] else "") + whole + fraction + (last["exponent"] or "")


def _without_thoughts(text: str) -> str | None:
    kept = []
    while True:
        before, opened, rest = text.partition("<think>")
        # Some chat templates open the block themselves, so that a completion can hold its end alone.
        kept.append(before.rpartition("</think>")[2])
        if not opened:
            return "".join(kept)
        _, closed, text = rest.partition("</think>")
        if not closed:
            return None


def _whole(_: str) -> Answer:
    return lambda text: text


def _first_line(_: str) -> Answer:
    return _line


def _line(text: str) -> str:
    # Chat models like to begin with an empty line.
    return next(iter(text.strip().splitlines()), "")


def _last_number(_: str) -> Answer:
    return last_number


def _regex(pattern: str) -> Answer:
    if len(pattern) > _MAX_PATTERN:
        raise TaskError(f"the pattern is longer than {_MAX_PATTERN} characters", "use a shorter one")
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise TaskError(
            f"the pattern {pattern!r} is not a regular expression ({error})", "see docs/tasks.md"
        ) from error
    if compiled.groups != 1:
        hint = "put round brackets around the answer and write (?:...) for all other groups"
        raise TaskError(f"the pattern {pattern!r} has {compiled.groups} groups instead of one", hint)

    def search(text: str) -> str | None:
        try:
            match = compiled.search(text, timeout=_PATTERN_SECONDS)
        except TimeoutError:
            problem = f"the pattern {pattern!r} took more than {_PATTERN_SECONDS:g} s on one completion"
            raise TaskError(problem, "avoid a repeated group inside a repeated group, such as (a+)+") from None
        return match.group(1) if match else None

    return search


def _after_marker(marker: str) -> Answer:
    pattern = re.compile(re.escape(marker), re.IGNORECASE)

    def after(text: str) -> str | None:
        ends = [match.end() for match in pattern.finditer(text)]
        return _line(text[ends[-1] :]) if ends else None

    return after


def _json_field(name: str) -> Answer:
    # Numbers stay as they were written: 1.50 keeps its zero.
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)

    def field(text: str) -> str | None:
        start = -1
        for _ in range(_MAX_OBJECTS):
            start = text.find("{", start + 1)
            if start < 0:
                return None
            try:
                value = decoder.raw_decode(text, start)[0].get(name)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, bool):
                return "true" if value else "false"
            return value if isinstance(value, str) else None
        return None

    return field


_KINDS: dict[str, tuple[Callable[[str], Answer], str]] = {
    "first_line": (_first_line, ""),
    "whole": (_whole, ""),
    "last_number": (_last_number, ""),
    "regex": (_regex, "pattern"),
    "after_marker": (_after_marker, "marker"),
    "json_field": (_json_field, "field name"),
}
"""Kind to its factory and to what its argument is; an empty name: it takes none."""
