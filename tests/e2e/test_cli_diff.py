"""`localprompt runs diff`: what differs between two runs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import toy
from click.testing import CliRunner

import localprompt
from localprompt.cli.diff import print_difference
from localprompt.cli.main import main
from localprompt.interface.paths import default_store
from localprompt.run.difference import Wording, run_difference, word_difference
from localprompt.run.history import read_history
from localprompt.run.results import RunResult
from localprompt.stats.intervals import paired_difference
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Demo, Prompt


def diff(*arguments: str, width: int = 80) -> str:
    result = CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["runs", "diff", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(*arguments: str) -> Any:
    return json.loads(diff(*arguments, "--json"))


def manual(instruction: str, task: Task | None = None, *demos: Demo, **options: Any) -> RunResult:
    given = replace(task or toy.task(), seeds=(Prompt(instruction, demos),))
    return localprompt.optimize(given, toy.model(), method="manual", **options)


def test_the_difference_stands_first_then_runs_set_up_prompts_and_rows() -> None:
    half, whole = manual("Say something of the alpha."), manual("Say something of the omega.", seed=3)
    text = diff(half.run_id, whole.run_id)
    paired = paired_difference([1.0, 0.0] * 20, [1.0] * 40)
    assert text.startswith(f"the second is significantly better: second - first is +{paired.mean:.3f} (95 % interval ")
    pieces = (
        "p < 0.0001) on the 40 test rows of both",
        f"first   {half.run_id}  0.500  0.500  0.338 to 0.662        40",
        f"second  {whole.run_id}  1.000  1.000  0.912 to 1.000        40",
        "first   no better prompt found",
        "set-up  ",
        "\nseed ",
        "from the first found instruction to the second:",
        "Say something of the [-alpha.-]{+omega.+}",
        "test rows: 0 better with the first, 20 with the second, 20 alike",
        "second  alpha61",
        "        target omega61, first no idea, second omega61",
        "Note: both were measured on these rows",
    )
    places = [text.find(piece) for piece in pieces]
    assert -1 not in places, pieces[places.index(-1)]
    assert places == sorted(places)
    assert text.count("\nsecond  alpha") == 3
    assert diff(half.run_id, whole.run_id, "--rows").count("\nsecond  alpha") == 20
    assert diff(whole.run_id, half.run_id).startswith("the first is significantly better: second - first is -0.500")
    assert not any("…" in line for line in text.splitlines()[:8])  # at the usual width all numbers are whole


def test_seconds_are_those_of_all_sessions_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    run_id = manual("omega").run_id
    with Store() as store:
        history = read_history(store, run_id)
    marks = {prompt_id: replace(mark, seconds=6000.0) for prompt_id, mark in history.first_measured.items()}
    resumed = replace(history, first_measured=marks)
    print_difference([history, resumed], run_difference(history, resumed), rows=False)
    printed = capsys.readouterr().out.splitlines()
    first, second = (int(line.split()[-1]) for line in printed if "no better prompt found" in line)
    assert abs(second - first - 6000) <= 1, "of the last one, and what the machine took here"


def test_two_runs_alike_differ_in_nothing() -> None:
    run_id = manual("omega").run_id
    text = diff(run_id, run_id)
    assert text.startswith("no significant difference")
    for piece in (
        "both were set up alike",
        "both found the same prompt:\nomega",
        "0 better with the first, 0 with the",
    ):
        assert piece in text


def test_as_json_each_part_is_there() -> None:
    half, whole = manual("the alpha"), manual("the omega", seed=3)
    found = as_json(half.run_id[:8], whole.run_id[:8])
    assert [found[which]["run_id"] for which in ("first", "second")] == [half.run_id, whole.run_id]
    assert found["second"]["result"]["test"]["best"]["mean"] == 1
    assert {"name": "seed", "first": 0, "second": 3} in found["setup"]
    assert found["wording"] == [
        {"change": "same", "text": "the "},
        {"change": "removed", "text": "alpha"},
        {"change": "added", "text": "omega"},
    ]
    assert found["difference"]["mean"] == 0.5
    assert found["verdict"] == "the second is significantly better"
    assert found["not_compared"] == ""
    assert len(found["changed_rows"]) == 20
    assert found["changed_rows"][0]["after"]["prediction"] == found["changed_rows"][0]["targets"][0]


def test_the_set_up_is_told_by_names_that_say_something() -> None:
    one = localprompt.optimize(toy.task(), toy.model(), max_tokens=5000, settings={"queries": 8})
    other = localprompt.optimize(toy.task(dev=30), toy.model(), max_tokens=6000, settings={"queries": 9})
    names = {each["name"]: (each["first"], each["second"]) for each in as_json(one.run_id, other.run_id)["setup"]}
    assert names["settings.queries"] == (8, 9)
    assert names["limits.max_tokens"] == (5000, 6000)
    assert names["task.dev"] == ("40 rows", "30 rows")
    assert not any("fingerprint" in name or "identity" in name for name in names)
    warm = localprompt.optimize(toy.task(), toy.model(), max_tokens=5000, settings={"queries": 8}, from_run=one.run_id)
    (begun,) = [each for each in as_json(one.run_id, warm.run_id)["setup"] if each["name"] == "warm"]
    assert begun["first"] == "none"
    assert toy.BEST in begun["second"]
    method = localprompt.optimize(toy.task(), toy.model(name="another"), max_tokens=5000, method="random")
    names = {each["name"]: each["second"] for each in as_json(one.run_id, method.run_id)["setup"]}
    assert {"method": "random", "model": "another"}.items() <= names.items()
    assert not any(name.startswith(("settings", "model.", "meta_prompts")) for name in names)


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (toy.task(dev=41), "the test rows of the two tasks differ"),
        (replace(toy.task(), answer=lambda text: text, labels=()), "the two tasks judge answers differently"),
    ],
)
def test_rows_of_different_tasks_are_not_compared(task: Task, why: str) -> None:
    one, other = manual("omega"), manual("omega", task)
    text = diff(one.run_id, other.run_id)
    assert text.startswith(f"not compared row by row: {why}\n")
    assert "better with the first" not in text
    found = as_json(one.run_id, other.run_id)
    assert (found["difference"], found["verdict"], found["changed_rows"]) == (None, None, [])


def test_a_run_without_a_result_is_compared_as_far_as_it_goes() -> None:
    done = manual("omega")
    with Store() as store:
        begun = store.runs.create({"identity": 1}, task="t", model="m", proposer="m", method="ape", seed=0)
    text = diff(done.run_id, begun.id)
    assert text.startswith("not compared row by row: the second run has no test rows that were measured")
    assert "second  no result, interrupted" in text
    assert as_json(begun.id, done.run_id)["wording"] == []


def test_cross_validated_runs_are_compared_on_the_rows_of_all_folds() -> None:
    task = replace(toy.task(train=10, dev=20, test=0), folds=5)
    one, other = manual("alpha", task), manual("omega", task, seed=1)
    assert diff(one.run_id, other.run_id).startswith("the second is significantly better: second - first is +0.500")
    found = as_json(one.run_id, other.run_id)
    assert found["difference"]["n"] == 30
    assert len(found["changed_rows"]) == 15
    assert all(row["after"]["prediction"] == row["targets"][0] for row in found["changed_rows"])


def test_seed_prompts_are_told_by_their_words() -> None:
    found = as_json(manual("alpha").run_id, manual("omega").run_id)["setup"]
    assert {"name": "task.seeds", "first": "alpha", "second": "omega"} in found


@pytest.mark.parametrize("odd", [7, "x", [7], {"name": []}, {"seeds": 7, "test": "x", "folds": []}, None])
def test_a_configuration_of_another_shape_is_no_obstacle(odd: object) -> None:
    one, other = manual("alpha"), manual("omega")
    with Store() as store:
        record = store.runs.get(other.run_id)
        store.runs.update(other.run_id, configuration={**record.configuration, "task": odd, "limits": odd})
    assert diff(one.run_id, other.run_id).startswith("not compared row by row: the second run has no test rows")
    assert diff(other.run_id, one.run_id).startswith("not compared row by row: the first run has no test rows")
    assert as_json(one.run_id, other.run_id)["difference"] is None


def test_a_damaged_run_is_compared_as_far_as_it_can_be_read() -> None:
    one, other = manual("alpha"), manual("omega")
    with closing(sqlite3.connect(default_store(), isolation_level=None)) as connection:
        connection.execute("UPDATE runs SET configuration = '{' WHERE id = ?", [other.run_id])
    text = diff(one.run_id, other.run_id)
    assert "how a run was set up cannot be read: it is damaged" in text
    assert "second  no result, damaged" in text
    found = as_json(one.run_id, other.run_id)
    assert (found["setup"], found["second"]["status"], found["second"]["result"]) == ([], "damaged", None)
    shown = CliRunner().invoke(main, ["runs", "show", other.run_id]).stdout
    assert shown.startswith("no result that can be read\n")


def test_worked_examples_are_counted() -> None:
    task = replace(toy.task(), layout=toy.SHOWING)
    first, second = (Demo({"input": f"alpha{n}"}, f"omega{n}") for n in (1, 2))
    one, other = manual("", task, first), manual("", task, first, second)
    text = diff(one.run_id, other.run_id)
    assert "(both have no instruction)" in text
    assert "worked examples: 1 and 2, 1 of them in both" in text


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("a", ""), ("", "a b"), ("a b  c\n", "a x y\nc"), ("one two three", "one 2 three"), (" a", "a ")],
)
def test_both_texts_can_be_put_together_again(before: str, after: str) -> None:
    found = list(word_difference(before, after))
    assert "".join(each.text for each in found if each.change != "added") == before
    assert "".join(each.text for each in found if each.change != "removed") == after


def test_words_that_are_replaced_together_are_one_change() -> None:
    assert list(word_difference("What is it?", "Tell me it?")) == [
        Wording("removed", "What is"),
        Wording("added", "Tell me"),
        Wording("same", " it?"),
    ]


def test_very_long_texts_are_replaced_whole() -> None:
    before, after = ("word " * 3000, "word " * 3001)
    assert list(word_difference(before, after)) == [Wording("removed", before), Wording("added", after)]


def test_what_a_terminal_would_obey_is_shown_as_text() -> None:
    one, other = manual("the \x1b[2J omega"), manual("the \u202e omega")
    text = diff(one.run_id, other.run_id)
    assert "the [-\\u{1b}[2J-]{+\\u{202e}+} omega" in text


def test_an_unknown_run_is_an_error() -> None:
    run_id = manual("omega").run_id
    result = CliRunner().invoke(main, ["runs", "diff", run_id, "zz"])
    assert result.exit_code == 1
    assert "no run begins with 'zz'" in result.stderr
