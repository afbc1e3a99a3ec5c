"""What holds for every registered optimiser."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from worlds import world

from localprompt.errors import BudgetExhausted, Unscored
from localprompt.lm.base import ModelFacts
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure, names, presets
from localprompt.run.api import optimize
from localprompt.run.resume import replay
from localprompt.search.problem import Problem
from localprompt.tasks import Layout
from localprompt.types import Prompt

TESTS = Path(__file__).parents[1]
every_optimizer = pytest.mark.parametrize("name", names())
with_and_without_examples = pytest.mark.parametrize(
    "layout", [toy.task().layout, toy.SHOWING], ids=["no place for examples", "examples"]
)


def _search(
    name: str, lm: ScriptedLM, *, seed: int = 0, budget: Budget | None = None, layout: Layout | None = None
) -> Problem:
    given = replace(toy.task(), layout=layout) if layout else toy.task()
    problem = toy.problem(lm, given, seed=seed, budget=budget)
    try:
        configure(name, world(name).settings).run(problem)
    except BudgetExhausted:
        assert budget is not None
    return problem


def trace(name: str, seed: int, layout: Layout | None = None) -> str:
    """Hash of everything the model was shown."""
    lm = world(name).model()
    _search(name, lm, seed=seed, layout=layout)
    return hashlib.sha256("\0".join(lm.seen).encode()).hexdigest()


@every_optimizer
def test_it_finds_the_known_best_prompt(name: str) -> None:
    winner = _search(name, world(name).model()).ranking.winner()
    assert winner.candidate.prompt == Prompt(toy.BEST)


@every_optimizer
@with_and_without_examples
def test_the_same_seed_gives_the_same_trace_and_another_seed_another(name: str, layout: Layout) -> None:
    assert trace(name, 0, layout) == trace(name, 0, layout) != trace(name, 1, layout)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_trace_of_no_method_depends_on_the_hash_seed_of_python(hash_seed: str) -> None:
    code = "import toy, test_optimizers as t; print(*(t.trace(name, 0, toy.SHOWING) for name in t.names()))"
    path = os.pathsep.join([str(TESTS), str(TESTS / "contracts"), str(TESTS.parent)])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    here = {name: trace(name, 0, toy.SHOWING) for name in names()}
    assert dict(zip(names(), run.stdout.split(), strict=True)) == here


@every_optimizer
@with_and_without_examples
def test_it_is_never_over_budget(name: str, layout: Layout) -> None:
    for max_calls in (1, 47, 48, 49, 100, 333, 500, 900):
        lm, budget = world(name).model(), Budget(max_calls=max_calls)
        _search(name, lm, budget=budget, layout=layout)
        assert lm.n_generated + lm.n_scored == budget.spend.calls <= max_calls
    for max_tokens in (10, 1000, 5000, 20_000):
        lm, budget = world(name).model(), Budget(max_tokens=max_tokens)
        _search(name, lm, budget=budget, layout=layout)
        assert budget.spend.tokens_computed <= max_tokens
        lm, budget = world(name).model(), Budget(max_requested=max_tokens)
        _search(name, lm, budget=budget, layout=layout)
        assert lm.stats.tokens_requested == budget.spend.tokens_requested <= max_tokens


@every_optimizer
@pytest.mark.parametrize(
    "writes",
    [
        pytest.param(lambda prompt, seed: "", id="nothing"),
        pytest.param(lambda prompt, seed: "\x00\ufffd\ud800 {{ }} <|im_end|> %s {0} \\", id="junk"),
        pytest.param(lambda prompt, seed: prompt, id="echo"),
        pytest.param(lambda prompt, seed: "word " * 400, id="endless"),
        pytest.param(lambda prompt, seed: "<think>" * 30, id="thoughts"),
    ],
)
def test_it_survives_a_proposer_of_no_use(name: str, writes: object) -> None:
    def answer(prompt: str, seed: int) -> str:
        return writes(prompt, seed) if toy.is_asked_to_write(prompt) else toy.answer(prompt, seed)  # type: ignore[operator]

    problem = _search(name, world(name).model(answer=answer))
    winner = problem.ranking.winner()
    assert winner.evaluation is not None
    assert winner.evaluation.mean >= problem.ranking.best_seed().evaluation.mean  # type: ignore[union-attr]
    assert bool(problem.proposer.discards) == world(name).proposes


@every_optimizer
@with_and_without_examples
def test_it_never_sees_a_test_example(name: str, layout: Layout) -> None:
    lm = world(name).model()
    given = replace(toy.task(), layout=layout)
    configure(name, world(name).settings).run(toy.problem(lm, given))
    shown = "\n".join(lm.seen) + "\n"
    assert f"{given.dev[0].inputs['input']}\n" in shown
    assert not any(f"{example.inputs['input']}\n" in shown for example in given.test)


@every_optimizer
@with_and_without_examples
def test_small_and_lopsided_tasks_are_all_right(name: str, layout: Layout) -> None:
    seeds = (Prompt("Say it."), Prompt(toy.BEST))
    for given in (
        toy.task(train=1, dev=1),
        toy.task(train=2, dev=7),
        toy.task(labels=("red", "blue")),
        replace(toy.task(), seeds=seeds),
        replace(toy.task(), seeds=(Prompt(toy.BEST),)),
    ):
        problem = toy.problem(world(name).model(), replace(given, layout=layout))
        configure(name, world(name).settings).run(problem)
        winner = problem.ranking.winner()
        assert winner.evaluation is not None
        assert len(winner.evaluation.outcomes) == len(given.dev)


@every_optimizer
def test_every_preset_runs_until_its_end_or_that_of_the_budget(name: str) -> None:
    for preset in presets(name):
        budget = Budget(max_calls=600)
        with suppress(BudgetExhausted):
            configure(name, world(name).settings, preset).run(toy.problem(world(name).model(), budget=budget))
        assert 0 < budget.spend.calls <= 600


@every_optimizer
def test_a_base_model_can_propose_too(name: str) -> None:
    problem = toy.problem(world(name).model(has_chat=False))
    configure(name, world(name).settings).run(problem)
    assert problem.ranking.winner().evaluation is not None


class Replying(ScriptedLM):
    """Tells no likelihoods, as a function or most servers."""

    @property
    def facts(self) -> ModelFacts:
        return replace(super().facts, can_score=False)


def test_a_model_that_only_replies_answers_and_writes_for_every_method(tmp_path: Path) -> None:
    for name in names():
        place = world(name)
        lm = Replying(answer=place.answer, name="replying")
        found = optimize(toy.task(), lm, method=name, settings=place.settings, store=tmp_path / "s")
        assert (name, found.best) == (name, Prompt(toy.BEST))
        assert lm.n_scored == 0
        assert replay(found.run_id, store=tmp_path / "s").best == found.best


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [("ape", "scoring", "logprob"), ("ape", "mode", "sir"), ("protegi", "scorer", "likelihood")],
)
def test_what_compares_likelihoods_is_refused_with_it_before_anything_is_asked(
    name: str, setting: str, value: str
) -> None:
    lm = Replying(answer=toy.answer)
    with pytest.raises(Unscored, match="does not tell how likely an answer is"):
        optimize(toy.task(), lm, method=name, settings={setting: value})
    assert not lm.seen
