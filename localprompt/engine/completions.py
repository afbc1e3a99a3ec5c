"""Completions in lanes, one decode call at a time. Level 2.

    waiting     requests that have not begun: a walk through the tree of all of them fills lanes
    lanes       completions in the making: each draws one token a step

Requests may be added and cancelled between steps. What is decoded, in which batch, is a pure function of the requests,
of when they came and went, and of the tokens drawn. A lane that has drafts decodes some tokens of them with its own.
"""

from __future__ import annotations

import codecs
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from localprompt.engine.context import Context, Next
from localprompt.engine.drafts import Drafts
from localprompt.engine.frozen_walk import FrozenWalk
from localprompt.engine.llama import Vocabulary, utf8
from localprompt.engine.plan import Copy, Drop, Held, PlannedBatch, Room, Walk
from localprompt.engine.radix import RadixTree
from localprompt.engine.sampling import Sampler
from localprompt.engine.shared_walk import Reuse, SharedWalk
from localprompt.errors import ModelError
from localprompt.types import EngineStats, FinishReason, Generation, Sampling

if TYPE_CHECKING:
    from localprompt.engine.grammar import Constraint

Heard = Callable[[int, int, NDArray[np.float32]], None]
"""Called with a request's key, a token drawn for it, which may be one that ends it, and the logits that it had."""


def hear_nothing(_key: int, _token: int, _logits: NDArray[np.float32]) -> None:
    """Let tokens pass that nobody asked about."""


_FOREVER = 1 << 40
"""Cells of a context in which each sequence has its own."""
_CHEAP_ROWS = 16
"""Most rows of a decode call that carries guesses: in a fuller one a row that was guessed wrong costs as much as one
that a lane needs. What a call costs by its number of rows was not measured."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Completion wanted after `tokens`, of which there is at least one."""

    tokens: tuple[int, ...]
    sampling: Sampling
    seed: int
    drafts: tuple[tuple[int, ...], ...] = ()
    """What the completion may turn out to be, the likeliest first: saves decode calls where it is, changes nothing."""

    @property
    def most(self) -> int:
        """Tokens that it has at most, with its completion."""
        return len(self.tokens) + self.sampling.max_tokens


class Completions:
    """Completions of requests in one context; each fits it.

    Args:
        context: where they are decoded; sequences that others have there are theirs.
        vocabulary: of the model.
        lanes: completions in the making at once.
        constraint: makes what holds a completion to a grammar.
        heard: is told of each token drawn.
    """

    def __init__(
        self,
        context: Context,
        vocabulary: Vocabulary,
        lanes: int,
        constraint: Callable[[str], Constraint],
        heard: Heard = hear_nothing,
    ) -> None:
        self._context = context
        self._vocabulary = vocabulary
        self._n_lanes = lanes
        self._constraint = constraint
        self._heard = heard
        self._requests: dict[int, GenerateRequest] = {}  # key to a request that has not begun
        self._lanes: list[_Lane] = []
        self._n_added = 0
        self._walk: Walk = FrozenWalk(RadixTree.of([]), [], frozen=2)
        self._plan()

    @property
    def busy(self) -> bool:
        """True as long as a completion is unfinished."""
        return bool(self._requests or self._lanes)

    def add(self, requests: Sequence[GenerateRequest]) -> list[int]:
        """Return a key for each request, which begins when a lane is free and those that came before have begun."""
        keys = list(range(self._n_added, self._n_added + len(requests)))
        self._n_added += len(requests)
        self._requests.update(zip(keys, requests, strict=True))
        return keys

    def cancel(self, key: int) -> None:
        """Forget a request, whether or not it has begun; nothing happens to one that is finished."""
        self._requests.pop(key, None)
        if not self._requests:
            self._plan()  # nobody waits for the rest of the walk
        for lane in [lane for lane in self._lanes if lane.key == key]:
            self._lanes.remove(lane)
            self._context.drop(lane.id)

    def said(self, key: int) -> str:
        """Return what a completion that goes on has said for certain: no later token takes any of it back."""
        return next((lane.said for lane in self._lanes if lane.key == key), "")

    def step(self) -> list[tuple[int, Generation]]:
        """Decode once; return the completions that ended, with their keys.

        Raises:
            ModelError: if llama.cpp fails; all completions are then forgotten.
        """
        if self._walk.done and self._requests:
            self._plan()
        batch = None
        if not self._walk.done and len(self._lanes) < self._n_lanes:
            batch = self._walk.next_batch(self._room())
        if batch is None and not self._lanes:
            restart(self._context, self._walk)
            return []
        guesses = self._guesses(batch)
        tokens = [each for lane, guess in zip(self._lanes, guesses, strict=True) for each in lane.next_tokens(guess)]
        try:
            logits = self._context.run(batch, tokens)
        except ModelError:
            self._requests, self._lanes = {}, []
            self._plan()
            raise
        self._draw(logits, guesses)
        if batch is not None:
            read = zip(batch.outputs, logits[len(tokens) :], strict=True)
            self._first.update({at: row.copy() for at, row in read if at in self._left})
            self._context.apply(batch.after)
            for sequence, lane_id in batch.ended:
                self._begin(sequence, lane_id)
        if not (self._requests or self._walk.done):
            self._plan()  # what is left of the walk was cancelled
        ended = [lane for lane in self._lanes if lane.finish_reason is not None]
        self._lanes = [lane for lane in self._lanes if lane.finish_reason is None]
        for lane in ended:
            self._context.drop(lane.id)
        self._close_ranks()
        return [(lane.key, lane.result()) for lane in ended]

    def stand_back(self) -> Held:
        """Return what others leave alone who use the memory until the next step; beginnings kept there are theirs."""
        self._forget_kept()
        return Held({*self._walk.held, *(lane.id for lane in self._lanes)}, self._promised)

    @property
    def _promised(self) -> int:
        """Cells that lanes will need beside those that they have."""
        return sum(lane.request.sampling.max_tokens - len(lane.tokens) + 1 for lane in self._lanes)

    def _forget_kept(self) -> None:
        if isinstance(self._walk, SharedWalk):
            self._context.prefixes.lose(self._walk.unkept)
            self._walk.let_go()

    def _plan(self) -> None:
        """Plan a walk through all requests that have not begun, after one that has begun all of its own."""
        for sequence in self._walk.held:
            self._context.drop(sequence)
        self._forget_kept()
        self._keys = sorted(self._requests, key=lambda key: self._requests[key].tokens)
        tree = RadixTree.of([self._requests[key].tokens for key in self._keys])
        wanted = [{len(tokens) - 1} for tokens in tree.sequences]
        reserve = [self._requests[key].sampling.max_tokens for key in self._keys]
        self._walk = (
            FrozenWalk(tree, wanted, reserve.__getitem__, frozen=len(self._context.ids) - self._n_lanes)
            if self._context.copies_whole
            else SharedWalk(
                tree, wanted, reserve.__getitem__, holders=self._context.holders, reuse=self._reuse(tree, wanted)
            )
        )
        # Logits after a prompt, for the completions that begin with them: the cells hold none.
        self._last = [(path[-1][0], len(s) - 1) for path, s in zip(tree.paths(), tree.sequences, strict=True)]
        self._left = Counter(self._last)
        self._first: dict[tuple[int, int], NDArray[np.float32]] = {}

    def _reuse(self, tree: RadixTree, wanted: Sequence[set[int]]) -> Reuse | None:
        if not self._requests:
            return None
        longest = max(request.most for request in self._requests.values())
        return self._context.reuse(tree, list(map(len, tree.sequences)), wanted, longest)

    def _room(self) -> Room:
        n = len(self._lanes)
        n_rows = max(0, self._context.settings.n_ubatch - n)
        taken = {*self._walk.held, *(lane.id for lane in self._lanes)}
        ids = [i for i in self._context.ids if i not in taken]
        cells = _FOREVER if self._context.shape.has_streams else self._context.n_free - self._promised
        return Room(n_rows, ids, len(self._context.ids) - n, cells, self._n_lanes - n)

    def _guesses(self, batch: PlannedBatch | None) -> list[tuple[int, ...]]:
        """Return tokens for each lane that are decoded with its next one, as far as rows and cells cost little."""
        guesses: list[tuple[int, ...]] = []
        spare = self._spare_rows(batch)
        for k, lane in enumerate(self._lanes):
            guesses.append(lane.guess(-(-spare // (len(self._lanes) - k))) if spare > 0 else ())
            spare -= len(guesses[-1])
        return guesses

    def _spare_rows(self, batch: PlannedBatch | None) -> int:
        """Return how many rows of the next decode call may be guesses."""
        if not self._context.truncates or not any(lane.request.drafts for lane in self._lanes):
            return 0
        n, n_outputs = len(self._lanes), 0
        if batch is not None:
            n, n_outputs = n + len(batch.rows), len(batch.outputs)
        rows = min(_CHEAP_ROWS, self._context.settings.n_ubatch) - n
        spare = min(rows, self._context.shape.n_seq_max - len(self._lanes) - n_outputs)
        if not self._context.settings.exact:
            return spare  # wrong guesses give their cells back
        return min(spare, self._room().cells) if self._walk.done and not self._requests else 0

    def _draw(self, logits: Sequence[NDArray[np.float32]], guesses: Sequence[tuple[int, ...]]) -> None:
        """Let each lane draw from the rows that are its own, and forget the guesses that were wrong."""
        rows = iter(logits)
        for lane, guess in zip(self._lanes, guesses, strict=True):
            n_right = lane.draw_as_guessed(list(islice(rows, 1 + len(guess))), guess)
            if not guess:
                continue
            self._context.stats += EngineStats(tokens_drafted=len(guess), tokens_accepted=n_right)
            if n_right < len(guess) and lane.finish_reason is None:
                self._context.truncate(lane.id, lane.position)

    def _begin(self, sequence: int, lane_id: int) -> None:
        """Make a lane with the first token of its completion drawn; none for a request that was cancelled."""
        key, at = self._keys[sequence], self._last[sequence]
        logits = self._first[at]
        self._left[at] -= 1
        if not self._left[at]:
            del self._first[at]
        request = self._requests.pop(key, None)
        if request is None:
            self._context.drop(lane_id)
            return
        constraint = self._constraint(request.sampling.grammar) if request.sampling.grammar else None
        lane = _Lane(lane_id, key, request, self._vocabulary, constraint, self._heard)
        lane.draw(logits)
        self._lanes.append(lane)

    def _close_ranks(self) -> None:
        """Give lanes ids without gaps once no more begin, where llama.cpp computes neighbours together."""
        if not (self._context.joins_neighbours and self._walk.done):
            return
        free = sorted(set(self._context.ids) - {lane.id for lane in self._lanes})
        for lane in sorted(self._lanes, key=lambda lane: -lane.id):
            if free and free[0] < lane.id:
                target = free.pop(0)
                self._context.apply([Copy(lane.id, target), Drop(lane.id)])
                lane.id = target


@dataclass(slots=True)
class _Lane:
    """One completion in the making."""

    id: int
    key: int
    request: GenerateRequest
    vocabulary: Vocabulary
    constraint: Constraint | None
    heard: Heard
    sampler: Sampler = field(init=False)
    stops: list[bytes] = field(init=False)
    drafts: Drafts = field(init=False)
    tokens: list[int] = field(init=False, default_factory=list)
    data: bytes = field(init=False, default=b"")
    finish_reason: FinishReason | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.request.sampling, self.request.seed)
        self.stops = sorted(utf8(stop) for stop in self.request.sampling.stop)
        self.drafts = Drafts(self.request.drafts)

    @property
    def position(self) -> int:
        """Position of the token that is decoded next: the last one drawn."""
        return len(self.request.tokens) + len(self.tokens) - 1

    @property
    def said(self) -> str:
        """The text so far, without what may become a stop string or is a part of a character."""
        certain = self.data[: len(self.data) - held_back(self.data, self.stops)]
        return codecs.getincrementaldecoder("utf-8")("replace").decode(certain)

    def guess(self, most: int) -> tuple[int, ...]:
        """Return at most so many tokens that may follow, and no more than the completion may have after the next."""
        return self.drafts.guess(self.tokens, min(most, self.request.sampling.max_tokens - len(self.tokens) - 1))

    def next_tokens(self, guess: Sequence[int]) -> list[Next]:
        """Return the last token drawn and a guess what follows it, to be decoded."""
        return [Next(self.id, token, self.position + k) for k, token in enumerate((self.tokens[-1], *guess))]

    def draw_as_guessed(self, rows: Sequence[NDArray[np.float32]], guess: Sequence[int]) -> int:
        """Draw from the logits after each token decoded, up to one that was guessed wrong; return how many were right.

        What comes after the end of the completion is not drawn.
        """
        before = len(self.tokens)
        for row, guessed in zip(rows, (*guess, None), strict=True):
            self.draw(row)
            if self.finish_reason is not None or self.tokens[-1] != guessed:
                break
        drawn = self.tokens[before:]
        n_right = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(drawn, guess, strict=False)))
        self.drafts.judge(len(guess), n_right)
        return n_right

    def draw(self, logits: NDArray[np.float32]) -> None:
        """Draw the next token and see whether the completion ends with it."""
        allowed = None if self.constraint is None else self.constraint.allowed()
        if allowed is not None and len(allowed) == 0:
            self.finish_reason = "length"  # a dead end: the text is as incomplete as one that the limit cuts off
            return
        token = self.sampler.draw(logits, allowed)
        self.heard(self.key, token, logits)
        self._accept(token)

    def _accept(self, token: int) -> None:
        if self.vocabulary.is_end(token):
            self.finish_reason = "stop"
            return
        self.tokens.append(token)
        piece = self.vocabulary.written(token)
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


def held_back(data: bytes, stops: Sequence[bytes]) -> int:
    """Return how many of the last bytes may become one of some stop strings, which are sorted; none is in the bytes."""
    longest = max(map(len, stops), default=1)
    for at in range(max(0, len(data) - longest + 1), len(data)):
        begun = data[at:]
        found = bisect_left(stops, begun)
        if found < len(stops) and stops[found].startswith(begun):
            return len(begun)
    return 0


def restart(context: Context, walk: Walk, but: Collection[int] = ()) -> None:
    """Forget everything but some sequences of others, and let a walk that found no room go on from there.

    In exact mode the cells of what was dropped are free only then, and what was kept from call to call takes some.
    Otherwise there is always room: requests fit.
    """
    before = context.n_free
    context.clear(but)
    if context.n_free == before or not isinstance(walk, SharedWalk):
        raise AssertionError("a request that fits the context found no room")
    walk.restart()
