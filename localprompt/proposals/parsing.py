"""What a model replied, cut down to what it was asked for. Level 4, pure functions.

Small models think aloud, announce their answer, put it into quotation marks, tags or code fences, go on after it, and
stop in the middle of a sentence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from localprompt.engine.thoughts import listen
from localprompt.proposals.similarity import JOINERS, words
from localprompt.types import Generation

MIN_CHARS, MAX_CHARS = 3, 500
"""Characters of an instruction."""

_NEWLINE = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_ESCAPE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)")
"""What colours a terminal or sets its title."""
_BEGUN_TURN = re.compile(
    r"""(?:\s*(?:<\|(?:im_start|start_header_id|end_header_id|begin_of_text|assistant)\|>|<start_of_turn>|<bos>|<s>
        |<｜Assistant｜>)(?!\s*(?:user|system)\b)(?:(?:assistant|model)[ ]*(?=\n|<))?)+""",
    re.VERBOSE,
)
_CONTROL_TOKEN = re.compile(r"<\|[^|<>\n]{1,40}\|>|</s>|<end_of_turn>|<｜[^<>\n]{1,40}｜>")
_CLOSING_TAG = re.compile(r"<\s*/\s*[A-Za-z][\w-]{0,30}\s*>")
"""Of whatever name: a weak model closes the tag with another word than it was asked to."""
_COURTESY = re.compile(r"(?:(?:sure(?: thing)?|certainly|of course|okay|ok)[!.,:]\s+)+", re.IGNORECASE)
_PREAMBLE = re.compile(
    r"""here(?:'s|’s|\ is|\ are|\ you\ go)\b[^:：\n]{0,100}[:：]\s*            # Here is a variation of it:
      | (?:based\ on[^,:\n]{0,60},\ )?(?:the|this|your|an?|my|one|i|i['’](?:ve|d|ll)|we)\b[^.:\n]{0,80}
        \b(?:instruction|prompt)(?:\ [^.:\n]{0,60}\b(?:as|follow(?:s|ing)|is|be|reads?|to|this|like|way|below))?
        :\**[ ]*\n\s*                                                       # I have rewritten the prompt as follows:
      | \#{1,6}\ [^:\n]{0,60}\b(?:instruction|prompt)\**:?\s*\n\s*           # ### Improved instruction
      | \**(?:based\ on[^,:\n]{0,60},\ )?
        (?:(?:the|a|an|another|one|my|possible|missing|alternative|new|better|best|revised|improved|updated|rewritten
             |refined|optimi[sz]ed|modified|edited|shorter|clearer|final)\ ){0,4}
        (?:instruction|prompt|wording|version|variation|variant|paraphrase|task)(?:\ (?:[A-D]|\d{1,2}))?
        (?:(?:\ (?:is|was|(?:could|might|would)\ be))?\**[:：]\**\s*         # A better instruction would be:
          |\**[ ]*(?:\n\s*|\Z))                                             # **Revised prompt**
    """,
    re.VERBOSE | re.IGNORECASE,
)
FENCE = re.compile(r"```(?:[\w+-]*[ \t]*(?:\r?\n|$))?")
_ITEM = re.compile(r"\s*(?:[-*•]|(?:\*\*)?\(?(?P<number>\d{1,2})[.):](?:\*\*)?)(?:\s+|$)")
_BULLET = re.compile(r"(?:[-*•]|\(?\d{1,2}[.)])\s+")
_QUOTES = [pair.split() for pair in ('" "', "“ ”", "' '", "‘ ’", "« »", "「 」", "『 』", "` `", "** **", "* *")]
SENTENCE_END = re.compile(r"[.!?][\"'”’)]*(?=\s|$)|[。！？][」』”’）]*|[।؟۔։။]")
_END = {
    "sentence": re.compile(r"\n"),  # and then its first sentence
    "line": re.compile(r"\n"),
    "paragraph": re.compile(r"\n\s*\n"),
    "whole": re.compile(r"(?!)"),  # never
}
_STOP: dict[str, tuple[str, ...]] = {"sentence": ("\n", ". "), "line": ("\n",), "paragraph": ("\n\n",), "whole": ()}
_ABBREVIATIONS = ("e.g.", "i.e.")
_ABBREVIATION = re.compile(r"(?<![^\W_])(?i:e\.g\.|i\.e\.|cf\.|vs\.|etc\.(?=\s+(?-i:[a-z])))")
_NUMBER = re.compile(r"^[^\S\n]*\d{1,2}\.", re.MULTILINE)
_RECORD, _SHOWN_RECORD, _SHOWN_EXAMPLE = (
    re.compile(
        rf"""\n[^\S\n]*(?:[*#>-]+[^\S\n]*)?(?:{names})s?[ ]*\d*\**[ ]*:
          | (?<=[.!?])[^\S\n]+(?:score|rating)[ ]*:[ ]*\d                   # Write the opposite. Score: 90
        """,
        re.VERBOSE | re.IGNORECASE,
    )
    for names in (
        "input|output|answer|question|example|score|rating",
        "input|question|score|rating",
        "input|question|example|score|rating",
    )
)
"""The next thing of a list that the model was shown: weak models do not stop after what they were asked for."""


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """How a reply is read."""

    cut: Literal["sentence", "line", "paragraph", "whole"] = "paragraph"
    """The instruction ends with its first sentence, at the first newline, at the first blank line, or with the reply;
    with `paragraph` and a closing tag, at the tag. With `sentence` the reply may have been stopped at `. `, so a period
    is put where none is."""
    max_chars: int = MAX_CHARS
    """A longer instruction is no instruction but a story."""
    paragraphs: int = 0
    """With `whole` and no tag, the most that belong to the instruction; after them come remarks on it. 0: any."""
    suffix: str = ""
    """What stood after the blank: models that fill it often go on with it."""
    tag: str = ""
    """The instruction stands in the last complete pair of this tag. Where the opening tag was part of the prompt, the
    reply has only the closing one; a model that leaves that out too, and ends by itself, is read all the same."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Where a reply without a tag may be stopped: after what they were asked for, small models tell a story."""
        return _STOP[self.cut]


def common_stop(readings: Iterable[ReplyFormat]) -> tuple[str, ...]:
    """Return what ends replies without a tag that are read in any of these ways; a shorter one is cut when read."""
    return _STOP[max((reading.cut for reading in readings), key=list(_STOP).index)]


def reply_format_like(instruction: str, max_chars: int, tag: str = "") -> ReplyFormat:
    """Return how another wording of `instruction` is read: as many paragraphs as it has are allowed."""
    n = len(_END["paragraph"].split(instruction.strip()))
    return ReplyFormat("whole" if n > 1 else "paragraph", max_chars, tag=tag, paragraphs=n)


def parse_instruction(reply: Generation, reading: ReplyFormat) -> tuple[str, bool]:
    """Return the instruction that a reply holds, maybe empty, and whether it breaks off before its first sentence ends.

    Its first letter is made a capital, since the reply may have continued a sentence of the meta-prompt.
    """
    text, whole, is_marked = reply.text, reply.finish_reason == "stop", False
    if reading.tag:
        text, whole, is_marked = _inside(text, reading.tag, whole)
    text = without_chatter(text)
    if reading.suffix:
        text = _without_suffix(text, reading.suffix)
    # A closing tag says where the instruction ends: what stands before it, a list of labels say, belongs to it.
    end = None if is_marked and reading.cut == "paragraph" else _END[reading.cut].search(text)
    text, whole = (text[: end.start()], True) if end else (text, whole)
    if reading.cut == "whole" and reading.paragraphs and not is_marked:
        pieces = _END["paragraph"].split(text)
        text, whole = "\n\n".join(pieces[: reading.paragraphs]), whole or len(pieces) > reading.paragraphs
    if (before := _before_records(text, is_marked, reading.cut)) != text:
        text, whole = before, True
    if not whole:
        ends = _sentence_ends(text)
        if not ends:
            return text.strip(), bool(text.strip())
        text = text[: ends[-1]]
    text = " ".join(text.split()) if reading.cut in ("sentence", "line") else text.strip()
    text = text if _is_list(text) else _unwrapped(text)
    if reading.cut == "sentence":
        # Again: the quotation may have ended with the first sentence.
        text = _with_period(_unwrapped(_first_sentence(text, _sentence_ends(text))))
        if text.endswith(_ABBREVIATIONS):
            return text, True
    return text[:1].upper() + text[1:], False


def tagged(text: str, tag: str) -> list[str]:
    """Return the contents of every complete `<tag>...</tag>` pair, in order, stripped."""
    return [match[1].strip() for match in _pairs(tag).finditer(FENCE.sub("\n\n", _without_thoughts(text)))]


def listed(text: str) -> list[str]:
    """Return the items of a numbered or bulleted list, in order; none where there is no list.

    An item that goes on in the next line goes on to a blank line. A list that begins with its second item has its
    first one before it: the number one was part of the prompt.
    """
    items: list[list[str]] = []
    opening: list[str] = []
    is_open = False
    for line in FENCE.sub("\n\n", _without_thoughts(text)).splitlines():
        match = _ITEM.match(line)
        if match:
            if not items and match["number"] == "2" and opening:
                items.append(opening)
            items.append([line[match.end() :]])
            is_open = True
        elif not line.strip():
            is_open = False
        elif is_open:
            items[-1].append(line)
        elif not items:
            opening.append(line)
    found = (_unwrapped(" ".join(" ".join(item).split())) for item in items)
    return [item for item in found if words(item)]


def without_chatter(text: str) -> str:
    """Return a reply up to a closing tag, without thoughts, written control tokens, and the sentence announcing it."""
    text = _CLOSING_TAG.split(_without_thoughts(text), maxsplit=1)[0].lstrip()
    for opening in (_COURTESY, _PREAMBLE):
        text = opening.sub("", text, count=1) if opening.match(text) else text
    return text.lstrip()


def whole_sentences(reply: Generation) -> str:
    """Return a reply without chatter, and without the sentence in which the token limit cut it."""
    text = without_chatter(reply.text).strip()
    if reply.finish_reason == "stop":
        return text
    end = max(text.rfind(mark) for mark in (".", "?", "!", "\n", "。"))
    return text[: end + 1].strip() or text


def grammar_for(reading: ReplyFormat) -> str:
    """Return the regular expression of a reply whose opening tag, if there is one, stands in the prompt.

    Empty where the instruction may have several paragraphs and no tag ends it. The length is open by one character
    above the reading's limit, so that an instruction which the grammar had to end in the middle is discarded as too
    long and not taken for a whole one.
    """
    is_line = reading.cut in ("sentence", "line")
    # A letter first: a weak model likes to begin with a blank line, where a stop string may end it at once.
    length = f"{{{MIN_CHARS - 1},{reading.max_chars}}}"
    if reading.tag:
        inside = "[^<\\n]" if is_line else "[^<]"
        return f" ?[^<\\s]{inside}{length}</{reading.tag}>"
    if reading.cut == "whole":
        return ""
    inside = "[^\\n]" if is_line else "(?:\\n?[^\\n])"
    # Line breaks at the end, where a base model puts them: without them it would have to write on.
    return f" ?[^<\\s]{inside}{length}\\n*"


@lru_cache(maxsize=32)
def _pairs(tag: str) -> re.Pattern[str]:
    name = re.escape(tag)
    return re.compile(rf"<\s*{name}\s*>((?:(?!<\s*{name}\s*>).)*?)<\s*/\s*{name}\s*>", re.DOTALL | re.IGNORECASE)


def _inside(text: str, tag: str, whole: bool) -> tuple[str, bool, bool]:
    """Return what stands in the last complete pair of `tag`, or what else may be meant.

    Then whether it is complete, and whether that is so because of the closing tag.
    """
    text = _without_thoughts(text)
    if contents := tagged(text, tag):
        # After the instruction a model may name its tags: `I put it between <INS> and </INS>.`
        return next((each for each in reversed(contents) if len(words(each)) > 1), contents[-1]), True, True
    name = re.escape(tag)
    before, closing, _ = _parted(rf"<\s*/\s*{name}\s*>", text)
    if closing:
        return before, True, True
    before, opening, after = _parted(rf"<\s*{name}\s*>", text)
    rest = after if opening and after.strip() else before
    return re.sub(r"</?[\w-]*$", "", rest), whole, False  # half a closing tag


def _parted(pattern: str, text: str) -> tuple[str, str, str]:
    """Return a text before, at and after the first match, as `str.partition`."""
    match = re.search(pattern, text, re.IGNORECASE)
    return (text[: match.start()], match[0], text[match.end() :]) if match else (text, "", "")


def _printable(text: str) -> str:
    """Return the text with one kind of newline, and nothing else that cannot be seen or hides what can."""
    text = _ESCAPE.sub("", _NEWLINE.sub("\n", text))
    return "".join(c for c in text if c in "\n\t" + JOINERS or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def _without_thoughts(text: str) -> str:
    """Return what is said aloud, up to a written control token, in characters that can be printed."""
    spoken = listen(_printable(text))
    # A model that had no thought to close may still write the closing tag behind its reply.
    said = spoken.reply if spoken.said.strip() or spoken.has_begun else spoken.before
    begun = _BEGUN_TURN.match(said)
    return _CONTROL_TOKEN.split(said[begun.end() :] if begun else said, maxsplit=1)[0]


def _without_suffix(text: str, suffix: str) -> str:
    """Cut where the text goes on with the first line of what follows the blank."""
    first_line = suffix.strip().partition("\n")[0].strip()
    return text.partition(first_line)[0] if first_line else text


def _before_records(text: str, is_marked: bool, cut: str) -> str:
    """Return what stands before the next record, unless the text begins with one or announces it: `Answer thus:`.

    In a text that may have several lines only an input or a score is one of the things shown: `Answer: yes or no.`
    belongs to an instruction. Where no tag ends it, so may the next example be that was shown.
    """
    shown = _SHOWN_RECORD if is_marked else _SHOWN_EXAMPLE
    match = (_RECORD if cut in ("sentence", "line") and not is_marked else shown).search(text)
    if not match or _RECORD.match(f"\n{text}"):
        return text
    before = text[: match.start()].rstrip()
    return text if before.endswith(":") or not before else before


def _is_list(text: str) -> bool:
    return any(_BULLET.match(line.lstrip()) for line in text.split("\n")[1:])


def _sentence_ends(text: str) -> list[int]:
    """Return where sentences end, rising; not after an abbreviation or the number of a list's item."""
    inner = {match.end() for pattern in (_ABBREVIATION, _NUMBER) for match in pattern.finditer(text)}
    return [match.end() for match in SENTENCE_END.finditer(text) if match.start() + 1 not in inner]


def _first_sentence(text: str, ends: Sequence[int]) -> str:
    return text[: next((end for end in ends if not text[:end].endswith(_ABBREVIATIONS)), None)]


def _with_period(text: str) -> str:
    """Return a sentence with a period where a script that uses periods lacks one."""
    return f"{text}." if text and text[-1].isascii() and (text[-1].isalnum() or text[-1] in "\"')") else text


def _unwrapped(text: str) -> str:
    """Return the text without a bullet, and without quotation or emphasis marks around all of it."""
    text = _BULLET.sub("", text, count=1) if _BULLET.match(text) else text
    if text.startswith(('"', "“", "「")) and text.endswith(('".', "”.", "」。")):
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
