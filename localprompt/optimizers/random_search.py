"""Random search: write prompts without any feedback and keep the best. Level 6. A baseline for all other methods.

1. Measure the seed prompts on all of dev; draw `score_examples` of it, once.
2. Ask for `per_round` instructions: a seed prompt in other words or, for an empty one, a guess from `demos` worked
   examples. No score, error or earlier proposal is shown to the proposer.
3. Score what is new and usable on the drawn examples, beside the `finalists` best so far.
4. Measure the `finalists` best of them on all of dev. Repeat 2 to 4 until the budget ends or nothing new comes.

What another method finds beyond this one at equal cost is what its feedback is worth: so it spends all of a budget in
tokens or calls, however large, in rounds so small that little of it is left over, and may choose as the others do, by
likelihood where the metric sees no difference. The Monte Carlo search that the ProTeGi paper compares itself with
paraphrases the best of each round; here nothing found is built upon, so that chance alone is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import ClassVar

from localprompt.errors import ConfigError
from localprompt.optimizers.induction import closed_set
from localprompt.optimizers.registry import at_least, optimizer, require
from localprompt.optimizers.rewording import reworded
from localprompt.proposals.metaprompts import SHRINK, MetaPrompt, load, shown_chars, worked
from localprompt.proposals.parsing import ReplyFormat
from localprompt.search.filtering import Stages, filter_in_stages, measure_best_first
from localprompt.search.problem import Problem
from localprompt.types import Candidate, Example, Prompt, Sampling

TEMPLATES = {
    "demo": ("inputs", "output"),
    "induce": ("demos",),
    "induce_chat": ("demos",),
    "outputs": ("answers",),
    "paraphrase": ("instruction",),
    "paraphrase_chat": ("instruction",),
}
"""Meta-prompt to its slots. In those for a chat the last paragraph is the opening of the answer."""


@optimizer("random", TEMPLATES)
@dataclass(frozen=True, slots=True)
class RandomSearch:
    """Hyperparameters of random search; it goes on until the budget in tokens or calls ends.

    Without a limit on either it ends after `proposals`, at most some 4,000 short answers. It ends sooner where nothing
    new comes.
    """

    SPENDS_ALL: ClassVar[bool] = True
    """It has no end of its own within a budget, so a rehearsal ends after `proposals`: the rest goes on like that."""

    proposals: int = 128
    """Instructions asked for in all where the budget limits neither tokens nor calls; about twice what the other
    methods spend then. Under a limit it is of no account: the search goes on until the limit."""
    per_round: int = 8
    """Instructions asked for before they are scored: the budget may end after any round."""
    barren: int = 3
    """After so many rounds without anything new and usable the search ends: it would go on repeating itself."""
    per_request: int = 4
    """Replies to one request; requests differ in the seed prompt or in the worked examples."""
    demos: int = 5
    """Worked examples in a request where the seed prompt is empty; all of train where it has fewer."""
    demo_chars: int = 300
    """A longer text is shown with its middle left out."""
    temperature: float = 1.0
    """Of the proposer. High: a paraphrase that says the same in the same words is a duplicate."""
    top_p: float = 0.95
    """Of the proposer."""
    max_tokens: int = 60
    """Of a reply; more where the seed prompt is longer."""
    score_examples: int = 24
    """Dev examples on which every proposal is scored; all of dev where it has fewer."""
    tiebreak: bool = True
    """Of proposals that the metric finds equal keep those under which the right answers are most probable, as `ape`."""
    finalists: int = 2
    """Best proposals of every round, measured on all of dev; about 5 in the first 64, and fewer and fewer."""
    templates: Path | None = None
    """Folder with meta-prompts of your own, `.txt` files named as the shipped ones; missing ones are the shipped."""

    def __post_init__(self) -> None:
        at_least(self, 1, "proposals", "per_round", "barren", "per_request", "demos", "max_tokens")
        at_least(self, 1, "score_examples", "finalists")
        at_least(self, 20, "demo_chars")
        at_least(self, 0, "temperature")
        require(self, "top_p", 0 < self.top_p <= 1, "above 0 and at most 1")

    def run(self, problem: Problem) -> None:
        """Search; everything stays with `problem`."""
        meta = load("random", TEMPLATES, self.templates)
        if not problem.train and any(not seed.instruction.strip() for seed in problem.seeds):
            raise ConfigError("an empty seed prompt needs worked examples and the task has none", "add a train split")
        n_rounds, is_endless = -(-self.proposals // self.per_round), problem.is_limited and not problem.is_rehearsal
        n_requests = -(-self.per_round // self.per_request)

        # 1. The seeds, and the examples that every proposal will see.
        examples = problem.shuffled(problem.dev)[: self.score_examples]
        measured = measure_best_first(problem, problem.seeds)

        best: list[Prompt] = []
        n_barren = 0
        for round_ in count() if is_endless else range(n_rounds):
            if any(evaluation.mean >= 1.0 for evaluation in measured):
                problem.note("nothing to gain, every answer on dev is right")
                return
            # 2. Write.
            problem.begin(f"round {round_ + 1}" + ("" if is_endless else f" of at most {n_rounds}"))
            first = round_ * n_requests
            turns = [problem.seeds[(first + i) % len(problem.seeds)] for i in range(n_requests)]
            found = self._write(problem, meta, turns)
            problem.record(found)
            n_barren = 0 if found else n_barren + 1
            if n_barren == self.barren:
                problem.note(f"nothing new and usable in {n_barren} rounds: the proposer repeats itself")
                return

            # 3, 4. Score, and measure the best at once: the budget may end before the next round.
            if found:
                best = self._select(problem, [*best, *(candidate.prompt for candidate in found)], examples)
                measured = measure_best_first(problem, best)

    def _write(self, problem: Problem, meta: dict[str, MetaPrompt], turns: Sequence[Prompt]) -> list[Candidate]:
        """Return new candidates: each of `turns` in other words, or guesses for those without an instruction."""
        empty = [seed for seed in turns if not seed.instruction.strip()]
        template = meta["paraphrase_chat" if problem.proposer.has_chat else "paraphrase"]
        paraphrases = reworded(problem, template, turns, self._sampling, op="paraphrase", n=self.per_request)
        return [*paraphrases, *self._induce(problem, meta, empty)]

    def _induce(self, problem: Problem, meta: dict[str, MetaPrompt], seeds: Sequence[Prompt]) -> list[Candidate]:
        if not seeds:
            return []
        template = meta["induce_chat" if problem.proposer.has_chat else "induce"]
        drawn = [
            [(example, problem.rng.choice(example.targets)) for example in problem.minibatch(self.demos)] for _ in seeds
        ]

        def request(group: Sequence[tuple[Example, str]], shrink: int) -> str:
            limit = shown_chars(self.demo_chars, shrink)
            pairs = [worked(meta["demo"], example, output, limit) for example, output in group]
            return problem.proposer.request(
                template, demos="\n\n".join([*pairs, *closed_set(problem, meta["outputs"])])
            )

        fitting = problem.proposer.first_fitting
        prompts = [fitting(map(partial(request, group), SHRINK), self.max_tokens) for group in drawn]
        reading = ReplyFormat("line" if template.is_chat else "sentence")
        sampling = replace(self._sampling, stop=reading.stop)
        proposals = problem.proposer.propose(prompts, reading, sampling, template.fixed, n=self.per_request)
        return [
            Candidate(replace(seed, instruction=text), "induce", (seed.id,))
            for seed, proposal in zip(seeds, proposals, strict=True)
            for text in proposal.accepted
        ]

    def _select(self, problem: Problem, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Prompt]:
        """Return the finalists, best first."""
        tiebreak = partial(problem.likelihood, norm="token") if self.tiebreak else None
        stages = Stages((len(examples),), 0.0, self.finalists, tiebreak)
        return filter_in_stages(problem.evaluate, prompts, examples, stages)

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.max_tokens, temperature=self.temperature, top_p=self.top_p)
