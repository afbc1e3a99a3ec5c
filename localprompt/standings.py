"""Which candidate leads on dev, by all that is known of them. Level 4, no model and no budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from localprompt.types import Candidate, Evaluation, Example, Prompt


@dataclass(frozen=True, slots=True)
class Standing:
    """A prompt and all that is known of it on dev."""

    candidate: Candidate
    evaluation: Evaluation | None
    """None where the budget ended before any prompt was scored."""

    @property
    def mean(self) -> float:
        """The mean score; 0 where none is known."""
        return self.evaluation.mean if self.evaluation else 0.0


class Standings:
    """All candidates in order of appearance, and their scores on dev.

    Args:
        seeds: the prompts that the task came with, at least one; recorded by whoever makes this.
        dev: evaluations on other examples are passed over.
    """

    def __init__(self, seeds: Sequence[Prompt], dev: Sequence[Example]) -> None:
        self._seeds = tuple(prompt.id for prompt in seeds)
        self._dev = {example.id: None for example in dev}
        self._candidates: dict[str, Candidate] = {}
        self._known: dict[str, Evaluation] = {}
        """Prompt id to its outcomes on dev so far, in the order of dev."""
        self._refused: dict[str, None] = {}

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All prompts recorded, in order of appearance."""
        return tuple(self._candidates.values())

    def record(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates that are new; the first origin of a prompt stays."""
        new = {each.prompt.id: each for each in reversed(candidates) if each.prompt.id not in self._candidates}
        found = list(reversed(new.values()))
        self._candidates.update((each.prompt.id, each) for each in found)
        return found

    def covers(self, evaluation: Evaluation) -> bool:
        """Return whether all its examples are of dev."""
        return all(outcome.example_id in self._dev for outcome in evaluation.outcomes)

    def add(self, evaluation: Evaluation) -> None:
        """Remember an evaluation beside what is known of the prompt: a race sees other examples each time."""
        prompt_id = evaluation.prompt.id
        if prompt_id in self._refused or not self.covers(evaluation):
            return
        before = self._known[prompt_id].outcomes if prompt_id in self._known else ()
        outcomes = {each.example_id: each for each in (*before, *evaluation.outcomes)}
        in_order = tuple(outcomes[example_id] for example_id in self._dev if example_id in outcomes)
        self._known[prompt_id] = replace(evaluation, outcomes=in_order)

    def refuse(self, prompt_id: str) -> bool:
        """Let a prompt not win, whatever it scored; return whether that is new."""
        is_new = prompt_id not in self._refused
        self._refused[prompt_id] = None
        self._known.pop(prompt_id, None)
        return is_new

    def winner(self) -> Standing:
        """Return the best prompt: highest mean, then a seed, then shorter, then earlier. Only finalists take part."""
        return self._first(tuple(self._candidates))

    def finalists(self) -> list[Standing]:
        """Return the prompts scored on the most dev examples, in order of appearance.

        The most is all of dev once a search got that far, so their comparison is paired.
        """
        return self._finalists(tuple(self._candidates))

    def best_seed(self) -> Standing:
        """Return the best of the seed prompts by the same rule."""
        return self._first(self._seeds)

    def most_promising(self) -> Prompt | None:
        """Return what deserves to be known on all of dev next; None where nothing does.

        That is the best so far, while it lacks examples, then the best seed, and then whatever has a higher mean on its
        few examples than the best has on all of dev, the highest first. A seed with words goes before them all: nobody
        should get a prompt for theirs that was never compared with it on more than a few examples.
        """
        best, seed = self.winner().evaluation, self.best_seed()
        n_of_seed = len(seed.evaluation.outcomes) if seed.evaluation else 0
        is_missing = n_of_seed < len(self._dev) and seed.candidate.prompt.id not in self._refused
        if is_missing and seed.candidate.prompt.instruction.strip():
            return seed.candidate.prompt
        if best is not None and len(best.outcomes) < len(self._dev):
            return best.prompt
        if is_missing:
            return seed.candidate.prompt
        if best is None:
            return None
        ahead = [each for each in self._known.values() if len(each.outcomes) < len(self._dev) and each.mean > best.mean]
        return max(ahead, key=lambda each: (each.mean, len(each.outcomes))).prompt if ahead else None

    def _first(self, ids: Sequence[str]) -> Standing:
        finalists = self._finalists(ids)
        if not finalists:
            return Standing(self._candidates[ids[0]], None)
        return min(finalists, key=rank)  # the first of equals: the earlier one

    def _finalists(self, ids: Sequence[str]) -> list[Standing]:
        known = [self._known[prompt_id] for prompt_id in ids if prompt_id in self._known]
        most = max((len(each.outcomes) for each in known), default=0)
        return [Standing(self._candidates[each.prompt.id], each) for each in known if len(each.outcomes) == most]


def preference(standing: Standing) -> tuple[bool, float, int]:
    """Return what decides between scores that cannot be told apart, lower first.

    A seed before the others, since nobody should change a prompt for nothing, and of seeds the better one, which is
    what a found prompt is compared with; then the shorter, which costs less.
    """
    is_seed = standing.candidate.op == "seed"
    return not is_seed, -standing.mean if is_seed else 0.0, size(standing.candidate.prompt)


def size(prompt: Prompt) -> int:
    """Return a prompt's length in characters, its demos included."""
    demos = sum(len(demo.output) + sum(map(len, demo.inputs.values())) for demo in prompt.demos)
    return len(prompt.instruction) + demos


def rank(standing: Standing) -> tuple[float, bool, float, int]:
    """Return what decides between scores as they stand, lower first: the mean, and of equals `preference`."""
    return -standing.mean, *preference(standing)
