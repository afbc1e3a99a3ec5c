"""A language model whose answers are kept in a store, and taken from there when they are known. Level 3.

An answer is committed before it is used, under a key of everything that makes it: model, request, sampling, seed. So a
run that is killed and run again from its seed finds what it knew and computes the rest.

Quantised kernels give slightly different numbers in another batch. The requests of a call are therefore sorted, cut
into chunks, and what a chunk lacks is computed and committed as a whole: a crash finds it either known or to be
computed again, from the same requests. What is then missing is what the engine kept in memory of earlier calls, and
less is computed where other runs have left answers in a shared store. So a run that was resumed, and the same run in an
empty store, may differ by the noise of a quantised model; a run is repeated exactly from its own store.

A request that kills the engine has an answer too: a failed one, kept like all others, so that nobody dies of it again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

import msgpack

from localprompt.engine.process import RequestsDied
from localprompt.errors import ModelError, StoreError
from localprompt.lm.base import LanguageModel, unique_tokens
from localprompt.lm.rendered import Rendered, spans_of
from localprompt.types import EngineStats, FinishReason, Generation, Loglikelihood, Message, Sampling

ANSWERS_VERSION = 2
"""Part of every key. Raise it with each change to chat rendering, tokenising, scoring or sampling that changes what a
request means: answers of before are then found no more. The fingerprint of a model covers its file, the build of
llama.cpp and all engine settings, layers on a GPU among them, but not this project's own code."""

CHUNK = 256
"""Requests computed and committed at once: what a crash can cost. A shared prefix is computed once per chunk."""

_MAX_PENDING = 4096

_Request = TypeVar("_Request", tuple[str, str], tuple[str, int])
_Row = list[Any]
"""The fields of an answer, then the tokens that were requested for it."""


@dataclass(frozen=True, slots=True)
class _Kind(Generic[_Request]):
    """One of the two things that a model is asked."""

    name: str
    ask: Callable[[Sequence[_Request]], Sequence[Any]]
    text: Callable[[_Request], str]
    """All that the model reads of a request."""
    row: Callable[[Any, int], _Row]
    """An answer as a row, given the tokens of its request."""
    fields: tuple[type, ...]
    failed: tuple[object, ...]
    """The answer to a request that kills the engine: a row but for its tokens, of which there are none."""
    contract: str
    """What a model has to return."""


class Answers(Protocol):
    """Where answers are kept; `run_id` says which run used them."""

    def get(self, keys: Sequence[bytes], run_id: str | None = None) -> list[bytes | None]:
        """Return each key's value, None for an unknown key, same order and length as `keys`."""

    def put(self, rows: Sequence[tuple[bytes, str, bytes]], run_id: str | None = None) -> None:
        """Commit (key, kind, value) rows; a key that is known keeps its value."""


class MemoryAnswers:
    """Answers that are kept as long as this object."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def get(self, keys: Sequence[bytes], run_id: str | None = None) -> list[bytes | None]:
        """Return each key's value, None for an unknown key, same order and length as `keys`."""
        return [self.values.get(key) for key in keys]

    def put(self, rows: Sequence[tuple[bytes, str, bytes]], run_id: str | None = None) -> None:
        """Keep (key, kind, value) rows; a key that is known keeps its value."""
        for key, _, value in rows:
            self.values.setdefault(key, value)


@runtime_checkable
class Reporting(Protocol):
    """A model that tells how far a running call is, in requests: (done, total)."""

    on_progress: Callable[[int, int], None]


BeforeChunk = Callable[[Sequence[str]], None]
"""Told the texts that are about to be computed."""


def _go_on(missing: Sequence[str]) -> None: ...


class CachedLM:
    """A `LanguageModel` that asks `lm` only for what the store does not know.

    Args:
        lm: computes what is missing.
        answers: where answers are kept.
        namespace: answers in different namespaces know nothing of each other.
        run_id: the run that uses the answers, so that it can be exported with them.
    """

    def __init__(self, lm: LanguageModel, answers: Answers, namespace: str = "", run_id: str | None = None) -> None:
        self.lm = lm
        self.facts = lm.facts
        """Those of the model."""
        self.answers_cached = 0
        """Answers given so far that were known before they were asked for."""
        self.answers_given = 0
        """Counted chunk by chunk, as the tokens of `stats`: also those of a call that did not reach its end."""
        self.tokens_drawn = 0
        """Of the completions among them, known or not."""
        self.on_progress: Callable[[int, int], None] = lambda *_: None
        """Called during `loglikelihood` and `generate` with (requests done, requests in all)."""
        self._answers = answers
        self._namespace = namespace
        self._run_id = run_id
        self._requested = 0
        self._pending: dict[bytes, tuple[str, bytes]] = {}
        """Answers that cost next to nothing, by key: committed with the next one that does."""
        self._failed: dict[bytes, None] = {}

    @property
    def stats(self) -> EngineStats:
        """Tokens requested logically, a known answer costs what it cost; everything else as it was computed."""
        return replace(self.lm.stats, tokens_requested=self._requested)

    @property
    def n_failed(self) -> int:
        """Different requests so far that kill the engine."""
        return len(self._failed)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, by the model itself."""
        return self.lm.tokenize(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, same order and length as `texts`."""
        keyed = {self._key("tokens", str(text), spans_of(text)): text for text in texts}
        known = self._known(list(keyed))
        missing = [key for key in keyed if key not in known]
        if missing:
            counts = self.lm.count_tokens([keyed[key] for key in missing])
            known.update({key: self._remember(key, "tokens", [n]) for key, n in zip(missing, counts, strict=True)})
        return [_unpacked(known[self._key("tokens", str(text), spans_of(text))], int)[0] for text in texts]

    def unique_tokens(self, texts: Sequence[str]) -> int:
        """Return how many tokens are computed where the texts are read in one call: each distinct prefix once."""
        key = self._key("unique", *sorted([str(text), json.dumps(spans_of(text))] for text in texts))
        known = self._known([key]).get(key)
        return int(_unpacked(known or self._remember(key, "unique", [unique_tokens(self.lm, texts)]), int)[0])

    def chat(self, messages: Sequence[Message], opening: str = "") -> str:
        """Return the text of a chat up to the assistant's answer, which begins with `opening`."""
        key = self._key("chat", [[message.role, message.content] for message in messages], opening)
        return self._text(key, "chat", lambda: self.lm.chat(messages, opening))

    def fim(self, prefix: str, suffix: str) -> str:
        """Return a fill-in-the-middle prompt."""
        return self._text(self._key("fim", prefix, suffix), "fim", lambda: self.lm.fim(prefix, suffix))

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], before_chunk: BeforeChunk = _go_on
    ) -> list[Loglikelihood]:
        """Return the log-likelihood of each continuation after its context; see `LanguageModel`.

        Args:
            pairs: contexts with their continuations.
            before_chunk: called with the texts of each chunk that are to be computed, before they are; what it raises
                ends the call, and what was committed stays.

        Raises:
            StoreError: if the store cannot be read or written; what `before_chunk` raises.
            RequestsDied: if all that is computed together kills the engine.
        """
        kind: _Kind[tuple[str, str]] = _Kind(
            name="score",
            ask=self.lm.loglikelihood,
            text=lambda pair: pair[0] + pair[1],
            row=lambda each, cost: [float(each.logprob), each.n_tokens, each.greedy, each.failed, cost],
            fields=(float, int, bool, bool, int),
            failed=(0.0, 0, False, True),
            contract="loglikelihood returns one localprompt.Loglikelihood per pair: a finite logprob, an int, a bool",
        )
        keys = [self._key("score", context, spans_of(context), continuation) for context, continuation in pairs]
        return [Loglikelihood(*row[:-1]) for row in self._answered(kind, keys, pairs, before_chunk)]

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int], before_chunk: BeforeChunk = _go_on
    ) -> list[Generation]:
        """Return one completion per prompt; see `LanguageModel`, and `loglikelihood` for the rest.

        Raises:
            StoreError: if the store cannot be read or written; what `before_chunk` raises.
            RequestsDied: if all that is computed together kills the engine.
        """
        kind: _Kind[tuple[str, int]] = _Kind(
            name="generate",
            ask=lambda chunk: self.lm.generate([text for text, _ in chunk], sampling, [seed for _, seed in chunk]),
            text=lambda request: request[0],
            row=lambda each, cost: [each.text, each.n_tokens, each.finish_reason, cost + each.n_tokens],
            fields=(str, int, str, int),
            failed=("", 0, "failed"),
            contract="generate returns one localprompt.Generation per prompt: text a str, n_tokens an int",
        )
        how = asdict(sampling)
        requests = list(zip(prompts, seeds, strict=True))
        keys = [self._key("generate", prompt, spans_of(prompt), how, seed) for prompt, seed in requests]
        rows = self._answered(kind, keys, requests, before_chunk)
        return [Generation(text, n_tokens, _reason(reason)) for text, n_tokens, reason, _ in rows]

    def flush(self) -> None:
        """Commit what waits to be committed."""
        self._commit([])

    def _key(self, kind: str, *request: object) -> bytes:
        content = [ANSWERS_VERSION, self._namespace, self.facts.fingerprint, kind, *request]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()

    def _answered(
        self, kind: _Kind[_Request], keys: Sequence[bytes], requests: Sequence[_Request], before_chunk: BeforeChunk
    ) -> list[_Row]:
        """Return a row per request; a request that occurs twice is answered once and costs twice."""
        unique = dict(zip(keys, requests, strict=True))
        times = Counter(keys)
        # Requests with a common beginning lie together, so that little is computed twice where a chunk ends.
        order = sorted(unique, key=lambda key: (unique[key], key))
        rows: dict[bytes, _Row] = {}
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            known = self._known(chunk)
            missing = {key: unique[key] for key in chunk if key not in known}
            if missing:
                before_chunk([kind.text(request) for request in missing.values()])
                with self._progress(start + len(known), len(order)):
                    known.update(self._compute(kind, missing))
                # Another process may have been first; then its answer is the one that a replay will find.
                known.update(self._known(list(missing)))
            else:
                self.on_progress(start + len(chunk), len(order))
            found = {key: _unpacked(known[key], *kind.fields) for key in chunk}
            rows.update(found)
            self._failed.update((key, None) for key, row in found.items() if tuple(row[:-1]) == kind.failed)
            self._requested += sum(times[key] * row[-1] for key, row in found.items())
            self.answers_given += sum(times[key] for key in chunk)
            self.tokens_drawn += sum(times[key] * row[1] for key, row in found.items() if kind.name == "generate")
            self.answers_cached += sum(times[key] for key in chunk) - len(missing)
        return [rows[key] for key in keys]

    def _compute(self, kind: _Kind[_Request], wanted: Mapping[bytes, _Request]) -> dict[bytes, bytes]:
        """Compute and commit the answers to requests, a failed one to each that kills the engine; return them.

        Raises:
            RequestsDied: if all of them do, or too many workers died to say which. Then the engine may be broken: no
                request is called a killer, and the answers that others got are kept.
        """
        left: list[bytes] = list(wanted)
        killers: list[bytes] = []
        values: dict[bytes, bytes] = {}
        while left:
            costs: Sequence[int] = []
            answers: Sequence[Any] = [None] * len(left)
            died: RequestsDied | None = None
            try:
                costs = self.lm.count_tokens([kind.text(wanted[key]) for key in left])
                answers = kind.ask([wanted[key] for key in left])
            except RequestsDied as error:
                # Who dies of being counted takes the answers of the others along: they are asked again.
                died, answers = error, error.results if costs else answers
            rows = self._rows(kind, answers, costs or [0] * len(left), len(left), is_whole=died is None)
            found = {key: _packed(row) for key, row in zip(left, rows, strict=True) if row is not None}
            killers += [left[i] for i in died.killers] if died else []
            gives_up = died if died and (not died.killers or len(killers) == len(wanted)) else None
            if found and gives_up is None:  # in one transaction: asked alone later, killers would end the run
                found |= dict.fromkeys(killers, _packed([*kind.failed, 0]))
            self._commit([(key, kind.name, value) for key, value in found.items()])
            if gives_up is not None:
                raise gives_up
            values |= found
            left = [key for key in left if key not in found and key not in killers]
        return values

    def _rows(
        self, kind: _Kind[_Request], answers: Sequence[Any], costs: Sequence[int], n: int, *, is_whole: bool
    ) -> list[_Row | None]:
        """Return the answers to `n` requests as rows that can be read again, None where there is no answer.

        Raises:
            ModelError: if they are not that; a model may be anybody's.
        """

        def broken(how: str) -> ModelError:
            return ModelError(f"the model {self.facts.name} {how}", kind.contract)

        try:
            rows = [
                None if each is None else kind.row(each, int(cost)) for each, cost in zip(answers, costs, strict=True)
            ]
        except (AttributeError, TypeError, ValueError) as error:
            raise broken(f"answers what is no answer ({error})") from error
        if len(rows) != n or (is_whole and None in rows):
            raise broken(f"does not answer each of {n} requests")
        for row in rows:
            if row is not None and not all(map(_is_of, row, kind.fields)):
                raise broken(f"answers what is no answer ({', '.join(f'{field!r:.100}' for field in row[:-1])})")
        return rows

    def _text(self, key: bytes, kind: str, compute: Callable[[], str]) -> str:
        value = self._known([key]).get(key)
        if value is None:
            text = compute()
            value = self._remember(key, kind, [str(text), json.dumps(spans_of(text))])
        text, spans = _unpacked(value, str, str)
        try:
            return text if spans == "null" else Rendered(text, json.loads(spans))
        except (ValueError, TypeError, RecursionError):
            raise _damaged() from None

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        waiting = {key: self._pending[key][1] for key in keys if key in self._pending}
        asked = [key for key in keys if key not in waiting]
        found = self._answers.get(asked, self._run_id) if asked else []
        return waiting | {key: value for key, value in zip(asked, found, strict=True) if value is not None}

    def _remember(self, key: bytes, kind: str, row: _Row) -> bytes:
        value = _packed(row)
        self._pending[key] = kind, value
        if len(self._pending) >= _MAX_PENDING:
            self._commit([])
        return value

    def _commit(self, rows: Sequence[tuple[bytes, str, bytes]]) -> None:
        rows = [*((key, kind, value) for key, (kind, value) in self._pending.items()), *rows]
        if rows:
            self._answers.put(rows, self._run_id)
        self._pending.clear()

    @contextmanager
    def _progress(self, done: int, total: int) -> Iterator[None]:
        """Have the model report as a part of the whole call while it computes."""
        lm = self.lm
        if not isinstance(lm, Reporting):
            yield
            return
        before = lm.on_progress
        lm.on_progress = lambda more, _: self.on_progress(done + more, total)
        try:
            yield
        finally:
            lm.on_progress = before


def _reason(text: str) -> FinishReason:
    return cast("FinishReason", text) if text in ("stop", "failed") else "length"


def _is_of(value: object, kind: type) -> bool:
    is_finite = not isinstance(value, float) or math.isfinite(value)
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool) and is_finite


def _packed(row: _Row) -> bytes:
    # A scripted model may say half of a surrogate pair.
    packed: bytes = msgpack.packb(row, unicode_errors="surrogatepass")
    return packed


def _unpacked(value: bytes, *fields: type) -> _Row:
    """Return the fields of an answer; a store can come from anywhere, so their types are checked."""
    try:
        row = msgpack.unpackb(value, unicode_errors="surrogatepass")
    except (ValueError, msgpack.UnpackException):
        row = None
    if not isinstance(row, list) or len(row) != len(fields) or not all(map(_is_of, row, fields)):
        raise _damaged()
    return row


def _damaged() -> StoreError:
    return StoreError(
        "an answer in the store is damaged", "`localprompt runs check`, with the --store of the run, says more"
    )
