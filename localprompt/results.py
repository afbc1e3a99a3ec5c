"""What a run or an evaluation found, as records and as JSON. Level 6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from localprompt.analysis.stats import Difference, Interval
from localprompt.errors import StoreError
from localprompt.estimating import Estimate
from localprompt.store.records import plain_prompt, read_prompt
from localprompt.types import Prompt, Spend

Split = Literal["train", "dev", "test"]
_SIGNIFICANT = 0.05


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


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How far scores move when nothing but the company of a request in its batch changes."""

    floor: float
    """Largest change of a prompt's mean dev score on measuring again."""
    changed: int
    """Scores, of single examples, that were another one."""
    n: int
    """Scores that were measured again."""


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
    """Of the best prompt: the highest of many, so optimistic. None where the budget ended before any was scored."""
    test: HeldOutScores | None
    """None only in the replay of a run that did not get there."""
    noise: NoiseFloor | None
    """None where nothing was compared."""
    spend: Spend
    """Of the search; measuring noise and test is not counted."""
    expected: Estimate | None
    """What the search was expected to cost before it began; None where that was not estimated."""
    discards: Mapping[str, int]
    """Reason to number of proposals that were not used, most frequent first."""
    stopped: str
    """Why the search ended before its end; empty where it did not."""
    notes: tuple[str, ...]
    """What a reader of the numbers should know."""

    @property
    def found_better(self) -> bool:
        """True if the winner is not the seed prompt itself."""
        return self.best.id != self.seed_prompt.id

    @property
    def verdict(self) -> str:
        """One of six sentences about the difference on test."""
        if self.dev is None:
            return "nothing was compared"
        if not self.found_better:
            return "no better prompt found"
        if self.test is None:
            return "not measured on test"
        difference = self.test.difference
        if difference.p >= _SIGNIFICANT:
            return "no significant difference"
        return "significant improvement" if difference.mean > 0 else "significantly worse"

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
            "expected": None if self.expected is None else asdict(self.expected),
            "discards": dict(self.discards),
            "stopped": self.stopped,
            "verdict": self.verdict,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> RunResult:
        """Return the result that `to_json` made plain.

        Raises:
            StoreError: if the data is not of that shape.
        """
        try:
            best, test, noise, expected = plain["best"], plain["test"], plain["noise"], plain["expected"]
            same = ("run_id", "status", "task", "model", "proposer", "method", "seed", "discards", "stopped")
            return cls(
                **{name: plain[name] for name in same},
                seed_prompt=read_prompt(plain["seed_prompt"]),
                best=read_prompt(best["prompt"]),
                op=best["op"],
                dev=Interval(**best["dev"]) if best["dev"]["n"] else None,
                test=None if test is None else _read_test(test),
                noise=None if noise is None else NoiseFloor(**noise),
                spend=Spend(**plain["spend"]),
                expected=None if expected is None else Estimate(**expected),
                notes=tuple(plain["notes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"the result of the run is damaged ({error!r})", "`localprompt runs check` says more"
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
    spend: Spend

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {
            "task": self.task,
            "model": self.model,
            "prompt": plain_prompt(self.prompt),
            "split": self.split,
            "score": asdict(self.score),
            "unparsed": self.unparsed,
            "spend": asdict(self.spend),
        }


def _plain_test(test: HeldOutScores) -> dict[str, Any]:
    return {
        "seed": {**asdict(test.seed), "unparsed": test.seed_unparsed},
        "best": {**asdict(test.best), "unparsed": test.best_unparsed},
        "difference": asdict(test.difference),
    }


def _read_test(plain: Mapping[str, Any]) -> HeldOutScores:
    seed, best = dict(plain["seed"]), dict(plain["best"])
    seed_unparsed, best_unparsed = seed.pop("unparsed"), best.pop("unparsed")
    return HeldOutScores(
        Interval(**seed), Interval(**best), Difference(**plain["difference"]), seed_unparsed, best_unparsed
    )
