"""What a proposer wrote becomes validated candidate texts. Level 4, pure functions.

Small models copy an example, repeat themselves or answer the task instead of describing it. Each reply is first cut
down to the instruction it may hold (`parsing.py`) and then tested; what is not used is kept with its reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from localprompt.proposals.parsing import (
    FENCE,
    MAX_CHARS,
    MIN_CHARS,
    SENTENCE_END,
    ReplyFormat,
    grammar_for,
    parse_instruction,
)
from localprompt.proposals.similarity import gist, is_unspaced, normalised, words
from localprompt.types import Discard, Example, Generation, Proposal, Sampling

_WARMER, _HOTTEST = 0.3, 1.5
"""Added to the temperature where a request is repeated because no reply to it was usable; hotter is only noise."""
DIED = "engine died"
"""The reason where there is no reply, since the request killed the engine."""
MIN_WORDS = 2
COPIED_WORDS = 6
"""So many consecutive words of a training input or of the meta-prompt make a copy; twice as many characters of a script
without spaces, where a word has about two."""
_PLACEHOLDER = re.compile(
    r"""\[(?:insert|your|blank|input|output)\b | \{\{ | \}\} | <[a-z][^<>\n]{0,40}> | \.\.\. | … | _{3,}
      | (?<![\\\w}])\{[a-z_]\w*\}                                           # {input}, but not \boxed{answer}
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LABEL = re.compile(r"(?:^|[\s\"'(*])(?P<name>input|output)\s*\d*\**\s*:\**\s*(?=\S)", re.IGNORECASE)
_BROKEN_OFF = re.compile(
    r"(?<![\w'’-])(?:(?:the|an?|and|or|nor|but|its|their|your)[\s,;:.]*|(?:that|which|if|than|as)[\s,;:]*)\Z|:\s*\Z"
)
"""A last word after which more must come, or the colon before a list."""
_SCORE = re.compile(r"\W*(?:score|rating)\W*[:=]\W*\d+\W*", re.IGNORECASE)
"""What a meta-prompt shows beside an instruction, alone."""
_PIECE = re.compile(r"[.!?;](?=\s|$)|\n")
"""Where what stands after a label ends."""
_TO_THE_USER = re.compile(
    r"""\b(?:let\ me\ know\b(?!\ (?:whether|which|what)\b) | feel\ free\ to\ ask\b | i\ hope\ (?:this|that|it)\ helps\b
          | as\ an?\ (?:ai\b|(?:artificial|large|language)\b[\w\ ]*,\ i\b) | how\ (?:can|may)\ i\ (?:help|assist)\b
          | i(?:'m|\ am)\ (?:sorry|happy\ to|unable|not\ able|(?:glad|here|ready)\ to\ (?:help|assist))\b
          | i(?:'ll|\ will)\ write\ a\ (?:new|better)\b | please\ provide\ (?:me\ with\ )?(?:the|your|more)
            \ (?:input|text|context|instruction|prompt)(?=\s*(?:[.?!]|\Z)|\ you\b) )
      | \A(?:(?:hello|hi|hey)(?:\ there)?|sorry|apologies|thank\ you|understood|got\ it|you(?:'re|\ are)\ welcome)[.,!]
      | \A(?:thank\ you\ for\ (?:providing|sharing)|i\ apologi[sz]e|unfortunately,?\ i)\b
      | \A(?:sorry\b\W*(?:but\ )?)?i\ (?:can't|cannot|can\ not|won't|(?:don't|do\ not)\ (?:have|see|understand))\b
      | \Ahere(?:'s|\ is)\ (?:the|an?|my|your)\ (?:\w+\ ){0,3}(?:instruction|prompt|wording|version)\.?\Z""",
    re.VERBOSE,
)
_STATES_ANSWER = re.compile(
    r"""(?:so\ |thus\ |therefore\ |hence\ )?,?\s*
        (?:(?:the|this|that|every|each)\ (?:\w+\ ){0,3}|it\ |this\ |that\ |here\ )
        (?:is|was|are|should\ be|would\ be|must\ be)\ (?:always\ |clearly\ )?
        (?P<answer>.+?)(?:\ (?:because|since)\b.*)?
      | (?:answer|label|result|sentiment|solution)\s*[:=]\s*(?P<labelled>.+)
      | (?:just\ |please\ )?(?:always\ |only\ )?
        (?:answer|respond|reply|say|write|output|return|print|predict|choose|select)[ ]
        (?:always\ |only\ |just\ |with\ |the\ |word\ |label\ |answer\ ){0,3}(?P<ordered>\W?[\w' -]+)
      | (?:classify|label|mark|rate|categori[sz]e|treat)\ (?:\w+\ ){1,6}as\ (?P<named>.+)
    """,
    re.VERBOSE,
)
_CONDITION = re.compile(r"\b(?:if|when|whenever|where|unless|otherwise|whether|or|for)\b")


@dataclass(frozen=True)
class LeakCheck:
    """What a candidate must not say: the training examples, bare answers, and the meta-prompt itself."""

    examples: tuple[Example, ...]
    answers: tuple[str, ...] = ()
    """The task's labels; the targets of `examples` count anyway."""
    meta_prompt: str = ""
    """The fixed text of the meta-prompt, without its slots."""
    seeds: str = ""
    """The seed prompts: what looks like a placeholder and stands there is none."""

    @cached_property
    def bare(self) -> frozenset[str]:
        """Texts that are an answer and not an instruction, normalised."""
        targets = (target for example in self.examples for target in example.targets)
        return frozenset(normalised(text) for text in (*self.answers, *targets)) - {""}

    @cached_property
    def rows(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """The inputs and the targets of each example, normalised, but of rows that are as good as a rule.

        Such as `sunny, weak: yes`, where other examples have these inputs too and the answer is one of a few.
        """
        rows = [
            (tuple(filter(None, map(normalised, example.inputs.values()))), tuple(map(normalised, example.targets)))
            for example in self.examples
        ]
        times = Counter(text for texts in {texts for texts, _ in rows} for text in {*texts})
        own = {text for text, n in times.items() if n == 1}
        return tuple(row for row in rows if row[0] and (own.intersection(row[0]) or not self.labels.issuperset(row[1])))

    @cached_property
    def shown(self) -> frozenset[str]:
        """The inputs, one by one, and the answers, normalised."""
        texts = (text for example in self.examples for text in example.inputs.values())
        return self.bare | frozenset(normalised(text) for text in texts) - {""}

    @cached_property
    def input_phrases(self) -> frozenset[tuple[str, ...]]:
        """Every run of COPIED_WORDS words of an input, but for those that a tenth of them share: a question to all."""
        texts = {text for example in self.examples for text in example.inputs.values()}
        times = Counter(phrase for text in texts for phrase in {*_phrases(text)})
        return frozenset(phrase for phrase, n in times.items() if n <= max(1, len(texts) // 10))

    @cached_property
    def target_phrases(self) -> frozenset[tuple[str, ...]]:
        """Every run of COPIED_WORDS words of a target that is none of a closed set: these a good instruction names."""
        texts = (text for example in self.examples for text in example.targets if normalised(text) not in self.labels)
        return frozenset(phrase for text in texts for phrase in _phrases(text))

    @cached_property
    def labels(self) -> frozenset[str]:
        """The task's labels, normalised."""
        return frozenset(normalised(text) for text in self.answers) - {""}

    @cached_property
    def meta_phrases(self) -> frozenset[tuple[str, ...]]:
        """Every run of COPIED_WORDS words of the meta-prompt."""
        return frozenset(_phrases(self.meta_prompt))


class Memory:
    """The instructions there were before, so that nothing is proposed twice.

    Args:
        known: instructions that are candidates already.
        rejected: instructions that were discarded before.
    """

    def __init__(self, known: Iterable[str], rejected: Iterable[str] = ()) -> None:
        self._known = {normalised(text) for text in known}
        self._gists = {gist(text) for text in self._known}
        self._rejected = {gist(text) for text in rejected}

    def add(self, text: str) -> None:
        """Remember one more candidate."""
        self._known.add(normalised(text))
        self._gists.add(gist(text))

    def objection(self, text: str) -> str:
        """Return why `text` is nothing new; empty if it is."""
        if normalised(text) in self._known:
            return "duplicate"
        if gist(text) in self._gists:
            return "near-duplicate"
        return "rejected before" if gist(text) in self._rejected else ""


def filter_replies(
    replies: Sequence[Generation],
    reading: ReplyFormat,
    forbidden: LeakCheck,
    memory: Memory,
    refused: Callable[[str], str] = lambda _: "",
) -> Proposal:
    """Return the usable and new instructions of `replies` in their order, and the others with the reason.

    `memory` grows by what is accepted. Whatever passes all else is given to `refused`, which returns why it is not
    wanted all the same; empty if it is.

    Args:
        replies: a text whose finish reason is `length` was cut off by the token limit.
        reading: where the instruction stands and ends.
        forbidden: what it must not say.
        memory: what there was before.
        refused: the last test.
    """
    accepted: list[str] = []
    discarded: list[Discard] = []
    for reply in replies:
        if reply.finish_reason == "failed":
            discarded.append(Discard("", DIED))
            continue
        text, truncated = parse_instruction(replace(reply, text=FENCE.sub("\n\n", reply.text)), reading)
        end = _BROKEN_OFF.search(text)
        breaks_off = truncated or (end is not None and normalised(end[0]) not in forbidden.labels)
        reason = "truncated" if breaks_off else objection(text, forbidden, reading.max_chars)
        reason = reason or memory.objection(text) or refused(text)
        if reason:
            discarded.append(Discard(text or reply.text, reason))
        else:
            memory.add(text)
            accepted.append(text)
    return Proposal(tuple(accepted), tuple(discarded))


def with_stop_and_grammar(sampling: Sampling, asked: Sequence[tuple[str, ReplyFormat]], *, grammar: bool) -> Sampling:
    """Return the sampling of replies that end as they are read.

    With the closing tag, if the opening one stands at the end of every prompt, and, with `grammar`, bound to the
    form that all of them have. A tag that is not open leaves room for thoughts before it.
    """
    tag = asked[0][1].tag
    if any(reading.tag != tag or (tag and not prompt.rstrip().endswith(f"<{tag}>")) for prompt, reading in asked):
        return sampling
    if tag:
        sampling = replace(sampling, stop=(*sampling.stop, f"</{tag}>"))
    # One grammar for all: the length of the longest; what is too long for its own reading is discarded as such.
    longest = max(reading.max_chars for _, reading in asked)
    grammars = {grammar_for(replace(reading, max_chars=longest)): None for _, reading in asked}
    return replace(sampling, grammar=next(iter(grammars))) if grammar and len(grammars) == 1 else sampling


def restore_tag(replies: Sequence[Generation], reading: ReplyFormat, sampling: Sampling) -> list[Generation]:
    """Return replies with the closing tag that ended them, which is no part of them as a stop string.

    Only where nothing else stops them: a blank line does not say that the tag follows.
    """
    tag = f"</{reading.tag}>"
    if not reading.tag or sampling.stop != (tag,):
        return list(replies)
    return [
        replace(reply, text=f"{reply.text}{tag}") if reply.finish_reason == "stop" and reply.text.strip() else reply
        for reply in replies
    ]


def retry_temperature(temperature: float) -> float:
    """Return the temperature at which a request is repeated because no reply to it was usable."""
    return max(temperature, min(temperature + _WARMER, _HOTTEST))


def objection(text: str, forbidden: LeakCheck, max_chars: int = MAX_CHARS) -> str:
    """Return why `text` cannot be an instruction, one of a few fixed reasons; empty if it can."""
    tokens = words(text)
    flat = " ".join(tokens)
    checks = (
        ("empty", not tokens),
        ("answer instead of an instruction", flat in forbidden.bare),
        ("too short", len(text) < MIN_CHARS or len(tokens) < MIN_WORDS),
        ("too long", len(text) > max_chars),
        ("placeholder", bool({*_PLACEHOLDER.findall(text)} - {*_PLACEHOLDER.findall(forbidden.seeds)})),
        ("copies an example", _shows_example(text, forbidden) or _quotes_example(text, flat, forbidden)),
        ("echoes the meta-prompt", not forbidden.meta_phrases.isdisjoint(_phrases(text)) or _SCORE.fullmatch(text)),
        ("speaks to the user", _TO_THE_USER.search(text.casefold().replace("’", "'")) is not None),
        ("gives an answer away", _gives_answer_away(text, forbidden)),
        ("copies an example", not forbidden.target_phrases.isdisjoint(_phrases(text))),
    )
    return next((reason for reason, applies in checks if applies), "")


def _gives_answer_away(text: str, forbidden: LeakCheck) -> bool:
    """Return whether a sentence states what the answer is, on no condition.

    An instruction that names the labels is a good one; one that says which of them it is has solved an example.
    """
    if _names_labels(normalised(text), forbidden):
        return False
    for sentence in SENTENCE_END.split(text.casefold()):
        match = _STATES_ANSWER.fullmatch(sentence.strip(" .!?"))
        if not match or _CONDITION.search(sentence):
            continue
        stated = normalised(match["answer"] or match["labelled"] or "")
        ordered = normalised(match["ordered"] or match["named"] or "")
        # Only a label: `write the word` is an instruction even where one of the targets is "word".
        if stated in forbidden.bare or ordered in forbidden.labels:
            return True
    return False


def _names_labels(flat: str, forbidden: LeakCheck) -> bool:
    """Return whether a normalised text names several labels, as a good instruction does."""
    return sum(f" {label} " in f" {flat} " for label in forbidden.labels) > 1


def _shows_example(text: str, forbidden: LeakCheck) -> bool:
    """Return whether the text has both labels of an example, or one of them before a text of the training data.

    One label alone may be an instruction: `Output: the plural of the noun.`
    """
    labels = list(_LABEL.finditer(text))
    if len({match["name"].casefold() for match in labels}) > 1:
        return True
    for match in labels:
        rest = text[match.end() :]
        # `Output: positive or negative.` names the labels; only whole pieces, of a text of several lines more than one,
        # are an example's.
        ends = [*(piece.start() for piece in _PIECE.finditer(rest)), len(rest)]
        if any(normalised(rest[:end]) in forbidden.shown for end in ends):
            return True
    return False


def _phrases(text: str) -> list[tuple[str, ...]]:
    """Return the shortest run from each word on that is long enough to be a copy."""
    tokens = words(text)
    sizes = [1 if is_unspaced(token) else 2 for token in tokens]
    found = []
    end = size = 0
    for start, own_size in enumerate(sizes):
        while size < 2 * COPIED_WORDS and end < len(tokens):
            size += sizes[end]
            end += 1
        if size < 2 * COPIED_WORDS:
            break
        found.append(tuple(tokens[start:end]))
        size -= own_size
    return found


def _quotes_example(text: str, flat: str, forbidden: LeakCheck) -> bool:
    """Return whether the text holds a long piece of an input, or all inputs of a row and beside them its answer.

    An answer that is a part of an input, or all of it, may be an ordinary word: `Ask a question.` So may a short input
    beside a label where others are named too: `Say odd or even for a number.`
    """
    if not forbidden.input_phrases.isdisjoint(_phrases(text)):
        return True
    padded, common = f" {flat} ", forbidden.labels if _names_labels(flat, forbidden) else frozenset[str]()
    for inputs, targets in forbidden.rows:
        if flat == " ".join(inputs):
            return True
        if all(f" {each} " in padded for each in inputs):
            longest_first = "|".join(map(re.escape, sorted(inputs, key=len, reverse=True)))
            beside = re.sub(f"(?<= )(?:{longest_first})(?= )", "|", padded)
            if any(f" {target} " in beside for target in targets if target and target not in common):
                return True
    return False
