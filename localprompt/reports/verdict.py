"""What a run found, in sentences that need no statistics to be read. Level 9."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from localprompt.interface.rounding import p_text, percent_text, score_text
from localprompt.run.history import RunHistory
from localprompt.run.results import CrossValidation, HeldOutScores, NoiseFloor, RunnerUp, RunResult, is_significant
from localprompt.search.observer import pluralize
from localprompt.stats.intervals import Difference
from localprompt.store.records import DamagedRun
from localprompt.types import Spend

Tone = Literal["good", "bad", "open"]
"""open: nothing is shown, neither a gain nor a loss."""
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run found, in sentences."""

    headline: str
    tone: Tone
    is_counted: bool
    """Each example is right or wrong, so scores are told in per cent."""
    state: tuple[str, ...]
    """Why the run is not simply finished; empty where it is."""
    reasons: tuple[str, ...]
    """What the headline rests on: difference, noise, one constant answer, missing answers, runner-up."""
    cost: tuple[str, ...]
    """Of the search, and of the final evaluation."""


def verdict_of(history: RunHistory, best: tuple[float, int] | None) -> Verdict:
    """Return the verdict on a run.

    Args:
        history: what the store has of it.
        best: score and number of dev examples of the best prompt so far, for a run without a result.
    """
    result = history.result
    state = _state(history)
    tested = [outcome.score for row in history.test_rows for outcome in (row.before, row.after)]
    scores = tested or [outcome.score for each in history.dev for outcome in each.outcomes]
    words = _Words(bool(scores) and all(score in (0.0, 1.0) for score in scores))
    if result is None:
        return Verdict(_so_far(history, best, words), "open", words.is_counted, state, (), ())
    folds = history.config.cross_validation if history.config else None
    headline, tone = _headline(result, words) if folds is None else _of_folds(result, folds, words)
    return Verdict(
        headline, tone, words.is_counted, state, tuple(_reasons(result, folds, words)), _cost(history, result)
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """Scores in words: of a metric that is 0 or 1 as numbers of right answers and per cent."""

    is_counted: bool

    def score(self, mean: float) -> str:
        return f"{percent_text(mean)} %" if self.is_counted else score_text(mean)

    def size(self, difference: float) -> str:
        return _points(abs(difference)) if self.is_counted else score_text(abs(difference))

    def signed(self, difference: float) -> str:
        text = _points(difference, "+") if self.is_counted else score_text(difference, sign="+")
        return text.replace("-", "\u2212")

    def interval(self, difference: Difference) -> str:
        low = self.signed(difference.low).split()[0]
        return f"95 % interval {low} to {self.signed(difference.high)}"


def _points(share: float, sign: str = "") -> str:
    text = f"{100 * share:{sign}.1f}".removesuffix(".0")
    number = "0" if float(text) == 0 else text
    return f"{number} point{'s'[: abs(float(text)) != 1]}"


def _so_far(history: RunHistory, best: tuple[float, int] | None, words: _Words) -> str:
    if isinstance(history.run, DamagedRun):
        return "This run cannot be read"
    if history.run.result is not None:
        return "The result of this run cannot be read"
    if best is None:
        return "No prompt was scored yet"
    return f"No result yet: the best prompt so far scores {words.score(best[0])} on {pluralize(best[1], 'dev example')}"


def _state(history: RunHistory) -> tuple[str, ...]:
    run = history.run
    damage = tuple(f"{text[:1].upper()}{text[1:]}." for text in history.damage)
    if isinstance(run, DamagedRun):
        return (f"The record of this run is damaged: {run.why}. What is shown is what can still be read.", *damage)
    why = run.stopped or (history.result.stopped if history.result else "")
    ends = {
        "running": "The run goes on: this is what it has found so far.",
        "interrupted": "The run was interrupted: its process has ended, and the run has not. It can be resumed.",
        "paused": f"The run is paused{f': {why}' if why else ''}. It can be resumed.",
        "failed": f"The run failed{f': {why}' if why else ''}.",
        "finished": f"The search was cut short: {why}." if why else "",
    }
    imported = "The run was imported from a file: nobody can tell here whether its numbers are true."
    return (*filter(None, (ends[history.status], imported if run.imported else "")), *damage)


def _headline(result: RunResult, words: _Words) -> tuple[str, Tone]:
    test = result.test
    if result.dev is None:
        return "Nothing was compared: the search ended before a prompt was scored, and the seed prompt stays", "open"
    if not result.found_better:
        score = "" if test is None else f", with {_right(test.seed.mean, test.seed.n, words)}"
        return f"No better prompt was found: the seed prompt stays{score}", "open"
    if test is None:
        return "A prompt was found that is better on dev; it was not measured on test", "open"
    more, change = _more(test, words), f"{words.score(test.seed.mean)} \u2192 {words.score(test.best.mean)}"
    headlines: dict[str, tuple[str, Tone]] = {
        "significant improvement": (f"The found prompt {more}: {change}", "good"),
        "significantly worse": (f"The found prompt is worse: it {more}: {change}", "bad"),
        "no better than one constant answer": (
            f"The found prompt {more} ({change}), but one constant answer would do as well",
            "open",
        ),
    }
    return headlines.get(result.verdict, (f"No difference is shown: the found prompt {more} ({change})", "open"))


def _of_folds(result: RunResult, folds: CrossValidation, words: _Words) -> tuple[str, Tone]:
    """Return what the searches that saw no row of their fold found together, and which prompt the last one found."""
    test, noise = folds.test, result.noise.floor if result.noise else 0.0
    change = f"{words.score(test.seed.mean)} \u2192 {words.score(test.best.mean)}"
    what = f"{_more(test, words)} with prompts that {len(folds.runs)} searches found without it ({change})"
    stays = "" if result.found_better else "; the search on all rows found no better prompt, so the seed prompt stays"
    if not is_significant(test.difference, noise):
        return f"No difference is shown: the procedure {what}{stays}", "open"
    if test.difference.mean < 0:
        return f"The procedure is worse than the seed prompt: it {what}{stays}", "bad"
    if test.is_beaten_by_constant:
        return f"The procedure {what}, but one constant answer would do as well{stays}", "open"
    return f"The procedure {what}{stays}", "good" if result.found_better else "open"


def _right(mean: float, n: int, words: _Words) -> str:
    if not words.is_counted:
        return f"a score of {words.score(mean)} on {pluralize(n, 'test example')}"
    return f"{round(mean * n):,} of {pluralize(n, 'test question')} answered correctly ({words.score(mean)})"


def _more(test: HeldOutScores, words: _Words) -> str:
    """Return what the found prompt does on test, beside the seed."""
    n, difference = test.difference.n, test.difference.mean
    if not words.is_counted:
        if abs(difference) <= _EQUAL:
            return f"scores the same on {pluralize(n, 'test example')}"
        return (
            f"scores {words.size(difference)} {'more' if difference > 0 else 'less'} on {pluralize(n, 'test example')}"
        )
    rows = round(abs(difference) * n)
    if not rows:
        return f"answers as many of {pluralize(n, 'test question')} correctly as the seed prompt"
    return f"answers {rows:,} {'more' if difference > 0 else 'fewer'} of {pluralize(n, 'test question')} correctly"


def _reasons(result: RunResult, folds: CrossValidation | None, words: _Words) -> list[str]:
    test, found = result.test, "the found prompt" if folds is None else "the prompts that were found without it"
    has_two = result.found_better or folds is not None
    reasons = list[str]()
    if has_two and test is not None:
        reasons.append(_chance(test, words))
    if result.noise is not None:
        reasons.append(_noise(result.noise, test if has_two else None, words))
    if test is not None:
        reasons += _constant(test, found if has_two else "the seed prompt", words)
        if missing := test.seed_unparsed + (test.best_unparsed if has_two else 0):
            both = f", {test.seed_unparsed} with the seed prompt and {test.best_unparsed} with {found}"
            held = both if has_two else ""
            reasons.append(f"{pluralize(missing, 'completion')} held no answer{held}: they score 0.")
    if result.runner_up is not None:
        reasons.append(_runner_up(result.runner_up, result.found_better, words))
    if result.failed:
        reasons.append(failed_text(result.failed))
    return reasons


def failed_text(n: int) -> str:
    """Return what became of requests that killed the engine, in a sentence."""
    return f"{pluralize(n, 'request')} killed the engine: they count as unanswered."


def _chance(test: HeldOutScores, words: _Words) -> str:
    """Return whether chance explains the difference; as in `is_significant`, p decides."""
    found = test.difference
    says = "more than chance explains" if is_significant(found, 0.0) else "chance alone may explain that"
    how = f"{words.signed(found.mean)} ({words.interval(found)}, {p_text(found.p)})"
    return f"On the same {pluralize(found.n, 'example')} the difference is {how}: {says}."


def _noise(noise: NoiseFloor, test: HeldOutScores | None, words: _Words) -> str:
    again = f"Measuring again changed {noise.changed or 'none'} of {pluralize(noise.n, 'dev score')}"
    again += f" and moved the score of a prompt by up to {words.size(noise.floor)}" if noise.floor else ""
    if test is None or not noise.floor:
        return f"{again}."
    is_beyond = abs(test.difference.mean) > noise.floor + _EQUAL
    return f"{again}; the difference is {'more' if is_beyond else 'no more'} than that."


def _constant(test: HeldOutScores, whose: str, words: _Words) -> list[str]:
    if test.constant is None:
        return []
    always = f"Always answering {test.constant.answer!r} would score {words.score(test.constant.score)}"
    return [f"{always}, as much as {whose} or more." if test.is_beaten_by_constant else f"{always}."]


def _runner_up(second: RunnerUp, found_better: bool, words: _Words) -> str:
    """Return how far the second prompt is from the winner, and how many rows would decide between them."""
    winner = "the found prompt" if found_better else "the seed prompt"
    found = second.difference
    is_ahead = found.mean > _EQUAL
    side = "ahead of" if is_ahead else "behind"
    place = f"{words.size(found.mean)} {side}" if abs(found.mean) > _EQUAL else "level with"
    unseen = f"{second.n_unseen} of them rows that the search did not use, " if second.n_unseen else ""
    text = f"The runner-up is {place} {winner} on {pluralize(found.n, 'example')} ({unseen}{words.interval(found)})"
    if is_ahead and not found_better:
        text += "; that is within one standard error, so the seed prompt stays"
    if not second.is_decided and second.decided_by is not None:
        text += f"; about {_two_digits(max(second.decided_by, found.n + 1)):,} examples in all would decide"
    return f"{text}."


def _two_digits(n: int) -> int:
    """Return a number of two digits and noughts, no smaller: what is extrapolated is not known to the unit."""
    unit = int("1".ljust(len(str(n)) - 1, "0"))
    return -(-n // unit) * unit


def search_seconds(history: RunHistory) -> float | None:
    """Return the seconds of model calls of the search, over all its sessions; None where they are not known.

    A result has those of its last session alone.
    """
    marks = [mark.seconds for mark in history.first_measured.values()]
    last = [history.result.spend.seconds] if history.result else []
    return max((*marks, *last), default=None)


def _cost(history: RunHistory, result: RunResult) -> tuple[str, ...]:
    return (
        spent("The search", replace(result.spend, seconds=search_seconds(history) or 0.0)),
        spent("The final evaluation (noise, choice, test)", result.final_evaluation),
    )


def spent(what: str, spend: Spend) -> str:
    """Return what something cost, in a sentence: tokens, model calls, time, answers that were known."""
    time = f"{spend.seconds / 60:.1f} minutes" if spend.seconds >= 60 else f"{spend.seconds:.0f} seconds"
    calls, tokens = pluralize(spend.calls, "model call"), spend.tokens_computed
    did = f"computed {tokens:,} tokens in {calls} and" if tokens else f"made {calls} in"  # once no tokens were counted
    known = f"; {percent_text(spend.hit_rate)} % of the answers were known" if spend.answers_cached else ""
    return f"{what} {did} {time}{known}."
