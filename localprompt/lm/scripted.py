"""A language model made of two plain functions, for tests of tasks, optimisers and whatever stands on them. Level 3."""

from __future__ import annotations

import re
import uuid
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from localprompt.errors import ModelError
from localprompt.lm.base import ModelFacts
from localprompt.types import EngineStats, Generation, Loglikelihood, Message, Sampling

_TOKEN = re.compile(r"\s*\S+|\s+")


class ScriptedLM(AbstractContextManager["ScriptedLM"]):
    """A `LanguageModel` that says what its two functions say, at once and always the same.

    A token is a word with the white space before it. Chat and fill-in-the-middle prompts are rendered with visible
    marks, so that `answer` can tell them apart: `[user] ... [assistant] opening` and
    `[prefix]...[suffix]...[middle]`.

    Args:
        answer: (prompt, seed) to the completion; stop strings and the token limit are applied to it; by default it is
            empty.
        logprob: (context, continuation) to nats, at most 0; by default every continuation of a length is
            equally probable.
        name: what people see, and the fingerprint: of two models with the same name the store takes the answers of one
            for those of the other, in every process. Empty: `scripted`, with a fingerprint that no other object has.
            Only a model with a name can resume what another object began.
        has_chat: False makes it a base model.
        has_fim: True gives it fill-in-the-middle tokens.
        supports_grammar: True lets others ask for grammars; `answer` is trusted to obey them.
    """

    def __init__(  # noqa: PLR0913 - everything a model can be asked
        self,
        *,
        answer: Callable[[str, int], str] = lambda prompt, seed: "",
        logprob: Callable[[str, str], float] = lambda context, continuation: -float(len(continuation)),
        name: str = "",
        has_chat: bool = True,
        has_fim: bool = False,
        supports_grammar: bool = False,
    ) -> None:
        self.name = name or "scripted"
        self.fingerprint = f"scripted-{name or uuid.uuid4().hex}"
        self.n_ctx = 4096
        self.has_chat = has_chat
        self.has_fim = has_fim
        self.supports_grammar = supports_grammar
        self.on_progress: Callable[[int, int], None] = lambda *_: None
        """Called with (done, total) requests while a call runs."""
        self.seen: list[str] = []
        """Every text it was shown, in order: prompts, and contexts with their continuation."""
        self.n_generated = 0
        self.n_scored = 0
        self._answer = answer
        self._logprob = logprob
        self._tokens = 0
        self._calls = 0

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is nothing to close."""

    @property
    def facts(self) -> ModelFacts:
        """What it is now: its attributes may be set."""
        return ModelFacts(self.name, self.fingerprint, self.n_ctx, self.has_chat, self.has_fim, self.supports_grammar)

    @property
    def stats(self) -> EngineStats:
        """Cumulative work; nothing is shared, so as many tokens are decoded as were requested."""
        return EngineStats(self._tokens, self._tokens, self.n_scored + self.n_generated, self._calls, 0.0)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return a checksum of each word, the same in every process."""
        return [[zlib.crc32(word.encode("utf-8", "replace")) for word in _TOKEN.findall(text)] for text in texts]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of words of each text."""
        return [len(_TOKEN.findall(text)) for text in texts]

    def chat(self, messages: Sequence[Message], opening: str = "") -> str:
        """Return the turns with their roles in brackets.

        Raises:
            ModelError: if made with `has_chat=False`.
        """
        if not self.has_chat:
            raise ModelError(f"{self.name} has no chat template", "use a raw layout")
        turns = [f"[{message.role}] {message.content}\n" for message in messages]
        return "".join(turns) + f"[assistant] {opening}"

    def fim(self, prefix: str, suffix: str) -> str:
        """Return the two sides between visible marks.

        Raises:
            ModelError: if made with `has_fim=False`.
        """
        if not self.has_fim:
            raise ModelError(f"{self.name} has no fill-in-the-middle tokens", "use another mode")
        return f"[prefix]{prefix}[suffix]{suffix}[middle]"

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Return what `logprob` says of each pair; greedy is always False."""
        results = []
        for context, continuation in pairs:
            self._count(context + continuation, 0)
            n_tokens = max(1, len(_TOKEN.findall(continuation)))
            results.append(Loglikelihood(self._logprob(context, continuation), n_tokens, greedy=False))
        self.n_scored += len(pairs)
        self._finish(len(pairs))
        return results

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return what `answer` says to each prompt, cut at the stop strings and at `max_tokens` words."""
        results = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            text = self._answer(prompt, seed)
            for stop in sampling.stop:
                text = text.partition(stop)[0]
            words = _TOKEN.findall(text)
            kept = words[: sampling.max_tokens]
            self._count(prompt, len(kept))
            results.append(Generation("".join(kept), len(kept), "stop" if kept == words else "length"))
        self.n_generated += len(prompts)
        self._finish(len(prompts))
        return results

    def _count(self, text: str, n_drawn: int) -> None:
        self.seen.append(text)
        self._tokens += len(_TOKEN.findall(text)) + n_drawn

    def _finish(self, n: int) -> None:
        self._calls += 1
        self.on_progress(n, n)
