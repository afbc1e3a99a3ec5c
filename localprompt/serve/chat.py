"""`/v1/chat/completions`. Level 9."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from localprompt.engine.serving import Told
from localprompt.serve import records
from localprompt.serve.bodies import ChatBody
from localprompt.serve.completions import head, usage
from localprompt.serve.service import Service
from localprompt.serve.work import Write

MAX_TOKENS = 1024
"""Where a request says nothing, or what is left of the context: a completion has room for all of it from the start."""


class ChatRequest:
    """One request, with its chat as tokens.

    Attributes:
        writes: the completions that are asked for, one a choice.
    """

    def __init__(self, service: Service, body: ChatBody, name: str) -> None:
        self._service = service
        self._body = body
        self._name = name
        self._n_read = 0
        self.writes: list[Write] = []

    async def prepare(self) -> None:
        """Render the chat and make tokens of it.

        Raises:
            ConfigError: if a value cannot be, or the chat template refuses the messages.
            ContextOverflow: if it does not fit.
        """
        body, service = self._body, self._service
        service.check_amount(body.n)
        ((tokens),) = await service.words.tokenize(await service.words.chat([body.messages]))
        tokens = tokens or [service.words.start_token]
        self._n_read = len(tokens)
        n_new = body.max_completion_tokens or body.max_tokens or max(1, min(MAX_TOKENS, service.n_ctx - len(tokens)))
        service.check_length(0, len(tokens), n_new)
        sampling = body.sampling(n_new, body.response_format.grammar if body.response_format else "")
        seed, n_top = service.seed(body.seed), (body.top_logprobs or 0) if body.logprobs else None
        self.writes = [Write(tokens, sampling, (seed + k) % 2**64, n_top, body.stream) for k in range(body.n)]

    def response(self, written: Sequence[Told]) -> dict[str, Any]:
        """Return the body of the response, given the answers to `writes`."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": end.text, "refusal": None},
                "logprobs": self._logprobs(end),
                "finish_reason": end.finish_reason,
            }
            for index, end in enumerate(written)
        ]
        usages = usage(self._n_read, written)
        return {**head(self._service, self._name, "chat.completion"), "choices": choices, "usage": usages}

    async def chunks(self, news: AsyncIterator[tuple[int, Told]]) -> AsyncIterator[dict[str, Any]]:
        """Yield the parts of a streamed response, given news of `writes`."""
        beginning = head(self._service, self._name, "chat.completion.chunk")
        said: list[str | None] = [None] * len(self.writes)
        ends = []
        async for index, told in news:
            before = said[index]
            delta = {"content": told.text[len(before or "") :]}
            if before is None:
                delta = {"role": "assistant", **delta}
            said[index] = told.text
            ends += [told] if told.finish_reason else []
            choice = {"index": index, "delta": delta, "finish_reason": told.finish_reason or None}
            yield {**beginning, "choices": [{**choice, "logprobs": self._logprobs(told)}]}
        if self._body.wants_usage:
            yield {**beginning, "choices": [], "usage": usage(self._n_read, ends)}

    def _logprobs(self, told: Told) -> dict[str, Any] | None:
        return records.of_chat(self._service.words, told.logprobs) if self._body.logprobs else None
