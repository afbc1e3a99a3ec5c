"""One model in several processes that share the work: an engine for each GPU, or for some of the cores. Level 2.

The requests of a call, in the order of their tree, are cut into as many parts as there are engines. Where it is cut,
both sides compute what they have in common, so the cuts are those with which the costliest part is the cheapest: a
group that shares a beginning stays together unless that takes longer.
"""

from __future__ import annotations

import queue
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

from localprompt import errors
from localprompt.engine import placement
from localprompt.engine.device_list import visible
from localprompt.engine.gguf import GGUFHeader
from localprompt.engine.process import EngineProcess, Progress, RequestsDied, ignore
from localprompt.engine.radix import RadixTree
from localprompt.engine.settings import EngineSettings
from localprompt.types import EngineStats

_DEALT: dict[str, Callable[[Any], tuple[Sequence[int], int]]] = {
    "score": lambda request: (request[0][:-1], 0),
    "tokenwise": lambda request: (request[0], 0),
    "generate": lambda request: (request[0], request[1]["max_tokens"]),
}
"""What a request of each kind that is dealt out has to compute: the path in the tree, and how many tokens beyond."""


def split(paths: Sequence[Sequence[int]], beyond: Sequence[int], n: int) -> list[list[int]]:
    """Return the requests of each of at most `n` parts, as sorted numbers, so that the costliest part is the cheapest.

    A part costs its distinct prefixes and what its requests compute beyond; requests that cost nothing beside their
    neighbour stay with it.

    Args:
        paths: the tokens of each request that are read.
        beyond: how many tokens each request computes alone.
        n: how many parts there may be.
    """
    keys = [tuple(path) for path in paths]
    order = sorted(range(len(keys)), key=lambda i: keys[i])
    tree = RadixTree.of([keys[i] for i in order])
    first = [len(keys[i]) + beyond[i] for i in order]
    after = [cost - shared for cost, shared in zip(first, tree.shared, strict=True)]

    def starts(most: int) -> list[int]:
        """Return where parts begin that take all they can: no others are fewer, as a part of a part costs no more."""
        begins: list[int] = []
        cost = most + 1
        for at, more in enumerate(after):
            cost += more
            if cost > most:
                begins.append(at)
                cost = first[at]
        return begins

    least = max(first, default=0)
    limits = range(least, max(least, sum(after)) + 1)
    most = limits[bisect_left(limits, True, key=lambda most: len(starts(most)) <= n)]
    return [sorted(order[low:high]) for low, high in pairwise([*starts(most), len(order)])]


class Team(EngineProcess):
    """Several engines with the same model, as one: this one, and others beside it.

    Requests of a call are dealt out, see `split`; what is not made of requests is asked of this one alone. Each engine
    survives the death of its workers by itself. Otherwise as `EngineProcess`, whose arguments it takes.
    """

    def __init__(self, model: Path | GGUFHeader, settings: EngineSettings, **options: Any) -> None:
        first, *rest = placement.members(settings, visible())
        self._others: tuple[EngineProcess, ...] = ()
        self._dealing = threading.Lock()
        super().__init__(model, first, **options)
        with ExitStack() as started:
            started.callback(super().close)
            for each in rest:
                engine = EngineProcess(self.header, each, **options)
                started.callback(engine.close)
                self._others += (engine,)
            started.pop_all()

    @property
    def members(self) -> tuple[EngineProcess, ...]:
        """All engines, this one first."""
        return (self, *self._others)

    @property
    def stats(self) -> EngineStats:
        """Cumulative work of all; the seconds of each are added up, though they pass at the same time."""
        return sum((each.stats for each in self._others), super().stats)

    def close(self) -> None:
        """End all workers; see `EngineProcess.close`."""
        for each in self._others:
            each.close()
        super().close()

    def map(
        self,
        op: str,
        requests: Sequence[Any],
        progress: Progress = ignore,
        read: Callable[[Any], Any] = lambda answer: answer,
    ) -> list[Any]:
        """Return one result per request, same order and length; see `EngineProcess.map`.

        Raises:
            RequestsDied: as there, once all engines are done.
        """
        costs = [_DEALT[op](request) for request in requests] if op in _DEALT else []
        parts = split([path for path, _ in costs], [more for _, more in costs], len(self.members))
        if len(parts) < 2:
            return super().map(op, requests, progress, read)
        self.check_usable()
        if not self._dealing.acquire(blocking=False):
            raise errors.ModelError("this model is answering another call", "make one call at a time")
        with ExitStack() as until_done:
            until_done.callback(self._dealing.release)
            pool = until_done.enter_context(ThreadPoolExecutor(len(parts)))
            deal = _Deal(parts, requests, progress)
            futures = [
                pool.submit(deal.work, number, each, op, read) for number, each in enumerate(self.members[: len(parts)])
            ]
            deal.watch()
        return deal.gathered(futures)


class _Deal:
    """One call's requests in parts: each is worked on in a thread of its own; progress is told by the caller's."""

    def __init__(self, parts: Sequence[Sequence[int]], requests: Sequence[Any], progress: Progress) -> None:
        self._parts = parts
        self._requests = requests
        self._progress = progress
        self._done = [0] * len(parts)
        self._news: queue.SimpleQueue[tuple[bool, BaseException | None]] = queue.SimpleQueue()
        self._is_off = False

    def work(self, number: int, engine: EngineProcess, op: str, read: Callable[[Any], Any]) -> list[Any]:
        """Return the results of one part."""

        def told(done: int, _total: int) -> None:
            if self._is_off:
                raise errors.ModelError("the call was given up")
            self._done[number] = done
            self._news.put((False, None))

        failure: BaseException | None = None
        try:
            part = [self._requests[i] for i in self._parts[number]]
            return EngineProcess.map(engine, op, part, told, read)  # not a team's: it would deal its part out again
        except BaseException as error:
            failure = error
            raise
        finally:
            self._news.put((True, failure))

    def watch(self) -> None:
        """Tell progress until all parts have ended; where one fails, or the caller gives up, the others stop soon."""
        try:
            left = len(self._parts)
            while left:
                has_ended, failure = self._news.get()
                left -= has_ended
                if failure is not None and not isinstance(failure, RequestsDied):
                    raise failure
                if not has_ended:
                    self._progress(sum(self._done), len(self._requests))
        except BaseException:
            self._is_off = True
            raise

    def gathered(self, futures: Sequence[Future[list[Any]]]) -> list[Any]:
        """Return the results in the order of the requests.

        Raises:
            RequestsDied: if some of any part died.
        """
        results: list[Any] = [None] * len(self._requests)
        killers: list[int] = []
        last: RequestsDied | None = None
        for part, future in zip(self._parts, futures, strict=True):
            try:
                answers: Sequence[Any] = future.result()
            except RequestsDied as died:
                last, answers = died, died.results
                killers += [part[i] for i in died.killers]
            for i, answer in zip(part, answers, strict=True):
                results[i] = answer
        if last is not None:
            raise last.over(results, sorted(killers))
        return results
