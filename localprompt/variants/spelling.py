"""One word of the instruction mistyped, or in another case. Level 6."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import regex

from localprompt.variants.variant import Origin, Variant
from localprompt.variants.wording import Edit, edited, is_unspaced, literal, outside, words_in

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE = {key: row[max(i - 1, 0) : i] + row[i + 1 : i + 2] for row in _ROWS for i, key in enumerate(row)}
"""Each key of a QWERTY keyboard and the one or two beside it."""
_LEAST = 4
"""Letters of a word in which a slip leaves enough to read."""
_Slip = Callable[[list[str], random.Random], list[str] | None]
"""Characters of a word to those with a slip; None where it does not apply."""


class Spelling:
    """The instruction with one word mistyped; names of outputs, quotations and `{{slots}}` stay as they are."""

    name = "spelling"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return the variants, words drawn at random, each again only when all have had their turn."""
        return edited(origin, self.name, _edits(origin), most)


def _edits(origin: Origin) -> Iterator[Edit]:
    text, kept, rng = origin.prompt.instruction, literal(origin), origin.rng(Spelling.name)
    words = [word for word in outside(words_in(text, kept), kept) if _is_open(text[word[0] : word[1]])]
    known = {text[start:end].casefold() for start, end in words}
    turns = [(word, rng.sample(_SLIPS, len(_SLIPS))) for word in rng.sample(words, len(words))]
    for turn in range(len(_SLIPS)):
        for (start, end), slips in turns:
            old = text[start:end]
            new = "".join(slips[turn](regex.findall(r"\X", old), rng) or [])
            if new and (new.casefold() not in known or new.casefold() == old.casefold()):
                yield Edit(f"{new!r} for {old!r}", text[:start] + new + text[end:], (start, end))


def _is_open(word: str) -> bool:
    """Return whether a word is long enough, and of letters alone."""
    letters = regex.findall(r"\X", word)
    return bool(regex.fullmatch(r"[\p{L}\p{M}]+", word)) and len(letters) >= (2 if is_unspaced(word) else _LEAST)


def _swapped(letters: list[str], rng: random.Random) -> list[str] | None:
    if is_unspaced(letters[0]):
        return letters[::-1]
    places = [i for i in range(1, len(letters) - 1) if letters[i] != letters[i + 1]]
    if not places:
        return None
    i = rng.choice(places)
    return [*letters[:i], letters[i + 1], letters[i], *letters[i + 2 :]]


def _dropped(letters: list[str], rng: random.Random) -> list[str] | None:
    if is_unspaced(letters[0]):
        return None
    i = rng.randrange(1, len(letters) - 1)
    return [*letters[:i], *letters[i + 1 :]]


def _doubled(letters: list[str], rng: random.Random) -> list[str] | None:
    i = rng.randrange(1, len(letters))
    return [*letters[:i], letters[i], *letters[i:]] if letters[i].lower() in _BESIDE else None


def _mistyped(letters: list[str], rng: random.Random) -> list[str] | None:
    i = rng.randrange(1, len(letters))
    beside = _BESIDE.get(letters[i].lower(), "")
    if not beside:
        return None
    key = rng.choice(beside)
    return [*letters[:i], key.upper() if letters[i].isupper() else key, *letters[i + 1 :]]


def _in_other_case(letters: list[str], rng: random.Random) -> list[str] | None:
    """Return a word in capitals; one that begins with a capital in lower case."""
    word = "".join(letters)
    other = word.lower() if word[:1].isupper() else word.upper()
    return None if other == word else [other]


_SLIPS: tuple[_Slip, ...] = (_mistyped, _swapped, _dropped, _doubled, _in_other_case)
