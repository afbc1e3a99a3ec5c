"""A language model whose calls are charged to a budget. Level 3."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from localprompt.engine.process import RequestsDied
from localprompt.errors import OutOfAnswers
from localprompt.lm.base import LanguageModel, unique_tokens
from localprompt.lm.budget import Budget
from localprompt.lm.cached import BeforeChunk, CachedLM
from localprompt.lm.deadline import Work
from localprompt.types import Generation, Loglikelihood, Sampling, Spend

_Answer = TypeVar("_Answer", Loglikelihood, Generation)


class _Uncached:
    """A model without a store before it, asked as a `CachedLM` is: it computes everything, in one piece."""

    answers_cached = 0

    def __init__(self, lm: LanguageModel) -> None:
        self.answers_given = 0
        self._lm = lm

    def unique_tokens(self, texts: Sequence[str]) -> int:
        return unique_tokens(self._lm, texts)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]], before_chunk: BeforeChunk) -> list[Loglikelihood]:
        before_chunk([context + continuation for context, continuation in pairs])
        self.answers_given += len(pairs)
        return self._lm.loglikelihood(pairs)

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int], before_chunk: BeforeChunk
    ) -> list[Generation]:
        before_chunk(prompts)
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
        texts = [context + continuation for context, continuation in pairs]
        return self._charged(texts, 0, calls, lambda before: self._asked.loglikelihood(pairs, before))

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return one completion per prompt, each counted as one call.

        Raises:
            BudgetExhausted: before anything is computed; for lack of time also between chunks.
        """
        return self._charged(
            prompts,
            sampling.max_tokens,
            len(prompts),
            lambda before: self._asked.generate(prompts, sampling, seeds, before),
        )

    def _charged(
        self, texts: Sequence[str], max_tokens: int, calls: int, ask: Callable[[BeforeChunk], list[_Answer]]
    ) -> list[_Answer]:
        """Return the answers to `texts`, of which each may draw `max_tokens`."""
        n, budget, asked = len(texts), self._budget, self._asked
        unique = _alive(asked.unique_tokens, texts)
        # The store has these counts: a replay of a run whose limit was on requested tokens asks for them.
        requested = sum(self.lm.count_tokens(texts)) + n * max_tokens if budget.counts_requested else 0
        budget.reserve(calls=calls, tokens=unique + n * max_tokens, requested=requested)
        before, given, cached = self.lm.stats, asked.answers_given, asked.answers_cached
        began, answers = time.monotonic(), list[_Answer]()

        def check_time(missing: Sequence[str]) -> None:
            budget.check_time(lambda: Work(_alive(partial(unique_tokens, self.lm), missing), len(missing) * max_tokens))

        try:
            answers = ask(check_time)
        finally:
            after, n_given = self.lm.stats, asked.answers_given - given
            share = n_given / max(1, n)
            drawn = sum(each.n_tokens for each in answers if isinstance(each, Generation))
            if budget.deadline is not None and answers and asked.answers_cached == cached:
                budget.deadline.learn(unique, drawn, n * max_tokens, time.monotonic() - began)
            budget.settle(
                Spend(
                    tokens_requested=after.tokens_requested - before.tokens_requested,
                    tokens_decoded=after.tokens_decoded - before.tokens_decoded,
                    calls=math.ceil(calls * share) - calls,
                    answers=n_given,
                    answers_cached=asked.answers_cached - cached,
                    tokens_computed=math.ceil(unique * share) + drawn,
                )
            )
        return answers


def _alive(count: Callable[[Sequence[str]], int], texts: Sequence[str]) -> int:
    """Return the distinct tokens of the texts that do not kill the engine; 0 in a replay of a run without such counts.

    Raises:
        RequestsDied: if the engine dies of all of them.
    """
    try:
        return count(texts)
    except OutOfAnswers:
        return 0
    except RequestsDied as died:
        if not died.killers:
            raise
        return _alive(count, [text for i, text in enumerate(texts) if i not in died.killers])
