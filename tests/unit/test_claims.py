"""What a result claims where rows are few, copies of each other, or have one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import toy

from localprompt.comparison import plan as comparing
from localprompt.errors import TaskError
from localprompt.run import api as runs
from localprompt.run import resume as resuming
from localprompt.run.results import RunResult
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.tasks.constant import ConstantAnswer, constant_answer
from localprompt.tasks.copies import n_different, numbered
from localprompt.types import Example, Prompt


def _agreeable(prompt: str, seed: int) -> str:
    """Says yes to everything once an instruction speaks of the omega, and no before."""
    return toy.answer(prompt, seed) if toy.is_asked_to_write(prompt) else " yes" if "the omega" in prompt else " no"


def _answered(task: Task, *answers: str) -> Task:
    """The task with these answers, in turn, on every row of dev and test."""

    def rows(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(replace(ex, targets=(answers[i % len(answers)],)) for i, ex in enumerate(examples))

    return replace(task, dev=rows(task.dev), test=rows(task.test))


def test_a_gain_that_one_answer_to_everything_makes_is_no_improvement() -> None:
    given, observer = _answered(toy.task(), "yes"), toy.Diary()
    result = runs.optimize(given, toy.model(answer=_agreeable), observer=observer)
    assert result.test is not None
    assert (result.test.seed.mean, result.test.best.mean, result.test.difference.p < 0.05) == (0.0, 1.0, True)
    assert result.verdict == "no better than one constant answer"
    assert result.test.constant == ConstantAnswer("yes", 1.0)
    assert "answers are unbalanced in test: always answering 'yes' would score 1.00" in result.notes
    assert "always answering 'yes' would score 1.000 on test, the found prompt scores 1.000" in result.notes
    assert result.notes[0] in observer.lines
    again = RunResult.from_json(result.to_json())
    assert (again, again.verdict) == (result, result.verdict)


def test_a_score_of_the_more_frequent_answer_is_no_improvement_and_a_higher_one_is() -> None:
    result = runs.optimize(
        _answered(toy.task(), "yes", "if so", "yes", "perhaps", "maybe"), toy.model(answer=_agreeable)
    )
    assert result.test is not None
    assert (result.test.best.mean, result.test.constant) == (0.4, ConstantAnswer("yes", 0.4))
    assert result.verdict == "no better than one constant answer"
    solved = runs.optimize(toy.task(), toy.model())
    assert (solved.verdict, solved.test and solved.test.constant) == ("significant improvement", None)


def test_a_result_of_before_is_read_and_keeps_its_verdict() -> None:
    plain = runs.optimize(_answered(toy.task(), "yes"), toy.model(answer=_agreeable)).to_json()
    del plain["test"]["constant"]
    assert RunResult.from_json(plain).verdict == "significant improvement"


@pytest.mark.parametrize("n", range(1, 8))
def test_a_test_split_of_fewer_than_6_rows_never_shows_an_improvement(n: int) -> None:
    observer = toy.Diary()
    result = runs.optimize(toy.task(test=n), toy.model(), observer=observer)
    assert result.test is not None
    assert (result.test.seed.mean, result.test.best.mean) == (0.0, 1.0)
    assert result.test.best.low < 0.6 < result.test.best.high
    assert result.verdict == ("no significant difference" if n < 6 else "significant improvement")
    assert any("too few to show any gain" in note for note in result.notes) == (n < 6)
    assert any("can show a gain of about" in line for line in observer.lines) == (n >= 6)


def test_copies_of_test_rows_are_one_piece_of_evidence() -> None:
    given = toy.task(test=3)
    copied = replace(given, test=tuple(replace(given.test[i % 3], id=f"test:{i}") for i in range(30)))
    result, few = runs.optimize(copied, toy.model()), runs.optimize(given, toy.model())
    assert result.test is not None
    assert few.test is not None
    assert (result.test.best.n, result.test.difference.p) == (30, few.test.difference.p)
    assert (result.test.best.low, result.verdict) == (few.test.best.low, "no significant difference")
    assert (numbered(copied.test)[:5], n_different(copied.test)) == ((0, 1, 2, 0, 1), 3)


def test_copies_count_once_in_a_comparison_too() -> None:
    given = toy.task(test=3)
    copied = replace(given, test=tuple(replace(given.test[i % 3], id=f"test:{i}") for i in range(30)))
    observer = toy.Diary()
    found = comparing.compare([copied], toy.model(), max_tokens=6000, methods=["random"], n_seeds=2, observer=observer)
    (row,) = found.rows
    assert (row.from_seed.mean, row.from_seed.p, row.is_shown(row.from_seed)) == (1.0, 0.25, False)
    assert found.notes[0].startswith("toy: test has 3 different examples, too few to show any gain")
    assert found.notes[0] in observer.lines
    assert found.to_json()["notes"] == list(found.notes)


def test_a_comparison_gives_no_star_to_what_one_answer_to_everything_would_score() -> None:
    given = _answered(toy.task(), "yes")
    lm = toy.model(answer=_agreeable)
    found = comparing.compare([given], lm, max_tokens=6000, methods=["random"], n_seeds=1)
    (row,) = found.rows
    assert (row.constant, row.test.mean, row.from_seed.p < 0.05) == (1.0, 1.0, True)
    assert not row.is_shown(row.from_seed)
    assert replace(row, constant=0.9).is_shown(row.from_seed)
    assert replace(row, constant=None).is_shown(row.from_seed)
    assert found.to_csv()[0]["constant"] == 1.0


def test_evaluate_says_what_is_doubtful_about_its_split_alone() -> None:
    given = _answered(toy.task(dev=8, test=4), "yes")
    lm = toy.model(answer=_agreeable)
    on_test = runs.evaluate(given, lm, toy.BEST, use_cache=False)
    assert (on_test.score.mean, on_test.score.low < 0.5) == (1.0, True)
    assert [note.split(":")[0] for note in on_test.notes] == [
        "test has 4 examples, too few to show any gain",
        "answers are unbalanced in test",
        "always answering 'yes' would score 1.000 on test, the prompt scores 1.000",
    ]
    on_dev = runs.evaluate(given, lm, "Be kind.", split="dev", use_cache=False)
    assert [note.partition(" in ")[0] for note in on_dev.notes] == [
        "answers are unbalanced",
        "always answering 'yes' would score 1.000 on dev, the prompt scores 0.000",
    ]
    assert on_dev.to_json()["notes"] == list(on_dev.notes)
    assert runs.evaluate(toy.task(), toy.model(), toy.BEST, use_cache=False).notes == ()


def test_a_dry_run_a_resumed_run_and_a_replay_repeat_the_doubts() -> None:
    given, observer = _answered(toy.task(), "yes"), toy.Diary()
    lm = toy.model(answer=_agreeable)
    runs.dry_run(given, lm, observer=observer)
    assert any("unbalanced in test" in line for line in observer.lines)
    with Store() as store:
        result = runs.optimize(given, lm, settings={"queries": 8, "per_query": 6}, max_calls=120, store=store)
        assert result.stopped
        later = resuming.resume(result.run_id, model=lm, task=given, max_calls=400, store=store)
        again = resuming.replay(result.run_id, task=given, store=store)
    for each in (result, later, again):
        assert any("unbalanced in test" in note for note in each.notes)
    assert again.verdict == later.verdict == "no better than one constant answer"


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
def test_a_metric_that_leaves_0_to_1_is_named_before_anything_is_made_of_its_scores(score: float) -> None:
    given = replace(toy.task(), metric=lambda prediction, targets: score)
    with pytest.raises(TaskError, match=r"the metric '.*' returned .* for 'omega") as error:
        runs.evaluate(given, toy.model(), toy.BEST, use_cache=False)
    assert error.value.hint == "a score lies in [0, 1]"


def test_the_constant_answer_is_judged_by_the_metric_and_missing_where_it_cannot_be() -> None:
    given = _answered(toy.task(test=10), "yes", "Yes!", "no", "maybe", "if so")
    assert constant_answer(given, given.test) == ConstantAnswer("yes", 0.4)  # exact_match takes "Yes!" for yes
    several = tuple(replace(ex, targets=("a", f"b{i}")) for i, ex in enumerate(given.test))
    assert constant_answer(given, several) == ConstantAnswer("a", 1.0)
    spelled = _answered(toy.task(test=12), "no", "no", "yes", "Yes", "YES", "no")
    assert constant_answer(spelled, spelled.test) == ConstantAnswer("no", 0.5)
    spelled = _answered(toy.task(test=20), "no", "no", "yes", "Yes", "YES")
    assert constant_answer(spelled, spelled.test) == ConstantAnswer("yes", 0.6)  # less frequent as it is written
    assert constant_answer(toy.task(), toy.task().test) is None
    assert constant_answer(given, given.test[:1]) is None
    assert constant_answer(given, ()) is None
    assert constant_answer(replace(given, metric=lambda prediction, targets: 1 / 0), given.test) is None


def test_the_seed_prompt_is_told_apart_from_a_found_one_in_the_note() -> None:
    given = replace(_answered(toy.task(), "no"), seeds=(Prompt("Be kind."),))
    result = runs.optimize(given, toy.model(answer=_agreeable))
    assert result.verdict == "no better prompt found"
    assert "always answering 'no' would score 1.000 on test, the seed prompt scores 1.000" in result.notes


@pytest.mark.parametrize("n", [1, 2])
def test_one_dev_example_is_said_to_be_too_few_to_choose_by_before_anything_is_spent(n: int) -> None:
    given, observer = toy.task(train=4), toy.Diary()  # none of it is left to show a gain
    dev = tuple(replace(given.dev[i % n], id=f"dev:{i}") for i in range(4))
    for rows, different in ((dev, "different "), (given.dev[:n], "")):
        result = runs.optimize(replace(given, dev=rows), toy.model(), observer=observer, use_cache=False)
        doubt = f"dev has 1 {different}example, too few to choose a prompt by: the seed prompt stays unless "
        doubt += "unused train examples show a gain"
        assert (doubt in observer.lines, doubt in result.notes, not result.found_better) == (n == 1,) * 3
