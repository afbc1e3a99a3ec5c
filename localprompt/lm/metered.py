"""A language model whose calls are charged to a budget. Level 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.cached import CachedLM
from localprompt.types import Generation, Loglikelihood, Sampling, Spend


class _Uncached:
    """A model without a store before it, asked as a `CachedLM` is: it computes everything, in one piece."""

    answers_cached = 0

    def __init__(self, lm: LanguageModel) -> None:
        self.answers_given = 0
        self._lm = lm

    def loglikelihood(self, pairs: Sequence[tuple[str, str]], before_chunk: Callable[[], None]) -> list[Loglikelihood]:
        before_chunk()
        self.answers_given += len(pairs)
        return self._lm.loglikelihood(pairs)

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int], before_chunk: Callable[[], None]
    ) -> list[Generation]:
        before_chunk()
        self.answers_given += len(prompts)
        return self._lm.generate(prompts, sampling, seeds)


class MeteredLM:
    """The two spending methods of a language model, each charged before it computes anything.

    The worst case is reserved (every completion as long as it may get) and the truth, read from the model's own
    statistics, is entered afterwards. With a `CachedLM` the minutes are checked before each chunk that is computed, and
    answers that are known are given at any time. Of a call that ends between two chunks only what was answered is
    charged.
    """

    def __init__(self, lm: LanguageModel, budget: Budget) -> None:
        self.lm = lm
        self._asked = lm if isinstance(lm, CachedLM) else _Uncached(lm)
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
            return self._asked.loglikelihood(pairs, self._budget.check_time)

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return one completion per prompt, each counted as one call.

        Raises:
            BudgetExhausted: before anything is computed; for lack of time also between chunks.
        """
        with self._charged(prompts, sampling.max_tokens, len(prompts)):
            return self._asked.generate(prompts, sampling, seeds, self._budget.check_time)

    @contextmanager
    def _charged(self, texts: Sequence[str], max_tokens: int, calls: int) -> Iterator[None]:
        # Tokenising everything twice is only worth its time where tokens are limited.
        tokens = sum(n + max_tokens for n in self.lm.count_tokens(texts)) if self._budget.counts_tokens else 0
        self._budget.reserve(calls=calls, tokens=tokens)
        before, given, cached = self.lm.stats, self._asked.answers_given, self._asked.answers_cached
        try:
            yield
        finally:
            after, answers = self.lm.stats, self._asked.answers_given - given
            cost = Spend(
                tokens_requested=after.tokens_requested - before.tokens_requested,
                tokens_decoded=after.tokens_decoded - before.tokens_decoded,
                calls=math.ceil(calls * answers / max(1, len(texts))) - calls,
                answers=answers,
                answers_cached=self._asked.answers_cached - cached,
            )
            self._budget.settle(cost)
