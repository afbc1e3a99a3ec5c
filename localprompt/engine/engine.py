"""Score and generate over a tree of requests: each token prefix is decoded once. Level 2.

    score       walk the tree of all requests; read the wanted logits of each row as it passes
    generate    the same walk fills lanes with prompts; between two pieces of it every lane draws one token

What is decoded, in which batch, is a pure function of the requests (and, when generating, of the tokens drawn), and of
the prefixes that earlier calls have left in the memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from localprompt.engine.completions import Completions, GenerateRequest, Heard, hear_nothing, restart
from localprompt.engine.context import Next, Shape
from localprompt.engine.frozen_walk import FrozenWalk
from localprompt.engine.llama import Llama
from localprompt.engine.plan import NOTHING, Held, Room, Walk
from localprompt.engine.prefixes import Prefixes
from localprompt.engine.radix import RadixTree
from localprompt.engine.settings import MOST_SEQUENCES
from localprompt.engine.shared_walk import SharedWalk
from localprompt.types import EngineStats, Generation, Loglikelihood

if TYPE_CHECKING:
    from localprompt.engine.grammar import Constraint, Grammars

Progress = Callable[[int, int], None]
"""Called after each decode with (requests done, requests in all)."""

_MOST_PREFIXES = 16
"""Beginnings of texts that are kept from call to call: few ids, so that a batch has as many as it needs."""
_Read = tuple[NDArray[np.float32], list[tuple[int, int]]]

_STREAM_PADDING = 256
"""llama.cpp rounds the cells of a stream up to this."""
_STREAM_SPARE = 8
"""Sequences of a context with streams beside its lanes: prompts on their way to them."""
_FEWEST_STREAMS = 8
_LEAST_STREAMED = 8192
"""Tokens of all lanes together, at most, from which on streams are worth their copies: 64 lanes of 60 were slower with
streams than without, of 200 faster (`benchmarks/LOG.md`)."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Log-probability wanted of `tokens[start:]` after `tokens[:start]`; 1 <= start <= len(tokens)."""

    tokens: tuple[int, ...]
    start: int


class Engine:
    """Scores and generates with one loaded model. Requests must fit the context: the caller has checked."""

    def __init__(self, llama: Llama) -> None:
        self._llama = llama
        self._called = EngineStats()
        context = llama.context
        # States and windows are kept whole or not at all, and exact numbers depend on nothing but the requests.
        can_keep = not (context.copies_whole or context.has_windows or llama.settings.exact)
        ids = context.ids[max(1, len(context.ids) - _MOST_PREFIXES) :] if len(context.ids) > 4 * _MOST_PREFIXES else ()
        context.prefixes = Prefixes(ids if can_keep else (), llama.settings.n_ctx // 3)

    @property
    def copies_whole(self) -> bool:
        """True for models with recurrent layers; see `Context`."""
        return self._llama.context.copies_whole

    @property
    def stats(self) -> EngineStats:
        """Cumulative work."""
        return self._called + self._llama.stats

    def room_beside(self, held: Held) -> int:
        """Return how long a text may be that is read beside completions which hold a part of the memory.

        In exact mode none is: numbers are exact in a memory that was empty.
        """
        context = self._llama.context
        if context.settings.exact or len(context.ids) - len(held.ids) <= len(context.holders):
            return 0
        return context.most_free - context.held_by(held.ids)

    def score(
        self, requests: Sequence[ScoreRequest], progress: Progress = lambda *_: None, held: Held = NOTHING
    ) -> list[Loglikelihood]:
        """Return one log-likelihood per request, same order and length.

        What is held is left alone: no request is longer than `room_beside` it. The last token of a request is never
        decoded: nothing is predicted after it.
        """
        logprobs = [0.0] * len(requests)
        greedy = [True] * len(requests)
        for row, targets in self.rows(requests, progress, held):
            best, lse = int(row.argmax()), logsumexp(row)
            for request, token in targets:
                logprobs[request] += float(row[token]) - lse
                greedy[request] &= token == best
        return [
            Loglikelihood(logprob, len(request.tokens) - request.start, is_greedy)
            for logprob, request, is_greedy in zip(logprobs, requests, greedy, strict=True)
        ]

    def rows(
        self, requests: Sequence[ScoreRequest], progress: Progress = lambda *_: None, held: Held = NOTHING
    ) -> Iterator[_Read]:
        """Yield each row of logits that the requests need, with the (request, token) pairs to read there.

        A row is valid until the next one is asked for; those of one request come in the order of its tokens.
        """
        began = time.perf_counter()
        context = self._llama.context
        paths = [request.tokens[:-1] for request in requests]
        tree = RadixTree.of(sorted({p for p, r in zip(paths, requests, strict=True) if r.start < len(r.tokens)}))
        targets = _targets(requests, paths, tree)
        wanted: list[set[int]] = [set() for _ in tree.sequences]
        for owner, position in targets:
            wanted[owner].add(position)
        starts = dict(zip(paths, (request.start for request in requests), strict=True))
        longest = max(map(len, tree.sequences), default=0) + context.held_by(held.ids) + held.promised
        reuse = context.reuse(tree, [starts[sequence] for sequence in tree.sequences], wanted, longest)
        ids = [i for i in context.ids if i not in held.ids]
        walk: Walk = (
            FrozenWalk(tree, wanted, frozen=max(1, len(ids) // 2))
            if context.copies_whole
            else SharedWalk(tree, wanted, holders=ids[: len(context.holders)], reuse=reuse)
        )
        while not walk.done:
            free = [i for i in ids if i not in walk.held]
            cells = context.n_free
            batch = walk.next_batch(Room(min(context.settings.n_ubatch, cells), free, len(context.ids), cells))
            if batch is None:
                restart(context, walk, held.ids)
                continue
            for row, at in zip(context.run(batch), batch.outputs, strict=True):
                yield row, targets[at]
            context.apply(batch.after)
            progress(round(len(requests) * walk.n_done / len(tree.sequences)), len(requests))
        if context.settings.exact or context.n_free < held.promised:
            context.clear(held.ids)
        self._count(sum(len(path) for path in paths), began)

    def generate(self, requests: Sequence[GenerateRequest], progress: Progress = lambda *_: None) -> list[Generation]:
        """Return one completion per request, same order and length; lanes are refilled as completions end.

        Raises:
            ConfigError: if a grammar does not compile, before anything is computed.
        """
        for pattern in dict.fromkeys(request.sampling.grammar for request in requests):
            self.check_grammar(pattern)
        began = time.perf_counter()
        results: dict[int, Generation] = {}
        completions = self.completions(requests)
        completions.add(requests)
        while completions.busy:
            results.update(completions.step())
            progress(len(results), len(requests))
        generations = [results[key] for key in range(len(requests))]
        self._count(sum(len(r.tokens) + g.n_tokens for r, g in zip(requests, generations, strict=True)), began)
        return generations

    def check_grammar(self, pattern: str) -> None:
        """Do nothing.

        Raises:
            ConfigError: if a grammar does not compile.
        """
        if pattern:
            self._grammars.check(pattern)

    def completions(self, requests: Sequence[GenerateRequest], heard: Heard = hear_nothing) -> Completions:
        """Return what completes requests like these, in the kind of memory that suits them; none is added yet.

        `heard` is told of each token drawn, see `Completions`.
        """
        context, lanes = self._llama.context, self._llama.settings.lanes
        shape = self._streams_for(requests)
        streams = self._llama.streams(shape) if shape is not None else None
        if streams is not None:
            context, lanes = streams, streams.shape.n_seq_max - _STREAM_SPARE
            context.clear()
        elif context.settings.exact:
            self.forget()
        return Completions(context, self._llama, lanes, self._constraint, heard)

    def prefill_rate(self, n_tokens: int = 512) -> float:
        """Return tokens per second of decoding one fresh sequence of arbitrary tokens, logits for the last."""
        n = min(n_tokens, self._llama.settings.n_ctx)
        tokens = tuple(np.random.Generator(np.random.PCG64(0)).integers(0, self._llama.n_vocab, n).tolist())
        self.forget()
        began = time.perf_counter()
        for _ in self.rows([ScoreRequest((*tokens, 0), n)]):
            pass
        seconds = time.perf_counter() - began
        self._llama.context.clear()
        return n / seconds

    def generation_rate(self, n_tokens: int) -> float:
        """Return tokens per second of decoding `n_tokens` one at a time, as many of them as the context holds.

        One sequence, one token a decode: what everything that decodes many at once is measured against.

        Source: `llama-bench` (llama.cpp, tools/llama-bench), its test tg: an empty cache, then n decodes of one
        arbitrary token each, with logits, nothing drawn from them. Differs: the first token is arbitrary too where
        llama-bench takes BOS, and the context is the engine's, with room for many sequences. Its test pp is
        `prefill_rate`.
        """
        context, n = self._llama.context, min(n_tokens, self._llama.context.shape.longest)
        tokens = np.random.Generator(np.random.PCG64(0)).integers(0, self._llama.n_vocab, n).tolist()
        context.clear()
        began = time.perf_counter()
        for position, token in enumerate(tokens):
            context.run(None, [Next(context.ids[0], token, position)])
        seconds = time.perf_counter() - began
        context.clear()
        return n / seconds

    def forget(self) -> None:
        """Forget all sequences: what was kept, and what a call that ended in the middle left."""
        self._llama.clear()

    def _streams_for(self, requests: Sequence[GenerateRequest]) -> Shape | None:
        """Return the shape of a context with streams, or None where cells that all share are as good."""
        settings = self._llama.settings
        if self._llama.context.copies_whole or self._llama.context.has_windows or settings.exact or not requests:
            return None
        longest = max(request.most for request in requests)
        length = -(-longest // _STREAM_PADDING) * _STREAM_PADDING
        most = min(settings.lanes, MOST_SEQUENCES - _STREAM_SPARE)
        lanes = min(most, settings.stream_ctx // length - _STREAM_SPARE, len(requests))
        n_new = sum(request.sampling.max_tokens for request in requests) / len(requests)
        if lanes < _FEWEST_STREAMS or lanes * n_new < _LEAST_STREAMED:
            return None
        n_sequences = lanes + _STREAM_SPARE
        return Shape(n_sequences * length, n_sequences, has_streams=True)

    def _constraint(self, pattern: str) -> Constraint:
        return self._grammars.constraint(pattern)

    def _count(self, requested: int, began: float) -> None:
        self._called += EngineStats(tokens_requested=requested, seconds=time.perf_counter() - began)

    @cached_property
    def _grammars(self) -> Grammars:
        from localprompt.engine.grammar import Grammars  # noqa: PLC0415 - 0.1 s that most workers can do without

        return Grammars(self._llama)


def _targets(
    requests: Sequence[ScoreRequest], paths: Sequence[tuple[int, ...]], tree: RadixTree
) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return, for each row whose logits are needed, as (owner, position): the (request, token) pairs to read there."""
    place = {sequence: i for i, sequence in enumerate(tree.sequences)}
    owners = tree.paths()
    targets: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for number, (request, path) in enumerate(zip(requests, paths, strict=True)):
        if request.start == len(request.tokens):
            continue  # an empty continuation: probability 1, nothing to decode
        position = request.start - 1
        for owner, end in owners[place[path]]:
            while position < end:
                targets.setdefault((owner, position), []).append((number, request.tokens[position + 1]))
                position += 1
    return targets


def logsumexp(row: NDArray[np.float32]) -> float:
    """Return log sum exp of a row of logits, summed in float64."""
    top = row.max()
    return float(top) + float(np.log(np.exp(row - top).sum(dtype=np.float64)))
