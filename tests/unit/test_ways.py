"""Which way to ask suits a model: the race on dev, the confirmation on train, and the keys for the task file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy
import yaml

from localprompt import Prompt, TaskError, load_task, tune
from localprompt.errors import ConfigError
from localprompt.run.ways import AS_IT_IS, Tuned, Way
from localprompt.stats.intervals import Difference, interval
from localprompt.tasks import Layout, Task
from localprompt.types import Spend

SAY = Prompt("Is it even or odd?")


def labelled(train: int = 60, **changes: object) -> Task:
    task = toy.task(train=train, dev=80, labels=("even", "odd"))
    return replace(task, **{"seeds": (SAY,), "layout": toy.SHOWING, **changes})  # type: ignore[arg-type]


def knows(is_clear: Callable[[str], bool], prior: float = 0.0) -> Callable[[str, str], float]:
    """A model that is right where it is asked clearly, and says `even` else; `prior` nats speak for `even` always."""

    def logprob(context: str, continuation: str) -> float:
        number = int(re.findall(r"alpha(\d+)", context)[-1])
        right = ("even", "odd")[number % 2] if is_clear(context) else "even"
        label = continuation.strip()
        return (-0.5 if label == right else -2.0) + (prior if label == "even" else 0.0)

    return logprob


def test_the_best_layout_is_found_on_dev_and_confirmed_on_train() -> None:
    lm = toy.Watched(logprob=knows(lambda context: "answer" in context[-10:].lower()), name="answers")
    found = tune(labelled(), lm, rows=40)
    assert "'Answer' for 'Output'" in found.best.change
    assert (found.best.score.mean, found.best.score.n) == (1.0, 40)
    assert {way.score.n for way in found.ways} == {16, 40}
    as_it_is = next(way for way in found.ways if (way.change, way.label_score) == (AS_IT_IS, "sum"))
    assert (as_it_is.score.mean, as_it_is.score.n, as_it_is.keys) == (0.5, 40, {})
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(0.5, abs=0.1)
    assert found.gain.low > 0
    asked = {int(n) for pairs in lm.scored for context, _ in pairs for n in re.findall(r"alpha(\d+)", context)}
    assert max(asked) < 140, "test begins with 140"


def test_rows_that_confirm_are_shown_by_no_prompt_calibrate_nothing_and_are_no_copies_of_dev() -> None:
    task = labelled(train=30)
    copied = replace(task.dev[0], id="train:copy")
    task = replace(task, train=(*task.train, copied))
    lm = toy.Watched(logprob=knows(lambda context: True, prior=4.0), name="prior")
    found = tune(task, lm)
    assert (found.best.label_score, found.best.keys) == ("batch", {"label_score": "batch"})
    shown = {demo.inputs["input"] for prompt in found.prompts for demo in prompt.demos}
    assert [len(prompt.demos) for prompt in found.prompts] == [0, 4]
    assert found.gain is not None
    # 16 calibrate: those that a prompt does not show, so one prompt's may be shown by the other.
    assert found.gain.n == 30 - 16 - len(shown - {f"alpha{n}" for n in range(16)})


def test_the_task_as_it_is_stays_where_nothing_is_ahead() -> None:
    found = tune(labelled(), toy.model(logprob=knows(lambda context: True)))
    assert (found.best.change, found.best.label_score, dict(found.best.keys), found.gain) == (AS_IT_IS, "sum", {}, None)


def test_labels_of_several_words_are_compared_by_their_first_ones_too() -> None:
    def wordy(context: str, continuation: str) -> float:
        first, *others = continuation.split()
        # How much it doubts the other words hangs on the row, so calibration takes it off for some alone.
        doubt = 9 * (int(re.findall(r"alpha(\d+)", context)[-1]) % 4 == 1)
        return knows(lambda _: True)(context, first) - doubt * len(others)

    names = ("even", "odd really")
    task = replace(labelled(), labels=names)
    rows: dict[str, Any] = {
        split: tuple(replace(row, targets=(names[row.targets[0] == "odd"],)) for row in getattr(task, split))
        for split in ("train", "dev", "test")
    }
    found = tune(replace(task, **rows), toy.model(logprob=wordy))
    assert {way.label_score for way in found.ways} == {"sum", "batch", "prefix"}
    assert (found.best.label_score, found.best.keys, found.best.score.mean) == (
        "prefix",
        {"label_score": "prefix"},
        1.0,
    )


def test_no_gain_is_claimed_where_no_train_rows_are_left() -> None:
    found = tune(labelled(train=16), toy.model(logprob=knows(lambda context: True, prior=4.0)))
    assert found.best.label_score == "batch"
    assert found.gain is None


def test_a_model_without_a_chat_template_is_asked_no_chats() -> None:
    task = labelled()
    with_chats = [way.change for way in tune(task, toy.model()).ways if "chat" in way.change]
    assert with_chats
    assert not [way.change for way in tune(task, toy.model(has_chat=False)).ways if "chat" in way.change]


def test_generated_answers_have_ways_too_and_a_stop_goes_with_the_layout() -> None:
    task = replace(toy.task(), seeds=(Prompt(toy.BEST),))
    found = tune(task, toy.model())
    assert {way.label_score for way in found.ways} == {""}
    assert found.best.change == AS_IT_IS, "right on every row"


def test_a_cross_validated_task_is_refused_before_anything_is_asked() -> None:
    lm = toy.Watched()
    with pytest.raises(TaskError, match="cross-validated"):
        tune(replace(toy.task(), folds=5, test=()), lm)
    assert not lm.asked


@pytest.mark.parametrize("rows", [0, -5])
def test_what_is_no_number_of_rows_is_refused_before_anything_is_asked(rows: int) -> None:
    lm = toy.model()
    with pytest.raises(ConfigError, match=f"rows is {rows}"):
        tune(toy.task(), lm, rows=rows)
    assert lm.seen == []


@pytest.mark.parametrize(
    "layout",
    [
        toy.SHOWING,
        Layout("{{instruction}}\n\n{{demos}}Q: {{input}}\nA:\n", "Q: {{input}}\nA:\n{{output}}\n", separator=""),
        Layout("{{demos}}{{input}}\t", "{{input}}\t{{output}}\n", "chat", "{{instruction}}\n\n", "Answer:\n", " "),
    ],
)
def test_the_keys_in_a_task_file_ask_as_the_way_does(layout: Layout, tmp_path: Path) -> None:
    from localprompt.run.ways import _keys  # noqa: PLC0415 - what `tune` prints of each way

    path = Path(toy.write_task(tmp_path, 10, 10, 10))
    task = load_task(path)
    asked = task.laid_out(layout)
    file = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    path.write_text(yaml.safe_dump({**file, **_keys(task, asked)}), encoding="utf-8")
    again = load_task(path)
    assert (again.layout, again.sampling, again.fingerprint) == (layout, asked.sampling, asked.fingerprint)


def test_keys_are_printed_as_yaml_that_says_the_same() -> None:
    from localprompt.cli.ways import _yaml  # noqa: PLC0415

    layout = {
        "template": 'Sag: "{{input}}" — 猫😀\u2028\n\t#\n',
        "demo": "a: {{output}}\n\n",
        "mode": "raw",
        "system": "",
        "separator": " ",
    }
    keys = {"layout": layout, "label_score": "batch"}
    assert yaml.load(_yaml(keys), Loader=yaml.BaseLoader) == keys


@pytest.mark.parametrize(("gain", "is_kept"), [(-0.1, True), (0.0, True), (0.1, False)])
def test_a_way_that_gains_nothing_on_other_rows_is_not_recommended(gain: float, is_kept: bool) -> None:
    from localprompt.cli.ways import _gain  # noqa: PLC0415

    best = Way("chat", "batch", {"label_score": "batch"}, interval([0.9] * 20))
    tuned = Tuned("toy", "toy:1", (Prompt(""),), (best,), Difference(gain, -0.3, 0.3, 0.5, 20), Spend())
    assert ("keep the task as it is" in _gain(tuned)) == is_kept


def test_the_command_prints_scores_gain_and_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner  # noqa: PLC0415

    from localprompt.cli.main import main  # noqa: PLC0415

    monkeypatch.setenv("COLUMNS", "120")
    task = toy.write_task(tmp_path, 30, 30, 10, keys=f"prompts: [{json.dumps(toy.BEST)}]\n")
    script = tmp_path / "new.json"
    script.write_text(json.dumps({"replies": {"": "omega1"}}), encoding="utf-8")
    ran = CliRunner().invoke(
        main, ["tasks", "tune", task, "--model", f"scripted:{script}", "--store", str(tmp_path / "s.db")]
    )
    assert ran.exit_code == 0, ran.output
    assert "as it is" in ran.output
    assert "No other way was ahead of the task as it is." in ran.output
