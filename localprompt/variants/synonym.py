"""One word of the instruction replaced by another of the same meaning, found and checked by a model. Level 6.

A word is asked for as a synonym of the old one in its context, and the old one as a synonym of it in its place (as
words translated there and back): antonyms and words that are merely related are likely in one direction at most. The
likelihood of the text itself tells what does not fit the sentence.
"""

from __future__ import annotations

import difflib
import random
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice, pairwise, zip_longest

import regex

from localprompt.errors import ContextOverflow
from localprompt.proposals.metaprompts import load, ship
from localprompt.proposals.validation import DIED
from localprompt.types import Discard, Generation, Message, Sampling
from localprompt.variants.variant import Origin, Variant
from localprompt.variants.wording import (
    Edit,
    Span,
    edited,
    found_names,
    is_unspaced,
    is_valid,
    literal,
    names_of,
    outside,
    scripts_of,
    words_in,
)

_TEMPLATES = {"question": ("text", "word"), "opening": ("word",)}
"""Meta-prompts to their slots: the user's turn of a chat, and how the answer begins; without a chat one text."""
_REPLIES = 6
"""Words asked for in place of one."""
_CHECKED = 2
"""Of these, how many are looked at in the text, the likeliest."""
_MAX_TOKENS, _RESERVED = 12, 48
"""Of a reply, and of all that a request for the way back may have beyond the first one."""
_CLOSING = '"'
"""The opening ends within a quotation, so that the model says where a word ends."""
_TRIES = 3
"""Words tried for each variant that is wanted, and as many more."""
_LEAST = 4
"""Letters of a word that has synonyms: shorter ones are articles, prepositions, conjunctions of most languages."""
_NUMBERS = frozenset(unicodedata.name(chr(code)).rpartition(" ")[2].casefold() for code in range(0x2460, 0x2474))
"""The English words from one to twenty, as Unicode names the circled numbers: to models, each is like the next."""
_STEM, _ENDING = 3, 3
"""Letters that all forms of a word begin with: all but the ending, at least so many."""
_ALIKE = 0.7
"""Words with the same first letter of which so much is the same are forms of one, such as give and gave."""
_WINDOWS = (160, 60)
"""Characters shown on both sides of a word; fewer where they do not fit the context."""
_LOWEST = -10.0
"""Nats of a word there and back, and half of what the text loses by it: see `_Search.synonyms`."""

ship("synonym", __name__)


class Synonym:
    """The instruction with one word replaced; what it names and quotes stays."""

    name = "synonym"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return the variants, words spread over the instruction, each again only when all have had their turn.

        Each has the span of the word that is replaced. None in scripts without spaces, where nothing shows the borders
        of words, and where the proposer finds nothing usable or only replies. What is not used is counted as discarded.

        Raises:
            BudgetExhausted: if there is no budget left for a request.
        """
        if most < 1 or not is_valid(origin.prompt.instruction) or not origin.problem.proposer.can_score:
            return []
        return edited(origin, self.name, list(islice(_edits(origin, most), most)), most)


def _edits(origin: Origin, most: int) -> Iterator[Edit]:
    search, text = _Search(origin), origin.prompt.instruction
    words = _spread(_open_words(origin), most, search.rng)
    spare = list[list[Edit]]()
    for start, end in words[: _TRIES * (most + 1)]:
        edits = [
            Edit(f"{new!r} for {text[start:end]!r}", text[:start] + new + text[end:], (start, end))
            for new in search.synonyms((start, end))
        ]
        yield from edits[:1]
        spare.append(edits[1:])
    yield from (edit for edit in chain.from_iterable(zip_longest(*spare)) if edit)


def _open_words(origin: Origin) -> list[Span]:
    """Return the words that may be replaced: of letters alone, long enough, and outside of what must stay."""
    text, kept = origin.prompt.instruction, literal(origin)
    return [
        (start, end)
        for start, end in outside(words_in(text, kept), kept)
        if end - start >= _LEAST
        and text[start:end].casefold() not in _NUMBERS
        and regex.fullmatch(r"[\p{L}\p{M}]+", text[start:end])
        and not is_unspaced(text[start:end])
    ]


def _spread(words: Sequence[Span], n: int, rng: random.Random) -> list[Span]:
    """Return the words in an order whose first `n` come from as many equal pieces of the text, one of each."""
    bounds = [i * len(words) // n for i in range(n + 1)]
    pieces = [words[start:end] for start, end in pairwise(bounds)]
    turns = zip_longest(*(rng.sample(piece, len(piece)) for piece in pieces))
    return [word for word in chain.from_iterable(turns) if word]


@dataclass(frozen=True, slots=True)
class _Place:
    """A word in as much of the instruction as is shown."""

    before: str
    word: str
    after: str


class _Search:
    """Asks the proposer for words in place of others, and how well they go together."""

    def __init__(self, origin: Origin) -> None:
        self.rng = origin.rng(Synonym.name)
        self._proposer = origin.problem.proposer.seeded(self.rng)
        self._text = origin.prompt.instruction
        self._names = names_of(origin)
        self._templates = load(Synonym.name, _TEMPLATES, None)

    def synonyms(self, span: Span) -> list[str]:
        """Return words of the same meaning as that at `span`, in its case, the best first.

        A word's value is the log-probability of it as a synonym of the old one, of the old one as a synonym of it where
        it stands in the text, and half of the difference that it makes to the log-probability of the text. Half of the
        least value must be left after the first.
        """
        place = self._place(span)
        if place is None:
            return []
        asked = self._request(place, place.word)
        sampling = Sampling(_MAX_TOKENS, temperature=1.0, top_p=0.95, stop=(_CLOSING,), grammar=_other_than(place.word))
        words = self._usable(span, self._proposer.complete([asked], sampling, n=_REPLIES)[0])
        there = self._proposer.likelihood([(asked, word + _CLOSING) for word in words])
        likely = sorted(zip(there, words, strict=True), reverse=True)
        n = sum(nats >= _LOWEST / 2 for nats, _ in likely[:_CHECKED])
        self._discard([word for _, word in likely[n:]], "unlikely synonym")
        found = sorted(self._values(place, likely[:n]), reverse=True)
        self._discard([word for value, word in found if value < _LOWEST], "no synonym")
        return [word for value, word in found if value >= _LOWEST]

    def _place(self, span: Span) -> _Place | None:
        """Return the word at `span` with as much beside it as is shown; None where even little does not fit."""
        text, (start, end) = self._text, span
        for window in _WINDOWS:
            before, after = _ending(text[:start], window), _beginning(text[end:], window)
            place = _Place(before, text[start:end], after)
            with suppress(ContextOverflow):
                self._proposer.first_fitting([self._request(place, place.word)], _RESERVED)
                return place
        return None

    def _usable(self, span: Span, replies: Sequence[Generation]) -> list[str]:
        """Return the different words of replies, in the case of the old word."""
        text, (start, end) = self._text, span
        old, n_named = text[start:end], len(found_names(text, self._names))
        said = {text[start:end].casefold() for start, end in words_in(text)}
        found = dict[str, None]()
        for reply in replies:
            word = _in_case_of(old, reply.text.partition(_CLOSING)[0].strip())
            new = text[:start] + word + text[end:]
            checks = (
                (DIED, reply.finish_reason == "failed"),
                ("no single word", not regex.fullmatch(rf"[\p{{L}}\p{{M}}]{{{_LEAST},}}", word)),
                ("truncated", reply.finish_reason == "length"),
                ("in another script", not scripts_of(word) <= scripts_of(old)),
                ("a form of the same word", _is_form(old, word)),
                ("in the text already", word.casefold() in said),
                ("names another output", len(found_names(new, self._names)) != n_named),
                ("wrong article", _needs_other_article(text[:start], old, word)),
                ("duplicate", word in found),
            )
            if reason := next((reason for reason, applies in checks if applies), ""):
                self._discard([reply.text], reason)
            else:
                found[word] = None
        return list(found)

    def _values(self, place: _Place, likely: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
        """Return the values of words, given with their log-probabilities as synonyms of the old one, and the words."""
        words = [word for _, word in likely]
        back = [(self._request(place, word), place.word + _CLOSING) for word in words]
        texts = [(f"Instruction: {place.before}", word + place.after) for word in (place.word, *words)]
        nats = self._proposer.likelihood([*back, *texts] if words else [])
        as_it_is = nats[len(words)] if words else 0.0
        changed = zip(likely, nats, nats[len(words) + 1 :], strict=False)
        return [(there + back + (new - as_it_is) / 2, word) for (there, word), back, new in changed]

    def _request(self, place: _Place, word: str) -> str:
        question = self._templates["question"].fill(text=place.before + word + place.after, word=word)
        opening = self._templates["opening"].fill(word=word)
        if self._proposer.has_chat:
            return self._proposer.chat([Message("user", question)], opening)
        return f"{question}\n{opening}"

    def _discard(self, words: Sequence[str], reason: str) -> None:
        self._proposer.discard([Discard(word, reason) for word in words])


def _other_than(word: str) -> str:
    """Return the regular expression of a word in quotation that does not begin as all forms of `word` do."""
    letters, last = r"[\p{L}\p{M}]", ""
    branches = list[str]()
    for i, letter in enumerate(_stem(word)):
        cases = "".join(sorted({letter, *(case for case in (letter.lower(), letter.upper()) if len(case) == 1)}))
        branches.append(f"{last}[\\p{{L}}--[{cases}]]{letters}{{{int(i == 0)},20}}")
        last += f"[{cases}]"
    return f"(?:{'|'.join(branches)}){_CLOSING}"


def _stem(word: str) -> str:
    return word[: max(_STEM, len(word) - _ENDING)]


def _is_form(old: str, new: str) -> bool:
    """Return whether a word is another one itself, or looks like a form of it."""
    a, b = old.casefold(), new.casefold()
    alike = a[:1] == b[:1] and difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() >= _ALIKE
    return alike or b.startswith(_stem(a)) or a.startswith(_stem(b))


def _in_case_of(old: str, new: str) -> str:
    if old.isupper():
        return new.upper()
    return new[:1].upper() + new[1:].lower() if old[:1].isupper() else new.lower()


def _needs_other_article(before: str, old: str, new: str) -> bool:
    """Return whether an English `a` or `an` before a word does not go with another one."""
    has_article = regex.search(r"\b[Aa]n?\s+\Z", before) is not None
    return has_article and (old[:1].lower() in "aeiou") != (new[:1].lower() in "aeiou")


def _ending(text: str, size: int) -> str:
    return text if len(text) <= size else text[-size:].partition(" ")[2]


def _beginning(text: str, size: int) -> str:
    return text if len(text) <= size else text[:size].rpartition(" ")[0]
