"""`/v1/choose`: how probable each of a few answers is in each of many contexts, in one call. Level 9.

Calibrated as Zhao et al. 2021 (contextual calibration): a choice's log-probability, less that which contexts that say
nothing give it; both over the choices normalised to 1, and the mean taken over those contexts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from localprompt.errors import ConfigError
from localprompt.serve.bodies import ChooseBody
from localprompt.serve.completions import head, usage
from localprompt.serve.service import Service
from localprompt.serve.work import Score


class ChooseRequest:
    """One request, with its contexts and choices as tokens.

    Attributes:
        scores: what the engine is asked: for each context, then each content-free one, its choices.
    """

    def __init__(self, service: Service, body: ChooseBody, name: str) -> None:
        self._service = service
        self._body = body
        self._name = name
        self._choices = self._choices_of(service, body)
        self.scores: list[Score] = []

    async def prepare(self) -> None:
        """Render the contexts and make tokens of them.

        Raises:
            ConfigError: if they are too much, or the chat template refuses one.
            ContextOverflow: if one does not fit.
        """
        given = [*self._body.contexts, *self._body.content_free]
        if [] in given:
            raise ConfigError("a context has no messages", "give texts, or lists of one message at least")
        chats = iter(await self._service.words.chat([each for each in given if not isinstance(each, str)]))
        contexts = [each if isinstance(each, str) else next(chats) for each in given]
        pairs = [(context, text) for context, choices in zip(contexts, self._choices, strict=True) for text in choices]
        self._service.check_amount(len(pairs), sum(len(context) + len(text) for context, text in pairs))
        self.scores = [Score(tokens, start) for tokens, start in await self._service.words.pairs(pairs)]
        for number, score in enumerate(self.scores):
            self._service.check_length(number, len(score.tokens), 0)

    def response(self, answers: Sequence[Any]) -> dict[str, Any]:
        """Return the body of the response, given the answers to `scores`."""
        left = iter(answers)
        rows = [[next(left) for _ in choices] for choices in self._choices]
        n = len(self._body.contexts)
        prior = _mean([_normalised([logprob for logprob, *_ in row]) for row in rows[n:]])
        data = [self._entry(index, row, prior) for index, row in enumerate(rows[:n])]
        n_read = sum(len(score.tokens) for score in self.scores)
        return {**head(self._service, self._name, "choices"), "data": data, "usage": usage(n_read, [])}

    def _entry(self, index: int, row: Sequence[Any], prior: Sequence[float]) -> dict[str, Any]:
        choices = self._choices[index]
        scores = [self._scaled(text, *answer[:2]) for text, answer in zip(choices, row, strict=True)]
        if prior:
            scores = [score - base for score, base in zip(scores, prior, strict=True)]
        nats = _normalised(scores)
        best = nats.index(max(nats))
        return {
            "index": index,
            "choice": choices[best],
            "choice_index": best,
            "probabilities": [math.exp(each) for each in nats],
            "logprobs": [logprob for logprob, *_ in row],
            "n_tokens": [n_tokens for _, n_tokens, *_ in row],
        }

    def _scaled(self, text: str, logprob: float, n_tokens: int) -> float:
        sizes = {"sum": 1, "token": n_tokens, "byte": len(text.encode(errors="replace"))}
        return logprob / max(1, sizes[self._body.score])

    @staticmethod
    def _choices_of(service: Service, body: ChooseBody) -> list[list[str]]:
        """Return the choices of each context, then of each content-free one."""
        given: Any = body.choices
        n = len(body.contexts) + len(body.content_free)
        shared: list[list[str]] = [given] * n if isinstance(given[0], str) else given
        if len(shared) != n or (body.content_free and shared is given):
            hint = "content_free needs choices that all contexts share" if body.content_free else "give one list each"
            raise ConfigError(f"choices has {len(given)} lists for {len(body.contexts)} contexts", hint)
        service.check_amount(sum(map(len, shared)))
        if body.content_free and body.score != "sum":
            raise ConfigError(f"content_free calibrates sums, not scores by {body.score}", "leave one of the two out")
        if any(not text for choices in shared for text in choices or [""]):
            raise ConfigError("each context needs choices, and none of them may be empty")
        return shared


def _normalised(scores: Sequence[float]) -> list[float]:
    """Return nats of probabilities that add up to 1."""
    total = float(np.logaddexp.reduce(scores))
    return [score - total for score in scores]


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return nats of the mean probability of each column; nothing for no rows."""
    return [float(np.logaddexp.reduce(column)) - math.log(len(rows)) for column in zip(*rows, strict=True)]
