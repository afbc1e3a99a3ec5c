"""The model that writes prompts: asked, read, and its replies validated. Level 5."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

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
from localprompt.types import Discard, Exchange, Generation, Message, Prompt, Proposal, Sampling

Style = Literal["auto", "raw", "chat"]
"""How a proposer is asked: with text to continue, or in a chat with the opening of the answer written already."""

_TOO_LONG = "too long for the context"
REFUSED = "too long for the context with an example of dev"
"""The reason where that came out when a prompt was scored: it had been accepted."""


def id_of_demos(prompt: Prompt) -> str:
    """Return an id of the worked examples of a prompt: equal ones have equal ids."""
    return replace(prompt, instruction="").id


NO_DEMOS = id_of_demos(Prompt(""))


@dataclass(frozen=True, slots=True)
class Request:
    """What a proposer is asked for a new instruction."""

    text: str
    """Rendered, as from `Proposer.chat`, or raw text."""
    reading: ReplyFormat
    """How the replies are read."""
    parent: Prompt
    """The prompt whose instruction is replaced; its worked examples stay."""

    @property
    def beside(self) -> str:
        """Which worked examples the new instruction stands beside: another id, another prompt."""
        return id_of_demos(self.parent)


_Asked = TypeVar("_Asked")


class Proposer:
    """Writes prompts, charged to the budget of its `Problem`, which makes it.

    Args:
        lm: the model.
        forbidden: what no instruction may say: examples of train, and the closed set of outputs alone.
        rng: the only source of chance.
        known: returns the prompts that there are already.
        fits: whether a prompt fits the task LM's context with every example of dev.
        announcer: told what is asked, replied and discarded.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        lm: MeteredLM,
        forbidden: LeakCheck,
        *,
        rng: random.Random,
        known: Callable[[], Iterable[Prompt]],
        fits: Callable[[Prompt], bool],
        announcer: Announcer,
    ) -> None:
        self.discards: Counter[str] = Counter()
        """Reason to number of proposals not used."""
        self._lm = lm
        self._forbidden = forbidden
        self._rng = rng
        self._known = known
        self._fits = fits
        self._announcer = announcer
        self._rejected: dict[str, dict[str, None]] = {}
        """Id of worked examples to the proposals discarded beside them so far, normalised, in order."""
        self._kinds: dict[str, str] = {}
        """Request to the name of its meta-prompt."""

    def seeded(self, rng: random.Random) -> Proposer:
        """Return this proposer with a chance of its own, and without memory of what was discarded.

        So what it writes does not depend on what was asked before. Its discards are counted here too.
        """
        other = copy(self)
        other._rng, other._rejected = rng, {}
        return other

    @property
    def is_limited(self) -> bool:
        """True if the budget limits tokens, calls or the time until the result."""
        return self._lm.is_limited

    @property
    def tokens_computed(self) -> int:
        """What the search has computed so far, with both models."""
        return self._lm.spend.tokens_computed

    @property
    def has_chat(self) -> bool:
        """True if the proposer has a chat template."""
        return self._lm.lm.facts.has_chat

    @property
    def can_score(self) -> bool:
        """True if `likelihood` has something to return; False for a model that only replies."""
        return self._lm.lm.facts.can_score

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
        return self._lm.lm.facts.has_fim

    def complete(
        self, prompts: Sequence[str], sampling: Sampling, *, n: int = 1, kind: str = ""
    ) -> list[list[Generation]]:
        """Return `n` completions of each prompt by the proposer, same order and length as `prompts`.

        Each completion has its own seed, drawn from the generator of the search. A text cut at `max_tokens`
        has finish reason `length`. `kind` names the requests for people, where `request` did not make them.

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
                Exchange(str(prompt), tuple(reply.text for reply in group), kind or self._kinds.get(str(prompt), ""))
                for prompt, group in zip(prompts, replies, strict=True)
            ]
        )
        return replies

    def likelihood(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return how probable each continuation is after its context, in nats, same order and length as `pairs`.

        Each pair counts as a call. Minus infinity where one killed the engine.

        Raises:
            BudgetExhausted, ContextOverflow: before anything is computed.
        """
        if not pairs:
            return []
        self._announcer.stage(f"asking the proposer how likely {pluralize(len(pairs), 'text')} are")
        found = self._lm.loglikelihood(pairs, calls=len(pairs))
        self._announcer.spend(self._lm.spend)
        return [-math.inf if each.failed else each.logprob for each in found]

    def propose(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        fixed: str,
        *,
        n: int = 1,
        objection: Callable[[str, Prompt], str] | None = None,
    ) -> list[Proposal]:
        """Return new instructions that the proposer wrote, one `Proposal` per request, same order and length.

        Of each request `n` replies are asked for, read and validated (`validation.filter_replies`). An instruction is
        new if it is no near-duplicate of that of a candidate with the same worked examples, of another one in this
        call, or of anything discarded before. A request none of whose replies was usable is asked once more with new
        seeds and a higher temperature, if the budget has room for that, unless it killed the engine. Discards are
        counted already. The accepted ones are not recorded: that is for whoever knows how they came about.

        Replies of one line or paragraph, or after an open tag, are bound to a grammar where the proposer can, so that
        none begins with the line break that would end it.

        Args:
            requests: where all of them end in the opening of the same tag, the closing one ends the replies.
            sampling: of every reply.
            fixed: the text of the meta-prompt without its slots; an instruction must not repeat it.
            n: replies per request.
            objection: the method's own test of a usable text, given with the parent. A reason discards the text; it may
                still be right as the answer to another request, so it is not remembered.

        Raises:
            BudgetExhausted: before the replies are computed; before the second ones only if nothing was accepted.
        """
        forbidden = replace(self._forbidden, meta_prompt=fixed)
        memories = self._memories(requests)

        def ask(asked: Sequence[Request], sampling: Sampling) -> list[Proposal]:
            grammar, own = self._lm.lm.facts.supports_grammar, set[Discard]()
            sampling = with_stop_and_grammar(sampling, [(each.text, each.reading) for each in asked], grammar=grammar)

            def refused(parent: Prompt, text: str) -> str:
                if reason := objection(text, parent) if objection else "":
                    own.add(Discard(text, reason))
                return reason or ("" if self._fits(replace(parent, instruction=text)) else _TOO_LONG)

            found = []
            for each, group in zip(asked, self.complete([each.text for each in asked], sampling, n=n), strict=True):
                replies, test = restore_tag(group, each.reading, sampling), partial(refused, each.parent)
                found.append(filter_replies(replies, each.reading, forbidden, memories[each.beside], test))
            for beside in memories:
                pairs = [pair for pair in zip(asked, found, strict=True) if pair[0].beside == beside]
                self.discard([each for _, proposal in pairs for each in proposal.discarded], beside=beside, forget=own)
            return found

        return _asked_twice(ask, requests, sampling, sampling)

    def remarks(
        self, requests: Sequence[str], sampling: Sampling, read: Callable[[int, Generation], list[str]], *, n: int = 1
    ) -> list[Proposal]:
        """Return what else than instructions the proposer says, such as reasons, one `Proposal` per request.

        A request to which no reply says anything is asked once more, as in `propose`, and without stop strings: a small
        model likes to begin with a blank line, where one ends its reply. Discards are counted already.

        Args:
            requests: rendered, as from `request`.
            sampling: of every reply.
            read: returns what a reply says, given with the index of its request; nothing is discarded as "no reason".
            n: replies per request.

        Raises:
            BudgetExhausted: as `propose`.
        """

        def ask(asked: Sequence[tuple[int, str]], sampling: Sampling) -> list[Proposal]:
            found = []
            for (i, _), replies in zip(asked, self.complete([text for _, text in asked], sampling, n=n), strict=True):
                said: list[str] = []
                unused = [Discard("", DIED) for reply in replies if reply.finish_reason == "failed"]
                for reply in (reply for reply in replies if reply.finish_reason != "failed"):
                    texts = read(i, reply)
                    said += texts
                    unused += [] if texts else [Discard(reply.text, "no reason")]
                self.discard(unused)
                found.append(Proposal(tuple(said), tuple(unused)))
            return found

        return _asked_twice(ask, list(enumerate(requests)), sampling, replace(sampling, stop=()))

    def room_to_reword(self, texts: Sequence[str], least: int) -> int:
        """Return tokens for a reply that rewords any of `texts`: half as many again as the longest, or `least`.

        No more than half of the context, so that a long text leaves room for itself in the request.
        """
        longer = math.ceil(1.5 * max(self._lm.lm.count_tokens(texts)))
        return max(least, min(longer, self._lm.lm.facts.n_ctx // 2))

    def first_fitting(self, versions: Iterable[str], max_tokens: int) -> str:
        """Return the first of `versions` that fits the proposer's context together with `max_tokens` to generate.

        Args:
            versions: rendered prompts from the richest to the poorest; those after the first that fits are not made.
            max_tokens: of the reply.

        Raises:
            ContextOverflow: if none of them fits.
        """
        room = self._lm.lm.facts.n_ctx - max_tokens
        n_tokens = 0
        for version in versions:
            if len(version.encode("utf-8", "replace")) + TOKENS_BESIDE_BYTES <= room:
                return version
            (n_tokens,) = self._lm.lm.count_tokens([version])
            if n_tokens <= room:
                return version
        raise ContextOverflow(
            f"a request to the proposer needs at least {n_tokens} tokens, and {max_tokens} to generate, but its "
            f"context has {self._lm.lm.facts.n_ctx}",
            "raise n_ctx with --engine n_ctx=..., or show fewer or shorter examples",
        )

    def request(self, template: MetaPrompt, **values: str) -> str:
        """Return a filled meta-prompt as a prompt for `complete`: as a chat if it is one for a chat, else as it is.

        Raises:
            ModelError: if it is one for a chat and the proposer has no chat template.
        """
        if template.is_chat:
            user, opening = template.turns
            request = self.chat([Message("user", user.fill(**values))], opening)
        else:
            request = template.fill(**values)
        self._kinds[str(request)] = template.name.removesuffix("_chat")
        return request

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
        request = self._lm.lm.fim(prefix, suffix)
        self._kinds[str(request)] = "fim"
        return request

    def discard(
        self, discarded: Sequence[Discard], *, beside: str = NO_DEMOS, forget: AbstractSet[Discard] = frozenset()
    ) -> None:
        """Count what was not used, and remember it but for what is in `forget`.

        `propose` does not accept it again where the worked examples have the id `beside`.
        """
        if not discarded:
            return
        self.discards.update(each.reason for each in discarded)
        # What was cut off by the token limit may come back whole.
        remembered = (each for each in discarded if each.reason != "truncated" and each not in forget)
        texts = {text: None for each in remembered if (text := normalised(each.text))}
        self._rejected.setdefault(beside, {}).update(texts)
        self._announcer.discards(discarded)

    def _memories(self, requests: Sequence[Request]) -> dict[str, Memory]:
        """Return what was proposed so far beside the worked examples of the requests, by the id of these."""
        known: dict[str, list[str]] = {each.beside: [] for each in requests}
        for prompt in self._known():
            if (beside := id_of_demos(prompt)) in known:
                known[beside].append(prompt.instruction)
        return {beside: Memory(texts, self._rejected.get(beside, ())) for beside, texts in known.items()}


def children(requests: Sequence[Request], proposals: Sequence[Proposal]) -> list[tuple[Prompt, Prompt]]:
    """Return (parent, new prompt) for each instruction that was accepted, in the order of the requests."""
    return [
        (request.parent, replace(request.parent, instruction=text))
        for request, proposal in zip(requests, proposals, strict=True)
        for text in proposal.accepted
    ]


def _asked_twice(
    ask: Callable[[Sequence[_Asked], Sampling], list[Proposal]],
    requests: Sequence[_Asked],
    first: Sampling,
    second: Sampling,
) -> list[Proposal]:
    """Return what `ask` makes of the requests, those without a usable reply asked once more and warmer.

    If the budget ends between the two, what there is stays: what is left is better spent on scoring it.
    """
    found = ask(requests, first) if requests else []
    unproductive = [i for i, proposal in enumerate(found) if not proposal.accepted]
    # What killed the engine would kill it again.
    lost = [i for i in unproductive if any(discard.reason != DIED for discard in found[i].discarded)]
    if not lost:
        return found
    try:
        again = ask([requests[i] for i in lost], replace(second, temperature=retry_temperature(second.temperature)))
    except BudgetExhausted:
        if len(unproductive) == len(requests):
            raise
        return found
    for i, proposal in zip(lost, again, strict=True):
        found[i] = Proposal(proposal.accepted, (*found[i].discarded, *proposal.discarded))
    return found
