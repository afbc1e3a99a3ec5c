"""What the methods of a comparison found beside each other, in sentences. Level 9."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from localprompt.comparison.table import MethodPair, Row
from localprompt.interface.rounding import p_text, score_text
from localprompt.reports.verdict import Tone
from localprompt.run.results import is_significant
from localprompt.search.observer import pluralize
from localprompt.stats.intervals import Difference

_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class MethodsVerdict:
    """Which method is better, on one task or over all tasks."""

    headline: str
    tone: Tone
    """good: one method is better than every other one; with a single method, than the seed prompt."""
    reasons: tuple[str, ...]
    """What each method does beside the seed prompt, pairs that differ, noise, one constant answer, seeds."""


def methods_verdict(rows: Sequence[Row], pairs: Sequence[MethodPair], seed: float) -> MethodsVerdict:
    """Return the verdict on methods.

    Args:
        rows: one a method, one or more.
        pairs: of all of them.
        seed: score of the seed prompt on test.
    """
    ordered = sorted(rows, key=lambda row: -row.test.mean)
    headline, tone = _alone(ordered[0]) if len(rows) == 1 else _headline(ordered, pairs)
    return MethodsVerdict(headline, tone, tuple(_reasons(ordered, pairs, seed)))


def _alone(row: Row) -> tuple[str, Tone]:
    gain, what = row.from_seed, f"the prompts of {row.method}"
    how = f"{score_text(gain.mean, sign='+')} on test against the seed prompt ({p_text(gain.p, 3)})"
    if not row.is_shown(gain):
        return f"No difference is shown: {what} have {how}", "open"
    return (
        (f"Better prompts were found: {what} have {how}", "good")
        if gain.mean > 0
        else (f"Worse prompts were found: {what} have {how}", "bad")
    )


def _headline(rows: Sequence[Row], pairs: Sequence[MethodPair]) -> tuple[str, Tone]:
    best = rows[0]
    others = [row for row in rows if row.test.mean < best.test.mean - _EQUAL]
    if not others:
        return f"No method is better than another: all of them score {score_text(best.test.mean)} on test", "open"
    top = [row.method for row in rows[: len(rows) - len(others)]]
    nearest = _pair(pairs, others[0].method, best.method)
    ahead = f"{_size(nearest.difference.mean)} ahead of {nearest.first}"
    if len(top) == 1 and all(_pair(pairs, row.method, best.method).is_shown for row in others):
        score = f"{score_text(best.test.mean)} on test, {ahead} ({p_text(nearest.adjusted_p, 3)} after Holm)"
        if _may_seeds_differ(best, others):
            return (
                f"{best.method} is better than every other method in these runs, not for sure with others: {score}",
                "open",
            )
        return f"{best.method} is better than every other method: {score}", "good"
    some = "every other" if any(each.is_shown for each in pairs) else "another"
    score = f"{_listed(top)} {'scores' if len(top) == 1 else 'score'} highest ({score_text(best.test.mean)})"
    return f"No method is shown to be better than {some}: {score}, {ahead}{_doubt(nearest)}", "open"


def _may_seeds_differ(best: Row, others: Sequence[Row]) -> bool:
    """Return whether other seeds may well end in another order: one seed says nothing, intervals say how far."""
    low = best.test.mean if best.test.low is None else best.test.low
    highs = [row.test.mean if row.test.high is None else row.test.high for row in others]
    return any(row.test.n == 1 for row in (best, *others)) or any(high >= low for high in highs)


def _doubt(pair: MethodPair) -> str:
    """Return why a pair says nothing; nothing where it does."""
    if pair.is_shown:
        return f" ({p_text(pair.adjusted_p, 3)} after Holm)"
    if not is_significant(replace(pair.difference, p=pair.adjusted_p), 0.0):
        return f", which chance may explain ({p_text(pair.adjusted_p, 3)} after Holm)"
    return ", which noise or one answer to everything may explain"


def _reasons(rows: Sequence[Row], pairs: Sequence[MethodPair], seed: float) -> Iterator[str]:
    yield from _beside_seed(rows, f"the seed prompt, which scores {score_text(seed)}")
    for row in rows:
        beaten = [each for each in pairs if each.second == row.method and each.is_shown]
        if beaten:
            than = [f"{each.first} by {_size(each.difference.mean)} ({p_text(each.adjusted_p, 3)})" for each in beaten]
            yield f"On these test examples {row.method} is better than {_listed(than)}; p after Holm."
    constant = next((row.constant for row in rows if row.constant is not None), None)
    if constant is not None:
        no_more = [row.method for row in rows if row.test.mean <= constant + _EQUAL]
        than_that = f"; no more than that have {_listed(no_more)}" if no_more else ""
        yield f"Always giving one answer would score {score_text(constant)}{than_that}."
    floor = max((row.noise for row in rows if row.noise is not None), default=0.0)
    if floor > 0:
        yield f"Measuring again moved the score of a prompt by up to {score_text(floor)}."
    yield from _about_runs(rows)


def _beside_seed(rows: Sequence[Row], against: str) -> Iterator[str]:
    shown = [row for row in rows if row.is_shown(row.from_seed)]
    same = [row.method for row in rows if row not in shown]
    for word, sign in (("Better", 1), ("Worse", -1)):
        some = [row for row in shown if row.from_seed.mean * sign > 0]
        if some:
            yield f"{word} than {against}: {_listed([_named(row.method, row.from_seed) for row in some])}."
    if same:
        yield f"No difference is shown from {against}: {_listed(same)}."


def _about_runs(rows: Sequence[Row]) -> Iterator[str]:
    if rows[0].test.n == 1:
        yield "With one seed a method nobody knows how far other seeds would end from these."
    elif _may_seeds_differ(rows[0], rows[1:]):
        yield f"Other seeds may end in another order: over these {rows[0].method} is not clearly ahead."
    if len({row.runs for row in rows}) > 1:
        yield f"Methods have different numbers of runs: {_listed([f'{row.method} {row.runs}' for row in rows])}."
    n = rows[0].from_seed.n
    yield f"Differences are of {pluralize(n, 'test example')}, of which each counts once, however many seeds there are."


def _pair(pairs: Sequence[MethodPair], first: str, second: str) -> MethodPair:
    return next(each for each in pairs if (each.first, each.second) == (first, second))


def _named(method: str, difference: Difference) -> str:
    return f"{method} by {_size(difference.mean)} ({p_text(difference.p, 3)})"


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _size(difference: float) -> str:
    return score_text(abs(difference))
