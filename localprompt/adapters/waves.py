"""Completions that many threads ask for, computed together: what waits when the engine is free is one call. Level 9."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from localprompt.adapters.drawn_tokens import Drawn, DrawnToken, generate_drawn
from localprompt.engine.process import RequestsDied
from localprompt.errors import ConfigError, LocalPromptError
from localprompt.lm.base import LanguageModel
from localprompt.lm.loading import open_model
from localprompt.types import Generation, Message, Sampling

WINDOW = 0.003
"""Seconds in which requests are collected before a free engine begins."""

_Result = TypeVar("_Result")


def key_of(model: str, engine: Mapping[str, Any]) -> str:
    """Return what tells a model with its settings from others."""
    return json.dumps([model, engine], sort_keys=True, default=str)


class Completion(NamedTuple):
    """A completion, and how many tokens its prompt had."""

    generation: Generation
    n_prompt: int
    tokens: Sequence[DrawnToken] = ()
    """Those of the completion, where they were asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    messages: Sequence[Message] | str
    sampling: Sampling
    seed: int | None
    n_top: int | None
    done: Future[Completion] = field(default_factory=Future)


class Waves:
    """A model that any number of threads may ask at once.

    While a call is computed, further requests wait and become the next call, in the order in which they came. What is
    sampled without a seed gets the number of times that the same request has been asked before as its seed, so that
    asking twice gives two completions, the same two in each run.

    Args:
        model: a name as `--model` takes it, opened at the first request; or a loaded model, which stays open.
        window: seconds in which requests are collected before a free engine begins.
        engine: settings of the engine, for a model that is named.
    """

    def __init__(self, model: str | LanguageModel, window: float = WINDOW, **engine: Any) -> None:
        if engine and not isinstance(model, str):
            raise ConfigError("engine settings have no effect on a model that is loaded", "pass them to load_model")
        self._model = model
        self._engine = engine
        self._window = window
        self._stack = ExitStack()
        self._opened: LanguageModel | None = None
        self._busy = threading.RLock()
        self._mutex = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._asked: Counter[int] = Counter()  # by hashes: the texts of a long-lived process would fill its memory
        self.sizes: list[int] = []
        """Requests of each call so far."""

    @property
    def n_waiting(self) -> int:
        """Requests that no call has taken up yet."""
        return len(self._waiting)

    def complete(
        self, messages: Sequence[Message] | str, sampling: Sampling, seed: int | None = None, n_top: int | None = None
    ) -> Completion:
        """Return a completion of a chat, or of a plain text; waits until it is computed.

        With `n_top` it has its tokens, each with so many of the most probable ones in its place.

        Raises:
            LocalPromptError: what asking for it alone would raise; others that were asked with it are answered.
        """
        return self.draw(messages, sampling, [seed], n_top)[0]

    def draw(
        self, messages: Sequence[Message] | str, sampling: Sampling, seeds: Sequence[int | None], n_top: int | None
    ) -> list[Completion]:
        """Return a completion for each seed, of one call; see `complete`."""
        mine = [_Waiting(messages, sampling, seed, n_top) for seed in seeds]
        with self._mutex:
            is_first = not self._waiting
            self._waiting.extend(mine)
        self._answer(is_first=is_first)
        return [each.done.result() for each in mine]

    def ask(self, question: Callable[[LanguageModel], _Result]) -> _Result:
        """Return what a function makes of the model, which nobody else asks meanwhile."""
        with self._busy:
            return question(self._lm())

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let other threads ask while what is inside of `ask` needs no model."""
        self._busy.release()
        try:
            yield
        finally:
            self._busy.acquire()

    def close(self) -> None:
        """End a model that was opened by its name; the next request opens it again."""
        with self._busy:
            self._opened = None
            self._stack.close()

    def _lm(self) -> LanguageModel:
        if not isinstance(self._model, str):
            return self._model
        if self._opened is None:
            self._opened = self._stack.enter_context(open_model(self._model, **self._engine))
        return self._opened

    def _answer(self, *, is_first: bool) -> None:
        """Answer each request that waits, or give it its error.

        Only who came first waits for the model, and answers the others too: a thread whose answer is there must be free
        to ask again, or it misses the next call.
        """
        wave = list[_Waiting]()
        try:
            with ExitStack() as stack:
                if not self._busy.acquire(blocking=is_first):
                    return
                stack.callback(self._busy.release)
                if self._waiting:
                    time.sleep(self._window)
                    wave = self._taken()
                    self._compute(wave)
        except BaseException as error:
            for each in wave or self._taken():
                if not each.done.done():
                    each.done.set_exception(error)
            if not isinstance(error, Exception):
                raise

    def _taken(self) -> list[_Waiting]:
        with self._mutex:
            taken, self._waiting = self._waiting, []
        return taken

    def _compute(self, wave: Sequence[_Waiting]) -> None:
        self.sizes.append(len(wave))
        lm = self._lm()
        alike: defaultdict[object, list[tuple[_Waiting, str, int]]] = defaultdict(list)
        for each in wave:
            if (prompt := self._prompt(lm, each)) is not None:
                alike[each.sampling, each.n_top].append((each, prompt, self._seed(prompt, each)))
        for chosen in alike.values():
            self._complete(lm, chosen)

    def _prompt(self, lm: LanguageModel, each: _Waiting) -> str | None:
        try:
            return each.messages if isinstance(each.messages, str) else lm.chat(each.messages)
        except LocalPromptError as error:  # of one chat; the others are asked
            each.done.set_exception(error)
            return None

    def _seed(self, prompt: str, each: _Waiting) -> int:
        if each.seed is not None:
            return each.seed
        key = hash((prompt, each.sampling))
        self._asked[key] += 1
        return self._asked[key] - 1

    def _complete(self, lm: LanguageModel, wave: Sequence[tuple[_Waiting, str, int]]) -> None:
        """Answer requests, at least one, that are sampled and told alike; where the call fails, each is asked alone."""
        sampling, n_top = wave[0][0].sampling, wave[0][0].n_top
        asked = ([prompt for _, prompt, _ in wave], sampling, [seed for *_, seed in wave])
        counts = [0] * len(wave)
        found: Sequence[Generation | Drawn | None] = [None] * len(wave)
        try:
            counts = lm.count_tokens(asked[0])
            found = lm.generate(*asked) if n_top is None else generate_drawn(lm, *asked, n_top)
        except Exception as error:  # noqa: BLE001 - such as of one request whose seed is no number
            if len(wave) == 1:
                wave[0][0].done.set_exception(error)
                return
            if isinstance(error, RequestsDied):
                found = error.results
        for each, n, answer in zip(wave, counts, found, strict=True):
            if answer is None:
                self._complete(lm, [each])
            else:
                generation, tokens = answer if isinstance(answer, Drawn) else (answer, ())
                each[0].done.set_result(Completion(generation, n, tokens))


_THREADS = ThreadPoolExecutor(256)
"""For those who ask from asyncio, whose own threads are hardly more than the cores."""


async def in_thread(question: Callable[..., _Result], *arguments: object) -> _Result:
    """Return what a function says that may wait for a model; as many as 256 wait at once."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, question, *arguments)


SHARED: dict[str, Waves] = {}
"""Of `shared`, by `key_of`."""


def shared(model: str, engine: Mapping[str, Any]) -> Waves:
    """Return the model of a name: one for all that load it alike, as long as the process lives."""
    return SHARED.setdefault(key_of(model, engine), Waves(model, **engine))
