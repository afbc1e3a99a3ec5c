"""Two models that do not fit into memory together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import toy

from localprompt import runs
from localprompt.errors import NotEnoughMemory
from localprompt.lm.base import LanguageModel
from localprompt.lm.turns import ModelInTurn, Turns
from localprompt.types import Prompt, Sampling

SHORT = Sampling(max_tokens=4)


class Machine:
    """Memory for `room` models; remembers what was loaded."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.loads: list[str] = []
        self.inside: list[str] = []

    @contextmanager
    def load(self, name: str) -> Iterator[LanguageModel]:
        if len(self.inside) == self.room:
            raise NotEnoughMemory(f"{name} needs about 9.9 GB of memory, 1.0 GB are free")
        self.loads.append(name)
        self.inside.append(name)
        try:
            yield toy.model(name=name)
        finally:
            self.inside.remove(name)


def test_only_the_model_that_was_asked_last_is_in_memory() -> None:
    machine, turns = Machine(1), Turns()
    first = ModelInTurn(lambda: machine.load("first"), turns)
    second = ModelInTurn(lambda: machine.load("second"), turns)
    assert machine.inside == ["second"]
    first.generate(["a", "b"], SHORT, [0, 0])
    first.generate(["c"], SHORT, [0])
    second.loglikelihood([("Input: alpha1\nOutput:", " omega1")])
    assert (machine.loads, machine.inside) == (["first", "second", "first", "second"], ["second"])
    assert turns.swaps == 3
    assert (first.name, second.name) == ("first", "second")
    assert first.stats.tokens_requested > 0, "what was done in an earlier turn counts"


def test_models_that_fit_together_are_both_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(2)
    monkeypatch.setattr(runs, "open_model", machine.load)
    result = runs.optimize(toy.task(), "small", proposer="other")
    assert machine.loads == ["small", "other"]
    assert (result.model, result.proposer, result.best) == ("small", "other", Prompt(toy.BEST))
    assert machine.inside == []


def test_models_that_do_not_fit_take_turns_and_the_swaps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    together, alone = Machine(2), Machine(1)
    monkeypatch.setattr(runs, "open_model", together.load)
    expected = runs.optimize(toy.task(), "small", proposer="other")
    monkeypatch.setattr(runs, "open_model", alone.load)
    result = runs.optimize(toy.task(), "small", proposer="other", use_cache=False)
    assert (result.best, result.test, result.discards) == (expected.best, expected.test, expected.discards)
    assert any("took turns in memory" in note for note in result.notes)
    assert len(alone.loads) < 20, "a turn is long"
    assert alone.inside == []
