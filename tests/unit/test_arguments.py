"""What the public functions refuse, before anything is written or loaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

import localprompt
from localprompt.comparison import plan as comparing
from localprompt.errors import ConfigError, LocalPromptError, StoreError, TaskError
from localprompt.lm.scripted import ScriptedLM
from localprompt.search.observer import SilentObserver
from localprompt.store import Store
from localprompt.types import Example, Prompt, Sampling

NO_NUMBERS: tuple[Any, ...] = (None, True, 1.5, "a", -1, 10**400, [], b"1")
RUN: dict[str, Any] = {"task": toy.task(), "model": toy.model()}


class Half:
    """An observer that lacks most of what one has."""

    def stage(self, text: str) -> None:
        """Ignore it."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.mark.parametrize("seed", NO_NUMBERS, ids=lambda seed: repr(seed)[:8])
def test_a_seed_that_is_none_is_refused_and_nothing_is_written(seed: object, store: Path) -> None:
    functions: tuple[Callable[..., object], ...] = (localprompt.optimize, localprompt.dry_run)
    for function in functions:
        where: dict[str, Any] = {"store": store} if function is localprompt.optimize else {}
        with pytest.raises(ConfigError, match=r"^seed is ") as error:
            function(**RUN, seed=seed, **where)
        assert "whole number" in f"{error.value} {error.value.hint}"
    assert not store.exists()


def test_a_run_with_each_seed_that_is_accepted_can_be_read_again(store: Path) -> None:
    for seed in (0, 1, 10**15):
        found = localprompt.optimize(**RUN, method="manual", seed=seed, store=store)
        assert localprompt.replay(found.run_id, store=store).seed == seed
    with Store(store) as opened:
        assert [run.seed for run in opened.runs.all()] == [10**15, 1, 0]


WRONG = {
    "task": (None, b"task.yaml", 5, ["task.yaml"], {"file": "x"}, toy.task),
    "model": (None, 5, b"m.gguf", ScriptedLM, [toy.model()]),
    "proposer": (5, b"m.gguf", ScriptedLM),
    "method": (None, 5, ["ape"]),
    "preset": (None, 5, ["local"]),
    "settings": (None, [], "queries=8", {5: 1}),
    "engine": (None, [], "n_ctx=8", {5: 1}),
    "max_minutes": (True, "5", float("nan"), float("inf"), 10**400, -1, 0, []),
    "pause_after": (True, "5", float("nan"), float("inf"), 10**400, -1, 0, []),
    "max_tokens": (True, 1.5, "5", -1, 0, 10**400),
    "max_calls": (True, 1.5, "5", -1, 0, float("nan")),
    "allow_code": (None, 1, "yes"),
    "objective": (None, 5, "scores", ["score"]),
    "from_run": (5, b"abc", ["abc"]),
    "unlabelled": (None, 1, "yes"),
    "models": ("a.gguf", Path("a.gguf"), [], [None], {"a.gguf"}, None),
    "prompts": ("Say it.", [None], [5], None),
    "size": (None, 5, "quik"),
    "families": ("surface", [None]),
    "scorers": ("free", [None]),
    "use_cache": (None, 1, "no"),
    "store": (5, b"s.db", [], True),
    "observer": (5, Half(), SilentObserver),
    "prompt": (None, 5, b"x", ["x"], Prompt(None), Prompt("x", ("demo",))),  # type: ignore[arg-type]
    "split": (None, 5, "trains", ["test"]),
    "tasks": ("task.yaml", Path("task.yaml"), [], [None], {"task.yaml"}, None),
    "methods": ("ape", [], [None], {"ape"}, None),
    "n_seeds": NO_NUMBERS,
    "run": (None, 5, b"abc"),
    "comparison": (None, 5, b"abc"),
    "force": (None, 1),
    "name_or_path": (None, 5, b"m.gguf"),
    "tune": (None, 1),
    "path": (None, 5, b"t.yaml"),
    "frames": (None, 5, [], {5: 1}),
}
COMPARED = {"tasks": [toy.task()], "model": toy.model(), "max_tokens": 100, "methods": ["manual"], "n_seeds": 1}
PUBLIC: dict[str, tuple[Callable[..., object], dict[str, object]]] = {
    "optimize": (localprompt.optimize, RUN),
    "dry_run": (localprompt.dry_run, RUN),
    "evaluate": (localprompt.evaluate, {**RUN, "prompt": "x"}),
    "compare": (localprompt.compare, COMPARED),
    "sensitivity": (localprompt.sensitivity, {"task": toy.task(), "models": [toy.model()]}),
    "resume_comparison": (comparing.resume_comparison, {"comparison": "abc"}),
    "resume": (localprompt.resume, {"run": "abc"}),
    "replay": (localprompt.replay, {"run": "abc"}),
    "load_model": (localprompt.load_model, {"name_or_path": "nowhere.gguf"}),
    "load_task": (localprompt.load_task, {"path": "nowhere.yaml"}),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_of_a_public_function_is_checked_and_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, right = PUBLIC[name]
    for argument in inspect.signature(function).parameters:
        if argument == "settings" and "tasks" in right:  # here by method
            wrong: tuple[object, ...] = (None, [], {"manual": 5}, {5: {}})
        elif argument == "seed" or (argument == "settings" and name == "load_model"):
            continue
        else:
            wrong = WRONG[argument]
        for value in wrong:
            if value is None and inspect.signature(function).parameters[argument].default is None:
                continue
            with pytest.raises(ConfigError) as error:
                function(**{**right, argument: value})
            named = {"tasks": "task", "methods": "method"}.get(argument, argument)
            assert named in error.value.message, (argument, value, error.value.message)
    assert list(tmp_path.iterdir()) == []


def test_a_text_in_the_place_of_a_list_is_not_taken_for_its_letters() -> None:
    with pytest.raises(ConfigError, match="tasks is 'a', not a list") as error:
        localprompt.compare("a", toy.model(), max_tokens=10)
    assert error.value.hint == "put it into a list: [...]"


def test_a_number_of_numpy_is_refused_with_how_to_give_it() -> None:
    with pytest.raises(ConfigError, match=r"seed is .*3.*, not a whole number") as error:
        localprompt.dry_run(toy.task(), toy.model(), seed=np.int64(3))  # type: ignore[arg-type]
    assert error.value.hint == "give its .item(), which is Python's own"


@pytest.mark.parametrize("call", ["candidates", "events", "delete", "get", "is_held"])
def test_a_run_is_named_by_text(call: str, store: Path) -> None:
    with Store(store) as opened, pytest.raises(ConfigError, match="is 5, not text"):
        getattr(opened.runs, call)(5)


def test_an_observer_that_lacks_something_is_told_what() -> None:
    with pytest.raises(ConfigError, match=r"observer is .*Half") as error:
        localprompt.optimize(**RUN, observer=Half())  # type: ignore[arg-type]
    assert error.value.hint == "it lacks plan, progress, best, spend, note"


def test_a_model_without_the_record_of_what_it_is_is_told_what_to_write() -> None:
    members = {
        name: value for name, value in vars(ScriptedLM).items() if name not in ("facts", "__dict__", "__weakref__")
    }
    old = type("OldShape", (), members)()
    with pytest.raises(ConfigError, match=r"model is .*OldShape.*, not .*a localprompt.LanguageModel") as error:
        localprompt.evaluate(toy.task(), old, "")
    record = "`localprompt.ModelFacts(name, fingerprint, n_ctx, has_chat, has_fim, supports_grammar)`"
    assert error.value.hint == f"it lacks facts. What it is: {record}"


@pytest.mark.parametrize(
    "engine",
    [
        {"n_ctx": "big"},
        {"n_ctx": None},
        {"n_ctx": 1.5},
        {"n_ctx": 10**30},
        {"lanes": 0},
        {"flash_attn": 3},
        {"n_ctxt": 1},
    ],
    ids=repr,
)
def test_engine_settings_are_checked_before_a_model_is_looked_for(engine: dict[str, Any], store: Path) -> None:
    name = next(iter(engine))
    for call in (
        lambda: localprompt.optimize(toy.task(), "nowhere.gguf", engine=engine, store=store),
        lambda: localprompt.load_model("nowhere.gguf", **engine),
    ):
        with pytest.raises(ConfigError, match=name):
            call()
    assert not store.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"dev": (Example("dev:1", {"input": "a"}, "omega"),)},  # type: ignore[arg-type]
        {"dev": (Example("dev:1", {"input": 5}, ("omega",)),)},  # type: ignore[dict-item]
        {"labels": "even"},
        {"label_score": "calibrate"},
        {"seeds": ("Answer.",)},
        {"seeds": ()},
        {"metric": "exact_match"},
        {"sampling": 8},
        {"train": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_task_made_in_python_is_held_to_what_a_task_is(changes: dict[str, Any], store: Path) -> None:
    for run in (
        lambda task: localprompt.optimize(task, toy.model(), store=store),
        lambda task: localprompt.compare([task], toy.model(), max_tokens=100, store=store),
    ):
        with pytest.raises((ConfigError, TaskError), match="seed prompts|task." + next(iter(changes))):
            run(replace(toy.task(), **changes))
    assert not store.exists()


def test_a_metric_that_raises_is_an_error_of_the_task() -> None:
    task = replace(toy.task(), metric=lambda prediction, targets: 1 / 0)
    for call in (
        lambda: localprompt.optimize(task, toy.model()),
        lambda: localprompt.evaluate(task, toy.model(), toy.BEST),
    ):
        with pytest.raises(TaskError, match=r"the metric .*lambda.* failed .*ZeroDivisionError") as error:
            call()
        assert isinstance(error.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    "wrong",
    [{"max_tokens": 0}, {"max_tokens": None}, {"max_tokens": 1.5}, {"temperature": float("nan")}, {"stop": "\n"},
     {"stop": [5]}, {"grammar": None}, {"top_k": True}, {"top_p": "1"}, {"top_k": 2**64}, {"temperature": 2**64}],
    ids=repr,
)  # fmt: skip
def test_a_sampling_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Sampling(**{"max_tokens": 8, **wrong})  # type: ignore[arg-type]
    assert Sampling(8, stop=["\n"]).stop == ("\n",)  # type: ignore[arg-type]


def test_files_that_are_not_there_or_are_folders_are_errors_of_ours(tmp_path: Path) -> None:
    for call in (
        lambda path: localprompt.optimize(path, toy.model()),
        lambda path: localprompt.optimize(toy.task(), path),
        lambda path: localprompt.evaluate(path, toy.model(), "x"),
        localprompt.load_task,
        localprompt.load_model,
        lambda path: localprompt.replay("abc", store=path),
        lambda path: localprompt.resume("abc", store=path),
    ):
        for path in (tmp_path, str(tmp_path), tmp_path / "gone" / "x", "", "a\0b", "\ud800", "~nobody-here/x"):
            with pytest.raises(LocalPromptError):
                call(path)
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} <= {"store"}


def test_a_store_does_not_keep_a_run_that_it_could_not_read_again(store: Path) -> None:
    names = {"task": "t", "model": "m", "proposer": "p", "method": "ape"}
    with Store(store) as opened:
        for configuration, seed in (({"identity": 1}, None), ({"identity": {1, 2}}, 0), ({"identity": 1}, 1.5)):
            with pytest.raises(StoreError):
                opened.runs.create(configuration, seed=seed, **names)  # type: ignore[arg-type]
        assert opened.runs.every() == []
        opened.runs.create({"identity": 1}, seed=0, **names)
        for wrong in (None, 5, b"x"):
            with pytest.raises(ConfigError):
                opened.runs.get(wrong)  # type: ignore[arg-type]
