"""Optimisers by name and their settings from text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import pytest

from localprompt.errors import ConfigError
from localprompt.optimizers import configure, names, optimizer, presets
from localprompt.optimizers.ape import APE
from localprompt.optimizers.registry import Optimizer, Setting, forget, settings_of, summary
from localprompt.search.problem import Problem


def test_ape_is_registered() -> None:
    assert "ape" in names()
    assert configure("ape", {}) == APE()


def test_text_is_read_as_the_type_of_the_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    settings = {"queries": "3", "keep": "0.5", "stages": "4, 8", "mode": "sir", "templates": "~/mine"}
    expected = APE(queries=3, keep=0.5, stages=(4, 8), mode="sir", templates=tmp_path / "mine")
    assert configure("ape", settings) == expected


def test_values_that_have_the_type_already_are_taken() -> None:
    settings = {"queries": 3, "keep": 1, "stages": [4], "templates": None}
    assert configure("ape", settings) == APE(queries=3, keep=1.0, stages=(4,))


def test_no_folder_can_be_written() -> None:
    assert configure("ape", {"templates": "none"}) == APE()


def test_an_unknown_method_or_setting_names_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="unknown method 'app'") as method:
        configure("app", {})
    assert method.value.hint == "did you mean 'ape'?"
    with pytest.raises(ConfigError, match="ape has no setting 'querys'") as setting:
        configure("ape", {"querys": 3})
    assert setting.value.hint == "did you mean 'queries'?"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queries", "many"),
        ("queries", "2.5"),
        ("queries", True),
        ("keep", "nan"),
        ("keep", "half"),
        ("stages", "8,x"),
        ("stages", 8),
        ("mode", "backward"),
        ("templates", 3),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        configure("ape", {name: value})


@pytest.mark.parametrize("name", ["ape", "opro", "pe2", "protegi", "random"])
def test_a_folder_of_meta_prompts_is_checked_before_a_search(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        configure(name, {"templates": str(tmp_path / "nowhere")})
    (tmp_path / "no-such.txt").write_text("{{demos}}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no-such\.txt is no meta-prompt of this method"):
        configure(name, {"templates": tmp_path})


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="already registered"):
        optimizer("ape")(APE)


@dataclass(frozen=True, slots=True)
class Counting:
    """A method with a preset that is not registered for other tests to see."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = MappingProxyType({"paper": {"steps": 200, "keep": 0.5}})

    steps: int = 8
    """How
    many."""
    keep: float = 0.25

    def run(self, problem: Problem) -> None:
        """Do nothing."""


@pytest.fixture
def counting() -> Iterator[str]:
    optimizer("counting")(Counting)
    yield "counting"
    forget("counting")


def test_a_preset_changes_the_defaults_and_settings_change_the_preset(counting: str) -> None:
    made: list[Optimizer] = [
        configure(counting, {}),
        configure(counting, {}, "local"),
        configure(counting, {"keep": "1"}, "paper"),
    ]
    assert made == [Counting(), Counting(), Counting(200, 1.0)]


def test_settings_are_described_by_what_stands_below_the_fields(counting: str) -> None:
    assert settings_of(counting) == (
        Setting("steps", 8, {"paper": 200}, "How many."),
        Setting("keep", 0.25, {"paper": 0.5}, ""),
    )
    assert summary(counting) == "Optimisers by name and their settings from text."


@pytest.mark.parametrize("name", names())
def test_every_setting_of_every_method_is_described(name: str) -> None:
    assert summary(name)
    assert [each.name for each in settings_of(name) if not each.description] == []


@pytest.mark.parametrize("name", ["ape", "opro", "pe2", "protegi", "random"])
def test_an_impossible_setting_names_the_command_that_lists_them(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        configure(name, {"max_tokens" if name != "pe2" else "steps": 0})
    assert error.value.hint == f"`localprompt methods {name}` lists the settings"


def test_a_removed_setting_is_passed_over_where_it_changes_nothing_and_else_refused_in_a_sentence() -> None:
    assert configure("pe2", {"history": False, "tutorial": "false", "step_size": None}) == configure("pe2", {})
    assert configure("protegi", {"sampling": "random", "rejection_pool": 16}) == configure("protegi", {})
    with pytest.raises(ConfigError, match="pe2 no longer has the setting history, so it cannot be True") as error:
        configure("pe2", {"history": True})
    assert error.value.hint == "omit it: the method runs as with history=False"
    with pytest.raises(ConfigError, match="the setting negatives cannot be 'hard_weighted'"):
        configure("pe2", {"negatives": "hard_weighted"})


def test_a_setting_is_known_by_its_former_name_too() -> None:
    assert configure("random", {"barren": "5"}) == configure("random", {"unproductive": 5})


def test_the_defaults_are_a_preset_of_every_method(counting: str) -> None:
    assert list(presets(counting)) == ["local", "paper"]
    with pytest.raises(ConfigError, match="counting has no preset 'papers'") as preset:
        configure(counting, {}, "papers")
    assert preset.value.hint == "did you mean 'paper'?"
    with pytest.raises(ConfigError, match="auto has no preset 'paper'") as preset:
        configure("auto", {}, "paper")
    assert preset.value.hint == "methods that have it: ape, counting, opro, pe2, protegi"
    with pytest.raises(ConfigError, match="unknown method"):
        presets("count")
