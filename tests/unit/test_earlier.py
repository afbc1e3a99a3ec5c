"""A search that begins with the prompts of an earlier run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import toy

import localprompt
from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.run.config import RunConfig
from localprompt.run.results import RunResult
from localprompt.store import Store
from localprompt.types import Demo, Prompt

SEEDS = (Prompt("Say something kind about the alpha."), Prompt(""))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "here.db") as store:
        yield store


def _search(store: Store, *, from_run: str | None = None, name: str = "lm", **changes: object) -> RunResult:
    given = replace(toy.task(train=10, dev=20, test=30), **{"seeds": SEEDS, **changes})  # type: ignore[arg-type]
    return localprompt.optimize(given, toy.model(name=name), store=store, method="random", from_run=from_run)


def test_the_search_begins_with_the_winner_and_says_so(home: Store) -> None:
    old = _search(home)
    assert old.found_better
    new = _search(home, from_run=old.run_id[:6], name="other")
    config = RunConfig.read(home.runs.get(new.run_id).configuration)
    assert config.warm[0] == old.best
    assert not {prompt.id for prompt in config.warm} & {prompt.id for prompt in SEEDS}
    assert any(old.run_id in note and "began with" in note for note in new.notes)
    found = {each.prompt.id: each for each in home.runs.candidates(new.run_id)}
    assert (found[old.best.id].op, new.seed_prompt in SEEDS) == ("warm", True)
    assert localprompt.replay(new.run_id, store=home).notes == new.notes


def test_another_beginning_is_another_run_and_the_same_one_is_the_same(home: Store) -> None:
    old = _search(home)
    configs = [
        RunConfig.read(home.runs.get(_search(home, from_run=each).run_id).configuration) for each in (old.run_id, None)
    ]
    first, second = (config.to_json()["identity"] for config in configs)
    assert first != second
    assert "warm" not in second


def test_worked_examples_that_are_held_out_here_are_left_out(home: Store) -> None:
    given = toy.task(train=10, dev=20, test=30)
    row = given.train[0]
    shown = Prompt(SEEDS[0].instruction, (Demo(row.inputs, row.targets[0]),))
    old = _search(home, seeds=(shown, Prompt("")), layout=toy.SHOWING)
    swapped = _search(
        home,
        from_run=old.run_id,
        layout=toy.SHOWING,
        seeds=(Prompt(""),),
        train=given.train[1:],
        dev=(*given.dev, replace(row, id="dev:99")),
    )
    config = RunConfig.read(home.runs.get(swapped.run_id).configuration)
    assert SEEDS[0] in config.warm
    assert all(demo.inputs != row.inputs for prompt in config.warm for demo in prompt.demos)


def test_worked_examples_with_an_answer_that_is_no_label_here_are_left_out_and_another_task_is_told_of(
    home: Store,
) -> None:
    given = toy.task(train=10, dev=20, test=30)
    went, saw = Demo({"input": "go"}, "went"), Demo({"input": "see"}, "saw")
    shown = [replace(SEEDS[0], demos=each) for each in ((went,), (saw,), (saw, went))]
    old = _search(home, seeds=(*shown, Prompt("")), layout=toy.SHOWING)
    labels = ("left", "right")
    rows = {
        split: tuple(
            replace(each, inputs={"input": f"which side, {each.id}"}, targets=(labels[n % 2],))
            for n, each in enumerate(getattr(given, split))
        )
        for split in ("train", "dev", "test")
    }
    new = _search(home, from_run=old.run_id, layout=toy.SHOWING, seeds=(Prompt(""),), labels=labels, **rows)  # type: ignore[arg-type]
    config = RunConfig.read(home.runs.get(new.run_id).configuration)
    assert SEEDS[0] in config.warm
    assert not any(prompt.demos for prompt in config.warm)
    assert any("which may be of another task" in note for note in new.notes)
    bare = next(note for note in new.notes if "without their worked examples" in note)
    assert int(bare.split()[0]) <= len(config.warm)


def test_test_rows_that_the_earlier_search_saw_are_told_of(home: Store) -> None:
    given = toy.task(train=10, dev=20, test=30)
    old = _search(home)
    new = _search(home, from_run=old.run_id, dev=given.dev[5:], test=(*given.test, *given.dev[:5]))
    assert any("5 of 35 test rows were train or dev rows" in note for note in new.notes)
    notes = _search(home, from_run=old.run_id).notes
    assert not any("test rows were" in note or "another task" in note for note in notes)


def test_a_run_that_began_with_another_itself_may_have_learnt_from_rows_that_nobody_knows(home: Store) -> None:
    given = toy.task(train=10, dev=20, test=50)
    first = _search(home)
    second = _search(home, from_run=first.run_id, dev=given.test[:20], test=given.test[30:])
    third = _search(home, from_run=second.run_id, dev=given.test[:20], test=given.dev)
    told = f"the run {second.run_id} itself began with another"
    assert any(told in note for note in third.notes)
    assert not any("itself began with another" in note for note in second.notes)


def test_a_run_that_cannot_help_is_one_sentence_and_nothing_is_spent(home: Store, tmp_path: Path) -> None:
    lm = toy.Watched()
    with pytest.raises(StoreError, match="no run"):
        localprompt.optimize(toy.task(), lm, store=home, from_run="abc")
    old = _search(home)
    with Store(tmp_path / "empty.db") as empty, pytest.raises(StoreError):
        localprompt.optimize(toy.task(), lm, store=empty, from_run=old.run_id)
    configuration = home.runs.get(old.run_id).configuration
    home.runs.reset(old.run_id, configuration, task="toy", model="m", proposer="m")
    with pytest.raises(ConfigError, match="was measured"):
        localprompt.optimize(toy.task(), lm, store=home, from_run=old.run_id)
    folds = replace(toy.task(train=20, dev=20, test=0), folds=4)
    with pytest.raises(TaskError, match="folds"):
        localprompt.optimize(folds, lm, store=home, from_run=old.run_id)
    assert (lm.asked, lm.scored) == ([], [])


def test_a_dry_run_counts_the_prompts_too(home: Store) -> None:
    old = _search(home)
    given = replace(toy.task(train=10, dev=20, test=30), seeds=SEEDS)
    costs = [
        localprompt.dry_run(given, toy.model(), method="manual", store=home, from_run=each).evaluations
        for each in (None, old.run_id)
    ]
    assert costs[1] > costs[0]
