"""Going on with runs, and repeating them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import toy

from localprompt.comparison import plan as comparing
from localprompt.errors import ConfigError, ContextOverflow, ModelError, RunMismatch, StoreError, TaskError
from localprompt.lm import loading
from localprompt.lm.base import ModelFacts
from localprompt.lm.loading import scheme
from localprompt.lm.scripted import ScriptedLM
from localprompt.run import api as runs
from localprompt.run import config as configuration
from localprompt.run import resume as resuming
from localprompt.run.execute import TEST_SEEN
from localprompt.run.inlined import write_files
from localprompt.store import Store
from localprompt.tasks import Task, load_task
from localprompt.tasks.stored import from_plain, to_plain
from localprompt.types import Prompt

TESTS = Path(__file__).parents[1]
Answer = Callable[[str, int], str]


def _interrupted(error: BaseException | None = None, **choices: Any) -> str:
    """Return the id of a run that did not reach its end."""
    error = error or KeyboardInterrupt()
    with pytest.raises(type(error)):
        runs.optimize(toy.task(), toy.model(answer=toy.failing(error, 150)), **{"method": "ape", **choices})
    with Store() as store:
        return store.runs.all()[0].id


@pytest.mark.parametrize(
    ("error", "status", "stopped"),
    [(KeyboardInterrupt(), "paused", "interrupted"), (ModelError("it broke"), "failed", "it broke")],
)
def test_a_run_that_ends_early_says_why_and_goes_on(error: BaseException, status: str, stopped: str) -> None:
    run_id = _interrupted(error)
    with Store() as store:
        record = store.runs.get(run_id)
    assert (record.status, record.stopped) == (status, stopped)
    whole = runs.optimize(toy.task(), toy.model(name="scripted"), method="ape", use_cache=False)
    resumed = resuming.resume(run_id[:4], model=toy.model())
    assert (resumed.run_id, resumed.best, resumed.test) == (run_id, whole.best, whole.test)
    assert resumed.spend.tokens_requested == whole.spend.tokens_requested
    with Store() as store:
        assert store.runs.get(run_id).status == "finished"


def test_what_is_said_of_going_on_names_what_is_needed_for_it() -> None:
    diary = toy.Diary()
    run_id = _interrupted(settings={"queries": 8}, observer=diary)
    assert diary.notes[-1] == f"`localprompt resume {run_id} --model MODEL` continues from here"


def test_a_run_without_the_cache_is_resumed_from_its_own_answers() -> None:
    run_id = _interrupted(use_cache=False)
    lm = toy.model()
    resumed = resuming.resume(run_id, model=lm)
    assert resumed.spend.answers_cached > 0
    assert lm.n_generated + lm.n_scored < resumed.spend.answers + 240


def test_a_run_whose_model_was_moved_goes_on_later_without_being_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, opened = _interrupted(), list[str]()

    @contextmanager
    def opening(source: str | Path, **_: object) -> Iterator[ScriptedLM]:
        opened.append(str(source))
        yield toy.model(answer=toy.failing(KeyboardInterrupt(), 40)) if len(opened) == 1 else toy.model()

    monkeypatch.setattr(loading, "open_model", opening)
    with pytest.raises(KeyboardInterrupt):
        resuming.resume(run_id, model="/moved.gguf")
    assert resuming.resume(run_id).test is not None
    assert opened == ["/moved.gguf"] * 2


def test_a_finished_run_gives_its_result_without_a_model() -> None:
    result = runs.optimize(toy.task(), toy.model())
    observer = toy.Diary()
    assert resuming.resume(result.run_id, observer=observer) == result
    assert observer.lines == [f"the run {result.run_id} is finished"]


def test_a_finished_run_begins_anew_by_force() -> None:
    result = runs.optimize(toy.task(), toy.model())
    assert resuming.resume(result.run_id, model=toy.model(), force=True) == result, "nothing differs from then"
    lm = toy.model(name="another")
    assert resuming.resume(result.run_id, model=lm, force=True).model == "another"
    assert lm.n_generated > 0


def test_other_meta_prompts_are_another_search() -> None:
    finished, run_id = runs.optimize(toy.task(), toy.model(), method="ape").run_id, _interrupted(use_cache=False)
    with Store() as store:
        for each in (finished, run_id):
            changed = {**store.runs.get(each).configuration, "meta_prompts": "those of before"}
            store.runs.update(each, configuration=changed)
    with pytest.raises(RunMismatch, match="of the meta-prompts of ape was 'those of before' when"):
        resuming.resume(run_id, model=toy.model())
    with pytest.raises(RunMismatch, match="the meta-prompts of ape was"):
        resuming.replay(finished)
    assert resuming.replay(finished, force=True).best == Prompt(toy.BEST)
    assert resuming.resume(run_id, model=toy.model(), force=True).status == "finished"
    assert resuming.replay(run_id).best == Prompt(toy.BEST), "it is of the meta-prompts of now"


def test_a_paused_run_goes_on() -> None:
    paused = runs.optimize(toy.task(), toy.model(), pause_after=1e-9)
    assert paused.status == "paused"
    again = resuming.resume(paused.run_id, model=toy.model(), pause_after=1e-9)
    assert again.status == "paused"
    whole = resuming.resume(paused.run_id, model=toy.model())
    assert (whole.status, whole.stopped, whole.best) == ("finished", "", Prompt(toy.BEST))


def test_the_replay_of_an_unfinished_run_ends_where_its_answers_end() -> None:
    result = resuming.replay(_interrupted())
    assert (result.status, result.test, result.verdict) == ("paused", None, "not measured on test")
    assert "answers that the store has" in result.stopped
    assert json.loads(json.dumps(result.to_json()))["test"] is None
    assert type(result).from_json(result.to_json()) == result


def test_another_model_is_named_and_with_force_everything_is_found_anew() -> None:
    run_id = _interrupted()
    with pytest.raises(RunMismatch, match="model differs: fingerprint was 'scripted-scripted'"):
        resuming.resume(run_id, model=toy.model(name="other"))
    other = toy.model(name="other")
    forced = resuming.resume(run_id, model=other, force=True)
    assert (forced.model, forced.spend.answers_cached) == ("other", forced.spend.answers - other_answers(other))
    assert resuming.replay(run_id).best == forced.best


def other_answers(lm: ScriptedLM) -> int:
    """Answers of a search: all but those of noise and test, 40 of each prompt, and of 4 unused rows for 4 prompts."""
    return lm.n_generated + lm.n_scored - 5 * 40 - 4 * 4


def test_a_run_that_was_begun_anew_with_another_model_goes_on_with_that_one() -> None:
    answers = {name: toy.failing(KeyboardInterrupt(), 150) for name in ("first", "second")}

    def load(name: str, **engine: object) -> ScriptedLM:
        return toy.model(name=name, answer=answers.pop(name, toy.answer))

    with scheme("toy", load):
        with pytest.raises(KeyboardInterrupt):
            runs.optimize(toy.task(), "toy:first", method="ape")
        with Store() as store:
            run_id = store.runs.all()[0].id
        with pytest.raises(KeyboardInterrupt):
            resuming.resume(run_id, model="toy:second", force=True)
        assert resuming.resume(run_id).model == "second"


def test_what_is_found_anew_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, lm = _interrupted(), toy.model()
    monkeypatch.setattr(configuration, "__version__", "99")
    forced = resuming.resume(run_id, model=lm, force=True)
    assert len(lm.seen) == forced.spend.answers - forced.spend.answers_cached + forced.final_evaluation.answers
    assert forced.spend.answers_cached < forced.spend.answers / 10, "of this run's own alone"
    assert resuming.replay(run_id).best == forced.best


def test_a_run_begun_anew_shows_the_names_of_now_and_no_old_result() -> None:
    run_id = runs.optimize(toy.task(), toy.model(), max_calls=100).run_id
    other = replace(toy.task(), name="other", fingerprint="other", description="Something else.")
    lm = toy.model(name="another", answer=toy.failing(KeyboardInterrupt(), 150))
    with pytest.raises(RunMismatch, match="task differs"):
        resuming.resume(run_id, model=toy.model(), task=other, max_calls=1000)
    with pytest.raises(KeyboardInterrupt):
        resuming.resume(run_id, model=lm, task=other, max_calls=1000, force=True)
    with Store() as store:
        record = store.runs.get(run_id)
    assert (record.task, record.model, record.proposer, record.result) == ("other", "another", "another", None)
    assert record.configuration["task"]["description"] == "Something else."
    resumed = resuming.resume(run_id, model=toy.model(name="another"))
    assert (resumed.task, resumed.model, resumed.notes) == ("other", "another", (TEST_SEEN,))


def _small_context() -> ScriptedLM:
    lm = toy.model(name="small")
    lm.n_ctx = 20
    return lm


@pytest.mark.parametrize(
    ("lm", "error"),
    [
        (_small_context(), ContextOverflow),
        (toy.model(name="other", answer=toy.failing(ModelError("gone"))), ModelError),
        (toy.model(name="other", answer=toy.failing(KeyboardInterrupt())), KeyboardInterrupt),
    ],
)
def test_a_result_stays_until_the_search_that_replaces_it_begins(lm: ScriptedLM, error: type[BaseException]) -> None:
    result = runs.optimize(toy.task(), toy.model(), max_calls=100)
    with Store() as store:
        before, candidates = store.runs.get(result.run_id), store.runs.candidates(result.run_id)
    with pytest.raises(error):
        resuming.resume(result.run_id, model=lm, max_minutes=5, force=True)
    with Store() as store:
        after = store.runs.get(result.run_id)
        assert (replace(after, updated=before.updated), store.runs.candidates(result.run_id)) == (before, candidates)
    assert resuming.resume(result.run_id) == result


def test_a_finished_run_that_is_interrupted_before_its_search_goes_on_keeps_its_limits() -> None:
    result = runs.optimize(toy.task(), toy.model(), max_calls=100)
    with pytest.raises(KeyboardInterrupt):
        resuming.resume(
            result.run_id, model=toy.model(answer=toy.failing(KeyboardInterrupt())), max_calls=1000, max_minutes=5
        )
    with Store() as store:
        record = store.runs.get(result.run_id)
    assert (record.status, record.configuration["limits"]["max_calls"]) == ("finished", 100)
    assert resuming.replay(result.run_id).status == "finished"
    assert resuming.resume(result.run_id, model=toy.model(), max_calls=1000).spend.calls > 100


def test_another_task_with_the_same_test_rows_has_them_seen() -> None:
    def resumed(task: Task) -> tuple[str, ...]:
        result = runs.optimize(toy.task(), toy.model(), use_cache=False)
        return resuming.resume(result.run_id, model=toy.model(), task=task, force=True).notes

    given = toy.task()
    assert resumed(replace(given, train=given.train[5:], fingerprint="")) == (TEST_SEEN,)
    assert resumed(replace(given, test=given.test[:30], fingerprint="")) == (TEST_SEEN,)
    rows = tuple(replace(each, inputs={"input": f"alpha{n}0"}) for n, each in enumerate(given.test, start=100))
    assert TEST_SEEN not in resumed(replace(given, test=rows, fingerprint=""))


def test_a_task_with_other_seed_prompts_is_another_task() -> None:
    run_id, other = _interrupted(), replace(toy.task(), seeds=(Prompt("Say something kind."),))
    for again in (partial(resuming.resume, model=toy.model()), resuming.replay):
        with pytest.raises(RunMismatch, match="the task differs"):
            again(run_id, task=other)
    assert resuming.resume(run_id, model=toy.model(), task=other, force=True).seed_prompt == other.seeds[0]
    assert resuming.replay(run_id).seed_prompt == other.seeds[0]
    compared = comparing.compare([toy.task()], toy.model(), methods=["ape"], max_tokens=5_000, n_seeds=1)
    (first,) = compared.runs
    resuming.resume(first.result.run_id, model=toy.model(), task=other, force=True)
    (second,) = comparing.compare([toy.task()], toy.model(), methods=["ape"], max_tokens=5_000, n_seeds=1).runs
    assert second.result.seed_prompt == toy.task().seeds[0]


@pytest.mark.parametrize(("form", "is_refused"), [(6, False), (5, False), (4, False), (3, False), (2, True)])
def test_a_run_of_the_form_before_is_repeated_and_an_older_one_is_not(form: int, is_refused: bool) -> None:
    first = runs.optimize(toy.task(), toy.model(), max_calls=100)
    with Store() as store:
        found = store.runs.get(first.run_id).configuration
        store.runs.update(first.run_id, configuration={**found, "search": form})
    for again in (resuming.replay, partial(resuming.resume, model=toy.model(), max_calls=200)):
        if is_refused:
            with pytest.raises(RunMismatch, match="the version of its methods was 2"):
                again(first.run_id)
        else:
            assert again(first.run_id).run_id == first.run_id


@pytest.mark.parametrize("limit", ["max_tokens", "max_calls"])
def test_a_smaller_limit_does_not_replace_the_result_of_a_finished_search(limit: str) -> None:
    whole = runs.optimize(toy.task(), toy.model())
    with pytest.raises(ConfigError, match=r"has spent [\d,]+ (tokens|calls), and 20 would replace its result by less"):
        resuming.resume(whole.run_id, model=toy.model(), **{limit: 20})  # type: ignore[arg-type]
    assert resuming.resume(whole.run_id, model=toy.model()).best == whole.best


def test_a_search_that_ended_before_its_limit_is_not_repeated_for_a_larger_one() -> None:
    first, diary = runs.optimize(toy.task(), toy.model(), method="ape", max_calls=20_000), toy.Diary()
    assert (first.stopped, first.spend.calls < 20_000) == ("", True)
    silent = toy.model(answer=toy.failing(ModelError("it was asked")))
    again = resuming.resume(first.run_id, model=silent, max_calls=30_000, observer=diary)
    assert again.to_json() == first.to_json()
    assert f"`--from {first.run_id}`" in diary.notes[-1]
    resuming.resume(first.run_id, model=silent, pause_after=5, observer=diary)
    assert diary.notes[-1].endswith("is finished, and nothing has changed since")


def test_an_interrupted_run_keeps_the_result_that_it_has_from_a_smaller_limit() -> None:
    first = runs.optimize(toy.task(), toy.model(), max_calls=100)
    with pytest.raises(KeyboardInterrupt):
        resuming.resume(first.run_id, model=toy.model(answer=toy.failing(KeyboardInterrupt())), max_calls=1000)
    with Store() as store:
        assert store.runs.get(first.run_id).status == "paused"
    with pytest.raises(ConfigError, match="and 50 would replace its result by less"):
        resuming.resume(first.run_id, model=toy.model(), max_calls=50)
    assert resuming.resume(first.run_id, model=toy.model()).spend.calls > first.spend.calls


def test_a_run_that_goes_on_is_tested_on_no_fewer_rows_than_before() -> None:
    first = runs.optimize(toy.task(), toy.model(), max_minutes=1)
    assert (toy.on_test(first).best.n, first.runner_up is None) == (40, False)
    with Store() as store:  # as if the minutes had ended its search
        store.runs.update(first.run_id, result={**first.to_json(), "refused": [10**6]})
    again = resuming.resume(first.run_id, model=toy.model(), max_minutes=1e-5)
    assert toy.on_test(again).best.n == 40
    assert again.runner_up == first.runner_up


def test_a_search_that_goes_on_after_its_test_score_was_known_says_so() -> None:
    first = runs.optimize(toy.task(), toy.model(), max_calls=100)
    assert first.notes == ()
    longer = resuming.resume(first.run_id, model=toy.model(), max_calls=1000)
    assert longer.notes == (TEST_SEEN,)
    assert resuming.replay(first.run_id).notes == (TEST_SEEN,)


def test_an_extended_run_is_estimated_anew() -> None:
    first = runs.optimize(toy.task(), toy.model(), preset="paper", max_calls=100, method="ape")
    longer = resuming.resume(first.run_id, model=toy.model(), max_calls=1000)
    assert first.expected is not None
    assert longer.expected is not None
    assert first.expected.evaluations <= 100 < longer.expected.evaluations <= 1000
    assert longer.expected == runs.dry_run(toy.task(), toy.model(), preset="paper", max_calls=1000, method="ape")


def test_a_replay_writes_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        run_id = runs.optimize(toy.task(), toy.model(), store=store).run_id
        store.runs.export(run_id, tmp_path / "run")
    with Store(tmp_path / "other") as other:
        other.runs.import_(tmp_path / "run")
    connection = sqlite3.connect(tmp_path / "s")
    connection.execute("DELETE FROM run_answers")
    connection.commit()
    resuming.replay(run_id, store=tmp_path / "s")
    assert connection.execute("SELECT count(*) FROM run_answers").fetchone() == (0,)
    connection.close()
    assert resuming.replay(run_id, store=tmp_path / "other").status == "finished", "imported answers are read"


def test_the_answers_of_a_run_are_its_own_before_it_is_called_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    runs.optimize(toy.task(), toy.model())
    n_used: list[int] = []
    with Store() as store:
        update = store.runs.update

        def spying(run_id: str, **changes: Any) -> None:
            with sqlite3.connect(store.path) as connection:
                n_used.extend(connection.execute("SELECT count(*) FROM run_answers WHERE run = 2").fetchone())
            connection.close()
            update(run_id, **changes)

        monkeypatch.setattr(store.runs, "update", spying)
        runs.optimize(toy.task(), toy.model(), store=store)
    assert n_used[0] == 0 < n_used[-1]


def test_a_setting_of_the_engine_that_changed_is_named() -> None:
    class Tuned(ScriptedLM):
        n_ubatch = 512

        @property
        def facts(self) -> ModelFacts:
            return replace(super().facts, identity={"file": "abc", "n_ubatch": self.n_ubatch})

    lm = Tuned(answer=toy.failing(KeyboardInterrupt(), 150))
    with pytest.raises(KeyboardInterrupt):
        runs.optimize(toy.task(), lm)
    with Store() as store:
        run_id = store.runs.all()[0].id
    other = Tuned()
    other.fingerprint, other.n_ubatch = "another", 256
    with pytest.raises(RunMismatch, match="n_ubatch was 512 when the run started, now 256"):
        resuming.resume(run_id, model=other)


def test_a_model_is_loaded_again_with_the_settings_of_then() -> None:
    loaded: list[tuple[str, dict[str, object]]] = []

    class Tuned(ScriptedLM):
        @property
        def facts(self) -> ModelFacts:
            return replace(super().facts, identity={"file": "abc", "llama_cpp": "1", "n_ctx": 9999})

    def load(name: str, **engine: object) -> ScriptedLM:
        loaded.append((name, engine))
        answer = toy.failing(KeyboardInterrupt(), 150) if len(loaded) == 1 else toy.answer
        return Tuned(answer=answer, logprob=toy.logprob, name="tuned")

    with scheme("toy", load):
        with pytest.raises(KeyboardInterrupt):
            runs.optimize(toy.task(), "toy:1", engine={"n_ctx": 9999})
        with Store() as store:
            run_id = store.runs.all()[0].id
        resuming.resume(run_id)
    assert loaded == [("1", {"n_ctx": 9999})] * 2


def test_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    finished, run_id = runs.optimize(toy.task(), toy.model()).run_id, _interrupted(use_cache=False)
    monkeypatch.setattr(configuration, "__version__", "99")
    with pytest.raises(RunMismatch, match=r"version of localprompt was .* now '99'"):
        resuming.resume(run_id, model=toy.model())
    with pytest.raises(RunMismatch, match="version"):
        resuming.replay(finished)
    assert resuming.replay(finished, force=True).best == Prompt(toy.BEST)
    assert resuming.resume(run_id, model=toy.model(), force=True).status == "finished"


def test_a_run_of_a_loaded_model_says_which_one_is_missing() -> None:
    with pytest.raises(ConfigError, match="used a loaded model, 'scripted'"):
        resuming.resume(_interrupted())
    with pytest.raises(ConfigError, match="no proposer of its own"):
        resuming.resume(_interrupted(), model=toy.model(), proposer=toy.model())


def test_a_run_that_another_process_has_is_refused_and_not_changed() -> None:
    run_id = _interrupted()
    with Store() as first, first.runs.hold(run_id), pytest.raises(StoreError, match=f"process {os.getpid()}"):
        resuming.resume(run_id, model=toy.model(), max_calls=7)
    with Store() as store:
        assert store.runs.get(run_id).configuration["limits"]["max_calls"] is None


def test_files_that_settings_name_need_not_be_there_later(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    text = tmp_path / "mine" / "forward.txt"
    text.write_text("{{demos}}\n\nIt is to", encoding="utf-8")
    result = runs.optimize(toy.task(), toy.model(), settings={"templates": tmp_path / "mine"}, method="ape")
    text.unlink()
    again = resuming.replay(result.run_id)
    assert replace(again, spend=result.spend, final_evaluation=result.final_evaluation) == result


def test_a_file_that_is_too_large_to_be_kept_with_a_run_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("Say it. " * 150_000, encoding="utf-8")
    silent, settings = toy.model(answer=toy.failing(ModelError("it was asked"))), {"prompts": tmp_path / "prompts.txt"}
    with pytest.raises(ConfigError, match=r"prompts\.txt has a text of more than 1,048,576 characters"):
        runs.optimize(toy.task(), silent, method="manual", settings=settings)


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/b.txt", "..", "", "x" * 200])
def test_an_imported_run_writes_no_file_elsewhere(name: str, tmp_path: Path) -> None:
    settings = {"templates": {"files": {name: "text"}, "folder": True}}
    with pytest.raises(StoreError, match="invalid file"):
        write_files(settings, tmp_path / "in")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("damage", ["task", "model", "seed", "settings", "limits", "version"])
def test_a_damaged_configuration_is_one_sentence(damage: str) -> None:
    run_id = _interrupted()
    with Store() as store:
        plain = dict(store.runs.get(run_id).configuration)
        store.runs.update(run_id, configuration={**plain, damage: ["?"]})
    with pytest.raises(StoreError, match="damaged"):
        resuming.resume(run_id, model=toy.model())
    with pytest.raises(StoreError, match="damaged"):
        resuming.replay(run_id)


def test_a_task_survives_as_plain_data(tmp_path: Path) -> None:
    rows = [json.dumps({"word": f"w{n}", "target": f"t{n}"}) for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "task.yaml").write_text(
        "data: {file: rows.jsonl, fields: {word: word}}\nanswer: {after_marker: 'A:'}\nmetric: token_f1\n"
        "prompts: [Say it., {instruction: Go., demos: [{word: a, output: b}]}]\n",
        encoding="utf-8",
    )
    task = load_task(tmp_path / "task.yaml")
    assert from_plain(json.loads(json.dumps(to_plain(task)))) == task


def test_what_was_doubtful_about_the_data_is_kept_and_an_older_run_has_nothing_of_it() -> None:
    doubtful = replace(toy.task(), doubts=("rows.csv: 3 rows take 5 lines",))
    plain = to_plain(doubtful)
    assert from_plain(plain) == doubtful
    del plain["doubts"]
    assert from_plain(plain) == toy.task()


def test_a_metric_that_is_code_needs_permission_again(tmp_path: Path) -> None:
    (tmp_path / "my_metric_of_resume.py").write_text("def right(p, t):\n    return float(p in t)\n", encoding="utf-8")
    rows = [json.dumps({"input": f"w{n}", "target": f"t{n}"}) for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "task.yaml").write_text("data: {file: rows.jsonl}\nmetric: my_metric_of_resume:right\n")
    plain = to_plain(load_task(tmp_path / "task.yaml", allow_code=True))
    with pytest.raises(TaskError, match="is code and was not run"):
        from_plain(plain)
    assert from_plain(plain, allow_code=True).metric("t1", ("t1",)) == 1.0
    with pytest.raises(TaskError, match="has changed"):
        from_plain({**plain, "metric": {**plain["metric"], "hash": "other"}}, allow_code=True)


def test_a_task_judged_by_a_function_of_the_users_has_to_be_given_again() -> None:
    given = replace(toy.task(), answer=str.strip)
    result = runs.optimize(given, toy.model())
    with pytest.raises(TaskError, match="answer is a Python object"):
        resuming.replay(result.run_id)
    assert resuming.replay(result.run_id, task=given).best == result.best
    with pytest.raises(RunMismatch, match="task differs"):
        resuming.replay(result.run_id, task=replace(given, fingerprint="other"))


RUN = """
import sys, time, toy
from localprompt.run import api as runs

def answer(prompt, seed):
    print("answering", flush=True)
    time.sleep(0.002)
    return toy.answer(prompt, seed)

runs.optimize(toy.task(), toy.model(answer=answer), store=sys.argv[1])
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.4])
def test_a_process_that_is_killed_loses_nothing_that_was_committed(delay_s: float, tmp_path: Path) -> None:
    path = tmp_path / "killed.sqlite"
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    process = subprocess.Popen([sys.executable, "-c", RUN, str(path)], env=environment, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"answering\n"
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
    with Store(path) as store:
        (killed,) = store.runs.all()
        assert store.check() == []
    assert killed.status == "running"
    resumed = resuming.resume(killed.id, model=toy.model(), store=path)
    whole = runs.optimize(toy.task(), toy.model(), store=tmp_path / "whole.sqlite")
    assert replace(resumed, spend=whole.spend, final_evaluation=whole.final_evaluation) == whole
    assert resumed.spend.tokens_requested == whole.spend.tokens_requested
