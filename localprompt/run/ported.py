"""What a prompt lost with another model and a new search won back, as a record and as JSON. Level 7."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from localprompt.errors import StoreError
from localprompt.interface.rounding import score_text
from localprompt.search.observer import pluralize
from localprompt.stats.intervals import ALPHA, Difference, Interval
from localprompt.store.plain import plain, read
from localprompt.types import Prompt

_IMPROVED = "significant improvement"
_NOTHING = "nothing was compared"


@dataclass(frozen=True, slots=True)
class PortedPrompt:
    """A prompt and its scores; on test the old run may have had fewer examples, as its minutes allowed."""

    prompt: Prompt
    new_dev: Interval | None
    """With the new model; None where a budget left nothing."""
    new_test: Interval
    """With the new model."""
    old_dev: Interval | None = None
    """With the old model; None for a prompt that it never had."""
    old_test: Interval | None = None


@dataclass(frozen=True, slots=True)
class Port:
    """What a found prompt loses with another model, what a new search won back, and what that cost."""

    id: str = field(metadata={"key": "port"})
    """12 hexadecimal digits; of the study in the store."""
    old_run_id: str
    run_id: str
    """Of the new search."""
    task: str
    old_model: str
    model: str
    """The new one."""
    method: str
    old_seed: PortedPrompt
    """The seed prompt of the old run."""
    old_best: PortedPrompt
    """The prompt that the old run found."""
    new_best: PortedPrompt
    """The prompt that the new search found; the old one where nothing is better."""
    swap: Difference
    """Of the old winner on test: from the old model to the new one."""
    kept: Difference
    """On test with the new model, from the old seed to the old winner: what is left of the old gain."""
    gain: Difference
    """On test with the new model, from the old winner to the new one. Its mean, negated, is the gap."""
    regret: float | None
    """1 - score of the old winner / score of the new one, on test with the new model; None where that is 0."""
    verdict: str
    """On `gain`, in the words of `RunResult.verdict`."""
    tokens_computed: int
    """By the new search, noise, choice and test included."""
    seconds: float
    """Of model calls, of the search over all its sessions; in results of before, of the last one alone."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know."""
    objective: str = "score"
    """What dev scores are: other than `score`, of a prompt and its variants together; test scores are plain."""

    @property
    def is_worth_it(self) -> bool:
        """True if the new search found a prompt that is better on test by more than chance and noise explain."""
        return self.verdict == _IMPROVED

    @property
    def conclusion(self) -> str:
        """One sentence: what the swap lost, what the search won back, what it cost, whether it was worth it."""
        time = f"{self.seconds / 60:.1f} minutes" if self.seconds >= 60 else pluralize(round(self.seconds), "second")
        took = f"for {self.tokens_computed:,} tokens and {time}"
        worth = "it was worth it" if self.is_worth_it else "it was not worth it: keep the old prompt"
        if self.verdict == _NOTHING:
            worth = "a higher limit may tell whether it is worth it"
        return f"{self._lost}; {self._won_back} {took}; {worth}"

    @property
    def _lost(self) -> str:
        swap, before, now = self.swap, self.old_best.old_test, self.old_best.new_test
        assert before is not None
        by = f"({score_text(before.mean)} to {score_text(now.mean)})"
        if before.n != now.n:
            by = f"on the {swap.n} test rows that both models were measured on"
        if swap.p >= ALPHA:
            return f"on test the swap to {self.model} shows no difference for the old prompt {by}"
        what = "lost" if swap.mean < 0 else "gained"
        return f"on test the swap to {self.model} {what} {score_text(abs(swap.mean))} for the old prompt {by}"

    @property
    def _won_back(self) -> str:
        gain = self.gain
        by = f"({score_text(self.old_best.new_test.mean)} to {score_text(self.new_best.new_test.mean)})"
        is_loss = self.swap.p < ALPHA and self.swap.mean < 0
        return {
            _NOTHING: "the new search was over before it compared any prompts,",
            _IMPROVED: f"the new search {'won back' if is_loss else 'gained'} {score_text(gain.mean)} {by}",
            "no significant difference": f"the prompt of the new search shows no difference {by}",
            "significantly worse": f"the prompt of the new search is worse by {score_text(abs(gain.mean))} {by}",
            "no better than one constant answer": f"the new search gained {score_text(gain.mean)} {by}, no more than "
            "one answer to everything would score,",
        }.get(self.verdict, "the new search found no better prompt than the old one")

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {**plain(self), "conclusion": self.conclusion}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Port:
        """Return the result that `to_json` made plain.

        Raises:
            StoreError: if the data is not of that shape.
        """
        try:
            port: Port = read(cls, {name: value for name, value in stored.items() if name != "conclusion"})
        except ValueError as error:
            raise StoreError(f"the result of the port is damaged ({error})", "delete its run and port again") from error
        return port
