"""Worked examples as a part of candidates: drawn from train, raced on dev, kept by what is written later."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import toy

from localprompt.errors import ConfigError
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure
from localprompt.optimizers.worked_examples import starts
from localprompt.search.problem import Problem
from localprompt.tasks import Layout, Task
from localprompt.tasks.answers import find_answer
from localprompt.types import Demo, Prompt

SEED = Prompt("Say something.")
METHODS = ("ape", "opro", "pe2", "protegi", "random")


def needs_examples(prompt: str, seed: int) -> str:
    """A model that answers rightly where it is shown how, and writes nothing of use."""
    if toy.is_asked_to_write(prompt):
        return f" do thing number {seed} to it."
    word = prompt.rpartition("alpha")[2].partition("\n")[0]
    return f" omega{word}" if prompt.count("Output: omega") >= 1 else " no idea"


def task(**changes: object) -> Task:
    return replace(toy.task(), seeds=(SEED,), **changes)  # type: ignore[arg-type]


def problem(lm: ScriptedLM | None = None, given: Task | None = None, budget: Budget | None = None) -> Problem:
    return toy.problem(lm or toy.model(answer=needs_examples), given or task(), budget=budget)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_finds_what_examples_are_worth(method: str) -> None:
    search = problem()
    configure(method, {"shots": "auto"}).run(search)
    winner = search.ranking.winner()
    assert (winner.mean, bool(winner.candidate.prompt.demos)) == (1.0, True)
    bare = problem()
    configure(method, {}).run(bare)
    assert bare.ranking.winner().mean == 0.0


def test_sets_are_of_train_alone_and_raced_with_the_seed_and_without() -> None:
    search = problem()
    found = starts(search, "auto")
    assert found[0] == SEED
    assert 1 <= len(found) - 1 <= 2
    raced = [each for each in search.ranking.candidates if each.op == "examples"]
    assert {each.is_proposed for each in raced} == {False}
    assert {each.prompt.instruction for each in raced} == {SEED.instruction, ""}
    assert Counter(len(each.prompt.demos) for each in raced) == {4: 8, 8: 8}
    train = {(example.inputs["input"], example.targets[0]) for example in search.train}
    assert {(demo.inputs["input"], demo.output) for each in raced for demo in each.prompt.demos} <= train
    large = [each.prompt.demos[:4] for each in raced if len(each.prompt.demos) == 8]
    assert [each.prompt.demos for each in raced if len(each.prompt.demos) == 4] == large, "no tokens of their own"


def test_different_answers_take_turns() -> None:
    labels = tuple("abcde")
    search = problem(toy.model(), replace(toy.task(labels=labels, train=40), seeds=(SEED,)))
    starts(search, "auto")
    for each in search.ranking.candidates:
        outputs = [demo.output for demo in each.prompt.demos]
        assert len(outputs) in (0, 5, 10)
        assert all(sorted(outputs[i : i + 5]) == sorted(labels) for i in range(0, len(outputs), 5))


def test_a_number_is_so_many_and_none_is_what_it_was() -> None:
    search = problem()
    assert {len(prompt.demos) for prompt in starts(search, 3)[1:]} == {3}
    budget = Budget()
    assert starts(problem(budget=budget), 0) == [SEED]
    assert budget.spend.calls == 0


def test_without_a_place_for_examples_or_a_train_split_nothing_is_spent() -> None:
    layout = Layout("{{instruction}}\n\nInput: {{input}}\nOutput:", "")
    for given in (task(layout=layout), task(train=())):
        search = problem(given=given)
        assert starts(search, 4) == [SEED]
        assert [each.op for each in search.ranking.candidates] == ["seed"]


def test_a_seed_with_examples_keeps_them() -> None:
    own = Prompt("Say it.", (Demo({"input": "alpha900"}, "omega900"),))
    search = problem(given=replace(task(), seeds=(own,)))
    assert starts(search, "auto") == [own]


def test_only_as_many_as_fit_the_context_are_shown() -> None:
    lm = toy.model(answer=needs_examples)
    lm.n_ctx = 60
    search = problem(lm)
    found = starts(search, 16)
    assert all(0 < len(prompt.demos) < 16 for prompt in found[1:])
    assert not any(outcome.failed for each in search.evaluate(found) for outcome in each.outcomes)


def test_where_a_model_reasons_its_own_right_reasoning_is_shown() -> None:
    def reasons(prompt: str, seed: int) -> str:
        number = int(prompt.rpartition("alpha")[2].partition("\n")[0])
        answer = f"omega{number if number % 2 else 'x'}"
        return f"I look at the word, I find its number and say it. The answer is: {answer}"

    given = task(
        answer=find_answer("after_marker", "is:"), sampling=replace(toy.task().sampling, stop=(), max_tokens=60)
    )
    search = problem(toy.model(answer=reasons), given)
    starts(search, 3)
    demos = [demo for each in search.ranking.candidates for demo in each.prompt.demos]
    assert demos
    for demo in demos:
        number = demo.inputs["input"].removeprefix("alpha")
        assert int(number) % 2, "it was right"
        assert demo.output == f"I look at the word, I find its number and say it. The answer is: omega{number}"


@pytest.mark.parametrize("method", METHODS)
def test_what_examples_cost_is_estimated(method: str) -> None:
    lm = toy.model(answer=needs_examples)
    few, none = (toy.expected(configure(method, {"shots": shots}), task(), lm) for shots in (4, 0))
    assert few.evaluations > none.evaluations
    assert lm.n_generated == 0


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("some", "is 'auto' or it is a whole number, not 'some'"),
        (-1, "at least 0, not -1"),
        (None, "not None"),
        (True, "not True"),
    ],
)
def test_what_is_no_number_of_examples_is_one_sentence(value: object, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        configure("opro", {"shots": value})
