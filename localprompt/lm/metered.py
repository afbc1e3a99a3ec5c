"""A language model whose calls are charged to a budget. Level 3."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from localprompt.errors import OutOfAnswers
from localprompt.lm.base import LanguageModel, tokens_behind, unique_tokens
from localprompt.lm.budget import Budget
from localprompt.lm.cached import BeforeChunk, CachedLM
from localprompt.lm.deadline import Work
from localprompt.lm.simulated import SimulatedLM
from localprompt.types import Generation, Loglikelihood, Sampling, Spend

_Answer = TypeVar("_Answer", Loglikelihood, Generation)


class _Uncached:
    """A model without a store before it, asked as a `CachedLM` is: it computes everything, in one piece."""

    answers_cached = 0

    def __init__(self, lm: LanguageModel) -> None:
        self.answers_given = 0
        self.tokens_drawn = 0
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
        found = self._lm.generate(prompts, sampling, seeds)
        self.tokens_drawn += sum(each.n_tokens for each in found)
        return found


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
        """True if the budget limits tokens, calls or the time until the result."""
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
        is_estimate = isinstance(self.lm, SimulatedLM)  # what is paid for is counted exactly
        unique = tokens_behind(self.lm, pairs)[1] if is_estimate else self._unique(texts)
        return self._charged(texts, unique, 0, calls, lambda before: self._asked.loglikelihood(pairs, before))

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return one completion per prompt, each counted as one call.

        Raises:
            BudgetExhausted: before anything is computed; for lack of time also between chunks.
        """
        return self._charged(
            prompts,
            self._unique(prompts),
            sampling.max_tokens,
            len(prompts),
            lambda before: self._asked.generate(prompts, sampling, seeds, before),
        )

    def _charged(
        self,
        texts: Sequence[str],
        unique: int,
        max_tokens: int,
        calls: int,
        ask: Callable[[BeforeChunk], list[_Answer]],
    ) -> list[_Answer]:
        """Return the answers to `texts`, which have so many distinct tokens and of which each may draw `max_tokens`."""
        n, budget, asked = len(texts), self._budget, self._asked
        # The store has these counts: a replay of a run whose limit was on requested tokens asks for them.
        requested = sum(self.lm.count_tokens(texts)) + n * max_tokens if budget.counts_requested else 0
        budget.reserve(calls=calls, tokens=unique + n * max_tokens, requested=requested)
        before, given, cached, past = self.lm.stats, asked.answers_given, asked.answers_cached, asked.tokens_drawn
        answers, computed, refused = list[_Answer](), list[str](), budget.n_refused
        began = time.monotonic()

        def check_time(missing: Sequence[str]) -> None:
            budget.check_time()
            if budget.pace is not None:
                n_new = len(missing) if max_tokens else 0
                work = Work(self.lm.facts.fingerprint, unique_tokens(self.lm, missing), n_new, max_tokens)
                budget.check_deadline(work)
                computed.extend(missing)

        try:
            answers = ask(check_time)
        finally:
            after, n_given = self.lm.stats, asked.answers_given - given
            decoded = after.tokens_decoded - before.tokens_decoded
            if budget.n_refused > refused:
                # A replay refuses the call at once, so nothing of it is charged.
                budget.settle(Spend(calls=-calls, tokens_decoded=decoded))
            else:
                share = n_given / max(1, n)
                drawn = asked.tokens_drawn - past
                budget.settle(
                    Spend(
                        tokens_requested=after.tokens_requested - before.tokens_requested,
                        tokens_decoded=decoded,
                        calls=math.ceil(calls * share) - calls,
                        answers=n_given,
                        answers_cached=asked.answers_cached - cached,
                        tokens_computed=math.ceil(unique * share) + drawn,
                    )
                )
                if answers and computed and budget.pace is not None:
                    # Counted together, as plans are: all chunks begin alike, and that is read once.
                    read = unique if len(computed) == n else unique_tokens(self.lm, computed)
                    every = Work(self.lm.facts.fingerprint, read, len(computed) if max_tokens else 0, max_tokens)
                    # Of a call that was partly known the computed completions are taken to be as long as all.
                    budget.pace.learn(every, drawn / n * every.n, time.monotonic() - began)
        return answers

    def _unique(self, texts: Sequence[str]) -> int:
        """Return the distinct tokens of the texts; 0 in the replay of a run of before they were counted."""
        with suppress(OutOfAnswers):
            return self._asked.unique_tokens(texts)
        return 0
