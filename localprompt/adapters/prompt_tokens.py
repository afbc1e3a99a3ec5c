"""The log-probability of each token of a text. Level 9."""

from __future__ import annotations

from localprompt.errors import ConfigError, ContextOverflow
from localprompt.lm.base import LanguageModel
from localprompt.lm.local import LocalModel


def token_logprobs(lm: LanguageModel, text: str) -> list[tuple[str, float]]:
    """Return the tokens of a text in order, each with its nats after all that is before it.

    A model that begins each text with BOS has the first token too; with others nothing is before it, and it is left
    out. Tokens that end within one character are one entry; a blank that the vocabulary puts before a text is none.

    Raises:
        ContextOverflow: before anything is computed.
        ConfigError: for a model that is not in this process.
    """
    if not text:
        return []
    begin, tokens = lm.tokenize(["", text])
    if (n := len(tokens)) > lm.facts.n_ctx:
        raise ContextOverflow(f"a text has {n} tokens, the context has {lm.facts.n_ctx}", "shorten it, or raise n_ctx")
    if not isinstance(lm, LocalModel):
        raise ConfigError(f"{lm.facts.name} gives no log-probabilities of prompts", "leave prompt_logprobs out")
    (told,) = lm.engine.map("tokenwise", [[tokens, 0, None, 0]])
    found, data, nats = list[tuple[str, float]](), b"", 0.0
    for token, (_, logprob, _) in zip(tokens, [(0, 0.0, ()), *told], strict=True):
        data, nats = data + lm.pieces[0][token], nats + logprob
        word = data.decode(errors="ignore")
        if word and word.encode() == data:
            found.append((word, nats))
            data, nats = b"", 0.0
    n_before = sum(len(word) for word, _ in found) - len(text)
    return [(word[max(0, n_before) :], nats) for word, nats in found[:1] if begin and len(word) > n_before] + found[1:]
