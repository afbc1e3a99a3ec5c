"""OPRO's own choices; what holds for every optimiser is in contracts/."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import toy
from tracing import golden, trace

from localprompt.errors import ConfigError, ContextOverflow
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure
from localprompt.optimizers.opro import OPRO, deal, most_wrong, shown_score
from localprompt.search.problem import Problem
from localprompt.tasks import Layout, Task
from localprompt.types import Demo, Example, Prompt

WORDS = ("copy", "spell", "praise", "describe", "shorten", "colour", "sing", "count", "draw", "whisper")


def _endless(prompt: str, seed: int) -> str:
    """A proposer that always has something new to say, and knows nothing."""
    if not toy.is_asked_to_write(prompt):
        return toy.answer(prompt, seed)
    verbs = [WORDS[seed // 10**i % 10] for i in range(5)]
    return f"{' and '.join(verbs)} it.</INS>"


def _run(lm: ScriptedLM, given: Task | None = None, *, seed: int = 0, **settings: Any) -> Problem:
    problem = toy.problem(lm, given, seed=seed)
    OPRO(**{"init": "seeds", **settings}).run(problem)
    return problem


def _asked(lm: ScriptedLM) -> list[str]:
    return [text for text in lm.seen if text.endswith("<INS>")]


def _learner(**changes: Any) -> ScriptedLM:
    """A proposer that needs the history: it finds the alpha first, and the omega once the alpha has a score."""

    def answer(prompt: str, seed: int) -> str:
        if not toy.is_asked_to_write(prompt):
            return toy.answer(prompt, seed)
        if "Speak of the alpha." in prompt:
            return f"{toy.BEST}</INS> and more"
        return ("Say nothing at all", "speak of the alpha.", "Rhyme on it.")[seed % 3]

    return toy.model(answer=answer, **changes)


SEARCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat": ({"steps": 3, "draws": 2}, {}),
    "chat_guesses": ({"init": "auto", "init_prompts": 4, "init_demos": 2}, {}),
    "chat_labels": ({}, {"logprob": toy.parity}),
    "chat_answer_begins": ({"position": "A_begin"}, {}),
    "raw_by_errors": ({"exemplar_choice": "current_most_wrong"}, {"has_chat": False}),
}
"""Trace to the settings and the kind of model."""


def _writer(best: str) -> Callable[[str, int], str]:
    """Return a proposer that finds `best` once the history speaks of the alpha; what it says comes in turn."""
    before = cycle(("say nothing at all.", "", "speak of the alpha.", "rhyme on it.", "name the <input>."))
    after = cycle((best, "speak of the alpha!", "speak well of the alpha."))

    def write(prompt: str, seed: int) -> str:
        reply = next(after if "Speak of the alpha." in prompt else before)
        return f"{reply}</INS> and more" if prompt.endswith("<INS>") else reply

    return write


@pytest.mark.parametrize("name", SEARCHES)
def test_a_small_search_goes_as_its_trace_says(name: str) -> None:
    settings, kind = SEARCHES[name]
    few = {"steps": 2, "per_step": 4, "draws": 1, "exemplars": 2, "score_examples": 6, "finalists": 2, "init": "seeds"}
    labels = ("even", "odd") if "logprob" in kind else ()
    given = toy.task(dev=12, labels=labels)
    given = replace(given, layout=given.layout.placed(settings.get("position", "task")))
    best = "Say whether it is even or odd." if labels else toy.BEST
    found = trace(OPRO(**{**few, **settings}), given, _writer(best), **kind)
    assert found == golden(f"opro/{name}", found)


def test_what_the_history_teaches_is_found() -> None:
    problem = _run(_learner(), steps=3)
    winner = problem.ranking.winner()
    assert winner.candidate.prompt == Prompt(toy.BEST)
    assert winner.candidate.op == "propose"
    assert Prompt("Speak of the alpha.").id in winner.candidate.parents


@pytest.mark.parametrize("style", ["auto", "raw", "chat"])
@pytest.mark.parametrize("choice", ["random", "constant", "accumulated_most_wrong", "current_most_wrong"])
def test_every_way_of_asking_finds_the_best_prompt(choice: str, style: str) -> None:
    problem = _run(toy.model(), exemplar_choice=choice, style=style)
    winner = problem.ranking.winner()
    assert winner.candidate.prompt == Prompt(toy.BEST)
    assert winner.evaluation is not None
    assert (winner.evaluation.mean, len(winner.evaluation.outcomes)) == (1.0, len(problem.dev))


@pytest.mark.parametrize(
    ("mean", "buckets", "shown"),
    [
        (0.0, 100, 0),
        (1.0, 100, 100),
        (0.29, 100, 29),
        (0.57, 100, 57),
        (0.58, 100, 58),
        (1 / 3, 100, 33),
        (0.125, 100, 13),
        (0.57, 20, 11),
        (0.58, 20, 12),
        (0.5, 3, 2),
        (0.49, 1, 0),
        (23 / 40, 100, 58),
        (57 / 200, 100, 29),
    ],
)
def test_a_score_is_shown_as_the_nearest_step(mean: float, buckets: int, shown: int) -> None:
    assert shown_score(mean, buckets) == shown


def test_the_most_wrong_come_first_and_the_right_ones_never() -> None:
    assert most_wrong([0.0, 2.0, 1.0, 3.0, 0.0], random.Random(0)) == [3, 1, 2]
    orders = {tuple(most_wrong([1.0, 1.0, 1.0], random.Random(seed))) for seed in range(40)}
    assert len(orders) == 6


def test_draws_go_down_the_list_and_begin_again_at_its_end() -> None:
    assert [deal([3, 1, 2, 0, 4], 2, draw) for draw in range(4)] == [[3, 1], [2, 0], [4, 3], [1, 2]]
    assert deal([7], 3, 2) == [7]


def _scores(text: str) -> list[int]:
    return [int(line.removeprefix("Score: ")) for line in text.splitlines() if line.startswith("Score: ")]


def test_the_best_instructions_are_shown_in_ascending_order_and_each_once() -> None:
    words = iter(f"Say {word} to the alpha.</INS>" for word in (*WORDS, *reversed(WORDS)))

    def answer(prompt: str, seed: int) -> str:
        return next(words) if toy.is_asked_to_write(prompt) else toy.answer(prompt, seed)

    lm = toy.model(answer=answer)
    _run(lm, steps=3, per_step=4, history=3, draws=1)
    for text in _asked(lm):
        scores = _scores(text)
        assert scores == sorted(scores)
        assert len(scores) <= 3
    last = _asked(lm)[-1]
    assert last.count("to the alpha.</INS>") == 3
    assert "<INS></INS>" not in last


def test_of_equal_scores_the_newest_are_shown_and_an_empty_text_first() -> None:
    def answer(prompt: str, seed: int) -> str:
        # Longer from step to step, so that the length of a text cannot make it the one that stays.
        return f"{next(words)}.</INS>" if toy.is_asked_to_write(prompt) else toy.answer(prompt, seed)

    words = iter(f"Rhyme on it {'very ' * n}well" for n in range(1, 40))
    lm = toy.model(answer=answer)
    _run(lm, steps=3, per_step=2, draws=1, history=4)
    asked = list(dict.fromkeys(_asked(lm)))  # each once for its two replies
    shown = [re.findall(r"it ((?:very )+)well", text) for text in asked]
    assert [[len(veries.split()) for veries in each] for each in shown] == [[], [1, 2], [1, 2, 3, 4]]
    assert [text.count("<INS></INS>") for text in asked] == [1, 1, 0]
    assert asked[1].index("<INS></INS>") < asked[1].index("it very well")


def test_scores_below_the_threshold_are_not_shown_but_the_best_always_is() -> None:
    lm = toy.model(answer=_endless)
    _run(lm, steps=2, threshold=0.3)
    assert all(_scores(text) == [0] for text in _asked(lm))


def test_an_empty_seed_is_shown_as_an_empty_text_with_its_score() -> None:
    lm = toy.model(answer=_endless)
    _run(lm, steps=1)
    assert "<INS></INS>\nScore: 0\n" in _asked(lm)[0]


def test_the_exemplars_show_the_place_of_the_instruction_in_the_layout_of_the_task() -> None:
    given = replace(toy.task(), layout=Layout("Q: {{input}}\n{{instruction}}\nOutput:", ""))
    lm = toy.model(answer=lambda p, s: "Say so.</INS>" if toy.is_asked_to_write(p) else " no")
    _run(lm, given, steps=1, exemplars=2)
    lines = _asked(lm)[0].splitlines()
    questions = [i for i, line in enumerate(lines) if line.startswith("Q: alpha")]
    assert len(questions) == 2
    for i in questions:
        number = lines[i].removeprefix("Q: alpha")
        assert lines[i + 1 : i + 4] == ["<INS>", "Output:", f"Right answer: omega{number}"]


def test_a_base_model_continues_a_list_of_scored_texts() -> None:
    lm = toy.model(has_chat=False)
    problem = _run(lm)
    assert problem.ranking.winner().candidate.prompt == Prompt(toy.BEST)
    assert _asked(lm)[0].endswith("\n\nScore: 0\n<INS></INS>\n\nScore: 100\n<INS>")


def test_without_exemplars_nothing_is_announced() -> None:
    lm = toy.model(answer=_endless)
    _run(lm, steps=1, exemplars=0)
    assert "Right answer" not in _asked(lm)[0]
    assert "The new text" not in _asked(lm)[0]
    assert "\n\n\n" not in _asked(lm)[0]


def test_a_few_possible_answers_are_listed() -> None:
    lm = toy.model(answer=_endless)
    _run(lm, toy.task(labels=("red", "blue")), steps=1)
    assert "Every right answer is one of these: blue, red." in _asked(lm)[0]


def test_an_instruction_that_lists_the_answers_as_the_meta_prompt_does_is_no_echo() -> None:
    text = "Every right answer is one of these: same, not the same."
    lm = toy.model(answer=lambda p, s: f"{text}</INS>" if toy.is_asked_to_write(p) else " same")
    problem = _run(lm, toy.task(labels=("same", "not the same")), steps=1)
    assert Prompt(text) in [candidate.prompt for candidate in problem.ranking.candidates]


def _with_long_inputs() -> Task:
    given = toy.task()
    train = tuple(replace(each, inputs={"input": f"{each.inputs['input']} {'x ' * 1000}y"}) for each in given.train)
    return replace(given, train=train)


def test_the_paper_shows_exemplars_in_full() -> None:
    lm = toy.model(answer=_endless)
    lm.n_ctx = 9000
    problem = toy.problem(lm, _with_long_inputs())
    configure("opro", {"steps": "1", "score_examples": "2"}, "paper").run(problem)
    assert f" {'x ' * 1000}y\nOutput:" in _asked(lm)[0]


def test_exemplars_are_shortened_before_an_instruction_goes() -> None:
    lm = toy.model(answer=_endless)
    lm.n_ctx = 1200
    _run(lm, _with_long_inputs(), steps=2, exemplar_chars=100_000, score_examples=2)
    last = _asked(lm)[-1]
    assert "x ... x" in last.replace("  ", " ")
    assert last.count("Right answer: ") == 4
    assert len(_scores(last)) == 9


@pytest.mark.parametrize(("n_train", "leaks"), [(30, False), (6, True)], ids=["rows are left", "all are shown"])
def test_no_prompt_is_scored_on_a_row_whose_answer_it_shows_while_others_are_left(n_train: int, leaks: bool) -> None:
    """It would be right on all of them, so every instruction would seem perfect, and nothing could be learnt."""
    given = replace(toy.task(train=n_train), layout=toy.SHOWING, seeds=(Prompt("Speak of the alpha."),))
    lm = toy.Watched(answer=_endless)
    _run(lm, given, steps=1, shots=8)
    asked = [text.splitlines() for call in lm.asked for text in call.prompts if text.endswith("Output:")]
    assert any(len(lines) > 10 for lines in asked), "prompts with examples"
    assert any(lines.count(lines[-2]) > 1 for lines in asked) == leaks


def test_error_based_exemplars_are_those_answered_wrong() -> None:
    given = replace(toy.task(), seeds=(Prompt("Speak of the alpha."),))
    lm = toy.model(answer=_endless)
    _run(lm, given, steps=1, exemplar_choice="current_most_wrong", exemplars=3, score_examples=20)
    numbers = [int(line.removeprefix("Input: alpha")) for line in _asked(lm)[0].splitlines() if "Input: alpha" in line]
    assert len(numbers) == 3
    assert all(number % 2 == 1 for number in numbers)
    assert "often answered wrong" in _asked(lm)[0]


def test_a_row_that_could_not_be_asked_is_no_error_to_learn_from() -> None:
    """Rows too long for the context are lost by every prompt, and would fill all the exemplars."""
    given = replace(toy.task(), seeds=(Prompt("Speak of the alpha."),))
    long = {"input": f"alpha0 {'x ' * 2000}"}
    train = tuple(replace(each, inputs=long) if each.inputs["input"] == "alpha0" else each for each in given.train)
    lm = toy.model(answer=_endless)
    lm.n_ctx = 1500
    _run(lm, replace(given, train=train), steps=1, exemplar_choice="current_most_wrong", score_examples=20)
    assert "often answered wrong" in _asked(lm)[0]
    assert "alpha0 " not in _asked(lm)[0]


def test_without_an_error_on_the_sample_exemplars_are_drawn_at_random() -> None:
    train = toy.task(train=9).train[8:]  # an even number, which the seed answers
    given = replace(toy.task(), train=train, seeds=(Prompt("Speak of the alpha."),))
    lm = toy.model(answer=_endless)
    _run(lm, given, steps=1, exemplar_choice="accumulated_most_wrong")
    assert "Right answer: omega8" in _asked(lm)[0]
    assert "often answered wrong" not in _asked(lm)[0]


def test_a_meta_prompt_that_cannot_fit_is_an_error() -> None:
    lm = toy.model(answer=_endless)
    lm.n_ctx = 100
    with pytest.raises(ContextOverflow, match="needs at least"):
        _run(lm, max_tokens=40)


def test_a_meta_prompt_that_is_too_long_loses_the_worst_instructions_first() -> None:
    lm = toy.model(answer=_endless)
    lm.n_ctx = 260
    _run(lm, steps=6, score_examples=8, max_tokens=40)
    last = _asked(lm)[-1]
    assert 1 <= len(_scores(last)) < 12
    assert last.count("Right answer: ") == 4
    lm = toy.model(answer=_endless)
    lm.n_ctx = 185
    _run(lm, steps=2, score_examples=8, max_tokens=40)
    assert 0 < _asked(lm)[-1].count("Right answer: ") < 4
    assert len(_scores(_asked(lm)[-1])) == 1


def test_what_became_the_best_by_its_score_is_measured_at_once() -> None:
    replies = iter(["Rhyme on it.", "speak of the alpha.", "Sing it.", "Draw it."])
    lm = toy.model(answer=lambda p, s: f"{next(replies)}</INS>" if toy.is_asked_to_write(p) else toy.answer(p, s))
    _run(lm, toy.task(dev=40), steps=2, per_step=2, draws=1, eval_interval=50, score_examples=8)
    before = lm.seen[: lm.seen.index(_asked(lm)[-1])]
    assert sum(text.startswith("Speak of the alpha.\n") for text in before) == 8 + 40
    assert sum(text.startswith("Rhyme on it.\n") for text in before) == 8


def test_the_same_train_examples_score_every_instruction_and_dev_only_the_best() -> None:
    lm = toy.model(answer=_endless)
    problem = _run(lm, steps=2, score_examples=5, eval_interval=1, finalists=2)
    answered = [text for text in lm.seen if not toy.is_asked_to_write(text)]
    dev = {example.inputs["input"] for example in problem.dev}
    by_instruction: dict[str, set[str]] = {}
    for text in answered:
        instruction, _, question = text.rpartition("Input: ")
        by_instruction.setdefault(instruction, set()).add(question.partition("\n")[0])
    samples = {frozenset(inputs - dev) for inputs in by_instruction.values()}
    assert [len(sample) for sample in samples] == [5]
    measured = [inputs & dev for inputs in by_instruction.values() if inputs & dev]
    assert all(inputs == dev for inputs in measured)
    assert 2 <= len(measured) <= 1 + 2 * 2


@pytest.mark.parametrize(
    ("settings", "temperatures"),
    [
        ({"warmer": 0.0}, [1.0, 1.0, 1.0, 1.0]),
        ({"warmer": 0.2}, [1.0, 1.2, 1.4, 1.5]),
        ({"schedule": "linear_increase", "end_temperature": 2.0, "warmer": 0.0}, [1.0, 1.25, 1.5, 1.75]),
    ],
)
def test_the_temperature_follows_its_schedule_and_rises_with_barren_steps(
    settings: dict[str, Any], temperatures: list[float]
) -> None:
    lm = toy.Watched(answer=lambda p, s: "" if toy.is_asked_to_write(p) else " no")
    _run(lm, steps=4, **settings)
    drawn = [call.sampling.temperature for call in lm.asked if toy.is_asked_to_write(call.prompts[0])]
    assert drawn[::2] == pytest.approx(temperatures)  # between them stand the second tries


def test_instructions_in_any_script_are_ordinary() -> None:
    chinese = "把每个 alpha 换成同号的 omega。“谢谢”"
    lm = toy.model(answer=lambda p, s: f"{chinese}</INS>" if toy.is_asked_to_write(p) else toy.answer(p, s))
    assert _run(lm, steps=1).ranking.winner().candidate.prompt == Prompt(chinese)


@pytest.mark.parametrize(("digits", "kept"), [("auto", 0), ("refuse", 0), ("allow", 1)])
def test_digits_are_refused_where_all_answers_are_numbers(digits: str, kept: int) -> None:
    rows = tuple(Example(f"train:{n}", {"input": f"alpha{n}"}, (f"{n},000",)) for n in range(8))
    given = replace(toy.task(), train=rows)
    lm = toy.model(answer=lambda p, s: "Add 17 to it.</INS>" if toy.is_asked_to_write(p) else " no")
    problem = _run(lm, given, steps=1, digits=digits)
    assert len(problem.ranking.candidates) == 1 + kept
    assert problem.proposer.discards["digits"] == (1 - kept) * 16  # 4 draws of 2 replies, asked twice


def test_what_a_filter_of_its_own_refuses_is_asked_for_once_more() -> None:
    replies = iter(["Add 17 to it."] * 2 + ["Add it up.", "Add all of it."])
    lm = toy.model(answer=lambda p, s: f"{next(replies)}</INS>" if toy.is_asked_to_write(p) else " no")
    problem = _run(lm, steps=1, per_step=2, draws=1, digits="refuse")
    assert [each.prompt.instruction for each in problem.ranking.candidates] == ["", "Add it up.", "Add all of it."]
    assert problem.proposer.discards == {"digits": 2}


def test_digits_are_ordinary_where_the_answers_are_words() -> None:
    lm = toy.model(answer=lambda p, s: "Write 2 words.</INS>" if toy.is_asked_to_write(p) else " no")
    assert len(_run(lm, steps=1).ranking.candidates) == 2


def test_digits_are_ordinary_where_the_answers_are_a_closed_set_of_numbers() -> None:
    rows = tuple(Example(f"train:{n}", {"input": f"alpha{n}"}, (str(n % 2),)) for n in range(20))
    said = "Write 1 for an odd number, else 0."
    lm = toy.model(answer=lambda p, s: f"{said}</INS>" if toy.is_asked_to_write(p) else " no")
    assert len(_run(lm, replace(toy.task(), train=rows), steps=1).ranking.candidates) == 2


def test_capital_letters_that_look_like_the_tag_are_no_leak() -> None:
    text = "Follow the INSTRUCTIONS INSIDE the box."
    lm = toy.model(answer=lambda p, s: f"{text}</INS>" if toy.is_asked_to_write(p) else " no")
    assert Prompt(text) in [candidate.prompt for candidate in _run(lm, steps=1).ranking.candidates]


@pytest.mark.parametrize(
    ("preset", "kept"),
    [("local", "**think** of it, *then* square it: x**2."), ("paper", "Think of it, *then* square it: x2.")],
)
def test_the_paper_takes_the_marks_of_bold_letters_out(preset: str, kept: str) -> None:
    said = "**think** of it, *then* square it: x**2."
    lm = toy.model(answer=lambda p, s: f"{said}</INS>" if toy.is_asked_to_write(p) else " no")
    problem = toy.problem(lm)
    configure("opro", {"steps": "2", "init": "seeds"}, preset).run(problem)
    assert [each.prompt.instruction for each in problem.ranking.candidates if each.op == "propose"] == [kept]


@pytest.mark.parametrize("has_chat", [True, False])
def test_with_other_buckets_the_meta_prompt_speaks_of_their_number(has_chat: bool) -> None:
    lm = toy.model(answer=_endless, has_chat=has_chat)
    _run(lm, replace(toy.task(), seeds=(Prompt("Speak of the alpha."),)), steps=1, score_buckets=20)
    asked = _asked(lm)[0]
    assert "how many of 20 answers were right" in asked
    assert "100" not in asked
    assert 8 <= _scores(asked)[0] <= 12
    assert asked.endswith("[assistant] <INS>" if has_chat else "\n\nScore: 20\n<INS>")


def test_new_instructions_carry_the_demos_of_the_best_one() -> None:
    demos = (Demo({"input": "alpha0"}, "nothing"),)
    given = replace(toy.task(), seeds=(Prompt("Speak of the alpha.", demos),), layout=toy.SHOWING)
    problem = _run(toy.model(), given, steps=1)
    assert all(candidate.prompt.demos == demos for candidate in problem.ranking.candidates)
    assert len(problem.ranking.candidates) > 1


def test_a_long_seed_leaves_room_for_long_instructions() -> None:
    given = replace(toy.task(), seeds=(Prompt("Speak of the alpha. " + "Be brief. " * 60),))
    longer = "Speak of every alpha. " + "".join(f"Be terse {n}. Be kind too. " for n in range(25))
    lm = toy.model(answer=lambda p, s: f"{longer}</INS>" if toy.is_asked_to_write(p) else toy.answer(p, s))
    assert [len(each.prompt.instruction) for each in _run(lm, given, steps=1).ranking.candidates[1:]] == [
        len(longer) - 1
    ]


def test_at_a_begin_a_first_sentence_is_asked_for() -> None:
    lm = toy.model(answer=_endless)
    _run(lm, steps=1, position="A_begin")
    assert "first sentence" in _asked(lm)[0]


def test_the_search_ends_when_nothing_is_left_to_gain() -> None:
    given = replace(toy.task(), seeds=(Prompt(toy.BEST),))
    lm, diary = toy.model(), toy.Diary()
    OPRO().run(toy.problem(lm, given, observer=diary))
    assert _asked(lm) == []
    assert diary.notes == ["nothing to gain, every answer on dev is right"]


def test_a_default_run_on_a_hundred_dev_rows_costs_about_2500_answers() -> None:
    budget = Budget()
    problem = toy.problem(toy.model(answer=_endless), toy.task(train=40, dev=100), budget=budget)
    OPRO().run(problem)
    assert budget.spend.calls < 2700


def test_meta_prompts_can_be_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "step_chat.txt").write_text("{{pairs}}\n\n{{demos}}\n\nMy own question.\n\n<INS>\n", encoding="utf-8")
    lm = toy.model()
    _run(lm, templates=tmp_path, steps=1)
    assert _asked(lm)[0].endswith("My own question.\n[assistant] <INS>")


def test_a_base_model_is_not_asked_to_chat() -> None:
    with pytest.raises(ConfigError, match="style=chat"):
        _run(toy.model(has_chat=False), style="chat")


def test_a_task_without_training_examples_is_refused() -> None:
    with pytest.raises(ConfigError, match="training examples"):
        _run(toy.model(), replace(toy.task(), train=()))


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"draws": 3}, {"threshold": 1.5}, {"temperature": -1.0}, {"top_p": 0.0}, {"exemplar_chars": 5}],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        OPRO(**settings)


def test_the_paper_preset_is_a_valid_one() -> None:
    assert OPRO(**OPRO.PRESETS["paper"]).steps == 200  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("init", "seed", "settings", "is_induced"),
    [
        ("auto", "", {}, True),
        ("auto", "Say it.", {}, False),
        ("auto", "", {"position": "A_begin"}, False),
        ("induce", "", {"position": "A_begin"}, True),
        ("induce", "Say it.", {}, True),
        ("seeds", "", {}, False),
    ],
)
def test_the_history_begins_with_guesses_where_there_are_no_words(
    init: str, seed: str, settings: dict[str, Any], is_induced: bool
) -> None:
    lm = _learner()
    problem = _run(lm, replace(toy.task(), seeds=(Prompt(seed),)), init=init, steps=1, **settings)
    induced = [candidate.prompt.instruction for candidate in problem.ranking.candidates if candidate.op == "induce"]
    assert bool(induced) == is_induced
    assert any(text in _asked(lm)[0] for text in induced) == is_induced


def test_of_many_guesses_the_best_by_a_part_of_the_sample_are_scored_on_all_of_it() -> None:
    verbs = iter(f"praise the {word}." for word in WORDS)
    lm = toy.model(answer=lambda p, s: next(verbs, "nothing") if toy.is_asked_to_write(p) else toy.answer(p, s))
    problem = toy.problem(lm)
    counted: dict[str, set[str]] = {}
    evaluate = problem.evaluate

    def counting(prompts: Any, examples: Any = None) -> Any:
        found = evaluate(prompts, examples)
        for each in found:
            counted.setdefault(each.prompt.instruction, set()).update(
                outcome.example_id for outcome in each.outcomes if outcome.example_id.startswith("train")
            )
        return found

    problem.evaluate = counting  # type: ignore[assignment, method-assign]
    OPRO(steps=1, init_prompts=9, score_examples=12, per_step=4).run(problem)
    sizes = [
        len(counted[candidate.prompt.instruction])
        for candidate in problem.ranking.candidates
        if candidate.op == "induce"
    ]
    assert sorted(sizes) == [4] * 6 + [12] * 3


def test_guesses_are_held_to_the_filters_of_every_instruction() -> None:
    said = iter(
        ["Add 17 to the number.", f"Count it, {'and ' * 4}whatever else there may be to be counted.", "Count it up."]
    )
    lm = toy.model(answer=lambda p, s: next(said, "...") if toy.is_asked_to_write(p) else toy.answer(p, s))
    problem = _run(lm, init="auto", init_prompts=3, steps=1, digits="refuse", max_chars=60)
    assert [each.prompt.instruction for each in problem.ranking.candidates if each.op == "induce"] == ["Count it up."]
    assert (problem.proposer.discards["digits"], problem.proposer.discards["too long"]) == (1, 1)


def test_guesses_carry_the_demos_of_a_seed_that_is_nothing_else() -> None:
    demos = (Demo({"input": "beta"}, "gamma"),)
    given = replace(toy.task(), seeds=(Prompt("", demos),), layout=toy.SHOWING)
    problem = _run(_learner(), given, init="auto", steps=1)
    found = [each for each in problem.ranking.candidates if each.op in ("induce", "propose")]
    assert {each.op for each in found} == {"induce", "propose"}
    assert all(each.prompt.demos == demos for each in found)
