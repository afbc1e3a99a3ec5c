"""What differs between two runs: how they were set up, what they found, and which test rows it gets right. Level 7."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from localprompt.run.history import RunHistory, TestRow
from localprompt.run.results import is_significant
from localprompt.stats.intervals import Difference, paired_difference
from localprompt.store.records import DamagedRun
from localprompt.tasks.copies import numbered

_LISTS = ("train", "dev", "test", "seeds", "warm")
"""Rows and prompts."""
_PARTS = ("task", "model", "proposer", "method", "settings", "seed", "objective", "limits", "dev_examples", "warm")
_PROGRAM = ("version", "search", "meta_prompts", "machine", "use_cache")
_MOST_WORDS = 5_000
"""Of two texts together; longer ones are taken as replaced, since finding what they share would take minutes."""


@dataclass(frozen=True, slots=True)
class SetupDifference:
    """A value of the set-up that differs; None where a run has none."""

    name: str
    """Such as `settings.queries`."""
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class Wording:
    """Words that both texts have, or one of them alone."""

    change: Literal["same", "removed", "added"]
    text: str


@dataclass(frozen=True, slots=True)
class RunDifference:
    """What differs between two runs."""

    setup: tuple[SetupDifference, ...]
    """Empty where a run is damaged."""
    wording: tuple[Wording, ...]
    """From the first found instruction to the second; empty where a run has found nothing yet."""
    not_compared: str
    """Why the test rows are not compared; empty where they are."""
    rows: tuple[TestRow, ...]
    """Test rows that both runs measured: `before` with the first found prompt, `after` with the second."""
    difference: Difference | None
    """Of the second found prompt from the first on these rows."""
    verdict: str
    """On that difference; empty where there is none."""


def run_difference(first: RunHistory, second: RunHistory) -> RunDifference:
    """Return what differs between two runs; nothing is measured anew.

    The difference is paired, row by row (see `paired_difference`). It is significant where neither chance nor the
    larger of the two noise floors explains it.
    """
    found = [each.result for each in (first, second)]
    texts = [each.best.instruction for each in found if each]
    setups, reason = [_configuration(each) for each in (first, second)], _why_not(first, second)
    rows = () if reason else tuple(_common(first, second))
    difference, verdict = None, ""
    if rows:
        scores = ([row.before.score for row in rows], [row.after.score for row in rows])
        difference = paired_difference(*scores, copies=numbered([row.example for row in rows]))
        noise = max(each.noise.floor if each and each.noise else 0.0 for each in found)
        better = f"the {'second' if difference.mean > 0 else 'first'} is significantly better"
        verdict = better if is_significant(difference, noise) else "no significant difference"
    return RunDifference(
        setup=tuple(_setup(*setups)) if all(setups) else (),
        wording=tuple(word_difference(*texts)) if len(texts) == len(found) else (),
        not_compared=reason or ("" if rows else "no test row was measured by both"),
        rows=rows,
        difference=difference,
        verdict=verdict,
    )


def word_difference(before: str, after: str) -> Iterator[Wording]:
    """Yield what becomes of a text, word by word, with what is removed before what is added in its place.

    Joined, all that is not added is the first text, and all that is not removed the second.
    """
    first, second = (re.findall(r"\s+|\S+", text) for text in (before, after))
    steps: list[tuple[str, int, int, int, int]] = [("replace", 0, len(first), 0, len(second))]
    if len(first) + len(second) <= _MOST_WORDS:
        steps = list(SequenceMatcher(None, first, second, autojunk=False).get_opcodes())
    removed, added = "", ""
    for number, (kind, a, b, c, d) in enumerate(steps):
        one, other = "".join(first[a:b]), "".join(second[c:d])
        is_blank = one.isspace() and 0 < number < len(steps) - 1  # between two changes, which become one
        if kind != "equal" or is_blank:
            removed, added = removed + one, added + other
            continue
        yield from _changed(removed, added)
        removed, added = "", ""
        yield Wording("same", one)
    yield from _changed(removed, added)


def _changed(removed: str, added: str) -> Iterator[Wording]:
    if removed:
        yield Wording("removed", removed)
    if added:
        yield Wording("added", added)


def _configuration(history: RunHistory) -> Mapping[str, Any]:
    """Return the set-up, with the names that limits have in Python."""
    if isinstance(history.run, DamagedRun):
        return {}
    limits = {"limits": asdict(history.config.limits)} if history.config else {}
    return {**history.run.configuration, **limits}


def _why_not(first: RunHistory, second: RunHistory) -> str:
    """Return why two runs have no test rows to compare; empty where they have."""
    for name, history in (("first", first), ("second", second)):
        if not history.test_rows:
            return next(iter(history.damage), f"the {name} run has no test rows that were measured")
    one, other = (each.config.task if each.config else {} for each in (first, second))
    if one.get("test") != other.get("test") or one.get("folds") != other.get("folds"):
        return "the test rows of the two tasks differ"
    if any(one.get(key) != other.get(key) for key in ("metric", "answer", "labels")):
        return "the two tasks judge answers differently"
    return ""


def _common(first: RunHistory, second: RunHistory) -> Iterator[TestRow]:
    others = {row.example.id: row for row in second.test_rows}
    for row in first.test_rows:
        other = others.get(row.example.id)
        if other is not None and other.example == row.example:
            yield TestRow(row.example, row.after, other.after)


def _setup(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[SetupDifference]:
    for part in (*_PARTS, *_PROGRAM):
        one, other = first.get(part), second.get(part)
        if part in ("settings", "meta_prompts") and first.get("method") != second.get("method"):
            continue  # those of two methods have only their names in common
        if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
            one, other = (each.get("name", each) if isinstance(each, Mapping) else each for each in (one, other))
            pairs = [(part, *(_told(one, other) if part in _LISTS else (one, other)))]
        elif one.get("name") != other.get("name"):  # all else differs too
            pairs = [(part, one.get("name"), other.get("name"))]
        else:
            pairs = [(f"{part}.{key}", *values) for key, values in _named(one, other)]
        yield from (SetupDifference(*pair) for pair in pairs if pair[1] != pair[2])


def _named(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield the parts of two objects by name: rows as how many, parts of an identity beside the others."""
    for key in dict.fromkeys((*one, *other)):
        values = one.get(key), other.get(key)
        if key in _LISTS:
            yield key, _told(*values)
        elif key == "identity" and isinstance(values[0], Mapping) and isinstance(values[1], Mapping):
            yield from _named(values[0], values[1])
        elif key != "fingerprint":  # a hash of what stands beside it
            yield key, values


def _told(one: Any, other: Any) -> tuple[Any, Any]:
    """Return lists of rows or prompts as short texts that differ where the lists do."""
    if one == other:
        return None, None
    first, second = map(_in_short, (one, other))
    return first, second if first != second else f"{second}, others"


def _in_short(listed: Any) -> str:
    """Return the instructions of prompts; of rows how many they are."""
    parts = listed if isinstance(listed, list) else []
    if parts and all(isinstance(each, Mapping) for each in parts):
        return " | ".join(str(each.get("instruction")) or "(no instruction)" for each in parts)
    return f"{len(parts)} rows" if parts else "none"
