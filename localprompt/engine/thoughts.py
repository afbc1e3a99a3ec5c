"""What a completion says aloud, and what it only thinks. Level 2, pure functions.

Reasoning models decide after their thoughts and set them apart by marks of many kinds. This is the one list of them:
`<think>`, `[THINK]`, channels, and what else the chat templates of today's local models write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NAME = r"(?:(?:seed|mm):)?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|inner_monologue|longcat_think)"
_MARK = re.compile(
    rf"""
      (?P<close>
          <\s*/\s*{_NAME}\s*> | \[/think(?:ing)?\] | ◁/think▷ | <\|/(?:think(?:ing)?|thought|reasoning)\|>
        | <\|(?:end_of_thought|end_thinking|inner_suffix)\|> | <channel\|> | <unused95> )
    | (?P<open>
          <\s*{_NAME}(?:\s[^<>\n]{{0,80}})?> | \[think(?:ing)?\] | ◁think▷
        | <\|(?:think(?:ing)?|thought|reasoning|begin_of_thought|start_thinking|inner_prefix)\|>
        | <\|channel>\s*(?:thought|analysis)\b | <unused94>(?:thought\b)?
        | (?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?:analysis|commentary)\b[^<]*
              (?:<\|constrain\|>[^<]*)?(?:<\|message\|>|\Z)
        | (?:<\|start\|>\s*assistant\s*)?<\|channel\|>[^<]*\Z | <\|start\|>[^<]*\Z )          # cut off in its header
    | (?P<reply>
          (?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>
        | (?:<\|begin\|>\s*assistant\s*)?<\|content\|> | <\|start_(?:response|text)\|> | <\|begin_of_solution\|>
        | \[begin\ final\ response\] )
    | (?P<end>
          <\|(?:end|return|call|end_response|end_text|end_of_solution)\|> | \[end\ final\ response\] )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TURN = frozenset({"<|start|>", "<|end|>", "<|message|>", "<|constrain|>", "<|begin|>", "<|content|>"})
_OPENS_CHANNELS = frozenset({"<|channel|>", "<|channel>", "<|think|>"})
_QUOTES = "`\"'“”‘’«»「」"
_OPEN_AT_END = re.compile(
    r"(?:(?P<left>[<\[◁])(?P<name>(?:\w+:)?(?:think|thinking|thought|THINK))(?P<right>[>\]▷])"
    r"|(?P<mark><\|START_THINKING\|>|<\|start_thinking\|>|<\|begin_of_thought\|>|<\|inner_prefix\|>|<\|channel>thought"
    r"|<unused94>(?:thought)?|<\|channel\|>analysis<\|message\|>))\s*\Z"
)
_CLOSING = {
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<|channel>thought": "<channel|>",
    "<|channel|>analysis<|message|>": "<|end|>",
}
_WRAPPED = re.compile(r"\s*<(response|output)>(.*?)(?:</\1>\s*)?", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a completion says, thoughts taken out."""

    said: str
    """What stands outside of thoughts."""
    before: str
    """What stood before the end of a thought that nothing began: one that the prompt opened, or no thought at all."""
    has_begun: bool
    """Whether a thought began in the completion."""
    is_cut: bool
    """Whether the last thought never ends: the tokens ran out."""

    @property
    def reply(self) -> str:
        """What is said, without the tags that some models put around it after a thought."""
        wrapped = _WRAPPED.fullmatch(self.said) if self.has_begun or self.before else None
        return wrapped[2] if wrapped else self.said


def listen(text: str) -> Spoken:
    """Return what a completion says aloud.

    A mark in quotation marks or backticks is a word, and so is an opening one between blanks in the middle of a line
    that nothing closes: `end it with the <think> tag`.
    """
    aloud: list[str] = []
    before, end = "", 0
    opening: re.Match[str] | None = None
    has_begun = has_reply = False
    for mark in _MARK.finditer(text):
        if _is_quoted(text, mark):
            continue
        if mark["end"]:
            if has_reply and opening is None:
                aloud.append(text[end : mark.start()])
                return Spoken("".join(aloud), before, has_begun, is_cut=False)
            if opening is None or not opening[0].startswith("<|"):
                continue  # the end of a turn of another kind: text, as before
        if opening is None:
            aloud.append(text[end : mark.start()])
            if not mark["open"]:  # the opening mark was part of the prompt
                before, aloud = "".join(aloud).strip() or before, []
        has_reply |= bool(mark["reply"])
        if mark["open"]:
            has_begun, opening = True, opening or mark
        else:
            opening = None
        end = mark.end()
    if opening is not None and _is_word(text, opening):
        return Spoken("".join(aloud) + text[opening.start() :], before, has_begun, is_cut=False)
    said = "".join(aloud) + ("" if opening is not None else text[end:])
    return Spoken(said, before, has_begun, is_cut=opening is not None)


def close(text: str) -> str:
    """Return a text whose last thought is empty and closed if the text ends where one begins; else the text itself."""
    opening = _OPEN_AT_END.search(text)
    if opening is None:
        return text
    if opening["mark"]:
        return text + _CLOSING.get(opening["mark"], "<unused95>")
    return text[: opening.end("right")] + f"\n\n{opening['left']}/{opening['name']}{opening['right']}\n\n"


def has_mark(text: str) -> bool:
    """Return whether a text has any mark around thoughts or answers in it."""
    return _MARK.search(text) is not None


def reply_mark(text: str) -> str:
    """Return the mark that begins an answer, if it is the end of a text; else nothing."""
    marks = [mark for mark in _MARK.finditer(text) if mark["reply"]]
    return marks[-1][0] if marks and marks[-1].end() == len(text) else ""


def marks_among(control_tokens: Iterable[str]) -> frozenset[str]:
    """Return those texts of control tokens that set thoughts apart: a completion is not read rightly without them."""
    texts = frozenset(control_tokens)
    found = {text for text in texts - _TURN if (mark := _MARK.match(text)) and not mark["end"] and mark[0] == text}
    channels = _OPENS_CHANNELS & texts
    return frozenset(found | channels | (_TURN & texts if channels else set()))


def _is_quoted(text: str, mark: re.Match[str]) -> bool:
    around = text[mark.start() - 1 : mark.start()], text[mark.end() : mark.end() + 1]
    return all(each and each in _QUOTES for each in around)


def _is_word(text: str, mark: re.Match[str]) -> bool:
    line = text[: mark.start()].rpartition("\n")[2]
    return bool(line.strip()) and line[-1].isspace() and re.match(r"[ \t.,;:!?)]", text[mark.end() :]) is not None
