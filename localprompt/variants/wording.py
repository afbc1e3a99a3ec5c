"""A prompt with its instruction written in another way; what no change of its text may touch. Level 6."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import regex

from localprompt.tasks.answers import Extraction
from localprompt.tasks.normalising import UNSPACED
from localprompt.variants.variant import Origin, Variant

Span = tuple[int, int]
"""First character and the one behind the last."""

_SLOT = r"\{\{[^{}]*\}\}"
_LETTER = rf"[\w--[{UNSPACED}]]"
"""What a name must not stand beside; scripts without spaces have no such borders."""

_PART = rf"[[\p{{L}}\p{{N}}]--[{UNSPACED}]][[\p{{L}}\p{{M}}\p{{N}}_]--[{UNSPACED}]]*"
_WORD = regex.compile(
    rf"{_SLOT}|{_PART}(?:['’./@&\-‐\u200c\u200d]{_PART})*|(?:(?=[{UNSPACED}])\X){{1,2}}", regex.VERSION1
)
_LITERAL = regex.compile(
    _SLOT
    + r"""
      | (?s:```.+?(?:```|\Z))|\p{N}+(?:[.,:/]\p{N}+)*  # code, numbers; quotations: apostrophes open none that is long
      | (?<![\p{L}\p{N}])(?:"[^"\n]{1,400}"|'[^'\n]{1,60}'|`[^`\n]{1,400}`)(?![\p{L}\p{N}])
      | “[^”\n]{1,400}”|‘[^’\n]{1,60}’(?!\p{L})|«[^»\n]{1,400}»|「[^」\n]{1,400}」|『[^』\n]{1,400}』
      | <[^<>\s]{1,40}>|\{\w{1,40}\}|\[\w{1,40}\]  # what looks like a slot
    """,
    regex.VERBOSE,
)
_ENGLISH = regex.compile(r"\b(?:the|of|and|or|each|this|with|from|which|what|your)\b", regex.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Edit:
    """Another text of an instruction."""

    change: str
    text: str
    span: Span | None = None
    """Where the original was changed, of one-word edits."""


def edited(origin: Origin, family: str, edits: Iterable[Edit], most: int, *, may_lose: bool = False) -> list[Variant]:
    """Return variants with the first `most` different and valid texts.

    Args:
        origin: its prompt with other instructions is what comes out.
        family: name of it.
        edits: in the order of the result; taken until there are enough.
        most: variants.
        may_lose: whether an output that the instruction names may be gone.
    """
    original = origin.prompt.instruction
    named = () if may_lose else tuple(name for name in names_of(origin) if name in original)
    found: dict[str, Variant] = {}
    for edit in edits:
        if len(found) >= most:
            break
        is_kept = edit.text != original and is_valid(edit.text) and all(name in edit.text for name in named)
        if is_kept and edit.text not in found:
            prompt = replace(origin.prompt, instruction=edit.text)
            found[edit.text] = Variant(family, edit.change, prompt, origin.task, span=edit.span)
    return list(found.values())


def names_of(origin: Origin) -> tuple[str, ...]:
    """Return the outputs that an instruction may name: labels, or the closed set of targets."""
    return origin.task.labels or origin.problem.outputs


def is_valid(text: str) -> bool:
    """Return whether a text can be shown to a model: no NUL, no half of a surrogate pair."""
    return "\0" not in text and text.encode("utf-8", "ignore").decode() == text


def found_names(text: str, names: Sequence[str]) -> list[Span]:
    """Return where a text names outputs, in whatever case, as whole words, of overlapping ones the longest."""
    pattern = _names(tuple(names))
    return [match.span() for match in pattern.finditer(text)] if pattern else []


def stands(name: str, text: str) -> bool:
    """Return whether a text has a name as it is written, as a whole word."""
    return any(text[start:end] == name for start, end in found_names(text, (name,)))


def literal(origin: Origin) -> list[Span]:
    """Return what the instruction may only say in the same words, in order; they may overlap.

    Names of outputs, the field or marker by which an answer is found, numbers, code, what is quoted, what looks like a
    slot.
    """
    text, answer = origin.prompt.instruction, origin.task.answer
    asked_for = answer.argument if isinstance(answer, Extraction) else ""
    marks = {span for span in found_names(text, (asked_for,)) if text[slice(*span)] == asked_for}
    return sorted({*found_names(text, names_of(origin)), *literals_in(text), *marks})


def literals_in(text: str) -> list[Span]:
    """Return where a text has numbers, code between fences, quotations, and what looks like a slot, in order."""
    return [match.span() for match in _LITERAL.finditer(text)]


def words_in(text: str, spans: Sequence[Span] = ()) -> list[Span]:
    """Return where the words of a text stand.

    In scripts without spaces these are two characters each, as most words have, of what lies in or between `spans`.
    """
    borders = {at for start, end in spans if is_unspaced(text[start:end]) for at in (start, end)}
    cuts = sorted({0, len(text), *borders})
    return [match.span() for start, end in pairwise(cuts) for match in _WORD.finditer(text, start, end)]


def outside(words: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """Return the words that have nothing in common with `spans`."""
    taken = {at for start, end in spans for at in range(start, end)}
    return [(start, end) for start, end in words if taken.isdisjoint(range(start, end))]


def is_unspaced(word: str) -> bool:
    """Return whether a word of `words_in` is of a script without spaces."""
    return regex.match(f"[{UNSPACED}]", word) is not None


def is_english(text: str) -> bool:
    """Return whether a text has one of the most frequent words of English: no other gets English words added."""
    return _ENGLISH.search(text) is not None


def scripts_of(text: str) -> set[str]:
    """Return the scripts of the letters of a text, as Unicode names them; Japanese has several."""
    return {unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha()}


def replaced(text: str, spans: Sequence[Span], words: Sequence[str]) -> str:
    """Return the text with a word in the place of each span, which lie behind one another."""
    pieces, at = list[str](), 0
    for (start, end), word in zip(spans, words, strict=True):
        pieces += text[at:start], word
        at = end
    return "".join([*pieces, text[at:]])


def changed(text: str, spans: Sequence[Span], change: Callable[[str], str]) -> str:
    """Return a text with `change` made to all that lies outside of `spans`, which may overlap but are in order."""
    pieces, at = list[str](), 0
    for start, end in spans:
        pieces += change(text[at:start]), text[max(at, start) : end]
        at = max(at, end)
    return "".join([*pieces, change(text[at:])])


@lru_cache(maxsize=8)
def _names(names: tuple[str, ...]) -> regex.Pattern[str] | None:
    longest_first = sorted((name for name in names if name.strip()), key=len, reverse=True)
    if not longest_first:
        return None
    bounded = (
        f"{_border('<!', name[0])}{regex.escape(name)}{_border('!', name[-1])}"
        for name in map(str.strip, longest_first)
    )
    return regex.compile("|".join(bounded), regex.IGNORECASE | regex.VERSION1)


def _border(look: str, edge: str) -> str:
    """Return the pattern of no letter beside a name that has a letter at its edge."""
    return f"(?{look}{_LETTER})" if regex.match(_LETTER, edge, regex.VERSION1) else ""
