"""The task's layout in other formats, drawn from a small grammar. Level 6.

After FormatSpread (Sclar et al. 2024, arXiv 2310.11324): separators after cues, casing of cues, spacing between parts.
The grammar is our own and changes the layout that a task has; cue words are exchanged too. A cue is what stands before
a slot or at the end, at the beginning of a line: `Message:` in `Message: {{input}}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from string import capwords

import regex

from localprompt.tasks import Layout
from localprompt.variants.variant import Origin, Variant
from localprompt.variants.wording import found_names, names_of

_CUE = regex.compile(
    r"""(?:^|(?<=\{\{[ \t]*(?:demos|instruction)[ \t]*\}\}))
        (?P<lead>[\#*>\- ]*) (?P<words>\p{L}[\p{L}\p{M}\p{N}_'’\-/&() ]{0,40}?)
        (?P<mark>[ \t]?(?:::?|：|->|-|=>?)|(?=[\t\n])) (?P<gap>[ \t\n]*)
        (?=(?P<end>\Z)|\{\{[ \t]*(?!demos\b))""",
    regex.VERBOSE | regex.MULTILINE,
)
_MARKS = ((":", " "), (" -", " "), ("::", " "), ("", "\t"), (":", "\n"))
"""What stands after a cue, and what before the text behind it."""
_CASES: dict[str, Callable[[str], str]] = {"title": capwords, "lower": str.lower, "upper": str.upper}
_LOOSE, _TIGHT = "\n\n", "\n"
_WORDS = (("Input", "Text", "Question"), ("Output", "Answer", "Label"))
"""Cues that say the same; others, such as `Team`, say what the task is."""


@dataclass(frozen=True, slots=True)
class _Form:
    """A format; what is empty or None stays as the layout has it."""

    mark: tuple[str, str] | None = None
    case: str = ""
    spacing: str = ""
    words: tuple[tuple[str, str], ...] = ()
    """Cue words and what takes their place."""

    def __str__(self) -> str:
        spacing = {_LOOSE: "blank lines between parts", _TIGHT: "no blank lines"}
        parts = [f"{new!r} for {old!r}" for old, new in self.words]
        parts += [f"cues in {self.case} case"] if self.case else []
        parts += [f"{''.join(self.mark)!r} after cues"] if self.mark else []
        return ", ".join([*parts, *([spacing[self.spacing]] if self.spacing else [])])


class Format:
    """The task's layout in other formats; slots, instruction and rows stay as they are."""

    name = "format"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return different formats, drawn at random."""
        found: dict[tuple[str, ...], tuple[_Form, Layout]] = {}
        for form in _forms(origin):
            layout = _formed(origin, form)
            # The first form that gives a layout says the least: what it leaves out changes nothing.
            found.setdefault((layout.template, layout.demo, layout.separator), (form, layout))
        found.pop((origin.task.layout.template, origin.task.layout.demo, origin.task.layout.separator), None)
        drawn = origin.rng(self.name).sample(list(found.values()), min(most, len(found)))
        return [Variant(self.name, str(form), origin.prompt, origin.task.laid_out(layout)) for form, layout in drawn]


def _forms(origin: Origin) -> Iterator[_Form]:
    """Yield all forms, those that change less before those that change the same and more."""
    for words, case, mark, spacing in product(_exchanges(origin), ("", *_CASES), (None, *_MARKS), ("", _LOOSE, _TIGHT)):
        yield _Form(mark, case, spacing, words)


def _exchanges(origin: Origin) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield pairs of a cue and another that says the same; no cue of which the instruction or another one speaks."""
    task = origin.task
    cues = {match["words"].casefold() for match in _CUE.finditer(task.layout.template)}
    kept = found_names(origin.prompt.instruction, [word for group in _WORDS for word in group])
    spoken_of = {origin.prompt.instruction[start:end].casefold() for start, end in kept}
    choices: list[list[tuple[tuple[str, str], ...]]] = []
    for group in _WORDS:
        old = next((word for word in group if word.casefold() in cues - spoken_of), "")
        is_open = old and (len(task.inputs) == 1 or group is not _WORDS[0])
        others = [word for word in group if word.casefold() not in cues and (word != "Label" or task.labels)]
        choices.append([(), *(((old, new),) for new in others if is_open)])
    for first, second in product(*choices):
        yield (*first, *second)


def _formed(origin: Origin, form: _Form) -> Layout:
    layout, names = origin.task.layout, names_of(origin)
    separator = layout.separator
    # In a chat the turn ends there; and what is no blank belongs to the task.
    gap_follows = layout.mode == "raw" and not separator.strip()

    def cue(match: regex.Match[str]) -> str:
        if found_names(match["words"], names):
            return match[0]
        words = dict(form.words).get(match["words"].capitalize(), match["words"])
        words = _CASES[form.case](words) if form.case else words
        mark, gap = form.mark or (match["mark"], match["gap"])
        if match["end"] is not None and form.mark:
            # A text should not end in a space: it belongs to the first token of the answer.
            gap = gap if gap_follows and gap != " " else ""
        return f"{match['lead']}{words}{mark}{gap}"

    def formed(text: str) -> str:
        return _CUE.sub(cue, _spaced(text, form.spacing))

    template = formed(layout.template)
    ends_in_cue = any(match["end"] is not None for match in _CUE.finditer(layout.template))
    if form.mark and gap_follows and ends_in_cue:
        separator = "" if template[-1:].isspace() else " "
    return replace(layout, template=template, demo=formed(layout.demo), separator=separator)


def _spaced(text: str, spacing: str) -> str:
    if spacing == _TIGHT:
        return regex.sub(r"\n(?:[ \t]*\n)+", "\n", text)
    return regex.sub(r"(?<!\n)\n(?!\n)", "\n\n", text) if spacing == _LOOSE else text
