"""Searches for prompts that small changes of wording and layout move least."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.errors import BudgetExhausted
from localprompt.lm.budget import Budget
from localprompt.optimizers import names
from localprompt.run.config import RunConfig
from localprompt.run.results import RunResult
from localprompt.search.evaluator import Evaluator
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Prompt
from localprompt.variants.collect import ORIGINAL
from localprompt.variants.robust import N_VARIANTS, RobustEvaluator

BRITTLE, STABLE, brittle = toy.BRITTLE, toy.STABLE, toy.brittle


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "here.db") as store:
        yield store


def _task(**changes: Any) -> Task:
    given = replace(toy.task(train=0, dev=30, test=30), seeds=(Prompt(BRITTLE), Prompt(STABLE), Prompt("")))
    return replace(given, **changes)


def _found(store: Store, objective: Any, **choices: Any) -> RunResult:
    lm = toy.model(answer=brittle)
    return localprompt.optimize(_task(), lm, method="manual", objective=objective, store=store, **choices)


def _evaluator(weight: float = 0.5, lm: Any = None, task: Task | None = None, seed: int = 0) -> RobustEvaluator:
    return RobustEvaluator(lm or toy.model(answer=brittle), task or _task(), Budget(), weight, seed)


def test_plain_picks_the_brittle_prompt_and_robust_the_stable_one(home: Store) -> None:
    plain, robust, worst = (_found(home, objective) for objective in ("score", "robust", "worst"))
    assert plain.best == Prompt(BRITTLE)
    assert robust.best == worst.best == Prompt(STABLE)
    assert plain.dev is not None
    assert plain.dev.mean == 1.0
    assert len({plain.run_id, robust.run_id, worst.run_id}) == 3


def test_test_has_the_plain_score_and_beside_it_mean_and_worst_variant(home: Store) -> None:
    both = replace(_task(), seeds=(Prompt(BRITTLE),))
    lm = toy.Watched(answer=brittle)
    result = localprompt.optimize(both, lm, method="manual", objective="robust", store=home)
    test = toy.on_test(result)
    assert (test.seed.mean, result.objective) == (1.0, "robust")
    assert test.seed_variants is not None
    assert test.seed_variants == test.best_variants
    assert (test.seed_variants.mean.mean, test.seed_variants.worst.mean) == (0.8, 0.0)
    assert test.seed_variants.change == "without the final full stop"
    assert result.dev is not None
    assert result.dev.mean == pytest.approx(0.8 - 0.5 * 0.8)
    assert RunResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    rows = [text for call in lm.asked for text in call.prompts if re.search(r"alpha(3[0-9]|4[0-9]|5[0-9])\b", text)]
    assert len(rows) == len(set(rows)) == (1 + N_VARIANTS) * 30  # each asked once
    kept = [home.runs.evaluations(result.run_id, f"test variant {n}")[0].mean for n in range(1, 1 + N_VARIANTS)]
    assert sorted(kept) == [0.0, 1.0, 1.0, 1.0]


def test_the_score_of_a_row_is_the_mean_less_a_part_of_the_distance_to_the_worst() -> None:
    task = _task()
    for weight in (0.0, 0.5, 1.0):
        evaluator = _evaluator(weight)
        (found,) = evaluator.evaluate([Prompt(BRITTLE)], task.dev)
        (ways,) = evaluator.neighbourhoods([Prompt(BRITTLE)], task.dev)
        assert len(ways) == 1 + N_VARIANTS
        for i, outcome in enumerate(found.outcomes):
            scores = [each.scores[i] for each in ways]
            mean = statistics.fmean(scores)
            assert outcome.score == pytest.approx(mean - weight * (mean - min(scores)))
            assert 0 <= outcome.score <= 1
        assert found.outcomes[0].prediction == "none"  # of the worst way, which is what a proposer should see


def test_every_prompt_is_asked_under_the_same_changes_and_only_the_seed_decides_which() -> None:
    first, again, other = (_evaluator(seed=seed) for seed in (0, 0, 1))
    plain = first.changes(Prompt("Say it in one word."))
    assert plain == again.changes(Prompt("Say it in one word."))
    assert plain[:3] == (ORIGINAL, "without the final full stop", "all in lower case")
    assert first.changes(Prompt("please say it"))[1:3] == ("with a final full stop", ORIGINAL)
    assert first.changes(Prompt(""))[:3] == (ORIGINAL,) * 3  # nothing to change, but in the layout
    formats = [first.changes(Prompt(text))[3:] for text in ("", "Name the Input.", BRITTLE)]
    assert len(set(formats)) == 1
    assert len(formats[0]) == 2
    assert formats[0] != other.changes(Prompt(""))[3:]


def test_a_layout_without_cues_has_more_variants_of_the_surface() -> None:
    bare = replace(_task(), layout=replace(_task().layout, template="{{instruction}} {{input}} "))
    changes = _evaluator(task=bare).changes(Prompt(BRITTLE))
    assert changes[3:] == ("with 'please'", "all in capitals")


def test_labels_and_likelihoods_are_robust_too() -> None:
    def logprob(context: str, continuation: str) -> float:
        is_named = "omega." in context.lower()
        return -0.5 if is_named == (continuation.strip() == "even") else -4.0

    task = replace(toy.task(train=0, dev=12, test=12, labels=("even", "odd")), seeds=(Prompt(STABLE),))
    lm = toy.model(logprob=logprob)
    evaluator = _evaluator(1.0, lm, task)
    (found,) = evaluator.evaluate(task.seeds, task.dev)
    assert set(found.scores) == {0.0}  # right with or without the full stop, on no row in both ways
    assert [outcome.margin for outcome in found.outcomes] == pytest.approx([-3.5] * 12)
    (probable,) = evaluator.likelihood(task.seeds, task.dev, norm="sequence")
    assert set(probable.scores) == {-4.0}
    (as_it_is, *_) = evaluator.neighbourhoods(task.seeds, task.dev)[0]
    assert as_it_is.mean == 0.5


class _InLetters(toy.Watched):
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return list(map(len, texts))


def test_batch_calibration_has_the_rows_that_fit_with_the_prompt_itself() -> None:
    task, prompt = toy.task(train=20, dev=1, labels=("even", "odd"), label_score="batch"), Prompt("Say it")
    long = replace(task.train[0], inputs={"input": "alpha0" + " and" * 100})
    task = replace(task, train=(long, *task.train[1:]))
    asked = []
    for is_robust in (False, True):
        lm = _InLetters(logprob=toy.parity)
        lm.n_ctx = len(task.layout.render(prompt, long.inputs).text + " even")
        evaluator = _evaluator(lm=lm, task=task) if is_robust else Evaluator(lm, task, Budget())
        evaluator.evaluate([prompt], task.dev)
        asked.append([context for context, _ in lm.scored[0] if context.startswith("Say it\n")])
    assert long.inputs["input"] in asked[0][0]
    assert asked[0] == asked[1]


def test_it_costs_five_times_as_many_calls_and_estimates_count_them(home: Store) -> None:
    task, lm = replace(_task(), seeds=(Prompt(BRITTLE), Prompt(STABLE))), toy.model(answer=brittle)
    plain, robust = (
        localprompt.dry_run(task, lm, method="manual", objective=objective) for objective in ("score", "robust")
    )
    assert robust.evaluations == 5 * plain.evaluations == 5 * 2 * 30
    assert robust.final_calls == 5 * plain.final_calls
    found = localprompt.optimize(task, lm, method="manual", objective="robust", store=home)
    assert (found.spend.calls, found.spend.tokens_computed) == (robust.evaluations, robust.tokens_computed)
    assert 4 < robust.tokens_computed / plain.tokens_computed < 6


def test_a_budget_that_ends_between_two_formats_repeats_nothing() -> None:
    lm = toy.Watched(answer=brittle)
    evaluator = RobustEvaluator(lm, _task(), Budget(max_calls=100), 0.5, 0)
    with pytest.raises(BudgetExhausted):
        evaluator.evaluate([Prompt(BRITTLE)], _task().dev)  # 90 calls as it is laid out, 30 in each format
    asked = len(lm.seen)
    assert asked == 90
    with pytest.raises(BudgetExhausted):
        evaluator.evaluate([Prompt(BRITTLE)], _task().dev)
    evaluator.evaluate([Prompt(BRITTLE)], _task().dev[:5])
    assert len(lm.seen) == asked + 10


def test_what_an_evaluator_holds_does_not_lead_to_test() -> None:
    evaluator = _evaluator()
    assert "test:" not in repr([vars(evaluator), vars(evaluator._origin.problem), evaluator._origin])
    assert "train:" in repr(vars(_evaluator(task=toy.task())._origin.problem))


@pytest.mark.parametrize("name", names())
def test_every_method_takes_the_objective_and_a_run_is_resumed_and_replayed_with_it(name: str, home: Store) -> None:
    task = toy.task(train=10, dev=12, test=8)
    done: dict[str, Any] = {"method": name, "objective": "worst", "max_tokens": 10_000}
    whole = localprompt.optimize(task, toy.model(name="m"), **done, store=home)
    assert RunConfig.read(home.runs.get(whole.run_id).configuration).objective == "worst"
    ending = toy.model(name="m", answer=toy.failing(KeyboardInterrupt(), 30))
    with pytest.raises(KeyboardInterrupt):
        localprompt.optimize(task, ending, **done, store=home, use_cache=False)
    paused = home.runs.all()[0].id
    resumed = localprompt.resume(paused, model=toy.model(name="m"), store=home)
    assert (resumed.best, resumed.dev, resumed.test) == (whole.best, whole.dev, whole.test)
    replayed = localprompt.replay(whole.run_id, store=home)
    assert (replayed.best, replayed.dev, replayed.test) == (whole.best, whole.dev, whole.test)


def test_runs_of_before_have_the_score_as_their_objective(home: Store) -> None:
    record = home.runs.get(_found(home, "score").run_id)
    assert "objective" not in record.configuration
    assert RunConfig.read(record.configuration).objective == "score"


def test_a_port_keeps_the_objective(home: Store) -> None:
    old = _found(home, "worst")
    found = localprompt.port(old.run_id, toy.model(name="new", answer=brittle), store=home)
    assert RunConfig.read(home.runs.get(found.run_id).configuration).objective == "worst"
    assert found.old_best.old_dev == found.old_best.new_dev


def test_variants_that_two_prompts_share_are_asked_once() -> None:
    lm = toy.Watched(answer=brittle)
    pair = [Prompt("Say it."), Prompt("Say it")]
    evaluator = _evaluator(lm=lm)
    evaluator.evaluate(pair, _task().dev[:4])
    assert len(lm.seen) == len(set(lm.seen)) == 4 * (4 + 4)
