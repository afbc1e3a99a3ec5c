"""Text to tokens: control spans, BOS, and the boundary of context and continuation. Level 2, runs in the worker.

The texts of a search share nearly all their lines: worked examples, and a row that is asked with each label. llama.cpp
reads less than a million characters a second, so `Encoder` cuts texts into pieces and tokenises each piece once.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

from localprompt.engine.chat import Span
from localprompt.engine.llama import Vocabulary, utf8
from localprompt.errors import ModelError

_SHOWN = 5
"""Lost characters that an error names."""
_CUT = re.compile(r"\n(?<=[^\W_]\n)")
"""Before what a text is cut: a line break behind a letter or digit, which no pre-tokeniser and no token joins."""
_MOST_KEPT, _EACH = 4_000_000, 32
"""Characters of pieces whose tokens are kept; what a piece counts beside its own, and two that follow each other."""
_LETTER = "a"
"""Stands for the letter or digit before a piece, and takes the space that a SentencePiece vocabulary puts first."""
_ALONE = "\u263a"
"""Takes the space that a SentencePiece vocabulary puts first, merges with nothing, and goes: the way of CodeLlama's and
Codestral's authors."""

_Piece = tuple[str, tuple[Span, ...] | None, bool]
"""Text and control spans as `encode` takes them, and whether a whole text begins with it."""


class Encoder:
    """Does what `encode` does, and remembers the tokens of pieces of texts.

    Pieces that follow each other for the first time are also tokenised together. Should two ever have other tokens
    together than each has apart, texts are tokenised whole from then on.
    """

    def __init__(self, llama: Vocabulary) -> None:
        self._llama = llama
        self._numbers: dict[_Piece, int] = {}
        self._known: list[array[int]] = []
        """Tokens of the piece of that number."""
        self._apart = set[tuple[int, int]]()
        """Numbers of a piece and the next one whose tokens together are those that each has."""
        self._n_kept = 0
        self._can_cut = True

    def encode(self, text: str, spans: Sequence[Span] | None) -> list[int]:
        """Return what the function `encode` does, and raise what it raises."""
        if self._n_kept > _MOST_KEPT:
            for kept in (self._numbers, self._known, self._apart):
                kept.clear()
            self._n_kept = 0
        whole: list[_Piece] = [(text, None if spans is None else tuple(spans), True)]
        pieces = list(_pieces(text, spans)) if self._can_cut else whole
        numbers = list(map(self._number, pieces))
        for i, pair in enumerate(pairwise(numbers)):
            if pair not in self._apart:
                if not self._are_apart(pieces[i], pieces[i + 1]):
                    self._can_cut = False
                    return self.encode(text, spans)
                self._apart.add(pair)
                self._n_kept += _EACH
        return _with_bos(self._llama, list(chain.from_iterable(map(self._known.__getitem__, numbers))))

    def _number(self, piece: _Piece) -> int:
        found = self._numbers.get(piece)
        if found is None:
            self._known.append(array("i", _tokens(self._llama, *piece)))
            found = self._numbers[piece] = len(self._known) - 1
            self._n_kept += len(piece[0]) + _EACH
        return found

    def _are_apart(self, before: _Piece, piece: _Piece) -> bool:
        (text, spans, is_first), (more, behind, _) = before, piece
        moved = [(start + len(text), end + len(text)) for start, end in behind or ()]
        both = (text + more, None if spans is None else (*spans, *moved), is_first)
        apart = [*self._known[self._number(before)], *self._known[self._number(piece)]]
        return _tokens(self._llama, *both) == apart


def _pieces(text: str, spans: Sequence[Span] | None) -> Iterator[_Piece]:
    marks = spans or ()
    starts, ends = [start for start, _ in marks], [end for _, end in marks]
    cuts = [0, *(match.start() for match in _CUT.finditer(text)), len(text)]
    cuts = [cut for cut in cuts if bisect_left(starts, cut) == bisect_right(ends, cut)]  # in no mark
    for start, end in pairwise(cuts):
        own = tuple((a - start, b - start) for a, b in marks[bisect_left(starts, start) : bisect_right(ends, end)])
        yield text[start:end], None if spans is None else own, start == 0


def _tokens(llama: Vocabulary, text: str, spans: Sequence[Span] | None, is_first: bool = True) -> list[int]:
    before = "" if is_first or not llama.writes_spaces_as_underlines else _LETTER
    moved = [(start + len(before), end + len(before)) for start, end in spans or ()]
    behind = before + text
    tokens = llama.tokenize(behind, control=False) if spans is None else _with_control(llama, behind, moved)
    tokens = tokens[len(llama.tokenize(before, control=False)) :] if before else tokens
    _check_all_there(llama, tokens, text, spans or ())
    return tokens


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
    return _with_bos(llama, _tokens(llama, text, spans))


def _with_bos(llama: Vocabulary, tokens: list[int]) -> list[int]:
    return tokens if llama.bos is None or tokens[:1] == [llama.bos] else [llama.bos, *tokens]


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
    return llama.tokenize(_ALONE + text, control=False)[len(llama.tokenize(_ALONE, control=False)) :]


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
