"""What is read back of a run that came from elsewhere: one sentence for whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import toy

from localprompt.errors import ConfigError, LocalPromptError, StoreError
from localprompt.lm import loading
from localprompt.lm.base import LanguageModel
from localprompt.optimizers import configure
from localprompt.run import api as runs
from localprompt.run.config import RunConfig
from localprompt.run.estimate import estimate
from localprompt.run.inlined import write_files
from localprompt.run.models import Models
from localprompt.run.resume import resume
from localprompt.run.spec import Limits, RunSpec
from localprompt.tasks.stored import from_plain


def described(**settings: object) -> dict[str, Any]:
    """A configuration as the store gives it back."""
    ape, lm = configure("ape", settings), toy.model()
    spec, models = RunSpec(toy.task(), "ape", ape, 0, Limits()), Models(lm, lm, {"model": "a.gguf", "proposer": None})
    config = RunConfig.new(spec, models, use_cache=True, expected=estimate(spec, models))
    plain: dict[str, Any] = json.loads(json.dumps(config.to_json()))
    assert RunConfig.read(plain).is_same_search(config)
    assert RunConfig.read(plain).expected == config.expected
    assert plain["expected"]["proof_calls"] == 216
    return plain


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"max_tokens": 10**15 + 1}, "max_tokens is 1000000000000001"),
        ({"max_calls": 2.0}, r"max_calls is 2\.0"),
        ({"max_calls": True}, "max_calls is True"),
        ({"max_minutes": float("nan")}, "max_minutes is nan"),
        ({"max_minutes": 0}, "max_minutes is 0"),
    ],
)
def test_what_is_no_limit_is_refused_before_anything_is_loaded(limits: dict[str, Any], error: str) -> None:
    def never(name: str, **engine: object) -> LanguageModel:
        raise AssertionError(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "open_model", never)
        for call in (partial(runs.optimize, toy.task(), "any"), partial(resume, "anything")):
            with pytest.raises(ConfigError, match=error):
                call(**limits)


@pytest.mark.parametrize("key", ["max_computed", "max_tokens", "max_calls"])
@pytest.mark.parametrize("value", [0, -5, True, 1.5, "9" * 10**6, 10**16])
def test_a_stored_limit_that_is_none_is_damage(key: str, value: object) -> None:
    with pytest.raises(StoreError, match=r"configuration of the run is damaged \(limits.*max_") as error:
        RunConfig.read(changed(described(), f"limits.{key}", value))
    assert len(error.value.message) < 200


def changed(plain: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """The configuration with another value at a place such as `task.seeds`."""
    *path, last = place.split(".")
    inner = plain
    for key in path:
        inner = inner[key]
    inner[last] = value
    return plain


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("sources.model", 5),
        ("sources.proposer", ["x"]),
        ("identity", 5),
        ("identity.task", None),
        ("model.name", None),
        ("model", {"fingerprint": "x", "identity": {}}),
        ("seed", "0"),
        ("use_cache", 1),
        ("anew", -1),
        ("looked", "yes"),
    ],
)
def test_a_configuration_of_another_shape_is_one_sentence(place: str, value: object) -> None:
    with pytest.raises(StoreError, match=rf"configuration of the run is damaged \({place}"):
        RunConfig.read(changed(described(), place, value))


@pytest.mark.parametrize("value", ["x", [], None, float("inf"), True, 1.5])
def test_an_estimate_of_another_shape_is_one_sentence(value: object) -> None:
    for plain in (
        changed(described(), "expected.proposals", value),
        changed(described(), "expected", value or [1]),
        changed(described(), "expected.seconds", 10**400),
    ):
        with pytest.raises(StoreError, match=r"configuration of the run is damaged \(expected"):
            RunConfig.read(plain)


def test_a_model_is_loaded_with_engine_settings_and_nothing_else() -> None:
    identity = {"file": "x", "n_ctx": 4096, "kv_type": "f32", "name_or_path": "y", "tune": False, "n_threads": 2}
    plain = changed(described(), "model.identity", identity)
    assert RunConfig.read(plain).model.engine() == {"n_ctx": 4096, "kv_type": "f32", "n_threads": 2}


@pytest.mark.parametrize(("name", "value"), [("n_ctx", "x"), ("n_ctx", 2**40), ("lanes", 1.5), ("kv_type", "q3")])
def test_an_engine_setting_that_cannot_be_is_one_sentence(name: str, value: object) -> None:
    with pytest.raises(LocalPromptError, match=f"the run's engine setting {name}"):
        RunConfig.read(changed(described(), "model.identity", {name: value})).model.engine()


@pytest.mark.parametrize(("name", "value"), [("queries", 10**12), ("stages", [6, 10**12]), ("ucb_exploration", 1e99)])
def test_a_setting_that_would_never_end_is_refused(name: str, value: object, tmp_path: Path) -> None:
    assert RunConfig.read(described()).optimizer(tmp_path) == configure("ape", {})
    with pytest.raises(ConfigError, match=f"the setting {name} must be at most 1,000,000"):
        RunConfig.read(changed(described(), f"settings.{name}", value)).optimizer(tmp_path)


def test_a_run_from_before_worked_examples_has_none(tmp_path: Path) -> None:
    plain = described()
    assert RunConfig.read(plain).optimizer(tmp_path) == configure("ape", {"shots": "auto"})
    del plain["settings"]["shots"]
    assert RunConfig.read(plain).optimizer(tmp_path) == configure("ape", {"shots": 0})
    manual = {**plain, "method": "manual", "settings": {}}
    assert RunConfig.read(manual).optimizer(tmp_path) == configure("manual", {})


def test_a_setting_names_no_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(StoreError, match="the run's setting templates names a file on this machine"):
        RunConfig.read(changed(described(), "settings.templates", str(tmp_path / "mine"))).optimizer(tmp_path / "run")


def test_a_file_of_the_settings_may_hold_any_text(tmp_path: Path) -> None:
    settings = {"prompts": {"files": {"file.txt": "a\ud800b"}, "folder": False}}
    assert write_files(settings, tmp_path)["prompts"].read_text(encoding="utf-8") == "a\\ud800b"


Change = Callable[[dict[str, Any]], object]
DAMAGE: dict[str, Change] = {
    "no seed prompt": lambda task: task["seeds"].clear(),
    "no dev": lambda task: task["dev"].clear(),
    "no test": lambda task: task["test"].clear(),
    "no targets": lambda task: task["train"][0][2].clear(),
    "an empty label": lambda task: task["labels"].append(""),
    "another way to compare": lambda task: task.update(label_score="calibrate"),
    "half a token": lambda task: task["sampling"].update(max_tokens=1.5),
    "a billion billion tokens": lambda task: task["sampling"].update(max_tokens=10**18),
    "a text for a number": lambda task: task["sampling"].update(temperature="hot"),
    "endless heat": lambda task: task["sampling"].update(temperature=float("inf")),
    "a grammar that is none": lambda task: task["sampling"].update(grammar=5),
    "a sampling that is none": lambda task: task.update(sampling=[]),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_task_that_cannot_be_is_one_sentence(what: str) -> None:
    task = described()["task"]
    assert from_plain(task).name == "toy"
    DAMAGE[what](task)
    with pytest.raises(StoreError, match="the task of the run is damaged"):
        from_plain(task)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("a.gguf", []),
        (None, ["--model", "MODEL"]),
        *((each, ["--model", "MODEL"]) for each in ("python:a:b", "http://a")),
    ],
)
def test_the_options_to_go_on_name_a_model_that_the_record_alone_does_not_open(
    source: str | None, options: list[str]
) -> None:
    config = RunConfig.read({**described(), "sources": {"model": source, "proposer": None}})
    assert config.resume_options == options
