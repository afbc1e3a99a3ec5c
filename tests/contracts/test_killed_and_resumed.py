"""Killed at any model call and resumed, every method ends as if nothing had happened.

A kill leaves the files of the store as they are. So one run is made, the store copied at the beginning of each model
call, and a run resumed from each copy.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy
from worlds import world

from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure, names
from localprompt.run import api as runs
from localprompt.run import resume as resuming
from localprompt.run.port import port
from localprompt.store import Store
from localprompt.types import Generation, Loglikelihood, Prompt, Sampling

TASK = toy.task(train=10, dev=12, test=8)
every_optimizer = pytest.mark.parametrize("name", names())


class Photographed(ScriptedLM):
    """Copies the store at the beginning of every call."""

    def __init__(self, store: Path, album: Path, **rules: Any) -> None:
        super().__init__(**rules)
        self.copies: list[tuple[Path, int]] = []
        """A copy of the store, and how many requests had been answered then."""
        self._store = store
        self._album = album

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        self._copy()
        return super().generate(prompts, sampling, seeds)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        self._copy()
        return super().loglikelihood(pairs)

    def _copy(self) -> None:
        folder = self._album / str(len(self.copies))
        folder.mkdir(parents=True)
        for file in self._store.parent.glob(f"{self._store.name}*"):
            if file.is_file() and not file.name.endswith("-shm"):
                shutil.copy(file, folder)
        self.copies.append((folder / self._store.name, len(self.seen)))


def found(path: Path, run_id: str) -> dict[str, object]:
    """Everything that a store knows of a run, but for times and what was computed in which sitting."""
    with Store(path) as store:
        record = store.runs.get(run_id)
        result = dict(record.result or {})
        logical = ("tokens_requested", "calls", "answers")
        spent = {part: {name: result[part][name] for name in logical} for part in ("spend", "proof")}
        return {
            "status": (record.status, record.stopped),
            "result": {**result, **spent},
            "candidates": store.runs.candidates(run_id),
            "evaluations": store.runs.evaluations(run_id),
            "likelihoods": store.runs.evaluations(run_id, "likelihood token"),
            "discards": store.runs.discards(run_id),
            "events": [(event.kind, event.text) for event in store.runs.events(run_id)],
        }


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        *((name, choices) for name in names() for choices in ({}, {"max_tokens": 12_000})),
        *((name, {"objective": "robust"}) for name in ("ape", "random")),  # an evaluator, the same for all methods
    ],
    ids=str,
)
def test_killed_at_any_call_and_resumed_is_never_interrupted(
    name: str, choices: dict[str, Any], tmp_path: Path
) -> None:
    path, place = tmp_path / "store.sqlite", world(name)
    lm = Photographed(path, tmp_path / "album", answer=place.answer, logprob=toy.logprob, name="scripted")
    run_id = runs.optimize(TASK, lm, method=name, settings=place.settings, store=path, **choices).run_id
    whole = found(path, run_id)
    assert lm.copies
    for copy, n_answered in lm.copies:
        second = place.model()
        resuming.resume(run_id, model=second, store=copy)
        assert second.seen == lm.seen[n_answered:]
        assert found(copy, run_id) == whole


def test_a_port_killed_at_any_call_and_asked_for_again_is_never_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    old = runs.optimize(TASK, toy.model(name="old"), method="random", store=path).run_id
    lm = Photographed(path, tmp_path / "album", answer=toy.answer, logprob=toy.logprob, name="new")
    whole = port(old, lm, store=path)
    assert len(lm.copies) > 4
    for copy, n_answered in lm.copies:
        second = toy.model(name="new")
        assert replace(port(old, second, store=copy), seconds=0.0) == replace(whole, seconds=0.0)
        assert second.seen == lm.seen[n_answered:]
        assert found(copy, whole.run_id) == found(path, whole.run_id)


@every_optimizer
def test_a_finished_run_is_repeated_without_a_model(name: str, tmp_path: Path) -> None:
    place = world(name)
    first = runs.optimize(TASK, place.model(), method=name, settings=place.settings, store=tmp_path / "s")
    again = resuming.replay(first.run_id, store=tmp_path / "s")
    assert again.spend.answers_cached == again.spend.answers
    assert again.spend.tokens_requested == first.spend.tokens_requested
    assert replace(again, spend=first.spend, final_evaluation=first.final_evaluation) == first


@every_optimizer
def test_a_limit_that_is_raised_later_ends_where_it_would_have_ended(name: str, tmp_path: Path) -> None:
    """A small budget makes a small search, and what is given stays: here every setting that follows a budget."""
    place = world(name)
    chosen = configure(name, place.settings)
    sizes = {size: getattr(chosen, size) for size in getattr(chosen, "SCALES", {})}
    settings: dict[str, Any] = {"method": name, "settings": {**place.settings, **sizes}}
    whole = runs.optimize(TASK, place.model(), store=tmp_path / "whole", **settings)
    short = runs.optimize(TASK, place.model(), store=tmp_path / "short", max_calls=100, **settings)
    longer = resuming.resume(short.run_id, model=place.model(), store=tmp_path / "short", max_calls=100_000)
    assert short.spend.calls <= 100
    assert (longer.best, longer.dev, longer.discards, longer.stopped) == (whole.best, whole.dev, whole.discards, "")
    assert longer.spend.tokens_requested == whole.spend.tokens_requested


def test_the_world_of_ape_is_one_in_which_something_is_found(tmp_path: Path) -> None:
    assert runs.optimize(TASK, world("ape").model(), store=tmp_path / "s").best == Prompt(toy.BEST)
