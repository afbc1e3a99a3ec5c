"""The routes of the server, and how its errors look. Level 9."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localprompt.errors import ConfigError, ContextOverflow, LocalPromptError, WorkerDied
from localprompt.lm.local import LocalModel
from localprompt.lm.server import LOOPBACK
from localprompt.serve import bodies
from localprompt.serve.chat import ChatRequest
from localprompt.serve.choose import ChooseRequest
from localprompt.serve.completions import CompletionRequest
from localprompt.serve.dispatcher import ServerEnds
from localprompt.serve.metrics import exposition
from localprompt.serve.queue import QueueFull
from localprompt.serve.service import Limits, Service, UnknownModel, unless_gone
from localprompt.serve.systemone import SystemOneBody, SystemOneRequest
from localprompt.serve.work import Item, RequestDied

_B = TypeVar("_B", bound=bodies.Body)
_GONE = 499
"""What nginx writes into its log for a client that went; nobody receives it."""


class TooLarge(LocalPromptError):  # noqa: N818 - says what is the matter
    """A body is larger than the limit."""


class _BadBodyError(ConfigError):
    """A body is not what it must be; `param` names the field."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class Server:
    """The application of one model.

    Args:
        model: loaded; its owner closes it when the application has ended.
        limits: what requests may ask.
        api_key: what each request must bring as its bearer token; empty: nothing.
    """

    def __init__(self, model: LocalModel, limits: Limits, api_key: str = "") -> None:
        self._model = model
        self._limits = limits
        self._api_key = api_key
        self._requests: Counter[tuple[str, int]] = Counter()
        self._service: Service  # as soon as the application has started

    def app(self) -> ASGIApp:
        """Return the application."""
        routes = [
            Route("/v1/completions", self._completions, methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/choose", self._choose, methods=["POST"]),
            Route("/v1/systemone", self._systemone, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._models),
            Route("/tokenize", self._tokenize, methods=["POST"]),
            Route("/detokenize", self._detokenize, methods=["POST"]),
            Route("/tokenizer_info", self._tokenizer_info),
            Route("/health", self._health),
            Route("/metrics", self._metrics),
        ]
        handlers: Mapping[Any, Any] = {
            LocalPromptError: _failed,
            HTTPException: _no_route,
            ClientDisconnect: _nobody,
            Exception: _mistake,
        }
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        known = {route.path for route in routes}
        key = f"Bearer {self._api_key}".encode() if self._api_key else b""
        return _Door(app, self._limits.seconds, key, self._requests, known)

    def stop(self) -> None:
        """Tell whoever waits for the engine that the server ends."""
        self._service.dispatcher.stop()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._service = await asyncio.to_thread(Service, self._model, self._limits)
        yield
        await asyncio.to_thread(self._service.close)

    # Routes

    async def _completions(self, request: Request) -> Response:
        body, service = await self._read(request, bodies.CompletionBody), self._service
        name, client = service.new_name("cmpl"), _client(request, body)
        asked = CompletionRequest(service, body, name)
        await asked.prepare()
        if not body.stream:
            items: list[Item] = [*asked.reads, *asked.writes]
            answers = await unless_gone(request, service.answers(name, client, items))
            n = len(asked.reads)
            return JSONResponse(asked.response(answers[:n], answers[n:]))
        read = await unless_gone(request, service.answers(name, client, asked.reads))
        return await _streamed(request, asked.chunks(read, service.news(name, client, asked.writes)))

    async def _chat(self, request: Request) -> Response:
        body, service = await self._read(request, bodies.ChatBody), self._service
        name, client = service.new_name("chatcmpl"), _client(request, body)
        asked = ChatRequest(service, body, name)
        await asked.prepare()
        if body.stream:
            return await _streamed(request, asked.chunks(service.news(name, client, asked.writes)))
        return JSONResponse(asked.response(await unless_gone(request, service.answers(name, client, asked.writes))))

    async def _choose(self, request: Request) -> Response:
        body, name = await self._read(request, bodies.ChooseBody), self._service.new_name("choose")
        return await self._scored(request, body, name, ChooseRequest(self._service, body, name))

    async def _systemone(self, request: Request) -> Response:
        body, name = await self._read(request, SystemOneBody), self._service.new_name("decide")
        return await self._scored(request, body, name, SystemOneRequest(self._service, body, name))

    async def _scored(self, request: Request, body: bodies.Body, name: str, asked: ChooseRequest) -> Response:
        await asked.prepare()
        work = self._service.answers(name, _client(request, body), asked.scores)
        return JSONResponse(asked.response(await unless_gone(request, work)))

    async def _tokenize(self, request: Request) -> Response:
        body, words = await self._read(request, bodies.TokenizeBody), self._service.words
        text = body.prompt if body.prompt is not None else body.content
        if text is None:
            raise ConfigError("there is no text to tokenise", "give it as `prompt`")
        as_vllm = body.add_special_tokens is not None
        with_bos = bool(body.add_special_tokens) if as_vllm else body.add_special
        (tokens,) = await words.tokenize([words.marked(text) if as_vllm else text])
        has_own = as_vllm and tokens[:1] and text.startswith(words.name(tokens[0]))
        if not with_bos and tokens[:1] == [words.bos] and not has_own:
            tokens = tokens[1:]
        return JSONResponse({"tokens": tokens, "count": len(tokens), "max_model_len": self._service.n_ctx})

    async def _detokenize(self, request: Request) -> Response:
        body, words = await self._read(request, bodies.DetokenizeBody), self._service.words
        words.check(body.tokens)
        return JSONResponse({"prompt": words.text(body.tokens, control=True)})

    async def _tokenizer_info(self, _: Request) -> Response:
        special = self._service.words.special
        names = {f"{name}_token": special.get(name, (0, None))[1] for name in ("bos", "eos")}
        return JSONResponse({**names, "pad_token": None, "vocab_size": self._service.words.n_vocab})

    async def _models(self, request: Request) -> Response:
        service = self._service
        name = request.path_params.get("name", service.name)
        if name != service.name:
            raise UnknownModel(f"the model {name!r} is not served here", f"served is {service.name!r}")
        model = {"id": service.name, "object": "model", "created": service.created, "owned_by": "localprompt"}
        model |= {"max_model_len": service.n_ctx, "fingerprint": service.fingerprint}
        return JSONResponse(model if "name" in request.path_params else {"object": "list", "data": [model]})

    async def _health(self, _: Request) -> Response:
        broken = self._service.dispatcher.broken
        if broken is not None:
            return JSONResponse({"status": "broken", "message": broken.message}, 503)
        return JSONResponse({"status": "ok", "model": self._service.name})

    async def _metrics(self, _: Request) -> Response:
        return PlainTextResponse(exposition(self._service, self._requests), media_type="text/plain; version=0.0.4")

    async def _read(self, request: Request, kind: type[_B]) -> _B:
        """Return the body of a request.

        Raises:
            ConfigError: if it is not what it must be, naming the field.
            UnknownModel: if it means another model.
        """
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > self._limits.body:
                raise TooLarge(f"the body has more than {self._limits.body} bytes", "send fewer prompts at once")
        try:
            body = kind.model_validate_json(bytes(data))
        except ValidationError as error:
            raise _BadBodyError(*bodies.first_problem(error)) from None
        self._service.check_model(body)
        return body


@dataclass(frozen=True, slots=True)
class _Door:
    """What every request passes: the key, the time it may take, and the counting."""

    app: ASGIApp
    seconds: float
    key: bytes
    """What a request must bring as `Authorization`; empty: nothing."""
    requests: Counter[tuple[str, int]]
    known: set[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self.known else "other"
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self.requests[path, status] += 1
            await send(message)

        refusal = None
        if not self._is_named(scope):
            message = "Host or Origin of this request is not this machine, and a web page could be behind it"
            hint = "ask 127.0.0.1 or localhost; with an API key any name will do"
            refusal = _error(f"{message} ({hint})", _Look(403, "permission_error", "wrong_host", retry=False))
        elif not self._may_pass(scope):
            refusal = _error("the API key is missing or wrong", _Look(401, "authentication_error", "invalid_api_key"))
        else:
            with anyio.move_on_after(self.seconds) as limit:
                try:
                    await self.app(scope, receive, counted)
                except asyncio.CancelledError:
                    if status or limit.cancel_called:
                        raise
                    refusal = _of(ServerEnds())
            if limit.cancelled_caught and not status:
                message = f"no answer after {self.seconds:g} seconds"
                refusal = _error(message, _Look(504, "timeout_error", "timeout", retry=False))
        if refusal is not None:
            await refusal(scope, receive, counted)

    def _is_named(self, scope: Scope) -> bool:
        """Return whether a request without a key means this machine and comes from no page elsewhere.

        A page may have had a name of its own point here, and may send what it cannot read the answer to.
        """
        headers = dict(scope["headers"])
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        try:
            return bool(self.key) or all(
                urlsplit(url).hostname in LOOPBACK for url in (host and f"//{host}", origin) if url
            )
        except ValueError:
            return False

    def _may_pass(self, scope: Scope) -> bool:
        if not self.key or scope["path"] == "/health":
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, self.key)


async def _streamed(request: Request, chunks: AsyncIterator[dict[str, Any]]) -> Response:
    """Return a stream of events; what goes wrong before the first of them is an error like any other."""
    first = await unless_gone(request, anext(chunks))

    async def events() -> AsyncIterator[str]:
        yield _event(first)
        try:
            async for chunk in chunks:
                yield _event(chunk)
        except LocalPromptError as error:
            yield _event(json.loads(bytes(_of(error).body)))
            return
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-cache"})


def _event(data: object) -> str:
    return f"data: {json.dumps(data)}\n\n"  # in ASCII: many clients take U+0085 and U+2028 for the ends of lines


def _client(request: Request, body: bodies.Body) -> str:
    """Return who asks: by the name it gives, or else each connection is a client."""
    return body.user or (f"{request.client.host}:{request.client.port}" if request.client else "")


# Errors, in OpenAI's form


@dataclass(frozen=True, slots=True)
class _Look:
    """How one kind of error looks."""

    status: int
    kind: str = "invalid_request_error"
    code: str | None = None
    retry: bool = True
    """False: a client that asks again is answered the same, or kills another engine."""


_LOOKS: dict[type[LocalPromptError], _Look] = {
    UnknownModel: _Look(404, code="model_not_found"),
    ContextOverflow: _Look(400, code="context_length_exceeded"),
    ConfigError: _Look(400),
    TooLarge: _Look(413, code="body_too_large"),
    QueueFull: _Look(429, "rate_limit_error", "queue_full"),
    RequestDied: _Look(500, "engine_error", "request_died", retry=False),
    ServerEnds: _Look(503, "engine_error", "server_ends", retry=False),
    WorkerDied: _Look(503, "engine_error", "engine_died", retry=False),
    LocalPromptError: _Look(500, "engine_error", retry=False),
}
"""The first that an error is an instance of counts."""


def _error(message: str, look: _Look, param: str | None = None) -> JSONResponse:
    content = {"error": {"message": message, "type": look.kind, "param": param, "code": look.code}}
    return JSONResponse(content, look.status, {} if look.retry else {"x-should-retry": "false"})


def _of(error: LocalPromptError) -> JSONResponse:
    look = next(look for kind, look in _LOOKS.items() if isinstance(error, kind))
    return _error(error.message + (f" ({error.hint})" if error.hint else ""), look, getattr(error, "param", None))


async def _failed(_: Request, error: LocalPromptError) -> Response:
    return _of(error)


async def _no_route(_: Request, error: HTTPException) -> Response:
    return _error(error.detail, _Look(error.status_code))


async def _nobody(_: Request, _error: ClientDisconnect) -> Response:
    return Response(status_code=_GONE)


async def _mistake(_: Request, error: Exception) -> Response:
    return _error(f"the server failed: {type(error).__name__}: {error}", _Look(500, "server_error", retry=False))
