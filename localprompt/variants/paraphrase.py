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
_TEMPLATES = {
    True: ("reword_chat", "explain_chat"),
    False: ("reword", "explain"),
}
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
_QUOTES = "\"'`“”‘’«»「」『』"

ship("paraphrase", __name__)


class Paraphrase:
    """The instruction as the proposer words it; what it names and quotes is still named and quoted."""

    name = "paraphrase"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return the variants in the order in which the proposer wrote them; none where it wrote nothing usable.

        The proposer is asked until there are enough, at most for `_REPLIES` replies to each of `_TEMPERATURES`, and as
        many again where none was usable. A wording leaves out a sentence that is less likely after it than without it.
        What is not used is counted as discarded, with the reason.

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
        n = min(_REPLIES, most - len(found) + 1)
        accepted = proposer.propose([request], sampling, template.fixed, n=n, objection=refused)[0].accepted
        lost = _losing(proposer, templates[_AGAIN], text, accepted)
        proposer.discard([Discard(each, "leaves a sentence out") for each in lost])
        for each in accepted:
            memory.add(each)
        found += [each for each in accepted if each not in lost]
    return found


def _losing(proposer: Proposer, template: MetaPrompt, text: str, wordings: Sequence[str]) -> list[str]:
    """Return the wordings of `text` that leave out a sentence of it, where it has several.

    Who knows what a wording says expects each sentence of the original more than who only knows the sentences before.
    """
    ends = [match.end() for match in SENTENCE_END.finditer(text) if text[match.end() :].strip()]
    sentences = list(pairwise([0, *ends, len(text)]))
    if len(sentences) < 2 or not wordings:
        return []
    heads = [template.text.partition("{{")[0].rstrip(), *(template.fill(instruction=each) for each in wordings)]
    pairs = [(f"{head} {text[:start]}", text[start:end]) for head in heads for start, end in sentences]
    nats, n = proposer.likelihood(pairs), len(sentences)
    alone, *known = (nats[i : i + n] for i in range(0, len(nats), n))
    return [
        wording
        for wording, each in zip(wordings, known, strict=True)
        if any(after < before for before, after in zip(alone, each, strict=True))
    ]


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
    scripts, is_foreign = scripts_of(text), len(text.split()) >= _LONG and not is_english(text)

    def refused(new: str, _: Prompt) -> str:
        also = {new[start:end].casefold() for start, end in found_names(new, names)}
        checks = (
            ("not the length of the instruction", not _LENGTHS[0] <= len(new) / len(text) <= _LENGTHS[1]),
            ("lacks an output, number or quotation", any(not stands(each, new) for each in kept)),
            ("names another output", bool(also - named)),
            ("adds a number or quotation", any(not stands(each, text.casefold()) for each in _literals(new))),
            ("in another script", bool(scripts_of(new) - scripts)),
            ("in another language", is_foreign and is_english(new)),
        )
        return next((reason for reason, applies in checks if applies), "") or memory.objection(new)

    return refused


def _literals(text: str) -> set[str]:
    """Return the numbers, quotations and slots of a text, case-folded, without quotation marks and commas in them."""
    return {text[start:end].strip(_QUOTES).strip(" .,").casefold() for start, end in literals_in(text)} - {""}
