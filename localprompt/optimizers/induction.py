"""First prompts from nothing: guesses of the instruction behind worked examples. Level 6.

For methods that improve a prompt and have none to begin with; the way of APE's forward mode (Zhou et al. 2022,
arXiv 2211.01910), as PE2 begins (Ye et al. 2024, arXiv 2311.05661).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from localprompt.proposals.metaprompts import SHRINK, MetaPrompt, in_a_row, shown_chars, worked
from localprompt.proposals.parsing import ReplyFormat
from localprompt.search.problem import Problem
from localprompt.types import Candidate, Example, Prompt, Sampling

TEMPLATES = {
    "induce": ("demos",),
    "induce_chat": ("demos",),
    "induce_pair": ("inputs", "output"),
    "outputs": ("answers",),
}
"""Meta-prompt to its slots; shipped in `templates/shared`. In that for a chat the last paragraph opens the answer."""


@dataclass(frozen=True, slots=True)
class Induction:
    """How first prompts are guessed."""

    guesses: int
    """Each from examples of its own, unless `shared`."""
    demos: int
    """Worked examples behind a guess."""
    chars: int
    """A longer text is shown with its middle left out, and shorter still where the context is too small."""
    max_tokens: int
    """Of a guess."""
    temperature: float
    top_p: float
    shared: bool = False
    """All guesses are replies to one request with one set of examples."""

    def prompts(
        self,
        problem: Problem,
        meta: Mapping[str, MetaPrompt],
        *,
        chats: bool,
        objection: Callable[[str, int], str] | None = None,
    ) -> list[Prompt]:
        """Return the usable guesses, recorded already; they carry the demos of the first seed without an instruction.

        Args:
            problem: its train examples are shown.
            meta: the meta-prompts of `TEMPLATES`.
            chats: ask in a chat, not with a text to be continued.
            objection: the method's own test of a guess, as in `Problem.propose`.

        Raises:
            BudgetExhausted: before the guesses are computed.
        """
        template, reading = (
            (meta["induce_chat"], ReplyFormat("line")) if chats else (meta["induce"], ReplyFormat("sentence"))
        )

        def request(group: Sequence[Example], shrink: int) -> str:
            chars = shown_chars(self.chars, shrink)
            pairs = [worked(meta["induce_pair"], each, each.targets[0], chars) for each in group]
            demos = "\n\n".join([*pairs, *closed_set(problem, meta["outputs"], shrink)])
            return problem.proposer.request(template, demos=demos)

        groups = [problem.minibatch(self.demos) for _ in range(1 if self.shared else self.guesses)]
        fitting = problem.proposer.first_fitting
        requests = [fitting(map(partial(request, group), SHRINK), self.max_tokens) for group in groups]
        sampling = Sampling(self.max_tokens, temperature=self.temperature, top_p=self.top_p, stop=reading.stop)
        n = self.guesses // len(groups)
        proposals = problem.proposer.propose(requests, reading, sampling, template.fixed, n=n, objection=objection)
        # A seed may be nothing but worked examples: without them a guess would be compared with them.
        demos = next((seed.demos for seed in problem.seeds if not seed.instruction.strip()), ())
        found = [Prompt(text, demos) for proposal in proposals for text in proposal.accepted]
        problem.record([Candidate(prompt, "induce") for prompt in found])
        return found


def is_wanted(init: Literal["auto", "seeds", "induce"], problem: Problem) -> bool:
    """Return whether to guess first prompts: always with `induce`, with `auto` where all seeds are empty."""
    is_empty = not any(seed.instruction.strip() for seed in problem.seeds)
    return init == "induce" or (init == "auto" and is_empty)


def closed_set(problem: Problem, listing: MetaPrompt, shrink: int = 1) -> list[str]:
    """Return one text that lists all outputs; none where they are no closed set, or there is no room at all."""
    if not problem.outputs or shrink == max(SHRINK):
        return []
    return [listing.fill(answers=in_a_row(problem.outputs))]
