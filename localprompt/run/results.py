"""What a run or an evaluation found, as records and as JSON. Level 7."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar, get_type_hints

from localprompt.errors import StoreError
from localprompt.interface.rounding import score_text
from localprompt.run.estimate import Estimate
from localprompt.stats.intervals import Difference, Interval
from localprompt.store.records import item, list_of, object_of, plain_prompt, read_prompt, read_texts, text_of
from localprompt.tasks.constant import ConstantAnswer
from localprompt.types import Incumbent, Outcome, Prompt, Spend

Split = Literal["train", "dev", "test"]
_SIGNIFICANT = 0.05
_ROUNDING = 1e-9
_LARGEST = 10**18
_Numbers = TypeVar("_Numbers")


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

    @property
    def is_beaten_by_constant(self) -> bool:
        """True if always giving one answer would score at least as much as the found prompt."""
        return self.constant is not None and self.best.mean <= self.constant.score + _ROUNDING


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How far scores move when nothing but the batch composition changes."""

    floor: float
    """Largest change of a prompt's mean dev score on measuring again."""
    changed: int
    """Scores, of single examples, that differed."""
    n: int
    """Scores that were measured again."""


def is_significant(difference: Difference, noise: float) -> bool:
    """Return whether neither chance nor a noise floor of `noise` explains a difference of mean scores."""
    return difference.p < _SIGNIFICANT and abs(difference.mean) > noise + _ROUNDING


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
    """None only in the replay of a run that did not get there."""
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
    proof: Spend = field(default_factory=Spend)
    """Of what came after the search, measuring noise and test; no limit ends that."""
    failed: int = 0
    """Requests of search and test that killed the engine; they count as unanswered."""
    trajectory: tuple[Incumbent, ...] = ()
    """The best prompt so far, each time it changed; empty for runs of before this was kept."""

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

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {
            "run_id": self.run_id,
            "status": self.status,
            "task": self.task,
            "model": self.model,
            "proposer": self.proposer,
            "method": self.method,
            "seed": self.seed,
            "seed_prompt": plain_prompt(self.seed_prompt),
            "best": {
                "prompt": plain_prompt(self.best),
                "op": self.op,
                "dev": asdict(self.dev) if self.dev else {"mean": None, "n": 0},
            },
            "test": None if self.test is None else _plain_test(self.test),
            "noise": None if self.noise is None else asdict(self.noise),
            "spend": asdict(self.spend),
            "proof": asdict(self.proof),
            "failed": self.failed,
            "expected": None if self.expected is None else asdict(self.expected),
            "discards": dict(self.discards),
            "stopped": self.stopped,
            "verdict": self.verdict,
            "notes": list(self.notes),
            "trajectory": [asdict(each) for each in self.trajectory],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> RunResult:
        """Return the result that `to_json` made plain.

        Raises:
            StoreError: if the data is not of that shape.
        """
        try:
            best, test, noise, expected = (item(plain, name) for name in ("best", "test", "noise", "expected"))
            dev, status = item(best, "dev"), item(plain, "status")
            if status not in ("finished", "paused"):
                raise ValueError(f"{status!r} is no status of a result")
            texts = ("run_id", "task", "model", "proposer", "method", "stopped")
            return cls(
                **{name: text_of(item(plain, name)) for name in texts},
                status=status,
                seed=_whole(item(plain, "seed")),
                seed_prompt=read_prompt(item(plain, "seed_prompt")),
                best=read_prompt(item(best, "prompt")),
                op=text_of(item(best, "op")),
                dev=_numbers(Interval, dev) if item(dev, "n") else None,
                test=None if test is None else _read_test(test),
                noise=None if noise is None else _numbers(NoiseFloor, noise),
                spend=_numbers(Spend, item(plain, "spend")),
                # Results of before have neither of the two, and no trajectory.
                proof=_numbers(Spend, plain.get("proof", {})),
                failed=_whole(plain.get("failed", 0)),
                expected=None if expected is None else _numbers(Estimate, expected),
                discards={text_of(reason): _whole(n) for reason, n in object_of(item(plain, "discards")).items()},
                notes=read_texts(item(plain, "notes")),
                trajectory=_read_trajectory(plain.get("trajectory", [])),
            )
        except (TypeError, ValueError, OverflowError) as error:
            said = str(error)[:200]
            raise StoreError(
                f"the result of the run is damaged ({said})",
                "`localprompt runs check`, with the --store of the run, says more",
            ) from error


@dataclass(frozen=True, slots=True)
class EvaluationResult:
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

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {
            "task": self.task,
            "model": self.model,
            "prompt": plain_prompt(self.prompt),
            "split": self.split,
            "score": asdict(self.score),
            "unparsed": self.unparsed,
            "failed": self.failed,
            "spend": asdict(self.spend),
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "notes": list(self.notes),
        }


def constant_note(constant: ConstantAnswer | None, score: Interval, whose: str, split: Split) -> tuple[str, ...]:
    """Return a sentence where always giving one answer would score at least as much as a prompt, else nothing."""
    if constant is None or score.mean > constant.score + _ROUNDING:
        return ()
    text = f"always answering {constant.answer!r} would score {score_text(constant.score)} on {split}"
    return (f"{text}, {whose} scores {score_text(score.mean)}",)


def _plain_test(test: HeldOutScores) -> dict[str, Any]:
    return {
        "seed": {**asdict(test.seed), "unparsed": test.seed_unparsed},
        "best": {**asdict(test.best), "unparsed": test.best_unparsed},
        "difference": asdict(test.difference),
        "constant": None if test.constant is None else asdict(test.constant),
    }


def _read_test(plain: Any) -> HeldOutScores:
    seed, best = dict(object_of(item(plain, "seed"))), dict(object_of(item(plain, "best")))
    seed_unparsed, best_unparsed = _whole(seed.pop("unparsed", None)), _whole(best.pop("unparsed", None))
    difference = _numbers(Difference, item(plain, "difference"))
    constant = object_of(plain).get("constant")
    if constant is not None:
        score = _number(item(constant, "score"), float)
        constant = ConstantAnswer(text_of(item(constant, "answer")), float(score or 0))
    seed_and_best = _numbers(Interval, seed), _numbers(Interval, best)
    return HeldOutScores(*seed_and_best, difference, seed_unparsed, best_unparsed, constant)


def _numbers(kind: type[_Numbers], plain: Any) -> _Numbers:
    """Return a record of numbers, each checked: a result can come from anywhere.

    Raises:
        TypeError, ValueError: if the data is not of that shape.
    """
    wanted = get_type_hints(kind)
    values = {name: _number(value, wanted.get(name)) for name, value in object_of(plain).items()}
    return kind(**values)


def _read_trajectory(plain: Any) -> tuple[Incumbent, ...]:
    found = tuple(_read_incumbent(each) for each in list_of(plain))
    if any(after.tokens_requested < before.tokens_requested for before, after in itertools.pairwise(found)):
        raise ValueError("a search spends more and more")
    return found


def _read_incumbent(plain: Any) -> Incumbent:
    tokens, n = _whole(item(plain, "tokens_requested")), _whole(item(plain, "n"))
    mean = _number(item(plain, "mean"), float)
    if mean is None:
        raise ValueError("a number was expected")
    return Incumbent(tokens, text_of(item(plain, "prompt_id")), mean, n)


def _number(value: Any, wanted: Any) -> float | int | None:
    if wanted is int:
        return _whole(value)
    if value is None and wanted == float | None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > _LARGEST:
        raise ValueError("a number was expected")
    return float(value)


def _whole(value: Any) -> int:
    if type(value) is not int or abs(value) > _LARGEST:
        raise ValueError("a whole number was expected")
    return value
