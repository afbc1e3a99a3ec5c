"""PE2, Prompt Engineering a Prompt Engineer (Ye et al. 2024, arXiv 2311.05661). Level 6.

1. Begin with the seed prompts or, where these are empty, with `init_prompts` guesses from worked examples.
2. Score the newest prompts on dev.
3. Take the `beam` best of all prompts so far (backtracking).
4. Run each of them on shuffled train until it has made enough errors; deal `expand` batches of `batch_size` from these.
5. For each batch hold a conversation with the proposer. Up front the two steps are explained; then it sees the prompt,
   the task's real layout and the errors, answers a fixed list of questions about each, and from its answers writes the
   new prompt, within a limit of words.
6. Add the new prompts to the tree and go on with 2, `steps` times.

Differs from the paper and its code, each on purpose: a generation is scored on a part of dev first and only its best
on all of dev; one reasoning serves several new prompts; the batches of a prompt share no error, and first guesses no
set of examples; a closed set of outputs is listed; limits are counted and not only asked for; proposals are validated;
train has another order in each step. See docs/methods/pe2.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import ClassVar, Literal

from localprompt.errors import ConfigError
from localprompt.optimizers import induction
from localprompt.optimizers.induction import Induction, Init, closed_set
from localprompt.optimizers.mistakes import Case, cases, deal
from localprompt.optimizers.registry import Scales, optimizer
from localprompt.optimizers.settings import NO_TRAIN, Checked, Count, Limit, Share, Shrunk, Weight
from localprompt.optimizers.worked_examples import SETS, Shots, other_way, starts
from localprompt.proposals.metaprompts import (
    MIN_SHOWN_CHARS,
    SHRINK,
    MetaPrompt,
    fence,
    flat,
    inputs_of,
    load,
    shortened,
    shown_chars,
)
from localprompt.proposals.parsing import MAX_CHARS, reply_format_like, whole_sentences
from localprompt.proposals.similarity import normalised, words
from localprompt.search.filtering import Stages, filter_in_stages, measure_best_first
from localprompt.search.problem import Problem, not_shown
from localprompt.search.proposer import Request, children
from localprompt.search.ranking import best_first
from localprompt.types import Candidate, Evaluation, Example, Message, Prompt, Sampling

TEMPLATES = {
    **induction.TEMPLATES,
    "task": (),
    "agree": (),
    "inspect_chat": ("instruction", "layout", "examples"),
    "example": ("number", "inputs", "answer", "target"),
    "answers": ("answers",),
    "refine_chat": ("instruction", "words"),
}
"""Meta-prompt to its slots, a file per turn. In those for a chat the last paragraph is the opening of the answer."""

_NO_PROMPT = "(empty: there is no prompt yet)"
_NO_ANSWER = "(none that could be read)"
_ROLES = {"user": "Request:", "assistant": "Reply:", "system": "Note:"}
"""How a model without a chat template is shown who speaks."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One batch of a prompt's errors, and what the proposer said about them."""

    prompt: Prompt
    batch: Sequence[Case]
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class _Search:
    """What a search knows."""

    problem: Problem
    meta: Mapping[str, MetaPrompt]

    @property
    def stop(self) -> tuple[str, ...]:
        """A model without a chat template goes on with the other's turn."""
        return () if self.problem.proposer.has_chat else (f"\n{_ROLES['user']}",)


@optimizer("pe2", TEMPLATES)
@dataclass(frozen=True, slots=True)
class PE2(Checked):
    """Hyperparameters of PE2; defaults take 1500 short answers on 100 dev rows, 700 on worked examples, 50 texts."""

    steps: Count = 3
    """Expansions of the tree. Paper: 3, where its curves flatten; code: `train_steps` 10, of which 9 expand."""
    beam: Count = 2
    """Prompts expanded in a step (paper: 4; code: 2)."""
    expand: Count = 2
    """Batches of errors, and so reasonings, for each of them (paper: 4; code: 2)."""
    rewrites: Count = 2
    """New prompts from one reasoning (paper and code: 1). Reading errors and reasoning is most of the cost, and what a
    small model writes is often discarded."""
    batch_size: Count = 2
    """Errors shown at once; fewer where there are fewer (paper and code: 2; it saw no gain from 4 or 8)."""
    negatives: Literal["hard", "random"] = "hard"
    """What the batches are drawn from. `hard`: the errors (paper). `random`: all that the prompt was run on."""
    disjoint: bool = True
    """Deal the batches of a prompt from `batch_size` x `expand` errors, so that they share none while there are so
    many. False: draw each from half as many, at least `batch_size` (paper and code): two are often the same."""
    backtrack: bool = True
    """Take the best of all prompts so far (paper); false: of the newest generation."""
    max_words: Count = 50
    """Longest new prompt, asked for and counted; a parent with more words may keep its length. Paper and code: 50, and
    200 for counterfactual tasks, asked for only."""
    reasoning_tokens: Count = 125
    """Of the reasoning, for each example of the batch (code: 1500 for the whole; paper: no limit). A text cut here ends
    with its last whole sentence."""
    reasoning_temperature: Weight = 0.5
    """Code: 0.5; paper: 0, which makes equal reasonings of equal batches."""
    prompt_tokens: Count = 150
    """Of a new prompt (paper and code: 300); more where the parent is longer."""
    temperature: Weight = 0.9
    """Of a new prompt (paper and code: 0.7, where a 1.5B repeated a good prompt 25 times in
    80)."""
    top_p: Share = 0.95
    """Of all that the proposer writes (paper and code: not set, so 1.0). The many improbable tokens of a large
    vocabulary add up at 1.0."""
    example_chars: Shrunk = 300
    """A longer text is shown with its middle left out, and shorter still where the context is too small (paper and
    code: no limit)."""
    train_batch: Count = 8
    """Train examples that a prompt is run on at once until it has made enough errors."""
    score_examples: Limit = 16
    """Dev examples that a whole generation is scored on; its `finalists` best go on to all of dev. None: all prompts
    are scored on all of dev (paper)."""
    finalists: Count = 2
    """Prompts of a generation that are scored on all of dev and may be expanded."""
    init: Init = "auto"
    """Where the first prompts come from. `seeds`: the task. `induce`: guesses from worked examples too. `auto`: guesses
    where all seeds are empty."""
    init_prompts: Count = 12
    """Guesses (paper: 30)."""
    init_shared: bool = False
    """All guesses are made from one set of examples (paper and code). False: each from a set of its own; guesses from
    one are often the same."""
    init_demos: Count = 5
    """Worked examples behind a guess."""
    init_temperature: Weight = 0.9
    """Of the guesses (the code's scripts: 0.7, its default: 0). As in APE."""
    init_tokens: Count = 50
    """Of a guess."""
    shots: Shots = "auto"
    """Worked examples of the prompts that it starts with, besides the seeds: the best of several sets, with the best
    seed's instruction and on their own. `auto`: the best number. New prompts carry their parent's. 0: none (paper)."""
    example_sets: Count = SETS
    """Orders in which train is dealt for such sets; 1 is cheap."""
    templates: Path | None = None
    """Folder with your own meta-prompts: `.txt` files named like the shipped ones, which they replace."""

    REMOVED: ClassVar[Mapping[str, object]] = {"step_size": None, "history": False, "tutorial": False}
    SCALES: ClassVar[Scales] = {"example_sets": (1, 0.5), "steps": (1, 1.0), "init_prompts": (3, 0.5)}
    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "shots": 0,
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

    def run(self, problem: Problem) -> None:
        """Search for the best instruction; everything stays with `problem`."""
        search = _Search(problem, load("pe2", TEMPLATES, self.templates))
        if not problem.train:
            raise ConfigError("pe2 learns from errors on training examples and the task has none", NO_TRAIN)
        dev = problem.shuffled(problem.dev)

        # 1, 2. The first prompts; the seeds take part, so the result is never worse on dev than they are.
        found = self._first_guesses(search) if induction.is_wanted(self.init, problem) else []
        begun = starts(problem, self.shots, self.example_sets, dev)
        tree = generation = self._score(problem, found, dev, beside=begun)
        for step in range(1, self.steps + 1):
            if max(each.mean for each in tree) >= 1.0:
                problem.note("stopped: a prompt is right on all of dev")
                break

            problem.begin(f"step {step} of {self.steps}")
            # 3. The best so far.
            beam = best_first(tree if self.backtrack else generation)[: self.beam]

            # 4. What they get wrong.
            lessons = self._lessons(problem, beam)
            if not lessons:
                problem.note("stopped: the best prompts are right on all of train, so no errors are left to learn from")
                break

            # 5. Reason about it, then refine.
            newest = self._refined(search, self._reasoned(search, lessons))

            # 6, 2. Grow the tree.
            if newest:
                generation = self._score(problem, newest, dev)
                tree = [*tree, *generation]
        measure_best_first(problem, other_way(problem, best_first(tree)[:1], begun[len(problem.seeds) :]))

    def step(self, problem: Problem, ranked: Sequence[Evaluation]) -> list[Prompt]:
        """Return new prompts that the proposer writes after it reasoned about errors of the best, which stand first."""
        search = _Search(problem, load("pe2", TEMPLATES, self.templates))
        lessons = self._lessons(problem, [each.prompt for each in ranked[: self.beam]])
        return self._refined(search, self._reasoned(search, lessons)) if lessons else []

    def _first_guesses(self, search: _Search) -> list[Prompt]:
        asking = search.meta["induce_chat" if search.problem.proposer.has_chat else "induce"]
        sampling = Sampling(self.init_tokens, temperature=self.init_temperature, top_p=self.top_p)
        guessing = Induction(search.meta, asking, self.example_chars, sampling)
        n, n_demos = self.init_prompts, self.init_demos
        return guessing.first(search.problem, n, n_demos, shared=self.init_shared, objection=self._objection)

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
        for prompt, tried in zip(beam, self._answered(problem, beam), strict=True):
            if any(case.is_error for case in tried):
                lessons += [Lesson(prompt, batch) for batch in self._batches(problem, tried)]
        return lessons

    def _answered(self, problem: Problem, beam: Sequence[Prompt]) -> list[list[Case]]:
        """Return how the prompts did on train, each run until it made enough errors; same order as `beam`."""
        half = math.ceil(self.batch_size * max(self.expand, 2) / 2)
        enough = self.batch_size * self.expand if self.disjoint else half
        rows = not_shown(problem.train, beam)
        order = problem.rng.sample(rows, len(rows))  # not all of it will be used
        tried: dict[str, list[Case]] = {prompt.id: [] for prompt in beam}
        for start in range(0, len(order), self.train_batch):
            left = [prompt for prompt in beam if sum(case.is_error for case in tried[prompt.id]) < enough]
            if not left:
                break
            found = cases(problem, left, order[start : start + self.train_batch])
            for prompt, more in zip(left, found, strict=True):
                tried[prompt.id] += more
        return [tried[prompt.id] for prompt in beam]

    def _batches(self, problem: Problem, tried: Sequence[Case]) -> list[list[Case]]:
        """Return `expand` batches; disjoint ones are dealt from one order, again and again where it ends."""
        pool = [case for case in tried if case.is_error or self.negatives == "random"]
        if self.disjoint:
            return deal(repeat(problem.rng.sample(pool, len(pool))), self.batch_size, self.expand)
        return [problem.rng.sample(pool, len(pool))[: self.batch_size] for _ in range(self.expand)]

    def _reasoned(self, search: _Search, lessons: Sequence[Lesson]) -> list[Lesson]:
        """Return the lessons with the proposer's answers to the questions, same order and length."""
        max_tokens = self.reasoning_tokens * max(len(lesson.batch) for lesson in lessons)
        sampling = Sampling(max_tokens, temperature=self.reasoning_temperature, top_p=self.top_p, stop=search.stop)
        opening = search.meta["inspect_chat"].turns[1]

        def request(lesson: Lesson, shrink: int) -> str:
            return _rendered(search, self._inspection(search, lesson, shrink), opening)

        requests = [_fitting(search, partial(request, lesson), max_tokens) for lesson in lessons]
        replies = search.problem.proposer.complete(requests, sampling, kind="inspect")
        return [
            replace(lesson, reasoning=f"{opening}\n{whole_sentences(reply)}".strip())
            for lesson, (reply,) in zip(lessons, replies, strict=True)
        ]

    def _refined(self, search: _Search, lessons: Sequence[Lesson]) -> list[Prompt]:
        """Return the usable new prompts, recorded with their parents."""
        limits = [self._word_limit(lesson.prompt) for lesson in lessons]
        # Twice, because words have several tokens, and so may the characters of a script without spaces.
        max_tokens = max(self.prompt_tokens, *(2 * limit for limit in limits))

        def text(lesson: Lesson, shrink: int) -> str:
            turns = [*self._inspection(search, lesson, shrink), *self._refinement(search, lesson, shrink)]
            return _rendered(search, turns, search.meta["refine_chat"].turns[1])

        # A parent of several paragraphs may have children of several. No tag stands around them: after an opening tag a
        # 1.5B copies the prompt it was shown more often than after words.
        requests = [
            Request(
                _fitting(search, partial(text, lesson), max_tokens),
                reply_format_like(lesson.prompt.instruction, max(MAX_CHARS, 10 * limit)),
                lesson.prompt,
            )
            for lesson, limit in zip(lessons, limits, strict=True)
        ]
        stop = ("\n\n",) if all(each.reading.cut == "paragraph" for each in requests) else ()
        sampling = Sampling(max_tokens, temperature=self.temperature, top_p=self.top_p, stop=(*search.stop, *stop))
        said = "\n".join(search.meta[name].fixed for name in ("task", "agree", "inspect_chat", "refine_chat"))
        propose = search.problem.proposer.propose
        proposals = propose(requests, sampling, said, n=self.rewrites, objection=self._objection)
        pairs = children(requests, proposals)
        search.problem.record([Candidate(child, "refine", (parent.id,)) for parent, child in pairs])
        return [child for _, child in pairs]

    def _inspection(self, search: _Search, lesson: Lesson, shrink: int) -> list[Message]:
        """Return the turns up to the questions."""
        meta, problem = search.meta, search.problem
        # Worked examples in the prompt itself may be long, so they go last.
        prompt = lesson.prompt if shrink < max(SHRINK) else replace(lesson.prompt, demos=())
        examples = [self._example(meta["example"], i, case, shrink) for i, case in enumerate(lesson.batch, 1)]
        # A proposal that copies such a mark is discarded for its placeholder.
        layout = problem.shown(prompt)
        user = meta["inspect_chat"].turns[0]
        asked = replace(user, text=user.text.replace("```", fence(layout))).fill(
            instruction=prompt.instruction.strip() or _NO_PROMPT,
            layout=layout,
            examples="\n\n".join([*examples, *closed_set(problem, meta["answers"], shrink)]),
        )
        agreed = Message("assistant", meta["agree"].fill())
        return [Message("user", meta["task"].fill()), agreed, Message("user", asked)]

    def _refinement(self, search: _Search, lesson: Lesson, shrink: int) -> list[Message]:
        """Return the reasoning, and the request for the new prompt with its limit."""
        instruction, limit = lesson.prompt.instruction.strip() or _NO_PROMPT, self._word_limit(lesson.prompt)
        asked = search.meta["refine_chat"].turns[0].fill(instruction=instruction, words=str(limit))
        reasoning = lesson.reasoning
        if shrink > 1:
            reasoning = shortened(flat(reasoning), max(MIN_SHOWN_CHARS, len(reasoning) // shrink))
        return [Message("assistant", reasoning), Message("user", asked)]

    def _example(self, template: MetaPrompt, number: int, case: Case, shrink: int) -> str:
        chars = shown_chars(self.example_chars, shrink)
        answer, inputs = case.given(chars, _NO_ANSWER), inputs_of(case.example, chars)
        if 0 < case.outcome.score < 1:
            answer = f"(right in part){answer}" if answer.startswith("\n") else f"{answer} (right in part)"
        return template.fill(number=str(number), inputs=inputs, answer=answer, target=case.right(chars, most=5))

    def _objection(self, text: str, parent: Prompt) -> str:
        """Return how a new prompt breaks what was asked for; empty if it does not."""
        if normalised(_NO_PROMPT) in normalised(text):
            return "echoes the meta-prompt"
        return "too many words" if len(words(text)) > self._word_limit(parent) else ""

    def _word_limit(self, parent: Prompt) -> int:
        return max(self.max_words, len(words(parent.instruction)))


def _fitting(search: _Search, request: Callable[[int], str], max_tokens: int) -> str:
    """Return a request whose texts are shortened until it fits the context."""
    return search.problem.proposer.first_fitting(map(request, SHRINK), max_tokens)


def _rendered(search: _Search, turns: Sequence[Message], opening: str) -> str:
    if search.problem.proposer.has_chat:
        return search.problem.proposer.chat(turns, opening)
    said = "".join(f"{_ROLES[turn.role]}\n{turn.content}\n\n" for turn in turns)
    return f"{said}{_ROLES['assistant']}\n{opening}"
