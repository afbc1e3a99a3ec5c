"""A stand-in that computes nothing and counts what the real model would compute. Level 3."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from localprompt.engine.radix import n_distinct
from localprompt.lm.base import LanguageModel, tokens_behind
from localprompt.lm.deadline import decodes_of
from localprompt.lm.rendered import spans_of
from localprompt.types import EngineStats, Generation, Loglikelihood, Message, Sampling

_WORDS = """
answer between careful choose compare count decide describe every exact find first follow given group input items keep
kind last letter line list longer mark mention name never number only order other output part pick plain read rule same
say second sentence shorter show simple state tell text that thing turn value which whole without word
"""
PROPOSAL_WORDS = 16
"""Of a proposal as they usually are."""
_REPLY_SHARE, _LONGEST_REPLY = 0.4, 170
"""How many tokens a proposer draws, of the most that it may: in stored searches with a 1.5B APE's replies have 0.40 of
them, OPRO's 0.28, ProTeGi's 0.36, and PE2's 82 tokens, its answers to questions 166. None was longer on average."""


class SimulatedLM:
    """A `LanguageModel` with the tokeniser and the templates of a real one, whose answers are made up at once.

    An answer to the task is as long as the task's targets are on average; a proposal is a sentence of random words that
    any validation lets pass, and counts as many tokens as replies usually have; a log-likelihood is a random number:
    enough for a search to take its usual way. Every token prefix is counted once per call, as the engine computes it.

    Args:
        lm: the real model; only its tokeniser and templates are used.
        answer_sampling: how the task's answers are drawn; every other completion is a proposal.
        answer_tokens: mean length of an answer in tokens.
        seed: of the made-up answers.
        proposal_words: of a proposal.
    """

    def __init__(
        self,
        lm: LanguageModel,
        answer_sampling: Sampling,
        answer_tokens: float,
        seed: int,
        proposal_words: int = PROPOSAL_WORDS,
    ) -> None:
        self.facts = replace(lm.facts, supports_grammar=False)
        """The real model's; what is made up matches no grammar, and the length of a reply hardly depends on it."""
        self._lm = lm
        self._answer_sampling = answer_sampling
        self._answer_tokens = answer_tokens
        self._proposal_words = proposal_words
        self._rng = random.Random(seed)
        self._words = _WORDS.split()
        self.proposals = 0
        """Completions that were no answers to the task."""
        self.prefilled = 0
        """Distinct prompt tokens, each token prefix once per call."""
        self.generated = 0
        """Tokens drawn."""
        self.decodes = 0.0
        """Decodes in which they are drawn, and one for each call of scores."""
        self._requested = 0
        self._calls = 0
        self._tokens: dict[tuple[str, str], list[int]] = {}
        """Text and its control spans to its tokens: each is asked for when it is reserved and when it is computed."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return what the real model says."""
        keys = [(str(text), str(spans_of(text))) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._tokens}
        self._tokens.update(zip(missing, self._lm.tokenize(list(missing.values())), strict=True))
        return [self._tokens[key] for key in keys]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return what the real model says."""
        return [len(tokens) for tokens in self.tokenize(texts)]

    def chat(self, messages: Sequence[Message], opening: str = "") -> str:
        """Return what the real model says."""
        return self._lm.chat(messages, opening)

    def fim(self, prefix: str, suffix: str) -> str:
        """Return what the real model says."""
        return self._lm.fim(prefix, suffix)

    @property
    def stats(self) -> EngineStats:
        """What the real engine would count."""
        return EngineStats(self._requested, self.prefilled + self.generated, 0, self._calls, 0.0)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Return random numbers in nats."""
        total, unique = tokens_behind(self, pairs)
        self._calls, self._requested, self.prefilled = self._calls + 1, self._requested + total, self.prefilled + unique
        self.decodes += decodes_of(0, 0)
        lengths = [max(1, len(continuation) // 4) for _, continuation in pairs]
        return [Loglikelihood(-self._rng.expovariate(0.5), n, greedy=False) for n in lengths]

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return answers of the usual length, or sentences of random words."""
        tokens = self.tokenize(prompts)
        self._calls += 1
        self._requested += sum(map(len, tokens))
        self.prefilled += n_distinct(map(tuple, tokens))
        is_answer = sampling == self._answer_sampling
        of_reply = max(1, min(_LONGEST_REPLY, round(_REPLY_SHARE * sampling.max_tokens)))
        mean = min(float(sampling.max_tokens), self._answer_tokens) if is_answer else float(of_reply)
        lengths = [math.floor(mean * i) - math.floor(mean * (i - 1)) for i in range(1, len(prompts) + 1)]
        self.generated += sum(lengths)
        self.decodes += decodes_of(sum(lengths), len(prompts))
        self._requested += sum(lengths)
        self.proposals += 0 if is_answer else len(prompts)
        n_words = 1 if is_answer else self._proposal_words
        texts = (" ".join(self._rng.choices(self._words, k=n_words)).capitalize() for _ in prompts)
        return [Generation(f"{text}.", n_tokens, "stop") for text, n_tokens in zip(texts, lengths, strict=True)]
