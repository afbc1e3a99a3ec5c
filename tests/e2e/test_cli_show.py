"""`localprompt runs show`: what somebody looks for stands first, how the run was set up behind an option."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner

import localprompt
from localprompt.cli.main import main
from localprompt.errors import ModelError
from localprompt.store import Store


def show(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["runs", "show", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def newest() -> str:
    with Store() as store:
        return store.runs.every()[0].id


def test_a_finished_run_begins_with_what_came_out() -> None:
    found = localprompt.optimize(toy.task(), toy.model())
    text = show(found.run_id)
    pieces = (
        f"run {found.run_id}: toy, ape, seed 0, scripted",
        "difference +1.000",
        "significant improvement",
        "Found prompt",
        toy.BEST,
        "Seed prompt",
        "test score   95 % interval  examples",
        "runner-up: ",
        "prompts that no other beats in both score and length:",
        "seed       0.000       2      0  (no instruction)",
        "found      1.000      12      0  Turn every alpha into the omega that …",
        "candidates, the best first:",
        "dev 1.000 on 40  forward",
        "spent ",
        "proposals not used: ",
        f"`localprompt runs show {found.run_id} --settings` says how it was set up",
    )
    places = [text.find(piece) for piece in pieces]
    assert -1 not in places, pieces[places.index(-1)]
    assert places == sorted(places)
    assert not any(internal in text for internal in ("identity", "machine.", "settings.", "fingerprint"))
    assert len(text.splitlines()) < 50


def test_how_a_run_was_set_up_is_shown_if_wanted() -> None:
    found = localprompt.optimize(toy.task(), toy.model(), method="manual")
    settings = [line.split()[0] for line in show(found.run_id, "--settings").splitlines() if line.strip()]
    assert re.search(r"use_cache +true\s", show(found.run_id, "--settings"))
    assert {"machine.python", "limits.max_tokens", "model.fingerprint", "seed", "use_cache"} <= set(settings)


def test_so_many_candidates_are_shown_as_are_asked_for() -> None:
    found = localprompt.optimize(toy.task(), toy.model())
    few = [line for line in show(found.run_id, "--top", "2").splitlines() if "  forward" in line or "  seed" in line]
    assert len(few) == 2


def test_a_paused_run_shows_what_is_known_and_how_to_go_on() -> None:
    found = localprompt.optimize(toy.task(), toy.model(), pause_after=1e-9)
    text = show(found.run_id)
    assert f"paused: {found.stopped}" in text
    assert f"`localprompt resume {found.run_id} --model MODEL` continues" in text


def test_a_failed_run_shows_its_best_prompt_so_far_and_how_to_go_on() -> None:
    def answer(prompt: str, seed: int) -> str:
        if not toy.is_asked_to_write(prompt) and int(re.findall(r"alpha(\d+)", prompt)[-1]) >= 60:  # of the test split
            raise ModelError("the machine is too hot")
        return toy.answer(prompt, seed)

    with pytest.raises(ModelError):
        localprompt.optimize(toy.task(), toy.model(answer=answer))
    text = show(newest())
    assert "failed: the machine is too hot" in text
    assert "Best prompt so far, 1.000 on " in text
    assert toy.BEST in text
    assert f"`localprompt resume {newest()} --model MODEL` continues" in text


def test_a_run_that_found_nothing_yet_says_so() -> None:
    with pytest.raises(ModelError):
        localprompt.optimize(toy.task(), toy.model(answer=_fail), method="manual")
    assert "no prompt was scored yet" in show(newest())


def _fail(prompt: str, seed: int) -> str:
    raise ModelError("the machine is too hot")


def test_an_imported_run_is_marked(tmp_path: Path) -> None:
    found = localprompt.optimize(toy.task(), toy.model(), method="manual")
    with Store() as store:
        store.runs.export(found.run_id, tmp_path / "it.run")
    other = ["--store", str(tmp_path / "other.db")]
    CliRunner().invoke(main, ["runs", "import", str(tmp_path / "it.run"), *other])
    assert "finished, imported" in show(found.run_id, *other)
    assert json.loads(show(found.run_id, "--json", *other))["imported"] is True
