"""What a page says of a sensitivity study, on scripted models whose answers are known."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy
from click.testing import CliRunner

import localprompt
from localprompt.battery.results import Sensitivity
from localprompt.cli.main import main
from localprompt.engine.settings import typed
from localprompt.lm.loading import scheme
from localprompt.lm.scripted import ScriptedLM
from localprompt.reports.page import page
from localprompt.reports.report import find
from localprompt.reports.sensitivity_report import SensitivityReport
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Demo, Prompt

LABELS = ("even", "odd")
FAMILIES = ("surface", "deletion")
PROMPT = "Say whether the number is even or odd, please."
OTHER = "Is this one odd or even?"


def _task(**changes: Any) -> Task:
    made = replace(toy.task(labels=LABELS, test=30), seeds=(Prompt(PROMPT),), layout=toy.SHOWING)
    return replace(made, **changes)


def _needs_a_word(context: str, continuation: str) -> float:
    """Knows the answer where the prompt says `number`, else answers `odd` to every other row."""
    number = int((re.findall(r"lpha(\d+)", context, re.IGNORECASE) or ["0"])[-1])
    knows = "number" in context.lower().rpartition("lpha")[0]
    answer = LABELS[number % 2] if knows else LABELS[number // 2 % 2]
    return -0.2 if continuation.strip() == answer else -1.0


def _ignores(context: str, continuation: str) -> float:
    return -0.2 if continuation.strip() == "odd" else -1.0


NEEDS = ScriptedLM(logprob=_needs_a_word, name="needs")
IGNORES = ScriptedLM(logprob=_ignores, name="ignores")


def _measured(store: Store, models: Sequence[ScriptedLM | str] = (NEEDS,), **options: Any) -> Sensitivity:
    options = {"size": "quick", "families": FAMILIES, "store": store, **options}
    return localprompt.sensitivity(options.pop("task", _task()), models, **options)


def _report(store: Store, what: str | None = None) -> SensitivityReport:
    found = find(store, what)[1]
    assert isinstance(found, SensitivityReport)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def test_a_report_has_the_result_as_it_is_and_what_the_study_was_begun_with(store: Store) -> None:
    result = _measured(store, (NEEDS, IGNORES))
    found = _report(store, result.id[:6])
    assert found.result == result
    assert (found.study_id, found.task, found.status) == (result.id, "toy", "finished")
    assert found.planned == ("scripted-needs", "scripted-ignores")
    assert found.configuration["seed"] == 0
    assert found.configuration["fingerprint"]
    assert found.damage == ()


def test_its_json_has_the_documented_names_and_no_other(store: Store) -> None:
    result = _measured(store)
    data = _report(store).to_json()
    assert json.loads(json.dumps(data)) == data
    assert data["report"] == "sensitivity"
    assert data["version"] == localprompt.__version__
    assert Sensitivity.read(data["result"]) == result
    names = {*data, *data["models"][0], *data["models"][0]["rows"][0], *data["models"][0]["rows"][0]["answers"][0]}
    text = (
        (Path(__file__).parents[2] / "docs/sensitivity.md").read_text(encoding="utf-8").partition("\n## The page\n")[2]
    )
    tables = [line.split(" | ") for line in text.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    told = {name for line in tables for name in re.findall(r"`(\w+)`", line[0])}
    assert told | {"answer", "variants"} == names  # what is in `answers` stands in its line


def test_each_model_has_a_verdict_of_its_own_and_whether_the_wording_moves_it(store: Store) -> None:
    result = _measured(store, (NEEDS, IGNORES))
    needs, ignores = _report(store).models
    assert (needs.is_moved, ignores.is_moved) == (True, False)
    assert "matters most" in needs.verdict
    assert "by nothing" in ignores.verdict
    assert needs.verdict != result.verdict


def test_rows_whose_answer_depends_on_the_wording_stand_with_the_variants_behind_each_answer(store: Store) -> None:
    result = _measured(store)
    (model,) = _report(store).models
    own, answers = result.models[0].own, result.models[0].answers
    assert model.unchanged is not None
    assert len(model.rows) + model.unchanged == len(result.rows)
    assert 0 < len(model.rows) < len(result.rows)
    assert [each.changed for each in model.rows] == sorted((each.changed for each in model.rows), reverse=True)
    for row in model.rows:
        given = [answers[codes[row.row]] for codes in own.answers]
        assert row.example_id == result.rows[row.row]
        assert row.changed == pytest.approx(sum(each != given[0] for each in given) / (len(given) - 1))
        assert row.score == pytest.approx(sum(scores[row.row] for scores in own.scores) / len(given))
        assert row.answers[0].answer == given[0]
        assert row.answers[0].variants[0] == 0
        assert {variant: each.answer for each in row.answers for variant in each.variants} == dict(enumerate(given))


def test_a_model_that_ignores_the_wording_has_no_such_row(store: Store) -> None:
    result = _measured(store, (IGNORES,))
    (model,) = _report(store).models
    assert model.rows == ()
    assert model.unchanged == len(result.rows)


def test_rows_whose_answer_only_drawing_changes_do_not_depend_on_the_wording(store: Store) -> None:
    lm = ScriptedLM(answer=lambda prompt, seed: f" omega{seed}", logprob=lambda *_: -1.0, name="drawn")
    task = replace(toy.task(test=20), seeds=(Prompt("Turn alpha into omega."),))
    _measured(store, (lm,), task=task, families=("surface", "sampling"))
    (model,) = _report(store).models
    assert (model.rows, model.unchanged) == ((), 20)


def test_without_right_answers_nothing_is_said_of_scores(store: Store) -> None:
    _measured(store, unlabelled=True)
    found = _report(store)
    (model,) = found.models
    assert model.is_moved is None
    assert model.rows
    assert all(each.score is None for each in model.rows)
    assert "--unlabelled" in found.command


def test_the_command_begins_the_same_study(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _measured(store, prompts=(PROMPT, OTHER), split="dev", seed=3, scorers=("calibrated",))
    told = _report(store).command
    given: dict[str, Any] = {}

    def measured(task: str, models: Sequence[str], **options: Any) -> Sensitivity:
        given.update(options, task=task, models=models)
        return result

    monkeypatch.setattr("localprompt.battery.sensitivity.sensitivity", measured)
    program, *words = shlex.split(told)
    assert program == "localprompt"
    ran = CliRunner().invoke(main, words)
    assert ran.exit_code == 0, ran.output
    assert given["task"] == "TASK"
    assert list(given["models"]) == ["scripted-needs"]
    expected: Mapping[str, Any] = {"prompts": [PROMPT, OTHER], "size": "quick", "split": "dev", "seed": 3}
    assert {name: given[name] for name in expected} == expected
    assert (list(given["families"]), given["unlabelled"]) == (list(FAMILIES), False)
    again = _measured(store, prompts=given["prompts"], split="dev", seed=3, scorers=given["scorers"])
    assert again.id == result.id


def test_the_command_has_the_settings_of_the_engine(store: Store) -> None:
    engine = {"exact": True, "tensor_split": (3.0, 1.0)}
    with scheme("needs", lambda text, **engine: NEEDS):
        first = _measured(store, ("needs:it",), engine=engine)
        words = shlex.split(_report(store, first.id).command)
        given = [words[i + 1].split("=") for i, word in enumerate(words) if word == "--engine"]
        assert typed(dict(given)) == engine
        assert _measured(store, ("needs:it",), engine=dict(given)).id == first.id


@pytest.mark.parametrize(
    "prompt",
    [Prompt("Even or odd, please?", (Demo({"input": "alpha1"}, "odd"),)), Prompt("@here even or odd")],
    ids=["examples", "file"],
)
def test_a_prompt_that_no_option_can_hold_has_a_stand_in(store: Store, prompt: Prompt) -> None:
    _measured(store, prompts=(prompt,))
    assert "--prompt PROMPT" in _report(store).command


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("gone")], ids=["paused", "failed"])
def test_a_study_without_a_result_says_so(store: Store, error: BaseException) -> None:
    def dies(context: str, continuation: str) -> float:
        raise error

    with pytest.raises(type(error)):
        _measured(store, (ScriptedLM(logprob=dies, name="needs"),))
    found = _report(store)
    assert found.status == ("paused" if isinstance(error, KeyboardInterrupt) else "failed")
    assert (found.result, found.models, found.damage) == (None, (), ())
    assert "--prompt PROMPT" in found.command
    assert found.study_id in page(found.to_json())


@pytest.mark.parametrize(
    "damage",
    [
        lambda result: result.update(verdict=None),
        lambda result: result.update(rows=result["rows"][:3]),
        lambda result: result["models"][0]["scorers"][0]["families"][0].update(spread=None),
        lambda result: result["models"][0].update(scorers=[]),
        lambda result: result["models"][0].update(answers=[]),
    ],
)
def test_a_damaged_result_is_named_and_is_no_result(store: Store, damage: Callable[[Any], None]) -> None:
    result = json.loads(json.dumps(_measured(store).to_json()))
    damage(result)
    store.studies.update(result["sensitivity"], status="finished", result=result)
    found = _report(store)
    assert found.result is None
    assert found.models == ()
    assert "damaged" in found.damage[0]


def test_its_page_is_made_from_the_store(store: Store, tmp_path: Path) -> None:
    result = _measured(store, (NEEDS, IGNORES))
    text = localprompt.report(result.id, out=tmp_path / "r.html", store=store).read_text(encoding="utf-8")
    assert json.loads(re.findall(r'id="data">(.*)</script>', text)[0]) == _report(store).to_json()
    assert "toy: sensitivity to the wording of a prompt" in text
