"""Completions that come and go while others are made, as a server needs them. Level 2, runs in the worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from localprompt.engine.completions import Completions, GenerateRequest
from localprompt.engine.engine import Engine, Progress
from localprompt.engine.plan import NOTHING, Held
from localprompt.engine.tokenwise import Judge, TokenLogprob
from localprompt.errors import ConfigError
from localprompt.types import Generation, Sampling

_STEPS = 4
"""Decode calls between two looks at what has come, where nothing is to be told."""


_ANY_LENGTH = 1 << 40


class ServedRequest(NamedTuple):
    """A completion wanted by somebody who waits for it."""

    key: int
    """Names it in what is told of it."""
    tokens: tuple[int, ...]
    """At least one."""
    sampling: Sampling
    seed: int
    n_top: int | None
    """Most probable tokens wanted in each place; None: no log-probabilities."""
    is_streamed: bool
    """What it has said is told as it comes."""


class Told(NamedTuple):
    """News of one completion."""

    key: int
    text: str
    """All that it has said for certain so far."""
    logprobs: list[TokenLogprob]
    """Of the tokens drawn since the last news, one that ends the text included."""
    n_tokens: int
    """Drawn so far, one that ends the text not counted; 0 before the end."""
    finish_reason: str
    """Empty as long as it goes on; `refused` where it cannot begin, then `text` says why."""


class ServedCompletions:
    """Completions of one engine; while one is unfinished, others use no more of its memory than `stand_back` says."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._completions: Completions | None = None
        self._underway: dict[int, _Underway] = {}  # by the key that `Completions` gave

    def step(self, add: Sequence[ServedRequest], cancel: Sequence[int]) -> list[Told]:
        """Begin and end what is named, decode a few times, and return what there is to tell, in the order it came."""
        for key in [key for key, each in self._underway.items() if each.request.key in cancel]:
            self._made().cancel(key)
            del self._underway[key]
        told = self._add(add)
        for _ in range(_STEPS if self._underway else 0):
            told += self._decode()
            if told:
                break
        if not self._underway:
            self._completions = None
        return told

    def stand_back(self) -> tuple[Held, int]:
        """Return what others who use the memory until the next step leave alone, and how long their texts may be."""
        if self._completions is None or not self._underway:
            return NOTHING, _ANY_LENGTH
        held = self._completions.stand_back()
        return held, self._engine.room_beside(held)

    def complete(self, requests: Sequence[ServedRequest], progress: Progress) -> list[Told]:
        """Return the end of each completion, same order and length, with the log-probabilities of all its tokens.

        Others that were under way are forgotten.
        """
        self.forget()
        self._completions = self._engine.completions([_wanted(each) for each in requests], self._drawn)
        ends: dict[int, Told] = {}
        logprobs: dict[int, list[TokenLogprob]] = {request.key: [] for request in requests}
        told = self._add(requests)
        while len(ends) < len(requests):
            for each in told:
                logprobs[each.key] += each.logprobs
                if each.finish_reason:
                    ends[each.key] = each._replace(logprobs=logprobs[each.key])
            progress(len(ends), len(requests))
            told = self._decode() if self._underway else []
        self.forget()
        return [ends[request.key] for request in requests]

    def forget(self) -> None:
        """Drop all completions, and all sequences where some are under way."""
        if self._underway:
            self._engine.forget()
        self._completions, self._underway = None, {}

    def _add(self, requests: Sequence[ServedRequest]) -> list[Told]:
        refused = []
        good = []
        for request in requests:
            try:
                self._engine.check_grammar(request.sampling.grammar)
            except ConfigError as error:
                refused.append(Told(request.key, error.message, [], 0, "refused"))
            else:
                good.append(request)
        if good:
            keys = self._made().add([_wanted(request) for request in good])
            self._underway.update((key, _Underway(request)) for key, request in zip(keys, good, strict=True))
        return refused

    def _made(self) -> Completions:
        """Return what completes requests of which more may come, of any length: they share all cells."""
        if self._completions is None:
            self._completions = self._engine.completions((), self._drawn)
        return self._completions

    def _drawn(self, key: int, token: int, logits: NDArray[np.float32]) -> None:
        self._underway[key].drawn(token, logits)

    def _decode(self) -> list[Told]:
        completions = self._made()
        told = []
        for key, generation in completions.step():
            told.append(self._underway.pop(key).end(generation))
        for key, each in self._underway.items():
            if each.request.is_streamed and (text := completions.said(key)) != each.text:
                told.append(each.news(text))
        return told


def _wanted(request: ServedRequest) -> GenerateRequest:
    return GenerateRequest(request.tokens, request.sampling, request.seed)


@dataclass(slots=True)
class _Underway:
    request: ServedRequest
    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)

    def drawn(self, token: int, logits: NDArray[np.float32]) -> None:
        n_top = self.request.n_top
        if n_top is not None:
            self.logprobs.append(Judge(logits, n_top).of(token, n_top))

    def news(self, text: str) -> Told:
        self.text, logprobs, self.logprobs = text, self.logprobs, []
        return Told(self.request.key, text, logprobs, 0, "")

    def end(self, generation: Generation) -> Told:
        return Told(self.request.key, generation.text, self.logprobs, generation.n_tokens, generation.finish_reason)
