"""`localprompt runs show`: what somebody looks for stands first, how the run was set up behind an option."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner

import localprompt
from localprompt.cli.main import main
from localprompt.cli.streams import console
from localprompt.cli.tables import facts_table
from localprompt.errors import ModelError
from localprompt.store import Store
from localprompt.types import Demo, Prompt


def show(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["runs", "show", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def newest() -> str:
    with Store() as store:
        return store.runs.every()[0].id


def test_a_finished_run_begins_with_what_came_out() -> None:
    found = localprompt.optimize(toy.task(), toy.model(), method="ape")
    text = show(found.run_id)
    assert text.startswith("significant improvement: 0.000 to 1.000 on test\n")
    pieces = (
        f"run {found.run_id}: toy, ape, seed 0, scripted",
        "Found prompt",
        toy.BEST,
        "Seed prompt",
        "test score   95 % interval  examples",
        "prompts on dev:",
        "dev score  examples  made by",
        "test rows that changed: 40 fixed, 0 broken, such as",
        "On the same 40 examples the difference is +100 points (95 % interval ",
        "The runner-up is ",
        "The search computed ",
        "proposals not used: ",
        f"`localprompt runs show {found.run_id}` with --candidates (all ",
        f"`localprompt report {found.run_id}` makes a page of it",
    )
    places = [text.find(piece) for piece in pieces]
    assert -1 not in places, pieces[places.index(-1)]
    assert places == sorted(places)
    assert not any(internal in text for internal in ("identity", "machine.", "settings.", "fingerprint"))
    assert re.findall(r"\b[0-9a-f]{16}\b", text) == []
    assert text.count("\nfixed   alpha") == 3
    assert len(text.splitlines()) < 50


def test_of_a_search_by_operators_it_says_what_paid() -> None:
    text = show(localprompt.optimize(toy.task(), toy.model(), method="auto").run_id)
    assert (
        text.index("The runner-up is ") < text.index("what paid on dev: opening +") < text.index("The search computed ")
    )


def test_where_the_seed_stays_it_is_said_once() -> None:
    text = show(localprompt.optimize(toy.task(), toy.model(), method="manual").run_id)
    assert text.startswith("no better prompt found: the seed prompt scores 0.000 on test")
    assert "Found prompt" not in text
    assert [line.split()[0] for line in text.splitlines() if line.endswith(" 40")] == ["seed"]


def test_how_a_run_was_set_up_is_shown_if_wanted() -> None:
    found = localprompt.optimize(toy.task(), toy.model(), method="manual")
    settings = [line.split()[0] for line in show(found.run_id, "--settings").splitlines() if line.strip()]
    assert re.search(r"use_cache +true\s", show(found.run_id, "--settings"))
    assert {"machine.python", "limits.max_tokens", "model.fingerprint", "seed", "use_cache"} <= set(settings)


def test_names_of_a_configuration_from_elsewhere_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(facts_table([("machine.[/b]", "[red]"), ("[red]\x1b", "[/]")]))
    assert capsys.readouterr().out.split() == ["machine.[/b]", "[red]", "[red]\\u{1b}", "[/]"]


def test_of_the_candidates_the_best_five_are_shown_or_all_with_their_ids() -> None:
    found = localprompt.optimize(toy.task(), toy.model(), method="ape")
    with Store() as store:
        ids = {each.prompt.id for each in store.runs.candidates(found.run_id)}
    table = show(found.run_id).partition("made by")[2].partition("\n\n")[0].splitlines()[1:]
    assert len([line for line in table if not line.startswith(" " * 25)]) == 5 < len(ids)
    every = show(found.run_id, "--candidates")
    assert set(re.findall(r"\b[0-9a-f]{16}\b", every)) == ids
    for piece in (
        "candidates, the best first:",
        "1.000 on 40 dev examples  forward",
        "prompts that no other beats in both score and length:",
        "seed       0.000       2      0  (no instruction)",
        "found      1.000      12      0  Turn every alpha into the omega that ha…",
    ):
        assert piece in every


def test_of_many_worked_examples_two_are_shown_or_all() -> None:
    demos = tuple(Demo({"input": f"alpha{n}"}, f"omega{n}") for n in range(4))
    prompt = Prompt("omega", demos)
    task = replace(toy.task(), layout=toy.SHOWING, seeds=(prompt,))
    found = localprompt.optimize(task, toy.model(), method="manual")
    assert "demo 2" in show(found.run_id)
    assert "demo 3" not in show(found.run_id)
    assert "and 2 more demos" in show(found.run_id)
    assert "demo 4" in show(found.run_id, "--candidates")


def test_all_test_rows_are_shown_if_wanted_with_margins() -> None:
    task = toy.task(labels=("even", "odd"))
    found = localprompt.optimize(replace(task, seeds=(Prompt("even"),)), toy.model(logprob=toy.parity), method="manual")
    lines = show(found.run_id, "--rows").splitlines()
    start = lines.index("test rows: 20 still right, 20 still wrong")
    assert lines[start + 1 : start + 3] == [
        "still right  alpha60",
        "        target even, before even (margin +3.5), after even (margin +3.5)",
    ]
    assert len([line for line in lines if line.startswith("still ")]) == 40
    assert "test rows" not in show(found.run_id)


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
    assert re.search(r"spend: [\d,]+ tokens, \d+ s so far", text)


def test_a_run_that_found_nothing_yet_says_so() -> None:
    with pytest.raises(ModelError):
        localprompt.optimize(toy.task(), toy.model(answer=_fail), method="manual")
    assert "no prompt was scored yet" in show(newest())
    with Store() as store:
        store.runs.update(newest(), status="paused")
    assert show(newest()).startswith("no result yet\n")


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
