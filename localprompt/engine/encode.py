"""Text to tokens: control spans, BOS, and the boundary of context and continuation. Level 2, runs in the worker."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from localprompt.engine.chat import Span
from localprompt.engine.llama import Vocabulary, utf8
from localprompt.errors import ModelError

_SHOWN = 5
"""Lost characters that an error names."""


def encode(llama: Vocabulary, text: str, spans: Sequence[Span] | None) -> list[int]:
    """Return the tokens of a text, with BOS where the model wants one and never twice.

    Args:
        llama: the vocabulary.
        text: any text.
        spans: None for plain text, where no control token can arise; else the (start, end) character offsets that are
            control tokens, as `chat` and `fim` return them.

    Raises:
        ModelError: if characters of the text are not in its tokens, naming them; but for blank space and control
            characters.
    """
    tokens = llama.tokenize(text, control=False) if spans is None else _with_control(llama, text, spans)
    _check_all_there(llama, tokens, text, spans or ())
    if llama.bos is not None and tokens[:1] != [llama.bos]:
        tokens.insert(0, llama.bos)
    return tokens


def _check_all_there(llama: Vocabulary, tokens: Sequence[int], text: str, spans: Sequence[Span]) -> None:
    marks = {llama.control_ids[text[start:end]] for start, end in spans}
    bounds = [0, *(offset for span in spans for offset in span), len(text)]
    said = "".join(text[start:end] for start, end in zip(bounds[::2], bounds[1::2], strict=True))
    there = b"".join(llama.piece(token) for token in tokens if token not in marks).decode("utf-8", "replace")
    said = utf8(said).decode()
    if said != there and (wanted := _visible(said)) != (found := _visible(there)):
        lost = sorted(set(wanted) - set(found))
        what = " ".join(map(repr, lost[:_SHOWN])) if lost else "a part"
        raise ModelError(
            f"the model's vocabulary has no tokens for {what} of the text {text[:40]!r}",
            "remove such characters from the data and the prompts, or take another model",
        )


def _visible(text: str) -> str:
    """Return a text without blank space and control characters.

    Of the first, vocabularies add and drop some beside their control tokens; some that are otherwise complete (SmolLM2)
    lack a few of the second.
    """
    return "".join(c for c in "".join(text.replace("\u2581", " ").split()) if unicodedata.category(c) != "Cc")


def _with_control(llama: Vocabulary, text: str, spans: Sequence[Span]) -> list[int]:
    marks = [text[start:end] for start, end in spans]
    found = [match.span() for match in llama.control_pattern.finditer(text)]
    if found == [tuple(span) for span in spans] and _glued(llama) not in marks:
        return llama.tokenize(text, control=True)  # no control-token text in the data: llama.cpp's own way
    tokens: list[int] = []
    at, before = 0, ""
    for (start, end), mark in zip(spans, marks, strict=True):
        tokens += [*_between(llama, text[at:start], before), llama.control_ids[mark]]
        at, before = end, mark
    return tokens + _between(llama, text[at:], before)


def _between(llama: Vocabulary, text: str, mark: str) -> list[int]:
    """Return the tokens of what stands behind a mark; merges never cross one, so it can be tokenised apart."""
    if not text:
        return []
    if mark != _glued(llama):
        return llama.tokenize(text, control=False)
    dummy = "\u263a"  # takes the space, merges with nothing, and goes: the way of CodeLlama's and Codestral's authors
    return llama.tokenize(dummy + text, control=False)[len(llama.tokenize(dummy, control=False)) :]


def _glued(llama: Vocabulary) -> str | None:
    """Return the mark behind which a SentencePiece vocabulary must not put its space: the suffix goes on in mid-text.

    The prefix is the beginning of a text and has its space, as in training.
    """
    return llama.special_texts.get("fim_suf") if llama.writes_spaces_as_underlines else None


def divided(llama: Vocabulary, tokens: list[int], continuation: str) -> tuple[list[int], int]:
    """Return tokens of context + continuation and the index of the first that reaches into the continuation.

    The two are tokenised as one text: a token that merges the end of the context with the beginning of the continuation
    is scored, and none is dropped or shifted. With nothing before it, a start token stands in as context.

    Args:
        llama: the vocabulary.
        tokens: of the text as `encode` returns them; not changed.
        continuation: what the text ends in.
    """
    start = _first_reaching_past(llama, tokens, continuation)
    if start == 0:
        return [llama.start_token, *tokens], 1
    return tokens, start


def _first_reaching_past(llama: Vocabulary, tokens: Sequence[int], continuation: str) -> int:
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
