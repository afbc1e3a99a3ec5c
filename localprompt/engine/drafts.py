"""What a completion may say next, guessed from texts that it may turn out to be. Level 2, pure.

A guess costs rows and never changes what is drawn: each of its tokens is decoded together with the one before it, and
kept only where that is the token drawn.

Source: verification as in speculative decoding (Leviathan 2023), without a second model; a completion that has left one
of its drafts joins a draft again where its last tokens occur in it (inference with reference, Yang 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

_FIRST = 4
"""Tokens of the first guess; the next is twice as long where all of it was right."""
_JOINED = 3
"""Tokens of a completion that occur in a draft for it to go on as the draft does."""


class Drafts:
    """Guesses for one completion.

    Args:
        texts: continuations in tokens, the likeliest first.
    """

    def __init__(self, texts: Sequence[tuple[int, ...]]) -> None:
        self._texts = texts
        self._length = _FIRST
        self._after: dict[tuple[int, ...], tuple[int, int]] = {}
        """Some tokens in a row to the text in which they occur first, and to the place behind them there."""
        for number, text in enumerate(texts):
            for end in range(_JOINED, len(text)):
                self._after.setdefault(text[end - _JOINED : end], (number, end))

    def guess(self, drawn: Sequence[int], most: int) -> tuple[int, ...]:
        """Return at most so many tokens that may follow those drawn; nothing where no draft says any."""
        n, so_far = len(drawn), tuple(drawn)
        begun = next(((text, n) for text in self._texts if len(text) > n and text[:n] == so_far), None)
        if begun is None and so_far[-_JOINED:] in self._after:
            number, end = self._after[so_far[-_JOINED:]]
            begun = self._texts[number], end
        if begun is None:
            return ()
        text, start = begun
        return text[start : start + min(most, self._length)]

    def judge(self, n_guessed: int, n_right: int) -> None:
        """Make the next guess longer or shorter: how many tokens of the last one were drawn says which."""
        if n_guessed:
            self._length = max(self._length, 2 * n_guessed) if n_right == n_guessed else max(1, n_right)
