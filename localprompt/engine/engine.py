"""Score and generate over a tree of requests: each token prefix is decoded once. Level 2.

    score       walk the tree of all requests; read the wanted logits of each row as it passes
    generate    the same walk fills lanes with prompts; between two pieces of it every lane draws one token

What is decoded, in which batch, is a pure function of the requests (and, when generating, of the tokens drawn), so the
same call gives the same numbers.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from localprompt.engine.llama import TRUNK, Llama, utf8
from localprompt.engine.plan import PlannedBatch, Planner, Room
from localprompt.engine.radix import RadixTree, common_prefix
from localprompt.engine.sampling import Sampler
from localprompt.types import EngineStats, FinishReason, Generation, Loglikelihood, Sampling

if TYPE_CHECKING:
    from localprompt.engine.grammar import Constraint, Grammars

Progress = Callable[[int, int], None]
"""Called after each decode with (requests done, requests in all)."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Log-probability wanted of `tokens[start:]` after `tokens[:start]`; 1 <= start <= len(tokens)."""

    tokens: tuple[int, ...]
    start: int


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Completion wanted after `tokens`, of which there is at least one."""

    tokens: tuple[int, ...]
    sampling: Sampling
    seed: int


class Engine:
    """Scores and generates with one loaded model. Requests must fit the context: the caller has checked."""

    def __init__(self, llama: Llama) -> None:
        self._llama = llama
        self.stats = EngineStats()

    def score(self, requests: Sequence[ScoreRequest], progress: Progress = lambda *_: None) -> list[Loglikelihood]:
        """Return one log-likelihood per request, same order and length.

        The last token of a request is never decoded: nothing is predicted after it.
        """
        began = time.perf_counter()
        paths = [request.tokens[:-1] for request in requests]
        tree = RadixTree.of(sorted({p for p, r in zip(paths, requests, strict=True) if r.start < len(r.tokens)}))
        targets = _targets(requests, paths, tree)
        wanted: list[set[int]] = [set() for _ in tree.sequences]
        for owner, position in targets:
            wanted[owner].add(position)
        logprobs = [0.0] * len(requests)
        greedy = [True] * len(requests)
        planner = Planner(tree, wanted)
        while not planner.done:
            batch = planner.next_batch(self._score_room(planner.trunk))
            if batch is None:
                raise AssertionError("a request that fits the context found no room")
            lanes = range(1, len(batch.visits) + 1)
            logits = self._decode(batch, list(lanes))
            for row, at in zip(logits, batch.outputs, strict=True):
                best, lse = int(row.argmax()), logsumexp(row)
                for request, token in targets[at]:
                    logprobs[request] += float(row[token]) - lse
                    greedy[request] &= token == best
            self._park(batch, lanes[-1])
            for lane in lanes:
                self._llama.drop(lane)
            progress(round(len(requests) * (batch.visits[-1].sequence + 1) / len(tree.sequences)), len(requests))
        self._llama.clear()
        requested = sum(len(path) for path in paths)
        self.stats += EngineStats(tokens_requested=requested, seconds=time.perf_counter() - began)
        return [
            Loglikelihood(logprob, len(request.tokens) - request.start, is_greedy)
            for logprob, request, is_greedy in zip(logprobs, requests, greedy, strict=True)
        ]

    def generate(self, requests: Sequence[GenerateRequest], progress: Progress = lambda *_: None) -> list[Generation]:
        """Return one completion per request, same order and length; lanes are refilled as completions end.

        Raises:
            ConfigError: if a grammar does not compile, before anything is computed.
        """
        self._check_grammars(requests)
        began = time.perf_counter()
        order = sorted(range(len(requests)), key=lambda i: requests[i].tokens)
        tree = RadixTree.of([requests[i].tokens for i in order])
        wanted = [{len(tokens) - 1} for tokens in tree.sequences]
        planner = Planner(tree, wanted, reserve=lambda s: requests[order[s]].sampling.max_tokens)
        results: list[Generation | None] = [None] * len(requests)
        lanes: list[_Lane] = []
        last_row = np.empty(0, np.float32)  # logits after the whole trunk, for a prompt equal to it
        done = 0
        while lanes or not planner.done:
            batch = None
            if not planner.done and len(lanes) < self._llama.settings.lanes:
                batch = planner.next_batch(self._generate_room(tree, planner, lanes))
            if batch is None and not lanes:
                raise AssertionError("a request that fits the context found no room")
            free = [i for i in range(1, self._llama.settings.lanes + 1) if i not in {lane.id for lane in lanes}]
            logits = self._decode(batch, free, lanes)
            for lane, row in zip(lanes, logits, strict=False):
                lane.draw(row)
            if batch is not None:
                rows = dict(zip(batch.outputs, logits[len(lanes) :], strict=True))
                admitted, last_row = self._admit(batch, free, tree, rows, last_row)
                lanes += [self._begin(lane, s, requests[order[s]], row) for lane, s, row in admitted]
            for lane in lanes:
                if lane.finish_reason is not None:
                    results[order[lane.sequence]] = lane.result()
                    self._llama.drop(lane.id)
                    done += 1
            lanes = [lane for lane in lanes if lane.finish_reason is None]
            progress(done, len(requests))
        self._llama.clear()
        generations = [result for result in results if result is not None]
        requested = sum(len(r.tokens) + g.n_tokens for r, g in zip(requests, generations, strict=True))
        self.stats += EngineStats(tokens_requested=requested, seconds=time.perf_counter() - began)
        return generations

    def prefill_rate(self, n_tokens: int = 512) -> float:
        """Return tokens per second of decoding one fresh sequence of arbitrary tokens, logits for the last."""
        n = min(n_tokens, self._llama.settings.n_ctx)
        tokens = tuple(np.random.Generator(np.random.PCG64(0)).integers(0, self._llama.n_vocab, n).tolist())
        planner = Planner(RadixTree.of([tokens]), [{n - 1}])
        self._llama.clear()
        began = time.perf_counter()
        while not planner.done:
            batch = planner.next_batch(self._score_room(planner.trunk))
            if batch is None:
                raise AssertionError("the probe found no room")
            self._decode(batch, [1])
            self._park(batch, 1)
            self._llama.drop(1)
        seconds = time.perf_counter() - began
        self._llama.clear()
        return n / seconds

    # One batch

    def _score_room(self, trunk: int) -> Room:
        settings = self._llama.settings
        cells = settings.n_ctx - trunk
        return Room(min(settings.n_ubatch, cells), settings.n_seq_max - 1, settings.n_seq_max, cells)

    def _generate_room(self, tree: RadixTree, planner: Planner, lanes: Sequence[_Lane]) -> Room:
        settings = self._llama.settings
        n = len(lanes)
        held = _cells_held(tree, [lane.sequence for lane in lanes], planner.upcoming[: planner.trunk])
        cells = settings.n_ctx - held - sum(lane.request.sampling.max_tokens for lane in lanes)
        return Room(settings.n_ubatch - n, settings.lanes - n, settings.n_seq_max - n, cells)

    def _decode(
        self, batch: PlannedBatch | None, free: Sequence[int], lanes: Sequence[_Lane] = ()
    ) -> NDArray[np.float32]:
        """Decode one token of each generating lane and the rows of a planned batch; logits in that order."""
        n = len(lanes)
        tokens = [lane.tokens[-1] for lane in lanes]
        positions = [lane.position for lane in lanes]
        sharers = [(k, 1) for k in range(n)]
        ids = [lane.id for lane in lanes]
        outputs = [True] * n
        if batch is not None:
            for visit, lane in zip(batch.visits, free, strict=False):
                self._llama.share(TRUNK, lane, visit.kept)
                ids.append(lane)
            tokens += [row.token for row in batch.rows]
            positions += [row.position for row in batch.rows]
            sharers += [(n + row.first, row.count) for row in batch.rows]
            outputs += [row.output for row in batch.rows]
        if not tokens:  # all visits of the batch equal the trunk: their first token comes from its kept logits
            return np.empty((0, self._llama.n_vocab), np.float32)
        logits = self._llama.decode(tokens, positions, sharers, ids, outputs)
        self.stats += EngineStats(tokens_decoded=len(tokens), output_rows=len(logits), decode_calls=1)
        return logits

    def _park(self, batch: PlannedBatch, last_lane: int) -> None:
        """Make the trunk the part of the last visited path that the next batch needs."""
        self._llama.drop(TRUNK)
        self._llama.share(last_lane, TRUNK, batch.trunk)

    def _admit(
        self,
        batch: PlannedBatch,
        free: Sequence[int],
        tree: RadixTree,
        rows: dict[tuple[int, int], NDArray[np.float32]],
        last_row: NDArray[np.float32],
    ) -> tuple[list[tuple[int, int, NDArray[np.float32]]], NDArray[np.float32]]:
        """Return (lane, sequence, first logits) of the prompts that are complete, and the logits after the trunk."""
        self._park(batch, free[len(batch.visits) - 1])
        admitted = []
        for visit, lane in zip(batch.visits, free, strict=False):
            length = len(tree.sequences[visit.sequence])
            if visit.end < length:  # cut by the batch: the trunk has it
                self._llama.drop(lane)
                continue
            # A prompt equal to the one before owns no row. The KV cache stores no logits, so they are handed on.
            last_row = rows.get((visit.sequence, length - 1), last_row)
            admitted.append((lane, visit.sequence, last_row))
        return admitted, last_row.copy()

    def _begin(self, lane_id: int, sequence: int, request: GenerateRequest, logits: NDArray[np.float32]) -> _Lane:
        """Return a lane with the first token of its completion drawn."""
        pattern = request.sampling.grammar
        constraint = self._grammars.constraint(pattern) if pattern else None
        lane = _Lane(lane_id, sequence, request, self._llama, constraint)
        lane.draw(logits)
        return lane

    def _check_grammars(self, requests: Sequence[GenerateRequest]) -> None:
        for pattern in dict.fromkeys(request.sampling.grammar for request in requests):
            if pattern:
                self._grammars.check(pattern)

    @cached_property
    def _grammars(self) -> Grammars:
        from localprompt.engine.grammar import Grammars  # noqa: PLC0415 - 0.1 s that most workers can do without

        return Grammars(self._llama)


@dataclass(slots=True)
class _Lane:
    """One completion in the making."""

    id: int
    sequence: int
    request: GenerateRequest
    llama: Llama
    constraint: Constraint | None
    sampler: Sampler = field(init=False)
    stops: list[bytes] = field(init=False)
    tokens: list[int] = field(init=False, default_factory=list)
    data: bytes = field(init=False, default=b"")
    finish_reason: FinishReason | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.request.sampling, self.request.seed)
        self.stops = [utf8(stop) for stop in self.request.sampling.stop]

    @property
    def position(self) -> int:
        """Position of the token that is decoded next: the last one drawn."""
        return len(self.request.tokens) + len(self.tokens) - 1

    def draw(self, logits: NDArray[np.float32]) -> None:
        """Draw the next token and see whether the completion ends with it."""
        if self.constraint is None:
            self._accept(self.sampler.draw(logits))
            return
        allowed = self.constraint.allowed()
        if len(allowed) == 0:
            self.finish_reason = "length"  # a dead end: the text is as incomplete as one that the limit cuts off
            return
        self._accept(self.sampler.draw(logits, allowed))

    def _accept(self, token: int) -> None:
        if self.llama.is_end(token):
            self.finish_reason = "stop"
            return
        self.tokens.append(token)
        piece = self.llama.written(token)
        # A stop string may lie across token boundaries: look where it could have begun.
        begin = max(0, len(self.data) - max(map(len, self.stops), default=0))
        self.data += piece
        if self.constraint is not None:
            self.constraint.accept(token)
        ends = [at for stop in self.stops if (at := self.data.find(stop, begin)) >= 0]
        if ends:
            self.data = self.data[: min(ends)]
            self.finish_reason = "stop"
        elif self.constraint is not None and self.constraint.is_complete:
            self.finish_reason = "stop"
        elif len(self.tokens) == self.request.sampling.max_tokens:
            self.finish_reason = "length"

    def result(self) -> Generation:
        """Return the finished completion; a character that the token limit cut in two is left out."""
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(self.data)
        return Generation(text, len(self.tokens), self.finish_reason or "length")


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


def _cells_held(tree: RadixTree, active: Sequence[int], trunk: tuple[int, ...]) -> int:
    """Return the KV cells of the prompts of active lanes and of the trunk, shared cells counted once."""
    held = 0
    previous: tuple[int, ...] = ()
    for path in sorted([trunk, *(tree.sequences[s] for s in active)]):
        held += len(path) - common_prefix(previous, path)
        previous = path
    return held


def logsumexp(row: NDArray[np.float32]) -> float:
    """Return log sum exp of a row of logits, summed in float64."""
    top = row.max()
    return float(top) + float(np.log(np.exp(row - top).sum(dtype=np.float64)))
