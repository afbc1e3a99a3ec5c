"""Log-probabilities of tokens in the two forms of the OpenAI interface. Level 9."""

from __future__ import annotations

from collections.abc import Sequence
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
    # Counted from the end: BOS and the space that some vocabularies put before a text are not in it.
    data = text.encode(errors="replace")
    end, ends = len(data), []
    for token in reversed(tokens):
        end = max(0, end - len(words.data(token)))
        ends.append(end)
    offsets = _characters(data, ends[::-1])
    entries = _entries(words, records, n_top)
    unknown = [None] * (len(tokens) - len(records))
    return {
        "tokens": [words.name(token) for token in tokens],
        "token_logprobs": unknown + entries["token_logprobs"],
        "top_logprobs": unknown + entries["top_logprobs"],
        "text_offset": offsets,
    }


def of_drawn(words: Words, records: Sequence[TokenLogprob], written: bytes, begin: int, n_top: int) -> dict[str, Any]:
    """Return `logprobs` of `/v1/completions` for tokens drawn after those that wrote `written`, an entry a token.

    The completion begins at the character `begin`. A token that ends it is among them.
    """
    data, starts = written, []
    for token, *_ in records:
        starts.append(len(data))
        data += words.data(token)
    offsets = [begin + each for each in _characters(data, starts)]
    return _entries(words, records, n_top) | {"text_offset": offsets}


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


def _characters(data: bytes, places: Sequence[int]) -> list[int]:
    """Return how many whole characters come before each place, which rise.

    A text may begin with the rest of a character that has no beginning.
    """
    found, n, at = [], 0, 0
    for place in places:
        n += sum(byte & 0xC0 != 0x80 for byte in data[at:place])
        at = place
        found.append(max(0, n - (place < len(data) and data[place] & 0xC0 == 0x80)))
    return found
