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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

from localprompt.errors import ConfigError
from localprompt.optimizers import induction
from localprompt.optimizers.induction import Induction
from localprompt.optimizers.registry import optimizer
from localprompt.optimizers.settings import NO_TRAIN, Checked, Count, Share, Shown, Weight
from localprompt.optimizers.worked_examples import SETS, Shots, starts
from localprompt.proposals.metaprompts import MetaPrompt, load
from localprompt.search.filtering import Stages, filter_in_stages, measure_best_first
from localprompt.search.problem import Problem
from localprompt.search.rewording import reworded
from localprompt.types import Candidate, Example, Prompt, Sampling

TEMPLATES = {**induction.TEMPLATES, "paraphrase": ("instruction",), "paraphrase_chat": ("instruction",)}
"""Meta-prompt to its slots. In those for a chat the last paragraph is the opening of the answer."""


@optimizer("random", TEMPLATES)
@dataclass(frozen=True, slots=True)
class RandomSearch(Checked):
    """Hyperparameters of random search; it goes on until the budget ends.

    Without a limit on either it ends after `proposals`, at most some 4,000 short answers. It ends sooner where nothing
    new comes.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"barren": "unproductive"}
    REHEARSED: ClassVar[tuple[float, float]] = (1.0, 1.0)
    """It has no end of its own within a budget, so a rehearsal ends after `proposals`: the rest goes on like that."""

    proposals: Count = 128
    """Instructions asked for in all where no budget limits tokens, calls or minutes; about twice what the other
    methods spend then. Under a limit it has no effect: the search continues until the limit."""
    per_round: Count = 8
    """Instructions asked for before they are scored: the budget may end after any round."""
    unproductive: Count = 3
    """The search ends after this many rounds without anything new and usable: it would only repeat itself."""
    per_request: Count = 4
    """Replies to one request; requests differ in the seed prompt or in the worked examples."""
    demos: Count = 5
    """Worked examples in a request where the seed prompt is empty; all of train where it has fewer."""
    demo_chars: Shown = 300
    """A longer text is shown with its middle left out."""
    temperature: Weight = 1.0
    """Of the proposer. High: a paraphrase that says the same in the same words is a duplicate."""
    top_p: Share = 0.95
    """Of the proposer."""
    max_tokens: Count = 60
    """Of a reply; more where the seed prompt is longer."""
    score_examples: Count = 24
    """Dev examples on which every proposal is scored; all of dev where it has fewer."""
    tiebreak: bool = True
    """Of proposals that the metric finds equal keep those under which the right answers are most probable, as `ape`."""
    finalists: Count = 2
    """Best proposals of every round, measured on all of dev; about 5 in the first 64, and fewer and fewer."""
    shots: Shots = 0
    """Worked examples of the prompts that it starts with, besides the seeds: the best of several sets, with the best
    seed's instruction and on their own. `auto`: the best number. New prompts carry their parent's."""
    example_sets: Count = SETS
    """Orders in which train is dealt for such sets; 1 is cheap."""
    templates: Path | None = None
    """Folder with your own meta-prompts: `.txt` files named like the shipped ones, which they replace."""

    def run(self, problem: Problem) -> None:
        """Search; everything stays with `problem`."""
        meta = load("random", TEMPLATES, self.templates)
        if not problem.train and any(not seed.instruction.strip() for seed in problem.seeds):
            raise ConfigError("an empty seed prompt needs worked examples and the task has none", NO_TRAIN)
        is_endless = problem.proposer.is_limited and not problem.is_rehearsal
        n_requests = -(-self.per_round // self.per_request)
        n_rounds = -(-self.proposals // (n_requests * self.per_request))

        # 1. The seeds, and the examples that every proposal will see.
        examples = problem.shuffled(problem.dev)[: self.score_examples]
        first = starts(problem, self.shots, self.example_sets, examples)
        measured = measure_best_first(problem, first)

        best, n_unproductive = list[Prompt](), 0
        for round_ in count() if is_endless else range(n_rounds):
            if any(evaluation.mean >= 1.0 for evaluation in measured):
                problem.note("nothing to gain, every answer on dev is right")
                return
            # 2. Write.
            problem.begin(f"round {round_ + 1}" + ("" if is_endless else f" of at most {n_rounds}"))
            turns = [first[(round_ * n_requests + i) % len(first)] for i in range(n_requests)]
            found = self._write(problem, meta, turns)
            problem.record(found)
            n_unproductive = 0 if found else n_unproductive + 1
            if n_unproductive == self.unproductive:
                problem.note(f"nothing new and usable in {n_unproductive} rounds: the proposer repeats itself")
                return

            # 3, 4. Score, and measure the best at once: the budget may end before the next round.
            if found:
                best = self._select(problem, [*best, *(candidate.prompt for candidate in found)], examples)
                measured = measure_best_first(problem, best)

    def _write(self, problem: Problem, meta: dict[str, MetaPrompt], turns: Sequence[Prompt]) -> list[Candidate]:
        """Return new candidates: each of `turns` in other words, or guesses for those without an instruction."""
        in_a_chat = "_chat" if problem.proposer.has_chat else ""
        paraphrases = reworded(problem, meta[f"paraphrase{in_a_chat}"], turns, self._sampling, self.per_request)
        empty = [seed for seed in turns if not seed.instruction.strip()]
        drawn = [[(each, problem.rng.choice(each.targets)) for each in problem.minibatch(self.demos)] for _ in empty]
        guessing = Induction(meta, meta[f"induce{in_a_chat}"], self.demo_chars, self._sampling, self.per_request)
        guesses = guessing.guesses(problem, drawn, empty)
        return [
            *(Candidate(child, "paraphrase", (parent.id,)) for parent, child in paraphrases),
            *(Candidate(child, "induce", (parent.id,)) for parent, child in guesses),
        ]

    def _select(self, problem: Problem, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Prompt]:
        """Return the finalists, best first."""
        stages = Stages((len(examples),), 0.0, self.finalists, problem.likelihood if self.tiebreak else None)
        return filter_in_stages(problem.evaluate, prompts, examples, stages)

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.max_tokens, temperature=self.temperature, top_p=self.top_p)
