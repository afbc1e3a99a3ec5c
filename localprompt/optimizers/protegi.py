"""ProTeGi, prompt optimisation with textual gradients (Pryzant et al. 2023, arXiv 2305.03495). Level 6.

1. Begin with the seed prompts; where these are empty, let `init_prompts` guesses from worked examples race with them.
   Draw one minibatch of train for all prompts of the beam, and answer it with each of them.
2. Cut each prompt's errors into groups; for each group ask the proposer why they happened: the gradients.
3. For each gradient ask for edits: better instructions, given the prompt, the errors and the reason.
4. Ask for paraphrases of the edits and of the prompts themselves.
5. Keep some successors of each prompt, at random or those that do best on its errors.
6. Let successors and beam race on `race_on`; the best are the next beam. Measure the first of it on all of dev.
7. Repeat; at the end measure all of the beam on all of dev, the best first.

Differs from the paper and its code, each on purpose: reasons are sampled one a reply instead of listed in one; nothing
is asked about a prompt without errors; only the instruction is replaced, never text inside a text; the race draws
common examples, by default of dev and not of train; the seeds and each round's best are measured on dev, which chooses
the winner, so that a run cut short has a result; groups of errors are disjoint, unless told otherwise; proposals are
validated. `docs/methods/protegi.md` has all of it beside the paper's and the code's values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from localprompt.errors import ConfigError
from localprompt.optimizers import induction, protegi_writing
from localprompt.optimizers.induction import Induction
from localprompt.optimizers.protegi_writing import Mistake, Writer, mistake_in
from localprompt.optimizers.registry import at_least, optimizer, require
from localprompt.proposals.metaprompts import load
from localprompt.search.filtering import Score, measure_best_first
from localprompt.search.problem import Problem
from localprompt.search.proposer import Style
from localprompt.search.racing import Pulls, RaceName, race
from localprompt.search.ranking import best_first
from localprompt.types import Prompt

_TEMPLATES = {**protegi_writing.TEMPLATES, **induction.TEMPLATES}


@optimizer("protegi", _TEMPLATES)
@dataclass(frozen=True, slots=True)
class ProTeGi:
    """Hyperparameters of ProTeGi; the defaults spend about 1400 short answers on a dev split of 100 rows."""

    rounds: int = 3
    """Times the beam is expanded (paper and code: 6; the paper saw the best prompts after about 3)."""
    beam: int = 3
    """Prompts that go on after a round (paper and code: 4)."""
    minibatch: int = 24
    """Train examples per round, the same for all of the beam (paper and code: 64)."""
    groups: int = 2
    """Groups of errors per prompt (code: 4)."""
    errors: int = 3
    """Errors a group (paper and code: 4)."""
    gradients: int = 2
    """Reasons a group (paper: 4, code: 1)."""
    disjoint: bool = True
    """Groups of a prompt share errors only where these are too few, and there are no more groups than errors. False:
    each is drawn anew from all (code), so one error fills all groups."""
    edits: int = 1
    """New instructions a reason (paper and code: 1)."""
    paraphrases: int = 1
    """Of each edit and of each prompt of the beam (paper and code: 2)."""
    successors: int = 6
    """Kept of what each prompt gave rise to: its edits, and paraphrases of them and of itself (paper and code: 8)."""
    sampling: Literal["random", "rejection"] = "random"
    """How they are kept. `random`: the paper's way. `rejection`: those that do best on the prompt's own errors, the
    code's option."""
    rejection_errors: int = 16
    """Errors, at most, of rejection (code: 16)."""
    rejection_pool: int = 16
    """Successors, drawn at random, that rejection compares at most (code: 16)."""
    spread: bool = True
    """A round with fewer prompts than the beam has places gives each of them as many times more groups and successors.
    Without it a single seed has a third of a round. Paper and code: no."""
    scorer: Literal["exec", "likelihood"] = "exec"
    """What races compare. `exec`: the task's metric. `likelihood`: the mean log-probability of the right answer's
    tokens (code: of its last token; the paper saw no gain); the metric decides at the end all the same."""
    selection: RaceName = "ucb"
    """The race (paper: UCB was best; code: uniform unless told otherwise). See `localprompt/search/racing.py`."""
    race_on: Literal["dev", "train"] = "dev"
    """Whose examples races score on (paper and code: train). Those of dev were not shown to the proposer, and the last
    measurement, on all of dev, needs their scores anyway."""
    evaluations: int = 180
    """Scores, one a prompt and example, that a race may take (code: 2048; paper: 12 to 50 per prompt)."""
    arms_per_round: int = 4
    """Prompts a round of `ucb`, `ucb-e` and `thompson` (code: 8)."""
    examples_per_pull: int = 5
    """Examples a pull of them (code: 32)."""
    exploration: float = 1.0
    """Weight of the bonus of `ucb`, `a` of `ucb-e`, in units of the range of scores (paper: 2.0, code: 1.0)."""
    temperature: float = 0.9
    """Of gradients, edits and paraphrases (paper: 1.0, code: 0.7)."""
    top_p: float = 0.95
    """Of them (paper and code: 1): the rare words of a small quantised model are noise."""
    max_tokens: int = 100
    """Of each of them (code: 1024)."""
    shown_chars: int = 300
    """A longer reason or text of an error is shown with its middle left out (paper and code: whole)."""
    style: Style = "auto"
    """How the proposer is asked. `chat`: a question with the opening of the answer written already. `raw`: plain text
    to continue. `auto`: chat where the proposer has a template."""
    init: Literal["auto", "seeds", "induce"] = "auto"
    """Where the first beam comes from. `seeds`: the task (paper and code, which always begin with a prompt by hand).
    `induce`: guesses from worked examples too. `auto`: guesses where all seeds are empty: what is wrong with no prompt
    at all is a question that a small model answers with a wrong theory."""
    init_prompts: int = 12
    """Guesses."""
    init_demos: int = 5
    """Worked examples behind a guess."""
    init_tokens: int = 50
    """Of a guess."""
    templates: Path | None = None
    """Folder with meta-prompts of your own, `.txt` files named as the shipped ones; missing ones are the shipped."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "rounds": 6,
            "beam": 4,
            "minibatch": 64,
            "groups": 4,
            "errors": 4,
            "gradients": 4,
            "disjoint": False,
            "paraphrases": 2,
            "successors": 8,
            "spread": False,
            "race_on": "train",
            "evaluations": 2048,
            "arms_per_round": 8,
            "examples_per_pull": 32,
            "exploration": 2.0,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 1024,
            "shown_chars": 100_000,
            "init": "seeds",
        }
    }

    def __post_init__(self) -> None:
        at_least(self, 1, "rounds", "beam", "minibatch", "groups", "errors", "gradients", "edits", "successors")
        at_least(self, 1, "evaluations", "init_prompts", "init_demos", "init_tokens", "rejection_errors")
        at_least(self, 1, "rejection_pool", "arms_per_round", "examples_per_pull", "max_tokens")
        at_least(self, 0, "paraphrases", "exploration", "temperature")
        require(self, "top_p", 0 < self.top_p <= 1, "above 0 and at most 1")
        at_least(self, 20, "shown_chars")

    def run(self, problem: Problem) -> None:
        """Search for the best instruction; everything stays with `problem`."""
        writer = Writer(problem, load("protegi", _TEMPLATES, self.templates), self, problem.proposer.chats(self.style))
        if not problem.train:
            raise ConfigError("protegi learns from errors on train and the task has no train split", "add one")
        beam = best_first(measure_best_first(problem, problem.seeds))[: self.beam]
        if induction.is_wanted(self.init, problem) and (
            found := self._induction.prompts(problem, writer.meta, chats=writer.chats)
        ):
            beam = self._select(problem, [*beam, *found])
        for round_ in range(1, self.rounds + 1):
            problem.begin(f"round {round_} of {self.rounds}")
            if problem.evaluate(beam[:1])[0].mean >= 1.0:
                problem.note("nothing to gain, every answer on dev is right")
                return

            # 1. One minibatch for all of the beam.
            mistakes = self._mistakes(problem, beam)
            if not any(mistakes):
                problem.note("no error in the minibatch, so there are no gradients, only paraphrases")

            # 2, 3, 4. Gradients, edits, paraphrases: each one call for all of the beam.
            share = math.ceil(self.beam / len(beam)) if self.spread else 1
            gradients = writer.gradients(beam, mistakes, self.groups * share)
            edits = writer.edits(gradients)
            paraphrases = writer.paraphrases(beam, edits)

            # 5, 6. Successors of each prompt race with the beam.
            pools = [[new for new, origin in (*edits, *paraphrases) if origin == parent] for parent in beam]
            successors = self._successors(problem, pools, mistakes, self.successors * share)
            if successors:
                beam = self._select(problem, [*beam, *successors])

        # 7. The last word has the metric, on all of dev.
        measure_best_first(problem, beam)

    @property
    def _induction(self) -> Induction:
        chars, top_p = self.shown_chars, self.top_p
        return Induction(self.init_prompts, self.init_demos, chars, self.init_tokens, self.temperature, top_p)

    def _mistakes(self, problem: Problem, beam: Sequence[Prompt]) -> list[list[Mistake]]:
        """Return what each prompt got wrong on one minibatch, in the order of the beam.

        Everything below the full score is wrong: with a metric such as F1 few answers score exactly 0.
        """
        examples = problem.minibatch(self.minibatch)
        return [
            [mistake_in(ex, out) for ex, out in zip(examples, evaluation.outcomes, strict=True) if out.score < 1.0]
            for evaluation in problem.evaluate(beam, examples)
        ]

    def _successors(
        self,
        problem: Problem,
        pools: Sequence[Sequence[Prompt]],
        mistakes: Sequence[Sequence[Mistake]],
        n: int,
    ) -> list[Prompt]:
        """Return at most `n` of each pool, the successors of one prompt."""
        kept: list[Prompt] = []
        for pool, wrong in zip(pools, mistakes, strict=True):
            if len(pool) <= n:
                kept += pool
            elif self.sampling == "random" or not wrong:
                kept += problem.rng.sample(pool, n)
            else:
                tried = problem.rng.sample(pool, min(len(pool), max(n, self.rejection_pool)))
                shown = problem.rng.sample(wrong, min(len(wrong), self.rejection_errors))
                scored = self._score(problem)(tried, [mistake.example for mistake in shown])
                kept += [each.prompt for each in sorted(scored, key=lambda each: -each.mean)[:n]]
        return kept

    def _select(self, problem: Problem, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return the next beam, best first."""
        examples = problem.shuffled(problem.train) if self.race_on == "train" else problem.shuffled(problem.dev)
        pulls = Pulls(self.arms_per_round, self.examples_per_pull, self.exploration)
        rule = race(self.selection, len(prompts), self.beam, self.evaluations, pulls)
        return rule.run(self._score(problem), prompts, examples, problem.rng)[: self.beam]

    def _score(self, problem: Problem) -> Score:
        return partial(problem.likelihood, norm="token") if self.scorer == "likelihood" else problem.evaluate
