"""The model that writes prompts: asked, read, and its replies validated. Level 5."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Literal

from localprompt.errors import BudgetExhausted, ConfigError, ContextOverflow
from localprompt.lm.metered import MeteredLM
from localprompt.proposals.metaprompts import MetaPrompt
from localprompt.proposals.parsing import ReplyFormat
from localprompt.proposals.similarity import normalised
from localprompt.proposals.validation import (
    DIED,
    LeakCheck,
    Memory,
    filter_replies,
    restore_tag,
    retry_temperature,
    with_stop_and_grammar,
)
from localprompt.search.evaluator import TOKENS_BESIDE_BYTES
from localprompt.search.observer import Announcer, pluralize
from localprompt.types import Discard, Example, Exchange, Generation, Message, Proposal, Sampling

Style = Literal["auto", "raw", "chat"]
"""How a proposer is asked: with text to continue, or in a chat with the opening of the answer written already."""

TOO_LONG = "too long for the context"


class Proposer:
    """Writes prompts, charged to the budget of its `Problem`, which makes it.

    Args:
        lm: the model.
        train: examples that no instruction may copy.
        outputs: the closed set of outputs, which no instruction may be.
        rng: the only source of chance.
        known: returns the instructions that there are already.
        fits: whether an instruction fits the task LM's context with every example of dev.
        announcer: told what is asked, replied and discarded.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        lm: MeteredLM,
        train: tuple[Example, ...],
        outputs: tuple[str, ...],
        *,
        rng: random.Random,
        known: Callable[[], Iterable[str]],
        fits: Callable[[str], bool],
        announcer: Announcer,
    ) -> None:
        self.discards: Counter[str] = Counter()
        """Reason to number of proposals not used."""
        self._lm = lm
        self._train = train
        self._outputs = outputs
        self._rng = rng
        self._known = known
        self._fits = fits
        self._announcer = announcer
        self._rejected: dict[str, None] = {}
        """Proposals discarded so far, normalised, in order."""

    @property
    def has_chat(self) -> bool:
        """True if the proposer has a chat template."""
        return self._lm.lm.has_chat

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
        return self._lm.lm.has_fim

    def complete(self, prompts: Sequence[str], sampling: Sampling, *, n: int = 1) -> list[list[Generation]]:
        """Return `n` completions of each prompt by the proposer, same order and length as `prompts`.

        Each completion has its own seed, drawn from the generator of the search. A text cut at `max_tokens`
        has finish reason `length`.

        Raises:
            BudgetExhausted: before anything is computed.
        """
        self._announcer.stage(f"asking the proposer for {pluralize(len(prompts) * n, 'text')}")
        repeated = [prompt for prompt in prompts for _ in range(n)]
        seeds = [self._rng.getrandbits(31) for _ in repeated]
        flat = self._lm.generate(repeated, sampling, seeds)
        self._announcer.spend(self._lm.spend)
        replies = [flat[start : start + n] for start in range(0, len(flat), n)]
        self._announcer.exchanges(
            [
                Exchange(str(prompt), tuple(reply.text for reply in group))
                for prompt, group in zip(prompts, replies, strict=True)
            ]
        )
        return replies

    def propose(  # noqa: PLR0913 - one request
        self,
        prompts: Sequence[str],
        reading: ReplyFormat | Sequence[ReplyFormat],
        sampling: Sampling,
        fixed: str,
        *,
        n: int = 1,
        objection: Callable[[str, int], str] | None = None,
    ) -> list[Proposal]:
        """Return new instructions that the proposer wrote, one `Proposal` a prompt, same order and length as `prompts`.

        Of each prompt `n` replies are asked for, read and validated (`validation.filter_replies`). An instruction is
        new if it is no near-duplicate of a candidate of this search, of another one in this call, or of anything
        discarded before. A prompt none of whose replies was usable is asked once more with new seeds and a higher
        temperature, if the budget has room for that, unless it killed the engine. Discards are counted already. The
        accepted ones are not recorded: that is for whoever knows their parents.

        Replies of one line or paragraph, or after an open tag, are bound to a grammar where the proposer can, so that
        none begins with the line break that would end it.

        Args:
            prompts: rendered, as from `chat`, or raw text.
            reading: how the replies are read; one for all prompts or one a prompt. Where all prompts end in the opening
                of the same tag, the closing one ends the replies.
            sampling: of every reply.
            fixed: the text of the meta-prompt without its slots; an instruction must not repeat it.
            n: replies per prompt.
            objection: the method's own test of a usable text, given with the index of the prompt that it answers. A
                reason discards it; it may still be right as the answer to another prompt, so it is not remembered.

        Raises:
            BudgetExhausted: before the replies are computed; before the second ones only if nothing was accepted.
            ValueError: if there are not as many readings as prompts.
        """
        readings = [reading] * len(prompts) if isinstance(reading, ReplyFormat) else list(reading)
        if len(readings) != len(prompts):
            raise ValueError(f"{len(readings)} readings for {len(prompts)} prompts")
        memory = Memory(self._known(), self._rejected)
        forbidden = LeakCheck(self._train, self._outputs, fixed)
        own: set[Discard] = set()

        def refused(index: int, text: str) -> str:
            reason = objection(text, index) if objection else ""
            if reason:
                own.add(Discard(text, reason))
            return reason or ("" if self._fits(text) else TOO_LONG)

        def ask(asked: Sequence[int], sampling: Sampling) -> list[Proposal]:
            if not asked:
                return []
            grammar = self._lm.lm.supports_grammar
            sampling = with_stop_and_grammar(sampling, [(prompts[i], readings[i]) for i in asked], grammar=grammar)
            replies = self.complete([prompts[i] for i in asked], sampling, n=n)
            found = [
                filter_replies(
                    restore_tag(group, readings[i], sampling), readings[i], forbidden, memory, partial(refused, i)
                )
                for i, group in zip(asked, replies, strict=True)
            ]
            self.discard([each for proposal in found for each in proposal.discarded], forget=own)
            return found

        proposals = ask(range(len(prompts)), sampling)
        # What killed the engine would kill it again.
        unproductive = [i for i, proposal in enumerate(proposals) if not proposal.accepted]
        lost = [i for i in unproductive if any(discard.reason != DIED for discard in proposals[i].discarded)]
        try:
            again = ask(lost, replace(sampling, temperature=retry_temperature(sampling.temperature)))
        except BudgetExhausted:
            if len(unproductive) == len(prompts):
                raise
            return proposals  # what is left of the budget is better spent on scoring them
        for i, second in zip(lost, again, strict=True):
            proposals[i] = Proposal(second.accepted, (*proposals[i].discarded, *second.discarded))
        return proposals

    def room_to_reword(self, texts: Sequence[str], least: int) -> int:
        """Return tokens for a reply that says any of `texts` anew: half as many again as the longest, or `least`."""
        return max(least, *(math.ceil(1.5 * n) for n in self._lm.lm.count_tokens(texts)))

    def first_fitting(self, versions: Iterable[str], max_tokens: int) -> str:
        """Return the first of `versions` that fits the proposer's context together with `max_tokens` to generate.

        Args:
            versions: rendered prompts from the richest to the poorest; those after the first that fits are not made.
            max_tokens: of the reply.

        Raises:
            ContextOverflow: if none of them fits.
        """
        room = self._lm.lm.n_ctx - max_tokens
        n_tokens = 0
        for version in versions:
            if len(version.encode("utf-8", "replace")) + TOKENS_BESIDE_BYTES <= room:
                return version
            (n_tokens,) = self._lm.lm.count_tokens([version])
            if n_tokens <= room:
                return version
        raise ContextOverflow(
            f"a request to the proposer has {n_tokens} tokens at its shortest, and {max_tokens} to generate; its "
            f"context has {self._lm.lm.n_ctx}",
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
        return self._lm.lm.chat(messages, opening)

    def fim(self, prefix: str, suffix: str) -> str:
        """Return a prompt for `complete` whose completion stands between `prefix` and `suffix`.

        Raises:
            ModelError: if the proposer has no fill-in-the-middle tokens.
        """
        return self._lm.lm.fim(prefix, suffix)

    def discard(self, discarded: Sequence[Discard], forget: AbstractSet[Discard] = frozenset()) -> None:
        """Count what was not used, and remember it but for what is in `forget`: `propose` does not accept it again."""
        if not discarded:
            return
        self.discards.update(each.reason for each in discarded)
        # What was cut off by the token limit may come back whole.
        remembered = (each for each in discarded if each.reason != "truncated" and each not in forget)
        self._rejected.update((text, None) for each in remembered if (text := normalised(each.text)))
        self._announcer.discards(discarded)
