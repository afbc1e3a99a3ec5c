"""`localprompt methods`: what can be set, from the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from localprompt.cli.main import main
from localprompt.optimizers import configure, names


def _methods(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["methods", *arguments], env={"COLUMNS": "120"})


def test_the_methods_are_listed_with_their_presets_and_what_they_are() -> None:
    lines = _methods().stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *names()]
    (ape,) = (line for line in lines if line.startswith("ape "))
    assert "local, paper  APE, Automatic Prompt Engineer (Zhou et al. 2022" in ape
    plain = json.loads(_methods("--json").stdout)
    assert [each["method"] for each in plain] == list(names())
    assert plain[0]["presets"] == ["local", "paper"]


def test_the_settings_of_a_method_are_listed_with_default_paper_and_meaning() -> None:
    lines = _methods("pe2").stdout.splitlines()
    assert lines[0].startswith("PE2, Prompt Engineering a Prompt Engineer")
    rows = {line.split()[0]: line for line in lines[2:]}
    assert rows["setting"].split() == ["setting", "local", "paper", "what", "it", "is"]
    assert rows["beam"].split()[:5] == ["beam", "2", "4", "Prompts", "expanded"]
    assert rows["templates"].split()[:3] == ["templates", "none", "Folder"]
    (beam,) = (each for each in json.loads(_methods("pe2", "--json").stdout) if each["setting"] == "beam")
    assert beam["default"] == 2
    assert beam["presets"] == {"paper": 4}
    assert beam["description"].startswith("Prompts expanded in a step")


@pytest.mark.parametrize("name", names())
def test_a_listed_default_can_be_given_back(name: str) -> None:
    lines = _methods(name).stdout.splitlines()[3:]
    defaults = dict(line.split()[:2] for line in lines if not line.startswith(" "))
    assert configure(name, defaults) == configure(name, {})


def test_an_unknown_method_names_the_nearest_one() -> None:
    result = _methods("protegy")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'protegi'?" in result.stderr
