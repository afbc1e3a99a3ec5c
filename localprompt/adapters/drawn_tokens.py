"""Completions with the log-probability of each token drawn. Level 9."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, cast

from localprompt.engine.serving import Told
from localprompt.errors import ConfigError, ContextOverflow
from localprompt.lm.base import LanguageModel
from localprompt.lm.local import LocalModel
from localprompt.types import FinishReason, Generation, Sampling

_SEED_BITS = 2**64 - 1


class TokenNats(NamedTuple):
    """A token and its log-probability before any temperature, in nats."""

    data: bytes
    """What it adds to the text: maybe a part of a character."""
    logprob: float


class DrawnToken(NamedTuple):
    """A token of a completion, and the most probable ones in its place, the best first."""

    token: TokenNats
    top: list[TokenNats]


class Drawn(NamedTuple):
    """A completion with its tokens: all that were drawn, a stop string's too, but none that ends a text."""

    generation: Generation
    tokens: list[DrawnToken]


def generate_drawn(
    lm: LanguageModel, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int], n_top: int
) -> list[Drawn]:
    """Return what `lm.generate` does, with the tokens of each completion; same order and length as `prompts`.

    Args:
        lm: a model in this process.
        prompts: as in `generate`.
        sampling: as in `generate`.
        seeds: as in `generate`.
        n_top: most probable tokens wanted in each place.

    Raises:
        ConfigError: for another model, of which only replies are seen, or a grammar that does not compile.
        ContextOverflow: before anything is computed.
    """
    if not isinstance(lm, LocalModel):
        raise ConfigError(f"{lm.facts.name} gives no log-probabilities of completions", "leave logprobs out")
    encoded = [tokens or [lm.engine.info["start_token"]] for tokens in lm.tokenize(prompts)]
    if (longest := max(map(len, encoded), default=0)) + sampling.max_tokens > lm.n_ctx:
        asked = f"{longest} tokens and {sampling.max_tokens} to generate"
        raise ContextOverflow(f"a request has {asked}, the context has {lm.n_ctx}", "shorten it, or raise n_ctx")
    pieces, names, ends = lm.pieces

    def nats(token: int, logprob: float) -> TokenNats:
        return TokenNats(pieces[token] or names.get(token, "").encode(), logprob)

    def drawn(told: Sequence[Any]) -> Drawn:
        end = Told(*told)
        if end.finish_reason == "refused":
            raise ConfigError(end.text)
        tokens = [
            DrawnToken(nats(token, logprob), [nats(*each) for each in top])
            for token, logprob, top in end.logprobs
            if token not in ends
        ]
        return Drawn(Generation(end.text, end.n_tokens, cast(FinishReason, end.finish_reason)), tokens)

    requests = [
        [number, tokens, asdict(sampling), seed & _SEED_BITS, n_top, False]
        for number, (tokens, seed) in enumerate(zip(encoded, seeds, strict=True))
    ]
    return lm.engine.map("complete", requests, read=drawn)
