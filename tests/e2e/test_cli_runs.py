"""`localprompt runs` from the command line, on a store that was filled as a run fills it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from localprompt.cli.main import main
from localprompt.store import Store
from localprompt.types import Candidate, Discard, Evaluation, Outcome, Prompt

HOSTILE = "Sort\x1b[2J [red]it[/red]\ud800\u202e."


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def fill(path: Path, identity: object = 1, status: str = "finished") -> str:
    seed, first, best = Prompt(""), Prompt("First."), Prompt(HOSTILE)
    with Store(path) as store:
        run = store.runs.create(
            {"identity": identity, "settings": {"queries": 8}, "machine": HOSTILE},
            task=HOSTILE,
            model="tiny",
            proposer="tiny",
            method="ape",
            seed=7,
        )
        runs = store.runs
        with runs.hold(run.id):
            lineage = [Candidate(first, "forward", (seed.id,)), Candidate(best, "resample", (first.id,))]
            runs.add_candidates(run.id, [Candidate(seed, "seed"), *lineage])
            for prompt, scores in ((seed, (0.0, 0.0)), (first, (1.0,)), (best, (1.0, 0.0))):
                outcomes = [Outcome(f"dev:{n}", "a", score) for n, score in enumerate(scores)]
                outcomes.append(Outcome("test:1", "a", 1.0))
                runs.add_evaluations(run.id, "metric", [Evaluation(prompt, tuple(outcomes))])
            runs.add_discards(run.id, [Discard("x", "too long"), Discard("y", "too long"), Discard("z", HOSTILE)])
            runs.add_event(run.id, "note", f"the test split is small {HOSTILE}")
            store.answers.put([(b"%d" % n, "score", b"\xc4\x40" + bytes(64)) for n in range(10)], run.id)
            if status == "finished":
                test = {"seed": {"mean": 0.25}, "best": {"mean": 0.75}}
                result = {"test": test, "verdict": "significant improvement", "spend": {"calls": 1234}}
                runs.update(run.id, status="finished", result=result)
            store.runs.update(run.id, stopped="" if status == "finished" else "the machine was switched off")
    return run.id


def call(store: Path, *arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["runs", *arguments, "--store", str(store)], input=stdin)


def as_json(store: Path, *arguments: str) -> Any:
    result = call(store, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_list_shows_the_newest_run_first_with_what_came_out(store: Path) -> None:
    old, new = fill(store), fill(store, status="running")
    result = call(store, "list")
    assert result.exit_code == 0, result.output
    header, first, second = result.stdout.splitlines()
    assert header.startswith("run")
    assert first.startswith(new)
    assert "interrupted" in first  # its process is not there any more, and nobody said that it ended
    assert second.startswith(old)
    assert "0.250 to 0.750, significant improvement" in second
    assert "\x1b" not in result.stdout
    rows = as_json(store, "list")
    assert [(row["run_id"], row["status"], row["seed"]) for row in rows] == [
        (new, "interrupted", 7),
        (old, "finished", 7),
    ]
    assert rows[1]["test"] == {"seed": {"mean": 0.25}, "best": {"mean": 0.75}}


def fill_several(path: Path) -> None:
    """Fill a store with runs whose ids do not matter, the oldest first, and one without scores."""
    runs = (
        ("Sentiment", "tiny", "ape", (0.5, 0.6)),
        ("routing", "Tiny-2", "pe2", (0.1, 0.4)),
        ("sent-long", "big", "ape", (0.9, 0.8)),
        ("anything", "big", "opro", None),
    )
    with Store(path) as store:
        for number, (task, model, method, test) in enumerate(runs):
            run = store.runs.create({"identity": number}, task=task, model=model, proposer=model, method=method, seed=0)
            if test is not None:
                scores = {which: {"mean": mean} for which, mean in zip(("seed", "best"), test, strict=True)}
                store.runs.update(run.id, status="finished", result={"test": scores})


@pytest.mark.parametrize(
    ("options", "tasks"),
    [
        ((), ["anything", "sent-long", "routing", "Sentiment"]),
        (("--task", "SENT"), ["sent-long", "Sentiment"]),
        (("--model", "tiny", "--method", "p"), ["routing", "Sentiment"]),
        (("--status", "interr"), ["anything"]),
        (("--sort", "task"), ["anything", "routing", "sent-long", "Sentiment"]),
        (("--sort", "model"), ["anything", "sent-long", "Sentiment", "routing"]),
        (("--sort", "score"), ["sent-long", "Sentiment", "routing", "anything"]),
        (("--sort", "gain"), ["routing", "Sentiment", "sent-long", "anything"]),
        (("--sort", "gain", "--limit", "2"), ["routing", "Sentiment"]),
    ],
)
def test_a_list_is_filtered_sorted_and_cut(store: Path, options: tuple[str, ...], tasks: list[str]) -> None:
    fill_several(store)
    assert [row["task"] for row in as_json(store, "list", *options)] == tasks
    table = call(store, "list", *options).stdout.splitlines()
    assert [name for line in table[1:] for name in tasks if f" {name} " in line] == tasks


def test_filters_that_nothing_matches_are_told(store: Path) -> None:
    fill_several(store)
    result = call(store, "list", "--model", "llama", "--task", "sent")
    assert (result.exit_code, result.stdout) == (0, "no run has 'llama' in its model and 'sent' in its task\n")
    silent = call(store, "list", "--status", "paused", "--json")
    assert silent.stdout == "[]\n"
    assert "no run has 'paused' in its status" in silent.stderr


def test_an_order_that_there_is_not_is_refused(store: Path) -> None:
    for options in (("--sort", "colour"), ("--limit", "0")):
        assert call(store, "list", *options).exit_code == 2


def test_a_narrow_terminal_shows_whole_ids_and_what_came_out(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(store) as opened:
        names = {"task": "support-routing", "model": "qwen2.5-coder-1.5b-instruct", "proposer": "", "method": "protegi"}
        run = opened.runs.create({"identity": 1}, **names, seed=0)
        test = {"seed": {"mean": 0.25}, "best": {"mean": 0.75}}
        opened.runs.update(run.id, status="finished", result={"test": test, "verdict": "significant improvement"})
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    main(["runs", "list", "--store", str(store)], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "\u2026" not in printed
    assert {run.id, "finished", "0.250", "0.750,", "improvement"} <= set(printed.split())


def test_a_run_that_a_process_has_is_shown_as_running(store: Path) -> None:
    run_id = fill(store, status="running")
    with Store(store) as opened, opened.runs.hold(run_id):
        assert [row["status"] for row in as_json(store, "list")] == ["running"]
        refused = call(store, "delete", run_id, "--yes")
        assert refused.exit_code == 1
        assert f"in use by process {os.getpid()}" in refused.stderr


def test_a_run_whose_process_is_gone_is_interrupted_though_another_has_its_number(store: Path) -> None:
    run_id = fill(store, status="running")
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("UPDATE runs SET pid = ?", [os.getpid()])
    assert [row["status"] for row in as_json(store, "list")] == ["interrupted"]
    assert "interrupted" in call(store, "show", run_id).stdout


def test_vacuum_is_refused_while_a_run_is_going_on(store: Path) -> None:
    run_id = fill(store, status="running")
    with Store(store) as opened, opened.runs.hold(run_id):
        refused = call(store, "vacuum")
    assert refused.exit_code == 1
    assert f"the run {run_id} is in use by process {os.getpid()}" in refused.stderr


def test_an_empty_store_lists_nothing(store: Path) -> None:
    assert "no runs in" in call(store, "list").stdout
    assert as_json(store, "list") == []


def test_the_newest_studies_are_named_below_the_runs(store: Path) -> None:
    fill(store)
    with Store(store) as opened:
        ids = [opened.studies.enter(kind, kind, {}).id for kind in ("port", "comparison")]
    told = (
        f"newest studies: {ids[1]} (comparison, running), {ids[0]} (port, running); `localprompt report ID` shows one"
    )
    assert told in call(store, "list").stdout
    assert ids[0] not in call(store, "list", "--limit", "1").stdout
    assert "studies" not in call(store, "list", "--status", "finished").stdout
    assert len(as_json(store, "list")) == 1


def test_show_prints_what_a_person_wants_to_know(store: Path) -> None:
    run_id = fill(store)
    result = call(store, "show", run_id[:6])
    assert result.exit_code == 0, result.output
    for piece in (
        run_id,
        "finished",
        "ape, seed 7",
        "0.250 to 0.750, significant improvement",
        "calls 1,234",
        "3 prompts on dev",
        "0.500         2  resample",
        "0.000         2  seed",
        "(no instruction)",
        "proposals not used: 2 too long, 1 Sort\\u{1b}[2J",
        "Note: the test split is small",
    ):
        assert piece in result.stdout, piece
    every = call(store, "show", run_id, "--candidates").stdout
    assert "0.500 on 2 dev examples  resample < forward < seed" in every
    places = [every.index(f"{score} dev examples") for score in ("0.500 on 2", "0.000 on 2", "1.000 on 1")]
    assert places == sorted(places)  # that on fewer examples is last


def test_show_lets_no_text_command_the_terminal(store: Path) -> None:
    result = call(store, "show", fill(store))
    assert "Sort\\u{1b}[2J [red]it[/red]\\u{d800}\\u{202e}." in result.stdout
    assert not any(c in result.stdout for c in "\x1b\u202e")


def test_show_prints_all_as_json(store: Path) -> None:
    run_id = fill(store)
    facts = as_json(store, "show", run_id)
    assert facts["configuration"]["machine"] == HOSTILE
    assert facts["spend"] == {"calls": 1234}
    assert facts["discards"] == {"too long": 2, HOSTILE.replace("\ud800", "\\ud800"): 1}
    assert [each["text"] for each in facts["discarded_proposals"]] == ["x", "y", "z"]
    best = facts["candidates"][0]
    assert (best["prompt"]["instruction"], best["op"], best["dev"]) == (HOSTILE, "resample", {"mean": 0.5, "n": 2})
    assert best["parents"] == [Prompt("First.").id]


def test_a_lineage_that_goes_in_a_circle_ends(store: Path) -> None:
    a, b = Prompt("a"), Prompt("b")
    with Store(store) as opened:
        run = opened.runs.create({"identity": 1}, task="t", model="m", proposer="p", method="ape", seed=0)
        opened.runs.add_candidates(run.id, [Candidate(a, "x", (b.id,)), Candidate(b, "y", (a.id, "gone"))])
    result = call(store, "show", run.id, "--candidates")
    assert "not scored  x < y of 2 < x < y of 2 < x < y of 2 < ..." in result.stdout


def test_a_result_of_another_shape_is_shown_as_none(store: Path) -> None:
    run_id = fill(store, status="running")
    with Store(store) as opened:
        opened.runs.update(run_id, result={"test": [1], "spend": "much", "verdict": 3})
    for result in (call(store, "show", run_id), call(store, "list")):
        assert result.exit_code == 0, result.output
    assert as_json(store, "list")[0]["test"] is None


@pytest.mark.parametrize("number", [pytest.param(10**400, id="huge"), float("nan"), float("inf"), "0.5", True, None])
def test_a_score_that_is_none_leaves_the_list_usable(store: Path, number: object) -> None:
    run_id = fill(store, status="running")
    with Store(store) as opened:
        opened.runs.update(run_id, result={"test": {"seed": {"mean": number}, "best": {"mean": 0.5}}})
    for result in (call(store, "show", run_id), call(store, "list"), call(store, "list", "--json")):
        assert result.exit_code == 0, result.output
        assert "Traceback" not in result.output


def test_an_unknown_run_is_an_error_with_a_hint(store: Path) -> None:
    fill(store)
    for command in (["show"], ["delete", "--yes"], ["export"]):
        arguments = [*command, "xyz", *([str(store) + ".run"] if command == ["export"] else [])]
        result = call(store, *arguments)
        assert result.exit_code == 1
        assert "no run begins with 'xyz'" in result.stderr
        assert "`localprompt runs list`" in result.stderr
        assert "--store names another store" in result.stderr


def test_delete_asks_first_and_removes_what_was_named_and_nothing_else(store: Path) -> None:
    ids = [fill(store, identity) for identity in range(3)]
    assert call(store, "delete", ids[0], stdin="n\n").exit_code == 1
    assert len(as_json(store, "list")) == 3
    assert call(store, "delete", ids[0], ids[0], ids[2], stdin="y\n").exit_code == 0
    assert [row["run_id"] for row in as_json(store, "list")] == [ids[1]]
    assert as_json(store, "delete", ids[1], "--yes") == {"deleted": [ids[1]]}


def test_nothing_is_deleted_if_a_process_has_one_of_the_runs(store: Path) -> None:
    ids = [fill(store, identity) for identity in range(3)]
    with Store(store) as opened, opened.runs.hold(ids[1]):
        refused = call(store, "delete", *ids, "--yes")
        assert (refused.exit_code, f"the run {ids[1]} is in use" in refused.stderr) == (1, True)
        assert {run.id for run in opened.runs.all()} == set(ids)
    assert as_json(store, "delete", *ids, "--yes") == {"deleted": ids}


def test_nothing_is_deleted_if_one_of_the_names_is_unknown(store: Path) -> None:
    run_id = fill(store)
    assert call(store, "delete", run_id, "zz", "--yes").exit_code == 1
    assert len(as_json(store, "list")) == 1


def test_check_says_that_a_store_is_sound_or_what_is_not(store: Path) -> None:
    fill(store)
    assert "is sound" in call(store, "check").stdout
    assert as_json(store, "check")["problems"] == []
    with Store(store) as opened:
        opened.answers.put([(b"key", "score", b"\xc1")])
    result = call(store, "check")
    assert result.exit_code == 1
    assert "answers: the row b'key' cannot be read" in result.stdout
    assert json.loads(call(store, "check", "--json").stdout)["problems"]


def test_a_damaged_store_is_one_clear_error(store: Path) -> None:
    store.write_bytes(b"not a store at all" * 100)
    for command in (["list"], ["show", "x"], ["delete", "x"], ["check"], ["vacuum"], ["import", str(store)]):
        result = call(store, *command)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: the store {store}: it is not a store"), result.stderr
        assert "Hint: " in result.stderr
        assert result.stdout == ""


def test_vacuum_says_what_it_gained(store: Path) -> None:
    run_id = fill(store)
    call(store, "delete", run_id, "--yes")
    assert "MB now" in call(store, "vacuum").stdout
    sizes = as_json(store, "vacuum")
    assert sizes["bytes_after"] <= sizes["bytes_before"]


def test_a_run_moves_to_another_store_as_one_file(store: Path, tmp_path: Path) -> None:
    run_id = fill(store)
    file, other = tmp_path / "a.run", tmp_path / "other.sqlite"
    assert as_json(store, "export", run_id[:5], str(file)) == {"run_id": run_id, "file": str(file)}
    assert f"run {run_id} is in the store" in call(other, "import", str(file)).stdout
    assert as_json(other, "show", run_id) == {**as_json(store, "show", run_id), "imported": True}
    for command in (["list"], ["show", run_id]):
        assert "finished, imported" in call(other, *command).stdout
        assert "imported" not in call(store, *command).stdout
    again = call(other, "import", str(file))
    assert again.exit_code == 1
    assert "already" in again.stderr


def test_every_command_has_a_help_page_that_names_the_store() -> None:
    for command in ("list", "show", "delete", "check", "vacuum", "export", "import"):
        result = CliRunner().invoke(main, ["runs", command, "--help"])
        assert result.exit_code == 0
        assert "--store PATH" in result.stdout
        assert "--json" in result.stdout


def test_runs_are_listed_without_loading_an_engine(store: Path) -> None:
    code = (
        "import sys; from localprompt.cli.main import main\n"
        f"main(['runs', 'list', '--store', {str(store)!r}], standalone_mode=False)\n"
        "print({'llama_cpp', 'scipy', 'numpy', 'huggingface_hub', 'pydantic'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "set()"
