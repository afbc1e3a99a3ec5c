"""auto: the methods' steps in turn, those that paid most so far first. Level 6.

    opening <- APE: seeds, guesses, sets of worked examples, one race                                      (ape.py)
    repeat at most `rounds` times:
        ranked <- all prompts known on all of dev, best first
        operator <- argmax over operators of (gain so far + 1 row) / (tokens so far + those of a mean step)
        new <- operator(ranked)
        finalists <- race of `new` beside the best on growing subsets of dev, the same for all
        measure the finalists on all of dev, with the best set of worked examples and without
        the operator gained what the best mean rose by, and spent the tokens of the round
        end if the best is right on all of dev, or every operator had a turn since the last gain

Operators: `guess` (APE's guesses), `reword` (APE's variants), `gradient` (a round of ProTeGi), `trajectory` (a step of
OPRO), `reason` (a step of PE2), `cross` (two good instructions made into one), `examples` (other worked examples). They
are the methods' own, with their defaults. The choice is optimistic: an operator without a turn counts as if it had won
one row for the tokens of a mean step, so each has a turn unless another pays better than that, and gains of long ago
count less and less.

A bandit over operators of evolutionary search is old (adaptive operator selection: Fialho et al. 2010, "Analyzing
bandit-based adaptive operator selection mechanisms"); over those of published methods for prompts, per token, it is
ours. Crossover is that of EvoPrompt's genetic algorithm (Guo et al. 2023, arXiv 2309.08532) in one request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from localprompt.optimizers.ape import APE
from localprompt.optimizers.opro import OPRO
from localprompt.optimizers.pe2 import PE2
from localprompt.optimizers.protegi import ProTeGi
from localprompt.optimizers.registry import Scales, optimizer
from localprompt.optimizers.settings import AnyCount, Checked, Count, Must, Share, Weight
from localprompt.optimizers.worked_examples import SETS, Shots, other_way, swapped
from localprompt.proposals.metaprompts import MetaPrompt, load
from localprompt.search.filtering import Stages, filter_in_stages, measure_best_first
from localprompt.search.problem import Problem
from localprompt.search.proposer import Request, Style
from localprompt.search.ranking import best_first
from localprompt.search.rewording import reading_of
from localprompt.types import Candidate, Evaluation, Example, Prompt, Sampling, Turn

TEMPLATES = {"crossover": ("first", "second"), "crossover_chat": ("first", "second")}
"""Meta-prompt to its slots; the other operators have those of their methods."""
OPERATORS = ("examples", "reword", "cross", "guess", "trajectory", "gradient", "reason")
"""Those that cost little first: so they have their first turns."""
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
        names: of the operators, in the order in which equal ones have their turns.
        row: what one right answer more on dev is of the mean score.
    """

    names: Sequence[str]
    row: float
    turns: list[Turn] = field(default_factory=list)

    def next(self) -> str:
        """Return the operator that promises most per token."""
        paid = [turn.tokens for turn in self.turns if turn.tokens]
        mean = sum(paid) / len(paid) if paid else 1.0
        return max(self.names, key=lambda name: self._promise(name, mean))

    def _promise(self, name: str, mean_tokens: float) -> float:
        gain, tokens = self.row, mean_tokens
        for age, turn in enumerate(turn for turn in reversed(self.turns) if turn.operator == name):
            gain += turn.gain * _FADES**age
            # One that could make nothing must not have the next turn for being cheap.
            tokens += turn.tokens if turn.proposals else max(turn.tokens, mean_tokens)
        return gain / tokens

    @property
    def is_exhausted(self) -> bool:
        """True if every operator had a turn since the last gain."""
        without = list[str]()
        for turn in reversed(self.turns):
            if turn.gain > 0:
                break
            without.append(turn.operator)
        return set(self.names) <= set(without)


@optimizer("auto", TEMPLATES)
@dataclass(frozen=True, slots=True)
class Auto(Checked):
    """Hyperparameters of auto; those that are not here are the defaults of the methods."""

    SCALES: ClassVar[Scales] = {
        "queries": (2, 0.5),
        "per_query": (2, 0.5),
        "example_sets": (1, 0.5),
        "rounds": (1, 1.0),
    }

    rounds: AnyCount = 10
    """Turns of operators after the opening, at most."""
    queries: Count = 8
    """Sets of worked examples behind the guesses of the opening."""
    per_query: Count = 6
    """Guesses of each set."""
    shots: Shots = "auto"
    """Worked examples of prompts: as in APE."""
    example_sets: Count = SETS
    """Orders in which train is dealt for sets of worked examples; 1 is cheap."""
    beam: Count = 3
    """Prompts that `cross` takes its pairs from."""
    children: Count = 2
    """Replies to each request of `cross`."""
    finalists: Count = 2
    """New prompts of a turn that are measured on all of dev."""
    keep: Share = 0.34
    """Share of the new prompts that a stage of a race lets through."""
    temperature: Weight = 0.9
    """Of `cross`."""
    max_tokens: Count = 80
    """Of a reply of `cross`; more where instructions are longer."""
    style: Style = "auto"
    """How the proposer is asked, by all operators: `chat`, `raw`, or `auto`."""
    without: _Operators = "none"
    """Operators that are left out, separated by commas; `none`: all take part."""
    choice: Literal["bandit", "uniform"] = "bandit"
    """`bandit`: the operator that promises most. `uniform`: one after the other."""
    templates: Path | None = None
    """Folder with your own meta-prompts: `.txt` files named like the shipped ones, which they replace."""

    def run(self, problem: Problem) -> None:
        """Search for the best prompt; everything stays with `problem`."""
        begun = problem.proposer.tokens_computed
        problem.begin("opening")
        self._ape.run(problem)
        dev = problem.shuffled(problem.dev)
        operators = self._operators(problem)
        bandit = Bandit(list(operators), 1 / len(dev))
        ranked = _ranked(problem)
        problem.ranking.turns.append(
            Turn(
                "opening",
                problem.proposer.tokens_computed - begun,
                len(problem.ranking.candidates),
                _rise(problem, ranked),
            )
        )
        for number in range(self.rounds):
            if not ranked or ranked[0].mean >= 1.0:
                problem.note("nothing to gain, every answer on dev is right")
                return
            if bandit.is_exhausted:
                problem.note("every operator had a turn since the last gain")
                return
            # In a rehearsal answers are made up, so that each operator has its turn.
            in_turn = problem.is_rehearsal or self.choice == "uniform"
            name = bandit.names[number % len(bandit.names)] if in_turn else bandit.next()
            problem.begin(f"round {number + 1} of {self.rounds}, {name}")
            before, best = problem.proposer.tokens_computed, ranked[0].mean
            new = operators[name](ranked)
            self._race(problem, new, ranked, dev)
            ranked = _ranked(problem)
            turn = Turn(name, problem.proposer.tokens_computed - before, len(new), max(0.0, ranked[0].mean - best))
            bandit.turns.append(turn)
            problem.ranking.turns.append(turn)

    @property
    def _ape(self) -> APE:
        return APE(
            queries=self.queries,
            per_query=self.per_query,
            shots=self.shots,
            example_sets=self.example_sets,
            style=self.style,
        )

    def _operators(self, problem: Problem) -> Mapping[str, Operator]:
        """Return the operators by name, in their order."""
        meta = load("auto", TEMPLATES, self.templates)
        guessing, style = replace(self._ape, queries=2), self.style
        found: dict[str, Operator] = {
            "examples": lambda ranked: swapped(problem, next((e.prompt for e in ranked if e.prompt.demos), Prompt(""))),
            "reword": partial(self._ape.step, problem),
            "cross": partial(self._crossed, problem, meta),
            "guess": lambda ranked: guessing.guesses(problem, [e.prompt for e in ranked if e.prompt.demos][:1]),
            "trajectory": partial(OPRO(style=style).step, problem),
            "gradient": partial(ProTeGi(style=style).step, problem),
            "reason": partial(PE2().step, problem),
        }
        return {name: found[name] for name in OPERATORS if name not in _listed(self.without)}

    def _race(
        self, problem: Problem, new: Sequence[Prompt], ranked: Sequence[Evaluation], dev: Sequence[Example]
    ) -> None:
        """Measure the best of the new prompts on all of dev, with the best worked examples and without."""
        stages = Stages((6, 18), self.keep, self.finalists)
        best = ranked[0].prompt
        found = filter_in_stages(problem.evaluate, new, dev, stages, protected=[best])
        examples = [each.prompt for each in ranked if each.prompt.demos]
        measure_best_first(problem, [*found, *other_way(problem, found[:1], examples)])

    def _crossed(self, problem: Problem, meta: Mapping[str, MetaPrompt], ranked: Sequence[Evaluation]) -> list[Prompt]:
        """Return instructions made of two good ones each; they carry the worked examples of the better one."""
        with_words = list(
            {each.prompt.instruction: each.prompt for each in ranked if each.prompt.instruction.strip()}.values()
        )
        pairs = [(with_words[0], other) for other in with_words[1 : self.beam + 1]]
        if not pairs:
            return []
        proposer, chats = problem.proposer, problem.proposer.chats(self.style)
        template = meta["crossover_chat" if chats else "crossover"]
        room = proposer.room_to_reword([prompt.instruction for pair in pairs for prompt in pair], self.max_tokens)
        requests = [
            Request(
                proposer.first_fitting(
                    [proposer.request(template, first=first.instruction, second=second.instruction)], room
                ),
                reading_of(first.instruction, chats=chats),
                first,
            )
            for first, second in pairs
        ]
        sampling = Sampling(room, temperature=self.temperature, top_p=0.95)
        proposals = proposer.propose(requests, sampling, template.fixed, n=self.children)
        found = [(pair, child) for pair, proposal in zip(pairs, proposals, strict=True) for child in proposal.accepted]
        new = [(pair, replace(pair[0], instruction=text)) for pair, text in found]
        problem.record([Candidate(child, "cross", tuple(each.id for each in pair)) for pair, child in new])
        return [child for _, child in new]


def _ranked(problem: Problem) -> list[Evaluation]:
    """Return what is known on all of dev, best first."""
    known = {each.evaluation.prompt.id: each.evaluation for each in problem.ranking.finalists() if each.evaluation}
    return [known[prompt.id] for prompt in best_first(list(known.values()))]


def _rise(problem: Problem, ranked: Sequence[Evaluation]) -> float:
    """Return by how much the best is ahead of the best seed."""
    return max(0.0, ranked[0].mean - problem.ranking.best_seed().mean) if ranked else 0.0
