"""A language model whose calls are charged to a budget. Level 2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from localprompt.budget import Budget
from localprompt.lm.base import LanguageModel
from localprompt.types import Generation, Loglikelihood, Sampling, Spend


class MeteredLM:
    """The two spending methods of a language model, each charged before it computes anything.

    The worst case is reserved (every completion as long as it may get) and the truth, read from the model's own
    statistics, is entered afterwards.
    """

    def __init__(self, lm: LanguageModel, budget: Budget) -> None:
        self.lm = lm
        self._budget = budget

    @property
    def spend(self) -> Spend:
        """What the whole budget has spent, by whichever model."""
        return self._budget.spend

    def loglikelihood(self, pairs: Sequence[tuple[str, str]], *, calls: int) -> list[Loglikelihood]:
        """Return how probable each continuation is, same order and length as `pairs`, counted as `calls` calls.

        Raises:
            BudgetExhausted: before anything is computed.
        """
        with self._charged([context + continuation for context, continuation in pairs], 0, calls):
            return self.lm.loglikelihood(pairs)

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return one completion a prompt, each counted as one call.

        Raises:
            BudgetExhausted: before anything is computed.
        """
        with self._charged(prompts, sampling.max_tokens, len(prompts)):
            return self.lm.generate(prompts, sampling, seeds)

    @contextmanager
    def _charged(self, texts: Sequence[str], max_tokens: int, calls: int) -> Iterator[None]:
        # Tokenising everything twice is only worth its time where tokens are limited.
        tokens = sum(len(ids) + max_tokens for ids in self.lm.tokenize(texts)) if self._budget.counts_tokens else 0
        self._budget.reserve(calls=calls, tokens=tokens)
        before = self.lm.stats
        try:
            yield
        finally:
            after = self.lm.stats
            self._budget.settle(
                tokens_requested=after.tokens_requested - before.tokens_requested,
                tokens_decoded=after.tokens_decoded - before.tokens_decoded,
            )
