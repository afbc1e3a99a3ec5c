"""Worked examples as a part of candidates: sets from train, raced on dev with and without the seed. Level 6.

For a small model a few solved rows often say more than any instruction. Every method begins with the best of them
beside the seeds, so that what it writes has to be better than that, and new instructions keep their parent's examples.

1. Measure the seeds on all of dev: a budget that ends in the race leaves their scores.
2. Deal orders of train in which the answers take turns. Each gives nested sets, so that the examples of the shorter are
   read with those of the longer; only what fits the context takes part.
3. Race the sets, those of one order alone and of the next behind the best seed's instruction, on a few rows of dev; a
   sixth goes on, two at least.
4. Race these with it and without on rows that double until all of dev is seen, half of them going on by a score that
   is smooth where there are labels; measure the `KEPT` best on all of dev. Equal scores: the shorter goes first.
5. Vary the best set, by another example with the same answer, another order, twice as many examples or a quarter
   fewer, and race the variants from the other end of dev, where the best was not chosen; repeat while one of them is
   better on all of dev. So sets grow as long as that pays and the context has room.

Successive halving (Jamieson & Talwalkar 2016) over sets drawn by chance (random search of DSPy, Khattab et al. 2024,
arXiv 2310.03714). Where answers are reasoned out, an example shows the model's own reasoning that led to the right
answer (its bootstrapped demonstrations); one without would teach it not to reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from typing import Annotated, Literal

from localprompt.optimizers.settings import Must
from localprompt.proposals.similarity import words
from localprompt.search.filtering import Stages, filter_in_stages, measure_best_first
from localprompt.search.problem import Problem
from localprompt.search.ranking import best_first, size, smooth_key
from localprompt.tasks.copies import inputs_of
from localprompt.types import Candidate, Demo, Evaluation, Example, Outcome, Prompt

Shots = Annotated[
    Literal["auto"] | int, Must("auto, or a whole number of at least 0", lambda value: value == "auto" or value >= 0)
]
"""Worked examples per candidate. `auto`: the number that is best on dev. A number: that many. 0: only a seed's own."""

SETS = 8
"""Orders in which train is dealt, unless a setting says otherwise."""
KEPT = 2
"""Prompts with examples that a method begins with beside the seeds."""
_LEAST, _MOST = 4, 8
"""Examples of the smallest set of `auto`, which has each answer once if that is possible."""
_TIMES = (1, 3, 8)
"""So many times as large are its sets."""
_FEW, _MANY = 8, 32
"""Dev examples of the first stage: a sixteenth of them all, but so many at least and at most."""
_ADVANCING = 6
"""One set of so many goes on after it, and `KEPT` at least: few rows mislead most where few sets race."""
_ROUNDS = 4
"""Times that the best set is varied at most, and orders that are dealt before it is varied once: the sets of an order
are read as one, and five or six variants each by itself."""
_SWAPPED = 8
"""One example of so many is another in a variant, and at least one."""
_BATCH, _BATCHES = 24, 4
"""Train examples that are answered at once to find reasoning to show, and how often at most."""
_REASONED = 3
"""Words by which a completion must be longer than its answer to be reasoning."""


@dataclass(frozen=True, slots=True)
class _Solved:
    """A train example as it is shown."""

    example: Example
    answer: str
    """The right one; empty where answers are no closed set."""
    demo: Demo


_Set = list[_Solved]


@dataclass(frozen=True, slots=True)
class _Race:
    """What a race knows."""

    problem: Problem
    dev: Sequence[Example]
    """In the order in which the race sees it."""
    pool: Sequence[_Solved]
    sizes: tuple[int, ...]
    """Of sets, the smallest first."""

    @property
    def n_first(self) -> int:
        """Dev examples of the first stage."""
        return min(max(len(self.dev) // 16, _FEW), _MANY)

    def select(self, prompts: Sequence[Prompt], dev: Sequence[Example], first: int, finalists: int) -> list[Prompt]:
        """Return the best by stages that double from `first` examples on, half of the prompts going on."""
        sizes = [first]
        while sum(sizes) < len(dev):
            sizes.append(sum(sizes))
        stages = Stages(tuple(sizes), 0.5, finalists, order=smooth_key)
        return filter_in_stages(self.problem.evaluate, prompts, dev, stages)


def starts(
    problem: Problem, shots: Literal["auto"] | int, sets: int, dev: Sequence[Example] | None = None
) -> list[Prompt]:
    """Return what a method begins with: the seeds, then the best prompts with worked examples, best first, recorded.

    All are measured on all of dev. Only the seeds, and then not measured, where `shots` is 0, the layout has no place
    for examples, none fits, there is no train split, or every seed has examples, which it keeps.

    Args:
        problem: its train examples are shown, never those of dev.
        shots: how many.
        sets: orders of train that are dealt, as `dealt` does; with four or fewer there are no variants.
        dev: in the order in which the race sees it; by default in one of chance.

    Raises:
        BudgetExhausted: before the call that does not fit; the seeds are measured first.
    """
    bare = [seed for seed in problem.seeds if not seed.demos]
    if not bare or not _has_place(problem, bare[0], shots):
        return list(problem.seeds)
    dev = problem.shuffled(problem.dev) if dev is None else dev
    measured = measure_best_first(problem, problem.seeds)
    if max(each.mean for each in measured) >= 1.0:
        return list(problem.seeds)
    seed = best_first([each for each in measured if not each.prompt.demos])[0]
    sizes = _sizes(problem, shots)
    race = _Race(problem, dev, _shown(problem, seed, dev, 2 * max(sizes)), sizes)
    found = _first_race(race, seed, sets)
    say_fewer(problem, found, shots)
    for _ in range(min(_ROUNDS, sets - _ROUNDS) if found else 0):
        better = _varied(race, found[0])
        if not better:
            break
        found = [better, *found]
    return [*problem.seeds, *found[:KEPT]]


def other_way(problem: Problem, prompts: Sequence[Prompt], examples: Sequence[Prompt]) -> list[Prompt]:
    """Return prompts with examples without them, those without with the best set, and sets alone behind a seed's words.

    They are recorded; what does not fit is left out. Nothing where no prompt has examples.

    Args:
        problem: that they are recorded with.
        prompts: an instruction that is good with examples may be as good without, and the other way round.
        examples: prompts with examples, those of `starts`, the best first.
    """
    words = next((seed for seed in problem.seeds if seed.instruction and not seed.demos), None)
    found = list[Candidate]()
    for each in prompts if examples else ():
        if each.demos and (each.instruction or words is None):
            found.append(Candidate(replace(each, demos=()), "without examples", (each.id,), is_proposed=False))
            continue
        bare, shown = (words, each) if words and each.demos else (each, examples[0])
        if problem.demos_that_fit(bare, shown.demos) == len(shown.demos):
            other = replace(bare, demos=shown.demos)
            found.append(Candidate(other, "with examples", (bare.id, shown.id), is_proposed=False))
    problem.record(found)
    return [each.prompt for each in found]


def _sizes(problem: Problem, shots: Literal["auto"] | int) -> tuple[int, ...]:
    if shots != "auto":
        return (int(shots),)
    least = min(max(_LEAST, len(problem.outputs)), _MOST)
    return tuple(times * least for times in _TIMES)


def dealt(
    problem: Problem, parent: Prompt, orders: int, dev: Sequence[Example], shots: Literal["auto"] | int = "auto"
) -> list[Prompt]:
    """Return nested sets of worked examples, recorded: alone and behind an instruction by turns.

    One order stands alone, since examples say by themselves what is asked; so do the largest sets, since they cost
    most. Nothing where `shots` is 0, the layout has no place for examples, none fits, or there is no train split.

    Args:
        problem: its train examples are shown, never those of dev.
        parent: its instruction stands before the sets of every other order; it may show reasoning itself.
        orders: in which train is dealt.
        dev: its first rows tell whether the model reasons; what is right of train then shows its reasoning.
        shots: how many; `auto`: three sizes of an order, two behind the instruction.

    Raises:
        BudgetExhausted: before the call that does not fit.
    """
    bare = replace(parent, demos=())
    if not _has_place(problem, bare, shots):
        return []
    sizes = _sizes(problem, shots)
    race = _Race(problem, dev, _shown(problem, parent, dev, 2 * max(sizes)), sizes)
    return _recorded(problem, _by_turns(race, bare, orders), parent)


def say_fewer(problem: Problem, found: Sequence[Prompt], shots: Literal["auto"] | int) -> None:
    """Say that prompts show fewer worked examples than a setting asks for; nothing where it asks for no number."""
    most = max((len(each.demos) for each in found), default=0)
    if shots != "auto" and most < shots:
        problem.note(f"prompts show {most} worked examples, not {shots}: layout, train or context has room for no more")


def _has_place(problem: Problem, parent: Prompt, shots: Literal["auto"] | int) -> bool:
    """Return whether worked examples are wanted and one fits behind an instruction; say so where a number is wanted."""
    fits = shots != 0 and any(problem.demos_that_fit(parent, [each.demo]) for each in _from_data(problem))
    if not fits:
        say_fewer(problem, [], shots)
    return fits


def _by_turns(race: _Race, bare: Prompt, orders: int) -> list[Prompt]:
    """Return sets of worked examples, those of one order of train alone, of the next behind an instruction."""
    behind = replace(race, sizes=race.sizes[:2])
    return [each for n in range(orders) for each in (_nested(behind, bare) if n % 2 else _nested(race, Prompt("")))]


def _nested(race: _Race, parent: Prompt) -> list[Prompt]:
    """Return a prompt with the sets of one order of train, so many of their examples as fit."""
    order = list(_in_turn(race.problem, race.pool))
    fitting = (each.demo for each in order if race.problem.demos_that_fit(parent, [each.demo]))
    demos = list(islice(fitting, max(race.sizes)))
    room = race.problem.demos_that_fit(parent, demos)
    return [replace(parent, demos=tuple(demos[: min(n, room)])) for n in race.sizes if min(n, room, len(demos))]


def _first_race(race: _Race, seed: Prompt, sets: int) -> list[Prompt]:
    """Return at most `KEPT` prompts with examples, known on all of dev, the best first."""
    problem = race.problem
    versions = _recorded(problem, _by_turns(race, seed, sets), seed)
    first = Stages((race.n_first,), 0.0, max(KEPT, -(-len(versions) // _ADVANCING)), order=smooth_key)
    left = filter_in_stages(problem.evaluate, versions, race.dev, first)
    other = [replace(each, instruction="" if each.instruction else seed.instruction) for each in left]
    fitting = [each for each in other if problem.demos_that_fit(seed, each.demos) == len(each.demos)]
    both = list({each.id: each for each in (*left, *_recorded(problem, fitting, seed))}.values())
    return _in_order(problem.evaluate([each])[0] for each in race.select(both, race.dev, 2 * race.n_first, KEPT))


def _varied(race: _Race, best: Prompt) -> Prompt | None:
    """Return a variant of the best set that is better on all of dev, or as good and shorter; None where none is."""
    (first,) = race.select([best, *_others(race, best)], race.dev[::-1], race.n_first, 1)
    better = _in_order(race.problem.evaluate([best, first]))[0]
    return None if better == best else better


def swapped(problem: Problem, best: Prompt, shots: Literal["auto"] | int) -> list[Prompt]:
    """Return variants of a prompt's worked examples, recorded: others of the same answers, and another order.

    With `auto` also more and fewer. None where it has no examples. Those that are not from the data as it stands, such
    as reasoned ones, are only left out and put in another order.
    """
    pool = _from_data(problem)
    if not best.demos:
        return []
    if any(all(each.demo != demo for each in pool) for demo in best.demos):
        pool = [_Solved(Example("", demo.inputs, (demo.output,)), "", demo) for demo in best.demos]
    sizes = _sizes(problem, shots) if shots == "auto" else (len(best.demos),)
    return _others(_Race(problem, problem.dev, pool, sizes), best)


def _others(race: _Race, best: Prompt) -> list[Prompt]:
    """Return the variants of the best set that fit the context, recorded."""
    problem = race.problem
    in_set = [next(each for each in race.pool if each.demo == demo) for demo in best.demos]
    prompts = [replace(best, demos=tuple(each.demo for each in variant)) for variant in _variants(race, in_set)]
    alone = replace(best, demos=())
    fitting = [replace(each, demos=each.demos[: problem.demos_that_fit(alone, each.demos)]) for each in prompts]
    return [each for each in _recorded(problem, [each for each in fitting if each.demos], best) if each != best]


def _variants(race: _Race, chosen: _Set) -> Iterator[_Set]:
    """Yield other sets: three with other examples and one in another order; of `auto` also a larger and a smaller."""
    problem = race.problem
    others = [each for each in race.pool if each not in chosen]
    for _ in range(3):
        fresh, variant = list(_in_turn(problem, others)), list(chosen)
        for i in problem.rng.sample(range(len(chosen)), max(1, len(chosen) // _SWAPPED)):
            if other := next((each for each in fresh if each.answer == chosen[i].answer), None):
                fresh.remove(other)
                variant[i] = other
        yield variant
    yield problem.rng.sample(chosen, len(chosen))
    if len(race.sizes) > 1:
        yield [*chosen, *islice(_in_turn(problem, others), len(chosen))]
        yield chosen[: max(race.sizes[0], len(chosen) * 3 // 4)]


def _recorded(problem: Problem, prompts: Sequence[Prompt], parent: Prompt) -> list[Prompt]:
    """Return the prompts, each once."""
    unique = list({each.id: each for each in prompts}.values())
    problem.record([Candidate(each, "examples", (parent.id,), is_proposed=False) for each in unique])
    return unique


def _in_order(evaluations: Iterable[Evaluation]) -> list[Prompt]:
    """Return the prompts, best mean first, of equal ones the shorter first."""
    return [each.prompt for each in sorted(evaluations, key=lambda each: (-each.mean, size(each.prompt)))]


def _from_data(problem: Problem) -> list[_Solved]:
    """Return the train examples as they are in the data, the first of copies.

    None that dev has too: these show a prompt its answers.
    """
    asked, own = set(map(inputs_of, problem.dev)), {inputs_of(each): each for each in reversed(problem.train)}
    return [
        _Solved(each, each.targets[0] if problem.outputs else "", Demo(each.inputs, each.targets[0]))
        for each in problem.train
        if inputs_of(each) not in asked and own[inputs_of(each)] is each
    ]


def _shown(problem: Problem, seed: Prompt, dev: Sequence[Example], enough: int) -> list[_Solved]:
    """Return the train examples as they are shown: as in the data or, where the model reasons, as it came to them.

    Reasoning comes of train rows whose answers take turns, batch by batch until `enough` of them are right.
    """
    (first,) = problem.evaluate([seed], dev[:_FEW])
    if sum(map(_is_reasoned, first.outcomes)) * 2 <= len(first.outcomes):
        return _from_data(problem)
    found, order = list[_Solved](), list(_in_turn(problem, _from_data(problem)))
    for start in range(0, min(len(order), _BATCH * _BATCHES), _BATCH):
        batch = order[start : start + _BATCH]
        (evaluation,) = problem.evaluate([seed], [each.example for each in batch])
        found += [
            replace(each, demo=Demo(each.example.inputs, (outcome.completion or "").strip()))
            for each, outcome in zip(batch, evaluation.outcomes, strict=True)
            if outcome.score == 1.0 and _is_reasoned(outcome)
        ]
        if len(found) >= enough:
            break
    return found


def _is_reasoned(outcome: Outcome) -> bool:
    """Return whether the model wrote clearly more than its answer; what follows it on further lines is no reasoning."""
    answer, text = outcome.prediction or "", (outcome.completion or "").strip()
    return text.partition("\n")[0].strip() != answer and len(words(text)) >= len(words(answer)) + _REASONED


def _in_turn(problem: Problem, solved: Sequence[_Solved]) -> Iterator[_Solved]:
    """Yield examples in an order of chance in which different answers take turns while there are any left."""
    groups: defaultdict[str, _Set] = defaultdict(list)
    for each in problem.rng.sample(solved, len(solved)):
        groups[each.answer].append(each)
    for row in zip_longest(*groups.values()):
        turn = [each for each in row if each is not None]
        yield from problem.rng.sample(turn, len(turn))
