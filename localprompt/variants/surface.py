"""Changes of an instruction's surface that mean nothing: full stop, case, blanks, politeness. Level 6."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import regex

from localprompt.variants.variant import Origin, Variant
from localprompt.variants.wording import Edit, Span, changed, edited, is_english, literal

_STOP = regex.compile(r"(?<!\.)[.。।۔](?=\s*\Z)")
_MARKED = regex.compile(r"[\p{L}\p{M}\p{N}][\"'”’»」』)\]]*\s*\Z")
"""The end of a sentence that has no sign there."""
_FULL_STOPS = (
    ("[\\p{Han}\\p{Hiragana}\\p{Katakana}]", "。"),
    ("\\p{Devanagari}", "।"),
    ("[\\p{Latin}\\p{Cyrillic}\\p{Greek}\\p{Arabic}\\p{Hebrew}]", "."),
)
_FIRST = regex.compile(r"\A([^\p{L}\p{N}{]*)(\p{Lu}(?!\p{Lu})|\p{Ll})")
_BETWEEN = regex.compile(r"(?<=\p{L}{2}[\"'”’)\]]*[.!?][\"'”’)\]]*)[ ]+(?=\S)|(?<=[。！？])(?=[^\s」』）])")
"""The borders of sentences; abbreviations such as `e.g.` end none."""
_POLITE = regex.compile(r"\A\s*please[,:]?\s+|,?\s*\bplease(?=[.!?]?\s*\Z)", regex.IGNORECASE)


class Surface:
    """The instruction with another surface; names of outputs, quotations and `{{slots}}` stay as they are."""

    name = "surface"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return the variants, the most visible first."""
        text = origin.prompt.instruction
        return edited(origin, self.name, _edits(text, literal(origin)), most) if text.strip() else []


def _edits(text: str, spans: Sequence[Span]) -> Iterator[Edit]:
    yield _other_end(text)
    yield Edit("all in capitals", changed(text, spans, str.upper))
    yield Edit("all in lower case", changed(text, spans, str.lower))
    yield _other_politeness(text)
    yield _other_first_letter(text, spans)
    yield Edit("a line break between sentences", _spaced(text, spans, "\n"))
    yield Edit("two spaces between sentences", _spaced(text, spans, "  "))
    yield Edit("a space at the end", f"{text} ")
    if text[-1:].isalnum() or _STOP.search(text):
        yield Edit("with thanks", f"{_ended(text)} Thank you." if is_english(text) else text)


def _spaced(text: str, spans: Sequence[Span], gap: str) -> str:
    """Return a text with `gap` between its sentences, outside of `spans`; two spaces only where there is one."""

    def spaced(match: regex.Match[str]) -> str:
        is_kept = any(start < match.end() and match.start() < end for start, end in spans)
        return match[0] if is_kept or not (match[0] or gap == "\n") else gap

    return _BETWEEN.sub(spaced, text)


def _other_end(text: str) -> Edit:
    if _STOP.search(text):
        return Edit("without the final full stop", _STOP.sub("", text))
    return Edit("with a final full stop", _ended(text))


def _ended(text: str) -> str:
    """Return a text that ends in a letter or a quotation mark with the full stop of its script, others as they are."""
    last = regex.findall(r"\p{L}", text)[-1:]
    if not last or not _MARKED.search(text):
        return text
    stop = next((stop for script, stop in _FULL_STOPS if regex.match(script, last[0])), "")
    return f"{text.rstrip()}{stop}"


def _other_politeness(text: str) -> Edit:
    if match := _POLITE.search(text):
        rest = text[: match.start()] + text[match.end() :]
        is_first = match.start() == 0 and match[0].lstrip()[:1].isupper()
        return Edit("without 'please'", rest[:1].upper() + rest[1:] if is_first else rest)
    return Edit("with 'please'", f"Please help with this: {text}" if is_english(text) else text)


def _other_first_letter(text: str, spans: Sequence[Span]) -> Edit:
    match = _FIRST.match(text)
    if match is None or any(start <= match.start(2) < end for start, end in spans):
        return Edit("", text)
    case = "lower" if match[2].isupper() else "upper"
    return Edit(f"first letter in {case} case", text[: match.start(2)] + match[2].swapcase() + text[match.end(2) :])
