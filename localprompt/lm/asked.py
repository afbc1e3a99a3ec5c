"""A model of which only replies are seen: a function of the user's own, or a server. Level 3."""

from __future__ import annotations

import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import TypeVar

from localprompt.errors import ConfigError, ModelError
from localprompt.lm.base import ModelFacts
from localprompt.lm.rendered import Rendered, spans_of
from localprompt.types import EngineStats, Generation, Loglikelihood, Message, Sampling

_Result = TypeVar("_Result")
_PIECE = re.compile(r"\s?\w{1,4}|\s|[^\w\s]")
"""What is counted as a token where nobody tells the real ones."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request for a completion."""

    messages: tuple[Message, ...]
    """Turns of a chat; empty where a plain text is to be continued."""
    text: str
    """The plain text, or the beginning of the assistant's answer."""
    sampling: Sampling
    seed: int


Reply = Callable[[Question], Generation]
Score = Callable[[str, str], Loglikelihood]
"""(context, continuation), both plain text."""


class AskedModel(AbstractContextManager["AskedModel"]):
    """A `LanguageModel` whose replies come from elsewhere; a context manager, which has nothing to close.

    A chat is kept as its turns until it is asked, since whoever answers has the chat template. Tokens are estimated:
    pieces of at most four letters. What a completion took is counted by whoever wrote it.

    Args:
        facts: what it is.
        reply: answers one question; called from as many threads as `parallel` says.
        score: gives the log-likelihood of plain text; None where that cannot be had.
        parallel: questions that are asked at once.
    """

    def __init__(self, facts: ModelFacts, reply: Reply, score: Score | None = None, parallel: int = 1) -> None:
        self.facts = facts
        """What it is; `can_score` says whether there are log-likelihoods."""
        self.on_progress: Callable[[int, int], None] = lambda *_: None
        """Called with (done, total) requests while a call runs."""
        self._reply = reply
        self._score = score
        self._parallel = parallel
        self.stats = EngineStats()
        """Cumulative work, in estimated tokens; nothing is shared, as far as anybody knows."""

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is nothing to close."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return a checksum of each piece of at most four letters, the same in every process: an estimate."""
        return [[zlib.crc32(piece.encode("utf-8", "replace")) for piece in _PIECE.findall(text)] for text in texts]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return about how many tokens each text has."""
        return [n_pieces(text) for text in texts]

    def chat(self, messages: Sequence[Message], opening: str = "") -> Rendered:
        """Return the turns as text that `generate` reads back, and the opening of the answer."""
        turns = json.dumps([[message.role, message.content] for message in messages], ensure_ascii=False)
        return Rendered(turns, [(0, len(turns))]) + opening

    def fim(self, prefix: str, suffix: str) -> str:
        """Refuse.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.facts.name} cannot fill in the middle of a text", "use another mode, such as forward")

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Return the log-likelihood of each continuation after its context, where there is one to be had.

        Raises:
            ModelError: if the model cannot score, or a context is a chat, before anything is asked; or if asking fails.
        """
        score = self._score
        if score is None:
            raise ModelError(
                f"{self.facts.name} gives no log-probabilities of a prompt, so it cannot compare labels or targets",
                "use it as --proposer, or for tasks without labels",
            )
        if any(spans_of(context) for context, _ in pairs):
            raise ModelError(
                f"{self.facts.name} scores plain text, not what stands behind a chat: its template is its own",
                "use a layout without a chat",
            )
        found = self._each([partial(score, *pair) for pair in pairs])
        self._count([context + continuation for context, continuation in pairs], 0)
        return found

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return one completion per prompt, cut at the stop strings.

        Raises:
            ModelError: if asking fails: then there are no answers at all.
        """
        if len(prompts) != len(seeds):
            raise ConfigError(f"{len(prompts)} prompts with {len(seeds)} seeds", "give each prompt a seed")
        asked = [_question(prompt, sampling, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        found = [_cut(each, sampling.stop) for each in self._each([partial(self._reply, each) for each in asked])]
        self._count(prompts, sum(each.n_tokens for each in found))
        return found

    def _each(self, jobs: Sequence[Callable[[], _Result]]) -> list[_Result]:
        """Return what the jobs return, in their order.

        The first error, or Ctrl-C, ends all that have not begun; those under way are not waited for.
        """
        if self._parallel == 1:  # a function of the user's is asked by one thread at a time, whatever broke off before
            found = []
            for job in jobs:
                found.append(job())
                self.on_progress(len(found), len(jobs))
            return found
        running: list[Future[_Result]] = [Future() for _ in jobs]
        waiting = deque(zip(running, jobs, strict=True))
        for _ in range(min(self._parallel, len(jobs))):  # daemons: what hangs does not keep the process from its end
            Thread(target=_work, args=[waiting], daemon=True).start()
        try:
            for n, future in enumerate(as_completed(running), start=1):
                if future.exception() is not None:  # of several that there are by now, the first in order
                    next(each for each in running if each.done() and each.exception() is not None).result()
                self.on_progress(n, len(jobs))
        finally:
            waiting.clear()
        return [future.result() for future in running]

    def _count(self, texts: Sequence[str], n_drawn: int) -> None:
        n = sum(self.count_tokens(texts)) + n_drawn
        self.stats += EngineStats(n, n, len(texts), len(texts), 0.0)


def _work(waiting: deque[tuple[Future[_Result], Callable[[], _Result]]]) -> None:
    with suppress(IndexError):  # none is left
        while True:
            future, job = waiting.popleft()
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 - raised by whoever awaits the answers
                waiting.clear()
                future.set_exception(error)


def n_pieces(text: str) -> int:
    """Return about how many tokens a text has."""
    return len(_PIECE.findall(text))


def within(text: str, max_tokens: int) -> Generation:
    """Return a reply, cut after so many tokens, for those who do not count them."""
    pieces = list(_PIECE.finditer(text))
    if len(pieces) <= max_tokens:
        return Generation(text, len(pieces), "stop")
    return Generation(text[: pieces[max_tokens].start()], max_tokens, "length")


def _question(prompt: str, sampling: Sampling, seed: int) -> Question:
    if not isinstance(prompt, Rendered) or not prompt.spans:
        return Question((), str(prompt), sampling, seed)
    end = prompt.spans[0][1]
    turns = tuple(Message(role, content) for role, content in json.loads(prompt[:end]))
    return Question(turns, str(prompt[end:]), sampling, seed)


def _cut(reply: Generation, stops: Sequence[str]) -> Generation:
    """Return a reply up to the first stop string, for those who do not know of any."""
    end = min((at for stop in stops if (at := reply.text.find(stop)) >= 0), default=None)
    return reply if end is None else Generation(reply.text[:end], n_pieces(reply.text[:end]), "stop")
