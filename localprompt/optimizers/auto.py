"""auto: the steps of the other methods in turn, those that paid most so far first. Level 6.

    seed <- the best seed on all of dev
    new <- sets of worked examples, and guesses of the instruction
    measure the best of a race of `new` on all of dev, as below
    repeat:
        ranked <- all prompts known on all of dev, best first
        left <- the operators with fewer than three turns since the last gain of any
        operator <- argmax over left of (gain so far + what is hoped for) / (tokens so far + those of a mean step)
        new <- operator(ranked)
        finalists <- the best of a race of `new` on growing subsets of dev, the same for all, drawn anew each time;
                     with worked examples and without
        measure the best of them that keep up with the best so far on all of dev
        the operator gained what the best mean rose by, and spent the tokens of the round
        end if the best is right on all of dev, or no operator is left
        end if no operator fits the budget; without a limit, when the turns have cost as much as the opening

A race ends after a quarter of dev, 24 to 64 rows; most new prompts are worse than the best and never cost more. A limit
sizes the opening: about three quarters of a small budget, and at most twice as large as without one. What shows worked
examples and what does not is in one race: two examples as a first look mislead where there are more labels (Banking, 20
of them: a search that believed such a look kept its seed, and sets of examples are 0.15 better).

Operators: `examples` (the best set with other examples), `deal` (new sets of worked examples), `guess` (APE's guesses),
`reword` (APE's variants), `gradient` (a round of ProTeGi), `trajectory` (a step of OPRO), `reason` (a step of PE2),
`cross` (two good instructions made into one). They are the methods' own, with their defaults but for fewer guesses and
orders. The choice is optimistic: an operator without a turn counts as if it had won one row for the tokens of a mean
step, half of one if the best of the opening is of the other kind, so each has a turn unless another pays better than
that. Gains of long ago count less and less.

A bandit over operators of evolutionary search is old (adaptive operator selection: Fialho et al. 2010, "Analyzing
bandit-based adaptive operator selection mechanisms"); over those of published methods for prompts, per token, it is
ours. Crossover is that of EvoPrompt's genetic algorithm (Guo et al. 2023, arXiv 2309.08532) in one request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from localprompt.errors import BudgetExhausted, ConfigError, ContextOverflow
from localprompt.optimizers.ape import APE
from localprompt.optimizers.opro import OPRO
from localprompt.optimizers.pe2 import PE2
from localprompt.optimizers.protegi import ProTeGi
from localprompt.optimizers.registry import Scales, optimizer
from localprompt.optimizers.settings import NO_TRAIN, Checked, Count, Must, Share, Weight
from localprompt.optimizers.worked_examples import Shots, dealt, other_way, say_fewer, swapped
from localprompt.proposals.metaprompts import MetaPrompt, load
from localprompt.proposals.parsing import common_stop
from localprompt.search.filtering import Stages, filter_in_stages, measure_best_first, spend_remaining
from localprompt.search.problem import Problem
from localprompt.search.proposer import Request, Style
from localprompt.search.ranking import best_first, search_key, smooth_key
from localprompt.search.rewording import reading_of
from localprompt.types import Candidate, Evaluation, Example, Prompt, Sampling, Turn

_SHOWING = ("examples", "deal")
"""Operators of worked examples."""
_WRITING = ("reword", "cross", "guess", "trajectory", "gradient", "reason")
TEMPLATES = {"crossover": ("first", "second"), "crossover_chat": ("first", "second")}
"""Meta-prompt to its slots; the other operators have those of their methods."""
OPERATORS = (*_SHOWING, *_WRITING)
"""In the order of their first turns. Of those that show examples the one that paid more comes first: in 18 searches the
first turn of `examples` gained 0.018 on dev on average, that of `deal` 0.013. Of the others those that cost little."""
_FEW, _MANY = 6, 16
"""Dev examples of the first stage of a race: a sixteenth of them all, but so many at least and at most."""
_LATER = 3
"""Times as many fresh ones in the second."""
_DOUBT = 0.5
"""What is hoped for of an operator of the other kind than the best of the opening."""
_OPENING, _OF_LIMIT = 1 / 2, 3 / 4
"""Share of the opening in what a search without a limit computes, and in a limit, which sizes the opening by it."""
_PATIENCE = 3
"""Turns without a gain after which an operator waits until another one gains."""
_FADES = 0.5
"""What a gain counts after each further turn of its operator."""


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]


_Operators = Annotated[
    str, Must(f"some of {', '.join(OPERATORS)}", lambda names: set(_listed(names)) <= set(OPERATORS))
]
Operator = Callable[[Sequence[Evaluation]], list[Prompt]]
"""Makes new prompts, recorded, of all that are known on all of dev, best first."""


@dataclass
class Bandit:
    """Which operator has its turn next.

    Args:
        hopes: operator to the rise of the best mean that is hoped for before its turns tell more; equal ones have their
            turns in this order.
    """

    hopes: dict[str, float]
    turns: list[Turn] = field(default_factory=list)

    def next(self) -> str:
        """Return the operator that promises most per token, of those left."""
        paid = [turn.tokens for turn in self.turns if turn.tokens]
        mean = sum(paid) / len(paid) if paid else 1.0
        return max(self.left or self.hopes, key=lambda name: self._promise(name, mean))

    def _promise(self, name: str, mean_tokens: float) -> float:
        gain, tokens = self.hopes[name], mean_tokens
        for age, turn in enumerate(turn for turn in reversed(self.turns) if turn.operator == name):
            gain += turn.gain * _FADES**age
            # One that could make nothing must not have the next turn for being cheap.
            tokens += turn.tokens if turn.proposals else max(turn.tokens, mean_tokens)
        return gain / tokens

    @property
    def left(self) -> list[str]:
        """Operators with fewer than `_PATIENCE` turns since the last gain; where there are none nothing is to gain."""
        vain = [turn.operator for turn in takewhile(lambda turn: turn.gain <= 0, reversed(self.turns))]
        return [name for name in self.hopes if vain.count(name) < _PATIENCE]


@optimizer("auto", TEMPLATES)
@dataclass(frozen=True, slots=True)
class Auto(Checked):
    """Hyperparameters of auto; those that are not here are the defaults of the methods."""

    REMOVED: ClassVar[Mapping[str, object]] = {"rounds": 10, "example_sets": 8}
    SCALES: ClassVar[Scales] = {"orders": (1, 0.5), "queries": (1, 0.5), "contestants": (6, 0.5)}
    REHEARSED: ClassVar[tuple[float, float]] = (_OPENING, _OF_LIMIT)
    """Under a limit it goes on while there is something to gain; what the turns cost hangs on what they find."""

    queries: Count = 3
    """Sets of worked examples behind the guesses of the opening."""
    per_query: Count = 4
    """Guesses of each set."""
    orders: Count = 8
    """Orders in which train is dealt for the sets of the opening."""
    shots: Shots = "auto"
    """Worked examples of prompts. `auto`: as many as are best. A number: so many. 0: a seed's own."""
    contestants: Count = 12
    """New prompts of a turn that take part in its race, drawn by chance where the operator made more."""
    beam: Count = 3
    """Prompts that `cross` takes its pairs from."""
    children: Count = 2
    """Replies to each request of `cross`."""
    finalists: Count = 2
    """Prompts of a race that are measured on all of dev at most."""
    keep: Share = 0.34
    """Share of the new prompts that a stage of a race lets through."""
    temperature: Weight = 0.9
    """Of `cross`."""
    max_tokens: Count = 80
    """Of a reply of `cross`; more where instructions are longer."""
    style: Style = "auto"
    """How the proposer is asked, by all operators but `reason`: `chat`, `raw`, or `auto`."""
    without: _Operators = "none"
    """Operators that are left out, separated by commas; `none`: all take part."""
    choice: Literal["bandit", "uniform"] = "bandit"
    """`bandit`: the operator that promises most. `uniform`: one after the other."""
    templates: Path | None = None
    """Folder with your own meta-prompts: `.txt` files named like the shipped ones, which they replace."""

    def run(self, problem: Problem) -> None:
        """Search for the best prompt; everything stays with `problem`."""
        if not problem.train:
            raise ConfigError("auto shows the proposer training examples and the task has none", NO_TRAIN)
        try:
            self._search(problem)
        except BudgetExhausted:
            with suppress(BudgetExhausted), _counted(problem, "rest"):
                spend_remaining(problem)
            raise

    def _search(self, problem: Problem) -> None:
        begun, dev = problem.proposer.tokens_computed, problem.shuffled(problem.dev)
        problem.begin("opening")
        with _counted(problem, "opening") as new:
            hopes = self._open(problem, dev, new)
        ranked, cost = _ranked(problem), problem.proposer.tokens_computed - begun
        if problem.is_rehearsal:
            return
        operators = self._operators(problem, dev)
        bandit = Bandit({name: hope / len(dev) for name, hope in hopes.items() if name in operators})
        cut: BudgetExhausted | None = None
        while problem.proposer.is_limited or problem.proposer.tokens_computed - begun < cost / _OPENING:
            if not ranked or ranked[0].mean >= 1.0:
                problem.note("nothing to gain, every answer on dev is right")
                return
            if not bandit.left:
                if cut is not None:
                    raise cut
                why = f"every operator had {_PATIENCE} turns since the last gain"
                problem.note(why if bandit.hopes else "no operator takes part")
                return
            number = len(bandit.turns)
            name = bandit.next() if self.choice == "bandit" else list(bandit.hopes)[number % len(bandit.hopes)]
            problem.begin(f"round {number + 1}, {name}")
            try:
                with _counted(problem, name) as new:
                    made = operators[name](ranked)
                    new.extend(problem.rng.sample(made, min(self.contestants, len(made))))
                    self._turn(problem, new, ranked, dev)
            except BudgetExhausted as end:  # a cheaper one may fit
                cut = end
                del bandit.hopes[name]
            except ContextOverflow as error:  # what another one asks for may be shorter
                problem.note(f"{name} takes no further part: {error}")
                del bandit.hopes[name]
            ranked = _ranked(problem)
            bandit.turns.append(problem.ranking.turns[-1])

    def _open(self, problem: Problem, dev: Sequence[Example], new: list[Prompt]) -> dict[str, float]:
        """Race sets of worked examples and guesses, and return the operators with the rows that are hoped for of each.

        The most promising are first. What races is put into `new`.
        """
        measured = measure_best_first(problem, problem.seeds)
        bare = [each for each in measured if not each.prompt.demos]
        if max(each.mean for each in measured) >= 1.0:
            return {}
        seed = best_first(bare or measured)[0]
        new += dealt(problem, seed, self.orders, dev, self.shots) if bare else []
        can_show = bool(new)
        try:
            new += APE(queries=self.queries, per_query=self.per_query, style=self.style).guesses(problem)
        except ContextOverflow as error:
            problem.note(f"no guesses in the opening: {error}")
        self._turn(problem, new, _ranked(problem), dev)
        pays = bool(_ranked(problem)[0].prompt.demos)
        if can_show:
            say_fewer(problem, new, self.shots)
            _tell(problem, next(each for each in measured if each.prompt == seed), pays)
        hopes = {name: 1.0 if (name in _SHOWING) == pays else _DOUBT for name in (OPERATORS if can_show else _WRITING)}
        return dict(sorted(hopes.items(), key=lambda item: -item[1]))

    def _operators(self, problem: Problem, dev: Sequence[Example]) -> Mapping[str, Operator]:
        """Return the operators by name, in their order."""
        meta, style = load("auto", TEMPLATES, self.templates), self.style
        ape = APE(queries=2, per_query=self.per_query, style=style)

        found: dict[str, Operator] = {
            "examples": lambda ranked: swapped(
                problem, next((each.prompt for each in ranked if each.prompt.demos), Prompt("")), self.shots
            ),
            "deal": lambda ranked: dealt(problem, ranked[0].prompt, 3, dev, self.shots),
            "reword": partial(ape.step, problem),
            "cross": partial(self._crossed, problem, meta),
            "guess": lambda ranked: ape.guesses(problem),
            "trajectory": partial(OPRO(style=style).step, problem),
            "gradient": partial(ProTeGi(style=style).step, problem),
            "reason": partial(PE2().step, problem),
        }
        return {name: found[name] for name in OPERATORS if name not in _listed(self.without)}

    def _turn(
        self, problem: Problem, new: Sequence[Prompt], ranked: Sequence[Evaluation], dev: Sequence[Example]
    ) -> None:
        """Measure on all of dev what is best of the new prompts, with worked examples and without, and keeps up."""
        best, stages = ranked[0].prompt, _stages(dev)
        # The best is known on all of dev, and is ahead by luck on the rows that chose it.
        rows = problem.shuffled(dev)
        race = Stages(stages, self.keep, self.finalists, order=smooth_key)
        found = filter_in_stages(problem.evaluate, new, rows, race, protected=[best])
        known, seen = [each.prompt for each in ranked], rows[: sum(stages)]
        both = (*found, *other_way(problem, found, [each for each in (*known, *found) if each.demos]))
        fresh = {each.id: each for each in both if each not in known}
        rival, *tried = problem.evaluate([best, *fresh.values()], seen)
        near = [each for each in tried if each.mean >= rival.mean - 1.001 / len(seen)]  # one row, however it is rounded
        measure_best_first(problem, [each.prompt for each in sorted(near, key=smooth_key)[: self.finalists]])

    def _crossed(self, problem: Problem, meta: Mapping[str, MetaPrompt], ranked: Sequence[Evaluation]) -> list[Prompt]:
        """Return instructions made of two good ones each; they carry the worked examples of the better one."""
        different = dict[str, Prompt]()
        for each in ranked:
            if each.prompt.instruction.strip():
                different.setdefault(each.prompt.instruction, each.prompt)  # with the better worked examples
        with_words = list(different.values())
        pairs = [(with_words[0], other) for other in with_words[1 : self.beam + 1]]
        if not pairs:
            return []
        proposer, chats = problem.proposer, problem.proposer.chats(self.style)
        template = meta["crossover_chat" if chats else "crossover"]
        room = proposer.room_to_reword([prompt.instruction for pair in pairs for prompt in pair], self.max_tokens)

        def request(first: Prompt, second: Prompt) -> Request:
            text = proposer.request(template, first=first.instruction, second=second.instruction)
            return Request(proposer.first_fitting([text], room), reading_of(first.instruction, chats=chats), first)

        requests = [request(*each) for each in pairs]
        stop = common_stop(each.reading for each in requests)
        sampling = Sampling(room, temperature=self.temperature, top_p=0.95, stop=stop)
        proposals = proposer.propose(requests, sampling, template.fixed, n=self.children)
        found = [(pair, child) for pair, proposal in zip(pairs, proposals, strict=True) for child in proposal.accepted]
        new = [(pair, replace(pair[0], instruction=text)) for pair, text in found]
        problem.record([Candidate(child, "cross", tuple(each.id for each in pair)) for pair, child in new])
        return [child for _, child in new]


def _stages(dev: Sequence[Example]) -> tuple[int, int]:
    """Return the fresh dev examples of each stage of a race."""
    first = min(max(len(dev) // 16, _FEW), _MANY)
    return first, _LATER * first


def _ranked(problem: Problem) -> list[Evaluation]:
    """Return what is known on all of dev, best first."""
    return sorted((each.evaluation for each in problem.ranking.finalists() if each.evaluation), key=search_key)


@contextmanager
def _counted(problem: Problem, operator: str) -> Iterator[list[Prompt]]:
    """Enter what is done as a turn of an operator, also what the budget cuts off; yield a list for its new prompts."""
    tokens, before, new = problem.proposer.tokens_computed, _rise(problem), list[Prompt]()
    try:
        yield new
    finally:
        spent, gain = problem.proposer.tokens_computed - tokens, _rise(problem) - before
        problem.ranking.turns.append(Turn(operator, spent, len(new), max(0.0, gain)))


def _rise(problem: Problem) -> float:
    """Return by how much the best is ahead of the best that the search began with; 0 before one is known on all of dev.

    What an earlier run found is no gain of this one.
    """
    ranked = _ranked(problem)
    return next((ranked[0].mean - each.mean for each in ranked if each.prompt in problem.seeds), 0.0)


def _tell(problem: Problem, seed: Evaluation, pays: bool) -> None:
    """Say whether the best of the opening shows worked examples, and the answer that the seed gives far too often."""
    given = Counter("none at all" if each.prediction is None else repr(each.prediction) for each in seed.outcomes)
    answer, times = given.most_common(1)[0]
    problem.note(
        f"worked examples {'help' if pays else 'do not help'}; the seed's most frequent answer is {answer}, to {times} "
        f"of {len(seed.outcomes)}"
    )
