"""The runs of a comparison, with a scripted model."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

from localprompt.comparison.plan import compare, expected_costs, resume_comparison
from localprompt.comparison.table import Comparison
from localprompt.engine.process import RequestsDied
from localprompt.errors import ConfigError, ContextOverflow, ModelError, RunInUse, RunMismatch, StoreError, TaskError
from localprompt.lm.scripted import ScriptedLM
from localprompt.run import api as runs
from localprompt.run.resume import resume
from localprompt.search.observer import SilentObserver
from localprompt.stats.intervals import interval
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Example, Prompt, Spend

METHODS = ("ape", "random")
LIMIT = 6000
SMALL = {"ape": {"queries": 2, "per_query": 7}, "random": {"proposals": 14}}
"""Settings with which the best prompt is found in a moment."""
ONE = {"random": SMALL["random"]}


def small(**sizes: int) -> Task:
    return toy.task(**{"dev": 12, "test": 12, **sizes})  # type: ignore[arg-type]


def other(task: Task) -> Task:
    return replace(task, name="other", fingerprint="other")


def plain(result: Comparison) -> dict[str, object]:
    """The comparison without what depends on the clock and on what was known before."""

    def kept(value: object) -> object:
        if isinstance(value, dict):
            volatile = ("seconds", "answers_cached", "tokens_decoded", "hit_rate")
            return {key: kept(each) for key, each in value.items() if key not in volatile}
        return [kept(each) for each in value] if isinstance(value, list) else value

    found = kept(json.loads(json.dumps(result.to_json())))
    assert isinstance(found, dict)
    return found


def test_methods_are_compared_on_tasks_with_the_same_budget() -> None:
    lm = toy.model()
    result = compare([small(), other(small())], lm, methods=METHODS, n_seeds=2, max_tokens=LIMIT, settings=SMALL)
    assert [(row.task, row.method) for row in result.rows] == [
        (task, method) for task in ("toy", "other") for method in METHODS
    ]
    assert [(run.result.task, run.result.seed, run.result.method) for run in result.runs][:3] == [
        ("toy", 0, "ape"),
        ("toy", 0, "random"),
        ("toy", 1, "ape"),
    ]
    for run in result.runs:
        assert 0 < run.result.spend.tokens_requested <= LIMIT
        assert run.result.test is not None
        assert interval(run.best_scores) == run.result.test.best
        assert interval(run.seed_scores) == run.result.test.seed
        assert run.area is not None
        assert 0 < run.area < 1
    # The second task is the first one under another name, so no question of it is new.
    assert all(row.hit_rate == 1.0 for row in result.rows if row.task == "other")
    assert json.loads(json.dumps(result.to_json()))["comparison"] == result.id


def test_the_area_is_that_of_what_was_found_when() -> None:
    """One method, whose finds are told by an observer as they happen."""

    class Finds(SilentObserver):
        def __init__(self) -> None:
            self.tokens = 0
            self.found: list[tuple[int, float, int]] = []

        def spend(self, spend: Spend) -> None:
            self.tokens = spend.tokens_requested

        def best(self, prompt: Prompt, mean: float, n: int) -> None:
            self.found.append((self.tokens, mean, n))

    finds = Finds()
    result = compare(
        [small()], toy.model(), methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE, observer=finds
    )
    whole = [(tokens, mean) for tokens, mean, n in finds.found if n == 12]
    assert whole[-1][1] == 1.0
    first_perfect = next(tokens for tokens, mean in whole if mean == 1.0)
    (run,) = result.runs
    # The seed prompt scores 0, and what is chosen on fewer examples counts with its score on all of them.
    assert run.area is not None
    assert run.area >= (LIMIT - first_perfect) / LIMIT
    assert run.area <= (LIMIT - finds.found[0][0]) / LIMIT


def test_called_again_it_computes_nothing_and_says_the_same() -> None:
    lm = toy.model()
    first = compare([small()], lm, methods=METHODS, n_seeds=2, max_tokens=LIMIT, settings=SMALL)
    seen = len(lm.seen)
    assert compare([small()], lm, methods=METHODS, n_seeds=2, max_tokens=LIMIT, settings=SMALL) == first
    assert len(lm.seen) == seen
    with Store() as store:
        assert len(store.runs.all()) == 4


def test_an_objective_is_that_of_every_search_and_makes_another_comparison() -> None:
    lm = toy.model()
    plainly = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    robust = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE, objective="robust")
    assert [each.runs[0].result.objective for each in (plainly, robust)] == ["score", "robust"]
    assert plainly.id != robust.id
    assert resume_comparison(robust.id) == robust
    costs = [
        expected_costs([small()], lm, methods=["random"], max_tokens=LIMIT, settings=ONE, objective=objective)[0].cost
        for objective in ("score", "robust")
    ]
    assert costs[0].proposals > costs[1].proposals  # each is scored with four variants


def test_a_finished_comparison_needs_no_model_and_only_the_beginning_of_its_id() -> None:
    first = compare([small()], toy.model(), methods=METHODS, n_seeds=1, max_tokens=LIMIT, settings=SMALL)
    assert resume_comparison(first.id[:4]) == first
    with pytest.raises(StoreError, match="no comparison begins with 'zz'"):
        resume_comparison("zz")


def test_runs_of_other_comparisons_and_of_optimize_are_taken_as_they_are() -> None:
    lm = toy.model()
    alone = runs.optimize(small(), lm, method="random", max_tokens=LIMIT, settings=SMALL["random"])
    few = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    many = compare([small()], lm, methods=["ape", "random"], n_seeds=1, max_tokens=LIMIT, settings=SMALL)
    assert few.runs[0].result.run_id == many.runs[1].result.run_id == alone.run_id
    assert [resume_comparison(each.id).id for each in (few, many)] == [few.id, many.id]


def test_a_run_that_went_on_to_a_larger_limit_is_not_taken_for_one_with_the_smaller() -> None:
    lm = toy.model()
    first = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=500)
    resume(first.runs[0].result.run_id, model=lm, task=small(), max_tokens=LIMIT)
    again = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=500)
    assert again.runs[0].result.run_id != first.runs[0].result.run_id
    assert again.runs[0].result.spend.tokens_requested <= 500


@pytest.mark.parametrize("first", [True, False])
def test_runs_that_have_gone_on_by_themselves_are_no_comparison_any_more(tmp_path: Path, first: bool) -> None:
    def changed(what: str, **changes: object) -> None:
        lm, store = toy.model(), tmp_path / what
        result = compare([small()], lm, methods=METHODS, n_seeds=1, max_tokens=700, settings=SMALL, store=store)
        run = result.runs[0 if first else 1].result.run_id
        given = {"model": lm, "task": small(), **changes}
        resume(run, store=store, **given)  # type: ignore[arg-type]
        with pytest.raises(StoreError, match=f"{run} .*{what}") as raised:
            resume_comparison(result.id, store=store)
        assert "call `localprompt compare --store " in raised.value.hint
        again = compare([small()], lm, methods=METHODS, n_seeds=1, max_tokens=700, settings=SMALL, store=store)
        assert again.max_tokens == 700
        assert all(each.result.run_id != run for each in again.runs)
        assert resume_comparison(again.id, store=store).id == again.id

    changed("differ in max_tokens", max_tokens=LIMIT, force=True)
    changed("differ in max_calls", max_calls=500)
    # A finished run goes on only where a limit is given.
    changed("differ in model", model=toy.model(name="bigger"), force=True, max_tokens=700)
    fewer = replace(small(test=7), fingerprint="fewer")
    changed("was resumed with a different task", task=fewer, force=True, max_tokens=700)


def test_a_task_under_another_name_is_another_task() -> None:
    lm, renamed = toy.model(), replace(small(), name="renamed")
    first = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    second = compare([renamed], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    assert first.runs[0].result.run_id != second.runs[0].result.run_id
    assert [row.task for row in (*first.rows, *second.rows)] == ["toy", "renamed"]
    for _ in range(2):
        both = compare([small(), renamed], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
        assert [run.result.run_id for run in both.runs] == [each.runs[0].result.run_id for each in (first, second)]
        assert [(row.task, row.runs) for row in both.rows] == [("toy", 1), ("renamed", 1)]


def test_a_run_that_went_on_under_another_name_of_its_task_is_one_of_the_task() -> None:
    lm = toy.model()
    alone = runs.optimize(small(), lm, method="random", max_tokens=LIMIT, max_calls=9, settings=SMALL["random"])
    resume(alone.run_id, model=lm, task=replace(small(), name="renamed"), max_calls=9)
    result = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, max_calls=9, settings=ONE)
    assert result.runs[0].result.run_id == alone.run_id
    assert [(row.task, row.runs) for row in result.rows] == [("toy", 1)]


def test_over_all_tasks_no_method_is_spared_the_one_on_which_it_failed() -> None:
    def judge(prediction: str, targets: tuple[str, ...]) -> float:
        raise ZeroDivisionError("nothing to divide by")

    tasks = [small(), other(small()), replace(small(), name="bad", fingerprint="bad", metric=judge)]
    result = compare(tasks, toy.model(), methods=METHODS, n_seeds=1, max_tokens=LIMIT, settings=SMALL)
    assert [(row.task, row.method) for row in result.rows] == [
        (task, method) for task in ("toy", "other") for method in METHODS
    ]
    assert result.over_tasks == ()
    # What a metric raises is a failure of its run, in one sentence.
    assert [(failure.task, failure.method) for failure in result.failures] == [("bad", method) for method in METHODS]
    assert "judge' failed on the prediction 'no idea' (ZeroDivisionError: nothing" in result.failures[0].error


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda completion: str(int(completion)), "failed on ' no idea' (ValueError: invalid literal"),
        (len, "the answer function 'len' returned 8"),
    ],
)
def test_what_an_answer_function_does_is_a_failure_of_its_run(answer: Callable[[str], Any], error: str) -> None:
    tasks = [replace(small(), name="bad", fingerprint="bad", answer=answer), small()]
    result = compare(tasks, toy.model(), methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    assert [row.task for row in result.rows] == ["toy"]
    assert [failure.task for failure in result.failures] == ["bad"]
    assert error in result.failures[0].error


def test_a_metric_in_python_judges_here_as_elsewhere_and_is_not_in_the_store() -> None:
    def judge(prediction: str, targets: tuple[str, ...]) -> float:
        return float(prediction in targets)

    task = replace(small(), metric=judge)
    result = compare([task], toy.model(), methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    assert compare([task], toy.model(), methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE) == result
    alone = runs.optimize(task, toy.model(), method="random", max_tokens=LIMIT, settings=SMALL["random"])
    assert result.runs[0].result.test == alone.test
    with pytest.raises(TaskError, match="metric is a Python object"):
        resume_comparison(result.id)


def test_an_error_of_ours_is_no_failure_of_a_run() -> None:
    def answer(prompt: str, seed: int) -> str:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        compare([small()], toy.model(answer=answer), methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)


def changed_by(statement: str) -> Comparison:
    """A finished comparison taken up again after somebody wrote to its store; what its runs found stays."""
    first = compare([small()], toy.model(), methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    with Store() as store:
        path = store.path
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()
    again = resume_comparison(first.id)
    assert all(run.result == before.result for run, before in zip(again.runs, first.runs, strict=False))
    return again


def test_answers_that_were_lost_take_nothing_from_a_finished_comparison() -> None:
    again = changed_by("DELETE FROM answers")
    assert again.runs[0].area is not None
    assert again.rows[0].test.mean == 1.0


def test_a_run_that_lost_its_test_scores_is_told_as_failed() -> None:
    again = changed_by("DELETE FROM evaluations WHERE kind = 'test'")
    assert not again.runs
    assert "has no test scores any more" in again.failures[0].error


@pytest.mark.parametrize(("instruction", "area"), [(toy.BEST, 0.0), ("", None)])
def test_a_prompt_never_measured_on_all_of_dev_has_no_part_in_the_area(instruction: str, area: float | None) -> None:
    """Its mean on one lucky example is no more than that."""
    of_prompt = (
        f"SELECT number FROM evaluations WHERE kind = 'metric' AND prompt LIKE '%\"instruction\":\"{instruction}\"%'"
    )
    again = changed_by(f"DELETE FROM outcomes WHERE number > 0 AND evaluation IN ({of_prompt})")
    assert (again.runs[0].area or 0) < 0.5
    assert (again.runs[0].area is None) == (area is None)


@pytest.mark.parametrize("after", [0, 30, 80])
def test_a_comparison_that_was_killed_ends_as_if_it_had_not_been(tmp_path: Path, after: int) -> None:
    def run(lm: ScriptedLM, store: str) -> Comparison:
        return compare(
            [small()], lm, methods=METHODS, n_seeds=1, max_tokens=LIMIT, settings=SMALL, store=tmp_path / store
        )

    whole = run(toy.model(), "whole")
    with pytest.raises(toy.Killed):
        run(toy.model(answer=toy.failing(toy.Killed(), after)), "killed")
    lm = toy.model()
    assert plain(run(lm, "killed")) == plain(whole)
    with pytest.raises(toy.Killed):
        run(toy.model(answer=toy.failing(toy.Killed(), after)), "other")
    assert plain(resume_comparison(whole.id, model=toy.model(), store=tmp_path / "other")) == plain(whole)


def test_a_run_that_fails_is_reported_and_the_others_go_on() -> None:
    class Saboteur(SilentObserver):
        def __init__(self) -> None:
            self.notes: list[str] = []
            self.broken = False

        def note(self, text: str) -> None:
            self.notes.append(text)
            if text.startswith("run ") and " of " in text:
                self.broken = text.endswith("random, seed 0")

    saboteur = Saboteur()

    def answer(prompt: str, seed: int) -> str:
        if saboteur.broken and toy.is_asked_to_write(prompt):
            raise ModelError("it broke", "mend it")
        return toy.answer(prompt, seed)

    lm = toy.model(answer=answer)
    result = compare(
        [small()], lm, methods=("random", "ape"), n_seeds=2, max_tokens=LIMIT, settings=SMALL, observer=saboteur
    )
    (failure,) = result.failures
    assert (failure.method, failure.seed, failure.error, failure.hint) == ("random", 0, "it broke", "mend it")
    assert "toy, random, seed 0 failed: it broke" in saboteur.notes
    assert [(row.method, row.test.n) for row in result.rows] == [("ape", 2), ("random", 1)]
    assert result.runs_to_csv()[-1]["error"] == "it broke"
    assert [(row["method"], row["runs"], row["failed"]) for row in result.to_csv()] == [("ape", 2, 0), ("random", 1, 1)]
    mended = resume_comparison(result.id, model=toy.model())
    assert (mended.id, mended.failures, len(mended.runs)) == (result.id, (), 4)


def test_without_the_cache_runs_share_nothing_and_can_be_compared_all_the_same() -> None:
    result = compare(
        [small()], toy.model(), methods=METHODS, n_seeds=1, max_tokens=LIMIT, settings=SMALL, use_cache=False
    )
    again = compare(
        [small()], toy.model(), methods=METHODS, n_seeds=1, max_tokens=LIMIT, settings=SMALL, use_cache=False
    )
    assert result == again
    assert result.rows[0].hit_rate < 1.0


def test_another_model_may_write_the_prompts() -> None:
    writer = toy.model(name="writer")
    result = compare(
        [small()], toy.model(), proposer=writer, methods=METHODS, n_seeds=1, max_tokens=LIMIT, settings=SMALL
    )
    assert (result.model, result.proposer) == ("scripted", "writer")
    assert all(toy.is_asked_to_write(text) for text in writer.seen)
    assert resume_comparison(result.id) == result


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"methods": ["ape", "randm"]}, ConfigError, "unknown method 'randm'"),
        ({"methods": []}, ConfigError, "no methods"),
        ({"preset": "papr"}, ConfigError, "no method has a preset 'papr'"),
        ({"settings": {"ape": {"querys": 1}}}, ConfigError, "no setting 'querys'"),
        ({"settings": {"opro": {"steps": 1}}}, ConfigError, "'opro', which is not compared"),
        ({"max_tokens": 0}, ConfigError, "max_tokens is 0"),
        ({"max_tokens": 1.5e4}, ConfigError, "max_tokens is 15000.0"),
        ({"max_tokens": True}, ConfigError, "max_tokens is True"),
        ({"max_tokens": 10**19}, ConfigError, "max_tokens is 10{19}"),
        ({"max_calls": -1}, ConfigError, "max_calls is -1"),
        ({"tasks": []}, ConfigError, "no task"),
        ({"tasks": [small(), small()]}, TaskError, "two tasks are called toy"),
        ({"tasks": [small(test=0)]}, TaskError, "no test examples"),
        ({"tasks": [small(dev=0)]}, TaskError, "no dev examples"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_a_model_is_loaded(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    choices: dict[str, Any] = {"tasks": [small()], "methods": METHODS, "max_tokens": LIMIT, **changes}
    functions: tuple[Callable[..., object], ...] = (compare, expected_costs)
    for function in functions:
        with pytest.raises(error, match=message):
            function(model="no-such-model", **choices)


@pytest.mark.parametrize("n_seeds", [0, -1, 2.0])
def test_no_seeds_are_refused(n_seeds: int) -> None:
    with pytest.raises(ConfigError, match=f"n_seeds is {n_seeds}"):
        compare([small()], "no-such-model", max_tokens=LIMIT, n_seeds=n_seeds)


def test_the_largest_limits_can_be_read_again() -> None:
    lm, most = toy.model(), 10**15
    settings = {"opro": {"steps": 1}}
    first = compare([small()], lm, methods=["opro"], n_seeds=1, max_tokens=most, max_calls=most, settings=settings)
    again = compare([small()], lm, methods=["opro"], n_seeds=1, max_tokens=most, max_calls=most, settings=settings)
    assert again == first


def test_a_preset_that_only_some_methods_have_leaves_the_others_their_defaults() -> None:
    lm = toy.model()
    result = compare([small()], lm, methods=("opro", "manual"), preset="paper", n_seeds=1, max_tokens=1)
    with Store() as store:
        by_method = {record.method: record.configuration["settings"] for record in store.runs.all()}
    assert by_method["opro"]["steps"] == 200
    assert {method: (how.preset, how.changed) for method, how in result.methods.items()} == {
        "opro": ("paper", {}),
        "manual": ("local", {}),
    }


def test_settings_are_told_as_what_differs_from_a_preset(tmp_path: Path) -> None:
    (tmp_path / "forward.txt").write_text("{{demos}}\n\nThe instruction was", encoding="utf-8")
    settings = {"ape": {**SMALL["ape"], "templates": tmp_path}}
    result = compare([small()], toy.model(), methods=["ape"], n_seeds=1, max_tokens=LIMIT, settings=settings)
    how = result.methods["ape"]
    sized = {"finalists": 6, "example_sets": 16}
    assert (how.preset, how.changed) == ("local", {**SMALL["ape"], **sized, "templates": ["forward.txt"]})
    assert how.settings["templates"]["files"]["forward.txt"].startswith("{{demos}}")
    assert resume_comparison(result.id).methods == result.methods


def test_prompts_that_nobody_proposed_are_no_proposals(tmp_path: Path) -> None:
    lm = toy.model()
    (tmp_path / "prompts.txt").write_text(f"Say it.\n{toy.BEST}", encoding="utf-8")
    given = {"manual": {"prompts": tmp_path / "prompts.txt"}}
    (manual,) = compare([small()], lm, methods=["manual"], n_seeds=1, max_tokens=LIMIT, settings=given).runs
    assert (manual.result.op, manual.proposals, manual.discarded) == ("manual", 0, 0)
    settings = {"ape": {**SMALL["ape"], "shots": 2}}
    showing = replace(small(), layout=toy.SHOWING)
    (ape,) = compare([showing], lm, methods=["ape"], n_seeds=1, max_tokens=LIMIT, settings=settings).runs
    with Store() as store:
        origins = [candidate.op for candidate in store.runs.candidates(ape.result.run_id)]
    assert "examples" in origins
    by_nobody = ("seed", "examples", "with examples", "without examples")
    proposed = [op for op in origins if op not in by_nobody]
    assert ape.proposals == len(proposed) + ape.discarded


def test_a_run_with_other_meta_prompts_is_not_taken() -> None:
    lm = toy.model()
    first = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    with Store() as store:
        (record,) = store.runs.all()
        store.runs.update(record.id, configuration={**record.configuration, "meta_prompts": "those of before"})
    again = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    assert again.runs[0].result.run_id != first.runs[0].result.run_id


def test_an_engine_that_dies_before_the_first_run_is_named_with_method_and_task() -> None:
    class Dying(ScriptedLM):
        """A local model by its looks, which dies while its speed is measured."""

        def prefill_rate(self, n_tokens: int = 512) -> float:
            raise RequestsDied("request 0 killed the engine", "update llama.cpp", [None])

    with pytest.raises(RequestsDied, match="random on the task toy: request 0 killed the engine") as error:
        compare([small()], Dying(), methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    assert (error.value.message, error.value.hint) == (str(error.value), "update llama.cpp")


@pytest.mark.parametrize(("key", "value"), [("meta_prompts", "those of before"), ("search", 1)])
def test_a_comparison_with_other_meta_prompts_or_an_older_search_is_not_gone_on_with(key: str, value: object) -> None:
    lm = toy.model()
    first = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    with Store() as store:
        (record,) = store.runs.all()
        store.runs.update(record.id, configuration={**record.configuration, key: value})
    with pytest.raises(RunMismatch, match="when the run started") as error:
        resume_comparison(first.id, model=lm)
    assert error.value.hint.startswith("call `localprompt compare`")


def test_a_run_of_the_search_form_before_is_no_run_of_a_new_comparison() -> None:
    lm = toy.model()
    first = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    with Store() as store:
        (record,) = store.runs.all()
        store.runs.update(record.id, configuration={**record.configuration, "search": 3})
    again = compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    assert again.runs[0].result.run_id != first.runs[0].result.run_id


@pytest.mark.parametrize("is_finished", [True, False])
def test_what_is_left_of_a_comparison_is_not_searched_in_another_form_than_the_rest(is_finished: bool) -> None:
    lm = toy.model()
    first = compare([small()], lm, methods=["random"], n_seeds=2, max_tokens=LIMIT, settings=ONE)
    with Store() as store:
        for record in store.runs.all():
            store.runs.update(record.id, configuration={**record.configuration, "search": 10})
        store.runs.update(first.runs[1].result.run_id, status="finished" if is_finished else "paused")
    if is_finished:
        assert len(resume_comparison(first.id).runs) == 2
    else:
        with pytest.raises(RunMismatch, match="the version of its methods was 10") as error:
            resume_comparison(first.id, model=lm)
        assert error.value.hint.startswith("call `localprompt compare`")


def test_an_interrupted_comparison_is_paused_in_the_store() -> None:
    lm = toy.model(answer=toy.failing(KeyboardInterrupt(), 5))
    with pytest.raises(KeyboardInterrupt):
        compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    with Store() as store:
        (study,) = store.studies.all("comparison")
    assert study.status == "paused"
    resume_comparison(study.id, model=toy.model())
    with Store() as store:
        assert store.studies.get("comparison", study.id).status == "finished"


def test_where_a_row_does_not_fit_no_run_is_entered() -> None:
    long = replace(other(small()), dev=(*small().dev, Example("dev:99", {"input": "alpha " * 9000}, ("omega",))))
    with pytest.raises(ContextOverflow, match="random on the task other: the example dev:99 has"):
        compare([small(), long], toy.model(), methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    with Store() as store:
        assert store.runs.all() == []


def test_a_proposer_for_a_comparison_without_one_is_refused() -> None:
    result = compare([small()], toy.model(), methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)
    with pytest.raises(ConfigError, match="has no proposer of its own"):
        resume_comparison(result.id, proposer=toy.model(name="writer"))


def test_what_was_imported_takes_no_part(tmp_path: Path) -> None:
    """A forged run has the identity of ours, another's result, and the name of our comparison."""

    def run(store: str, model: ScriptedLM) -> Comparison:
        return compare(
            [small()], model, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE, store=tmp_path / store
        )

    forged = run("elsewhere", toy.model(answer=lambda prompt, seed: "wrong")).runs[0].result.run_id
    with Store(tmp_path / "elsewhere") as store:
        store.runs.export(forged, tmp_path / "file")
    with Store(tmp_path / "here") as store:
        store.runs.import_(tmp_path / "file")
    mine = run("here", toy.model())
    assert mine.runs[0].result.best == Prompt(toy.BEST)
    with Store(tmp_path / "here") as store:
        (own,) = [record for record in store.runs.all() if not record.imported]
        assert own.id == mine.runs[0].result.run_id != forged
        store.runs.delete(own.id)
    with pytest.raises(StoreError, match="are gone"):
        resume_comparison(mine.id, store=tmp_path / "here")


def test_a_finished_run_that_a_process_has_is_not_gone_on_with_behind_its_back() -> None:
    lm = toy.model()
    alone = runs.optimize(small(), lm, method="random", max_tokens=LIMIT, settings=SMALL["random"])
    in_use = pytest.raises(RunInUse, match=f"{alone.run_id} is in use by process")
    with Store() as store, store.runs.hold(alone.run_id), in_use:
        compare([small()], lm, methods=["random"], n_seeds=1, max_tokens=LIMIT, settings=ONE)


def test_the_same_call_in_another_process_leaves_a_comparison_to_the_one_that_works(tmp_path: Path) -> None:
    path, statuses = tmp_path / "here.db", list[str]()

    def run(model: ScriptedLM) -> Comparison:
        return compare([small()], model, methods=METHODS, n_seeds=1, max_tokens=LIMIT, settings=SMALL, store=path)

    def answer(prompt: str, seed: int) -> str:
        if not statuses:
            statuses.append("begun")
            with pytest.raises(RunInUse, match="in use by process"):
                run(toy.model())
            with Store(path) as store:
                statuses.extend(each.status for each in store.studies.all("comparison"))
        return toy.answer(prompt, seed)

    result = run(toy.model(answer=answer))
    assert statuses == ["begun", "running"]
    assert (len(result.runs), result.failures) == (len(METHODS), ())


def test_a_run_that_was_deleted_is_missed() -> None:
    result = compare([small()], toy.model(), methods=METHODS, n_seeds=1, max_tokens=LIMIT, settings=SMALL)
    with Store() as store:
        store.runs.delete(result.runs[0].result.run_id)
    with pytest.raises(StoreError, match="1 runs of the comparison"):
        resume_comparison(result.id)


def test_costs_are_expected_for_each_method_within_the_budget() -> None:
    lm = toy.model()
    costs = expected_costs([small()], lm, methods=METHODS, max_tokens=LIMIT, settings=SMALL)
    assert [(each.task, each.method) for each in costs] == [("toy", "ape"), ("toy", "random")]
    assert all(0 < each.cost.tokens_computed <= LIMIT for each in costs)
    assert lm.seen == []


def test_rows_that_were_measured_in_another_order_are_paired_with_themselves(tmp_path: Path) -> None:
    def some(prompt: str, seed: int) -> str:
        number = int(prompt.rpartition("alpha")[2].partition("\n")[0] or 0) if prompt.endswith("Output:") else 0
        knows = number % 2 == 0 or ("omega that" in prompt and number % 3 == 0)
        return toy.answer(prompt, seed) if toy.is_asked_to_write(prompt) else f" omega{number if knows else ''}\n"

    with Store(tmp_path / "s") as store:
        failing = toy.model(answer=toy.failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            compare([small(test=40)], failing, n_seeds=1, store=store, max_tokens=LIMIT, methods=["ape"])
        (run,) = store.runs.all()
        cut = resume(run.id, model=toy.model(answer=some), max_minutes=1e-5, store=store)
        assert toy.on_test(cut).best.n < 40
        whole = resume(run.id, model=toy.model(answer=some), max_minutes=30, store=store)
        (study,) = store.studies.all("comparison")
        (row,) = resume_comparison(study.id, store=store).rows
    assert row.from_seed == toy.on_test(whole).difference
    assert 0 < row.from_seed.mean < 0.5
