"""Text to tokens: control spans, BOS, and the border between context and continuation. Level 1, runs in the worker."""

from __future__ import annotations

from collections.abc import Sequence

from localprompt.engine.chat import Span
from localprompt.engine.llama import Llama, utf8


def encode(llama: Llama, text: str, spans: Sequence[Span] | None) -> list[int]:
    """Return the tokens of a text, with BOS where the model wants one and never twice.

    Args:
        llama: the vocabulary.
        text: any text.
        spans: None for plain text, where no control token can arise; else the (start, end) character offsets that are
            control tokens, as `chat` and `fim` return them.
    """
    tokens = llama.tokenize(text, control=False) if spans is None else _with_control(llama, text, spans)
    if llama.bos is not None and tokens[:1] != [llama.bos]:
        tokens.insert(0, llama.bos)
    return tokens


def _with_control(llama: Llama, text: str, spans: Sequence[Span]) -> list[int]:
    found = [match.span() for match in llama.control_pattern.finditer(text)]
    if found == [tuple(span) for span in spans]:
        return llama.tokenize(text, control=True)  # no control-token text in the data: llama.cpp's own way
    tokens: list[int] = []
    at = 0
    for start, end in spans:  # merges never cross a control token, so the pieces between can be tokenised apart
        tokens += llama.tokenize(text[at:start], control=False) if at < start else []
        tokens.append(llama.control_ids[text[start:end]])
        at = end
    return tokens + (llama.tokenize(text[at:], control=False) if at < len(text) else [])


def encode_pair(llama: Llama, context: str, continuation: str, spans: Sequence[Span] | None) -> tuple[list[int], int]:
    """Return the tokens of context + continuation and the index of the first that reaches into the continuation.

    The two are tokenised as one text: a token that merges the end of the context with the beginning of the continuation
    is scored, and none is dropped or shifted. With nothing before it, a start token stands in as context.
    """
    tokens = encode(llama, context + continuation, spans)
    start = _first_reaching_past(llama, tokens, continuation)
    if start == 0:
        return [llama.start_token, *tokens], 1
    return tokens, start


def _first_reaching_past(llama: Llama, tokens: Sequence[int], continuation: str) -> int:
    # Counted from the end, where no BOS, dummy space or control token disturbs: control spans lie in the context.
    if llama.writes_spaces_as_underlines:
        continuation = continuation.replace("\u2581", " ")
    remaining = len(utf8(continuation))
    start = len(tokens)
    first = 1 if tokens[:1] == [llama.bos] else 0  # BOS is context, always
    while start > first and remaining > 0:
        start -= 1
        remaining -= len(llama.piece(tokens[start]))
    return start
