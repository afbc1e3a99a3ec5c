"""OPRO, Optimization by PROmpting (Yang et al. 2023, arXiv 2309.03409). Level 6.

1. Score the seed prompts on a fixed sample of train; where these are empty, `init_prompts` guesses from worked examples
   too, all of them on a part of it and the best on all of it.
2. Every step, show the proposer the `history` best instructions with their scores, in ascending order, and `exemplars`
   worked examples in which a mark stands where the instruction is put.
3. Ask for `per_step` new instructions; clean and validate them, count what is discarded by its reason.
4. Score the new ones on the same sample and add them to the history.
5. Measure the best of the history on dev, which chooses the winner; every `eval_interval` steps its `finalists` best.

Differs from the paper and its code, each on purpose: dev chooses the winner, not the sample of train on which the
history was selected; the error-based exemplars are the most often wrong ones (the code draws from all that ever were
wrong); replies without the tag are validated or discarded (the code evaluates whatever it finds); a history of nothing
but an empty text begins with guesses, since nothing is learnt from it; an unproductive step raises the temperature,
since small models repeat themselves; the search ends when nothing is left to gain on dev; `**` stays in an
instruction, unless told otherwise.
docs/methods/opro.md compares every hyperparameter.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from localprompt.errors import ConfigError
from localprompt.optimizers import induction
from localprompt.optimizers.induction import Induction, Init, Objection
from localprompt.optimizers.registry import Scales, optimizer, require
from localprompt.optimizers.settings import NO_TRAIN, AnyCount, Checked, Count, Must, Share, Shown, Weight
from localprompt.optimizers.worked_examples import SETS, Shots, other_way, starts
from localprompt.proposals.metaprompts import MetaPrompt, in_a_row, load, set_off, shortened
from localprompt.proposals.parsing import ReplyFormat
from localprompt.proposals.similarity import normalised
from localprompt.search.filtering import Stages, filter_in_stages, measure_best_first
from localprompt.search.problem import Problem, not_shown
from localprompt.search.proposer import Request, Style
from localprompt.search.ranking import best_first
from localprompt.tasks.template import Position
from localprompt.types import Candidate, Evaluation, Example, Prompt, Sampling

Exemplars = Literal["random", "constant", "accumulated_most_wrong", "current_most_wrong"]

TAG = "INS"
"""Stands around an instruction and, opening alone, for its place in an exemplar; the meta-prompts name it too."""

TEMPLATES = {
    "step_chat": ("pairs", "demos"),
    "opening_chat": ("pairs", "demos"),
    "completion": ("pairs", "demos"),
    "pair": ("instruction", "score"),
    "completion_pair": ("score", "instruction"),
    "exemplar": ("question", "answer"),
    "exemplars": ("exemplars",),
    "exemplars_wrong": ("exemplars",),
    "answers": ("answers",),
}
"""Meta-prompt to its slots. An empty `{{instruction}}` or `{{demos}}` vanishes with the blank space after it."""
_TEMPLATES = {**TEMPLATES, **induction.TEMPLATES}

_NUMBER = re.compile(r"[-+$€£]?\d[\d,. ]*%?")
_SHORTENED_CHARS = 300
"""Of an exemplar's text where the context has no room for longer ones: they go before any instruction does."""
_HOTTEST = 1.5
"""Beyond this temperature a small model no longer writes sentences, so unproductive steps raise it no further."""


Pair = tuple[Prompt, int]
"""A prompt and its score as it is shown."""


@dataclass(frozen=True, slots=True)
class _Search:
    """What a search knows."""

    problem: Problem
    meta: Mapping[str, MetaPrompt]
    asking: MetaPrompt
    """Asks for new instructions."""
    sample: tuple[Example, ...] = ()
    """Train examples that every prompt is scored on."""
    constant: tuple[Example, ...] = ()
    """Exemplars of the choice `constant`."""
    scored: list[Evaluation] = field(default_factory=list)
    """Every prompt on the sample, in order of appearance."""

    def best(self, most: int, buckets: int, threshold: float) -> list[Pair]:
        """Return at most `most` distinct instructions with their scores, ascending; the best one in any case.

        Of equals the newest come last and stay longest, and an empty text, from which nothing is learnt, comes first.
        """
        ascending = sorted(self.scored, key=lambda each: (each.mean, _margin(each), bool(each.prompt.instruction)))
        distinct: dict[str, Evaluation] = {}
        for each in reversed(ascending):
            if not distinct or each.mean >= threshold:
                distinct.setdefault(normalised(each.prompt.instruction), each)
        best = list(distinct.values())[:most]
        return [(each.prompt, shown_score(each.mean, buckets)) for each in reversed(best)]

    def losses(self, prompts: Sequence[Prompt]) -> list[float]:
        """Return how much the prompts together lost on each example of the sample.

        A wrong answer is a loss of 1, an example that could not be asked is none.
        """
        ids = {prompt.id for prompt in prompts}
        rows = [each.outcomes for each in self.scored if each.prompt.id in ids]
        return [math.fsum(1 - each.score for each in column if not each.failed) for column in zip(*rows, strict=True)]


@optimizer("opro", _TEMPLATES)
@dataclass(frozen=True, slots=True)
class OPRO(Checked):
    """Hyperparameters of OPRO; the defaults spend about 2,200 short answers on 100 dev rows, 500 on worked examples."""

    steps: Count = 8
    """Rounds of asking and scoring (paper and code: 200)."""
    per_step: Count = 8
    """Instructions asked for in a step (paper and code: 8, the best of 1, 2, 4, 8, 16)."""
    draws: Count = 4
    """Meta-prompts in a step, each with exemplars of its own and an equal share of `per_step`; paper and code have one.
    Small models repeat themselves where the question is the same."""
    history: Count = 12
    """Instructions shown with their scores (paper and code: 20). 20 long ones fill a context of 4096 tokens."""
    score_buckets: Count = 100
    """Scores are shown as whole numbers from 0 to this one (paper and code: 100; 20 was worse). A meta-prompt that
    speaks of 100 then speaks of it."""
    threshold: Annotated[float, Must("from 0 to 1", lambda value: 0 <= value <= 1)] = 0.0
    """Instructions with a lower mean are not shown, but the best always is (code: 0.0 or, for GPT, 0.3; its authors
    name 0.01 for pre-trained PaLM)."""
    exemplars: AnyCount = 4
    """Worked examples in a meta-prompt (paper and code: 3; 10 were no better, 0 much worse)."""
    exemplar_choice: Exemplars = "random"
    """`random`: new ones every step, from all of train (paper and code: the default). `constant`: always the same.
    `accumulated_most_wrong`: those of the sample answered wrong most often so far. `current_most_wrong`: by the
    instructions shown. The last two were no better in the paper."""
    exemplar_chars: Shown = 300
    """A longer text is shown with its middle left out (paper and code: no limit)."""
    score_examples: Count = 24
    """Train examples that every instruction is scored on (paper: 261 of GSM8K, 50 of a BBH task). None that the prompts
    show as worked examples, unless they show all of train."""
    eval_interval: Count = 2
    """Steps between two measurements of the finalists on dev; the last step has one too (paper and code: 3). The best
    by its score is measured as soon as it is the best: a budget may end a search early, and what was not measured
    cannot win."""
    finalists: Count = 3
    """This many of the best by score are measured then, one by one, the best first (code: all that the step has
    found)."""
    position: Position = "task"
    """Where the instruction stands: as the task's layout has it, or at OPRO's Q_begin, Q_end or A_begin."""
    style: Style = "auto"
    """How the proposer is asked. `chat`: a question with the opening tag written already. `raw`: a list of scored texts
    to be continued, for models without a chat template. `auto`: chat where the proposer has a template."""
    temperature: Weight = 1.0
    """Of the proposer (paper and code: 1.0, the best of 0, .5, 1, 1.5, 2)."""
    schedule: Literal["constant", "linear_increase"] = "constant"
    """`linear_increase`: the temperature rises from step to step towards `end_temperature`."""
    end_temperature: Weight = 1.5
    """Where `linear_increase` would be after the last step (code: to be set)."""
    warmer: Weight = 0.1
    """Added to the temperature for every step since the last usable proposal; neither paper nor
    code."""
    top_p: Share = 0.95
    """Of the proposer (paper and code: not set). The many improbable tokens of a large vocabulary add up at 1.0."""
    max_tokens: Count = 80
    """Of a proposal (code: 512 or 1024; its authors name 1024)."""
    max_chars: Count = 500
    """Longer instructions are discarded (code: 500). A seed prompt longer than that raises the limit."""
    strip_bold: bool = False
    """Take `**` out of instructions (code: yes). Off: it also stands for a power, as in `2**3`."""
    digits: Literal["auto", "allow", "refuse"] = "auto"
    """Whether an instruction may hold digits; `auto` refuses them where all answers are numbers (code: on GSM8K)."""
    init: Init = "auto"
    """What the history begins with. `seeds`: the task's prompts (paper and code: an empty text, or one generic
    sentence). `induce`: the best guesses from worked examples too. `auto`: guesses where all seeds are empty, but not
    with `A_begin`, where no instruction is wanted: the score of an empty text teaches nothing, and a small budget has
    only two or three steps."""
    init_prompts: Count = 12
    """Guesses. A third of them advance, by a third of the sample."""
    init_demos: Count = 5
    """Worked examples behind a guess."""
    init_tokens: Count = 50
    """Of a guess."""
    shots: Shots = "auto"
    """Worked examples of the prompts that it starts with, besides the seeds: the best of several sets, with the best
    seed's instruction and on their own. `auto`: the best number. New prompts carry their parent's. 0: none (paper)."""
    example_sets: Count = SETS
    """Orders in which train is dealt for such sets; 1 is cheap."""
    templates: Path | None = None
    """Folder with your own meta-prompts: `.txt` files named like the shipped ones, which they replace."""

    SCALES: ClassVar[Scales] = {"example_sets": (1, 0.5), "steps": (1, 1.0), "init_prompts": (3, 0.5)}
    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "shots": 0,
            "steps": 200,
            "draws": 1,
            "history": 20,
            "exemplars": 3,
            "exemplar_chars": 100_000,
            "score_examples": 50,
            "eval_interval": 3,
            "finalists": 8,
            "warmer": 0.0,
            "top_p": 1.0,
            "max_tokens": 1024,
            "strip_bold": True,
            "init": "seeds",
        }
    }

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        require(self, "draws", self.per_step % self.draws == 0, f"a divisor of per_step={self.per_step}")

    def run(self, problem: Problem) -> None:
        """Search for the best instruction; everything stays with `problem`."""
        if not problem.train:
            raise ConfigError("opro scores on training examples and the task has none", NO_TRAIN)
        begun = starts(problem, self.shots, self.example_sets)
        hidden = not_shown(problem.train, begun)  # all new prompts carry the examples of these
        sample = tuple(problem.rng.sample(hidden, min(self.score_examples, len(hidden))))
        search = replace(self._begun(problem), sample=sample, constant=problem.minibatch(self.exemplars))

        # 1. Score the seeds; on dev too, so that a search cut short is never worse than they are.
        search.scored.extend(problem.evaluate(begun, search.sample))
        done = _best_on_dev(problem, best_first(search.scored)) >= 1.0
        can_guess = self.init == "induce" or self.position != "A_begin"
        if not done and can_guess and induction.is_wanted(self.init, problem):
            search.scored.extend(self._first_guesses(search))
            done = _best_on_dev(problem, best_first(search.scored)[:1]) >= 1.0
        n_unproductive = 0

        for step in range(self.steps):
            if done:
                problem.note("nothing to gain, every answer on dev is right")
                break
            problem.begin(f"step {step + 1} of {self.steps}")
            # 2, 3. Show the best instructions and some examples, and ask for new ones.
            found = self._next(search, self._temperature(step, n_unproductive))
            n_unproductive = 0 if found else n_unproductive + 1

            # 4. Score them.
            if found:
                search.scored.extend(problem.evaluate(found, search.sample))

            # 5. Measure the best on dev; mostly it is still the one that was, which costs nothing.
            is_due = (step + 1) % self.eval_interval == 0 or step + 1 == self.steps
            done = _best_on_dev(problem, best_first(search.scored)[: self.finalists if is_due else 1]) >= 1.0
        measure_best_first(problem, other_way(problem, best_first(search.scored)[:1], begun[len(problem.seeds) :]))

    def step(self, problem: Problem, ranked: Sequence[Evaluation]) -> list[Prompt]:
        """Return new prompts that the proposer writes, shown others with their scores on the same examples: 2 and 3."""
        return self._next(replace(self._begun(problem), scored=list(ranked)), self.temperature)

    def _begun(self, problem: Problem) -> _Search:
        """Return a search in which nothing was scored yet."""
        meta = load("opro", _TEMPLATES, self.templates)
        in_a_chat = "opening_chat" if self.position == "A_begin" else "step_chat"
        asking = _of(self.score_buckets, meta[in_a_chat if problem.proposer.chats(self.style) else "completion"])
        return _Search(problem, meta, asking)

    def _next(self, search: _Search, temperature: float) -> list[Prompt]:
        """Return the usable new prompts of a step."""
        pairs = search.best(self.history, self.score_buckets, self.threshold)
        groups, announced = self._exemplars(search, pairs)
        prompts = [self._meta_prompt(search, pairs, group, announced) for group in groups]
        return self._propose(search, pairs, prompts, temperature)

    def _first_guesses(self, search: _Search) -> list[Evaluation]:
        """Return the best guesses of the instruction behind worked examples, scored on all of the sample."""
        problem, asking = search.problem, search.meta["induce_chat" if search.asking.is_chat else "induce"]
        sampling = Sampling(self.init_tokens, temperature=self.temperature, top_p=self.top_p)
        guessing = Induction(search.meta, asking, self.exemplar_chars, sampling)
        found = guessing.first(problem, self.init_prompts, self.init_demos, objection=self._objection(problem))
        if not found:
            return []
        # On a few examples of a task where one must hit the words of an answer, all scores may be 0.
        stages = Stages((_third(len(search.sample)),), 0.0, _third(self.init_prompts), problem.likelihood)
        return problem.evaluate(filter_in_stages(problem.evaluate, found, search.sample, stages), search.sample)

    def _exemplars(self, search: _Search, pairs: Sequence[Pair]) -> tuple[list[tuple[Example, ...]], MetaPrompt]:
        """Return the exemplars of each draw, and the text that announces them."""
        if self.exemplar_choice == "constant":
            return [search.constant] * self.draws, search.meta["exemplars"]
        if self.exemplar_choice != "random":
            everything = [each.prompt for each in search.scored]
            shown = [each for each, _ in pairs] if self.exemplar_choice == "current_most_wrong" else everything
            if order := most_wrong(search.losses(shown), search.problem.rng):
                dealt = [deal(order, self.exemplars, draw) for draw in range(self.draws)]
                return [tuple(search.sample[i] for i in hand) for hand in dealt], search.meta["exemplars_wrong"]
        return [search.problem.minibatch(self.exemplars) for _ in range(self.draws)], search.meta["exemplars"]

    def _meta_prompt(
        self, search: _Search, pairs: Sequence[Pair], group: Sequence[Example], announced: MetaPrompt
    ) -> str:
        """Return the richest meta-prompt that fits.

        First exemplars are shortened, then the worst pairs go, then the last exemplars, last the list of answers.
        """
        answers = search.problem.outputs
        listed = search.meta["answers"].fill(answers=in_a_row(answers)) if answers else ""

        def version(n_pairs: int, marked: Sequence[str], listed: str) -> str:
            shown = announced.fill(exemplars="\n\n".join(marked)) if marked else ""
            return self._rendered(search, pairs[-n_pairs:], "\n\n".join(text for text in (shown, listed) if text))

        def versions() -> Iterator[str]:
            yield version(len(pairs), [self._exemplar(search, each, self.exemplar_chars) for each in group], listed)
            chars = min(self.exemplar_chars, _SHORTENED_CHARS)
            marked = [self._exemplar(search, each, chars) for each in group]
            yield from (version(n, marked, listed) for n in range(len(pairs), 0, -1))
            yield from (version(1, marked[:n], listed) for n in range(len(marked) - 1, -1, -1))
            yield version(1, [], "")

        return search.problem.proposer.first_fitting(versions(), self._longest_reply(search.problem)[0])

    def _exemplar(self, search: _Search, example: Example, chars: int) -> str:
        inputs = {name: shortened(text, chars) for name, text in example.inputs.items()}
        question = search.problem.shown(Prompt(f"<{TAG}>"), inputs)
        return search.meta["exemplar"].fill(question=question, answer=set_off(example.targets[0], chars))

    def _rendered(self, search: _Search, pairs: Sequence[Pair], demos: str) -> str:
        pair = search.meta["pair" if search.asking.is_chat else "completion_pair"]
        listed = "\n\n".join(pair.fill(instruction=prompt.instruction, score=str(score)) for prompt, score in pairs)
        return search.problem.proposer.request(search.asking, pairs=listed, demos=demos)

    def _propose(
        self, search: _Search, pairs: Sequence[Pair], prompts: Sequence[str], temperature: float
    ) -> list[Prompt]:
        """Return the usable new prompts; they carry the demos of the best one shown."""
        problem, meta = search.problem, search.meta
        max_tokens, max_chars = self._longest_reply(problem)
        # Not `answers`: an instruction that lists them as the meta-prompt does is a good one.
        fixed = "\n".join(each.fixed for each in (search.asking, meta["exemplars"], meta["exemplars_wrong"]))
        reading = ReplyFormat("paragraph", max_chars=max_chars, tag=TAG)
        # In a chat the closing tag ends the reply, which may have paragraphs; a base model would write on.
        stop = () if search.asking.is_chat else reading.stop
        sampling = Sampling(max_tokens, temperature=temperature, top_p=self.top_p, stop=stop)
        best, n = pairs[-1][0], self.per_step // self.draws
        requests = [Request(text, reading, best) for text in prompts]
        proposals = problem.proposer.propose(requests, sampling, fixed, n=n, objection=self._objection(problem))
        texts = [text for proposal in proposals for text in proposal.accepted]
        if self.strip_bold:
            bare = dict.fromkeys(text.replace("**", "").strip() for text in texts)
            texts = [text[:1].upper() + text[1:] for text in bare]
        found = [replace(best, instruction=text) for text in texts]
        parents = tuple(prompt.id for prompt, _ in reversed(pairs))
        problem.record([Candidate(prompt, "propose", parents) for prompt in found])
        return found

    def _objection(self, problem: Problem) -> Objection:
        """Return OPRO's own filters of an instruction."""
        numeric = not problem.outputs and all(_NUMBER.fullmatch(each.targets[0].strip()) for each in problem.train)
        refuses_digits = self.digits == "refuse" or (self.digits == "auto" and numeric)
        _, max_chars = self._longest_reply(problem)

        def objection(text: str, _: Prompt) -> str:
            if len(text) > max_chars:
                return "too long"
            return "digits" if refuses_digits and any(c.isdigit() for c in text) else ""

        return objection

    def _longest_reply(self, problem: Problem) -> tuple[int, int]:
        """Return the limits of a reply in tokens and characters, with room for variants of a long seed."""
        texts = [prompt.instruction for prompt in problem.seeds]
        longest = max(map(len, texts))
        if longest <= self.max_chars:
            return self.max_tokens, self.max_chars
        return problem.proposer.room_to_reword(texts, self.max_tokens), 2 * longest

    def _temperature(self, step: int, n_unproductive: int) -> float:
        """Return the temperature of a step that comes after `n_unproductive` ones without a usable proposal."""
        rise = self.end_temperature - self.temperature if self.schedule == "linear_increase" else 0.0
        temperature = self.temperature + rise * step / self.steps
        return max(temperature, min(_HOTTEST, temperature + self.warmer * n_unproductive))


def _third(n: int) -> int:
    return -(-n // 3)


def shown_score(mean: float, buckets: int) -> int:
    """Return a mean score in [0, 1] as a whole number from 0 to `buckets`."""
    # Rounded before `floor`, or the last bit of a float would take 23 right of 40 for less than 57.5.
    return math.floor(round(mean * buckets, 9) + 0.5)


def _of(buckets: int, asking: MetaPrompt) -> MetaPrompt:
    """Return a meta-prompt that says of how many the scores are, and how the best would be: the shipped say of 100."""
    return replace(asking, text=re.sub(r"\b100\b", str(buckets), asking.text))


def most_wrong(losses: Sequence[float], rng: random.Random) -> list[int]:
    """Return the indices of the losses above 0, highest first, equal ones in random order."""
    noise = [rng.getrandbits(31) for _ in losses]
    return sorted((i for i, loss in enumerate(losses) if loss > 0), key=lambda i: (-losses[i], noise[i]))


def deal(order: Sequence[int], size: int, draw: int) -> list[int]:
    """Return at most `size` of `order` for one draw: draw by draw down the list, from its top again at its end."""
    size = min(size, len(order))
    return [order[(draw * size + i) % len(order)] for i in range(size)]


def _best_on_dev(problem: Problem, prompts: Sequence[Prompt]) -> float:
    return max(each.mean for each in measure_best_first(problem, prompts))


def _margin(evaluation: Evaluation) -> float:
    """Return by how much the prompt was right on the sample, the same for all; 0 where the task has no labels."""
    return math.fsum(outcome.margin or 0.0 for outcome in evaluation.outcomes)
