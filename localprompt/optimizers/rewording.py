"""Prompts in other words, for methods that vary what they have. Level 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from localprompt.proposals.metaprompts import MetaPrompt, flat
from localprompt.proposals.parsing import MAX_CHARS, ReplyFormat, common_stop, reply_format_like
from localprompt.search.problem import Problem
from localprompt.types import Candidate, Prompt, Sampling


def reworded(  # noqa: PLR0913 - one request
    problem: Problem, template: MetaPrompt, parents: Sequence[Prompt], sampling: Sampling, *, op: str, n: int
) -> list[Candidate]:
    """Return the usable new wordings of the parents, in their order; they are not recorded yet.

    Args:
        problem: whose proposer is asked.
        template: asks for another wording of what is in its slot `instruction`.
        parents: of whom those without an instruction are left out: nothing has no other words.
        sampling: of every reply; a long instruction gets more tokens.
        op: how the new prompts came about.
        n: replies a parent. One with line breaks is shown with them, and its other wordings may have them too.

    Raises:
        BudgetExhausted: before the replies are computed.
    """
    parents = [parent for parent in parents if parent.instruction.strip()]
    if not parents:
        return []
    texts = [parent.instruction for parent in parents]
    max_chars = max(MAX_CHARS, 2 * max(map(len, texts)))
    # Plain text. An instruction of several sentences is the user's own and must be free to keep its length.
    short = ReplyFormat("line" if any(". " in text for text in texts) else "sentence", max_chars)
    readings, shown = [short] * len(texts), [flat(text) for text in texts]
    for i, text in enumerate(texts):
        if template.is_chat or "\n" in text.strip():
            readings[i], shown[i] = reply_format_like(text, max_chars), text
    proposer = problem.proposer
    room = proposer.room_to_reword(texts, sampling.max_tokens)
    requests = [proposer.first_fitting([proposer.request(template, instruction=text)], room) for text in shown]
    sampling = replace(sampling, max_tokens=room, stop=common_stop(readings))
    proposals = proposer.propose(requests, readings, sampling, template.fixed, n=n)
    return [
        Candidate(replace(parent, instruction=text), op, (parent.id,))
        for parent, proposal in zip(parents, proposals, strict=True)
        for text in proposal.accepted
    ]
