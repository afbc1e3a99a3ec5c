"""The engine in a process of its own: this module is that process. Level 2, the parent's side is `process`.

parent -> worker    {"op": name, **arguments}
worker -> parent    any number of {"progress": [done, total]} and, a second apart, {"heartbeat": 1}; then
                    {"result": ..., "stats": [...]} or {"error": [class, message, hint]}
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any, BinaryIO

from localprompt import errors
from localprompt.engine.chat import Span
from localprompt.engine.child import become_child
from localprompt.engine.completions import GenerateRequest
from localprompt.engine.encode import Encoder, divided
from localprompt.engine.engine import Engine, ScoreRequest
from localprompt.engine.exactness import find_difference
from localprompt.engine.frames import read_frame, write_frame
from localprompt.engine.llama import Llama, Vocabulary
from localprompt.engine.marks import chat_facts, chat_marks, keeps_spaces
from localprompt.engine.plan import Held
from localprompt.engine.serving import ServedCompletions, ServedRequest
from localprompt.engine.settings import EngineSettings
from localprompt.engine.tokenwise import TokenwiseRequest, tokenwise
from localprompt.types import EngineStats, Message, Sampling


class FrameWriter:
    """Sends whole frames to the parent from two threads: one computes, the other sends heartbeats meanwhile."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._computing = threading.Event()
        threading.Thread(target=self._send_heartbeats, daemon=True, name="heartbeat").start()

    def send(self, frame: dict[str, Any]) -> None:
        """Send one frame."""
        with self._lock:
            write_frame(self._out, frame)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """The parent is waiting, and reads: only in this block heartbeats are sent, or they would fill the pipe."""
        self._computing.set()
        try:
            yield
        finally:
            self._computing.clear()

    def _send_heartbeats(self) -> None:
        with contextlib.suppress(OSError):  # the parent is gone
            while True:
                self._computing.wait()
                time.sleep(1.0)
                if self._computing.is_set():
                    self.send({"heartbeat": 1})


class TokenizerServer:
    """Answers what the vocabulary of a model says. Each public method is one `op` of the protocol."""

    def __init__(self, path: str, llama: Vocabulary) -> None:
        self._path = path
        self._llama = llama
        self._tokens = Encoder(llama).encode

    @property
    def stats(self) -> EngineStats:
        """Cumulative work: none."""
        return EngineStats()

    def info(self) -> dict[str, Any]:
        """What the parent needs to know of the model."""
        llama = self._llama
        return {
            "n_vocab": llama.n_vocab,
            "n_ctx_train": llama.n_ctx_train,
            "start_token": llama.start_token,
            "special": {name: [token, llama.special_texts[name]] for name, token in llama.special_ids.items()},
            "chat_template": llama.has_chat_template,
            "chat": chat_facts(llama),
            "on_gpus": llama.on_gpus,
        }

    def encode(self, requests: list[Any]) -> list[list[int]]:
        """Tokens of (text, spans)."""
        return [self._tokens(text, _hashable(spans)) for text, spans in requests]

    def encode_pairs(self, requests: list[Any]) -> list[Any]:
        """Tokens and start of (context, continuation, spans)."""
        return [
            divided(self._llama, self._tokens(context + continuation, _hashable(spans)), continuation)
            for context, continuation, spans in requests
        ]

    def chat(self, requests: list[Any]) -> list[Any]:
        """Text and spans of lists of (role, content)."""
        template = self._llama.chat_template
        if template is None:
            raise errors.ModelError(f"{self._path} has no chat template", "it is a base model: use a raw layout")
        return [template.render([Message(*message) for message in messages]) for messages in requests]

    def writing(self) -> dict[str, Any]:
        """How the vocabulary writes blank space and the marks of the chat template."""
        return {"keeps_spaces": keeps_spaces(self._llama), **chat_marks(self._llama)}

    def pieces(self) -> list[Any]:
        """The bytes that each token adds to a text, (token, text) of those that add none, and those that end a text."""
        tokens = range(self._llama.n_vocab)
        pieces = [self._llama.piece(token) for token in tokens]
        texts = [(token, self._llama.text_of(token)) for token in tokens if not pieces[token]]
        return [pieces, texts, [token for token in tokens if self._llama.is_end(token)]]

    def forget(self) -> None:
        """Drop what a call that ended in the middle left: nothing."""


class ModelServer(TokenizerServer):
    """Answers requests with one loaded model."""

    def __init__(self, writer: FrameWriter, path: str, settings: EngineSettings) -> None:
        llama = Llama(Path(path), settings)
        super().__init__(path, llama)
        self._writer = writer
        self._engine = Engine(llama)
        self._longest = settings.n_ctx
        self._served = ServedCompletions(self._engine)

    @property
    def stats(self) -> EngineStats:
        """Cumulative work."""
        return self._engine.stats

    def score(self, requests: list[Any]) -> list[Any]:
        """Log-likelihoods of (tokens, start), and None where no room is beside completions under way."""

        def answers(fitting: list[Any], held: Held) -> list[Any]:
            wanted = [ScoreRequest(tuple(tokens), start) for tokens, start in fitting]
            return [astuple(result) for result in self._engine.score(wanted, self._report, held)]

        return self._beside(requests, answers)

    def generate(self, requests: list[Any]) -> list[Any]:
        """Completions of (tokens, sampling, seed, drafts in tokens)."""
        wanted = [
            GenerateRequest(tuple(tokens), _sampling(sampling), seed, tuple(map(tuple, drafts)))
            for tokens, sampling, seed, drafts in requests
        ]
        return [astuple(result) for result in self._engine.generate(wanted, self._report)]

    def find_difference(self) -> str:
        """Why scores are not exact."""
        return find_difference(self._engine, self._llama.n_vocab, self._longest)

    def tokenwise(self, requests: list[Any]) -> list[Any]:
        """Log-probabilities of each token of (tokens, n_top, sampling or None, seed), and None as `score`."""

        def answers(fitting: list[Any], held: Held) -> list[Any]:
            wanted = [
                TokenwiseRequest(tuple(tokens), n_top, _sampling(sampling) if sampling else None, seed)
                for tokens, n_top, sampling, seed in fitting
            ]
            return tokenwise(self._engine, wanted, self._report, held)

        return self._beside(requests, answers)

    def _beside(self, requests: list[Any], answers: Callable[[list[Any], Held], list[Any]]) -> list[Any]:
        """Return the answers to those that there is room for, and None for the others."""
        held, longest = self._served.stand_back()
        fits = [len(tokens) <= longest for tokens, *_ in requests]
        if requests and not any(fits):
            return [None] * len(requests)
        found = iter(answers([request for request, fit in zip(requests, fits, strict=True) if fit], held))
        return [next(found) if fit else None for fit in fits]

    def step(self, add: list[Any], cancel: list[int]) -> list[Any]:
        """News of completions that come and go, each (key, tokens, sampling, seed, n_top or None, is_streamed)."""
        return self._served.step([_served(each) for each in add], cancel)

    def complete(self, requests: list[Any]) -> list[Any]:
        """The ends of such completions."""
        return self._served.complete([_served(each) for each in requests], self._report)

    def prefill_rate(self, n_tokens: int) -> float:
        """Tokens per second of one fresh sequence."""
        return self._engine.prefill_rate(n_tokens)

    def generation_rate(self, n_tokens: int) -> float:
        """Tokens per second of one sequence, one token a decode."""
        return self._engine.generation_rate(n_tokens)

    def forget(self) -> None:
        """Drop all sequences: a call ended in the middle."""
        self._served.forget()
        self._engine.forget()

    def _report(self, done: int, total: int) -> None:
        self._writer.send({"progress": [done, total]})


_OPS = (
    *("encode", "encode_pairs", "chat", "writing", "pieces", "prefill_rate", "generation_rate", "find_difference"),
    *("score", "generate", "tokenwise", "step", "complete"),
)


def serve() -> None:
    """Answer the parent's requests until it closes the pipe; the first one loads the model."""
    writer = FrameWriter(become_child())
    server: TokenizerServer | None = None
    while True:
        try:
            request = read_frame(sys.stdin.buffer)
        except EOFError:
            return
        op = request.pop("op")
        before = server.stats if server else EngineStats()
        try:
            with writer.computing():
                if server is None:
                    server = _loaded(writer, **request)
                    result: Any = server.info()
                else:
                    known = {name: getattr(server, name) for name in _OPS if hasattr(server, name)}
                    result = known[op](**request)
        except Exception as error:  # noqa: BLE001 - a mistake in Python would come again in a new process: report it
            if not isinstance(error, errors.LocalPromptError):
                traceback.print_exc()
                error = errors.ModelError(f"the engine failed over {op!r}: {type(error).__name__}: {error}")
            writer.send({"error": [type(error).__name__, error.message, error.hint]})
            if server is not None and isinstance(error, errors.ModelError):
                server.forget()  # sequences of what it broke off would stay; not after what was refused before
            continue
        delta = [after - then for after, then in zip(astuple(server.stats), astuple(before), strict=True)]
        writer.send({"result": result, "stats": delta})


def _hashable(spans: list[list[int]] | None) -> tuple[Span, ...] | None:
    return None if spans is None else tuple((start, end) for start, end in spans)


def _sampling(fields: dict[str, Any]) -> Sampling:
    return Sampling(**{**fields, "stop": tuple(fields["stop"])})


def _served(fields: list[Any]) -> ServedRequest:
    key, tokens, sampling, seed, n_top, is_streamed = fields
    return ServedRequest(key, tuple(tokens), _sampling(sampling), seed, n_top, is_streamed)


def _loaded(writer: FrameWriter, path: str, settings: dict[str, Any], vocabulary_only: bool) -> TokenizerServer:
    how = EngineSettings(**settings)
    return TokenizerServer(path, Vocabulary(Path(path), how)) if vocabulary_only else ModelServer(writer, path, how)


if __name__ == "__main__":
    serve()
