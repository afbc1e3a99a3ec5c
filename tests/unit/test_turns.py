"""Two models that do not fit into memory together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import toy

from localprompt.comparison.plan import compare, expected_costs, resume_comparison
from localprompt.engine.settings import EngineSettings
from localprompt.errors import NotEnoughMemory
from localprompt.lm.base import LanguageModel
from localprompt.lm.loading import scheme
from localprompt.lm.scripted import ScriptedLM
from localprompt.lm.turns import ModelSwapper, SwappedModel
from localprompt.run import api as runs
from localprompt.search.observer import SilentObserver
from localprompt.store import Store
from localprompt.types import Message, Prompt, Sampling

SHORT = Sampling(max_tokens=4)


class Weighty(ScriptedLM):
    """A model that can be had without its weights."""

    def vocabulary(self) -> AbstractContextManager[LanguageModel]:
        return nullcontext(toy.model(name=self.name))


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
            yield Weighty(answer=toy.answer, logprob=toy.logprob, name=name)
        finally:
            self.inside.remove(name)


def swaps(notes: tuple[str, ...]) -> int:
    return sum(int(n) for note in notes for n in re.findall(r"took turns in memory, (\d+) swaps", note))


def test_only_the_model_that_was_asked_last_is_in_memory() -> None:
    machine, turns = Machine(1), ModelSwapper()
    with turns:
        first = SwappedModel(lambda: machine.load("first"), turns)
        second = SwappedModel(lambda: machine.load("second"), turns)
        _take_turns(machine, first, second, turns)
    assert machine.inside == []


def _take_turns(machine: Machine, first: SwappedModel, second: SwappedModel, turns: ModelSwapper) -> None:
    assert machine.inside == ["second"]
    first.generate(["a", "b"], SHORT, [0, 0])
    first.generate(["c"], SHORT, [0])
    second.loglikelihood([("Input: alpha1\nOutput:", " omega1")])
    assert (machine.loads, machine.inside) == (["first", "second", "first", "second"], ["second"])
    assert turns.swaps == 3
    assert (first.facts.name, second.facts.name) == ("first", "second")
    assert first.stats.tokens_requested > 0, "what was done in an earlier turn counts"


def test_a_model_is_loaded_again_with_the_settings_of_its_first_turn() -> None:
    measured = [EngineSettings(n_threads=1), EngineSettings(n_threads=2)]
    given: list[dict[str, object]] = []

    def load(**engine: object) -> AbstractContextManager[LanguageModel]:
        given.append(engine)
        lm = toy.model()
        lm.settings = measured[len(given) - 1]  # type: ignore[attr-defined]
        return nullcontext(lm)

    with ModelSwapper() as turns:
        first = SwappedModel(load, turns)
        SwappedModel(lambda: nullcontext(toy.model()), turns)
        first.generate(["a"], SHORT, [0])
    assert given == [{}, measured[0].numerics()], "measured again they might be others, under the same fingerprint"


def test_models_that_fit_together_are_both_kept() -> None:
    machine = Machine(2)
    with scheme("toy", machine.load):
        result = runs.optimize(toy.task(), "toy:small", proposer="toy:other")
    assert machine.loads == ["small", "other"]
    assert (result.model, result.proposer, result.best) == ("small", "other", Prompt(toy.BEST))
    assert machine.inside == []


def test_models_that_do_not_fit_take_turns_and_the_swaps_are_counted() -> None:
    together, alone = Machine(2), Machine(1)
    with scheme("toy", together.load):
        expected = runs.optimize(toy.task(), "toy:small", proposer="toy:other")
    with scheme("toy", alone.load):
        result = runs.optimize(toy.task(), "toy:small", proposer="toy:other", use_cache=False)
    assert (result.best, result.test, result.discards) == (expected.best, expected.test, expected.discards)
    assert any("took turns in memory" in note for note in result.notes)
    assert len(alone.loads) < 20, "a turn is long"
    assert alone.inside == []


def test_tokenising_and_rendering_take_no_turn() -> None:
    machine, turns = Machine(1), ModelSwapper()
    with turns:
        first = SwappedModel(lambda: machine.load("first"), turns)
        SwappedModel(lambda: machine.load("second"), turns)
        assert first.count_tokens(["a b c"]) == toy.model().count_tokens(["a b c"])
        assert first.tokenize(["a"]) == toy.model().tokenize(["a"])
        assert first.chat([Message("user", "a")]) == toy.model().chat([Message("user", "a")])
        assert machine.loads == ["first", "second"]


@pytest.mark.parametrize("method", ["ape", "opro", "pe2", "protegi"])
def test_an_estimate_swaps_nothing(method: str) -> None:
    machine = Machine(1)
    with scheme("toy", machine.load):
        runs.dry_run(toy.task(), "toy:small", method=method, proposer="toy:other", max_tokens=20_000)
    assert machine.loads == ["small", "small", "other"], "once more to see that both do not fit"


def test_models_take_turns_in_a_comparison_too() -> None:
    machine = Machine(1)
    with scheme("toy", machine.load):
        _compare_in_turns(machine)


def _compare_in_turns(machine: Machine) -> None:
    task = toy.task(dev=12, test=12)
    methods = ("ape", "random")
    costs = expected_costs([task], "toy:small", proposer="toy:other", methods=methods, max_tokens=6000)
    assert len(costs) == 2
    machine.loads.clear()
    settings = {"ape": {"queries": 2, "per_query": 7}, "random": {"proposals": 14}}
    how = {"methods": methods, "n_seeds": 1, "max_tokens": 6000, "settings": settings}
    with pytest.raises(toy.Killed):
        compare([task], "toy:small", proposer="toy:other", observer=Killer("run 2"), **how)  # type: ignore[arg-type]
    assert machine.inside == []
    machine.loads.clear()
    with Store() as store:
        (unfinished,) = {study.id for study in store.studies.all("comparison")}
    result = resume_comparison(unfinished)
    assert machine.inside == []
    assert [run.result.status for run in result.runs] == ["finished", "finished"]
    # The first run had ended before; each load but the three at the beginning is a swap of the second.
    assert swaps(result.runs[1].result.notes) == len(machine.loads) - 3 > 0


class Killer(SilentObserver):
    def __init__(self, run: str) -> None:
        self._run = run

    def note(self, text: str) -> None:
        if text.startswith(self._run):
            raise toy.Killed
