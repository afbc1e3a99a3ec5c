"""What ProTeGi asks its proposer for: reasons, edits, paraphrases. Level 6."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from localprompt.errors import BudgetExhausted
from localprompt.proposals.metaprompts import MetaPrompt, flat, in_a_row, inputs_of, set_off, shortened
from localprompt.proposals.parsing import (
    MAX_CHARS,
    ReplyFormat,
    listed,
    parse_instruction,
    reply_format_like,
    tagged,
    without_chatter,
)
from localprompt.proposals.similarity import normalised
from localprompt.proposals.validation import DIED, retry_temperature
from localprompt.search.problem import Problem
from localprompt.search.proposer import Proposer
from localprompt.types import Candidate, Discard, Example, Generation, Outcome, Prompt, Proposal, Sampling

if TYPE_CHECKING:
    from localprompt.optimizers.protegi import ProTeGi

TEMPLATES = {
    "error": ("inputs", "given", "right"),
    "labels": ("labels",),
    "gradient": ("instruction", "errors"),
    "gradient_chat": ("instruction", "errors"),
    "gradient_empty": ("errors",),
    "gradient_empty_chat": ("errors",),
    "edit": ("instruction", "errors", "reason"),
    "edit_chat": ("instruction", "errors", "reason"),
    "edit_empty": ("errors", "reason"),
    "edit_empty_chat": ("errors", "reason"),
    "paraphrase": ("instruction",),
    "paraphrase_chat": ("instruction",),
}
"""Meta-prompt to its slots. In those for a chat the last paragraph is the opening of the answer. `empty`: for a prompt
without an instruction, of which nothing can be said that it leaves out."""

TAG = "instruction"
"""In chats an edited instruction stands in this tag."""
FEW_CHARS = 80
"""Texts of errors are shortened to this before errors are left out of a request that does not fit."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A train example that a prompt got wrong."""

    example: Example
    given: str


@dataclass(frozen=True, slots=True)
class Gradient:
    """Why a prompt made some mistakes, in the proposer's words."""

    parent: Prompt
    mistakes: tuple[Mistake, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Writer:
    """Asks the proposer. Every method makes one call for everything that it is given."""

    problem: Problem
    meta: Mapping[str, MetaPrompt]
    settings: ProTeGi
    chats: bool

    @property
    def proposer(self) -> Proposer:
        """Who is asked."""
        return self.problem.proposer

    def gradients(self, beam: Sequence[Prompt], mistakes: Sequence[Sequence[Mistake]], n_groups: int) -> list[Gradient]:
        """Return the reasons that the proposer sees for the mistakes of each prompt, `n_groups` groups per prompt.

        Each group is asked about `gradients` times and each reply is one reason: all replies share the work of reading
        the request, and small models repeat themselves in a list.
        """
        asked = [
            (parent, group)
            for parent, wrong in zip(beam, mistakes, strict=True)
            for group in self._groups(wrong, n_groups)
        ]
        if not asked:
            return []
        sampling = self._sampling(("\n\n",) if self.chats else ("\n",))
        reasons = self._reasons(asked, sampling)
        # A small model likes to begin with a blank line, where the stop string ends it: the second time there is none.
        again = replace(sampling, temperature=retry_temperature(sampling.temperature), stop=())
        lost = [i for i, found in enumerate(reasons) if found == []]
        try:
            second = self._reasons([asked[i] for i in lost], again)
        except BudgetExhausted:
            if not any(reasons):
                raise
            second = [[] for _ in lost]  # what is left of the budget is better spent on the reasons that there are
        for i, found in zip(lost, second, strict=True):
            reasons[i] = found
        return [
            Gradient(parent, tuple(group), reason)
            for (parent, group), found in zip(asked, reasons, strict=True)
            for reason in found or ()
        ]

    def edits(self, gradients: Sequence[Gradient]) -> list[tuple[Prompt, Prompt]]:
        """Return new prompts that heed the gradients, each with the prompt of the beam that it comes from."""
        if not gradients:
            return []
        parents = [gradient.parent for gradient in gradients]
        templates = [self._template("edit", parent) for parent in parents]
        readings = [self._reading(parent.instruction, TAG) for parent in parents]
        sampling = self._rewriting(parents, readings)
        prompts = [
            self._fitted(template, each.parent, each.mistakes, sampling.max_tokens, reason=each.reason)
            for template, each in zip(templates, gradients, strict=True)
        ]
        fixed = "\n".join({template.name: template.fixed for template in templates}.values())
        proposals = self.proposer.propose(prompts, readings, sampling, fixed, n=self.settings.edits)
        return self._recorded("edit", proposals, parents, parents)

    def paraphrases(
        self, beam: Sequence[Prompt], edits: Sequence[tuple[Prompt, Prompt]]
    ) -> list[tuple[Prompt, Prompt]]:
        """Return the edits and the beam in other words, each with the prompt of the beam that it comes from."""
        pairs = [*edits, *((prompt, prompt) for prompt in beam if prompt.instruction.strip())]
        if not pairs or not self.settings.paraphrases:
            return []
        sources = [source for source, _ in pairs]
        template = self.meta["paraphrase_chat" if self.chats else "paraphrase"]
        prompts = [self.proposer.request(template, instruction=source.instruction) for source in sources]
        # No tag: after one that is open already a 1.5B copied half of the sentences it was to say in other words, after
        # an opening in words 1 of 32.
        readings = [self._reading(source.instruction) for source in sources]
        sampling = self._rewriting(sources, readings)
        proposals = self.proposer.propose(prompts, readings, sampling, template.fixed, n=self.settings.paraphrases)
        return self._recorded("paraphrase", proposals, sources, [origin for _, origin in pairs])

    def _reasons(self, asked: Sequence[tuple[Prompt, Sequence[Mistake]]], sampling: Sampling) -> list[list[str] | None]:
        """Return at most `gradients` different reasons for each group of mistakes, same order and length as `asked`.

        None for a group that killed the engine each time: it would again. Replies without a reason are counted as
        discarded; reasons are no proposals.
        """
        if not asked:
            return []
        templates = [self._template("gradient", parent) for parent, _ in asked]
        prompts = [
            self._fitted(template, parent, group, sampling.max_tokens)
            for template, (parent, group) in zip(templates, asked, strict=True)
        ]
        found: list[list[str] | None] = []
        for template, replies in zip(
            templates, self.proposer.complete(prompts, sampling, n=self.settings.gradients), strict=True
        ):
            opening = template.turns[1] if self.chats else ""
            reasons: dict[str, str] = {}
            alive = [reply for reply in replies if reply.finish_reason != "failed"]
            self.proposer.discard([Discard("", DIED)] * (len(replies) - len(alive)))
            for reply in alive:
                texts = [shortened(flat(text), self.settings.shown_chars) for text in reasons_in(reply, opening)]
                if not texts:
                    self.proposer.discard([Discard(reply.text, "no reason")])
                for text in texts:
                    reasons.setdefault(normalised(text), text)
            found.append(list(reasons.values())[: self.settings.gradients] if alive else None)
        return found

    def _groups(self, wrong: Sequence[Mistake], n: int) -> list[list[Mistake]]:
        size, rng = self.settings.errors, self.problem.rng
        if self.settings.disjoint:
            return _disjoint_groups(wrong, size, n, rng)
        return [rng.sample(wrong, min(size, len(wrong))) for _ in range(n)] if wrong else []

    def _rewriting(self, parents: Sequence[Prompt], readings: Sequence[ReplyFormat]) -> Sampling:
        """Return the sampling of new wordings of any of the parents: with tokens enough for the longest.

        What ends a new instruction, beside a closing tag, is the same whichever parent it is made from.
        """
        is_long = any(reading.tag or reading.cut == "whole" for reading in readings)
        stop = ("\n\n",) if any(reading.cut == "paragraph" for reading in readings) else ("\n",)
        room = self.proposer.room_to_reword([parent.instruction for parent in parents], self.settings.max_tokens)
        return replace(self._sampling(() if is_long else stop), max_tokens=room)

    def _reading(self, instruction: str, tag: str = "") -> ReplyFormat:
        """Return how a new instruction is read, which ends with `tag` in a chat.

        As many sentences or paragraphs as the old one has are allowed.
        """
        max_chars = max(MAX_CHARS, 2 * len(instruction))
        if self.chats or "\n" in instruction.strip():
            return reply_format_like(instruction, max_chars, tag if self.chats else "")
        # After the sentence that it was asked for, a small model that continues plain text tells a story.
        return ReplyFormat("line" if ". " in instruction else "sentence", max_chars)

    def _recorded(
        self, op: str, proposals: Sequence[Proposal], parents: Sequence[Prompt], origins: Sequence[Prompt]
    ) -> list[tuple[Prompt, Prompt]]:
        found = []
        for proposal, parent, origin in zip(proposals, parents, origins, strict=True):
            for text in proposal.accepted:
                prompt = replace(parent, instruction=text)
                self.problem.record([Candidate(prompt, op, (parent.id,))])
                found.append((prompt, origin))
        return found

    def _fitted(
        self, template: MetaPrompt, parent: Prompt, mistakes: Sequence[Mistake], room: int, **values: str
    ) -> str:
        """Return the request with as much of the mistakes as fits the context beside `room` tokens to generate."""
        values["instruction"] = parent.instruction  # a template for an empty one has no place for it

        def versions() -> Iterator[str]:
            yield self.proposer.request(template, errors=self._errors(mistakes, self.settings.shown_chars), **values)
            for n in range(len(mistakes), 0, -1):
                yield self.proposer.request(template, errors=self._errors(mistakes[:n], FEW_CHARS), **values)

        return self.proposer.first_fitting(versions(), room)

    def _errors(self, mistakes: Sequence[Mistake], limit: int) -> str:
        blocks = []
        for mistake in mistakes:
            inputs = inputs_of(mistake.example, limit)
            given, right = set_off(mistake.given, limit), set_off(mistake.example.targets[0], limit)
            blocks.append(self.meta["error"].fill(inputs=inputs, given=given, right=right))
        if names := in_a_row(self.problem.outputs):
            blocks.append(self.meta["labels"].fill(labels=shortened(names, self.settings.shown_chars)))
        return "\n\n".join(blocks)

    def _template(self, name: str, parent: Prompt) -> MetaPrompt:
        kind = "" if parent.instruction.strip() else "_empty"
        return self.meta[f"{name}{kind}{'_chat' if self.chats else ''}"]

    def _sampling(self, stop: tuple[str, ...]) -> Sampling:
        settings = self.settings
        return Sampling(settings.max_tokens, temperature=settings.temperature, top_p=settings.top_p, stop=stop)


def reasons_in(reply: Generation, opening: str) -> list[str]:
    """Return the reasons that a reply gives: in `<reason>` tags, in a list, or else all of it as one.

    `opening` is the beginning of the reply that stood in the request; it belongs to a reason that is all of the reply.
    Without one, in plain text, a reason is one line.
    """
    found = tagged(reply.text, "reason") or listed(reply.text)
    if not found and normalised(without_chatter(reply.text)):
        whole = f"{opening} {reply.text.lstrip()}" if opening else reply.text
        found = [parse_instruction(replace(reply, text=whole), ReplyFormat("paragraph" if opening else "line"))[0]]
    return [text for text in found if normalised(text)]


def mistake_in(example: Example, outcome: Outcome) -> Mistake:
    """Return what was wrong about an answer, with all that the model wrote; nothing is shown as none."""
    return Mistake(example, outcome.written or "(none)")


def _disjoint_groups(wrong: Sequence[Mistake], size: int, n: int, rng: random.Random) -> list[list[Mistake]]:
    """Return up to `n` groups of different errors, at most one an error; each is used once before any comes again."""
    groups: list[list[Mistake]] = []
    left = rng.sample(wrong, len(wrong))
    while len(groups) < min(n, len(wrong)):
        group, left = left[:size], left[size:]
        if len(group) < min(size, len(wrong)):
            again = [each for each in rng.sample(wrong, len(wrong)) if each not in group]
            n_more = size - len(group)
            group, left = [*group, *again[:n_more]], again[n_more:]
        groups.append(group)
    return groups
