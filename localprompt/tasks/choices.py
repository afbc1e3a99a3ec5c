"""Which of several lettered options a text names. Level 2.

Chat models write `**B**`, `Answer: (B)`, `B) Paris` or `the answer is b`; and they write "a dog" and "I think", where
the letter is a word. What cannot be told from a word, and what names two options, names none.
"""

from __future__ import annotations

import re

# "e.g." and "U.S." begin with no option.
_OPTION = re.compile(
    r"\s*(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])(?=[):]|\.(?!\w\b)|[ \t]+[-–—]\s|\s*(?:\n|$)))[).:]?\s*(.*)",
    re.DOTALL,
)
_MARKED = re.compile(
    r"(?<!\w)(\*{1,3}|__?|`|\$)[(\[]?([A-Za-z])[.):\]]*\1(?!\w)|\\boxed\{(?:\\text\{)?\(?([A-Za-z])\)?\}{1,2}"
)
_MARKS = re.compile(r"[*`$]|__")
# A and I before a word are words themselves, unless the word goes on about the option.
_LETTER = r"([A-Za-z])(?![\w'’])(?!(?<=[AaIi])[ \t]+(?!(?:because|since|as|is|or|and)\b)\w)"
_BRACKETED = r"(?<!\w)[(\[]([A-Za-z])[)\]]"
_VERB = r"\s+(?:is|was|would\s+be|should\s+be|must\s+be)"
_SAID = re.compile(
    rf"\b(?i:(?:answer(?:{_VERB})?|(?:option|choice)(?:{_VERB}|(?=\s*[:=])))(?:\s*[:=]\s*|\s+)(?:(?:option|choice)\s+)?)"
    rf"[(\[\"']?{_LETTER}"
)
_CORRECT = re.compile(
    r"(?<![\w'’])(?<!\bor )(?<!\bnor )(?<!\band )[(\[]?([A-Za-z])[)\]]?\s+is\s+(?:the\s+)?"
    r"(?:(?:most|only)\s+)?(?:correct|right|best|answer)\b"
)
_MENTIONED = re.compile(
    rf"(?<!\bnot )(?:{_BRACKETED}|\b(?i:option|choice)\s+(?:([A-HJ-Z])(?![\w'’])|{_LETTER}))"
    r"(?!\s+is\s+(?:wrong|incorrect|false|not)\b)"
)
_ANOTHER = re.compile(rf"[)\].\"']*\s*(?:,|/|&|\bor\b|\band\b)\s*(?:(?i:option|choice)\s+)?(?:{_BRACKETED}|{_LETTER})")


def read_option(text: str) -> tuple[str | None, str]:
    """Return the letter an option begins with, upper case, and the rest; None and all of it if it begins with none."""
    match = _OPTION.fullmatch(text)
    if match is None:
        return None, text
    return (match[1] or match[2] or match[3]).upper(), match[4]


def read_choice(prediction: str) -> tuple[str | None, str]:
    """Return the letter of the one option that an answer names, upper case, or None; and what follows it, or all.

    It is the option that the answer begins with, if no other line begins with one; else the one that is said to be the
    answer; else the only one in brackets or called an option.
    """
    text = _MARKS.sub("", _MARKED.sub(lambda match: f"({match[2] or match[3]})", prediction)).lstrip("-•#> \n").rstrip()
    first, rest = read_option(text)
    begun = {letter for line in text.splitlines() if (letter := read_option(line)[0])}
    if first is not None and begun == {first} and not rest.startswith("is "):
        found = {first} | _following(text, len(text) - len(rest)) | _said(text.splitlines()[0])
        return (first, rest) if found == {first} else (None, prediction)
    found = _said(text) or _letters(_MENTIONED, text)
    return (found.pop() if len(found) == 1 else None), prediction


def _said(text: str) -> set[str]:
    return _letters(_SAID, text) | _letters(_CORRECT, text)


def _letters(pattern: re.Pattern[str], text: str) -> set[str]:
    """Return the letters that a pattern finds and those joined to them, as in `A or B`; upper case."""
    found: set[str] = set()
    for match in pattern.finditer(text):
        found |= {_letter(match)} | _following(text, match.end())
    return found


def _following(text: str, end: int) -> set[str]:
    found: set[str] = set()
    while (match := _ANOTHER.match(text, end)) is not None:
        found.add(_letter(match))
        end = match.end()
    return found


def _letter(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()
