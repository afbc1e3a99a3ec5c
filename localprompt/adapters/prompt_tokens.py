"""The log-probability of each token of a text. Level 9."""

from __future__ import annotations

from localprompt.errors import ContextOverflow
from localprompt.lm.base import LanguageModel


def token_logprobs(lm: LanguageModel, text: str) -> list[tuple[str, float]]:
    """Return the tokens of a text in order, each with its nats after all that is before it.

    A model that begins each text with BOS has the first token too; with others nothing is before it, and it is left
    out. Tokens that end within one character are one entry; a blank that the vocabulary puts before a text is none.

    Every way to part the text in two is the same tokens, of which those behind the cut are summed: from one cut to the
    next the sum changes by a token. The engine reads each of them once.

    Raises:
        ContextOverflow: before anything is computed.
    """
    if not text:
        return []
    if (n := lm.count_tokens([text])[0]) > lm.facts.n_ctx:  # before it is cut: the cuts of a book fill any memory
        raise ContextOverflow(f"a text has {n} tokens, the context has {lm.facts.n_ctx}", "shorten it, or raise n_ctx")
    cuts = lm.loglikelihood([(text[:at], text[at:]) for at in range(len(text))])
    left = [*((each.n_tokens, each.logprob) for each in cuts), (0, 0.0)]
    found, begin = [], 0
    for at in range(1, len(left)):
        if left[at][0] < left[begin][0]:
            found.append((text[begin:at], left[begin][1] - left[at][1]))
            begin = at
    # Where nothing is before the first token, the cut in it alone puts a start token there.
    return found if lm.tokenize([""])[0] else found[1:]
