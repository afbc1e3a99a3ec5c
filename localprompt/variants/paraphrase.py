"""The whole instruction in other words, by a model. Level 6."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from localprompt.errors import ContextOverflow
from localprompt.proposals.metaprompts import MetaPrompt, load, ship
from localprompt.proposals.parsing import SENTENCE_END
from localprompt.proposals.validation import Memory
from localprompt.search.proposer import Proposer, Request
from localprompt.search.rewording import reading_of
from localprompt.types import Discard, Prompt, Sampling
from localprompt.variants.variant import Origin, Variant
from localprompt.variants.wording import (
    Edit,
    edited,
    found_names,
    is_english,
    is_valid,
    literal,
    literals_in,
    names_of,
    scripts_of,
    stands,
)

_SLOTS = ("instruction",)
_TEMPLATES = {True: ("reword_chat", "explain_chat"), False: ("reword", "explain")}
"""Meta-prompts with and without a chat, asked in turn."""
_AGAIN = "again"
"""Meta-prompt before the original, after a paraphrase of it."""
_TEMPERATURES = (0.7, 0.7, 1.0, 1.0)
"""Of the requests. The first replies are the most faithful ones."""
_REPLIES = 6
"""To one request, at most."""
_MAX_TOKENS = 60
"""Of a reply; a long instruction gets more."""
_LENGTHS = (0.5, 2.0)
"""Shortest and longest paraphrase, as shares of the instruction's characters."""
_LONG = 8
"""Words of an instruction whose language shows."""
_UNSAID = 0.3
"""Part of a wording's nats that may be left, at most, where the original is known."""
_LEFT_OUT = 0.1
"""Part of what the original itself tells of a sentence: a wording that tells less leaves it out."""
_ASKS = ("?", "？", "؟")
"""Signs with which a question ends."""
_QUOTES = "\"'`“”‘’«»「」『』"

ship("paraphrase", __name__)


class Paraphrase:
    """The instruction as the proposer words it; what it names and quotes is still named and quoted."""

    name = "paraphrase"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return the variants in the order in which the proposer wrote them; none where it wrote nothing usable.

        The proposer is asked until there are enough, at most for `_REPLIES` replies to each of `_TEMPERATURES`, and as
        many again where none was usable. The proposer's likelihoods, where it has any, also tell what says something
        else or leaves a sentence out. What is not used is counted as discarded, with the reason.

        Raises:
            BudgetExhausted: if there is no budget left for the first request.
        """
        text = origin.prompt.instruction
        if most < 1 or not text.strip() or not is_valid(text):
            return []
        edits = [Edit("in other words", each) for each in _written(origin, most)]
        return edited(origin, self.name, edits, most)


def _written(origin: Origin, most: int) -> list[str]:
    proposer = origin.problem.proposer.seeded(origin.rng(Paraphrase.name))
    text, names = origin.prompt.instruction, _TEMPLATES[proposer.has_chat]
    templates = load(Paraphrase.name, dict.fromkeys((*names, _AGAIN), _SLOTS), None)
    memory, found = Memory([text]), list[str]()
    refused = _refused(origin, memory)
    for turn, temperature in enumerate(_TEMPERATURES):
        template = templates[names[turn % len(names)]]
        request = _request(proposer, template, origin.prompt)
        if request is None or len(found) >= most:
            break
        sampling = Sampling(_room(proposer, text), temperature=temperature, top_p=0.95, stop=request.reading.stop)
        n = min(_REPLIES, 2 * (most - len(found)))
        accepted = proposer.propose([request], sampling, template.fixed, n=n, objection=refused)[0].accepted
        unfaithful = _unfaithful(proposer, templates[_AGAIN], text, accepted)
        proposer.discard(unfaithful)
        for each in accepted:
            memory.add(each)
        lost = {each.text for each in unfaithful}
        found += [each for each in accepted if each not in lost]
    return found


def _unfaithful(proposer: Proposer, template: MetaPrompt, text: str, wordings: Sequence[str]) -> list[Discard]:
    """Return the wordings of `text` that say something else as well, or leave out a sentence of it.

    Who knows the original expects what a wording of it says. Who knows the wording expects each sentence of the
    original, where it has several, more than who knows nothing does, if less than who knows the original.
    """
    if not wordings or not proposer.can_score:
        return []
    ends = [match.end() for match in SENTENCE_END.finditer(text) if text[match.end() :].strip()]
    sentences = list(pairwise([0, *ends, len(text)])) if ends else []
    nothing = template.text.partition("{{")[0].rstrip()
    original, *of_wordings = [template.fill(instruction=each) for each in (text, *wordings)]
    said = [(f"{head} ", wording) for wording in wordings for head in (nothing, original)]
    asked = [
        (f"{head} {text[:start]}", text[start:end])
        for head in (nothing, original, *of_wordings)
        for start, end in sentences
    ]
    nats, n = proposer.likelihood([*said, *asked]), len(sentences)
    least, most, *told = [nats[len(said) + i * n :][:n] for i in range(2 + len(wordings))]
    found = list[Discard]()
    for place, wording in enumerate(wordings):
        alone, known = nats[2 * place : 2 * place + 2]
        if known < _UNSAID * alone:
            found.append(Discard(wording, "says something else"))
        elif any(it <= low + _LEFT_OUT * (high - low) for low, high, it in zip(least, most, told[place], strict=True)):
            found.append(Discard(wording, "leaves a sentence out"))
    return found


def _request(proposer: Proposer, template: MetaPrompt, prompt: Prompt) -> Request | None:
    """Return a request for other words; None where it does not fit the proposer's context."""
    text = prompt.instruction
    asked = proposer.request(template, instruction=text)
    try:
        asked = proposer.first_fitting([asked], _room(proposer, text))
    except ContextOverflow:
        return None
    return Request(asked, reading_of(text, chats=template.is_chat), prompt)


def _room(proposer: Proposer, text: str) -> int:
    return proposer.room_to_reword([text], _MAX_TOKENS)


def _refused(origin: Origin, memory: Memory) -> Callable[[str, Prompt], str]:
    """Return the test of a paraphrase: why it does not say the same, of what can be seen without a model."""
    text, names = origin.prompt.instruction, names_of(origin)
    # In prose an output may stand in another case too; its name is what must stay.
    spelled = {name for name in names if stands(name, text)}
    folded = {name.casefold() for name in spelled}
    pieces = (text[start:end].strip(_QUOTES).strip() for start, end in literal(origin))
    kept = sorted({*spelled, *(piece for piece in pieces if piece and piece.casefold() not in folded)})
    named = {text[start:end].casefold() for start, end in found_names(text, names)}
    is_question = text.rstrip(f"{_QUOTES} ").endswith(_ASKS)
    scripts, is_foreign = scripts_of(text), len(text.split()) >= _LONG and not is_english(text)

    def refused(new: str, _: Prompt) -> str:
        also = {new[start:end].casefold() for start, end in found_names(new, names)}
        checks = (
            ("not the length of the instruction", not _LENGTHS[0] <= len(new) / len(text) <= _LENGTHS[1]),
            ("lacks an output, number or quotation", any(not stands(each, new) for each in kept)),
            ("names another output", bool(also - named)),
            (
                "tells where the instruction asks" if is_question else "asks where the instruction tells",
                new.rstrip(_QUOTES).endswith(_ASKS) != is_question,
            ),
            ("adds a number or quotation", any(not stands(each, text.casefold()) for each in _literals(new))),
            ("in another script", bool(scripts_of(new) - scripts)),
            ("in another language", is_foreign and is_english(new)),
        )
        return next((reason for reason, applies in checks if applies), "") or memory.objection(new)

    return refused


def _literals(text: str) -> set[str]:
    """Return the numbers, quotations and slots of a text, case-folded, without quotation marks and commas in them."""
    return {text[start:end].strip(_QUOTES).strip(" .,").casefold() for start, end in literals_in(text)} - {""}
