"""Lettered options of rows in another order: each text gets another letter. Level 6."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from string import ascii_uppercase

import regex

from localprompt.tasks.choices import read_option
from localprompt.types import Example
from localprompt.variants.variant import Origin, Variant
from localprompt.variants.wording import replaced

_OPTION = regex.compile(r"^[ \t]*\(?([A-Z])[).:]+[ \t]*(\S.*)$", regex.MULTILINE)
_OF_OTHERS = regex.compile(r"\b(?:above|below|both|neither)\b|\([A-Z]\)|\b[A-Z]\b (?:and|or) [A-Z]\b", regex.IGNORECASE)
"""In an option that speaks of others, which do not stay where they are."""
_Order = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """An example and its options; without any where it has none that can change places."""

    example: Example
    slot: str = ""
    options: tuple[regex.Match[str], ...] = ()

    def ordered(self, order: _Order) -> Example:
        """Return the example with the options in another order, and the letters of its targets changed with them."""
        spans, texts = [option.span(2) for option in self.options], [self.options[place][2] for place in order]
        inputs = {**self.example.inputs, self.slot: replaced(self.example.inputs[self.slot], spans, texts)}
        new = {ascii_uppercase[old]: ascii_uppercase[place] for place, old in enumerate(order)}
        return replace(
            self.example, inputs=inputs, targets=tuple(_lettered(each, new) for each in self.example.targets)
        )

    def answers(self, order: _Order) -> dict[str, str]:
        """Return what each letter was before, bare and in the form of the targets; nothing if these are no letters."""
        old = {ascii_uppercase[place]: ascii_uppercase[old] for place, old in enumerate(order)}
        lettered = [each for each in self.example.targets if read_option(each)[0] in old]
        forms = [each for each in lettered if not read_option(each)[1]]
        found = dict(old) if lettered else {}
        for form in forms:
            found |= {_with_letter(form, new): _with_letter(form, letter) for new, letter in old.items()}
        return found


def with_other_options(
    origin: Origin, family: str, orders: Callable[[int], Iterator[_Order]], most: int
) -> Iterator[Variant]:
    """Yield at most `most` variants in which the rows that have lettered options show them in other orders.

    Args:
        origin: without such rows there are no variants.
        family: name of it.
        orders: number of options to orders of their places.
        most: variants.
    """
    rows = [_row(example, origin.task.labels) for example in origin.task.test]
    turns = [list(islice(orders(len(row.options)), most)) for row in rows]
    for number in range(max(map(len, turns), default=0)):
        shown = [
            (row, turn[number]) if number < len(turn) else (row, None) for row, turn in zip(rows, turns, strict=True)
        ]
        test = tuple(row.ordered(order) if order else row.example for row, order in shown)
        answers = {row.example.id: row.answers(order) for row, order in shown if order}
        yield Variant(
            family,
            f"options in another order ({number})" if number else "options backwards",
            origin.prompt,
            replace(origin.task, test=test),
            answer_of={name: each for name, each in answers.items() if each},
        )


def _row(example: Example, labels: Sequence[str]) -> _Row:
    for slot, text in sorted(example.inputs.items()):
        found = tuple(_OPTION.finditer(text))
        letters = "".join(option[1] for option in found)
        if len(found) > 1 and ascii_uppercase.startswith(letters):
            targets = [each for each in example.targets if read_option(each)[0] in set(letters)]
            moved = {_with_letter(target, letter) for target in targets for letter in letters}
            # A further line of an option would stay behind: one between two of them, or an indented one below the last.
            between = _OPTION.sub("", text[found[0].start() : found[-1].end()]).strip()
            is_whole = not between and not regex.match(r"\n[ \t]+\S", text, pos=found[-1].end())
            can_move = is_whole and not any(_OF_OTHERS.search(option[2]) for option in found)
            texts = {option[2].strip() for option in found}
            can_move = can_move and all(each in targets or each.strip() in texts for each in example.targets)
            can_move = can_move and (not labels or moved <= set(labels))
            return _Row(example, slot, found) if can_move else _Row(example)
    return _Row(example)


def _lettered(target: str, new: dict[str, str]) -> str:
    letter, _ = read_option(target)
    return _with_letter(target, new[letter]) if letter in new else target


def _with_letter(target: str, letter: str) -> str:
    """Return a target with another letter, in the case that it has."""
    return regex.sub("[A-Za-z]", lambda old: letter if old[0].isupper() else letter.lower(), target, count=1)
