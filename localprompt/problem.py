"""All that an optimiser may touch. Level 4. There is no test split here, by construction."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from localprompt.evaluator import Evaluator, Norm
from localprompt.lm.metered import MeteredLM
from localprompt.tasks import Task
from localprompt.types import Candidate, Evaluation, Example, Generation, Message, Prompt, Proposal, Sampling, Spend


class Observer(Protocol):
    """Who wants to know how a run goes. Called between and, for `progress`, during model calls; must return soon."""

    def stage(self, text: str) -> None:
        """What the run does now."""

    def plan(self, calls: int) -> None:
        """About how many model calls the whole search will make."""

    def progress(self, done: int, total: int) -> None:
        """How far the running model call is, in requests."""

    def best(self, prompt: Prompt, mean: float, n: int) -> None:
        """A new best prompt so far, with its mean score on `n` dev examples."""

    def spend(self, spend: Spend) -> None:
        """What the search has spent so far."""

    def note(self, text: str) -> None:
        """Something worth reading that is not an error."""


class SilentObserver:
    """An observer that does nothing."""

    def stage(self, text: str) -> None:
        """Ignore it."""

    def plan(self, calls: int) -> None:
        """Ignore it."""

    def progress(self, done: int, total: int) -> None:
        """Ignore it."""

    def best(self, prompt: Prompt, mean: float, n: int) -> None:
        """Ignore it."""

    def spend(self, spend: Spend) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A prompt and all that is known of it on dev."""

    candidate: Candidate
    evaluation: Evaluation | None
    """None where the budget ended before any prompt was scored."""


class Problem:
    """A task as its optimiser sees it: train and dev examples, a model that answers, a model that writes, and chance.

    Every score, discard and lineage that passes through is kept, so that an optimiser returns nothing and a run cut
    short has its results.

    Args:
        task: only description, labels, inputs, seeds, train and dev are taken from it.
        evaluator: the task LM.
        proposer: writes prompts, charged to the same budget as the evaluator.
        rng: the only source of chance.
        observer: told what happens.
    """

    def __init__(
        self,
        task: Task,
        evaluator: Evaluator,
        proposer: MeteredLM,
        *,
        rng: random.Random,
        observer: Observer | None = None,
    ) -> None:
        self.description = task.description
        self.labels = task.labels
        self.inputs = task.inputs
        self.seeds = task.seeds
        self.train = task.train
        self.dev = task.dev
        self.rng = rng
        self.observer: Observer = observer or SilentObserver()
        self.discards: Counter[str] = Counter()
        """Reason to number of proposals not used."""
        self._evaluator = evaluator
        self._proposer = proposer
        self._dev_ids = {example.id for example in task.dev}
        self._known: dict[str, Evaluation] = {}
        """Prompt id to the evaluation on the most dev examples so far."""
        self._candidates: dict[str, Candidate] = {}
        self._announced: tuple[str, int] | None = None
        self.record([Candidate(prompt, "seed") for prompt in task.seeds])

    @property
    def has_chat(self) -> bool:
        """True if the proposer has a chat template."""
        return self._proposer.lm.has_chat

    @property
    def has_fim(self) -> bool:
        """True if the proposer's vocabulary has fill-in-the-middle tokens."""
        return self._proposer.lm.has_fim

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All prompts recorded or scored, in order of appearance."""
        return tuple(self._candidates.values())

    def evaluate(self, prompts: Sequence[Prompt], examples: Sequence[Example] | None = None) -> list[Evaluation]:
        """Return the task's metric on `examples` (all of dev by default), same order and length as `prompts`.

        Raises:
            BudgetExhausted: before anything is computed.
        """
        evaluations = self._evaluator.evaluate(prompts, self.dev if examples is None else examples)
        for evaluation in evaluations:
            self._keep(evaluation)
        self._announce()
        return evaluations

    def likelihood(
        self, prompts: Sequence[Prompt], examples: Sequence[Example] | None = None, *, norm: Norm = "token"
    ) -> list[Evaluation]:
        """Return log p(preferred target) in nats on `examples` (all of dev by default), in the order of `prompts`.

        Raises:
            BudgetExhausted: before anything is computed.
        """
        evaluations = self._evaluator.likelihood(prompts, self.dev if examples is None else examples, norm=norm)
        self.observer.spend(self._proposer.spend)
        return evaluations

    def complete(self, prompts: Sequence[str], sampling: Sampling, *, n: int = 1) -> list[list[Generation]]:
        """Return `n` completions of each prompt by the proposer, same order and length as `prompts`.

        Each completion has its own seed, drawn from `rng`. A text cut at `max_tokens` has finish reason `length`.

        Raises:
            BudgetExhausted: before anything is computed.
        """
        repeated = [prompt for prompt in prompts for _ in range(n)]
        seeds = [self.rng.getrandbits(31) for _ in repeated]
        flat = self._proposer.generate(repeated, sampling, seeds)
        self.observer.spend(self._proposer.spend)
        return [flat[start : start + n] for start in range(0, len(flat), n)]

    def chat(self, messages: Sequence[Message], opening: str = "") -> str:
        """Return a chat as a prompt for `complete`, up to and including the opening of the answer.

        Raises:
            ModelError: if the proposer has no chat template.
        """
        return self._proposer.lm.chat(messages, opening)

    def fim(self, prefix: str, suffix: str) -> str:
        """Return a prompt for `complete` whose completion stands between `prefix` and `suffix`.

        Raises:
            ModelError: if the proposer has no fill-in-the-middle tokens.
        """
        return self._proposer.lm.fim(prefix, suffix)

    def minibatch(self, size: int) -> tuple[Example, ...]:
        """Return `size` different train examples, or all of them, shuffled, where there are fewer."""
        return tuple(self.rng.sample(self.train, min(size, len(self.train))))

    def record(self, candidates: Sequence[Candidate]) -> None:
        """Remember where prompts come from; the first origin of a prompt stays."""
        for candidate in candidates:
            self._candidates.setdefault(candidate.prompt.id, candidate)

    def discard(self, proposal: Proposal) -> None:
        """Count what a proposal had to leave out."""
        self.discards.update(each.reason for each in proposal.discarded)

    def winner(self) -> Standing:
        """Return the best prompt on dev: highest mean, then shorter, then earlier.

        Only prompts scored on the most dev examples take part, all of dev once a search got that far, so the comparison
        is paired.
        """
        return self._first(tuple(self._candidates))

    def best_seed(self) -> Standing:
        """Return the best of the seed prompts by the same rule."""
        return self._first(tuple(prompt.id for prompt in self.seeds))

    def _first(self, ids: Sequence[str]) -> Standing:
        known = [self._known[prompt_id] for prompt_id in ids if prompt_id in self._known]
        if not known:
            return Standing(self._candidates[ids[0]], None)
        most = max(len(each.outcomes) for each in known)
        finalists = [each for each in known if len(each.outcomes) == most]
        # `min` returns the first of equals: the earlier one.
        best = min(finalists, key=lambda each: (-each.mean, size(each.prompt)))
        return Standing(self._candidates[best.prompt.id], best)

    def _keep(self, evaluation: Evaluation) -> None:
        """Remember an evaluation on dev if it covers more of dev than the one known."""
        prompt = evaluation.prompt
        self.record([Candidate(prompt, "evaluated")])
        if any(outcome.example_id not in self._dev_ids for outcome in evaluation.outcomes):
            return
        known = self._known.get(prompt.id)
        if known is None or len(known.outcomes) < len(evaluation.outcomes):
            self._known[prompt.id] = evaluation

    def _announce(self) -> None:
        self.observer.spend(self._proposer.spend)
        evaluation = self.winner().evaluation
        if evaluation is None or (evaluation.prompt.id, len(evaluation.outcomes)) == self._announced:
            return
        self._announced = evaluation.prompt.id, len(evaluation.outcomes)
        self.observer.best(evaluation.prompt, evaluation.mean, len(evaluation.outcomes))


def size(prompt: Prompt) -> int:
    """Return a prompt's length in characters, its demos included."""
    demos = sum(len(demo.output) + sum(map(len, demo.inputs.values())) for demo in prompt.demos)
    return len(prompt.instruction) + demos
