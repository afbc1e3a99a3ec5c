"""A local model as a provider of Inspect: `inspect eval task.py --model localprompt/NAME`. Level 9.

Inspect finds it by the entry point. It makes more instances of a provider than it asks, one of them without the
arguments of the command line, so a model is loaded when it is first asked, and once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localprompt.adapters.drawn_tokens import DrawnToken
from localprompt.adapters.extras import needing
from localprompt.adapters.prompt_tokens import token_logprobs
from localprompt.adapters.waves import in_thread, key_of, shared
from localprompt.errors import ConfigError
from localprompt.types import Message, Sampling

with needing("inspect_ai", "inspect"):
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        GenerateConfig,
        Logprob,
        Logprobs,
        ModelAPI,
        ModelOutput,
        ModelUsage,
        TopLogprob,
        modelapi,
    )

_MAX_NEW = 1024
"""Tokens of a completion where the task does not say it."""
_REFUSED = ("logit_bias", "frequency_penalty", "presence_penalty", "response_schema", "best_of", "extra_body")
_ROLES, _READ = ("system", "user", "assistant"), {"text", "reasoning"}
_STOPPED = {"stop": "stop", "length": "max_tokens"}


@modelapi(name="localprompt")  # type: ignore[untyped-decorator]
def localprompt() -> type[Any]:
    """Return the provider."""
    return LocalPromptAPI


class LocalPromptAPI(ModelAPI):  # type: ignore[misc]
    """A model by its name; `-M n_ctx=4096` and the like are settings of the engine.

    Requests that are under way at once are computed together. Without a temperature a completion is greedy. With
    `logprobs` each of its tokens has its log-probability, with `top_logprobs` the most probable ones in its place too.
    With `prompt_logprobs` the messages are one plain text, without a chat template: the log-probability of each of its
    tokens is given, and no alternatives.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: Any = GenerateConfig(),  # noqa: B008 - as Inspect's own
        **model_args: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self._engine = model_args

    async def generate(self, input: Sequence[Any], tools: Sequence[Any], tool_choice: Any, config: Any) -> Any:
        """Return a `ModelOutput`.

        Raises:
            LocalPromptError: for what a local model does not do, or what it cannot be asked.
        """
        for name in _REFUSED:
            if getattr(config, name):
                raise ConfigError(f"a local model has no {name}", "leave it out of the generation's settings")
        if tools:
            raise ConfigError("a local model uses no tools here", "take a task without tools")
        sampling = Sampling(
            config.max_tokens or _MAX_NEW,
            temperature=config.temperature or 0.0,
            stop=tuple(config.stop_seqs or ()),
            **{name: value for name in ("top_p", "top_k") if (value := getattr(config, name)) is not None},
        )
        return await in_thread(self._generate, _turns(input), sampling, config)

    async def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a text alone, without BOS."""
        tokens: list[int]
        empty, tokens = await in_thread(shared(self.model_name, self._engine).ask, lambda lm: lm.tokenize(["", text]))
        return tokens[len(empty) :]

    def max_connections(self) -> int:
        """Return how many requests may be under way: they are computed together."""
        return 32

    def max_tokens(self) -> int:
        """Return the tokens of a completion where nothing says it."""
        return _MAX_NEW

    def connection_key(self) -> str:
        """Return what tells the model from others."""
        return key_of(self.model_name, self._engine)

    def _generate(self, turns: Sequence[Message], sampling: Sampling, config: Any) -> Any:
        waves, known = shared(self.model_name, self._engine), None
        prompt: Sequence[Message] | str = turns
        if config.prompt_logprobs is not None:
            prompt = text = "".join(each.content for each in turns)
            known = [Logprob(token=word, logprob=nats) for word, nats in waves.ask(lambda lm: token_logprobs(lm, text))]
        n_top = (config.top_logprobs or 0) if config.logprobs or config.top_logprobs else None
        n = config.num_choices or 1
        seeds = [None if config.seed is None else config.seed + number for number in range(n)]
        drawn = waves.draw(prompt, sampling, seeds if sampling.temperature else seeds[:1], n_top)
        choices = [
            ChatCompletionChoice(
                message=ChatMessageAssistant(content=found.text, model=self.model_name, source="generate"),
                stop_reason=_STOPPED.get(found.finish_reason, "unknown"),
                logprobs=None if n_top is None else Logprobs(content=[_logprob(each, n_top) for each in tokens]),
                prompt_logprobs=None if known is None else Logprobs(content=known),
            )
            for found, _, tokens in (drawn if sampling.temperature else drawn * n)
        ]
        n_prompt, used = drawn[0].n_prompt, sum(each.generation.n_tokens for each in drawn)
        usage = ModelUsage(input_tokens=n_prompt, output_tokens=used, total_tokens=n_prompt + used)
        return ModelOutput(model=self.model_name, choices=choices, usage=usage)


def _turns(input: Sequence[Any]) -> list[Message]:
    for each in input:
        parts = [] if isinstance(each.content, str) else [part.type for part in each.content]
        if each.role not in _ROLES or not _READ.issuperset(parts):
            read = f"a local model reads text, not a message of {each.role!r} with other parts"
            raise ConfigError(read, "take a task without tools, pictures and sound")
    return [Message(each.role, each.text) for each in input]


def _logprob(drawn: DrawnToken, n_top: int) -> Any:
    fields, *top = (
        {"token": each.data.decode(errors="replace"), "logprob": each.logprob, "bytes": list(each.data)}
        for each in (drawn.token, *drawn.top)
    )
    return Logprob(**fields, top_logprobs=[TopLogprob(**each) for each in top] if n_top else None)
