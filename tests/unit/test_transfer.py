"""Transfer of prompts on scripted models whose answers are known: what each follows is what is found."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.comparison.transfer_analysis import Answered, analyse
from localprompt.comparison.transfer_results import GivenPrompt, MeasuredModel, Transfer
from localprompt.errors import ConfigError, ContextOverflow, LocalPromptError, ModelError, TaskError
from localprompt.lm.base import LanguageModel
from localprompt.lm.loading import scheme
from localprompt.lm.scripted import ScriptedLM
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Prompt, Spend

LABELS = ("even", "odd")
PROMPTS = ("Say the number.", "Name the parity.", "Both the number and the parity.")


def _task(**changes: Any) -> Task:
    made = toy.task(labels=LABELS, train=2, dev=20, test=30)
    return replace(made, seeds=(Prompt("Answer."),), layout=toy.SHOWING, **changes)


def _obeys(word: str, *, only: int = 1, name: str = "") -> ScriptedLM:
    """A model that knows rows whose number `only` divides where the prompt holds a word, and is wrong without it."""

    def logprob(context: str, continuation: str) -> float:
        instruction, _, question = context.rpartition("Input:")
        number = int(re.findall(r"\d+", question)[0])
        knows = word in instruction and number % only == 0
        return -0.1 if (continuation.strip() == LABELS[number % 2]) == knows else -3.0

    return ScriptedLM(logprob=logprob, name=name or word)


def _models() -> list[LanguageModel]:
    return [_obeys("number"), _obeys("parity")]


def _transfer(
    models: Sequence[LanguageModel | str] | None = None, task: Task | None = None, **options: Any
) -> Transfer:
    return localprompt.transfer([task or _task()], models or _models(), **{"prompts": PROMPTS[:2], **options})


def test_each_model_has_its_best_prompt_and_the_others_lose_all_of_it() -> None:
    (task,) = _transfer().tasks
    assert [given.origin for given in task.prompts] == ["seed prompt", "prompt 1", "prompt 2"]
    assert [task.best(model).prompt for model in (0, 1)] == [1, 2]
    right, wrong = task.cell(1, 0), task.cell(2, 0)
    assert (right.score.mean, right.gap, right.regret) == (1, None, None)
    assert right.gain is not None
    assert right.gain.difference.mean == 1
    assert wrong.gap is not None
    assert wrong.gap.difference.mean == -1
    assert wrong.gap.adjusted_p < 0.05
    assert wrong.regret is not None
    assert (wrong.regret.value, wrong.regret.low, wrong.regret.high) == (1, 1, 1)
    assert task.cell(0, 0).gain is None
    assert len(right.scores) == len(task.example_ids) == 30
    assert task.rank_agreement[0].tau == -0.5
    assert task.verdict.startswith("Prompts do not carry over: the best of one model scores -1.00 on another")


def test_the_prompt_for_all_is_the_one_that_no_model_is_bad_at() -> None:
    models = [*_models(), _obeys("the ", only=2, name="the")]
    (task,) = _transfer(models, prompts=PROMPTS).tasks
    for each in task.best_for_all:
        assert each.prompt == 3
        assert each.lowest.value == 0.5
        assert each.lowest_model == 2
        assert math.isclose(each.score.mean, 2.5 / 3)
        assert each.score.low < 2.5 / 3 < each.score.high
        assert each.cost.mean == 0
    assert task.variance is not None
    assert task.variance.quantisation is None


def test_test_never_chooses() -> None:
    """A model that is right with one prompt on dev alone, and with another on test alone."""

    def logprob(context: str, continuation: str) -> float:
        instruction, _, question = context.rpartition("Input:")
        number = int(re.findall(r"\d+", question)[0])
        knows = ("number" if number < 22 else "parity") in instruction
        return -0.1 if (continuation.strip() == LABELS[number % 2]) == knows else -3.0

    (task,) = _transfer([ScriptedLM(logprob=logprob, name="a"), ScriptedLM(logprob=logprob, name="b")]).tasks
    assert {task.best(model).prompt for model in (0, 1)} == {each.prompt for each in task.best_for_all} == {1}
    assert task.best(0).score.mean == 0
    better = task.cell(2, 0)
    assert better.gap is not None
    assert better.gap.difference.mean == 1
    assert better.regret is None  # the best one scores nothing
    assert task.verdict.startswith("On dev one prompt is the best for every model")


def test_models_of_one_name_are_told_apart_wherever_they_are_named() -> None:
    models = [_obeys("number", name="a"), _obeys("number"), _obeys("parity")]
    for lm in models[1:]:
        lm.name = "same"  # as two files of one name in two folders
    found = _transfer([*models])
    names = ["a", "same (2)", "same (3)"]
    assert [model.model for model in found.models] == names
    assert {str(row["model"]) for row in found.to_csv()} == set(names)
    assert [(each.first, each.second) for each in found.tasks[0].rank_agreement] == [*itertools.combinations(names, 2)]
    studied = localprompt.sensitivity(_task(), models, size="quick", families=("surface",), scorers=(), use_cache=False)
    assert {str(row["model"]) for row in studied.to_csv()} == set(names)


def test_the_same_scores_in_another_order_are_a_tie_to_the_last_bit() -> None:
    task, rng, graded = _task(), random.Random(1), [0.1, 0.2, 1 / 3, 2 / 3, 0.7]
    prompts = [GivenPrompt(Prompt(text), text) for text in ("Answer.", *PROMPTS)]
    models = [MeasuredModel(name, name, name, "", Spend()) for name in "ab"]

    def shuffled(n: int) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(rng.sample(graded * (n // 5), n)) for _ in prompts)

    answered = [Answered(shuffled(20), shuffled(30), (0,) * 4, (0,) * 4) for _ in models]
    found = analyse(task, prompts, models, answered)
    assert [found.best(model).prompt for model in (0, 1)] == [0, 0]
    assert [each.prompt for each in found.best_for_all] == [0, 0]
    assert found.rank_agreement[0].tau is None
    assert found.verdict == "No prompt is better than another on dev, with any model."


def test_equal_models_agree_and_lose_nothing() -> None:
    (task,) = _transfer([_obeys("number", name="a"), _obeys("number", name="b")]).tasks
    assert task.rank_agreement[0].tau == 1
    assert all(each.cost.mean == 0 for each in task.best_for_all)
    assert "The models agree on which prompt is better" in task.verdict


def test_models_whose_prompts_differ_by_chance_neither_agree_nor_do_not() -> None:
    prompts = [GivenPrompt(Prompt(text), text) for text in ("seed", "other")]
    models = [MeasuredModel(name, name, name, "", Spend()) for name in "ab"]
    dev, test = (((1.0, 0.0) * (n // 2), (1.0, 1.0, *(0.0, 1.0) * (n // 2 - 1))) for n in (20, 30))
    answered = Answered(dev, test, unreadable=(0, 0), failed=(0, 0))
    found = analyse(_task(), prompts, models, [answered, answered])
    assert found.rank_agreement[0].tau == 1
    assert found.verdict.startswith("On dev one prompt is the best for every model")
    assert "agree" not in found.verdict


def test_what_runs_found_is_marked_on_its_model_and_measured_on_its_task_alone() -> None:
    models = _models()
    own = [
        GivenPrompt(Prompt(text), f"run on {lm.facts.name}", "toy", found_on=(lm.facts.fingerprint,))
        for text, lm in zip(PROMPTS, models, strict=False)
    ]
    tasks = [_task(), replace(_task(), name="other")]
    first, other = localprompt.transfer(tasks, models, prompts=[*own, PROMPTS[2]]).tasks
    assert [(cell.prompt, cell.model) for cell in first.cells if cell.is_own] == [(1, 0), (2, 1)]
    assert [given.origin for given in other.prompts] == ["seed prompt", "prompt 3"]


def test_the_same_prompt_given_twice_is_measured_once() -> None:
    own = [GivenPrompt(Prompt(PROMPTS[0]), f"run {n}", "toy", found_on=(f"f{n}",)) for n in (1, 2)]
    (task,) = _transfer(prompts=[PROMPTS[0], *own]).tasks
    assert [given.origin for given in task.prompts] == ["seed prompt", "prompt 1, run 1, run 2"]
    assert task.prompts[1].found_on == ("f1", "f2")


def test_without_prompts_all_seed_prompts_of_the_task_are_measured() -> None:
    task = replace(_task(), seeds=tuple(map(Prompt, PROMPTS)))
    (found,) = _transfer(task=task, prompts=()).tasks
    assert [given.origin for given in found.prompts] == ["seed prompt", "seed prompt 2", "seed prompt 3"]


def test_other_settings_of_the_engine_or_another_file_make_another_study(tmp_path: Path) -> None:
    file, store = ["one"], tmp_path / "s.sqlite"

    def study(**engine: object) -> str:
        models = ["obeys:number", "obeys:parity"]
        return localprompt.transfer([_task()], models, prompts=PROMPTS[:2], engine=engine, store=store).id

    with scheme("obeys", lambda text, **engine: _obeys(text, name=f"{text} {file} {engine}")):
        first, other = study(), study(n_ctx=2048)
        assert (study(), study(n_ctx=2048)) == (first, other)
        file[0] = "another"
        assert len({first, other, study()}) == 3
    with Store(store) as opened:
        assert len(opened.studies.all("transfer")) == 3


def test_a_model_that_is_not_there_is_told_before_another_one_is_asked() -> None:
    lm = _obeys("number")
    with pytest.raises(ModelError, match=r"there is no file typo\.gguf"):
        _transfer([lm, "typo.gguf"])
    with pytest.raises(ModelError, match=r"there is no file typo\.gguf"):
        localprompt.sensitivity(_task(), [lm, "typo.gguf"], size="quick", use_cache=False)
    assert (lm.n_scored, lm.n_generated) == (0, 0)


def test_called_again_nothing_is_asked_again_and_all_is_the_same(tmp_path: Path) -> None:
    store, models = tmp_path / "s.sqlite", [_obeys("number"), _obeys("parity")]
    first = _transfer([*models], store=store)
    asked = [lm.n_scored for lm in models]
    assert all(asked)
    second = _transfer([*models], store=store)
    assert [lm.n_scored for lm in models] == asked
    assert second.id == first.id
    assert replace(second, models=first.models) == first
    with Store(store) as opened:
        (study,) = opened.studies.all("transfer")
        assert study.status == "finished"
        assert Transfer.read(json.loads(json.dumps(study.result))) == second


@pytest.mark.parametrize("dies_after", [1, 100, 250, 500])
def test_killed_at_any_moment_and_called_again_it_ends_as_undisturbed(tmp_path: Path, dies_after: int) -> None:
    undisturbed = _transfer(store=tmp_path / "a.sqlite")
    asked, whole = dict.fromkeys(("n",), 0), _models()

    def watched(lm: Any) -> ScriptedLM:
        def logprob(context: str, continuation: str) -> float:
            asked["n"] += 1
            if asked["n"] == dies_after:
                raise toy.Killed
            score: float = lm.loglikelihood([(context, continuation)])[0].logprob
            return score

        return ScriptedLM(logprob=logprob, name=lm.facts.name)

    models: list[LanguageModel] = [watched(lm) for lm in whole]
    with pytest.raises(toy.Killed):
        _transfer(models, store=tmp_path / "b.sqlite")
    with Store(tmp_path / "b.sqlite") as store:
        assert [study.status for study in store.studies.all("transfer")] == ["failed"]
    found = _transfer(models, store=tmp_path / "b.sqlite")
    assert asked["n"] > dies_after
    assert found.id == undisturbed.id
    assert replace(found, models=undisturbed.models) == undisturbed


def test_levels_of_one_model_have_their_share_of_the_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    from localprompt.comparison import transfer  # noqa: PLC0415
    from localprompt.run.measuring import ModelIdentity  # noqa: PLC0415

    def identity_of(lm: LanguageModel) -> ModelIdentity:
        name = lm.facts.name
        return ModelIdentity(name, name, name.partition(":")[0], name.partition(":")[2])

    monkeypatch.setattr(transfer, "identity_of", identity_of)
    models: list[LanguageModel] = [
        _obeys("number", only=only, name=name) for name, only in (("m:Q8", 1), ("m:Q4", 3), ("n:Q8", 2))
    ]
    found = _transfer(models, prompts=PROMPTS)
    assert [(each.base, each.quantisation) for each in found.models] == [("m", "Q8"), ("m", "Q4"), ("n", "Q8")]
    variance = found.tasks[0].variance
    assert variance is not None
    assert variance.quantisation is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": [ScriptedLM(name="never")]}, "there is one model"),
        ({"models": []}, "models is empty"),
        ({"prompts": ()}, "only one prompt"),
        ({"prompts": ["Answer."]}, "only one prompt"),
        ({"prompts": [GivenPrompt(Prompt("x y"), "run 1", "elsewhere")]}, "elsewhere"),
        ({"tasks": []}, "no task"),
        ({"tasks": [_task(), _task()]}, "two tasks"),
        ({"tasks": [_task(test=())]}, "no test"),
        ({"tasks": [_task(dev=())]}, "no dev"),
        ({"tasks": [_task(folds=3)]}, "cross-validated"),
        ({"engine": {"n_ctx": 1024}}, "loaded"),
    ],
)
def test_bad_input_gets_a_sentence_before_anything_is_asked(options: dict[str, Any], message: str) -> None:
    models = _models()
    given = {"tasks": [_task()], "models": models, "prompts": PROMPTS, **options}
    with pytest.raises((ConfigError, TaskError), match=message):
        localprompt.transfer(given.pop("tasks"), given.pop("models"), **given)
    assert not any(lm.seen for lm in models if isinstance(lm, ScriptedLM))


def test_a_prompt_that_does_not_fit_a_model_ends_it_before_that_model_is_asked() -> None:
    small = _obeys("parity")
    small.n_ctx = 40
    with pytest.raises(ContextOverflow):
        _transfer([_obeys("number"), small], prompts=["word " * 60])
    assert small.n_scored == 0


@pytest.mark.parametrize("prompt", ["even", "", "判断奇偶", "קבע אם המספר זוגי", "{{input}}"])
def test_odd_prompts_and_one_row_have_a_result(prompt: str) -> None:
    task = replace(toy.task(labels=LABELS, dev=1, test=1), seeds=(Prompt("Answer."),), layout=toy.SHOWING)
    found = _transfer(task=task, prompts=[prompt])
    assert found.tasks[0].verdict
    assert found.tasks[0].variance is None
    json.dumps(found.to_json(), allow_nan=False)
    assert len(list(found.to_csv())) == 4


def test_what_a_run_found_comes_with_its_task_and_model(tmp_path: Path) -> None:
    from localprompt.comparison.transfer import of_run  # noqa: PLC0415

    task = toy.write_task(tmp_path, 8, 16, 16)
    lm = toy.model(name="finder")
    run = localprompt.optimize(task, lm, store=tmp_path / "s.sqlite")
    with Store(tmp_path / "s.sqlite") as store:
        record = store.runs.get(run.run_id)
        given = of_run(record, store.path)
        with pytest.raises(ConfigError, match="found nothing yet"):
            of_run(replace(record, result=None), store.path)
    assert (given.prompt, given.task, given.found_on) == (run.best, "omegas", (lm.facts.fingerprint,))
    models = [lm, toy.model(name="another")]
    (found,) = localprompt.transfer([task], models, prompts=[given]).tasks
    assert [(cell.prompt, cell.model) for cell in found.cells if cell.is_own] == [(1, 0)]
    (tmp_path / "changed").mkdir()
    changed = toy.write_task(tmp_path / "changed", 8, 16, 20)
    result = localprompt.transfer([changed], models, prompts=[given])
    assert any("rows that are test now" in note for note in result.notes)


def test_the_task_that_a_run_was_begun_again_with_is_the_one_that_it_searched(tmp_path: Path) -> None:
    from localprompt.comparison.transfer import of_run  # noqa: PLC0415

    before = toy.task()
    after = replace(before, train=before.train[5:], fingerprint="")
    with Store(tmp_path / "s.sqlite") as store:
        run = localprompt.optimize(before, toy.model(), store=store)
        localprompt.resume(run.run_id, model=toy.model(), task=after, force=True, store=store)
        assert of_run(store.runs.get(run.run_id), store.path).fingerprint == after.fingerprint != before.fingerprint


def test_a_damaged_result_is_named() -> None:
    with pytest.raises(LocalPromptError, match="damaged"):
        Transfer.read({"id": 3})


def test_a_model_that_no_prompt_moves_decides_nothing() -> None:
    models: list[LanguageModel] = [
        _obeys("number", name="a"),
        _obeys("number", name="b"),
        _obeys("nowhere", name="weak"),
    ]
    (task,) = _transfer(models).tasks
    assert {task.best(model).prompt for model in range(3)} == {each.prompt for each in task.best_for_all} == {1}
    assert all(each.cost.mean == 0 for each in task.best_for_all)
    assert task.verdict.startswith("On dev one prompt is the best for every model")


def test_where_all_prompts_tie_none_is_said_to_be_best() -> None:
    (task,) = _transfer([_obeys("nowhere", name="a"), _obeys("nowhere", name="b")]).tasks
    assert task.verdict.startswith("No prompt is better than another on dev, with any model.")
    assert {task.best(model).prompt for model in (0, 1)} == {each.prompt for each in task.best_for_all} == {0}


def test_prompts_with_the_same_scores_on_other_models_tie_whatever_the_rounding() -> None:
    def rows(right: int) -> tuple[float, ...]:
        return (1.0,) * right + (0.0,) * (10 - right)

    prompts = [GivenPrompt(Prompt(text), text) for text in ("seed", "first", "second")]
    models = [MeasuredModel(name, name, name, "", Spend()) for name in "xyz"]
    answered = [
        Answered(scores, scores, unreadable=(0,) * 3, failed=(0,) * 3)
        for scores in ((rows(0), rows(3 - i), rows(1 + i)) for i in range(3))
    ]
    found = analyse(toy.task(dev=10, test=10), prompts, models, answered)
    assert [each.prompt for each in found.best_for_all] == [1, 1]


def test_the_loss_on_average_is_over_all_pairs_of_models() -> None:
    models: list[LanguageModel] = [_obeys("number", name="a"), _obeys("number", name="b"), _obeys("parity", name="c")]
    (task,) = _transfer(models).tasks
    assert "scores -0.67 on another against that one's best, on average" in task.verdict
