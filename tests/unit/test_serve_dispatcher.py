"""Waves, completions and their turns, with an engine that follows a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localprompt.engine.process import RequestsDied
from localprompt.errors import LocalPromptError, ModelError, WorkerDied
from localprompt.serve.dispatcher import Dispatcher
from localprompt.serve.work import Job, Read, RequestDied, Score, Write
from localprompt.types import Sampling

SAMPLING = Sampling(max_tokens=3)
SECONDS = 10


class Scripted:
    """Answers each score with its tokens, and each completion with its letters, one a step; notes what is asked.

    `go` lets it answer; what arrives until then waits. Time passes only while it answers.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds: dict[str, float] = {}
        """That an operation takes."""
        self.no_room: set[int] = set()
        """First tokens of scores that have no room beside completions."""
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
        self.note(op, [request[op == "complete"][0] for request in requests])
        self._underway = {}
        answers = [None if each[op == "complete"][0] in self.deadly else self._answer(op, each) for each in requests]
        if None in answers:
            raise RequestsDied("they kill", "", answers, [i for i, each in enumerate(answers) if each is None])
        return answers

    def _answer(self, op: str, request: Any) -> Any:
        return [request[0], self.letters, [], len(self.letters), "stop"] if op == "complete" else [request[0], op]

    def call_once(self, op: str, **arguments: Any) -> Any:
        self.go.wait(SECONDS)
        if op != "step":
            return self._beside(op, arguments["requests"])
        add, cancel = arguments["add"], arguments["cancel"]
        self.note(op, [each[1][0] for each in add])
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
            is_end = text == self.letters
            told.append([key, text, [], len(text) * is_end, "stop" if is_end else ""])
            if is_end:
                del self._underway[key]
        return told

    def _beside(self, op: str, requests: Sequence[Any]) -> list[Any]:
        """Answer scores while completions are under way, which are lost if it dies of one."""
        assert self._underway
        firsts = [each[0][0] for each in requests]
        self.note(f"{op} beside", firsts)
        if not self.deadly.isdisjoint(firsts):
            self._underway = {}
            raise WorkerDied("it died")
        return [None if each[0][0] in self.no_room else self._answer(op, each) for each in requests]

    def note(self, op: str, what: object) -> None:
        self.asked.append((op, what))
        self.now += self.seconds.get(kind(op), 1.0)


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

    def when_begun(self, act: Callable[[], object]) -> None:
        """Do this once, as soon as there is news."""
        tell = self.job.tell

        def first(number: int, answer: Any) -> None:
            self.job.tell = tell
            act()
            tell(number, answer)

        self.job.tell = first


def kind(op: str) -> str:
    return op.removesuffix(" beside")


def write(token: int) -> Write:
    return Write([token], SAMPLING, 0)


class Ask:
    """Asks a dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def __call__(self, *items: Any, client: str = "me") -> Asker:
        return self.of(Asker(*items, client=client))

    def of(self, asker: Asker) -> Asker:
        self._dispatcher.submit(asker.job)
        return asker


@contextmanager
def dispatching(engine: Scripted, lanes: int = 4) -> Iterator[Ask]:
    dispatcher = Dispatcher(engine, lanes, most_waiting=1000, clock=lambda: engine.now)

    try:
        yield Ask(dispatcher)
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
    assert sum(op.startswith("score") for op, tokens in engine.asked) <= 2
    assert max(len(tokens) for op, tokens in engine.asked if op == "step") <= 2


def letters(n: int) -> str:
    return "".join(chr(0x4E00 + i) for i in range(n))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 9.0), st.floats(0.1, 9.0), st.integers(1, 40), st.integers(1, 4000))
def test_while_both_wait_each_side_has_half_of_the_time(wave: float, step: float, n: int, n_tokens: int) -> None:
    """Scores that all wait at once: neither side is ever ahead by more than one call of each."""
    engine = Scripted()
    engine.letters, engine.seconds = letters(60), {"score": wave, "step": step}
    with dispatching(engine) as ask:
        text, scores = ask(write(0)), Asker(*[Score([i + 1] * n_tokens, 1) for i in range(n)])
        text.when_begun(lambda: ask.of(scores))
        engine.go.set()
        assert text.wait()[0].text == engine.letters
        assert len(scores.wait()) == n
    ahead, calls = 0.0, [kind(op) for op, _ in engine.asked[1:]]
    while {"score", "step"} <= set(calls):  # both wait
        op = calls.pop(0)
        ahead += engine.seconds[op] * (1 if op == "score" else -1)
        assert -step - 1e-9 <= ahead <= wave + 1e-9
    longest = max(len(what) for op, what in engine.asked if op == "score beside")
    assert longest <= max(1, 2048 // n_tokens)


def test_a_score_behind_a_long_completion_is_answered_after_a_step() -> None:
    engine = Scripted()
    engine.letters = letters(500)
    with dispatching(engine) as ask:
        text, score = ask(write(0)), Asker(Score([1], 1))
        text.when_begun(lambda: ask.of(score))
        engine.go.set()
        assert score.wait() == [[[1], "score"]]
        assert text.wait()[0].text == engine.letters
    assert [op for op, _ in engine.asked] == ["step", "score beside", *["step"] * 499]


def test_one_who_asks_for_scores_again_and_again_does_not_stop_completions() -> None:
    """Each score comes when the one before is answered, and takes as long as many steps."""
    engine = Scripted()
    engine.letters, engine.seconds = letters(40), {"score": 10.0, "step": 1.0}
    with dispatching(engine) as ask:
        text = ask(write(0))
        engine.go.set()
        while not text.done.is_set():
            ask(Score([1], 1)).wait()
        text.wait()
    n_beside = sum(op == "score beside" for op, _ in engine.asked)
    assert 1 <= n_beside <= 5  # 10 steps for each


def test_scores_that_have_no_room_wait_until_completions_have_ended_and_no_other_begins() -> None:
    engine = Scripted()
    engine.no_room, engine.letters = {11, 13}, letters(20)
    with dispatching(engine, lanes=1) as ask:
        texts = [ask(write(i), client=f"w{i}") for i in range(2)]
        scores = Asker(Score([11], 1), Score([12], 1), Read([13], 0))
        texts[0].when_begun(lambda: ask.of(scores))
        engine.go.set()
        assert scores.wait() == [[[11], "score"], [[12], "score"], [[13], "tokenwise"]]
        assert [each.wait()[0].text for each in texts] == [engine.letters] * 2
    order = [each for each in engine.asked if each[1]]
    assert order.index(("score", [11])) < order.index(("step", [1]))
    assert ("tokenwise", [13]) in order
    assert sum(12 in what for _, what in order) == 1


def test_a_score_that_had_no_room_keeps_nobody_waiting_when_its_client_has_gone() -> None:
    engine = Scripted()
    engine.no_room, engine.letters = {11}, letters(100)
    with dispatching(engine) as ask:
        long, stuck = ask(write(1), client="long"), Asker(Score([11], 1), client="gone")
        others = [Asker(write(2), client="w"), Asker(Score([12], 1), client="s")]
        note = engine.note

        def noted(op: str, what: object) -> None:
            note(op, what)
            if (op, what) == ("score beside", [11]):
                stuck.job.cancel()
                for other in others:
                    ask.of(other)

        engine.note = noted  # type: ignore[method-assign]
        long.when_begun(lambda: ask.of(stuck))
        engine.go.set()
        for each in (long, *others):
            each.wait()
    assert ("step", [2]) in engine.asked[:10]
    assert ("score beside", [12]) in engine.asked[:10]


def test_what_is_counted_is_what_was_answered() -> None:
    engine = Scripted()
    engine.deadly = {2}
    dispatcher = Dispatcher(engine, 4, most_waiting=10)
    ask = Ask(dispatcher)
    askers = [ask(write(i), client=f"c{i}") for i in range(3)]
    gone = ask(Score([9], 1), client="gone")
    gone.job.cancel()
    engine.go.set()
    for asker in askers:
        asker.wait()
    dispatcher.close()
    assert (dispatcher.counts.completions, dispatcher.counts.waves) == (2, 0)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_score_that_kills_the_engine_under_completions_costs_nobody_else_an_answer(streamed: bool) -> None:
    engine = Scripted()
    engine.deadly, engine.letters = {9}, letters(20)
    with dispatching(engine) as ask:
        text = ask(Write([1], SAMPLING, 0, is_streamed=streamed))
        scores = [Asker(Score([i], 1), client=f"s{i}") for i in (8, 9)]
        text.when_begun(lambda: [ask.of(each) for each in scores])
        engine.go.set()
        assert text.wait()[0].text == engine.letters
        (good,), (bad,) = (each.wait() for each in scores)
    assert good == [[8], "score"]
    assert isinstance(bad, RequestDied)
    assert "job-s9" in bad.message
    assert ("complete", [1]) in engine.asked  # from its prompt
    assert sum(op == "complete" for op, _ in engine.asked) == 1


def test_a_batch_that_is_refused_under_completions_is_tried_again_without_them() -> None:
    class Refusing(Scripted):
        def _beside(self, op: str, requests: Sequence[Any]) -> list[Any]:
            super()._beside(op, requests)
            self._underway = {}
            raise ModelError("llama.cpp failed to decode")

    engine = Refusing()
    engine.letters = letters(20)
    with dispatching(engine) as ask:
        text, scores = ask(write(1)), Asker(Score([2], 1), Read([3], 0))
        text.when_begun(lambda: ask.of(scores))
        engine.go.set()
        assert text.wait()[0].text == engine.letters
        assert scores.wait() == [[[2], "score"], [[3], "tokenwise"]]


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
