"""What a run or an evaluation found, as records and as JSON. Level 7."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from localprompt.errors import StoreError
from localprompt.interface.rounding import p_text, score_text
from localprompt.run.card import card
from localprompt.run.estimate import Estimate
from localprompt.run.rows import candidate_rows, outcome_rows
from localprompt.stats.intervals import ALPHA, Difference, Interval, interval
from localprompt.store import RunRecord, Store
from localprompt.store.plain import PlainRecord, kept, plain, read
from localprompt.tasks.constant import ConstantAnswer
from localprompt.types import Evaluation, Incumbent, OperatorTotal, Outcome, Prompt, Spend, Turn
from localprompt.variants.robust import Objective

Split = Literal["train", "dev", "test"]
_ROUNDING = 1e-9
_SHOWN = 200
"""Characters of what is wrong with a stored result."""
_PROMPTS = ("seed", "best")


@dataclass(frozen=True, slots=True)
class VariantScores:
    """A prompt and its variants on the test split, each way to ask on the same examples."""

    mean: Interval
    """Over the ways to ask, example by example."""
    worst: Interval
    """Of the way to ask that scored least."""
    change: str
    """What is different there; `original` where that is the prompt as it is."""

    @classmethod
    def of(cls, ways: Sequence[Evaluation], changes: Sequence[str], copies: Sequence[int]) -> VariantScores:
        """Return the scores of a prompt.

        Args:
            ways: the prompt as it is, then each variant, on the same examples.
            changes: what each changes, in their order.
            copies: as in `interval`.
        """
        worst = min(range(len(ways)), key=lambda i: ways[i].mean)
        means = [math.fsum(scores) / len(ways) for scores in zip(*(each.scores for each in ways), strict=True)]
        return cls(interval(means, copies), interval(ways[worst].scores, copies), changes[worst])


@dataclass(frozen=True, slots=True)
class HeldOutScores:
    """Seed and found prompt on the test split, the same examples for both."""

    seed: Interval
    best: Interval
    difference: Difference
    seed_unparsed: int
    """Examples whose completion held no answer, with the seed; they score 0."""
    best_unparsed: int
    """The same with the found prompt."""
    constant: ConstantAnswer | None = None
    """What always giving one answer would score; None where no answer is frequent, and in results of before."""
    seed_variants: VariantScores | None = None
    """Of the seed; None where the objective is the plain score, and of a cross-validated task."""
    best_variants: VariantScores | None = None

    @property
    def is_beaten_by_constant(self) -> bool:
        """True if always giving one answer would score at least as much as the found prompt."""
        return self.constant is not None and self.best.mean <= self.constant.score + _ROUNDING


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What the searches of a cross-validated task found on the rows that each of them never saw."""

    runs: tuple[str, ...]
    """Their ids, one a fold."""
    rows: int
    """Of all folds."""
    better: int
    """Searches that found another prompt than their seed prompt."""
    cut_short: int
    """Searches that a limit ended."""
    seeds: int
    """Different prompts that the searches, the last one aside, took for their seed prompt."""
    tokens_computed: int
    """By all of them, their final evaluations included."""
    test: HeldOutScores
    """Seed and found prompt of each search on its fold, pooled: each row once."""

    @property
    def note(self) -> str:
        """What a reader of the pooled scores should know."""
        searches = f"{len(self.runs)} searches on other rows ({self.tokens_computed:,} tokens; {', '.join(self.runs)})"
        cut = f", {self.cut_short} were cut short" if self.cut_short else ""
        found = f"{self.better} of them found a better prompt than the seed{cut}"
        seeds = f", the seed's score that of {self.seeds} seed prompts, each the best on its dev rows"
        whose = f"the score is that of the procedure{seeds if self.seeds > 1 else ''}"
        return f"cross-validation: {searches}; {found}; {whose}; the prompt is from a search on all {self.rows} rows"


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How far scores move when nothing but the batch composition changes."""

    floor: float
    """Largest change of a prompt's mean dev score on measuring again."""
    changed: int
    """Scores, of single examples, that differed."""
    n: int
    """Scores that were measured again."""


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The prompt that came second, and what would decide between it and the winner."""

    prompt: Prompt
    op: str
    """How it came about."""
    dev: Interval
    """Its score on the dev examples that it was given."""
    difference: Difference
    """From the winner, on all examples that both were given: positive where it scored more."""
    n_unseen: int
    """How many of these are train examples that the search did not use; the others are dev."""
    decided_by: int | None
    """Examples in all with which the same difference would be 1.96 standard errors; None where there is none."""

    @property
    def is_decided(self) -> bool:
        """True if the interval of the difference leaves out 0."""
        return not self.difference.low <= 0 <= self.difference.high


def is_significant(difference: Difference, noise: float) -> bool:
    """Return whether neither chance nor a noise floor of `noise` explains a difference of mean scores."""
    return difference.p < ALPHA and abs(difference.mean) > noise + _ROUNDING


@dataclass(frozen=True, slots=True)
class FrontPrompt:
    """A prompt that no other of a search beats in both score and length."""

    prompt: Prompt
    mean: float
    """On all of dev."""
    tokens: int
    """As the model reads it, with its examples, for an empty input."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run found, how sure that is, and what it cost."""

    run_id: str
    """12 hexadecimal digits; the same history of a store gives the same ids."""
    status: Literal["finished", "paused"]
    """paused: the minutes were over, or a replay came to the end of the answers; `resume` goes on."""
    task: str
    model: str
    proposer: str
    method: str
    seed: int
    seed_prompt: Prompt
    """The best of the task's seed prompts on dev: what the found prompt has to beat."""
    best: Prompt
    op: str
    """How the best prompt came about."""
    dev: Interval | None
    """Of the best prompt: chosen among many, so optimistic. None where the budget ended before any was scored."""
    test: HeldOutScores | None
    """Of a cross-validated task pooled over the folds. None only in the replay of a run that did not get there."""
    noise: NoiseFloor | None
    """None where nothing was compared."""
    spend: Spend
    """Of the search."""
    expected: Estimate | None
    """What the search was expected to cost before it began; None where that was not estimated."""
    discards: Mapping[str, int]
    """Reason to number of proposals that were not used, most frequent first."""
    stopped: str
    """Why the search ended before its end; empty where it did not."""
    notes: tuple[str, ...]
    """What a reader of the numbers should know."""
    final_evaluation: Spend = field(default_factory=Spend, metadata={"key": "proof"})
    """Of what came after the search: noise, unseen rows for the choice, test; no limit ends that."""
    failed: int = 0
    """Requests of search and test that killed the engine; they count as unanswered."""
    runner_up: RunnerUp | None = None
    """None where no other prompt was compared, and in results of before this was kept."""
    trajectory: tuple[Incumbent, ...] = ()
    """The best prompt so far, each time it changed; empty for runs of before this was kept."""
    turns: tuple[Turn, ...] = ()
    """What each turn of an operator cost and gained, in order; empty for methods that do not choose among operators."""
    objective: Objective = "score"
    """What the search maximised, and `dev`, `runner_up` and `front` are of: the score of a prompt as it is, or with its
    variants. `test` and `noise` are of prompts as they are."""
    refused: tuple[int, ...] = ()
    """Calls of the search, by their numbers from 1 on, that would not have ended before the deadline."""
    front: tuple[FrontPrompt, ...] = ()
    """What each length of prompt buys, the shortest first; empty for runs of before this was kept."""
    store: Path | None = field(default=None, compare=False, repr=False, metadata={"key": None})
    """That has the run; no part of the JSON. None in a result that was read from JSON alone."""

    @property
    def found_better(self) -> bool:
        """True if the winner is not the seed prompt itself."""
        return self.best.id != self.seed_prompt.id

    @property
    def verdict(self) -> str:
        """One of seven sentences about the difference on test.

        One that noise alone may make is not significant, and a gain to a score that one answer to everything would have
        is no improvement.
        """
        if self.dev is None:
            return "nothing was compared"
        if not self.found_better:
            return "no better prompt found"
        if self.test is None:
            return "not measured on test"
        difference = self.test.difference
        if not is_significant(difference, self.noise.floor if self.noise else 0.0):
            return "no significant difference"
        if difference.mean < 0:
            return "significantly worse"
        return "no better than one constant answer" if self.test.is_beaten_by_constant else "significant improvement"

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """The prompts of the search as flat rows, for `pandas.DataFrame`, in the order in which they were found.

        `prompt_id`, `instruction`, `demos` (how many), `op`, `parents` (ids with blanks between), `mean` and `n` on
        dev, and `tokens` and `seconds` of the search when it was first measured. None where something is not known.

        Raises:
            StoreError: if the result does not know its store, or the run is not there any more, or damaged.
        """
        with self._opened() as store:
            return candidate_rows(store, self.run_id)

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """A flat row for each prompt and example that this run measured together, once; those on test last.

        `prompt_id`, `example_id`, `split`, `prediction`, `score`, `margin` in nats between labels, `failed`, and the
        `completion` as the model wrote it. Of a cross-validated task test is measured by the other runs. Where the
        objective is not `score`, scores and margins of train and dev are of it, and prediction and completion those of
        the worst way to ask; test is of prompts as they are.

        Raises:
            StoreError: as `candidates`.
        """
        with self._opened() as store:
            return outcome_rows(store, self.run_id)

    def report(self, out: str | os.PathLike[str] | None = None) -> Path:
        """Return the path of an HTML file that shows the run, as `localprompt.report` writes it.

        Args:
            out: the file, which is replaced if it is there; None: `localprompt-ID.html` in the working folder.

        Raises:
            StoreError: as `candidates`, or if the file cannot be written.
        """
        with self._opened() as store:  # by name, as users find it: reports stand above runs
            path: Path = import_module("localprompt").report(self.run_id, out=out, store=store)
        return path

    def _opened(self) -> Store:
        if self.store is None:
            hint = "localprompt.resume(run_id, store=...) returns that of a finished run"
            raise StoreError(f"the result of the run {self.run_id} does not know its store", hint)
        return Store(self.store, create=False)

    def _repr_html_(self) -> str:
        """Return a card for notebooks: verdict, prompts, scores with intervals."""
        title = "Found prompt" if self.found_better else "Seed prompt, which stays"
        prompts = [(title, self.best), *([("Seed prompt", self.seed_prompt)] if self.found_better else [])]
        facts = [("run", f"{self.run_id}: {self.task}, {self.method}, seed {self.seed}, {self.model}")]
        if (test := self.test) is not None:
            scores = [("seed on test", test.seed), ("found on test", test.best)]
            facts += [(name, _score_text(each)) for name, each in scores[: 1 + self.found_better]]
            if self.found_better:
                difference = f"{_score_text(test.difference, '+')}, paired, {p_text(test.difference.p)}"
                facts.append(("difference", difference))
        if self.stopped:
            facts.append(("stopped", self.stopped))
        return card(self.verdict, prompts, facts)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        found: dict[str, Any] = plain(self)
        dev = found.pop("dev") or {"mean": None, "n": 0}
        found["best"] = {"prompt": found["best"], "op": found.pop("op"), "dev": dev}
        if test := found["test"]:
            for which in _PROMPTS:
                test[which]["unparsed"] = test.pop(f"{which}_unparsed")
        return {**found, "verdict": self.verdict, "operators": plain(OperatorTotal.of(self.turns))}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], store: Path | None = None) -> RunResult:
        """Return the result that `to_json` made plain, of a run in a store.

        Raises:
            StoreError: if the data is not of that shape.
        """
        try:
            found = {key: stored[key] for key in kept(cls) if key in stored}
            best: Mapping[str, Any] = read(Mapping[str, Any], found.get("best"), "best")
            dev: Mapping[str, Any] = read(Mapping[str, Any], best.get("dev"), "best.dev")
            found |= {"best": best.get("prompt"), "op": best.get("op"), "dev": dev if dev.get("n") else None}
            if found.get("test") is not None:
                found["test"] = _flat_test(found["test"])
            result: RunResult = read(cls, found)
            spent = [each.tokens_requested for each in result.trajectory]
            if spent != sorted(spent):
                raise ValueError("a search spends more and more")
        except ValueError as error:
            raise StoreError(
                f"the result of the run is damaged ({str(error)[:_SHOWN]})",
                "`localprompt runs check`, with the --store of the run, says more",
            ) from error
        return replace(result, store=store and store.absolute())


@dataclass(frozen=True, slots=True)
class EvaluationResult(PlainRecord):
    """One prompt on one split."""

    task: str
    model: str
    prompt: Prompt
    split: Split
    score: Interval
    unparsed: int
    """Examples whose completion held no answer; they score 0."""
    failed: int
    """Requests that killed the engine; they count as unanswered."""
    spend: Spend
    outcomes: tuple[Outcome, ...] = ()
    """Of each example, in the order of the split."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know."""


def is_cut(record: RunRecord, test: Sequence[object]) -> bool:
    """Return whether a run has a result, but a deadline ended its search or left some of its test examples out.

    Raises:
        StoreError: if the result is damaged.
    """
    if record.result is None:
        return False
    result = RunResult.from_json(record.result)
    return bool(result.refused) or result.test is None or result.test.best.n < len(test)


def constant_note(constant: ConstantAnswer | None, score: Interval, whose: str, split: Split) -> tuple[str, ...]:
    """Return a sentence where always giving one answer would score at least as much as a prompt, else nothing."""
    if constant is None or score.mean > constant.score + _ROUNDING:
        return ()
    text = f"always answering {constant.answer!r} would score {score_text(constant.score)} on {split}"
    return (f"{text}, {whose} scores {score_text(score.mean)}",)


def _score_text(found: Interval | Difference, sign: str = "") -> str:
    mean, low, high = (score_text(each, sign=sign) for each in (found.mean, found.low, found.high))
    return f"{mean} (95 % interval {low} to {high}, {found.n} examples)"


def _flat_test(stored: Any) -> dict[str, Any]:
    """Return what `HeldOutScores` is read from: the unparsed completions stand beside the scores."""
    test = dict(read(Mapping[str, Any], stored, "test"))
    for which in _PROMPTS:
        test[which] = dict(read(Mapping[str, Any], test.get(which), f"test.{which}"))
        test[f"{which}_unparsed"] = test[which].pop("unparsed", None)
    return test
