"""PE2, Prompt Engineering a Prompt Engineer (Ye et al. 2024, arXiv 2311.05661). Level 6.

1. Begin with the seed prompts or, where these are empty, with `init_prompts` guesses from worked examples.
2. Score the newest prompts on dev.
3. Take the `beam` best of all prompts so far (backtracking).
4. Run each of them on shuffled train until it has made enough errors; deal `expand` batches of `batch_size` from these.
5. For each batch hold a conversation with the proposer. Up front the two steps are explained; then it sees the prompt,
   the task's real layout and the errors, answers a fixed list of questions about each, and from its answers writes the
   new prompt, within a limit of words and, if wanted, of changed words.
6. Add the new prompts to the tree and go on with 2, `steps` times.

Differs from the paper and its code, each on purpose: a generation is scored on a part of dev first and only its best
on all of dev; one reasoning serves several new prompts; the batches of a prompt share no error, and first guesses no
set of examples; a closed set of outputs is listed; limits are counted and not only asked for; proposals are validated;
the order of train is drawn anew in each step. See docs/methods/pe2.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import ClassVar, Literal

from localprompt.errors import ConfigError
from localprompt.optimizers import induction, pe2_conversation
from localprompt.optimizers.induction import Induction
from localprompt.optimizers.pe2_conversation import (
    Case,
    Conversation,
    Lesson,
)
from localprompt.optimizers.registry import at_least, optimizer, require
from localprompt.proposals.metaprompts import MIN_SHOWN_CHARS, load
from localprompt.proposals.similarity import words
from localprompt.search.filtering import Stages, filter_in_stages, measure_best_first
from localprompt.search.problem import Problem
from localprompt.search.ranking import best_first
from localprompt.types import Evaluation, Example, Prompt

_TEMPLATES = {**pe2_conversation.TEMPLATES, **induction.TEMPLATES}


@optimizer("pe2", _TEMPLATES)
@dataclass(frozen=True, slots=True)
class PE2:
    """Hyperparameters of PE2; the defaults take about 1500 short answers on a dev split of 100 rows, and 50 texts."""

    steps: int = 3
    """Expansions of the tree. Paper: 3, where its curves flatten; code: `train_steps` 10, of which 9 expand."""
    beam: int = 2
    """Prompts expanded in a step (paper: 4; code: 2)."""
    expand: int = 2
    """Batches of errors, and so reasonings, for each of them (paper: 4; code: 2)."""
    rewrites: int = 2
    """New prompts from one reasoning (paper and code: 1). Reading errors and reasoning is most of the cost, and what a
    small model writes is often discarded."""
    batch_size: int = 2
    """Errors shown at once; fewer where there are fewer (paper and code: 2; it saw no gain from 4 or 8)."""
    negatives: Literal["hard", "random", "hard_weighted"] = "hard"
    """What the batches are drawn from. `hard`: the errors (paper). `random`: all examples that the prompt was run on.
    `hard_weighted`: these too, the worse the likelier (code: only rows of score 0, all alike, one maybe twice)."""
    disjoint: bool = True
    """Deal the batches of a prompt from `batch_size` x `expand` errors, so that they share none while there are so
    many. False: draw each anew from half as many, at least `batch_size` (paper and code): two are often the same."""
    backtrack: bool = True
    """Take the best of all prompts so far (paper); false: of the newest generation."""
    max_words: int = 50
    """Longest new prompt, asked for and counted; a parent with more words may keep its length. Paper and code: 50, and
    200 for counterfactual tasks, asked for only."""
    step_size: int | None = None
    """Most words that a new prompt may differ from its parent in, asked for and counted. None: no limit, as in the
    paper's final version; it tried 5, 10 and 15, the code's default is 10. An empty parent sets no limit."""
    history: bool = False
    """Show the earlier versions with their scores and what was changed (the paper's history and momentum, left out of
    its final version; in its code it ends in an error). Costs one more text for each prompt expanded."""
    tutorial: bool = False
    """Begin with some advice on prompts (left out of the paper's final version, where it has 2500 tokens)."""
    reasoning_tokens: int = 125
    """Of the reasoning, for each example of the batch (code: 1500 for the whole; paper: no limit). A text cut here ends
    with its last whole sentence."""
    reasoning_temperature: float = 0.5
    """Code: 0.5; paper: 0, which makes equal reasonings of equal batches."""
    prompt_tokens: int = 150
    """Of a new prompt (paper and code: 300); more where the parent is longer."""
    temperature: float = 0.9
    """Of a new prompt and of summaries (paper and code: 0.7, where a 1.5B wrote a good prompt down again 25 times in
    80)."""
    top_p: float = 0.95
    """Of all that the proposer writes (paper and code: not set, so 1.0). The many improbable tokens of a large
    vocabulary add up at 1.0."""
    example_chars: int = 300
    """A longer text is shown with its middle left out, and shorter still where the context is too small (paper and
    code: no limit)."""
    train_batch: int = 8
    """Train examples that a prompt is run on at once until it has made enough errors."""
    score_examples: int | None = 16
    """Dev examples that a whole generation is scored on; its `finalists` best go on to all of dev. None: all prompts
    are scored on all of dev (paper)."""
    finalists: int = 2
    """Prompts of a generation that are scored on all of dev and may be expanded."""
    init: Literal["auto", "seeds", "induce"] = "auto"
    """Where the first prompts come from. `seeds`: the task. `induce`: guesses from worked examples too. `auto`: guesses
    where all seeds are empty."""
    init_prompts: int = 12
    """Guesses (paper: 30)."""
    init_shared: bool = False
    """All guesses are made from one set of examples (paper and code). False: each from a set of its own; guesses from
    one are often the same."""
    init_demos: int = 5
    """Worked examples behind a guess."""
    init_temperature: float = 0.9
    """Of the guesses (the code's scripts: 0.7, its default: 0). As in APE."""
    init_tokens: int = 50
    """Of a guess."""
    templates: Path | None = None
    """Folder with meta-prompts of your own, `.txt` files named as the shipped ones; missing ones are the shipped."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "beam": 4,
            "expand": 4,
            "rewrites": 1,
            "disjoint": False,
            "reasoning_tokens": 750,
            "reasoning_temperature": 0.0,
            "prompt_tokens": 300,
            "temperature": 0.7,
            "top_p": 1.0,
            "example_chars": 100_000,
            "score_examples": None,
            "init_prompts": 30,
            "init_shared": True,
            "init_temperature": 0.7,
        }
    }

    def __post_init__(self) -> None:
        counts = ("steps", "beam", "expand", "rewrites", "batch_size", "max_words", "reasoning_tokens", "prompt_tokens")
        at_least(self, 1, *counts, "train_batch", "finalists", "init_prompts", "init_demos", "init_tokens")
        for name in ("step_size", "score_examples"):
            require(self, name, getattr(self, name) is None or getattr(self, name) >= 1, "at least 1, or none")
        at_least(self, 0, "reasoning_temperature", "temperature", "init_temperature")
        require(self, "top_p", 0 < self.top_p <= 1, "above 0 and at most 1")
        at_least(self, MIN_SHOWN_CHARS, "example_chars")

    def run(self, problem: Problem) -> None:
        """Search for the best instruction; everything stays with `problem`."""
        meta = load("pe2", _TEMPLATES, self.templates)
        if not problem.train:
            raise ConfigError("pe2 learns from errors on training examples and the task has none", "add a train split")
        dev = problem.shuffled(problem.dev)
        conversation = Conversation(self, problem, meta)

        # 1, 2. The first prompts; the seeds take part, so the result is never worse on dev than they are.
        found = (
            self._induction.prompts(problem, meta, chats=problem.proposer.has_chat, objection=self._objection)
            if induction.is_wanted(self.init, problem)
            else []
        )
        tree = generation = self._score(problem, found, dev, beside=problem.seeds)
        for step in range(1, self.steps + 1):
            if max(each.mean for each in tree) >= 1.0:
                self._stop(problem, "a prompt is right on all of dev")
                break

            problem.begin(f"step {step} of {self.steps}")
            # 3. The best so far.
            beam = best_first(tree if self.backtrack else generation)[: self.beam]

            # 4. What they get wrong.
            lessons = self._lessons(problem, beam)
            if not lessons:
                self._stop(problem, "the best prompts are right on all of train, so there is no error to learn from")
                break

            # 5. Reason about it, then refine.
            lessons = conversation.reasoned(lessons)
            children = conversation.refined(lessons, {each.prompt.id: each.mean for each in tree})

            # 6, 2. Grow the tree.
            if children:
                generation = self._score(problem, children, dev)
                tree = [*tree, *generation]

    def _stop(self, problem: Problem, why: str) -> None:
        problem.note(f"stopped: {why}")

    def _objection(self, text: str, _: int) -> str:
        """Return how a first guess breaks the limit that later prompts are held to."""
        return "too many words" if len(words(text)) > self.max_words else ""

    @property
    def _induction(self) -> Induction:
        n, chars, shared = self.init_prompts, self.example_chars, self.init_shared
        return Induction(n, self.init_demos, chars, self.init_tokens, self.init_temperature, self.top_p, shared)

    def _score(
        self, problem: Problem, newest: Sequence[Prompt], dev: Sequence[Example], *, beside: Sequence[Prompt] = ()
    ) -> list[Evaluation]:
        """Return the evaluations on all of dev of the prompts `beside`, then those of the best of the newest."""
        if self.score_examples is not None:
            # Where guesses have to hit the words of an answer, all scores on a few examples may be 0: then what makes
            # the right answer more probable goes on.
            stages = Stages((self.score_examples,), 0.0, self.finalists, problem.likelihood)
            newest = filter_in_stages(problem.evaluate, newest, dev, stages, protected=beside)
        # The seeds first, so that a search cut short by its budget is never worse than they are.
        unique = {prompt.id: prompt for prompt in (*beside, *newest)}
        return measure_best_first(problem, list(unique.values()))

    def _lessons(self, problem: Problem, beam: Sequence[Prompt]) -> list[Lesson]:
        """Return `expand` batches of errors for each prompt that makes any."""
        lessons = []
        for prompt, cases in zip(beam, self._cases(problem, beam), strict=True):
            if any(case.is_error for case in cases):
                lessons += [Lesson(prompt, batch) for batch in self._batches(problem, cases)]
        return lessons

    def _cases(self, problem: Problem, beam: Sequence[Prompt]) -> list[list[Case]]:
        """Return how the prompts did on train, each run until it made enough errors; same order as `beam`."""
        half = math.ceil(self.batch_size * max(self.expand, 2) / 2)
        enough = self.batch_size * self.expand if self.disjoint else half
        order = problem.minibatch(len(problem.train))
        cases: dict[str, list[Case]] = {prompt.id: [] for prompt in beam}
        for start in range(0, len(order), self.train_batch):
            left = [prompt for prompt in beam if sum(case.is_error for case in cases[prompt.id]) < enough]
            if not left:
                break
            examples = order[start : start + self.train_batch]
            for evaluation in problem.evaluate(left, examples):
                cases[evaluation.prompt.id] += map(Case, examples, evaluation.outcomes)
        return [cases[prompt.id] for prompt in beam]

    def _batches(self, problem: Problem, cases: Sequence[Case]) -> list[tuple[Case, ...]]:
        """Return `expand` batches; disjoint ones are dealt from one order, which begins anew where it ends."""
        if not self.disjoint:
            return [tuple(self._drawn(problem, cases)[: self.batch_size]) for _ in range(self.expand)]
        order = self._drawn(problem, cases)
        size, dealt = min(self.batch_size, len(order)), cycle(order)
        return [tuple(islice(dealt, size)) for _ in range(self.expand)]

    def _drawn(self, problem: Problem, cases: Sequence[Case]) -> list[Case]:
        """Return what batches are made of, in the order in which it was drawn."""
        if self.negatives == "hard_weighted":
            # Drawing without replacement by weight (Efraimidis & Spirakis 2006). A right answer keeps a tenth of the
            # weight of a wrong one.
            keys = [problem.rng.random() ** (1 / (1.0 - 0.9 * case.outcome.score)) for case in cases]
            return [cases[i] for i in sorted(range(len(cases)), key=lambda i: -keys[i])]
        pool = [case for case in cases if case.is_error or self.negatives == "random"]
        return problem.rng.sample(pool, len(pool))
