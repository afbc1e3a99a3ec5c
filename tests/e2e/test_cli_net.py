"""Errors that nobody foresaw end in a sentence too."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from localprompt import store
from localprompt.cli.main import main


class Broken:
    """A store that fails in a way that is no error of ours."""

    def __init__(self, path: object, *, create: bool) -> None:
        raise OverflowError("int too large to convert to float \u202e" + "x" * 10_000)


def test_an_unexpected_error_is_a_sentence_and_its_traceback_is_for_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "Store", Broken)
    result = CliRunner().invoke(main, ["runs", "vacuum"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: unexpected OverflowError: int too large to convert to float \\u{202e}x")
    assert "--debug shows where" in result.stderr
    assert len(result.stderr) < 500
    assert "Traceback" not in result.stderr
    assert "Traceback" in CliRunner().invoke(main, ["runs", "vacuum", "--debug"]).stderr


def test_ways_of_click_to_end_are_left_to_click() -> None:
    assert CliRunner().invoke(main, ["runs", "list", "--nonsense"]).exit_code == 2
    assert CliRunner().invoke(main, ["runs", "--help"]).exit_code == 0
    assert CliRunner().invoke(main, ["--version"]).exit_code == 0
