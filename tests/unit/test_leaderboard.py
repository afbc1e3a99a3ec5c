"""Leaderboards of scripted models whose order is known, from the store and measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.battery.leaderboard import Leaderboard, leaderboard
from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.lm.scripted import ScriptedLM
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Prompt

LABELS = ("even", "odd")
FAMILIES = ("surface", "deletion")


def _task(name: str = "toy", prompt: str = "Say whether the number is even or odd, please.", test: int = 30) -> Task:
    return replace(toy.task(labels=LABELS, test=test), name=name, seeds=(Prompt(prompt),), layout=toy.SHOWING)


def _knows(n: int, name: str, word: str = "", **options: Any) -> ScriptedLM:
    """A model that is right on rows whose number `n` does not divide, and where it needs a word, with it alone."""

    def logprob(context: str, continuation: str) -> float:
        instruction, _, question = context.lower().rpartition("lpha")
        number = int((re.findall(r"\d+", question) or ["0"])[0])
        knows = number % n > 0 and word in instruction
        return -0.1 if (continuation.strip().lower() == LABELS[number % 2]) == knows else -3.0

    return ScriptedLM(logprob=logprob, name=name, **options)


def _measured(store: Path, task: Task, *models: ScriptedLM, **options: Any) -> str:
    options = {"size": "quick", "families": FAMILIES, **options}
    return localprompt.sensitivity(task, list(models), store=store, **options).id


def _board(store: Path, *tasks: Any, **options: Any) -> Leaderboard:
    return leaderboard(tasks, size="quick", store=store, **options)


def test_the_models_of_a_task_stand_in_the_order_of_their_means(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    study = _measured(store, _task(), _knows(3, "middle"), _knows(7, "best"), _knows(7, "needs", "number"))
    (board,) = _board(store).tasks
    best, *others = board.models
    assert best.model == "best"
    assert (best.behind, best.study, board.n_rows) == (None, study, 30)
    assert best.score.mean == best.original.mean == pytest.approx(best.spread.worst)
    assert best.spread.value == 0
    needs = next(each for each in others if each.model == "needs")
    assert needs.original.mean == best.original.mean
    assert needs.spread.value > 0.5
    assert needs.behind is not None
    assert needs.behind.mean == pytest.approx(needs.score.mean - best.score.mean)
    assert needs.behind.high < 0
    json.dumps(_board(store).to_json(), allow_nan=False)


def test_the_newest_study_of_a_model_counts_and_other_rows_are_left_out(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    _measured(store, _task(test=20), _knows(5, "old"))
    first = _measured(store, _task(), _knows(7, "a"), _knows(5, "b"))
    second = _measured(store, _task(), _knows(7, "a"))
    found = _board(store, "toy")
    (board,) = found.tasks
    assert [(each.model, each.study) for each in board.models] == [("a", second), ("b", first)]
    assert "toy: left out 1 older with other rows, another seed or prompt" in found.notes


def test_one_model_with_two_settings_of_its_engine_stands_in_two_lines_that_differ(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    for n, name in ((7, "with 1234567"), (5, "with 7654321"), (3, "other")):
        lm = _knows(n, name)
        lm.name = name.partition(" ")[0]
        _measured(store, _task(), lm)
    found = _board(store)
    assert [each.model for each in found.tasks[0].models] == ["with (234567)", "with (654321)", "other"]
    assert [note for note in found.notes if "engine settings" in note] == [
        f"toy: with ({end}) has a name in common with another file, or with other engine settings"
        for end in ("654321", "234567")
    ]


def test_models_that_were_asked_other_variants_are_said_to_be(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    _measured(store, _task(), _knows(7, "a"))
    _measured(store, _task(), _knows(5, "b"), families=("surface",))
    assert any("the same variants" in note for note in _board(store).notes)


def test_answers_drawn_again_are_no_part_of_the_mean_over_wordings(tmp_path: Path) -> None:
    def answer(prompt: str, seed: int) -> str:
        return f" omega{re.findall('[0-9]+', prompt)[-1]}" if seed == 0 else " nothing"

    store = tmp_path / "s.sqlite"
    task = replace(toy.task(test=20), seeds=(Prompt("Turn alpha into omega."),))
    lm = ScriptedLM(answer=answer, logprob=lambda context, continuation: -1.0, name="drawn")
    _measured(store, task, lm, families=("surface", "sampling"))
    (best,) = _board(store).tasks[0].models
    assert best.score.mean == best.original.mean == best.spread.worst == best.spread.mean
    with Store(store) as opened:
        (study,) = opened.studies.all("sensitivity")
        assert study.result is not None
        n = sum(each["family"] != "sampling" for each in study.result["variants"])
    assert best.n_variants == n


def test_only_answers_that_the_mean_is_of_are_said_to_be_unreadable(tmp_path: Path) -> None:
    lm = _knows(1_000, "m", answer=lambda prompt, seed: " who knows")
    _measured(tmp_path / "s.sqlite", _task(), lm, scorers=("free",))
    (best,) = _board(tmp_path / "s.sqlite").tasks[0].models
    assert (best.score.mean, best.unreadable_share) == (1, 0)
    mute = ScriptedLM(answer=lambda prompt, seed: "" if "please" in prompt else " who", name="mute")
    _measured(tmp_path / "t.sqlite", toy.task(test=20), mute, prompts=("Say it.", "Say it, please."), families=())
    assert _board(tmp_path / "t.sqlite").tasks[0].models[0].unreadable_share == 0.5


def test_a_model_that_was_asked_no_other_wording_is_said_to_be(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    lm = ScriptedLM(answer=lambda prompt, seed: " nothing", logprob=lambda context, continuation: -1.0, name="drawn")
    _measured(store, replace(toy.task(test=20), seeds=(Prompt("Turn alpha into omega."),)), lm, families=("sampling",))
    assert "toy: drawn was asked no other wording" in _board(store).notes


def test_models_that_had_no_room_for_the_same_variants_are_said_to_be(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    small = _knows(5, "small")
    task = _task(prompt=f"Say whether the number is even or odd{' of course' * 10}.")
    size = max(small.count_tokens([task.layout.render(task.seeds[0], row.inputs).text for row in task.test]))
    small.n_ctx = size + 2
    _measured(store, task, _knows(7, "large"), small, families=("surface", "labels"))
    found = _board(store)
    counts = {each.model: each.n_variants for each in found.tasks[0].models}
    assert counts["small"] < counts["large"]
    assert any("the same variants" in note for note in found.notes)


def test_over_tasks_only_models_of_all_tasks_stand_with_an_interval_of_their_mean(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    _measured(store, _task("one"), _knows(7, "a"), _knows(3, "b"))
    _measured(store, _task("two", test=20), _knows(7, "a"))
    found = _board(store)
    (over,) = found.over_tasks
    scores = [next(each.score for each in board.models if each.model == "a") for board in found.tasks]
    assert over.model == "a"
    assert over.score.mean == pytest.approx(sum(each.mean for each in scores) / 2)
    widest = max(each.high - each.low for each in scores)
    assert over.score.low < over.score.mean < over.score.high
    assert over.score.high - over.score.low < widest
    assert _board(store, "one").over_tasks == ()


def test_damaged_unfinished_and_other_studies_are_passed_over_with_a_note(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    damaged = _measured(store, _task("bad"), _knows(7, "a"))
    _measured(store, _task("bare"), _knows(7, "a"), unlabelled=True)
    _measured(store, _task(), _knows(7, "a"))
    with Store(store) as opened:
        opened.studies.update(damaged, status="finished", result={"id": 3})
        opened.studies.enter("sensitivity", "begun", {"task": "toy", "size": "quick"})
    found = _board(store)
    assert [board.task for board in found.tasks] == ["toy"]
    assert any(damaged in note and "damaged" in note for note in found.notes)
    assert "left out: 2 that are unfinished, of another size, or without right answers" in found.notes
    assert any("of these tasks: bad" in note for note in _board(store, "toy", "bad").notes)


@pytest.mark.parametrize(
    "damage",
    [
        lambda result: result.update(rows=[]),
        lambda result: result.update(variants=[]),
        lambda result: result.update(models=[]),
        lambda result: result.update(copies=[1]),
        lambda result: result["models"][0].update(scorers=[]),
        lambda result: result["models"][0]["scorers"][0].update(variants=[]),
        lambda result: result["models"][0]["scorers"][0].update(rows=0),
        lambda result: result["models"][0]["scorers"][0].update(families=[]),
        lambda result: result["models"][0]["scorers"][0].update(scores=[[0.5]]),
        lambda result: result["models"][0]["scorers"][0]["scores"][0].__setitem__(0, 7.0),
        lambda result: result["models"][0]["scorers"][0]["scores"][0].pop(),
        lambda result: result["models"][0]["scorers"][0]["variants"][0].update(score=None),
        lambda result: result["models"][0]["scorers"][0]["families"][0].update(spread=None),
    ],
)
def test_a_result_whose_parts_do_not_fit_together_is_passed_over(tmp_path: Path, damage: Any) -> None:
    store = tmp_path / "s.sqlite"
    study = _measured(store, _task("bad"), _knows(7, "a"), families=("surface",), scorers=())
    with Store(store) as opened:
        (kept,) = opened.studies.all("sensitivity")
        result = json.loads(json.dumps(kept.result))
        damage(result)
        opened.studies.update(study, status="finished", result=result)
    with pytest.raises(StoreError, match=f"no finished .* size quick; the study {study} was passed over"):
        _board(store)


def test_with_models_they_are_measured_and_the_store_answers_the_second_time(tmp_path: Path) -> None:
    store, models = tmp_path / "s.sqlite", [_knows(3, "b"), _knows(7, "a")]
    found = _board(store, _task(), models=models, families=FAMILIES)
    asked = [lm.n_scored for lm in models]
    assert [each.model for each in found.tasks[0].models] == ["a", "b"]
    again = _board(store, _task(), models=models, families=FAMILIES)
    assert [lm.n_scored for lm in models] == asked
    assert again.tasks == found.tasks == _board(store).tasks


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {"size": "quik"}, "unknown size"),
        ((), {"models": [_knows(3, "a")]}, "no task"),
        ((), {"engine": {"exact": True}}, "settings of the engine choose no study"),
        ((["nothing"],), {}, "study of size quick for nothing"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, arguments: Any, options: Any, message: str) -> None:
    _measured(tmp_path / "s.sqlite", _task(), _knows(7, "a"))
    with pytest.raises((ConfigError, StoreError), match=message):
        leaderboard(*arguments, **{"size": "quick", "store": tmp_path / "s.sqlite", **options})


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        _board(tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()


def test_two_tasks_of_one_name_are_no_leaderboard() -> None:
    tasks = [toy.task(labels=("even", "odd"), test=n) for n in (10, 20)]
    with pytest.raises(TaskError, match="two tasks are called toy"):
        leaderboard(tasks, [ScriptedLM(name="never")])
