"""A model behind a URL that speaks OpenAI's interface. Level 3.

A URL is contacted because the user named it, and nothing else is: redirects are not followed, and a run that comes from
the store does not open one by itself (see `loading.is_trusted`).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from localprompt.errors import ConfigError, ContextOverflow, ModelError, nearest
from localprompt.lm.asked import AskedModel, Question, n_pieces
from localprompt.lm.base import ModelFacts
from localprompt.types import Generation, Loglikelihood

API_KEY = "LOCALPROMPT_API_KEY"
"""Variable of the environment that holds the key of servers that want one."""
_N_CTX = 131072
"""Tokens that a request may have where the server does not tell; it refuses what is longer."""
_PARALLEL = 8
"""Requests that are under way at once."""
_TIMEOUT = 600.0
"""Seconds without a byte after which a server counts as gone."""
_WAITS = (1.0, 4.0)
"""Seconds before a request is sent again to a server that is too busy."""
_BUSY = (429, 503)
_CLOSED = (*_BUSY, 401, 502, 504)
_MISSING = (404, 405, 501)
_TOO_LONG = {"context_length_exceeded", "exceed_context_size_error"}
"""How servers call a request that does not fit their context, which is not known here: tokens are estimated."""
_MAX_BYTES = 2**26
_SHOWN = 300
_ROUNDING = 1e-3
"""Nats by which a log-probability may be above 0."""
_TELLS_N_CTX = ("max_model_len", "context_length", "n_ctx", "n_ctx_train")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine to itself: asked without a proxy, and a server without a key has no others."""


class NotOffered(ModelError):  # noqa: N818 - says what is the matter
    """A server does not have what it was asked for."""


class Unavailable(ModelError):  # noqa: N818 - says what is the matter
    """A server does not answer now, or not us, which tells nothing of what it has."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nowhere: another address is not the one that was named."""


class Server:
    """The interface of one model of one server.

    Args:
        url: such as `http://127.0.0.1:11434/v1`.
        model: as the server names it.

    Attributes:
        goes_on: it is known to go on with the beginning of an answer; others may say it again.
    """

    def __init__(self, url: str, model: str = "") -> None:
        self.url = url
        self.model = model
        self.goes_on = False
        host = urlsplit(url).hostname or ""
        proxies = [urllib.request.ProxyHandler({})] if host in LOOPBACK else []
        self._opener = urllib.request.build_opener(_NoRedirect, *proxies)

    def models(self) -> list[Mapping[str, Any]]:
        """Return what the server says of its models.

        Raises:
            NotOffered: if it has no such list.
            ModelError: if it cannot be reached, or answers something else.
        """
        found = self._asked("models").get("data")
        if not isinstance(found, list) or not all(isinstance(each, Mapping) and "id" in each for each in found):
            self._fail("models", "lists no models")
        return found

    def reply(self, question: Question) -> Generation:
        """Return the completion of a chat, or of a plain text.

        Raises:
            ContextOverflow: if the server says that it does not fit.
            ModelError: if there is none.
        """
        how = question.sampling
        body: dict[str, Any] = {"max_tokens": how.max_tokens, "temperature": how.temperature, "seed": question.seed}
        body["seed"] %= 2**31
        body |= {"stop": list(how.stop)} if how.stop else {}
        unset = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}  # not every server knows the last two
        body |= {name: value for name, off in unset.items() if (value := getattr(how, name)) != off}
        if not question.messages:
            choice, n_tokens = self._choice("completions", {**body, "prompt": question.text})
            text = choice.get("text")
        else:
            turns = [{"role": each.role, "content": each.content} for each in question.messages]
            opening = question.text if self.goes_on else question.text.rstrip()
            turns += [{"role": "assistant", "content": opening}] if opening else []
            choice, n_tokens = self._choice("chat/completions", {**body, "messages": turns})
            message = choice.get("message")
            said = message if isinstance(message, Mapping) else {}
            thought = said.get("reasoning") or said.get("reasoning_content")
            content = "" if thought and said.get("content") is None else said.get("content")  # the tokens ran out in it
            text = None if said.get("refusal") else content
            if isinstance(text, str) and not self.goes_on:
                text = text.removeprefix(opening)
        reason = choice.get("finish_reason")
        if not isinstance(text, str) or reason not in ("stop", "length"):
            self._fail("a completion", f"returned none (finish_reason {reason!r})")
        return Generation(text, min(n_pieces(text), how.max_tokens) if n_tokens is None else n_tokens, reason)

    def score(self, context: str, continuation: str) -> Loglikelihood:
        """Return the log-likelihood of a continuation, from the server's log-probabilities of the prompt.

        Raises:
            NotOffered: if it does not give one for each token that reaches into the continuation.
            ModelError: if asking fails.
        """
        text = context + continuation
        body = {"prompt": text, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        choice, _ = self._choice("completions", body)
        chosen = _reaching(choice.get("logprobs"), len(context), text)
        if chosen is None:
            raise NotOffered(
                f"{self.url} gives no log-probabilities of the prompt",
                "use it as --proposer, or for tasks without labels",
            )
        greedy = all(nats >= max(top.values(), default=0.0) for nats, top in chosen)
        return Loglikelihood(sum(nats for nats, _ in chosen), len(chosen), greedy)

    def _choice(self, path: str, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], int | None]:
        """Return the only choice, and how many tokens it took where the server says what can be."""
        found = self._asked(path, {"model": self.model, **body})
        choices, usage = found.get("choices"), found.get("usage")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
            self._fail(path, "answers without a choice")
        n_tokens = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
        return choices[0], n_tokens if type(n_tokens) is int and 0 <= n_tokens <= body["max_tokens"] else None

    def _asked(self, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "localprompt"}
        key = os.environ.get(API_KEY, "")
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"${API_KEY} has characters that no key has", "is there a line break in it?")
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers)
        status, said = self._sent(request)
        for wait in _WAITS:
            if status in _BUSY:
                time.sleep(wait)
                status, said = self._sent(request)
        try:
            found = json.loads(said)
        except (ValueError, RecursionError):
            found = None
        if not 200 <= status < 300 or (isinstance(found, Mapping) and found.get("error")):
            self._refused(path, status, said.decode("utf-8", "replace"), found)
        if not isinstance(found, Mapping):
            self._fail(path, "answers what is no JSON object")
        return found

    def _sent(self, request: urllib.request.Request) -> tuple[int, bytes]:
        """Return status and body of the answer, whatever they are."""
        try:
            try:
                response = self._opener.open(request, timeout=_TIMEOUT)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                return response.status, response.read(_MAX_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:  # a host's name may be none
            why = getattr(error, "reason", error)
            raise Unavailable(
                f"{self.url} cannot be reached ({why})", "check the address, and that the server runs"
            ) from error

    def _refused(self, path: str, status: int, said: str, found: Any) -> NoReturn:
        names: set[object] = set()
        with suppress(KeyError, TypeError):  # some servers answer with a page
            plain = found["error"]
            said = str(plain["message"] if isinstance(plain, Mapping) else plain)
            names = {str(plain[name]) for name in ("code", "type") if name in plain}
        message = f"{self.url}/{path} refuses with {status}: {said.strip()[:_SHOWN]}"
        if names & _TOO_LONG:
            raise ContextOverflow(message, "shorten it, or give the server a larger context")
        hint = f"the key is read from ${API_KEY}" if status in (401, 403) else "most addresses end in /v1"
        kind = NotOffered if status in _MISSING else Unavailable if status in _CLOSED else ModelError
        raise kind(message, hint)

    def _fail(self, path: str, what: str) -> NoReturn:
        raise ModelError(f"{self.url} {what}, asked for {path}", "is it a server with OpenAI's interface?")


def load_server(scheme: str, text: str, **engine: object) -> AskedModel:
    """Return a model of a server, by `URL#model` or, where it has only one, by its URL.

    It is asked for its models, and for one token, to see whether it gives log-probabilities of a prompt. Engine
    settings have no effect.

    Raises:
        ConfigError: for an address that cannot be, or a model that the server does not have.
        ModelError: if it cannot be reached.
    """
    address, _, model = f"{scheme}:{text}".partition("#")
    try:
        parts = urlsplit(address)
    except ValueError:  # a bracket that is not closed, or a host that reads otherwise than it is written
        parts = urlsplit("")
    if not parts.hostname or parts.query:
        raise ConfigError(f"{address!r:.200} is no address of a server", "write http://HOST:PORT/v1#MODEL")
    if parts.username or parts.password:
        raise ConfigError("the address of a server must not hold a key: a run records it", f"put it into ${API_KEY}")
    server = Server(urlunsplit(parts).rstrip("/"), model)
    entry = _entry(server)
    server.model = str(entry["id"])
    server.goes_on = "fingerprint" in entry  # `localprompt serve`
    try:
        server.score("One two", " three")
        score = server.score
    except Unavailable:
        raise
    except ModelError:  # some refuse it, even with 500, some ignore it; each in its own way
        score = None
    identity = {"url": server.url, "model": server.model}
    # It says which weights and settings a name stands for: answers of others are not mixed up.
    identity |= {"fingerprint": str(entry["fingerprint"])} if server.goes_on else {}
    fingerprint = "url-" + hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    facts = ModelFacts(
        f"{server.url}#{server.model}",
        fingerprint,
        _n_ctx(entry),
        has_chat=True,
        identity=identity,
        can_score=score is not None,
        can_score_chats=False,
    )
    return AskedModel(facts, server.reply, score, _PARALLEL)


def _entry(server: Server) -> Mapping[str, Any]:
    """Return what the server says of the model that is meant.

    Raises:
        ConfigError: if it is none of its models, or none was named and there are several.
    """
    try:
        known = server.models()
    except NotOffered:
        if not server.model:
            raise
        return {"id": server.model}
    names = [str(each["id"]) for each in known]
    if server.model in names:
        return known[names.index(server.model)]
    if server.model:
        raise ConfigError(f"{server.url} has no model {server.model!r}", nearest(server.model, names))
    if len(known) != 1:
        raise ConfigError(
            f"{server.url} has {len(known)} models",
            f"name one, as in {server.url}#{names[0]}" if names else "load a model there",
        )
    return known[0]


def _n_ctx(entry: Mapping[str, Any]) -> int:
    places = [entry, *(entry[key] for key in ("meta", "details") if isinstance(entry.get(key), Mapping))]
    told = [place[name] for place in places for name in _TELLS_N_CTX if type(place.get(name)) is int]
    return min((n for n in told if 0 < n < 2**63), default=_N_CTX)


def _is_entry(token: object, nats: object, top: object, offset: object) -> bool:
    """Return whether a server says of a token of a prompt what it should."""
    tops = {} if top is None else top
    if not (isinstance(token, str) and isinstance(tops, Mapping) and isinstance(offset, int)):
        return False
    return all(map(_is_logprob, [0.0 if nats is None else nats, *tops.values()]))


def _is_logprob(value: object) -> bool:
    return type(value) in (int, float) and -sys.float_info.max <= value <= _ROUNDING  # type: ignore[operator]


def _reaching(logprobs: Any, start: int, text: str) -> Sequence[tuple[float, Mapping[str, float]]] | None:
    """Return nats and alternatives of each token of a prompt that reaches behind `start`; None if any is missing."""
    if not isinstance(logprobs, Mapping):
        return None
    columns: list[Any] = [logprobs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")]
    if not all(isinstance(column, list) for column in columns) or len(set(map(len, columns))) != 1:
        return None
    found, rows = [], list(zip(*columns, strict=True))
    if not rows or not all(_is_entry(*row) for row in rows):
        return None
    ends = [min(offset, len(text)) for *_, offset in rows[1:]] + [len(text)]
    for number, ((token, nats, top, offset), end) in enumerate(zip(rows, ends, strict=True)):
        if offset >= len(text) or (offset < start and end <= start):
            continue
        if number == 0 and nats is None and end == offset:  # BOS, which is none of the text
            continue
        # Bytes of one character are tokens at one place; what some vocabularies put before a text is none of it.
        if nats is None or not (token.startswith("bytes:") or token.endswith(text[offset:end])):
            return None
        found.append((float(nats), top or {}))
    return found or None
