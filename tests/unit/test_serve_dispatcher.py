"""Waves, completions and their turns, with an engine that follows a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from localprompt.engine.process import RequestsDied
from localprompt.errors import LocalPromptError, ModelError, WorkerDied
from localprompt.serve.dispatcher import Dispatcher
from localprompt.serve.work import Job, Read, RequestDied, Score, Write
from localprompt.types import Sampling

SAMPLING = Sampling(max_tokens=3)
SECONDS = 10


class Scripted:
    """Answers each score with its tokens, and each completion with three letters, one a step; notes what is asked.

    `go` lets it answer; what arrives until then waits.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.go = threading.Event()
        self.deadly: set[int] = set()
        """First tokens of requests that kill it."""
        self.mishaps = 0
        """Steps that it will die of, by chance."""
        self.letters = "abc"
        self._underway: dict[int, str] = {}

    def map(self, op: str, requests: Sequence[Any]) -> list[Any]:
        self.go.wait(SECONDS)
        self.asked.append((op, [request[op == "complete"][0] for request in requests]))
        answers = [None if each[op == "complete"][0] in self.deadly else self._answer(op, each) for each in requests]
        if None in answers:
            raise RequestsDied("they kill", "", answers, [i for i, each in enumerate(answers) if each is None])
        return answers

    def _answer(self, op: str, request: Any) -> Any:
        return [request[0], self.letters, [], 3, "stop"] if op == "complete" else [request[0], op]

    def call_once(self, op: str, **arguments: Any) -> Any:
        self.go.wait(SECONDS)
        add, cancel = arguments["add"], arguments["cancel"]
        self.asked.append((op, [each[1][0] for each in add]))
        if self.mishaps or any(each[1][0] in self.deadly for each in add):
            self.mishaps = max(0, self.mishaps - 1)
            self._underway = {}
            raise WorkerDied("it died")
        self._underway |= {each[0]: "" for each in add}
        for key in cancel:
            self._underway.pop(key, None)
        told = []
        for key, before in list(self._underway.items()):
            self._underway[key] = text = self.letters[: len(before) + 1]
            told.append([key, text, [], 3 * (len(text) == 3), "stop" if len(text) == 3 else ""])
            if len(text) == 3:
                del self._underway[key]
        return told


class Asker:
    """A job's other end."""

    def __init__(self, *items: Any, client: str = "me") -> None:
        self.answers: dict[int, Any] = {}
        self._n = len(items)
        self.done = threading.Event()
        self.job = Job(f"job-{client}", client, items, self._tell)

    def _tell(self, number: int, answer: Any) -> None:
        is_end = not hasattr(answer, "finish_reason") or answer.finish_reason
        self.answers[number] = answer
        if is_end and len(self.answers) == self._n:
            self.done.set()

    def wait(self) -> list[Any]:
        assert self.done.wait(SECONDS)
        return [self.answers[i] for i in range(self._n)]


def write(token: int) -> Write:
    return Write([token], SAMPLING, 0)


@contextmanager
def dispatching(engine: Scripted, lanes: int = 4) -> Iterator[Callable[..., Asker]]:
    dispatcher = Dispatcher(engine, lanes, most_waiting=1000)

    def ask(*items: Any, client: str = "me") -> Asker:
        asker = Asker(*items, client=client)
        dispatcher.submit(asker.job)
        return asker

    try:
        yield ask
    finally:
        engine.go.set()
        dispatcher.close()


def test_what_waits_becomes_one_wave_in_which_clients_take_turns() -> None:
    engine = Scripted()
    with dispatching(engine) as ask:
        first = ask(Score([1], 1))
        many = ask(*[Score([i], 1) for i in range(10, 310)], client="many")
        few = ask(Score([2], 1), Read([3], 0), client="few")
        engine.go.set()
        assert first.wait() == [[[1], "score"]]
        assert few.wait() == [[[2], "score"], [[3], "tokenwise"]]
        assert len(many.wait()) == 300
    calls = [(op, tokens) for op, tokens in engine.asked if tokens]
    together = next(tokens for _, tokens in calls if 2 in tokens)
    assert together.index(2) < 4  # nobody waits behind the 300
    assert max(len(tokens) for _, tokens in calls) <= 256


def test_a_wave_has_a_bound_of_tokens_and_what_is_larger_goes_alone() -> None:
    engine = Scripted()
    with dispatching(engine) as ask:
        large = ask(*[Score([i] * 20_000, 1) for i in range(3)])
        engine.go.set()
        large.wait()
    assert [len(tokens) for op, tokens in engine.asked if op == "score"] == [1, 1, 1]


def test_completions_and_waves_take_turns() -> None:
    engine = Scripted()
    with dispatching(engine, lanes=2) as ask:
        texts = [ask(write(i), client=f"w{i}") for i in range(4)]
        scores = [ask(Score([10 + i], 1), client=f"s{i}") for i in range(2)]
        engine.go.set()
        assert [each.wait()[0].text for each in texts] == ["abc"] * 4
        assert [each.wait() for each in scores] == [[[[10], "score"]], [[[11], "score"]]]
    assert sum(op == "score" for op, tokens in engine.asked) <= 2
    assert max(len(tokens) for op, tokens in engine.asked if op == "step") <= 2


def test_what_is_cancelled_before_its_turn_is_never_asked() -> None:
    engine = Scripted()
    with dispatching(engine) as ask:
        gone, there = ask(Score([1], 1), client="gone"), ask(Score([2], 1), client="there")
        gone.job.cancel()
        engine.go.set()
        there.wait()
    assert not any(1 in tokens for _, tokens in engine.asked)
    assert not gone.answers


def test_a_completion_that_kills_is_found_and_the_others_go_on_as_they_began() -> None:
    engine = Scripted()
    engine.deadly = {2}
    with dispatching(engine) as ask:
        askers = [ask(write(i), client=f"c{i}") for i in range(4)]
        engine.go.set()
        answers = [each.wait()[0] for each in askers]
    assert [getattr(each, "text", None) for each in answers] == ["abc", "abc", None, "abc"]
    assert isinstance(answers[2], RequestDied)
    assert "job-c2" in answers[2].message


def test_a_text_that_would_go_on_otherwise_after_a_death_is_an_error() -> None:
    engine = Scripted()
    with dispatching(engine) as ask:
        begun = threading.Event()
        asker = ask(write(1))
        tell = asker.job.tell

        def changed(number: int, answer: Any) -> None:
            if not begun.is_set():
                engine.letters, engine.mishaps = "xyz", 1
            begun.set()
            tell(number, answer)

        asker.job.tell = changed
        engine.go.set()
        (answer,) = asker.wait()
    assert isinstance(answer, RequestDied)
    assert "otherwise" in answer.message


def test_an_engine_that_is_given_up_answers_everybody_with_the_reason() -> None:
    class Broken(Scripted):
        def map(self, op: str, requests: Sequence[Any]) -> list[Any]:
            self.go.wait(SECONDS)
            raise RequestsDied("the engine process died 30 times in a row", "", [None] * len(requests))

    engine = Broken()
    dispatcher = Dispatcher(engine, 4, most_waiting=10)
    askers = [Asker(Score([1], 1)), Asker(write(2))]
    for asker in askers:
        dispatcher.submit(asker.job)
    engine.go.set()
    for asker in askers:
        assert all(isinstance(answer, LocalPromptError) for answer in asker.wait())
    for _ in range(1000):
        if dispatcher.broken is not None:
            break
        threading.Event().wait(0.01)
    with pytest.raises(WorkerDied, match="30 times"):
        dispatcher.submit(Asker(Score([1], 1)).job)
    dispatcher.close()


def test_what_is_not_answered_when_the_server_ends_is_told_so() -> None:
    engine = Scripted()
    dispatcher = Dispatcher(engine, 1, most_waiting=10)
    askers = [Asker(write(i)) for i in range(3)]
    for asker in askers:
        dispatcher.submit(asker.job)
    threading.Timer(0.2, engine.go.set).start()
    dispatcher.close()
    assert all(asker.done.wait(SECONDS) for asker in askers)
    assert isinstance(askers[-1].answers[0], ModelError)
    with pytest.raises(ModelError, match="the server ends"):
        dispatcher.submit(Asker(Score([1], 1)).job)
