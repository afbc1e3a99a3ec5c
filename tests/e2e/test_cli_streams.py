"""What a search found survives a standard output that cannot encode it, has no reader, no room or no width."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner

import localprompt
from localprompt.cli import streams
from localprompt.cli.main import main
from localprompt.store import Store
from localprompt.types import Prompt

SMILE = "Answer \U0001f600, café, 中文."
pytestmark = pytest.mark.usefixtures("lm")
KEPT = "what was done is done"


@pytest.fixture
def task(tmp_path: Path) -> str:
    return toy.write_task(tmp_path, 4, 8, 8, keys=f"prompts: ['{SMILE}']\n")


@pytest.fixture
def kept() -> str:
    """The id of a run whose prompt no 8-bit encoding holds, in the default store."""
    return localprompt.optimize(replace(toy.task(), seeds=(Prompt(SMILE),)), toy.model(), method="manual").run_id


def optimize(task: str, *more: str) -> list[str]:
    return ["optimize", task, "--model", "toy:1", "--method", "manual", *more]


def finished() -> int:
    with Store() as store:
        return sum(run.status == "finished" for run in store.runs.all())


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "cp437", "utf-8"])
def test_a_character_that_the_output_lacks_costs_that_character(encoding: str, task: str) -> None:
    runner = CliRunner(charset=encoding)
    result = runner.invoke(main, optimize(task))
    assert (result.exit_code, finished()) == (0, 1), result.output
    shown = result.stdout_bytes.decode(encoding)
    assert ("\U0001f600" if encoding == "utf-8" else "\\U0001f600") in shown
    assert "no better prompt found" in shown
    run_id = json.loads(runner.invoke(main, ["runs", "list", "--json"]).stdout)[0]["run_id"]
    for command in (["runs", "show", run_id], ["runs", "list"], ["replay", run_id], ["tasks", "check", task]):
        assert runner.invoke(main, command).exit_code == 0


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16", "utf-8"])
def test_json_is_ascii_whatever_the_output_holds(encoding: str, task: str) -> None:
    runner = CliRunner(charset=encoding)
    found = runner.invoke(main, optimize(task, "--json"))
    text = found.stdout_bytes.decode(encoding)
    assert text.isascii()
    assert json.loads(text)["seed_prompt"]["instruction"] == SMILE
    for command in (["tasks", "check", task], ["runs", "list"], ["methods"], ["methods", "ape"], ["models", "list"]):
        text = runner.invoke(main, [*command, "--json"]).stdout_bytes.decode(encoding)
        assert text.isascii()
        json.loads(text)


@pytest.mark.parametrize("columns", ["0", "1", "-5", "abc", "", "999999999", "80"])
def test_a_width_that_is_none_leaves_the_report_readable(
    columns: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for command in (optimize(task), optimize(task, "--dry-run"), ["methods"], ["methods", "ape"], ["models", "list"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        assert len(result.stdout.split()) > 20
        assert max(map(len, result.stdout.splitlines())) <= 2000


@pytest.mark.parametrize("setting", ["TERM=dumb", "NO_COLOR=1", "TERM="])
def test_a_plain_terminal_gets_plain_text(setting: str, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*setting.split("="))
    result = CliRunner().invoke(main, optimize(task))
    assert (result.exit_code, "\x1b" in result.output) == (0, False)


class Failing(io.TextIOWrapper):
    """A stream that takes so many characters, then fails as the operating system does."""

    def __init__(self, number: int, room: int = 0) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self.error, self.room = OSError(number, os.strerror(number)), room

    def write(self, text: str) -> int:
        if len(text) > self.room:
            raise self.error
        self.room -= len(text)
        return super().write(text)


def called(arguments: Sequence[str]) -> int:
    """Run a command with the streams of this process; return its exit code."""
    with pytest.raises(SystemExit) as end:
        main.main(list(arguments), prog_name="localprompt")
    return int(str(end.value.code))


@pytest.mark.parametrize("room", [0, 100])
@pytest.mark.parametrize("json_", [[], ["--json"]], ids=["text", "json"])
def test_an_output_without_room_is_one_sentence_and_the_result_is_kept(
    room: int, json_: list[str], task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Failing(errno.ENOSPC, room))
        assert called(optimize(task, *json_)) == 1
    said = capsys.readouterr().err
    assert "Error: standard output cannot be written: No space left on device\nHint: " + KEPT in said
    assert (finished(), "Traceback" in said) == (1, False)


def test_a_reader_that_has_gone_is_no_failure(
    task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Failing(errno.EPIPE))
        assert called(optimize(task)) == 0
    assert (finished(), "Error" in capsys.readouterr().err) == (1, False)


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EBADF])
def test_progress_that_nobody_can_read_ends_no_search(
    number: int, task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Failing(number))
        assert called(optimize(task)) == 0
    assert finished() == 1
    assert "no better prompt found" in capsys.readouterr().out


@pytest.mark.parametrize("closed", [("stdout",), ("stderr",), ("stdout", "stderr")], ids="+".join)
def test_streams_that_are_closed_end_no_search(
    closed: tuple[str, ...], task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for name in closed:
            patch.setattr(sys, name, None)
        assert called(optimize(task)) == 0
        assert called(["runs", "list"]) == 0
    assert finished() == 1


def test_a_failure_keeps_its_own_exit_code(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Failing(errno.ENOSPC))
        patch.setattr(sys, "stderr", Failing(errno.ENOSPC))
        assert called(["optimise"]) == 2
        assert called(optimize(task, "--set", "queries=many")) == 2
        assert called(["runs", "show", "abc"]) == 1
        assert called(["--help"]) == 1


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
def test_a_shell_sees_the_same(kept: str) -> None:
    """With real pipes and files: nothing is left in a buffer that fails when Python ends."""
    show = f"{sys.executable} -m localprompt runs show {kept}"
    full = f"{show} > /dev/full" if Path("/dev/full").exists() else "exit 1"
    for command, code in (
        (f"PYTHONIOENCODING=cp1252 {show}", 0),
        (f"PYTHONIOENCODING=ascii PYTHONUTF8=0 LC_ALL=C {show}", 0),
        (f"set -o pipefail; {show} | head -1", 0),
        (f"{show} | true", 0),
        (f"{show} >&-", 0),
        (f"{show} 2>&-", 0),
        (f"{show} <&- >&- 2>&-", 0),
        (full, 1),
    ):
        run = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
        assert run.returncode == code, (command, run)
        assert b"Traceback" not in run.stderr
        assert b"Exception ignored" not in run.stderr
        assert "cp1252" not in command or b"\\U0001f600" in run.stdout


def test_the_streams_are_those_of_before_when_a_command_has_ended() -> None:
    before = sys.stdout, sys.stderr
    with streams.lasting_streams() as lasting:
        assert (sys.stdout, sys.stderr) != before
        assert lasting is not None
        assert lasting.lost == ""
    assert (sys.stdout, sys.stderr) == before


def test_a_number_that_json_does_not_have_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    streams.say_json({"a": [float("nan"), 1.5], "b": {"c": float("-inf")}})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": {"c": None}}
