"""All that an optimiser may touch. Level 4. There is no test split here, by construction."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Literal

from localprompt.errors import BudgetExhausted, ConfigError, ContextOverflow, OutOfAnswers, OutOfTime
from localprompt.evaluator import TOKENS_BESIDE_BYTES, Evaluator, Norm
from localprompt.lm.metered import MeteredLM
from localprompt.metaprompts import MetaPrompt
from localprompt.observing import Journal, Journalled, Observer, SilentJournal, SilentObserver
from localprompt.proposing import DIED, Forbidden, Memory, closed, resealed, sift, warmer
from localprompt.replies import Reading
from localprompt.standings import Standing, Standings
from localprompt.tasks import Task
from localprompt.tasks.data import mixed
from localprompt.types import (
    Candidate,
    Discard,
    Evaluation,
    Example,
    Generation,
    Message,
    Prompt,
    Proposal,
    Sampling,
)
from localprompt.wording import normalised

Style = Literal["auto", "raw", "chat"]
"""How a proposer is asked: with text to continue, or in a chat with the opening of the answer written already."""

_MOST_OUTPUTS = 6
"""More different targets are no closed set."""
TOO_LONG = "too long for the context"


class Problem:
    """A task as its optimiser sees it: train and dev examples, a model that answers, a model that writes, and chance.

    Every score, discard and lineage that passes through is kept, so that an optimiser returns nothing and a run cut
    short has its results.

    Args:
        task: only labels, inputs, seeds, train and dev are taken from it.
        evaluator: the task LM.
        proposer: writes prompts, charged to the same budget as the evaluator.
        rng: the only source of chance.
        observer: told what happens.
        journal: keeps what is found.
        is_rehearsal: the answers are made up, to see what a search would cost; nothing may be concluded from them.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        task: Task,
        evaluator: Evaluator,
        proposer: MeteredLM,
        *,
        rng: random.Random,
        observer: Observer | None = None,
        journal: Journal | None = None,
        is_rehearsal: bool = False,
    ) -> None:
        self.labels = task.labels
        self.inputs = task.inputs
        self.seeds = task.seeds
        self.train = task.train
        self.dev = task.dev
        self.rng = rng
        self.is_rehearsal = is_rehearsal
        observer = observer or SilentObserver()
        self.observer: Observer = Journalled(observer, journal) if journal else observer
        self._journal: Journal = journal or SilentJournal()
        self.discards: Counter[str] = Counter()
        """Reason to number of proposals not used."""
        self._layout = task.layout
        self._evaluator = evaluator
        self._proposer = proposer
        self._longest = max(task.dev, key=_n_bytes, default=None)
        self._standings = Standings(task.seeds, task.dev)
        self._rejected: dict[str, None] = {}
        """Proposals discarded so far, normalised, in order."""
        self._announced: tuple[str, int] | None = None
        self.record([Candidate(prompt, "seed") for prompt in task.seeds])

    @property
    def has_chat(self) -> bool:
        """True if the proposer has a chat template."""
        return self._proposer.lm.has_chat

    def chats(self, style: Style) -> bool:
        """Return whether the proposer is asked in a chat: with `auto` where it has a template for one.

        Raises:
            ConfigError: if it must be and has none.
        """
        if style == "chat" and not self.has_chat:
            raise ConfigError("style=chat needs a proposer with a chat template that can be used", "use style=raw")
        return self.has_chat and style != "raw"

    @property
    def has_fim(self) -> bool:
        """True if the proposer's vocabulary has fill-in-the-middle tokens."""
        return self._proposer.lm.has_fim

    @property
    def is_limited(self) -> bool:
        """True if the budget limits tokens or calls."""
        return self._proposer.is_limited

    @property
    def outputs(self) -> tuple[str, ...]:
        """The closed set of outputs, sorted; empty where there is none.

        The labels, or the targets of train where it has at most 6 different ones and each at least five times on
        average. A few examples rarely show that the outputs are a fixed set, and a prompt that does not name them
        scores 0 under an exact match.
        """
        if self.labels:
            return tuple(sorted(self.labels))
        found = {example.targets[0] for example in self.train}
        is_closed = 2 <= len(found) <= _MOST_OUTPUTS and len(self.train) >= 5 * len(found)
        return tuple(sorted(found)) if is_closed else ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All prompts recorded or scored, in order of appearance."""
        return self._standings.candidates

    def evaluate(self, prompts: Sequence[Prompt], examples: Sequence[Example] | None = None) -> list[Evaluation]:
        """Return the task's metric on `examples` (all of dev by default), same order and length as `prompts`.

        A prompt that is too long for the context with one of them scores 0 there, is counted as discarded, and cannot
        win.

        Raises:
            BudgetExhausted: before anything is computed; calibrated labels may have had their content-free inputs.
        """
        evaluations = self._evaluator.evaluate(prompts, self.dev if examples is None else examples)
        self.record([Candidate(evaluation.prompt, "evaluated") for evaluation in evaluations])
        self._journal.evaluations("metric", evaluations)
        self._refuse_too_long(evaluations)
        for evaluation in evaluations:
            self._standings.add(evaluation)
        self._announce()
        return evaluations

    def likelihood(
        self, prompts: Sequence[Prompt], examples: Sequence[Example] | None = None, *, norm: Norm = "token"
    ) -> list[Evaluation]:
        """Return log p(preferred target) in nats on `examples` (all of dev by default), in the order of `prompts`.

        Raises:
            BudgetExhausted: before anything is computed.
        """
        evaluations = self._evaluator.likelihood(prompts, self.dev if examples is None else examples, norm=norm)
        self._journal.evaluations(f"likelihood {norm}", evaluations)
        self._refuse_too_long(evaluations)
        self.observer.spend(self._proposer.spend)
        return evaluations

    def complete(self, prompts: Sequence[str], sampling: Sampling, *, n: int = 1) -> list[list[Generation]]:
        """Return `n` completions of each prompt by the proposer, same order and length as `prompts`.

        Each completion has its own seed, drawn from `rng`. A text cut at `max_tokens` has finish reason `length`.

        Raises:
            BudgetExhausted: before anything is computed.
        """
        repeated = [prompt for prompt in prompts for _ in range(n)]
        seeds = [self.rng.getrandbits(31) for _ in repeated]
        flat = self._proposer.generate(repeated, sampling, seeds)
        self.observer.spend(self._proposer.spend)
        return [flat[start : start + n] for start in range(0, len(flat), n)]

    def propose(  # noqa: PLR0913 - one request
        self,
        prompts: Sequence[str],
        reading: Reading | Sequence[Reading],
        sampling: Sampling,
        fixed: str,
        *,
        n: int = 1,
        objection: Callable[[str, int], str] | None = None,
    ) -> list[Proposal]:
        """Return new instructions that the proposer wrote, one `Proposal` a prompt, same order and length as `prompts`.

        Of each prompt `n` replies are asked for, read and validated (`proposing.sift`). An instruction is new if it
        is no near-duplicate of a candidate of this problem, of another one in this call, or of anything discarded
        before. A prompt none of whose replies was usable is asked once more with new seeds and `warmer`, if the budget
        has room for that, unless it killed the engine. Discards are counted already. The accepted ones are not
        recorded: that is for whoever knows their parents.

        Replies of one line or paragraph, or after an open tag, are bound to a grammar where the proposer can, so that
        none begins with the line break that would end it.

        Args:
            prompts: rendered, as from `chat`, or raw text.
            reading: how the replies are read; one for all prompts or one a prompt. Where all prompts end in the opening
                of the same tag, the closing one ends the replies.
            sampling: of every reply.
            fixed: the text of the meta-prompt without its slots; an instruction must not repeat it.
            n: replies a prompt.
            objection: the method's own test of a usable text, given with the index of the prompt that it answers. A
                reason discards it; it may still be right as the answer to another prompt, so it is not remembered.

        Raises:
            BudgetExhausted: before the replies are computed; before the second ones only if nothing was accepted, or
                for want of time.
            ValueError: if there are not as many readings as prompts.
        """
        readings = [reading] * len(prompts) if isinstance(reading, Reading) else list(reading)
        if len(readings) != len(prompts):
            raise ValueError(f"{len(readings)} readings for {len(prompts)} prompts")
        memory = Memory((each.prompt.instruction for each in self.candidates), self._rejected)
        forbidden = Forbidden(self.train, self.outputs, fixed)
        own: set[Discard] = set()

        def refused(index: int, text: str) -> str:
            reason = objection(text, index) if objection else ""
            if reason:
                own.add(Discard(text, reason))
            return reason or ("" if self._fits(text) else TOO_LONG)

        def ask(asked: Sequence[int], sampling: Sampling) -> list[Proposal]:
            if not asked:
                return []
            grammar = self._proposer.lm.supports_grammar
            sampling = closed(sampling, [(prompts[i], readings[i]) for i in asked], grammar=grammar)
            replies = self.complete([prompts[i] for i in asked], sampling, n=n)
            found = [
                sift(resealed(group, readings[i], sampling), readings[i], forbidden, memory, partial(refused, i))
                for i, group in zip(asked, replies, strict=True)
            ]
            self._count([each for proposal in found for each in proposal.discarded], forget=own)
            return found

        proposals = ask(range(len(prompts)), sampling)
        # What killed the engine would kill it again.
        barren = [i for i, proposal in enumerate(proposals) if not proposal.accepted]
        lost = [i for i in barren if any(discard.reason != DIED for discard in proposals[i].discarded)]
        try:
            again = ask(lost, replace(sampling, temperature=warmer(sampling.temperature)))
        except (OutOfTime, OutOfAnswers):
            raise
        except BudgetExhausted:
            if len(barren) == len(prompts):
                raise
            return proposals  # what is left of the budget is better spent on scoring them
        for i, second in zip(lost, again, strict=True):
            proposals[i] = Proposal(second.accepted, (*proposals[i].discarded, *second.discarded))
        return proposals

    def shown(self, prompt: Prompt, inputs: Mapping[str, str]) -> str:
        """Return what the task LM sees of `prompt` on `inputs`, as plain text to be shown to a proposer.

        Raises:
            TaskError: if an input slot has no value, or the prompt has demos and the layout no slot for them.
        """
        rendering = self._layout.render(prompt, inputs)
        parts = (rendering.text, *(message.content for message in rendering.messages), rendering.opening)
        return "\n\n".join(part for part in parts if part.strip())

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens of the proposer each text has, same order and length as `texts`."""
        return self._proposer.lm.count_tokens(texts)

    def room_to_reword(self, texts: Sequence[str], least: int) -> int:
        """Return tokens for a reply that says any of `texts` anew: half as many again as the longest, or `least`."""
        return max(least, *(math.ceil(1.5 * n) for n in self.count_tokens(texts)))

    def first_fitting(self, versions: Iterable[str], max_tokens: int) -> str:
        """Return the first of `versions` that fits the proposer's context together with `max_tokens` to generate.

        Args:
            versions: rendered prompts from the richest to the poorest; those after the first that fits are not made.
            max_tokens: of the reply.

        Raises:
            ContextOverflow: if none of them fits.
        """
        room = self._proposer.lm.n_ctx - max_tokens
        n_tokens = 0
        for version in versions:
            if len(version.encode("utf-8", "replace")) + TOKENS_BESIDE_BYTES <= room:
                return version
            (n_tokens,) = self.count_tokens([version])
            if n_tokens <= room:
                return version
        raise ContextOverflow(
            f"a request to the proposer has {n_tokens} tokens at its shortest, and {max_tokens} to generate; its "
            f"context has {self._proposer.lm.n_ctx}",
            "raise n_ctx with --engine n_ctx=..., or show fewer or shorter examples",
        )

    def request(self, template: MetaPrompt, **values: str) -> str:
        """Return a filled meta-prompt as a prompt for `complete`: as a chat if it is one for a chat, else as it is.

        Raises:
            ModelError: if it is one for a chat and the proposer has no chat template.
        """
        if not template.is_chat:
            return template.fill(**values)
        user, opening = template.turns
        return self.chat([Message("user", user.fill(**values))], opening)

    def chat(self, messages: Sequence[Message], opening: str = "") -> str:
        """Return a chat as a prompt for `complete`, up to and including the opening of the answer.

        Raises:
            ModelError: if the proposer has no chat template.
        """
        return self._proposer.lm.chat(messages, opening)

    def fim(self, prefix: str, suffix: str) -> str:
        """Return a prompt for `complete` whose completion stands between `prefix` and `suffix`.

        Raises:
            ModelError: if the proposer has no fill-in-the-middle tokens.
        """
        return self._proposer.lm.fim(prefix, suffix)

    def minibatch(self, size: int) -> tuple[Example, ...]:
        """Return `size` different train examples, or all of them, shuffled, where there are fewer."""
        return tuple(self.rng.sample(self.train, min(size, len(self.train))))

    def shuffled_dev(self) -> list[Example]:
        """Return dev shuffled, of a task with labels so that every piece of it holds each in proportion.

        A prompt that gives one label to everything must not win the first six examples because they lack the others,
        and not gain or lose by seeing more: races compare prompts that have seen different numbers of examples.
        """
        return self._shuffled(self.dev)

    def shuffled_train(self) -> list[Example]:
        """Return train shuffled as `shuffled_dev` shuffles dev."""
        return self._shuffled(self.train)

    def _shuffled(self, examples: Sequence[Example]) -> list[Example]:
        if self.labels:
            return mixed(examples, lambda example: example.targets[0], self.rng)
        return self.rng.sample(examples, len(examples))

    def record(self, candidates: Sequence[Candidate]) -> None:
        """Remember where prompts come from; the first origin of a prompt stays."""
        if new := self._standings.record(candidates):
            self._journal.candidates(new)

    def discard(self, proposal: Proposal) -> None:
        """Count what a proposal had to leave out, and remember it: `propose` does not accept it again."""
        self._count(proposal.discarded)

    def settle(self) -> None:
        """Measure the most promising prompts on all of dev, one after the other, with what the budget has left.

        For a search that the budget cut off: the call that did not fit may have been a large one, and of its last
        prompts only scores on a few examples are known. Where nothing was scored at all, everything is first, on as
        many of 8, 4, 2 or 1 examples as the budget allows.

        Raises:
            BudgetExhausted: before the first prompt that does not fit.
        """
        if self.winner().evaluation is None and len(self.candidates) > 1:
            self._compare_on_few()
        while promising := self._standings.most_promising():
            self.evaluate([promising])

    def winner(self) -> Standing:
        """Return the best prompt on dev, as `Standings.winner`."""
        return self._standings.winner()

    def finalists(self) -> list[Standing]:
        """Return the prompts scored on the most dev examples, in order of appearance."""
        return self._standings.finalists()

    def best_seed(self) -> Standing:
        """Return the best of the seed prompts on dev."""
        return self._standings.best_seed()

    def _compare_on_few(self) -> None:
        prompts, dev = [candidate.prompt for candidate in self.candidates], self.shuffled_dev()
        for n in (8, 4, 2, 1):
            try:
                self.evaluate(prompts, dev[:n])
            except (OutOfTime, OutOfAnswers):
                raise
            except BudgetExhausted:
                continue
            return

    def _count(self, discarded: Sequence[Discard], forget: AbstractSet[Discard] = frozenset()) -> None:
        if not discarded:
            return
        self.discards.update(each.reason for each in discarded)
        # What was cut off by the token limit may come back whole.
        remembered = (each for each in discarded if each.reason != "truncated" and each not in forget)
        self._rejected.update((text, None) for each in remembered if (text := normalised(each.text)))
        self._journal.discards(discarded)

    def _fits(self, instruction: str) -> bool:
        """Return whether the longest dev example, by bytes, fits the context with an instruction."""
        return self._longest is None or self._evaluator.fits(Prompt(instruction), self._longest)

    def _refuse_too_long(self, evaluations: Sequence[Evaluation]) -> None:
        """Discard, once, the prompts that do not fit the context with some example of dev.

        A training example may be too long for any prompt, and then it is no fault of theirs.
        """
        long = [each for each in evaluations if self._evaluator.overflowed(each) and self._standings.covers(each)]
        self._count(
            [Discard(each.prompt.instruction, TOO_LONG) for each in long if self._standings.refuse(each.prompt.id)]
        )

    def _announce(self) -> None:
        self.observer.spend(self._proposer.spend)
        evaluation = self.winner().evaluation
        if evaluation is None or (evaluation.prompt.id, len(evaluation.outcomes)) == self._announced:
            return
        self._announced = evaluation.prompt.id, len(evaluation.outcomes)
        self.observer.best(evaluation.prompt, evaluation.mean, len(evaluation.outcomes))


def _n_bytes(example: Example) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in example.inputs.values())
