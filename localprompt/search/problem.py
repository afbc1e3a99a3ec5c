"""All that an optimiser may touch. Level 5. There is no test split here, by construction."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace

from localprompt.lm.metered import MeteredLM
from localprompt.proposals.validation import LeakCheck
from localprompt.search.evaluator import Evaluator, Norm
from localprompt.search.observer import Announcer, pluralize
from localprompt.search.proposer import REFUSED, Proposer, id_of_demos
from localprompt.search.ranking import Ranking
from localprompt.tasks import Task
from localprompt.tasks.copies import inputs_of
from localprompt.tasks.data import in_proportion
from localprompt.types import Candidate, Demo, Discard, Evaluation, Example, Prompt

_MOST_OUTPUTS = 6
"""More different targets are no closed set."""


class Problem:
    """A task as its optimiser sees it: train and dev examples, a model that answers, a model that writes, and chance.

    Every score, discard and lineage that passes through is kept, so that an optimiser returns nothing and a run cut
    short has its results.

    Args:
        task: only labels, inputs, layout, seeds, train and dev are taken from it; of train no copies of test rows,
            which would show the answers that are tested.
        evaluator: the task LM.
        proposer: writes prompts, charged to the same budget as the evaluator.
        rng: the only source of chance.
        warm: prompts to begin with beside the task's seeds.
        announcer: told what happens and what is found.
    """

    def __init__(  # noqa: PLR0913 - made in two places
        self,
        task: Task,
        evaluator: Evaluator,
        proposer: MeteredLM,
        *,
        rng: random.Random,
        warm: Sequence[Prompt] = (),
        announcer: Announcer | None = None,
    ) -> None:
        self.seeds = tuple({prompt.id: prompt for prompt in (*task.seeds, *warm)}.values())
        """What a search begins with, each once; of these only the task's own are what a winner has to beat."""
        tested = set(map(inputs_of, task.test))
        self.train = tuple(each for each in task.train if inputs_of(each) not in tested)
        self.dev = task.dev
        self.rng = rng
        self.is_rehearsal = False
        """True where the answers are made up, to see what a search would cost: nothing may be concluded from them."""
        self.outputs = _outputs(task)
        """The closed set of outputs, sorted; empty where there is none."""
        self.ranking = Ranking(task.seeds, task.dev)
        """Who is ahead on dev."""
        self._labels = task.labels
        self._inputs = task.inputs
        self._layout = task.layout
        self._evaluator = evaluator
        self._lm = proposer
        self._seen: dict[str, None] = {}
        """Ids of examples that were scored or drawn."""
        self._announcer = announcer or Announcer()
        self._longest = max(task.dev, key=_n_bytes, default=None)
        self.proposer = Proposer(
            proposer,
            LeakCheck(task.train, self.outputs, seeds="\n".join(each.instruction for each in self.seeds)),
            rng=rng,
            known=lambda: (each.prompt for each in self.ranking.candidates),
            fits=self._fits,
            announcer=self._announcer,
        )
        self.record([Candidate(prompt, "seed", is_proposed=False) for prompt in task.seeds])
        self.record([Candidate(prompt, "warm", is_proposed=False) for prompt in warm])

    def evaluate(
        self, prompts: Sequence[Prompt], examples: Sequence[Example] | None = None, evaluator: Evaluator | None = None
    ) -> list[Evaluation]:
        """Return the task's metric on `examples` (all of dev by default), same order and length as `prompts`.

        A prompt that is too long for the context with one of them scores 0 there, is counted as discarded, and cannot
        win.

        Args:
            prompts: that are compared.
            examples: of train or dev.
            evaluator: charged to another budget; by default the search's own.

        Raises:
            BudgetExhausted: before anything is computed.
        """
        examples = self._used(self.dev if examples is None else examples)
        self._announcer.stage(f"scoring {pluralize(len(prompts), 'prompt')} on {self._named(examples)}")
        evaluator = evaluator or self._evaluator
        evaluations = evaluator.evaluate(prompts, examples)
        self._announcer.spend(self._lm.spend)
        self.record([Candidate(evaluation.prompt, "evaluated") for evaluation in evaluations])
        self._announcer.evaluations("metric", evaluations)
        self._refuse_too_long(evaluations, evaluator)
        for evaluation in evaluations:
            self.ranking.add(evaluation)
        if new := self.ranking.lead(self._lm.spend):
            self._announcer.best(new.prompt, new.mean, len(new.outcomes))
        return evaluations

    def likelihood(
        self, prompts: Sequence[Prompt], examples: Sequence[Example] | None = None, *, norm: Norm = "token"
    ) -> list[Evaluation]:
        """Return log p(preferred target) in nats on `examples` (all of dev by default), in the order of `prompts`.

        Raises:
            Unscored: if the task LM tells none.
            BudgetExhausted: before anything is computed.
        """
        examples = self._used(self.dev if examples is None else examples)
        what = f"the likelihood of answers under {pluralize(len(prompts), 'prompt')}"
        self._announcer.stage(f"measuring {what} on {self._named(examples)}")
        evaluations = self._evaluator.likelihood(prompts, examples, norm=norm)
        self._announcer.spend(self._lm.spend)
        self._announcer.evaluations(f"likelihood {norm}", evaluations)
        self._refuse_too_long(evaluations, self._evaluator)
        return evaluations

    def shown(self, prompt: Prompt, inputs: Mapping[str, str] | None = None) -> str:
        """Return what the task LM sees of `prompt` on `inputs`, as plain text to be shown to a proposer.

        Without inputs their places are marked by their names, as `<input>`.

        Raises:
            TaskError: if an input slot has no value, or the prompt has demos and the layout no slot for them.
        """
        inputs = {name: f"<{name}>" for name in self._inputs} if inputs is None else inputs
        rendering = self._layout.render(prompt, inputs)
        parts = (rendering.text, *(message.content for message in rendering.messages), rendering.opening)
        return "\n\n".join(part for part in parts if part.strip())

    def minibatch(self, size: int, asking: Sequence[Prompt] = ()) -> tuple[Example, ...]:
        """Return `size` different train examples, or all of them, shuffled, where there are fewer.

        Args:
            size: how many.
            asking: prompts that will be asked them; what one shows is left out, as `not_shown` does.
        """
        rows = not_shown(self.train, asking)
        return tuple(self._used(self.rng.sample(rows, min(size, len(rows)))))

    @property
    def unseen(self) -> tuple[Example, ...]:
        """Train examples that the search has not scored or drawn, and no copies of such: what is left to choose by."""
        seen = {inputs_of(example) for example in (*self.train, *self.dev) if example.id in self._seen}
        return tuple(example for example in self.train if inputs_of(example) not in seen)

    def _used(self, examples: Sequence[Example]) -> Sequence[Example]:
        self._seen.update(dict.fromkeys(example.id for example in examples))
        return examples

    def shuffled(self, examples: Sequence[Example]) -> list[Example]:
        """Return dev or train shuffled, of a task with labels so that every piece of it holds each in proportion.

        A prompt that gives one label to everything must not win the first six examples because they lack the others,
        and not gain or lose by seeing more: races compare prompts that have seen different numbers of examples.
        """
        return in_proportion(examples, self.rng, has_labels=bool(self._labels))

    def record(self, candidates: Sequence[Candidate]) -> None:
        """Remember where prompts come from; the first origin of a prompt stays."""
        if new := self.ranking.record(candidates):
            self._announcer.candidates(new)

    def begin(self, part: str) -> None:
        """Say which part of the search begins, such as `round 2 of 3`: what is done in it is told with this before."""
        self._announcer.begin(part)

    def note(self, text: str) -> None:
        """Say something worth reading, such as why the search ends before its last round."""
        self._announcer.note(text)

    def demos_that_fit(self, prompt: Prompt, demos: Sequence[Demo]) -> int:
        """Return how many of `demos`, from the first on, a prompt has room for behind those that it has.

        So many fit the context together with the longest example of dev and its answer. 0 where the task's layout has
        no slot for them. Tokenises and computes nothing, so the budget is not charged.
        """
        if not self._layout.has_demos:
            return 0

        def is_too_long(n: int) -> bool:
            return not self._fits(replace(prompt, demos=(*prompt.demos, *demos[:n])))

        return bisect_left(range(1, len(demos) + 1), True, key=is_too_long)

    def _fits(self, prompt: Prompt) -> bool:
        """Return whether the longest dev example, by bytes, fits the context with a prompt."""
        return self._longest is None or self._evaluator.fits(prompt, self._longest)

    def _refuse_too_long(self, evaluations: Sequence[Evaluation], evaluator: Evaluator) -> None:
        """Discard, once, the prompts that do not fit the context with some example of dev.

        A training example may be too long for any prompt, and then it is no fault of theirs.
        """
        for each in evaluations:
            is_long = evaluator.overflowed(each) and self.ranking.covers(each)
            if is_long and self.ranking.refuse(each.prompt.id):
                self.proposer.discard([Discard(each.prompt.instruction, REFUSED)], beside=id_of_demos(each.prompt))

    def _named(self, examples: Sequence[Example]) -> str:
        if len(examples) == len(self.dev) and examples[0].id.startswith("dev:"):
            return "all of dev"
        return pluralize(len(examples), f"{examples[0].id.partition(':')[0]} example") if examples else "nothing"


def not_shown(rows: Sequence[Example], prompts: Sequence[Prompt]) -> list[Example]:
    """Return the rows that none of the prompts shows with its answer, which it then knows; all where there is none."""
    shown = [demo.inputs for prompt in prompts for demo in prompt.demos]
    return [row for row in rows if row.inputs not in shown] or list(rows)


def _outputs(task: Task) -> tuple[str, ...]:
    """Return the labels, or the targets of train where they are few, each five times or more on average; else nothing.

    A few examples rarely show that the outputs are a fixed set, and a prompt that does not name them scores 0 under an
    exact match.
    """
    if task.labels:
        return tuple(sorted(task.labels))
    found = {example.targets[0] for example in task.train}
    is_closed = 2 <= len(found) <= _MOST_OUTPUTS and len(task.train) >= 5 * len(found)
    return tuple(sorted(found)) if is_closed else ()


def _n_bytes(example: Example) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in example.inputs.values())
