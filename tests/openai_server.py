"""A server with OpenAI's interface whose answers a test gives; it keeps what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, Mapping[str, Any]], Any]
"""(path behind /v1/, body) to the reply; an int is a status, with an error in words; bytes are all that is sent."""


class FakeServer(ThreadingHTTPServer):
    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.seen: list[tuple[str, Mapping[str, Any]]] = []
        self.keys: list[str | None] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def do_GET(self) -> None:
        self._reply({})

    def do_POST(self) -> None:
        self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _reply(self, body: Mapping[str, Any]) -> None:
        path = self.path.removeprefix("/v1/")
        self.server.seen.append((path, body))
        self.server.keys.append(self.headers["Authorization"])
        found = self.server.answer(path, body)
        if isinstance(found, bytes):
            self.wfile.write(found)
            return
        status = found if isinstance(found, int) else 200
        sent = json.dumps({"error": {"message": "not today"}} if isinstance(found, int) else found).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/v1/elsewhere")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(answer: Answer) -> Iterator[FakeServer]:
    with FakeServer(answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def chat(text: object, reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "finish_reason": reason}], "usage": {"completion_tokens": 3}}


def plain(say: Callable[[str], str], *, models: tuple[str, ...] = ("big",)) -> Answer:
    """A server that only chats: it says what the function makes of the last turn."""

    def answer(path: str, body: Mapping[str, Any]) -> Any:
        if path == "models":
            return {"data": [{"id": name} for name in models]}
        return chat(say(body["messages"][-1]["content"])) if path == "chat/completions" else 404

    return answer


def scoring(nats_of: Callable[[str], float | None]) -> Answer:
    """A server that echoes prompts, a token a word, with what the function says of each."""

    def answer(path: str, body: Mapping[str, Any]) -> Any:
        if path == "models":
            return {"data": [{"id": "small", "max_model_len": 2048}]}
        words = [*(f" {word}" for word in body["prompt"].split(" ")), " more"]
        words[0] = words[0][1:]
        offsets = [sum(map(len, words[:i])) for i in range(len(words))]
        nats = [None, *map(nats_of, words[1:])]
        tops: list[Any] = [None, *({word: each or 0.0} for word, each in zip(words[1:], nats[1:], strict=True))]
        told = {"tokens": words, "token_logprobs": nats, "top_logprobs": tops, "text_offset": offsets}
        return {"choices": [{"text": "".join(words), "finish_reason": "length", "logprobs": told}]}

    return answer
