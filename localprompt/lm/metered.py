"""A language model whose calls are charged to a budget. Level 3."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.cached import CachedLM
from localprompt.types import Generation, Loglikelihood, Sampling, Spend


class MeteredLM:
    """The two spending methods of a language model, each charged before it computes anything.

    The worst case is reserved (every completion as long as it may get) and the truth, read from the model's own
    statistics, is entered afterwards. With a `CachedLM` the minutes are checked before each chunk that is computed, and
    answers that are known are given at any time. Of a call that ends between two chunks only what was answered is
    charged.
    """

    def __init__(self, lm: LanguageModel, budget: Budget) -> None:
        self.lm = lm
        self._budget = budget

    @property
    def is_limited(self) -> bool:
        """True if the budget limits tokens or calls."""
        return self._budget.is_limited

    @property
    def spend(self) -> Spend:
        """What the whole budget has spent, by whichever model."""
        return self._budget.spend

    def loglikelihood(self, pairs: Sequence[tuple[str, str]], *, calls: int) -> list[Loglikelihood]:
        """Return how probable each continuation is, same order and length as `pairs`, counted as `calls` calls.

        Raises:
            BudgetExhausted: before anything is computed; for lack of time also between chunks.
        """
        with self._charged([context + continuation for context, continuation in pairs], 0, calls):
            return self.lm.loglikelihood(pairs)

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return one completion per prompt, each counted as one call.

        Raises:
            BudgetExhausted: before anything is computed; for lack of time also between chunks.
        """
        with self._charged(prompts, sampling.max_tokens, len(prompts)):
            return self.lm.generate(prompts, sampling, seeds)

    @contextmanager
    def _charged(self, texts: Sequence[str], max_tokens: int, calls: int) -> Iterator[None]:
        # Tokenising everything twice is only worth its time where tokens are limited.
        tokens = sum(n + max_tokens for n in self.lm.count_tokens(texts)) if self._budget.counts_tokens else 0
        if not isinstance(self.lm, CachedLM):
            self._budget.check_time()
        self._budget.reserve(calls=calls, tokens=tokens)
        before, (given_before, known_before) = self.lm.stats, self._answers
        try:
            with self._timed():
                yield
        finally:
            after, (given, known) = self.lm.stats, self._answers
            answers = given - given_before if isinstance(self.lm, CachedLM) else len(texts)
            made = math.ceil(calls * answers / max(1, len(texts)))
            self._budget.settle(
                tokens_requested=after.tokens_requested - before.tokens_requested,
                tokens_decoded=after.tokens_decoded - before.tokens_decoded,
                answers=answers,
                answers_cached=known - known_before,
                calls_not_made=calls - made,
            )

    @property
    def _answers(self) -> tuple[int, int]:
        """How many answers a `CachedLM` has given, and how many of them were known."""
        return (self.lm.answers_given, self.lm.answers_cached) if isinstance(self.lm, CachedLM) else (0, 0)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Have a `CachedLM` check the minutes before each chunk."""
        if not isinstance(self.lm, CachedLM):
            yield
            return
        before, self.lm.between = self.lm.between, self._budget.check_time
        try:
            yield
        finally:
            self.lm.between = before
