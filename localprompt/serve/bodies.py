"""What may stand in the body of a request. Level 9.

Fields that are not known are refused, since whoever sends them expects an effect; so are known ones that have none
here, but for the values that ask for no effect.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from localprompt.errors import ConfigError
from localprompt.types import Sampling

_T = TypeVar("_T")
Token = Annotated[int, Field(ge=0)]
_Some = Annotated[list[_T], Field(fail_fast=True)]
_MOST = 2**63
"""Of whole numbers that are not bounded otherwise: the engine is told no larger ones."""
_MOST_STOPS, _LONGEST_STOP = 64, 1024
"""Strings and characters: the engine looks for each, and for each beginning of one, at every token."""
_LONGEST_SCHEMA = 32_768
"""Characters: what it takes to follow one grows with the square of its properties, to a second for each completion."""
_MOST_MISTAKES = 1000
"""That are looked at, to tell one of them."""


class Strict(BaseModel):
    """A record whose fields are all known, and have the type that they must have; null is as good as nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, given: Any) -> Any:
        return {name: each for name, each in given.items() if each is not None} if isinstance(given, dict) else given


class Body(Strict):
    """The fields that say nothing about the answer, of every request."""

    model: str | None = None
    user: str | None = None
    metadata: Any = None
    store: bool | None = None
    service_tier: str | None = None


class StreamOptions(Strict):
    """How a stream is told."""

    include_usage: bool | None = None


class Drawn(Body):
    """How completions are drawn."""

    temperature: float = Field(1.0, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, lt=_MOST)
    min_p: float = Field(0.0, ge=0, lt=1)
    stop: str | list[str] = []
    seed: int | None = Field(None, ge=-_MOST, lt=_MOST)
    n: int = Field(1, ge=1, le=128)
    stream: bool = False
    stream_options: StreamOptions | None = None
    frequency_penalty: float = Field(0, ge=0, le=0)
    presence_penalty: float = Field(0, ge=0, le=0)
    logit_bias: dict[str, float] = Field({}, max_length=0)

    @model_validator(mode="after")
    def _streams_what_it_describes(self) -> Drawn:
        if self.stream_options is not None and not self.stream:
            raise ConfigError("stream_options says how to stream, and stream is false", "set stream, or leave it out")
        return self

    def sampling(self, max_tokens: int, grammar: str = "") -> Sampling:
        """Return how each completion is drawn.

        Raises:
            ConfigError: for a value that cannot be, such as an empty stop string.
        """
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        if len(stop) > _MOST_STOPS or max(map(len, stop), default=0) > _LONGEST_STOP:
            limits = f"{_MOST_STOPS} stop strings of {_LONGEST_STOP:,} characters each"
            raise ConfigError(f"a completion has at most {limits}", "give fewer, or their beginnings")
        return Sampling(max_tokens, self.temperature, self.top_p, self.top_k, self.min_p, tuple(stop), grammar)

    @property
    def wants_usage(self) -> bool:
        """True if a stream ends with the numbers of tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class CompletionBody(Drawn):
    """`/v1/completions`."""

    prompt: str | _Some[str] | _Some[Token] | _Some[_Some[Token]] = ""
    max_tokens: int = Field(16, ge=0)
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=20)
    best_of: int | None = None

    @model_validator(mode="after")
    def _draws_no_others(self) -> CompletionBody:
        if self.best_of not in (None, self.n):
            raise ConfigError(f"best_of {self.best_of} is not supported: all that are drawn are returned", "ask for n")
        return self


class Part(Strict):
    """A part of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(Strict):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    @property
    def text(self) -> str:
        """All that it says."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class Schema(Strict):
    """A JSON schema with its name; the answer follows it, whether `strict` or not."""

    name: str = ""
    description: str = ""
    strict: bool = True
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Strict):
    """How the answer is written."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None

    @property
    def grammar(self) -> str:
        """What the completion is held to.

        Raises:
            ConfigError: if the schema is missing or too long, or the type is another.
        """
        if (self.json_schema is None) == (self.type == "json_schema"):
            raise ConfigError("response_format has a json_schema where its type is json_schema, and only there")
        if self.json_schema is not None:
            written = json.dumps({"type": "object"} | self.json_schema.schema_, ensure_ascii=False)
            if len(written) > _LONGEST_SCHEMA:
                problem = f"the schema has {len(written):,} characters; at most {_LONGEST_SCHEMA:,} are followed"
                raise ConfigError(problem, "leave out its descriptions, or ask for fewer fields at once")
            return written
        return "" if self.type == "text" else '{"type": "object"}'


class ChatBody(Drawn):
    """`/v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _gives_what_is_asked(self) -> ChatBody:
        if self.top_logprobs and not self.logprobs:
            raise ConfigError(f"top_logprobs {self.top_logprobs} has no effect without logprobs", '"logprobs": true')
        if self.max_tokens is not None and self.max_completion_tokens not in (None, self.max_tokens):
            raise ConfigError("max_tokens and max_completion_tokens differ", "give one of them")
        return self


class ChooseBody(Body):
    """`/v1/choose`."""

    contexts: list[str | list[ChatMessage]] = Field(min_length=1)
    choices: list[str] | list[list[str]] = Field(min_length=1)
    score: Literal["sum", "token", "byte"] = "sum"
    content_free: list[str | list[ChatMessage]] = []


class TokenizeBody(Body):
    """`/tokenize`: the text as `prompt` or as `content`."""

    prompt: str | None = None
    content: str | None = None
    add_special: bool = True
    add_special_tokens: bool | None = None
    """vLLM's name for it; a request that uses it gets vLLM's tokens: texts of control tokens are those."""


class DetokenizeBody(Body):
    """`/detokenize`."""

    tokens: list[Token]


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return what is wrong with a body, as a sentence and the name of the field."""
    if error.error_count() > _MOST_MISTAKES:
        return f"the body has {error.error_count():,} mistakes", "body"
    # Of a field that may be several things each is said to be wrong: what is deepest in is what was meant.
    problem = max(error.errors(include_url=False), key=lambda each: len(each["loc"]))
    where = [str(part) for part in problem["loc"] if part not in ("str", "int") and not str(part).startswith("list[")]
    name = ".".join(where) or "body"
    if problem["type"] == "extra_forbidden":
        return f"unknown or unsupported field {name!r}", name
    if problem["type"] == "missing":
        return f"the field {name!r} is missing", name
    message = problem["msg"]
    return f"{name}: {message[:1].lower()}{message[1:]}", name
