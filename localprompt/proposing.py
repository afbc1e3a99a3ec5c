"""What a proposer wrote becomes validated candidate texts. Level 4, pure functions.

Small models chatter, stop in the middle of a sentence, copy an example, repeat themselves or answer the task instead
of describing it. Each reply is first cut down to the instruction it may hold and then tested; what is not used is
kept with its reason.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from localprompt.types import Discard, Example, Generation, Proposal

MIN_CHARS, MAX_CHARS = 3, 500
MIN_WORDS = 2
COPIED_WORDS = 6
"""So many consecutive words of a training input or of the meta-prompt make a copy."""

_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"<think(?:ing)?>.*", re.DOTALL | re.IGNORECASE)
_END_OF_THOUGHT = re.compile(r".*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_CONTROL_TOKEN = re.compile(r"<\|[^|<>\n]{1,40}\|>|</s>|<end_of_turn>|<｜[^<>\n]{1,40}｜>")
_COURTESY = re.compile(r"(?:sure(?: thing)?|certainly|of course|okay|ok)[!.,:]\s+", re.IGNORECASE)
_PREAMBLE = re.compile(
    r"""here(?:'s|’s|\ is|\ are)\b[^:\n]{0,100}:\s*                          # Here is a variation of it:
      | \**(?:(?:the|a|an|new|my|possible|revised|improved|final|missing|alternative)\ ){0,3}
        (?:instruction|prompt|variation|task)(?:\ (?:is|was|could\ be|might\ be))?\**:\**\s*   # The new instruction is:
      | (?:the\ )?(?:instruction|task)\ (?:is|was)\ to\s+                    # The instruction was to
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BULLET = re.compile(r"(?:[-*•]|\(?\d{1,2}[.)])\s+")
_QUOTES = (('"', '"'), ("“", "”"), ("'", "'"), ("‘", "’"), ("«", "»"), ("`", "`"), ("**", "**"), ("*", "*"))
_PLACEHOLDER = re.compile(
    r"\[insert|\[your|\{\{|\}\}|<[a-z][^<>\n]{0,40}>|\.\.\.|…|_{3,}|\[(?:blank|input|output)\]", re.I
)
_LABELLED = re.compile(r"(?:^|[\s\"'(])(?:input|output)\s*\d*\s*:\s*\S", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?][\"'”’)]*(?=\s|$)|[。！？]")
_ABBREVIATIONS = ("e.g.", "i.e.")
# Scripts written without spaces count by character, else every Chinese instruction would be one word.
_UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a reply is read."""

    cut: Literal["sentence", "line", "paragraph"] = "paragraph"
    """The instruction ends with its first sentence, at the first newline, or at the first blank line. With `sentence`
    the reply may have been stopped at `. `, so a period is put where none is."""
    max_chars: int = MAX_CHARS
    """A longer instruction is no instruction but a story."""
    suffix: str = ""
    """What stood after the blank: models that fill it often go on with it."""


@dataclass(frozen=True)
class Forbidden:
    """What a candidate must not say: the training examples, bare answers, and the meta-prompt itself."""

    examples: tuple[Example, ...]
    answers: tuple[str, ...] = ()
    """The task's labels; the targets of `examples` count anyway."""
    meta_prompt: str = ""
    """The fixed text of the meta-prompt, without its slots."""

    @cached_property
    def bare(self) -> frozenset[str]:
        """Texts that are an answer and not an instruction, normalised."""
        targets = (target for example in self.examples for target in example.targets)
        return frozenset(normalised(text) for text in (*self.answers, *targets)) - {""}

    @cached_property
    def inputs(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Each example's input, and its targets, normalised."""
        rows = [
            (normalised(" ".join(example.inputs.values())), tuple(normalised(target) for target in example.targets))
            for example in self.examples
        ]
        return tuple((text, targets) for text, targets in rows if text)

    @cached_property
    def input_phrases(self) -> frozenset[tuple[str, ...]]:
        """Every run of COPIED_WORDS words of an input."""
        texts = (text for example in self.examples for text in example.inputs.values())
        return frozenset(phrase for text in texts for phrase in _phrases(text))

    @cached_property
    def meta_phrases(self) -> frozenset[tuple[str, ...]]:
        """Every run of COPIED_WORDS words of the meta-prompt."""
        return frozenset(_phrases(self.meta_prompt))


def accept(
    replies: Sequence[Generation], reading: Reading, forbidden: Forbidden, known: Iterable[str] = ()
) -> Proposal:
    """Return the usable instructions of `replies` in their order, and every reply that held none with the reason.

    Args:
        replies: a text whose finish reason is `length` was cut off by the token limit.
        reading: where the instruction ends.
        forbidden: what it must not say.
        known: instructions there are already; equal ones after normalisation are duplicates.
    """
    seen = {normalised(text) for text in known}
    accepted: list[str] = []
    discarded: list[Discard] = []
    for reply in replies:
        text, truncated = instruction_in(reply, reading)
        reason = "truncated" if truncated else objection(text, forbidden, reading.max_chars)
        if not reason and normalised(text) in seen:
            reason = "duplicate"
        if reason:
            discarded.append(Discard(text or reply.text, reason))
        else:
            seen.add(normalised(text))
            accepted.append(text)
    return Proposal(tuple(accepted), tuple(discarded))


def instruction_in(reply: Generation, reading: Reading) -> tuple[str, bool]:
    """Return the instruction that a reply holds, maybe empty, and whether it breaks off before its first sentence ends.

    Its first letter is made a capital, since the reply may have continued a sentence of the meta-prompt.
    """
    text = _without_chatter(reply.text)
    if reading.suffix:
        text = _without_suffix(text, reading.suffix)
    end = re.search(r"\n\s*\n" if reading.cut == "paragraph" else r"\n", text)
    text, whole = (text[: end.start()], True) if end else (text, reply.finish_reason == "stop")
    if not whole:
        ends = [match.end() for match in _SENTENCE_END.finditer(text)]
        if not ends:
            return text.strip(), bool(text.strip())
        text = text[: ends[-1]]
    text = _unwrapped(text.strip() if reading.cut == "paragraph" else " ".join(text.split()))
    if reading.cut == "sentence":
        text = _first_sentence(text)
        if text.endswith(_ABBREVIATIONS):
            return text, True
    return text[:1].upper() + text[1:], False


def objection(text: str, forbidden: Forbidden, max_chars: int = MAX_CHARS) -> str:
    """Return why `text` cannot be an instruction, one of a few fixed reasons; empty if it can."""
    tokens = words(text)
    flat = " ".join(tokens)
    checks = (
        ("empty", not tokens),
        ("answer instead of an instruction", flat in forbidden.bare),
        ("too short", len(text) < MIN_CHARS or len(tokens) < MIN_WORDS),
        ("too long", len(text) > max_chars),
        ("placeholder", _PLACEHOLDER.search(text) is not None),
        ("copies an example", _LABELLED.search(text) is not None or _quotes_example(text, flat, forbidden)),
        ("echoes the meta-prompt", not forbidden.meta_phrases.isdisjoint(_phrases(text))),
    )
    return next((reason for reason, applies in checks if applies), "")


def normalised(text: str) -> str:
    """Return what two texts that differ only in case, punctuation, spacing or width of characters have in common."""
    return " ".join(words(text))


def words(text: str) -> list[str]:
    """Return the words of a text, NFKC-normalised and case-folded, without punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _phrases(text: str) -> list[tuple[str, ...]]:
    tokens = words(text)
    return [tuple(tokens[i : i + COPIED_WORDS]) for i in range(len(tokens) - COPIED_WORDS + 1)]


def _quotes_example(text: str, flat: str, forbidden: Forbidden) -> bool:
    """Return whether the text holds a long piece of an input, or an input together with its answer."""
    if not forbidden.input_phrases.isdisjoint(_phrases(text)):
        return True
    padded = f" {flat} "
    return any(
        flat == source or (f" {source} " in padded and any(f" {target} " in padded for target in targets if target))
        for source, targets in forbidden.inputs
    )


def _without_chatter(text: str) -> str:
    """Return a reply without its thoughts, control tokens in writing, and the sentence that announces the answer."""
    text = _THOUGHT.sub("", text)
    text = _END_OF_THOUGHT.sub("", text)  # the opening tag was part of the prompt
    text = _OPEN_THOUGHT.sub("", text)
    text = _CONTROL_TOKEN.split(text, maxsplit=1)[0]
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs")).lstrip()
    for opening in (_COURTESY, _PREAMBLE):
        text = opening.sub("", text, count=1) if opening.match(text) else text
    return text.lstrip()


def _without_suffix(text: str, suffix: str) -> str:
    """Cut where the text goes on with the first line of what follows the blank."""
    first_line = suffix.strip().partition("\n")[0].strip()
    return text.partition(first_line)[0] if first_line else text


def _first_sentence(text: str) -> str:
    """Return the first sentence, with a period where a script that uses periods lacks one."""
    ends = (match.end() for match in _SENTENCE_END.finditer(text))
    end = next((end for end in ends if not text[:end].endswith(_ABBREVIATIONS)), None)
    if end is not None:
        return text[:end]
    return f"{text}." if text and text[-1].isascii() and (text[-1].isalnum() or text[-1] in "\"')") else text


def _unwrapped(text: str) -> str:
    """Return the text without a bullet, and without quotation or emphasis marks around all of it."""
    text = _BULLET.sub("", text, count=1) if _BULLET.match(text) else text
    if text.startswith(('"', "“")) and text.endswith(('".', "”.")):
        text = text[:-1]
    for opening, closing in _QUOTES:
        inner = text[len(opening) :]
        if not text.startswith(opening):
            continue
        if inner.endswith(closing) and opening not in inner[: -len(closing)]:
            return inner[: -len(closing)].strip()
        if opening == '"' and inner.count('"') == 0:  # cut before its closing mark
            return inner.strip()
    # The opening quotation mark was part of the prompt.
    if text.endswith('"') and text.count('"') == 1:
        return text[:-1].strip()
    return text
