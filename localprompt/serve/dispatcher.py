"""The one thread that asks the engine: what arrives together becomes one wave over one tree. Level 9.

    scores, reads    a wave: one call, in which prefixes are shared
    completions      come and go: between two steps of the engine new ones begin, and those that nobody awaits end

As long as both wait they take turns, each for as long as the other had. Completions under way keep their memory
meanwhile. What finds no room beside them waits until they have ended, and no completion begins before it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from localprompt.engine.process import RequestsDied
from localprompt.engine.serving import Told
from localprompt.errors import LocalPromptError, ModelError, WorkerDied
from localprompt.serve.queue import Queue, Waiting
from localprompt.serve.work import Item, Job, Read, RequestDied, Score, Write

WINDOW = 0.003
"""Seconds in which what arrives joins the first of a wave."""
_WAVE_ITEMS, _WAVE_TOKENS = 256, 32_768
"""Of one wave, at most; a single item may have more tokens."""
_TURN_TOKENS = 2048
"""Of a wave that completions wait for, at most: about as many decode calls as a step of theirs has."""


class ServerEnds(ModelError):  # noqa: N818 - says what happens
    """What is not answered by now will not be."""

    def __init__(self) -> None:
        super().__init__("the server ends")


class Engine(Protocol):
    """What the dispatcher needs of an `EngineProcess`."""

    def map(self, op: str, requests: Sequence[Any]) -> list[Any]:
        """Return one answer per request; survives deaths.

        Raises:
            RequestsDied: naming those that kill.
        """

    def call_once(self, op: str, **arguments: Any) -> Any:
        """Return one answer.

        Raises:
            WorkerDied: if the engine dies over it.
        """


@dataclass(slots=True)
class Counts:
    """What the dispatcher has done."""

    waves: int = 0
    wave_items: int = 0
    completions: int = 0
    cancelled: int = 0
    deaths: int = 0
    """Of the engine under completions; those in a wave of its own are the engine's to survive."""


class Dispatcher:
    """Answers jobs with one engine, in a thread of its own.

    Args:
        engine: nobody else asks it.
        lanes: completions under way at once.
        most_waiting: items that wait, at most.
        clock: says by how many seconds one side is ahead of the other.
    """

    def __init__(
        self, engine: Engine, lanes: int, most_waiting: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.counts = Counts()
        self._engine = engine
        self._lanes = lanes
        self._clock = clock
        self._waves, self._writes = Queue(most_waiting), Queue(most_waiting)
        self._stuck: list[Waiting] = []
        self._ahead = 0.0
        self._changed = threading.Condition()
        self._underway: dict[int, _Underway] = {}
        self._n_begun = 0
        self._is_closed = False
        self.broken: LocalPromptError | None = None
        """Why the engine is not to be had any more; None as long as it is."""
        self._thread = threading.Thread(target=self._run, daemon=True, name="dispatcher")
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn; all its items are of one kind: completions, or not.

        Raises:
            QueueFull: if too much waits.
            ModelError: if the engine is not to be had any more.
        """
        with self._changed:
            if self.broken is not None or self._is_closed:
                raise self.broken or ServerEnds()
            (self._writes if isinstance(job.items[0], Write) else self._waves).add(job)
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Items that have not begun."""
        return len(self._waves) + len(self._stuck) + len(self._writes)

    @property
    def underway(self) -> int:
        """Completions under way."""
        return len(self._underway)

    def stop(self) -> None:
        """Let the thread end as soon as the engine has answered; whoever still waits is told so."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def close(self) -> None:
        """End the thread; what it has not answered is told so."""
        self.stop()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._is_closed or self.waiting or self._underway):
                    self._changed.wait()
                if self._is_closed:
                    break
            if not self._underway:
                time.sleep(WINDOW)
            try:
                self._turn()
                if self.broken is not None:
                    raise self.broken
            except LocalPromptError as error:
                self._give_up(error)
                return
            except Exception as error:
                self._give_up(ModelError(f"the server failed: {type(error).__name__}: {error}"))
                raise
        self._give_up(ServerEnds())

    def _turn(self) -> None:
        """Let the side go on whose turn it is, and note by how long waves are ahead; nobody falls behind unasked."""
        self._stuck = [each for each in self._stuck if not each[0].is_cancelled]
        writes = bool(self._underway or len(self._writes))
        scores = bool(self._stuck or len(self._waves))
        is_wave = not self._underway if self._stuck else scores and (self._ahead <= 0 or not writes)
        began = self._clock()
        if is_wave:
            self._wave(_TURN_TOKENS if writes else _WAVE_TOKENS)
            self._ahead += self._clock() - began
        else:
            self._step(admits=not self._stuck)
            self._ahead -= self._clock() - began
        if not writes:
            self._ahead = min(self._ahead, 0.0)
        if not scores:
            self._ahead = max(self._ahead, 0.0)

    # Waves

    def _wave(self, most_tokens: int) -> None:
        room = most_tokens

        def fits(item: Item) -> bool:
            nonlocal room
            if len(item.tokens) > room and room < most_tokens:
                return False
            room -= len(item.tokens)
            return True

        taken, self._stuck = self._stuck, []
        if not taken:
            with self._changed:
                taken = self._waves.take(_WAVE_ITEMS, fits)
            self.counts.waves += bool(taken)
            self.counts.wave_items += len(taken)
        scores = [(job, i, item) for job, i in taken if isinstance(item := job.items[i], Score)]
        reads = [(job, i, item) for job, i in taken if isinstance(item := job.items[i], Read)]
        waves = (
            ("score", scores, [[e.tokens, e.start] for *_, e in scores]),
            ("tokenwise", reads, [[e.tokens, e.n_top, e.sampling and asdict(e.sampling), e.seed] for *_, e in reads]),
        )
        for op, waiting, asked in waves:
            names = [job.name for job, *_ in waiting]
            answers = self._answers_beside(op, names, asked) if asked else []
            for (job, i, _), answer in zip(waiting, answers, strict=True):
                if answer is None:
                    self._stuck.append((job, i))
                else:
                    job.tell(i, answer)

    def _answers_beside(self, op: str, names: Sequence[str], asked: list[Any]) -> Sequence[Any]:
        """Return what `_answers` does, and None in the places of those that find no room beside completions."""
        if self._underway:
            try:
                found: list[Any] = self._engine.call_once(op, requests=asked)
                return found
            except LocalPromptError as error:  # the completions are lost with it
                self.counts.deaths += isinstance(error, WorkerDied)
                self._complete()
        return self._answers(op, names, asked)

    def _answers(self, op: str, names: Sequence[str], asked: list[Any]) -> Sequence[Any]:
        """Return the engine's answers, and errors in the places of those that have none."""
        try:
            return self._engine.map(op, asked)
        except RequestsDied as died:
            self.counts.deaths += 1
            self.broken = None if died.killers else died
            return [
                RequestDied(f"request {name} kills the engine", died.message) if answer is None else answer
                for name, answer in zip(names, died.results, strict=True)
            ]
        except LocalPromptError as error:  # such as a batch that llama.cpp refuses: no answer to anybody in it
            return [error] * len(asked)

    # Completions

    def _step(self, *, admits: bool) -> None:
        cancel = [key for key, each in self._underway.items() if each.job.is_cancelled]
        for key in cancel:
            del self._underway[key]
        self.counts.cancelled += len(cancel)
        with self._changed:
            taken = self._writes.take(self._lanes - len(self._underway) if admits else 0, lambda _: True)
        new = {self._n_begun + k: _Underway(*each) for k, each in enumerate(taken)}
        self._n_begun += len(new)
        self._underway |= new
        if not (self._underway or cancel):
            return
        try:
            told = self._engine.call_once("step", add=[each.fields(key) for key, each in new.items()], cancel=cancel)
        except WorkerDied:
            self.counts.deaths += 1
            self._complete()
        except LocalPromptError as error:
            for each in self._underway.values():
                each.job.tell(each.i, error)
            self._underway.clear()
        else:
            for news in (Told(*each) for each in told):
                self._underway[news.key].tell(news)
                if news.finish_reason:
                    del self._underway[news.key]
                    self.counts.completions += 1

    def _complete(self) -> None:
        """Find out which of the completions under way kills the engine; the others are made from their beginning."""
        every, self._underway = self._underway, {}
        names = [each.job.name for each in every.values()]
        answers = self._answers("complete", names, [each.fields(key) for key, each in every.items()])
        for each, answer in zip(every.values(), answers, strict=True):
            if isinstance(answer, LocalPromptError):
                each.job.tell(each.i, answer)
            else:
                self.counts.completions += 1
                each.tell_again(Told(*answer))

    def _give_up(self, error: LocalPromptError) -> None:
        with self._changed:
            self.broken = error
            left = [*((each.job, each.i) for each in self._underway.values()), *self._stuck]
            for queue in (self._waves, self._writes):
                left += queue.take(len(queue), lambda _: True)
        for job, i in left:
            job.tell(i, error)


@dataclass(slots=True)
class _Underway:
    job: Job
    i: int
    text: str = ""
    n_logprobs: int = 0

    def fields(self, key: int) -> list[Any]:
        """What the engine is asked."""
        item = self.job.items[self.i]
        if not isinstance(item, Write):
            raise TypeError(f"{item} is no completion")
        return [key, item.tokens, asdict(item.sampling), item.seed, item.n_top, item.is_streamed]

    def tell(self, news: Told) -> None:
        self.text = news.text
        self.n_logprobs += len(news.logprobs)
        self.job.tell(self.i, news)

    def tell_again(self, end: Told) -> None:
        """Tell the end of a completion that was made again, after a part of it had been told."""
        if end.text.startswith(self.text):
            self.job.tell(self.i, end._replace(logprobs=end.logprobs[self.n_logprobs :]))
        else:
            problem = f"the engine died while it answered request {self.job.name}, and then began it otherwise"
            self.job.tell(self.i, RequestDied(problem))
