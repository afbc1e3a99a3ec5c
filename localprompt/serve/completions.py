"""`/v1/completions`: prompts read and gone on with, the log-probabilities of their own tokens included. Level 9."""

from __future__ import annotations

import codecs
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from localprompt.engine.serving import Told
from localprompt.engine.tokenwise import TokenLogprob
from localprompt.errors import ConfigError
from localprompt.serve import records
from localprompt.serve.bodies import CompletionBody
from localprompt.serve.service import Service
from localprompt.serve.work import Read, Write


@dataclass(frozen=True, slots=True)
class _Choice:
    """One entry of `choices`."""

    text: str
    """Of the prompt."""
    tokens: Sequence[int]
    n_known: int
    """Tokens of the prompt, the last ones, that something comes before."""
    read: int | None
    """Which of the reads is its prompt's; None for none."""


class CompletionRequest:
    """One request, with its prompts as tokens.

    Attributes:
        reads: what is asked about the prompts.
        writes: the completions that are asked for, one a choice or none at all.
    """

    def __init__(self, service: Service, body: CompletionBody, name: str) -> None:
        self._service, self._words = service, service.words
        self._body = body
        self._n_new = body.max_tokens
        self._n_top = body.logprobs or 0
        self._reads_prompts = body.echo and body.logprobs is not None
        # One token more is drawn where the reading of a prompt ends: nothing is computed twice.
        self._in_one_walk = self._reads_prompts and self._n_new == body.n == 1 and not (body.stop or body.stream)
        self._head = head(service, name, "text_completion")
        self.reads: list[Read] = []
        self.writes: list[Write] = []
        self._choices: list[_Choice] = []

    async def prepare(self) -> None:
        """Make tokens of the prompts, and of them what the engine is asked.

        Raises:
            ConfigError: if there is no prompt, or too many, a token is none, or a value cannot be.
            ContextOverflow: if a prompt does not fit.
        """
        for number, (text, tokens, before) in enumerate(await self._prompts()):
            self._service.check_length(number, len(before) + len(tokens) or 1, self._n_new)
            self._add(text, tokens, before, self._service.seed(self._body.seed))

    async def _prompts(self) -> list[tuple[str, Sequence[int], Sequence[int]]]:
        """Return text and tokens of each prompt, and what is read before them and not told of."""
        given: Any = self._body.prompt
        if not given and not isinstance(given, str):
            raise ConfigError("prompt is an empty list", "give one prompt at least; an empty text is one")
        if isinstance(given, str) or isinstance(given[0], int):
            given = [given]
        self._service.check_amount(len(given) * self._body.n)
        if isinstance(given[0], str):
            return [(text, tokens, []) for text, tokens in zip(given, await self._words.tokenize(given), strict=True)]
        for each in given:
            self._words.check(each)
        ((*bos,),) = await self._words.tokenize([""]) if self._service.limits.add_bos else [[]]
        return [(self._words.text(each), each, bos if each[:1] != bos and each else []) for each in given]

    def _add(self, text: str, tokens: Sequence[int], before: Sequence[int], seed: int) -> None:
        body, begun = self._body, [*before, *tokens] or [self._words.start_token]
        read = None
        if self._in_one_walk or (self._reads_prompts and tokens):
            read = len(self.reads)
            self.reads.append(Read(begun, self._n_top, body.sampling(1) if self._in_one_walk else None, seed))
        for number in range(body.n):
            self._choices.append(_Choice(text, tokens, len(begun) - 1, read))
            if self._n_new and not self._in_one_walk:
                sampling = body.sampling(self._n_new)
                self.writes.append(Write(begun, sampling, (seed + number) % 2**64, body.logprobs, body.stream))

    # At once

    def response(self, read: Sequence[list[TokenLogprob]], written: Sequence[Told]) -> dict[str, Any]:
        """Return the body of the response, given the answers to `reads` and `writes`."""
        choices = []
        ends = written or [self._unwritten(choice, read) for choice in self._choices]
        for index, (choice, end) in enumerate(zip(self._choices, ends, strict=True)):
            logprobs = None
            if self._body.logprobs is not None:
                logprobs = records.of_drawn(self._words, end.logprobs, b"", len(choice.text), self._n_top)
                if self._body.echo:
                    logprobs = records.joined(self._of_prompt(choice, read), logprobs)
            text = (choice.text if self._body.echo else "") + end.text
            choices.append(_entry(index, text, logprobs, end.finish_reason))
        return {**self._head, "choices": choices, "usage": self._usage(ends)}

    def _of_prompt(self, choice: _Choice, read: Sequence[list[TokenLogprob]]) -> dict[str, Any]:
        found = [] if choice.read is None else read[choice.read][: choice.n_known]
        return records.of_prompt(self._words, choice.tokens, found, choice.text, self._n_top)

    def _unwritten(self, choice: _Choice, read: Sequence[list[TokenLogprob]]) -> Told:
        """Return the completion of a choice without a write: nothing, or the token drawn behind its prompt."""
        if not self._in_one_walk or choice.read is None:
            return Told(0, "", [], 0, "length")
        last = read[choice.read][-1]
        if self._words.is_end(last[0]):
            return Told(0, "", [last], 0, "stop")
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(self._words.data(last[0]))
        return Told(0, text, [last], 1, "length")

    def _usage(self, ends: Sequence[Told]) -> dict[str, int]:
        return usage(sum(len(choice.tokens) for choice in self._choices[:: self._body.n]), ends)

    # As it comes

    async def chunks(
        self, read: Sequence[list[TokenLogprob]], news: AsyncIterator[tuple[int, Told]]
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the parts of a streamed response, given the answers to `reads` and news of `writes`."""
        if self._body.echo:
            for index, choice in enumerate(self._choices):
                logprobs = None if self._body.logprobs is None else self._of_prompt(choice, read)
                yield {**self._head, "choices": [_entry(index, choice.text, logprobs, None)]}
        if not self.writes:
            for index in range(len(self._choices)):
                yield {**self._head, "choices": [_entry(index, "", None, "length")]}
        ends: list[Told] = []
        said = [""] * len(self.writes)
        written = [b""] * len(self.writes)
        async for index, told in news:
            logprobs = None
            if self._body.logprobs is not None:
                begin = len(self._choices[index].text)
                logprobs = records.of_drawn(self._words, told.logprobs, written[index], begin, self._n_top)
                written[index] += b"".join(self._words.data(token) for token, *_ in told.logprobs)
            more, said[index] = told.text[len(said[index]) :], told.text
            ends += [told] if told.finish_reason else []
            yield {**self._head, "choices": [_entry(index, more, logprobs, told.finish_reason or None)]}
        if self._body.wants_usage:
            yield {**self._head, "choices": [], "usage": self._usage(ends)}


def head(service: Service, name: str, kind: str) -> dict[str, Any]:
    """Return how each response and each part of one begins."""
    return {
        "id": name,
        "object": kind,
        "created": int(time.time()),
        "model": service.name,
        "system_fingerprint": service.fingerprint,
    }


def usage(n_read: int, ends: Sequence[Told]) -> dict[str, int]:
    """Return the numbers of tokens that were read and written."""
    n_written = sum(end.n_tokens for end in ends)
    return {"prompt_tokens": n_read, "completion_tokens": n_written, "total_tokens": n_read + n_written}


def _entry(index: int, text: str, logprobs: dict[str, Any] | None, finish_reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
