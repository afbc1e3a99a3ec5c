"""What is to be chosen from, in another order: outputs that the instruction lists. Level 6."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import permutations, zip_longest

import regex

from localprompt.variants.options import with_other_options
from localprompt.variants.variant import Origin, Variant
from localprompt.variants.wording import Edit, Span, edited, found_names, names_of, replaced

_OR, _UNSPACED_OR = r"or(?!\s+not\b)|vs|oder|ou|o|или|أو", "或者?|还是|または"
_CONJUNCTION = f"{_OR}|{_UNSPACED_OR}|and|und|et|y|e|и|和"
_BETWEEN = regex.compile(
    rf"(?=.*?[,;/|、，،\n\p{{L}}])(?:[^\p{{L}}\p{{N}}.!?]|\d+[.)]|{_CONJUNCTION})+", regex.DOTALL | regex.IGNORECASE
)
"""What stands between two outputs of a list: a sign or a word that joins them, quotation marks, the item's number."""
_REFERS = regex.compile(
    rf"""\b(?:respectively|correspondingly|in\ (?:that|this|the\ (?:same|given))\ (?:order|sequence)|from\ \w+\ to)\b
      | \w\s*(?:/|\b(?:{_OR})\b|{_UNSPACED_OR})\s*\w  # other alternatives: their order may be that of the outputs
      | \w+(?:,\ \w+){{2,}}\b""",
    regex.VERBOSE | regex.IGNORECASE,
)
"""What beside a list may refer to its order."""
_FEW, _DRAWS = 6, 10_000
"""So many things have at most 720 orders, which are listed; of more, orders are drawn, so often at most."""


class Order:
    """Listed outputs and lettered options in other orders."""

    name = "order"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return variants with the listed outputs in other orders, and such with the options of rows, by turns.

        An option that has changed its place has another letter: targets are the new letters, and `answer_of` says what
        each letter was, so that answers are compared by what they stand for.
        """
        rng = origin.rng(self.name)
        listed = edited(origin, self.name, _relisted(origin, rng), most, may_lose=True)
        turns = zip_longest(listed, with_other_options(origin, self.name, lambda n: _orders(n, rng), most))
        return [each for turn in turns for each in turn if each is not None][:most]


def _relisted(origin: Origin, rng: random.Random) -> Iterator[Edit]:
    text = origin.prompt.instruction
    spans = _list_in(text, found_names(text, names_of(origin)))
    names = [text[start:end] for start, end in spans]
    for number, order in enumerate(_orders(len(names), rng)):
        change = f"outputs listed in another order ({number})" if number else "outputs listed backwards"
        yield Edit(change, replaced(text, spans, [names[place] for place in order]))


def _list_in(text: str, names: Sequence[Span]) -> list[Span]:
    """Return the list of different outputs; nothing where no two stand together, or something may go by their order."""
    lists: list[list[Span]] = [[]]
    for start, end in names:
        last, name = lists[-1], text[start:end].casefold()
        is_next = last and _BETWEEN.fullmatch(text, last[-1][1], start)
        if is_next and all(text[first:behind].casefold() != name for first, behind in last):
            last.append((start, end))
        else:
            lists.append([(start, end)])
    found = [each for each in lists if len(each) > 1]
    if len(found) != 1:
        return []
    (first, _), *_, (_, end) = found[0]
    return [] if any(map(_REFERS.search, (text[:first], text[end:]))) else found[0]


def _orders(n: int, rng: random.Random) -> Iterator[tuple[int, ...]]:
    """Yield other orders of n things, backwards first; none where there is only one."""
    if n < 2:
        return
    forwards, backwards = tuple(range(n)), tuple(reversed(range(n)))
    yield backwards
    if n <= _FEW:
        listed = list(permutations(forwards))
        drawn = iter(rng.sample(listed, len(listed)))
    else:
        drawn = (tuple(rng.sample(forwards, n)) for _ in range(_DRAWS))
    yield from (each for each in drawn if each not in (forwards, backwards))
