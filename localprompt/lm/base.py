"""The one interface between localprompt and a language model. Level 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from localprompt.engine.process import RequestsDied
from localprompt.engine.radix import n_distinct
from localprompt.types import EngineStats, Generation, Loglikelihood, Message, Sampling


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model is; it stays as it is while the model is used."""

    name: str
    """Card name or file name, for people."""
    fingerprint: str
    """Hash of the weights and of every setting that changes numbers."""
    n_ctx: int
    """Most tokens one request may have, its completion included."""
    has_chat: bool = False
    """True if the model carries a chat template; a base model has none."""
    has_fim: bool = False
    """True if the vocabulary has fill-in-the-middle tokens. That says nothing about ability: probe it."""
    supports_grammar: bool = False
    """True if `Sampling.grammar` binds what `generate` returns; False: it is ignored."""
    identity: Mapping[str, object] = field(default_factory=dict)
    """What the fingerprint is a hash of, by name, for whoever asks why two models differ; may be empty."""
    can_score: bool = True
    """False for a model that only replies: `loglikelihood` raises ModelError."""
    can_score_chats: bool = True
    """False where only plain text is scored: `loglikelihood` of what stands behind a chat raises ModelError."""


class LanguageModel(Protocol):
    """What evaluation and optimisers need of a model. Lists in, lists out: same order and length.

    A plain `str` is always text: control-token text inside it (`<|im_end|>`) stays text. Only what `chat` and `fim`
    return carries control tokens (a `Rendered`, which is a `str`); `Rendered + str` keeps them.
    """

    @property
    def facts(self) -> ModelFacts:
        """What it is: `localprompt.ModelFacts(name, fingerprint, n_ctx, has_chat, has_fim, supports_grammar)`."""

    @property
    def stats(self) -> EngineStats:
        """Cumulative work."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, with BOS where the model wants one."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, BOS included where the model wants one."""

    def chat(self, messages: Sequence[Message], opening: str = "") -> str:
        """Return the text of a chat up to and including the opening of the assistant's answer.

        A model without a chat template gets plain text to complete.

        Raises:
            ModelError: if the template refuses the messages.
        """

    def fim(self, prefix: str, suffix: str) -> str:
        """Return a fill-in-the-middle prompt whose completion is the text between `prefix` and `suffix`.

        Raises:
            ModelError: if the vocabulary has no fill-in-the-middle tokens.
        """

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Return how probable each continuation is after its context, for (context, continuation) pairs.

        Context and continuation are tokenised as one text and every token that reaches into the continuation is
        scored, so a space at the boundary belongs to the continuation.

        Raises:
            ContextOverflow: naming the request, before anything is computed.
        """

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return one completion per prompt; `seeds` has the length of `prompts`.

        A result depends on its own prompt, sampling and seed, not on its neighbours.

        Raises:
            ContextOverflow: naming the request that with `max_tokens` does not fit, before anything is computed.
        """


def unique_tokens(lm: LanguageModel, texts: Sequence[str]) -> int:
    """Return how many tokens are computed where the texts are read in one call: each distinct prefix once.

    Only the tokeniser is asked. Texts that kill it are not counted.

    Raises:
        RequestsDied: if the engine dies of all of them.
    """
    try:
        return n_distinct(map(tuple, lm.tokenize(texts)))
    except RequestsDied as died:
        if not died.killers:
            raise
        return unique_tokens(lm, [text for i, text in enumerate(texts) if i not in died.killers])


def tokens_behind(lm: LanguageModel, pairs: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Return about how many tokens (context, continuation) pairs have, and how many one call with them computes.

    Behind each context some continuations count what they count behind the first that has them: to tokenise twenty
    labels behind every row of a split takes seconds.

    Raises:
        RequestsDied: as `unique_tokens`.
    """
    behind: dict[str, dict[str, None]] = {}
    for context, continuation in pairs:
        behind.setdefault(context, {})[continuation] = None
    firsts, more = list[str](), dict[tuple[str, ...], tuple[int, int]]()
    for context, those in behind.items():
        firsts.append(context + next(iter(those)))
        if tuple(those) not in more:
            lengths = lm.count_tokens(texts := [context + each for each in those])
            more[tuple(those)] = sum(lengths) - len(texts) * lengths[0], unique_tokens(lm, texts) - lengths[0]
    counted = zip(lm.count_tokens(firsts), map(tuple, behind.values()), strict=True)
    total = sum(len(those) * n + more[those][0] for n, those in counted)
    return total, unique_tokens(lm, firsts) + sum(more[tuple(those)][1] for those in behind.values())
