"""Instructions from nothing: guesses of what is behind worked examples. Level 6.

APE's way (Zhou et al. 2022, arXiv 2211.01910), and how methods that improve a prompt begin where they have none, as PE2
does (Ye et al. 2024, arXiv 2311.05661).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from localprompt.proposals.metaprompts import SHRINK, MetaPrompt, in_a_row, shown_chars, worked
from localprompt.proposals.parsing import ReplyFormat
from localprompt.search.problem import Problem
from localprompt.search.proposer import Request, children
from localprompt.types import Candidate, Example, Prompt, Sampling

Init = Literal["auto", "seeds", "induce"]
"""Where first prompts come from: the task, guesses from worked examples too, or these where all seeds are empty."""
Objection = Callable[[str, Prompt], str]
"""A method's own test of a guess, as in `Proposer.propose`."""
Worked = Sequence[tuple[Example, str]]
"""Examples with the output that is shown of each."""

TEMPLATES = {
    "induce": ("demos",),
    "induce_chat": ("demos",),
    "induce_pair": ("inputs", "output"),
    "outputs": ("answers",),
}
"""Meta-prompt to its slots; shipped in `templates/shared`. In that for a chat the last paragraph opens the answer."""


@dataclass(frozen=True, slots=True)
class Induction:
    """How instructions are guessed."""

    meta: Mapping[str, MetaPrompt]
    """The meta-prompts of `TEMPLATES`."""
    asking: MetaPrompt
    """One of them, or the method's own with the slot `demos` and, if it is `fim`, a `blank` before them."""
    chars: int
    """A longer text is shown with its middle left out, and shorter still where the context is too small."""
    sampling: Sampling
    per_set: int = 1
    """Guesses from one set of examples."""

    def first(
        self, problem: Problem, n: int, demos: int, *, shared: bool = False, objection: Objection | None = None
    ) -> list[Prompt]:
        """Return usable first prompts, recorded already; they carry the demos of the first seed without an instruction.

        Each of `n` comes from `demos` examples of its own or, if `shared`, all of them from one set.

        Raises:
            BudgetExhausted: before the guesses are computed.
        """
        groups = [problem.minibatch(demos) for _ in range(1 if shared else n)]
        shown = [[(each, each.targets[0]) for each in group] for group in groups]
        # A seed may be nothing but worked examples: without them a guess would be compared with them.
        empty = next((seed for seed in problem.seeds if not seed.instruction.strip()), Prompt(""))
        induction = replace(self, per_set=n // len(groups))
        found = [child for _, child in induction.guesses(problem, shown, [empty] * len(groups), objection)]
        problem.record([Candidate(prompt, "induce") for prompt in found])
        return found

    def guesses(
        self, problem: Problem, shown: Sequence[Worked], parents: Sequence[Prompt], objection: Objection | None = None
    ) -> list[tuple[Prompt, Prompt]]:
        """Return (parent, usable guess), set by set of examples; a guess carries the demos of its set's parent.

        Raises:
            BudgetExhausted: before the guesses are computed.
        """
        requests = [self._request(problem, *each) for each in zip(shown, parents, strict=True)]
        if not requests:
            return []
        sampling = replace(self.sampling, stop=requests[0].reading.stop)
        proposals = problem.proposer.propose(requests, sampling, self.asking.fixed, n=self.per_set, objection=objection)
        return children(requests, proposals)

    def _request(self, problem: Problem, shown: Worked, parent: Prompt) -> Request:
        """Return the question behind one set of examples, these shortened until it fits the context."""
        is_blank, proposer = self.asking.name == "fim", problem.proposer

        def demos(shrink: int) -> str:
            chars = shown_chars(self.chars, shrink)
            pairs = [worked(self.meta["induce_pair"], example, output, chars) for example, output in shown]
            # After a blank to fill there is no place for a remark.
            listed = [] if is_blank else closed_set(problem, self.meta["outputs"], shrink)
            return "\n\n".join([*pairs, *listed])

        def text(shrink: int) -> str:
            if not is_blank:
                return proposer.request(self.asking, demos=demos(shrink))
            before, after = self.asking.sides
            return proposer.fim(before.fill(demos=demos(shrink)), after.fill(demos=demos(shrink)))

        suffix = self.asking.sides[1].fill(demos=demos(1)) if is_blank else ""
        reading = ReplyFormat("line" if is_blank or self.asking.is_chat else "sentence", suffix=suffix)
        return Request(proposer.first_fitting(map(text, SHRINK), self.sampling.max_tokens), reading, parent)


def is_wanted(init: Init, problem: Problem) -> bool:
    """Return whether to guess first prompts: always with `induce`, with `auto` where all seeds are empty."""
    is_empty = not any(seed.instruction.strip() for seed in problem.seeds)
    return init == "induce" or (init == "auto" and is_empty)


def closed_set(problem: Problem, listing: MetaPrompt, shrink: int = 1) -> list[str]:
    """Return one text that lists all outputs; none where they are no closed set, or there is no room at all.

    Five examples show what is done to an input but rarely all words of the answers, and a 1.5B does not conclude that
    they are a fixed set; an instruction that does not name them scores 0 under exact match.
    """
    if not problem.outputs or shrink == max(SHRINK):
        return []
    return [listing.fill(answers=in_a_row(problem.outputs))]
