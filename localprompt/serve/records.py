"""Log-probabilities of tokens in the two forms of the OpenAI interface. Level 9."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from localprompt.engine.tokenwise import TokenLogprob
from localprompt.serve.words import Words

_LEAST = -9999.0
"""Stands for a probability of 0, which JSON cannot say in nats; OpenAI's number."""


def of_prompt(
    words: Words, tokens: Sequence[int], records: Sequence[TokenLogprob], text: str, n_top: int
) -> dict[str, Any]:
    """Return `logprobs` of `/v1/completions` for a prompt: an entry a token.

    `records` are of the last tokens: the first has no log-probability where nothing comes before it. `top_logprobs` has
    the `n_top` most probable tokens and the token itself.
    """
    data, starts = _written(words, b"", tokens)
    n_before = len(data.decode(errors="replace")) - len(text)  # a space that some vocabularies put before a text
    offsets = [max(0, each - n_before) for each in _characters(data, starts)]
    unknown = [None] * (len(tokens) - len(records))
    entries = {name: unknown + known for name, known in _entries(words, records, n_top).items()}
    return entries | {"tokens": [words.name(token) for token in tokens], "text_offset": offsets}


def of_drawn(words: Words, records: Sequence[TokenLogprob], written: bytes, begin: int, n_top: int) -> dict[str, Any]:
    """Return `logprobs` of `/v1/completions` for tokens drawn after those that wrote `written`, an entry a token.

    The completion begins at the character `begin`. A token that ends it is among them.
    """
    data, starts = _written(words, written, [token for token, *_ in records])
    return _entries(words, records, n_top) | {"text_offset": [begin + each for each in _characters(data, starts)]}


def joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of the one and then those of the other."""
    return {name: first[name] + second[name] for name in first}


def of_chat(words: Words, records: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Return `logprobs` of `/v1/chat/completions`: a token that ends the answer has no entry."""
    return {
        "content": [
            {**_token(words, token, logprob), "top_logprobs": [_token(words, *each) for each in top]}
            for token, logprob, top in records
            if not words.is_end(token)
        ],
        "refusal": None,
    }


def _entries(words: Words, records: Sequence[TokenLogprob], n_top: int) -> dict[str, Any]:
    return {
        "tokens": [words.name(token) for token, *_ in records],
        "token_logprobs": [max(_LEAST, logprob) for _, logprob, _ in records],
        "top_logprobs": [_by_name(words, [*top, (token, logprob)]) if n_top else {} for token, logprob, top in records],
    }


def _by_name(words: Words, top: Sequence[tuple[int, float]]) -> dict[str, float]:
    """Return log-probabilities by the texts of tokens; of tokens with one text, that of the most probable."""
    found: dict[str, float] = {}
    for token, logprob in top:
        found.setdefault(words.name(token), max(_LEAST, logprob))
    return found


def _token(words: Words, token: int, logprob: float) -> dict[str, Any]:
    data = words.data(token)
    text = data.decode(errors="replace") if data else words.name(token)
    return {"token": text, "logprob": max(_LEAST, logprob), "bytes": list(data)}


def _written(words: Words, before: bytes, tokens: Sequence[int]) -> tuple[bytes, list[int]]:
    """Return the bytes that tokens add to those before them, and where each token begins."""
    pieces = [before, *map(words.data, tokens)]
    return b"".join(pieces), list(accumulate(map(len, pieces)))[:-1]


def _characters(data: bytes, places: Sequence[int]) -> list[int]:
    """Return the number of the character that each place is in; the places rise."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found, n, at = [], 0, 0
    for place in places:
        n += len(decoder.decode(data[at:place]))
        at = place
        begun = decoder.getstate()[0] + data[place : place + 1]
        found.append(n + len(begun.decode(errors="replace")) - (place < len(data)))
    return found
