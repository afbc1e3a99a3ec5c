"""Worked examples as a part of candidates: drawn from train, raced on dev, kept by what is written later."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
import toy

from localprompt.errors import BudgetExhausted, ConfigError
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure
from localprompt.optimizers.worked_examples import SETS, dealt, other_way, starts, swapped
from localprompt.search.problem import Problem
from localprompt.search.ranking import size
from localprompt.tasks import Layout, Task
from localprompt.tasks.answers import find_answer
from localprompt.types import Demo, Evaluation, Example, Prompt

SEED = Prompt("Say something.")
METHODS = ("ape", "opro", "pe2", "protegi", "random")


def needs_examples(prompt: str, seed: int) -> str:
    """A model that answers rightly where it is shown how, and writes nothing of use."""
    if toy.is_asked_to_write(prompt):
        return f" do thing number {seed} to it."
    word = prompt.rpartition("alpha")[2].partition("\n")[0]
    return f" omega{word}" if prompt.count("Output: omega") >= 1 else " no idea"


def fooled_by_most(prompt: str, seed: int) -> str:
    """A model to which some sets of examples are of more use than others."""
    word = prompt.rpartition("alpha")[2].partition("\n")[0]
    worth = sum(map(int, re.findall(r"Output: omega(\d+)", prompt))) % 20
    return f" omega{word}" if int(word) % 20 < worth else " no idea"


def task(**changes: object) -> Task:
    labels = changes.pop("labels", ())
    return replace(toy.task(labels=labels), **{"seeds": (SEED,), "layout": toy.SHOWING, **changes})  # type: ignore[arg-type]


def problem(lm: ScriptedLM | None = None, given: Task | None = None, budget: Budget | None = None) -> Problem:
    return toy.problem(lm or toy.model(answer=needs_examples), given or task(), budget=budget)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_finds_what_examples_are_worth(method: str) -> None:
    search = problem()
    configure(method, {"shots": "auto"} if method == "random" else {}).run(search)
    winner = search.ranking.winner()
    assert (winner.mean, bool(winner.candidate.prompt.demos)) == (1.0, True)
    bare = problem()
    configure(method, {"shots": 0}).run(bare)
    assert bare.ranking.winner().mean == 0.0


def raced(search: Problem) -> list[Prompt]:
    """What was tried with examples, in order."""
    return [each.prompt for each in search.ranking.candidates if each.op == "examples"]


def seen(search: Problem) -> list[tuple[str, int, list[str]]]:
    """Watch a search: what is evaluated, how many prompts of it, on which examples."""
    calls: list[tuple[str, int, list[str]]] = []
    evaluate = search.evaluate

    def watching(prompts: Sequence[Prompt], examples: Sequence[Example] | None = None) -> list[Evaluation]:
        ids = [example.id for example in (search.dev if examples is None else examples)]
        calls.append(("examples" if any(each.demos for each in prompts) else "seeds", len(prompts), ids))
        return evaluate(prompts, examples)

    search.evaluate = watching  # type: ignore[assignment, method-assign]
    return calls


def test_sets_are_of_train_alone_and_raced_with_the_seed_and_without() -> None:
    search = problem()
    found = starts(search, "auto", SETS)
    assert found[0] == SEED
    assert 1 <= len(found) - 1 <= 2
    assert not any(each.is_proposed for each in search.ranking.candidates)
    assert {each.instruction for each in raced(search)} == {SEED.instruction, ""}
    train = {(example.inputs["input"], example.targets[0]) for example in search.train}
    assert {(demo.inputs["input"], demo.output) for each in raced(search) for demo in each.demos} <= train
    sets = raced(search)[: (3 + 2) * SETS // 2]
    alone, behind = ([each.demos for each in sets if each.instruction == words] for words in ("", SEED.instruction))
    largest = [*alone[2::3], *behind[1::2]]
    assert len({Prompt("", demos).id for demos in largest}) == SETS, "each order of train alone or behind the seed"
    assert [len(demos) for demos in largest] == [len(search.train)] * (SETS // 2) + [12] * (SETS // 2)
    assert alone == [order[:n] for order in alone[2::3] for n in (4, 12, len(order))], "no tokens of their own"
    assert behind == [order[:n] for order in behind[1::2] for n in (4, 12)]


def test_a_copy_of_a_dev_row_is_never_shown() -> None:
    given = task()
    copies = tuple(replace(each, id=f"train:{each.id}") for each in given.dev[:10])
    search = problem(toy.model(), replace(given, train=(*copies, *given.train[:10])))
    sets = [*dealt(search, given.seeds[0], 2, search.dev), *starts(search, "auto", 2)[1:]]
    shown = {demo.inputs["input"] for prompt in sets for demo in prompt.demos}
    assert shown == {each.inputs["input"] for each in given.train[:10]}
    assert not dealt(problem(toy.model(), replace(given, train=copies)), given.seeds[0], 2, given.dev)


def test_the_first_of_copies_is_shown_and_no_other() -> None:
    given = task()
    twice = tuple(Example(f"train:{i}{n}", given.train[n].inputs, (f"omega{i}",)) for i in range(3) for n in range(4))
    search = problem(toy.model(), replace(given, train=twice))
    sets = [*dealt(search, given.seeds[0], 2, search.dev), *starts(search, "auto", 2)[1:]]
    assert {len(each.demos) for each in sets} <= {0, 4}
    assert {demo.output for each in sets for demo in each.demos} == {"omega0"}


def test_a_train_row_that_is_a_copy_of_a_test_row_takes_no_part() -> None:
    given = task()
    copies = tuple(replace(each, id=f"train:{each.id}") for each in given.test[:10])
    search = problem(toy.model(), replace(given, train=(*copies, *given.train[:10])))
    assert search.train == search.unseen == given.train[:10]
    assert {each.id for each in search.minibatch(20)} == {each.id for each in given.train[:10]}
    sets = [*dealt(search, given.seeds[0], 2, search.dev), *starts(search, "auto", 2)[1:]]
    assert {demo.inputs["input"] for each in sets for demo in each.demos} <= {e.inputs["input"] for e in search.train}


def test_different_answers_take_turns() -> None:
    labels = tuple("abcde")
    search = problem(toy.model(), task(labels=labels))
    starts(search, "auto", SETS)
    for each in raced(search)[: (3 + 2) * SETS // 2]:
        outputs = [demo.output for demo in each.demos]
        assert len(outputs) in (5, 15, 20)
        assert all(sorted(outputs[i : i + 5]) == sorted(labels) for i in range(0, len(outputs), 5))


def test_the_seed_is_known_on_all_of_dev_before_the_race_begins() -> None:
    budget = Budget(max_calls=60)
    search = problem(budget=budget)
    with pytest.raises(BudgetExhausted):
        starts(search, "auto", SETS)
    (known,) = search.ranking.finalists()
    assert (known.candidate.prompt, budget.spend.calls) == (SEED, len(search.dev))


def test_sets_race_on_common_rows_that_double_and_variants_from_the_other_end() -> None:
    search = problem(lm=toy.model(answer=fooled_by_most))
    calls = seen(search)
    dev = search.shuffled(search.dev)
    found = starts(search, "auto", SETS, dev)
    ids = [example.id for example in dev]
    stages = [(n, len(rows)) for who, n, rows in calls if who == "examples" and rows == ids[: len(rows)]]
    assert stages[:3] == [(20, 8), (8, 16), (4, 32)]
    assert any(rows == ids[::-1][:8] for _, _, rows in calls)
    means = [search.evaluate([each])[0].mean for each in found[1:]]
    assert means == sorted(means, reverse=True)


def test_with_one_order_it_stands_alone_and_the_two_best_of_it_behind_the_seed_too() -> None:
    budget = Budget()
    search = problem(budget=budget)
    calls = seen(search)
    starts(search, "auto", 1)
    alone, behind = raced(search)[:3], raced(search)[3:]
    assert [(each.instruction, len(each.demos)) for each in alone] == [("", 4), ("", 12), ("", len(search.train))]
    assert [each.instruction for each in behind] == [SEED.instruction] * 2
    assert all(each.demos in [other.demos for other in alone] for each in behind)
    assert [(n, len(rows)) for who, n, rows in calls if who == "examples"] == [(3, 8), (4, 16), (1, 40), (1, 40)]
    assert budget.spend.calls == 40 + 3 * 8 + (2 * 8 + 2 * 16) + 2 * (40 - 16), "seed, two stages, the two best"


def test_the_best_set_is_varied_while_that_helps() -> None:
    """Where each example with a number of a kind is worth something, the search finds more and more of them."""

    def counts(prompt: str, seed: int) -> str:
        if toy.is_asked_to_write(prompt):
            return "..."
        numbers = [int(number) for number in re.findall(r"Output: omega(\d+)", prompt)]
        word = prompt.rpartition("alpha")[2].partition("\n")[0]
        share = sum(number % 4 == 0 for number in numbers) / max(8, len(numbers))
        return f" omega{word}" if int(word) % 20 < 20 * share else " no idea"

    train = toy.task(train=200).train
    search = problem(toy.model(answer=counts), task(train=(*train[:20], *train[100:])))
    best = search.evaluate(starts(search, 8, SETS)[1:2])[0]
    assert best.mean > max(each.mean for each in search.evaluate(raced(search)[:SETS]))
    parents = {each.parents for each in search.ranking.candidates if each.op == "examples"}
    assert len(parents) > 1, "variants descend from the set that they vary"


def test_variants_that_are_not_better_end_the_search() -> None:
    search = problem(
        toy.model(answer=lambda prompt, seed: needs_examples(prompt, seed) if "5" in prompt[-16:] else "-")
    )
    calls, dev = seen(search), search.shuffled(search.dev)
    starts(search, 4, SETS, dev)
    from_the_end = [example.id for example in dev[::-1][:8]]
    assert [n for _, n, rows in calls if rows == from_the_end] == [5], "the best and four variants, once"


def test_of_equal_scores_the_shorter_prompt_goes_first() -> None:
    found = starts(problem(), "auto", SETS)
    assert [size(each) for each in found[1:]] == sorted(size(each) for each in found[1:])
    assert len(found[1].demos) == 4


def test_a_number_is_so_many_and_none_is_what_it_was() -> None:
    search = problem()
    assert {len(prompt.demos) for prompt in starts(search, 3, SETS)[1:]} == {3}
    budget = Budget()
    assert starts(problem(budget=budget), 0, SETS) == [SEED]
    assert budget.spend.calls == 0


@pytest.mark.parametrize("method", ["ape", "opro"])
@pytest.mark.parametrize(
    ("given", "shots", "shown"),
    [(task(), 500, len(task().train)), (task(layout=Layout(toy.BARE, "")), 3, 0), (task(), 3, None), (task(), 0, None)],
)
def test_fewer_examples_than_a_number_asks_for_are_told_once(
    given: Task, shots: int, shown: int | None, method: str
) -> None:
    diary = toy.Diary()
    search = toy.problem(toy.model(answer=needs_examples), given, budget=Budget(max_calls=2000), observer=diary)
    with suppress(BudgetExhausted):
        configure(method, {"shots": shots}).run(search)
    room = "layout, train or context has room for no more"
    said = [] if shown is None else [f"prompts show {shown} worked examples, not {shots}: {room}"]
    found = [note.removeprefix("opening: ") for note in diary.notes if "worked examples, not" in note]
    assert found == said


def test_without_a_place_for_examples_or_a_train_split_nothing_is_spent() -> None:
    for given in (task(layout=Layout(toy.BARE, "")), task(train=())):
        search = problem(given=given)
        assert starts(search, 4, SETS) == [SEED]
        assert [each.op for each in search.ranking.candidates] == ["seed"]


def test_a_seed_with_examples_keeps_them() -> None:
    own = Prompt("Say it.", (Demo({"input": "alpha900"}, "omega900"),))
    search = problem(given=task(seeds=(own,)))
    assert starts(search, "auto", SETS) == [own]


def test_only_as_many_as_fit_the_context_are_shown() -> None:
    lm = toy.model(answer=needs_examples)
    lm.n_ctx = 60
    search = problem(lm)
    found = starts(search, 16, SETS)
    assert all(0 < len(prompt.demos) < 16 for prompt in found[1:])
    assert not any(outcome.failed for each in search.evaluate(found) for outcome in each.outcomes)


def test_a_set_grows_as_far_as_the_context_has_room() -> None:
    lm = toy.model(answer=needs_examples)
    lm.n_ctx = 60
    search = problem(lm)
    most = search.demos_that_fit(Prompt(""), [Demo(each.inputs, each.targets[0]) for each in search.train])
    found = swapped(search, dealt(search, Prompt(""), 1, search.dev, 4)[0], "auto")
    assert max(len(each.demos) for each in found) == min(8, most) > 4
    assert max(len(each.demos) for each in swapped(search, max(found, key=size), "auto")) == most < 16


def test_a_train_row_that_is_too_long_takes_no_place_in_a_set() -> None:
    given = task()
    train = [
        replace(row, inputs={"input": "alpha " * 5000}) if i % 4 == 0 else row for i, row in enumerate(given.train)
    ]
    search = problem(given=replace(given, train=tuple(train)))
    assert [len(each.demos) for each in dealt(search, SEED, 6, search.dev)] == [4, 12, 15, 4, 12] * 3


def test_where_a_model_reasons_its_own_right_reasoning_is_shown() -> None:
    def reasons(prompt: str, seed: int) -> str:
        number = int(prompt.rpartition("alpha")[2].partition("\n")[0])
        answer = f"omega{number if number % 2 else 'x'}"
        return f"I look at the word, I find its number and say it. The answer is: {answer}"

    given = task(
        answer=find_answer("after_marker", "is:"), sampling=replace(toy.task().sampling, stop=(), max_tokens=60)
    )
    search = problem(toy.model(answer=reasons), given)
    starts(search, 3, SETS)
    demos = [demo for each in search.ranking.candidates for demo in each.prompt.demos]
    assert demos
    for demo in demos:
        number = demo.inputs["input"].removeprefix("alpha")
        assert int(number) % 2, "it was right"
        assert demo.output == f"I look at the word, I find its number and say it. The answer is: omega{number}"

    def reasons_where_shown(prompt: str, seed: int) -> str:
        return reasons(prompt, seed) if "I look" in prompt else " omega"

    search = problem(toy.model(answer=reasons_where_shown), given)
    shown = Prompt("", (Demo(given.train[1].inputs, "I look at the word, and say it. The answer is: omega1"),))
    found = dealt(search, shown, 2, search.dev)
    assert found
    assert all(demo.output.startswith("I look") for each in found for demo in each.demos)


def test_what_a_model_adds_after_its_answer_is_no_reasoning() -> None:
    """A chat model explains an answer, or invents the next row: shown in an example that would be learnt."""

    def rambles(prompt: str, seed: int) -> str:
        number = prompt.rpartition("alpha")[2].partition("\n")[0]
        answer = f"omega{number}" if int(number) % 3 else "none"
        return f"{answer}\n\nI took the number that it has.\nInput: alpha99\nOutput: none"

    given = task(sampling=replace(toy.task().sampling, stop=(), max_tokens=60))
    search = problem(toy.model(answer=rambles), given)
    found = [demo.output for each in starts(search, 3, SETS) for demo in each.demos]
    assert found
    assert not any("\n" in output for output in found)


def test_reasoning_is_shown_of_answers_in_turn_and_looked_for_until_there_is_enough() -> None:
    """A model that reasons, is right on one train row of three, and has far more rows with the answer yes."""

    def reasons(prompt: str, seed: int) -> str:
        number = int(prompt.rpartition("alpha")[2].partition("\n")[0])
        right = "no" if number % 10 == 0 else "yes"
        return f"I look at the number {number} and think. The answer is: {right if number % 20 < 13 else 'who knows'}"

    wide = toy.task(train=150)
    train = tuple(replace(each, targets=("no" if n % 10 == 0 else "yes",)) for n, each in enumerate(wide.train))
    given = task(
        train=train,
        dev=wide.dev,
        test=wide.test,
        answer=find_answer("after_marker", "is:"),
        sampling=replace(toy.task().sampling, stop=(), max_tokens=60),
    )
    search = problem(toy.model(answer=reasons), given)
    asked: list[str] = []
    evaluate = search.evaluate

    def watching(prompts: Sequence[Prompt], examples: Sequence[Example] | None = None) -> list[Evaluation]:
        asked.extend(each.id for each in examples or () if each.id.startswith("train:"))
        return evaluate(prompts, examples)

    search.evaluate = watching  # type: ignore[assignment, method-assign]
    starts(search, 8, SETS)
    no = {each.id for each in train if each.targets == ("no",)}
    assert len(asked) == 24, "16 of them are right, twice as many as a set has"
    assert len(no & set(asked)) == 12, "all answers in turn"
    for each in raced(search)[:SETS]:
        assert Counter("no" if demo.output.endswith("no") else "yes" for demo in each.demos)["no"] >= 3


def test_an_instruction_is_tried_the_other_way_too() -> None:
    demos, other = (Demo({"input": "alpha1"}, "omega1"),), (Demo({"input": "alpha2"}, "omega2"),)
    bare, shown = Prompt("Say it."), Prompt("Do it.", other)
    search, best = problem(), Prompt("", demos)
    assert other_way(search, [bare, shown], [best]) == [Prompt("Say it.", demos), Prompt("Do it.")]
    made = [(each.op, each.parents) for each in search.ranking.candidates[-2:]]
    assert made == [("with examples", (bare.id, best.id)), ("without examples", (shown.id,))]
    assert other_way(search, [bare, shown], []) == []
    assert other_way(search, [best], [best]) == [replace(SEED, demos=demos)], "a set alone is tried behind words"
    assert other_way(search, [Prompt("say " * 4200)], [best]) == [], "it does not fit"


@pytest.mark.parametrize("method", ["ape", "opro", "pe2", "protegi"])
def test_finalists_hold_the_best_instruction_with_examples_and_without(method: str) -> None:
    def answer(prompt: str, seed: int) -> str:
        """Examples are worth half of the rows, an instruction that is found the same, both nearly all."""
        if toy.is_asked_to_write(prompt):
            return (
                toy.answer(prompt, seed)
                if method != "pe2"
                else f" Turn {seed} alphas into omegas, all of them.</prompt>"
            )
        number = int(prompt.rpartition("alpha")[2].partition("\n")[0])
        before = prompt.rpartition("Input:")[0]
        knows = ("Output: omega" in before and number % 2) or ("omega" in before.partition("Input:")[0] and number % 4)
        return f" omega{number}" if knows else " no idea"

    search = problem(toy.model(answer=answer))
    configure(method, {}).run(search)
    finalists = [each.candidate.prompt for each in search.ranking.finalists()]
    both = {each.instruction for each in finalists if each.demos} & {
        each.instruction for each in finalists if not each.demos
    }
    assert {text for text in both if "omega" in text}


@pytest.mark.parametrize("method", METHODS)
def test_what_examples_cost_is_estimated(method: str) -> None:
    given, lm = task(train=toy.task(train=60).train, dev=toy.task(train=60).dev), toy.model(answer=needs_examples)
    few, none = (toy.expected(configure(method, {"shots": shots}), given, lm) for shots in (4, 0))
    assert few.evaluations > none.evaluations
    assert lm.n_generated == 0


@pytest.mark.parametrize(("method", "calls"), [("ape", 800), ("opro", 500), ("pe2", 700), ("protegi", 700)])
def test_examples_cost_by_default_what_the_docstring_says_on_a_hundred_dev_rows(method: str, calls: int) -> None:
    given = task(train=toy.task(train=60).train, dev=toy.task(train=60, dev=100).dev)
    lm = toy.model(answer=needs_examples)
    most, one, none = (
        toy.expected(configure(method, settings), given, lm).evaluations
        for settings in ({}, {"example_sets": 1}, {"shots": 0})
    )
    assert 0.6 * calls < most - none < 1.4 * calls
    assert one - none < 600
    doc = " ".join((type(configure(method, {})).__doc__ or "").split())
    assert f"{calls} on worked examples" in doc


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
