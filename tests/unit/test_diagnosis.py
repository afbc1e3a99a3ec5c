"""What the seed prompts do with a model, on a few dev rows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

from localprompt import ContextOverflow, ModelError, Prompt, Store, TaskError, diagnose, dry_run, optimize
from localprompt.lm.base import unique_tokens
from localprompt.run.diagnosis import AnswerCount
from localprompt.tasks import Layout, Task
from localprompt.tasks.answers import find_answer
from localprompt.types import Example

EMPTY, HALF, BEST = Prompt(""), Prompt("Speak of the alpha."), Prompt(toy.BEST)
WITHOUT_DEMOS = Layout("{{instruction}}\n\nInput: {{input}}\nOutput:", "")


def given(*seeds: Prompt, **changes: object) -> Task:
    return replace(toy.task(), **{"layout": toy.SHOWING, "seeds": seeds, **changes})  # type: ignore[arg-type]


def always(text: str) -> toy.Answer:
    return lambda prompt, seed: text


def test_seeds_and_no_instruction_are_tried_bare_and_with_two_examples_in_one_call() -> None:
    lm = toy.Watched(name="watched")
    found = diagnose(given(HALF), lm)
    assert len(lm.asked) == 1
    prompts = [trial.prompt for trial in found.trials]
    assert [(each.instruction, len(each.demos)) for each in prompts] == [
        (HALF.instruction, 0),
        ("", 0),
        (HALF.instruction, 2),
        ("", 2),
    ]
    assert prompts[2].demos == prompts[3].demos
    assert [trial.score.n for trial in found.trials] == [20] * 4
    assert [trial.score.mean for trial in found.trials][1:] == [0.0, 1.0, 1.0]
    assert 0 < found.trials[0].score.mean < 1
    assert (found.seed_prompt, found.spend.calls) == (HALF, 80)


def test_rows_come_from_dev_examples_from_train_and_nothing_from_test() -> None:
    lm = toy.Watched(name="watched")
    diagnose(given(HALF), lm)
    asked = [int(number) for prompt in lm.asked[0].prompts for number in re.findall(r"alpha(\d+)", prompt)]
    rows = {number for number in asked if number >= 20}
    assert len(rows) == 20
    assert max(rows) < 60, "test begins with 60"
    assert len(set(asked) - rows) == 2


def test_rows_hold_each_label_in_proportion_and_examples_have_different_answers() -> None:
    task = replace(toy.task(labels=("even", "odd")), seeds=(Prompt("Is it even or odd?"),), layout=toy.SHOWING)
    found = diagnose(task, toy.model(logprob=toy.parity))
    assert {each.answer: each.wanted for each in found.answer_counts} == {"even": 10, "odd": 10}
    assert sorted(demo.output for demo in found.trials[-1].prompt.demos) == ["even", "odd"]


def test_a_worked_example_is_no_copy_of_a_row() -> None:
    task = replace(toy.task(dev=20), layout=toy.SHOWING)
    copied = (*task.dev, Example("train:a", {"input": "alpha1"}, ("a",)), Example("train:b", {"input": "b"}, ("a",)))
    demos = diagnose(replace(task, train=copied), toy.model()).trials[-1].prompt.demos
    assert sorted(demo.inputs["input"] for demo in demos) == ["alpha1", "b"], "also where their answers are equal"
    found = diagnose(replace(task, train=copied[:21]), toy.model())
    assert [len(trial.prompt.demos) for trial in found.trials] == [0]
    assert found.notes == ("train has no 2 examples that are not among the rows, so none were shown",)


def test_gains_are_paired_and_said_with_their_intervals() -> None:
    found = diagnose(given(HALF), toy.model())
    half = found.trials[0].score.mean
    assert found.seed_gain is not None
    assert found.shots_gain is not None
    assert found.seed_gain.mean == pytest.approx(half)
    assert found.shots_gain.mean == pytest.approx(1 - half), "no instruction gains more"
    assert found.conclusions[0].startswith(f"The seed prompt is better than no instruction: +{half:.2f} (95 % interval")
    assert found.conclusions[1].startswith("Two worked examples raise the seed prompt's score by +")
    assert found.conclusions[2] == "20 rows reliably show only differences of about 37 points or more."
    assert found.smallest_gain == 0.3665


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ("", "The seed prompt is no better than no instruction: +0.00"),
        ("alpha2[02468]", "The seed prompt is ahead of no instruction by +0."),
    ],
)
def test_what_may_be_chance_is_said_to_be(known: str, sentence: str) -> None:
    def answer(prompt: str, seed: int) -> str:
        number = re.findall(r"\d+", prompt)[-1]
        is_known = "kindly" in prompt and known and re.search(f"Input: {known}\n", prompt)
        return f"omega{number}" if is_known else "omega" * (number == "25")

    found = diagnose(given(Prompt("Answer kindly.")), toy.model(answer=answer if known else toy.answer))
    assert found.conclusions[0].startswith(sentence)
    assert found.conclusions[0].endswith("which may be chance.") == bool(known)


def test_worked_examples_that_do_harm_are_named() -> None:
    def confused(prompt: str, seed: int) -> str:
        return "lost" if prompt.count("Input:") > 1 else f"omega{re.findall(r'[0-9]+', prompt)[-1]}"

    found = diagnose(given(EMPTY), toy.model(answer=confused))
    assert found.conclusions[0] == "The seed prompt is right on every row, so a search has little to find."
    lost = diagnose(
        given(EMPTY),
        toy.model(answer=lambda p, s: confused(p, s) if re.search(r"[3-9]\nOutput:$", p) else "zero", name="half"),
    )
    assert lost.conclusions[0].startswith("Two worked examples change the seed prompt's score by -")
    assert lost.conclusions[0].endswith("these do harm.")
    assert lost.seed_gain is None, "the seed is no instruction"


@pytest.mark.parametrize(("score", "is_said"), [("sum", True), ("token", True), ("batch", False), ("prefix", False)])
def test_what_first_words_of_labels_would_save_is_said(score: Any, is_said: bool) -> None:
    lm, names = toy.model(), ("even as far as one can see", "odd as far as one can see")
    task = toy.task(dev=20, labels=names, label_score=score)
    texts = [task.layout.render(EMPTY, row.inputs).text for row in task.dev]
    whole, short = (
        unique_tokens(lm, [f"{text} {each}" for text in texts for each in of]) for of in (names, ("even", "odd"))
    )
    sentence = f"`label_score: prefix` would compute {short:,} tokens for these rows instead of {whole:,}."
    assert (sentence in diagnose(task, lm).conclusions) is is_said
    assert "prefix" not in " ".join(diagnose(toy.task(labels=("even", "odd")), lm).conclusions)


def test_where_no_row_is_right_the_wrong_answers_are_pointed_to() -> None:
    found = diagnose(given(EMPTY), toy.model(answer=always("nothing of use")))
    assert found.conclusions[0].startswith("No prompt has one row right: see by the wrong answers")


def test_an_answer_that_is_given_to_everything_is_a_warning() -> None:
    task = replace(toy.task(labels=("even", "odd", "neither")), seeds=(HALF,), layout=toy.SHOWING)
    found = diagnose(task, toy.model(logprob=lambda _, label: -0.1 if label.strip() == "odd" else -5.0))
    first, *others = found.answer_counts
    assert (first.answer, first.given, first.right) == ("odd", 20, first.wanted)
    assert 6 <= first.wanted <= 7
    assert [(each.given, each.right) for each in others] == [(0, 0), (0, 0)]
    (warning,) = found.warnings
    assert warning == (
        f"the seed prompt gives the answer 'odd' for 20 of 20 rows, though it is right for {first.wanted}"
        "; worked examples, or `label_score: batch`, may correct that"
    )


def test_answers_that_are_as_frequent_as_they_should_be_are_no_warning() -> None:
    task = replace(toy.task(labels=("even", "odd")), seeds=(Prompt("Is it even or odd?"),), layout=toy.SHOWING)
    found = diagnose(task, toy.model(logprob=toy.parity))
    assert found.answer_counts == (AnswerCount("even", 10, 10, 10), AnswerCount("odd", 10, 10, 10))
    assert found.warnings == ()


def test_answers_of_a_few_targets_are_counted_whatever_their_case_and_others_beside_them() -> None:
    rows = [Example(f"x:{n}", {"input": f"alpha{n}"}, (("Yes", "No")[n % 2],)) for n in range(60)]
    task = replace(
        toy.task(), layout=toy.SHOWING, train=tuple(rows[:20]), dev=tuple(rows[20:40]), test=tuple(rows[40:])
    )

    def answer(prompt: str, seed: int) -> str:
        return "yes." if int(re.findall(r"\d+", prompt)[-1]) % 2 == 0 else "perhaps"

    counts = diagnose(task, toy.model(answer=answer)).answer_counts
    assert counts == (AnswerCount("Yes", 10, 10, 10), AnswerCount("perhaps", 10, 0, 0), AnswerCount("No", 0, 10, 0))


def test_one_answer_to_everything_is_a_warning_where_answers_are_open_too() -> None:
    found = diagnose(given(EMPTY), toy.model(answer=always("the same")))
    assert found.answer_counts == ()
    assert found.warnings == (
        "the seed prompt gives the answer 'the same' for 20 of 20 rows, though it is right for 0",
    )


def test_completions_without_an_answer_are_counted_and_shown_first_as_they_were_written() -> None:
    def answer(prompt: str, seed: int) -> str:
        number = int(re.findall(r"\d+", prompt)[-1])
        return f" so <{number}" if number % 2 else f" so <omega{number + number % 4}>"

    task = given(EMPTY, answer=find_answer("regex", "<(.*)>"))
    found = diagnose(task, toy.model(answer=answer))
    n = found.trials[0].unparsed
    assert 0 < n < 20
    assert f"{n} of 20 completions of the seed prompt hold no answer that can be read, and score 0" in found.warnings
    assert len(found.wrong) == 3
    assert found.wrong[0].prediction is None
    assert re.fullmatch(r" so <\d+", found.wrong[0].completion or "")


def test_what_has_no_place_or_no_room_for_examples_is_tried_without_and_says_so() -> None:
    found = diagnose(given(HALF, layout=WITHOUT_DEMOS), toy.model())
    assert [len(trial.prompt.demos) for trial in found.trials] == [0, 0]
    assert found.shots_gain is None
    assert found.notes == ("the layout has no {{demos}} slot, so no prompt was tried with worked examples",)
    long = Example("train:0", {"input": "alpha " * 3000}, ("omega0",))
    lm = toy.model()
    found = diagnose(given(HALF, train=(long, replace(long, id="train:1", targets=("omega1",)))), lm)
    assert [len(trial.prompt.demos) for trial in found.trials] == [0, 0]
    assert found.notes[0].startswith("2 prompts with 2 worked examples would not fit the context")


def test_a_seed_that_has_examples_keeps_them_and_gets_none() -> None:
    demos = diagnose(given(HALF), toy.model()).trials[-1].prompt.demos
    found = diagnose(given(replace(HALF, demos=demos[:1])), toy.model())
    assert [len(trial.prompt.demos) for trial in found.trials] == [1, 0, 2]


def test_of_several_seed_prompts_three_are_tried_and_the_best_is_the_one_that_is_meant() -> None:
    found = diagnose(given(HALF, BEST, Prompt("Hum."), Prompt("Sing.")), toy.model())
    assert found.seed_prompt == BEST
    assert len(found.trials) == 8
    assert found.notes == ("of 4 seed prompts the first 3 were tried",)


def test_a_second_call_asks_nothing_and_a_search_finds_the_answers(tmp_path: Path) -> None:
    lm = toy.model()
    first = diagnose(given(HALF), lm)
    assert lm.n_generated == 80
    again = diagnose(given(HALF), lm)
    assert (lm.n_generated, again.trials) == (80, first.trials)
    assert (again.spend.answers_cached, again.conclusions) == (80, first.conclusions)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(toy.BEST)
    search = optimize(given(HALF), lm, method="manual", settings={"prompts": str(prompts)})
    assert search.spend.answers_cached >= 20


def test_the_cost_is_that_of_a_default_search() -> None:
    lm = toy.model()
    assert diagnose(given(HALF), lm).expected == dry_run(given(HALF), lm)


def test_few_rows_say_that_they_show_nothing() -> None:
    found = diagnose(replace(toy.task(dev=5), seeds=(HALF,), layout=toy.SHOWING), toy.model())
    assert found.smallest_gain is None
    assert found.conclusions[-1] == "5 rows can show no difference at all."


def test_a_row_that_does_not_fit_is_named_before_anything_is_asked() -> None:
    lm = toy.model()
    lm.n_ctx = 100
    with pytest.raises(ContextOverflow, match="the example dev:20 has"):
        diagnose(given(HALF), lm)
    assert lm.seen == []


def test_errors_of_model_and_task_are_raised() -> None:
    with pytest.raises(ModelError, match="too hot"):
        diagnose(given(HALF), toy.model(answer=toy.failing(ModelError("it is too hot"))))
    with pytest.raises(TaskError, match="has no dev examples"):
        diagnose(given(HALF, dev=()), toy.model())


def test_it_is_plain_data_and_kept_where_it_was_asked_to(tmp_path: Path) -> None:
    lm = toy.model()
    with Store(tmp_path / "other.db") as store:
        found = diagnose(given(HALF), lm, store=store)
        diagnose(given(HALF), lm, store=store)
    assert lm.n_generated == 80
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["trials"][0]["prompt"]["instruction"] == HALF.instruction
    assert plain["expected"]["evaluations"] > 0
    assert set(plain["seed_gain"]) == {"mean", "low", "high", "p", "n"}
