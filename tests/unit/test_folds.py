"""Cross-validation: each row is tested once, by a prompt that was found without it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.cli.show import print_run
from localprompt.errors import ConfigError, RunInUse, StoreError, TaskError
from localprompt.lm.base import LanguageModel
from localprompt.lm.deadline import Deadline
from localprompt.optimizers import configure
from localprompt.reports.report import find, watch
from localprompt.reports.verdict import verdict_of
from localprompt.run.config import RunConfig
from localprompt.run.folds import without_each_fold
from localprompt.run.history import read_history
from localprompt.run.results import RunResult
from localprompt.run.resume import resume
from localprompt.run.sizing import planned
from localprompt.search.evaluator import Evaluator
from localprompt.store import Store
from localprompt.tasks import Task, load_task
from localprompt.tasks.constant import ConstantAnswer
from localprompt.tasks.stored import from_plain, to_plain
from localprompt.types import Evaluation, Example, Prompt


def _task(train: int = 10, dev: int = 20, folds: int = 5, **changes: Any) -> Task:
    return replace(toy.task(train=train, dev=dev, test=0, **changes), folds=folds)


def _optimized(store: Store, lm: LanguageModel | None = None, **choices: Any) -> RunResult:
    """The quickest of searches: the better of two given prompts."""
    given = replace(_task(), seeds=(localprompt.Prompt(""), localprompt.Prompt(toy.BEST)))
    return localprompt.optimize(given, lm or toy.model(), store=store, method="manual", **choices)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "here.db") as store:
        yield store


class _Places(toy.Diary):
    """Writes down how much the model had seen when searches and their tests began."""

    def __init__(self, lm: toy.Watched) -> None:
        super().__init__()
        self._lm = lm
        self.searches: list[int] = []
        self.tests: list[int] = []

    def note(self, text: str) -> None:
        super().note(text)
        if re.match(r"search \d+ of \d+", text):
            self.searches.append(len(self._lm.seen))

    def stage(self, text: str) -> None:
        super().stage(text)
        if text.startswith("measuring the seed and the winner"):
            self.tests.append(len(self._lm.seen))


def _rows(texts: list[str]) -> set[int]:
    return {int(number) for text in texts for number in re.findall(r"alpha(\d+)", text)}


def _inputs(examples: tuple[Example, ...]) -> list[str]:
    return [example.inputs["input"] for example in examples]


def test_every_row_is_tested_once_by_a_prompt_that_was_found_without_it() -> None:
    lm = toy.Watched()
    places = _Places(lm)
    result = localprompt.optimize(_task(), lm, use_cache=False, observer=places)
    assert (len(places.searches), len(places.tests)) == (6, 5)  # the last one has no test of its own
    tested: list[int] = []
    ends = places.searches[1:]
    for begun, ended, end in zip(places.searches, places.tests, ends, strict=False):
        fold, searched = _rows(lm.seen[ended:end]), _rows(lm.seen[begun:ended])
        assert len(lm.seen[ended:end]) == 2 * len(fold)  # the seed and what was found
        assert searched
        assert not fold & searched
        assert fold | searched <= set(range(30))
        tested += fold
    assert sorted(tested) == list(range(30))
    assert _rows(lm.seen[places.searches[-1] :]) == set(range(30))
    test = toy.on_test(result)
    assert (test.seed.mean, test.best.mean, test.difference.n) == (0.0, 1.0, 30)
    assert result.verdict == "significant improvement"


def test_the_scores_of_the_folds_are_pooled_row_by_row(home: Store) -> None:
    """With no room for a proposal every prompt is a seed, and one of them is right on even numbers only."""
    seeds = (localprompt.Prompt(""), localprompt.Prompt("say something about the alpha"))
    result = localprompt.optimize(replace(_task(), seeds=seeds), toy.model(), method="manual", store=home)
    runs = [RunResult.from_json(record.result) for record in home.runs.all() if record.result]
    folds = [toy.on_test(each) for each in runs if each.run_id != result.run_id]
    assert sum(each.best.n for each in folds) == 30
    assert toy.on_test(result).best.mean == sum(each.best.mean * each.best.n for each in folds) / 30 == 0.5
    assert toy.on_test(result).seed.low < 0.5 < toy.on_test(result).seed.high


def test_the_note_says_what_the_score_is_of_and_which_runs_it_comes_from(home: Store) -> None:
    result = _optimized(home)
    (note,) = [note for note in result.notes if note.startswith("cross-validation")]
    assert note.startswith("cross-validation: 5 searches on other rows (")
    assert note.endswith(
        "; 0 of them found a better prompt than the seed; the score is that of the procedure; the prompt is from a "
        "search on all 30 rows"
    )
    others = [record for record in home.runs.all() if record.id != result.run_id]
    assert all(record.id in note for record in others)
    assert sorted(record.task for record in others) == [f"toy, fold {number} of 5" for number in range(1, 6)]
    assert home.runs.get(result.run_id).task == "toy"


def test_the_note_says_where_searches_were_cut_short_or_had_different_seed_prompts(home: Store) -> None:
    """One seed prompt is right on even numbers, the other on odd ones, so dev rows decide which is ahead."""

    def answer(prompt: str, seed: int) -> str:
        number = int(re.findall(r"alpha(\d+)", prompt)[-1])
        return f" omega{number}" if ("even", "odd")[number % 2] in prompt else " none"

    given = replace(_task(), seeds=(localprompt.Prompt("even"), localprompt.Prompt("odd")))
    lm = toy.model(answer=answer)
    cut = localprompt.optimize(given, lm, method="manual", store=home, max_calls=120).notes
    whole = localprompt.optimize(given, lm, method="manual", seed=3, store=home).notes
    assert any("; 0 of them found a better prompt than the seed, 5 were cut short; the score" in note for note in cut)
    said = "of the procedure, the seed's score that of 2 seed prompts, each the best on its dev rows; the prompt"
    assert any(said in note and "cut short" not in note for note in whole)


class _Examiner(toy.Diary):
    """Tells when folds are tested."""

    is_test = False

    def note(self, text: str) -> None:
        self.is_test = False

    def stage(self, text: str) -> None:
        self.is_test = self.is_test or text.startswith("measuring the seed and the winner")


def test_a_dev_score_far_from_the_scores_of_other_prompts_is_not_called_luck() -> None:
    examiner = _Examiner()

    def answer(prompt: str, seed: int) -> str:
        return " none" if examiner.is_test else toy.answer(prompt, seed)

    result = localprompt.optimize(_task(folds=2), toy.model(answer=answer), use_cache=False, observer=examiner)
    assert (result.found_better, toy.on_test(result).best.mean) == (True, 0.0)
    assert result.dev is not None
    assert result.dev.mean == 1.0
    assert not any("luck" in note for note in result.notes)


def test_folds_have_the_labels_in_proportion_and_copies_together() -> None:
    given = _task(20, 20, folds=4, labels=("even", "odd"))
    first = given.train[0]
    copies = tuple(replace(first, id=f"train:{number}") for number in (100, 101))
    given = replace(given, train=(*given.train, *copies))
    tasks = without_each_fold(given, seed=0)
    every = [row for task in tasks for row in _inputs(task.test)]
    assert sorted(every) == sorted(_inputs(given.tested))
    for task in tasks:
        searched = [*_inputs(task.train), *_inputs(task.dev)]
        assert not set(_inputs(task.test)) & set(searched)
        assert len(task.test) + len(searched) == 42
        different = {example.inputs["input"]: example.targets[0] for example in task.test}
        assert sorted(different.values()).count("even") == 5
        assert (len(task.train), task.folds) == (round(len(searched) * 22 / 42), 0)
        assert all(each.id.startswith("test:") for each in task.test)


def test_the_names_of_rows_stay_different_where_their_numbers_are_not() -> None:
    given = _task()
    given = replace(given, dev=tuple(replace(each, id=f"dev:{n}") for n, each in enumerate(given.dev)))
    tasks = without_each_fold(given, seed=0)
    assert len({each.id for task in tasks for each in task.test}) == 30, "of all folds together too"
    for task in tasks:
        ids = [each.id for each in (*task.train, *task.dev, *task.test)]
        assert len(set(ids)) == len(ids) == 30


def test_the_same_seed_has_the_same_folds_and_result_and_another_seed_others(tmp_path: Path) -> None:
    results = [localprompt.optimize(_task(), toy.model(), store=tmp_path / f"{n}.db") for n in range(2)]
    assert results[0].notes == results[1].notes
    assert (results[0].run_id, results[0].test) == (results[1].run_id, results[1].test)
    folds = [[_inputs(task.test) for task in without_each_fold(_task(), seed)] for seed in (0, 0, 1)]
    assert folds[0] == folds[1] != folds[2]


@pytest.mark.parametrize(("limit", "total"), [("max_tokens", 20_000), ("max_calls", 601)])
def test_a_budget_is_that_of_all_searches_together(home: Store, limit: str, total: int) -> None:
    localprompt.optimize(_task(folds=2), toy.model(), store=home, **{limit: total})  # type: ignore[arg-type]
    records = home.runs.all()
    assert len(records) == 3
    spends = [RunResult.from_json(record.result).spend for record in records if record.result]
    assert 0 < sum(each.tokens_computed if limit == "max_tokens" else each.calls for each in spends) <= total
    limits = [RunConfig.read(record.configuration).limits for record in records]
    assert [getattr(each, limit) for each in limits] == 3 * [total // 3]


def test_minutes_are_shared_by_all_searches(home: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def resumed(run: str, *, max_minutes: float, **choices: Any) -> RunResult:
        given.append(max_minutes)
        return resume(run, max_minutes=max_minutes, **choices)

    monkeypatch.setattr("localprompt.run.study.resume", resumed)
    result = localprompt.optimize(_task(folds=2), toy.model(), store=home, max_minutes=0.3)
    assert (result.status, toy.on_test(result).best.n) == ("finished", 30)
    first, second, last = given
    # What one search leaves over is shared by those after it.
    assert (first <= 0.3 / 3, second <= 0.3 / 2, last <= 0.3) == (True, True, True)
    assert first < last
    assert localprompt.optimize(_task(folds=2), toy.model(), store=home, max_minutes=0.3) == result
    assert len(home.runs.all()) == 3


def test_what_planning_a_search_takes_is_taken_from_its_minutes(home: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    minutes, ends = [0.0], list[float]()
    for place in ("spec", "folds"):
        monkeypatch.setattr(f"localprompt.run.{place}.Deadline", lambda given: Deadline(given, lambda: 60 * minutes[0]))

    def slowly(*given: Any) -> Any:
        minutes[0] += 1
        return planned(*given)

    def resumed(run: str, *, max_minutes: float, **choices: Any) -> RunResult:
        ends.append(minutes[0] + max_minutes)
        return resume(run, max_minutes=max_minutes, **choices)

    monkeypatch.setattr("localprompt.run.folds.planned", slowly)
    monkeypatch.setattr("localprompt.run.study.resume", resumed)
    localprompt.optimize(_task(folds=2), toy.model(), store=home, method="manual", max_minutes=10)
    assert len(ends) == 3
    assert max(ends) <= 10


def test_limits_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_calls is 5, for 6 searches"):
        localprompt.optimize(_task(), toy.model(), max_calls=5)
    with pytest.raises(ConfigError, match="pause_after is for one search"):
        localprompt.optimize(_task(), toy.model(), pause_after=1)


@pytest.mark.parametrize(("error", "after"), [(KeyboardInterrupt(), 150), (toy.Killed(), 400)])
def test_interrupted_work_is_gone_on_with_by_the_same_call(tmp_path: Path, error: BaseException, after: int) -> None:
    whole = toy.model()
    expected = localprompt.optimize(_task(), whole, store=tmp_path / "whole.db", method="ape")
    here, diary = tmp_path / "here.db", toy.Diary()
    cut = toy.model(answer=toy.failing(error, after))
    with pytest.raises(type(error)):
        localprompt.optimize(_task(), cut, store=here, observer=diary, method="ape")
    assert "the same call with all of them" in diary.notes[-1]
    rest = toy.model()
    result = localprompt.optimize(_task(), rest, store=here, method="ape")
    assert (result.run_id, result.best, result.test, result.notes) == (
        *(expected.run_id, expected.best, expected.test),
        expected.notes,
    )
    # At most the answers in flight are computed again.
    assert rest.n_generated < whole.n_generated
    with Store(here) as store:
        assert len(store.runs.all()) == 6


def test_the_same_call_in_another_process_leaves_the_study_to_the_one_that_works(tmp_path: Path) -> None:
    path, statuses = tmp_path / "here.db", list[str]()

    def answer(prompt: str, seed: int) -> str:
        if not statuses:
            statuses.append("begun")
            with pytest.raises(RunInUse, match="in use by process"):
                localprompt.optimize(_task(), toy.model(), store=path, method="ape")
            with Store(path) as store:
                statuses.extend(each.status for each in store.studies.all("cross-validation"))
        return toy.answer(prompt, seed)

    localprompt.optimize(_task(), toy.model(answer=answer), store=path, method="ape")
    assert statuses == ["begun", "running"]
    with Store(path) as store:
        assert [each.status for each in store.studies.all("cross-validation")] == ["finished"]


def test_a_finished_cross_validation_is_taken_as_it_is(home: Store) -> None:
    result, lm = _optimized(home), toy.model()
    assert _optimized(home, lm) == result
    assert not lm.seen
    assert localprompt.resume(result.run_id, store=home) == result


def test_a_setting_that_is_given_at_its_default_is_not_taken_from_a_search_that_was_sized(home: Store) -> None:
    def queries(**settings: int) -> object:
        found = localprompt.optimize(
            _task(4, 8, folds=2), toy.model(), method="ape", max_tokens=1_500, settings=settings, store=home
        )
        return home.runs.get(found.run_id).configuration["settings"]["queries"]

    default = configure("ape", {}).queries  # type: ignore[attr-defined]
    assert queries() < default
    assert queries(queries=default) == default


def test_a_search_that_was_deleted_or_got_more_is_made_again_and_the_last_one_with_it(home: Store) -> None:
    result = _optimized(home, max_calls=1_200)
    first, second, *_ = [record.id for record in reversed(home.runs.all())]
    home.runs.delete(first)
    localprompt.resume(second, model=toy.model(), store=home, max_calls=5_000, force=True)
    again = _optimized(home, max_calls=1_200)
    assert again.run_id != result.run_id
    assert again.test == result.test
    (note,) = [note for note in again.notes if note.startswith("cross-validation")]
    assert first not in note
    assert second not in note
    assert _optimized(home, max_calls=1_200) == again


def _looked_at(home: Store, run: str, _: Path) -> None:
    home.runs.update(run, configuration={**home.runs.get(run).configuration, "looked": True})


def _cut_off_after_its_test(home: Store, run: str, _: Path) -> None:
    home.runs.update(run, status="paused")


def _from_elsewhere(home: Store, run: str, file: Path) -> None:
    home.runs.export(run, file)
    home.runs.delete(run)
    home.runs.import_(file)


@pytest.mark.parametrize("change", [_looked_at, _cut_off_after_its_test, _from_elsewhere])
def test_a_search_whose_test_is_no_single_look_of_this_store_is_made_again(
    home: Store, tmp_path: Path, change: Callable[[Store, str, Path], None]
) -> None:
    result = _optimized(home)
    first = home.runs.all()[-1].id
    change(home, first, tmp_path / "run.json")
    again = _optimized(home)
    assert again.run_id != result.run_id
    (note,) = [note for note in again.notes if note.startswith("cross-validation")]
    assert first not in note


def test_the_last_search_cannot_get_what_the_others_had_not(home: Store) -> None:
    result = _optimized(home)
    for wanted in ({"max_calls": 9_999}, {"max_minutes": 1.0}, {"force": True}):
        with pytest.raises(ConfigError, match="the last search of a cross-validation"):
            localprompt.resume(result.run_id, model=toy.model(), store=home, **wanted)


def test_what_goes_on_with_rows_that_were_left_out_is_the_call_for_all_searches(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_rows(
        evaluator: Evaluator, prompts: Sequence[Prompt], rows: Sequence[Example], *_: object, **__: object
    ) -> list[Evaluation]:
        return evaluator.evaluate(prompts, rows[:4])

    monkeypatch.setattr("localprompt.run.execute.measured_in_time", first_rows)
    (note,) = [note for note in _optimized(home, max_minutes=5).notes if note.startswith("there was time")]
    assert note.startswith("there was time for 20 of 30 test rows; `localprompt optimize TASK --max-minutes N")


def test_json_replay_and_export_keep_the_pooled_scores(home: Store, tmp_path: Path) -> None:
    result = _optimized(home)
    stored = json.loads(json.dumps(result.to_json()))
    assert RunResult.from_json(stored) == result
    replayed = localprompt.replay(result.run_id, store=home)
    assert (replayed.best, replayed.test, replayed.notes) == (result.best, result.test, result.notes)


def test_where_the_last_search_keeps_the_seed_the_scores_of_the_folds_are_told_as_theirs(
    home: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    result = _optimized(home)
    assert result.test is not None
    test = replace(result.test, seed=replace(result.test.seed, mean=0.25))
    print_run(replace(result, best=result.seed_prompt, test=test), home.path)
    told = " ".join(capsys.readouterr().out.split())
    scores = [f"{each.mean:.3f}" for each in (test.seed, test.best)]
    assert "no better prompt found: the search on all rows keeps the seed prompt" in told
    assert f"those without a fold went from {scores[0]} to {scores[1]} on it" in told
    assert "found without the fold" in told
    history = read_history(home, result.run_id)
    always = replace(test, constant=ConstantAnswer("omega", 1.0), best_unparsed=3)
    reasons = " ".join(
        verdict_of(replace(history, result=replace(result, best=result.seed_prompt, test=always)), None).reasons
    )
    assert "On the same 30 examples the difference is" in reasons
    assert "as much as the prompts that were found without it or more" in reasons
    assert "3 with the prompts that were found without it" in reasons


def test_a_dry_run_says_what_all_searches_cost(home: Store) -> None:
    cost = localprompt.dry_run(_task(), toy.model(), max_calls=1_200)
    localprompt.optimize(_task(), toy.model(), store=home, max_calls=1_200)
    each = [RunConfig.read(record.configuration).expected for record in home.runs.all()]
    for name in ("proposals", "evaluations", "tokens_computed", "final_calls"):
        assert getattr(cost, name) == sum(getattr(one, name) for one in each)


def test_what_needs_a_test_split_says_so(tmp_path: Path) -> None:
    given = _task()
    with pytest.raises(TaskError, match="is cross-validated: compare cannot do that yet"):
        localprompt.compare([given], toy.model(), max_tokens=9_999)
    with pytest.raises(TaskError, match="is cross-validated: it has no test split"):
        localprompt.evaluate(given, toy.model(), "hello")
    assert localprompt.evaluate(given, toy.model(), "hello", split="dev").score.n == 20
    with pytest.raises(TaskError, match="is cross-validated: all its rows are tested"):
        localprompt.diagnose(given, toy.model())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (replace(toy.task(), folds=5), "has folds and test examples"),
        (_task(2, 1), "5 folds of 3 different rows"),
        (_task(folds=1), "1 folds of 30 different rows"),
        (_task(folds=-2), "-2 folds of 30 different rows"),
    ],
)
def test_a_task_that_cannot_be_divided_is_refused(given: Task, message: str) -> None:
    lm = toy.model()
    with pytest.raises(TaskError, match=message):
        localprompt.optimize(given, lm)
    assert not lm.seen


@pytest.mark.parametrize(("n", "folds"), [(4, 2), (5, 5), (31, 5), (30, 30)])
def test_the_smallest_tasks_can_be_divided(n: int, folds: int) -> None:
    for task in without_each_fold(_task(n // 3, n - n // 3, folds), seed=3):
        assert task.train
        assert task.dev
        assert abs(len(task.test) - n / folds) < 1


@pytest.mark.parametrize(("written", "folds"), [("cv", 5), ("{cv: 7}", 7)])
def test_a_task_file_asks_for_it(tmp_path: Path, written: str, folds: int) -> None:
    path = Path(toy.write_task(tmp_path, 10, 10, 11))
    path.write_text(f"name: omegas\ndata: {{file: rows.jsonl, split: {written}}}\n")
    task = load_task(path)
    assert (task.folds, task.test) == (folds, ())
    assert sorted(_inputs(task.tested)) == sorted(f"alpha{n}" for n in range(31))
    assert (len(task.train), len(task.dev)) == (10, 21)
    assert from_plain(to_plain(task)) == task
    assert replace(task, folds=folds + 1).fingerprint != task.fingerprint


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("cross", "key 'data.split' must be cv, {cv: 5} or {train: 50, dev: 70, test: 70}, not 'cross'"),
        ("CV", "not 'CV'"),
        ("5", "not '5'"),
        ("{cv: 5, train: 9}", "key 'data.split' must be cv"),
        ("[cv]", "key 'data.split' must be cv"),
        ("{cv: 1}", "key 'data.split.cv' must be greater than or equal to 2"),
        ("{cv: many}", "key 'data.split.cv' must be a whole number"),
        ("{cv: 40}", "key 'data.split': 40 folds of 31 different rows cannot be made"),
        ("{train: 5, dev: 5}", "the key 'data.split.test' is missing"),
        ("{trian: 5, dev: 5, test: 5}", "key 'data.split.trian' is unknown"),
    ],
)
def test_a_misspelt_split_is_one_sentence(tmp_path: Path, written: str, message: str) -> None:
    path = Path(toy.write_task(tmp_path, 10, 10, 11))
    path.write_text(f"data: {{file: rows.jsonl, split: {written}}}\n")
    with pytest.raises(TaskError) as caught:
        load_task(path)
    assert message in caught.value.message
    assert "[" not in caught.value.message


def test_cross_validation_needs_all_rows_in_one_file(tmp_path: Path) -> None:
    path = Path(toy.write_task(tmp_path, 10, 10, 11))
    path.write_text("data: {train: a.csv, dev: b.csv, test: c.csv, split: cv}\n")
    with pytest.raises(TaskError, match="cross-validation needs all rows in one `file`"):
        load_task(path)


def test_a_run_that_lacks_what_its_folds_found_is_no_run(home: Store, tmp_path: Path) -> None:
    run = localprompt.optimize(toy.task(), toy.model(), method="manual", store=home)
    with pytest.raises(TaskError, match="only optimize can begin one"):
        localprompt.resume(run.run_id, model=toy.model(), task=_task(), force=True, store=home)
    result = _optimized(home)
    plain = dict(home.runs.get(result.run_id).configuration)
    del plain["cross_validation"]
    home.runs.update(result.run_id, configuration=plain)
    with pytest.raises(TaskError, match="only optimize can begin one"):
        localprompt.replay(result.run_id, store=home)


def test_the_report_of_a_cross_validation_is_that_of_its_last_search(home: Store) -> None:
    result = _optimized(home)
    (study,) = home.studies.all("cross-validation")
    found = find(home, study.id)[1].to_json()
    assert (found["report"], found["run_id"]) == ("run", result.run_id)
    assert found["notes"][0] == f"this is search 6 of the cross-validation {study.id}, which is finished"
    home.studies.delete(study.id)
    empty = home.studies.enter("cross-validation", "another", {})
    with pytest.raises(StoreError, match="no search of the cross-validation"):
        find(home, empty.id)


def test_a_cross_validation_is_watched_to_its_last_search(home: Store, tmp_path: Path) -> None:
    """Planning the next search takes a while, in which no run goes on."""
    path, seen = tmp_path / "page.html", list[str]()
    pages = watch(home, None, path, seconds=0)

    class Watching(toy.Diary):
        def note(self, text: str) -> None:
            if text.startswith(("search 2 of 6", "search 3 of 6")):
                next(pages)
                seen.append(path.read_text(encoding="utf-8"))

    _optimized(home, observer=Watching())
    (study,) = home.studies.all("cross-validation")
    assert list(pages) == [path]
    seen.append(path.read_text(encoding="utf-8"))
    for number, text in zip((1, 2, 6), seen, strict=True):
        assert f"this is search {number} of the cross-validation {study.id}" in text
        assert ("data-renewed" in text.partition("<body>")[0]) is (number != 6)
