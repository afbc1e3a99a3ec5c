"""The report of a run has all that the store has of it, in a fixed shape, and no more than it has room for."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_worlds
import toy

import localprompt
from localprompt.reports import run_report as reports
from localprompt.reports.run_report import RunReport, run_report
from localprompt.run.history import RunHistory, read_history
from localprompt.run.journal import RunJournal
from localprompt.run.results import RunResult
from localprompt.run.spec import Limits
from localprompt.store import Store
from localprompt.store.records import Mark
from localprompt.types import Evaluation, Outcome, Prompt, Spend

DOCS = Path(__file__).parents[2] / "docs" / "report.md"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store") / "it.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def history(store: Store) -> RunHistory:
    return read_history(store, localprompt.optimize(toy.task(), toy.model(), method="ape", store=store).run_id)


@pytest.fixture(scope="module")
def report(history: RunHistory, store: Store) -> RunReport:
    return run_report(history, store.path)


def of(history: RunHistory, **changes: Any) -> RunReport:
    return run_report(replace(history, **changes), Path("it.db"))


def result_of(history: RunHistory) -> RunResult:
    assert history.result is not None
    return history.result


def test_every_candidate_is_there_with_its_scores_and_its_fate(report: RunReport, history: RunHistory) -> None:
    found = result_of(history)
    assert [each.prompt_id for each in report.candidates] == [each.prompt.id for each in history.candidates]
    fates = {each.fate: each for each in report.candidates}
    assert fates["found"].prompt == found.best
    assert fates["seed"].prompt == found.seed_prompt
    assert found.runner_up is not None
    assert fates["runner-up"].prompt == found.runner_up.prompt
    assert (fates["found"].mean, fates["found"].n) == (1.0, 40)
    assert all(each.n == len(each.rows) == len(each.scores) for each in report.candidates)
    for each, candidate in zip(report.candidates, history.candidates, strict=True):
        assert [report.candidates[parent].prompt_id for parent in each.parents] == [
            parent for parent in candidate.parents if parent in {other.prompt.id for other in history.candidates}
        ]
    assert {report.dev[row].example_id for each in report.candidates for row in each.rows} == {
        each.example_id for each in report.dev
    }
    assert all(each.example_id.startswith("dev:") for each in report.dev)


def test_the_best_so_far_is_the_trajectory_of_the_result(report: RunReport, history: RunHistory) -> None:
    expected = [(each.mean, each.n, each.tokens_computed) for each in result_of(history).trajectory]
    assert [(each.mean, each.n, each.tokens) for each in report.best_so_far] == expected
    assert all(each.seconds is not None for each in report.best_so_far)


def test_a_run_without_a_result_has_its_best_so_far_from_what_was_measured_on_most(history: RunHistory) -> None:
    found = of(history, result=None, test_rows=())
    means = [each.mean for each in found.best_so_far]
    assert means == sorted(means)
    assert {each.n for each in found.best_so_far} == {40}
    assert means[-1] == 1.0
    assert {each.fate for each in found.candidates} <= {"measured", "not measured"}
    assert found.to_json()["result"] is None


def test_test_rows_are_those_of_the_store(report: RunReport, history: RunHistory) -> None:
    assert len(report.rows) == len(history.test_rows) == 40
    assert {each.change for each in report.rows} == {"fixed"}
    assert report.rows[0].after.completion is not None


def test_labels_have_a_confusion_matrix(store: Store) -> None:
    task = toy.task(labels=("even", "odd"))
    found = run_report(read_history(store, localprompt.optimize(task, toy.model(), store=store).run_id), store.path)
    assert found.confusion is not None
    assert (found.confusion.labels, found.confusion.answers) == (("even", "odd"), ("even", "odd"))
    for matrix in (found.confusion.before, found.confusion.after):
        assert [sum(line) for line in matrix] == [20, 20]


def test_the_confusion_matrices_count_each_row_once_and_rows_without_an_answer_in_a_column_of_their_own(
    tmp_path: Path,
) -> None:
    with Store(tmp_path / "it.db") as store:
        run_id = report_worlds.WORLDS["labels"].build(store)
        report = run_report(read_history(store, run_id), store.path)
        unread, best = report.rows[0], result_of(read_history(store, run_id)).best
        outcome = replace(unread.after, prediction=None, score=0.0)
        store.runs.add_evaluations(run_id, "test", [Evaluation(best, (outcome,))])
        report = run_report(read_history(store, run_id), store.path)
    assert report.confusion is not None
    assert report.confusion.labels == report_worlds.LABELS
    assert report.confusion.answers == (*report_worlds.LABELS, "")
    for side, matrix in (("before", report.confusion.before), ("after", report.confusion.after)):
        for label, counts in zip(report.confusion.labels, matrix, strict=True):
            given = [getattr(each, side).prediction or "" for each in report.rows if each.targets[0] == label]
            assert list(counts) == [given.count(answer) for answer in report.confusion.answers]
    assert sum(counts[-1] for counts in report.confusion.after) == 1


def test_answers_that_are_no_closed_set_have_none(report: RunReport) -> None:
    assert report.confusion is None


def test_minutes_never_fall(history: RunHistory) -> None:
    ids = [each.prompt.id for each in history.candidates[:4]]
    marks = (Mark(10, 5.0), Mark(20, 9.0), Mark(30, 8.5), Mark(40, 12.0))  # one was kept before another by a little
    found = of(history, first_measured=dict(zip(ids, marks, strict=True)))
    assert [each.seconds for each in found.candidates[:5]] == [5.0, 9.0, 9.0, 12.0, None]


def test_runs_of_before_have_no_tokens(history: RunHistory) -> None:
    found = of(history, first_measured={})
    assert {each.tokens for each in found.candidates} == {each.seconds for each in found.candidates} == {None}
    assert {each.seconds for each in found.best_so_far} == {None}


def test_what_has_no_room_is_left_out_and_named(history: RunHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_PAIRS", 80)
    monkeypatch.setattr(reports, "MOST_TEXTS", 1)
    found = of(history)
    kept = [each for each in found.candidates if each.scores]
    assert [each.n for each in kept] == [40, 40]
    assert max(each.n for each in found.candidates if not each.scores) == 40  # score and n stay where pairs go
    assert any("the scores of" in text for text in found.left_out)
    assert any("discarded proposals" in text for text in found.left_out)
    assert sum(len(each.texts) for each in found.discards) == 1
    assert sum(each.count for each in found.discards) == len(history.discards)


def test_the_proposer_is_shown_one_request_of_each_kind(report: RunReport, history: RunHistory) -> None:
    assert sum(each.count for each in report.requests) == len(history.exchanges)
    kinds = [each.kind for each in report.requests]
    assert len(set(kinds)) == len(kinds) > 0
    assert all(each.prompt and each.replies for each in report.requests)


def test_commands_are_those_that_make_sense(report: RunReport, history: RunHistory) -> None:
    assert [line.split()[1] for line in report.commands.values()] == ["runs", "replay"]
    assert all(report.run_id in line and "`" not in line for line in report.commands.values())
    stopped = replace(result_of(history), stopped="6 tokens are left")
    assert (
        f"localprompt resume {report.run_id}"
        in of(history, result=stopped).commands["go on with it, with a higher limit"]
    )
    cut = replace(stopped, refused=(7,))  # by its minutes: no other limit helps
    assert "go on with it, with more minutes (--max-minutes)" in of(history, result=cut).commands


def test_a_damaged_run_has_a_report_too(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    with Store(path) as opened:
        run_id = localprompt.optimize(toy.task(), toy.model(), store=opened).run_id
    with sqlite3.connect(path) as file:
        file.execute("UPDATE runs SET configuration = '[]'")
    with Store(path) as opened:
        found = run_report(read_history(opened, run_id), path)
    assert (found.status, found.verdict.headline, found.result) == ("damaged", "This run cannot be read", None)
    assert "runs check" in found.commands["see how far the damage goes"]
    assert found.candidates
    json.dumps(found.to_json(), allow_nan=False)


def test_a_limit_on_tokens_is_the_budget(store: Store) -> None:
    result = localprompt.optimize(toy.task(), toy.model(), max_tokens=3000, store=store)
    found = run_report(read_history(store, result.run_id), store.path)
    assert found.limit == Limits(max_tokens=3000).max_tokens == 3000


def test_every_name_is_documented(report: RunReport) -> None:
    text = DOCS.read_text(encoding="utf-8")
    documented = set(re.findall(r"[a-z][a-z_]*", " ".join(re.findall(r"`([^`]*)`", text))))

    def names(value: Any) -> Iterator[str]:
        if isinstance(value, list):
            for part in value:
                yield from names(part)
        elif isinstance(value, dict):
            for name, part in value.items():
                yield name
                if name not in ("result", "settings", "configuration", "inputs", "commands"):
                    yield from names(part)

    assert not set(names(report.to_json())) - documented


def test_a_later_session_counts_its_seconds_on(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        names = {"task": "t", "model": "m", "proposer": "m", "method": "ape"}
        run_id = store.runs.create({"identity": 1}, seed=0, **names).id
        first, second = (Evaluation(Prompt(text), (Outcome("dev:1", "a", 1.0),)) for text in ("a", "b"))
        store.runs.add_evaluations(run_id, "metric", [first], Mark(10, 5.0))
        journal = RunJournal(store.runs, run_id)
        journal.spend(Spend(tokens_computed=20, seconds=1.5))
        journal.evaluations("metric", [first, second])
        assert store.runs.first_measured(run_id) == {first.prompt.id: Mark(10, 5.0), second.prompt.id: Mark(20, 6.5)}


def test_a_row_with_several_labels_counts_for_the_one_that_was_given(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        run_id = report_worlds.run(store, report_worlds.labels_task(), report_worlds.labels_model())
        record = store.runs.get(run_id)
        rows = [[name, inputs, list(report_worlds.LABELS)] for name, inputs, _ in record.configuration["task"]["test"]]
        task = {**record.configuration["task"], "test": rows}
        store.runs.update(run_id, configuration={**record.configuration, "task": task})
        found = run_report(read_history(store, run_id), store.path).confusion
    assert found is not None
    for matrix in (found.before, found.after):
        assert all(n == 0 for i, counts in enumerate(matrix) for j, n in enumerate(counts) if i != j)
