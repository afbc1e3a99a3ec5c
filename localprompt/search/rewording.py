"""Prompts in other words, for methods that vary what they have. Level 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from localprompt.proposals.metaprompts import MetaPrompt, flat
from localprompt.proposals.parsing import MAX_CHARS, ReplyFormat, common_stop, reply_format_like
from localprompt.search.problem import Problem
from localprompt.search.proposer import Request, children
from localprompt.types import Prompt, Sampling


def reworded(
    problem: Problem, template: MetaPrompt, parents: Sequence[Prompt], sampling: Sampling, n: int
) -> list[tuple[Prompt, Prompt]]:
    """Return (parent, usable new wording) in the order of the parents; they are not recorded yet.

    Args:
        problem: whose proposer is asked.
        template: asks for another wording of what is in its slot `instruction`.
        parents: of whom those without an instruction are left out: nothing has no other words.
        sampling: of every reply; a long instruction gets more tokens.
        n: replies per parent. One with line breaks is shown with them, and its other wordings may have them too.

    Raises:
        BudgetExhausted: before the replies are computed.
    """
    parents = [parent for parent in parents if parent.instruction.strip()]
    if not parents or not n:
        return []
    proposer, texts = problem.proposer, [parent.instruction for parent in parents]
    readings = [reading_of(text, chats=template.is_chat) for text in texts]
    room = proposer.room_to_reword(texts, sampling.max_tokens)

    def request(parent: Prompt, reading: ReplyFormat) -> Request:
        is_line = reading.cut in ("sentence", "line")
        shown = flat(parent.instruction) if is_line else parent.instruction
        return Request(proposer.first_fitting([proposer.request(template, instruction=shown)], room), reading, parent)

    requests = [request(*each) for each in zip(parents, readings, strict=True)]
    sampling = replace(sampling, max_tokens=room, stop=common_stop(readings))
    proposals = proposer.propose(requests, sampling, template.fixed, n=n)
    return children(requests, proposals)


def reading_of(instruction: str, *, chats: bool, tag: str = "") -> ReplyFormat:
    """Return how another wording of an instruction is read: as many sentences or paragraphs as it has are allowed.

    Args:
        instruction: the old one.
        chats: whether the proposer is asked in a chat.
        tag: ends the reply in a chat.
    """
    max_chars = max(MAX_CHARS, 2 * len(instruction))
    if chats or "\n" in instruction.strip():
        return reply_format_like(instruction, max_chars, tag if chats else "")
    # Plain text: after the sentence that it was asked for, a small model that continues it tells a story.
    return ReplyFormat("line" if ". " in instruction else "sentence", max_chars)
