"""One model that is served: its engine, its vocabulary, and how a request waits for its answers. Level 9."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from starlette.requests import ClientDisconnect, Request

from localprompt.engine.serving import Told
from localprompt.errors import ConfigError, ContextOverflow, LocalPromptError
from localprompt.lm.local import LocalModel
from localprompt.serve.bodies import Body
from localprompt.serve.dispatcher import Dispatcher
from localprompt.serve.words import Words
from localprompt.serve.work import Item, Job, Write

_T = TypeVar("_T")
_MOST_TEXT = 64 << 20
"""Characters of the contexts of one request, each as often as it is read: with every choice."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all together, may ask, and what is added to it."""

    body: int = 8 << 20
    """Bytes."""
    waiting: int = 4096
    """Prompts (and choices) of all requests that wait for the engine."""
    seconds: float = 600.0
    """From the arrival of a request to the end of its answer."""
    add_bos: bool = False
    """Token ids without BOS are read behind one where the model wants it; it is not told of."""


class Service:
    """A loaded model and those who ask it; made and asked within one event loop, which `tell`s come back to.

    Args:
        model: the server's alone from now on; whoever loaded it closes it.
        limits: see there.
        seed: of the generator of seeds for requests that name none.
    """

    def __init__(self, model: LocalModel, limits: Limits, seed: int = 0) -> None:
        self.name = model.name
        self.fingerprint = model.fingerprint
        self.n_ctx = model.n_ctx
        self.limits = limits
        self.created = int(time.time())
        self.engine = model.engine
        self.words = Words(model)
        self.dispatcher = Dispatcher(model.engine, model.settings.lanes, limits.waiting)
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Answer nobody any more."""
        self.dispatcher.close()
        self.words.close()

    def new_name(self, kind: str) -> str:
        """Return the name of a request, such as `cmpl-17`."""
        return f"{kind}-{next(self._numbers)}"

    def seed(self, given: int | None) -> int:
        """Return the seed of a request: the one it names, or the next of the server's."""
        return int(self._rng.integers(2**63)) if given is None else given % 2**64

    def check_model(self, body: Body) -> None:
        """Check that a request means this model.

        Raises:
            UnknownModel: if it names another.
        """
        if body.model not in (None, self.name):
            raise UnknownModel(f"the model {body.model!r} is not served here", f"served is {self.name!r}")

    def check_amount(self, n_items: int, n_characters: int = 0) -> None:
        """Check, before anything is made of a request, that it is not more than may ever wait, nor endless.

        Raises:
            ConfigError: if it is.
        """
        if n_items > self.limits.waiting:
            raise ConfigError(f"this request has {n_items} items; at most {self.limits.waiting} may wait", "send fewer")
        if n_characters > _MOST_TEXT:
            problem = f"contexts, once for each of their choices, have {n_characters:,} characters"
            raise ConfigError(f"{problem}; at most {_MOST_TEXT:,} may be asked at once", "send fewer")

    def check_length(self, number: int, n_prompt: int, n_new: int) -> None:
        """Check that a prompt fits the context with what is to be written.

        Raises:
            ContextOverflow: naming the prompt.
        """
        if n_prompt + n_new > self.n_ctx:
            asked = f"prompt {number} has {n_prompt} tokens and {n_new} are to be written"
            raise ContextOverflow(f"{asked}; the context has {self.n_ctx}")

    async def answers(self, name: str, client: str, items: Sequence[Item]) -> list[Any]:
        """Return the answer to each item, same order and length; of completions, their ends.

        Raises:
            LocalPromptError: the first that an item has for its answer.
        """
        found = {number: answer async for number, answer in self.news(name, client, items)}
        return [found[number] for number in range(len(items))]

    async def news(self, name: str, client: str, items: Sequence[Item]) -> AsyncIterator[tuple[int, Any]]:
        """Yield the numbers of items with what there is to tell of them, until all are answered.

        Whoever leaves early cancels the rest.

        Raises:
            LocalPromptError: the first that an item has for its answer.
        """
        box = _Box(asyncio.get_running_loop())
        kinds = [[i for i, item in enumerate(items) if isinstance(item, Write) == kind] for kind in (False, True)]
        jobs = [Job(name, client, [items[i] for i in kind], box.slot(kind)) for kind in kinds if kind]
        left = len(items)
        try:
            for job in jobs:
                self.dispatcher.submit(job)
            while left:
                for number, answer in (await box.take()).items():
                    if isinstance(answer, LocalPromptError):
                        raise answer
                    if isinstance(answer, Told) and answer.finish_reason == "refused":
                        raise ConfigError(answer.text)
                    left -= not isinstance(answer, Told) or bool(answer.finish_reason)
                    yield number, answer
        finally:
            for job in jobs:
                job.cancel()


class UnknownModel(ConfigError):  # noqa: N818 - says what is the matter
    """A request names a model that is not served."""


class _Box:
    """What a request was told and has not taken yet: news of one completion become one, however slow it is."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._there = asyncio.Event()
        self._held: dict[int, Any] = {}

    def slot(self, numbers: Sequence[int]) -> Any:
        """Return what a job tells whose items have these numbers."""
        return lambda i, answer: self._tell(numbers[i], answer)

    def _tell(self, number: int, answer: Any) -> None:
        with self._lock:
            before = self._held.get(number)
            if isinstance(before, Told) and isinstance(answer, Told):
                answer = answer._replace(logprobs=before.logprobs + answer.logprobs)
            was_empty = not self._held
            self._held[number] = answer
        if was_empty:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                self._loop.call_soon_threadsafe(self._there.set)

    async def take(self) -> dict[int, Any]:
        """Return what there is, as soon as there is anything."""
        await self._there.wait()
        with self._lock:
            self._there.clear()
            held, self._held = self._held, {}
        return held


async def unless_gone(request: Request, work: Awaitable[_T]) -> _T:
    """Return the result of `work`, which is cancelled when the client goes.

    Raises:
        ClientDisconnect: if it went first.
    """
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.wait({working, gone})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
