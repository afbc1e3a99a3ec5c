"""Labels scored by whoever tells only the most probable next tokens of a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

Next = Callable[[str], Mapping[str, float]]
"""The most probable next tokens of a text, with their log-probabilities."""


def words_of(label: str) -> list[str]:
    """Return the words of a label, each with the space before it."""
    return re.findall(" [^ ]+", label)


def stepwise(ask: Next, prompt: str, labels: Sequence[str]) -> list[float | None]:
    """Return the log-probability of each label by asking for the next token of every beginning of it, each once.

    None for a label with a word that is not among the most probable.
    """
    known: dict[str, Mapping[str, float]] = {}
    scores: list[float | None] = []
    for label in labels:
        logprobs, before = [], ""
        for word in words_of(label):
            if before not in known:
                known[before] = ask(prompt + before)
            logprobs.append(known[before].get(word))
            before += word
        found = [logprob for logprob in logprobs if logprob is not None]
        scores.append(sum(found) if len(found) == len(logprobs) else None)
    return scores
