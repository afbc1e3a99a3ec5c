"""Requests of many threads become few calls; each gets its own answer or its own error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from localprompt.adapters.waves import Waves
from localprompt.engine.process import RequestsDied
from localprompt.errors import ConfigError, ContextOverflow
from localprompt.lm.scripted import ScriptedLM
from localprompt.types import Generation, Message, Sampling

SAMPLING = Sampling(8)


class Gate(ScriptedLM):
    """Answers with the prompt's last word; waits for the gate, and dies or overflows of marked prompts."""

    def __init__(self) -> None:
        super().__init__(answer=lambda prompt, seed: f"{prompt.split()[-1]}:{seed:d}", has_chat=False, name="gate")
        self.open = threading.Event()
        self.open.set()

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        self.open.wait(60)
        if any("long" in prompt for prompt in prompts):
            raise ContextOverflow("too long")
        found = super().generate(prompts, sampling, seeds)
        if killers := [i for i, prompt in enumerate(prompts) if "deadly" in prompt]:
            kept = [None if i in killers else each for i, each in enumerate(found)]
            raise RequestsDied("died", "", kept, killers)
        return found


def together(waves: Waves, lm: Gate, asks: Sequence[Callable[[], str]]) -> list[str | Exception]:
    """What each thread gets, where all but the first have to wait for its call."""
    lm.open.clear()
    before = len(waves.sizes)
    with ThreadPoolExecutor(len(asks) + 1) as pool:
        first = pool.submit(waves.complete, "first", SAMPLING, 0)
        while len(waves.sizes) == before:
            time.sleep(0.001)
        running = [pool.submit(ask) for ask in asks]
        while waves.n_waiting < len(asks):
            time.sleep(0.001)
        lm.open.set()
        first.result()
        return [error if (error := each.exception()) else each.result() for each in running]  # type: ignore[misc]


def asks(waves: Waves, prompts: Sequence[str], sampling: Sampling = SAMPLING) -> list[Callable[[], str]]:
    return [lambda each=each: waves.complete(each, sampling, 5).generation.text for each in prompts]  # type: ignore[misc]


def test_what_waits_while_a_call_runs_is_the_next_call_and_nobody_gets_anothers_answer() -> None:
    lm = Gate()
    waves = Waves(lm, window=0)
    assert together(waves, lm, asks(waves, [f"word{n}" for n in range(30)])) == [f"word{n}:5" for n in range(30)]
    assert waves.sizes == [1, 30]


def test_who_is_answered_asks_again_in_time_for_the_next_call() -> None:
    waves = Waves(ScriptedLM(answer=lambda prompt, seed: prompt), window=0.05)

    def ask_in_turn(thread: int) -> list[str]:
        return [waves.complete(f"{thread} {n}", SAMPLING).generation.text for n in range(10)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask_in_turn, range(8)))
    assert found == [[f"{thread} {n}" for n in range(10)] for thread in range(8)]
    assert len(waves.sizes) <= 2 * 10


def test_one_that_is_too_long_or_deadly_fails_alone() -> None:
    lm = Gate()
    waves = Waves(lm, window=0)
    found = together(waves, lm, asks(waves, ["a", "long b", "c"]))
    assert [str(each) for each in found] == ["a:5", "too long", "c:5"]
    found = together(waves, lm, asks(waves, ["a", "deadly b", "c"]))
    assert found[::2] == ["a:5", "c:5"]
    assert isinstance(found[1], RequestsDied)


def test_one_whose_seed_is_no_number_fails_alone() -> None:
    lm = Gate()
    waves = Waves(lm, window=0)
    wrong: Any = "7"
    found = together(
        waves, lm, [*asks(waves, ["a"]), lambda: str(waves.complete("b", SAMPLING, wrong)), *asks(waves, ["c"])]
    )
    assert found[::2] == ["a:5", "c:5"]
    assert isinstance(found[1], ValueError)


def test_who_waited_beside_a_deadly_request_learns_how_long_its_own_prompt_was() -> None:
    lm = Gate()
    waves = Waves(lm, window=0)

    def ask(prompt: str) -> Callable[[], str]:
        return lambda: str(waves.complete(prompt, SAMPLING, 5).n_prompt)

    found = together(waves, lm, [ask("two words"), ask("a deadly one"), ask("long one"), ask("one word more")])
    assert [each for each in found if isinstance(each, str)] == ["2", "3"]
    found = together(waves, lm, [ask("two words"), ask("a deadly one"), ask("one word more")])
    assert [each for each in found if isinstance(each, str)] == ["2", "3"]


def test_a_chat_that_is_refused_fails_alone_and_a_text_is_no_chat() -> None:
    lm = Gate()  # has no chat template
    waves = Waves(lm, window=0)
    chat = [lambda: waves.complete([Message("user", "x")], SAMPLING, 5).generation.text]
    found = together(waves, lm, [*chat, *asks(waves, ["a"])])
    assert "has no chat template" in str(found[0])
    assert found[1] == "a:5"


def test_without_a_seed_asking_again_is_another_draw_and_in_each_run_the_same() -> None:
    for _ in range(2):
        waves = Waves(Gate(), window=0)
        texts = [waves.complete(word, Sampling(8, temperature=1.0)).generation.text for word in ("a", "a", "b", "a")]
        assert texts == ["a:0", "a:1", "b:0", "a:2"]


def test_several_draws_of_one_request_are_one_call_in_the_order_of_their_seeds() -> None:
    waves = Waves(Gate(), window=0)
    for seeds, wanted in (([None, None], ["a:0", "a:1"]), ([7, 5], ["a:7", "a:5"]), ([None], ["a:2"])):
        found = waves.draw("a", Sampling(8, temperature=1.0), seeds, None)
        assert [each.generation.text for each in found] == wanted
    assert waves.sizes == [2, 2, 1]


def test_who_asks_longer_lends_the_model_to_other_threads() -> None:
    waves = Waves(Gate(), window=0)
    (ask,) = asks(waves, ["a"])

    def judge(_: object) -> str:
        with ThreadPoolExecutor(1) as pool, waves.lent():
            return pool.submit(ask).result(60)

    assert waves.ask(judge) == "a:5"


def test_different_samplings_are_different_calls_of_one_wave() -> None:
    lm = Gate()
    waves = Waves(lm, window=0)
    found = together(waves, lm, [*asks(waves, ["a"]), *asks(waves, ["b"], Sampling(3))])
    assert found == ["a:5", "b:5"]


def test_a_named_model_is_opened_at_the_first_request_and_settings_are_its_own() -> None:
    waves = Waves("no-such-model")
    for _ in range(2):
        with pytest.raises(ConfigError, match="no-such-model"):
            waves.complete("x", SAMPLING)
    with pytest.raises(ConfigError, match="no effect"):
        Waves(Gate(), n_ctx=5)
