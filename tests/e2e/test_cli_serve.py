"""`localprompt serve`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from localprompt.cli.main import main


@contextmanager
def served(model: Path, *options: str) -> Iterator[str]:
    """Run the command; its address. It ends by Ctrl-C in order, with nothing said on standard error."""
    settings = ["--port", "0", "--name", "mine", "--engine", "n_ubatch=128", "--engine", "n_threads=1"]
    command = [sys.executable, "-m", "localprompt", "serve", "--model", str(model), *settings, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.readline()
        found = re.fullmatch(r"mine is served at (http://127\.0\.0\.1:\d+)/v1\n", said)
        assert found, said
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stderr.read() == ""


def posted(url: str, **fields: Any) -> Any:
    with urllib.request.urlopen(url, json.dumps(fields).encode()) as answer:
        return json.load(answer)


def test_it_says_where_it_listens_answers_and_ends_by_ctrl_c_in_order(tiny_qwen: Path) -> None:
    with served(tiny_qwen) as url:
        answer = posted(f"{url}/v1/completions", prompt="the answer", max_tokens=0, echo=True, logprobs=0)
        assert answer["model"] == "mine"


@pytest.mark.parametrize("option", [True, False], ids=["add-bos", "as-sent"])
def test_add_bos_reads_token_ids_behind_bos(tiny_llama: Path, option: bool) -> None:
    with served(tiny_llama, *["--add-bos"] * option) as url:
        ids = posted(f"{url}/tokenize", prompt="the answer")["tokens"]
        asked = {"max_tokens": 0, "echo": True, "logprobs": 0}
        whole, bare = (
            posted(f"{url}/v1/completions", prompt=each, **asked)["choices"][0]["logprobs"]["token_logprobs"]
            for each in (ids, ids[1:])
        )
    assert len(whole) == len(ids)
    assert (bare == pytest.approx(whole[1:], abs=1e-4)) is option


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_without_a_key_it_listens_nowhere_but_here(host: str) -> None:
    result = CliRunner().invoke(main, ["serve", "--model", "nothing", "--host", host], env={"LOCALPROMPT_API_KEY": ""})
    assert result.exit_code == 2
    assert "--api-key" in result.output


@pytest.mark.parametrize("seconds", ["nan", "0", "-1"])
def test_seconds_that_are_none_are_refused(seconds: str) -> None:
    result = CliRunner().invoke(main, ["serve", "--model", "nothing", "--max-seconds", seconds])
    assert (result.exit_code, "--max-seconds is" in result.output) == (2, True)


@pytest.mark.parametrize("command", [["serve"], ["models", "bench"]])
def test_an_engine_setting_by_the_name_of_an_argument_is_unknown_like_any_other(command: list[str]) -> None:
    model = ["nothing"] if command[-1] == "bench" else ["--model", "nothing"]
    result = CliRunner().invoke(main, [*command, *model, "--engine", "name_or_path=x"])
    assert (result.exit_code, "unknown engine setting 'name_or_path'" in result.output) == (2, True)


def test_a_port_that_is_taken_is_named(tiny_qwen: Path) -> None:
    from localprompt.serve.running import listening  # noqa: PLC0415

    with listening("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        options = ["--port", port, "--engine", "n_threads=1", "--engine", "n_ubatch=128"]
        result = CliRunner().invoke(main, ["serve", "--model", str(tiny_qwen), *options])
    assert result.exit_code == 2
    assert f"cannot listen at 127.0.0.1, port {port}" in result.output


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(missing: str, tiny_qwen: Path) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from localprompt.cli.main import main\n"
        f"main(['serve', '--model', {str(tiny_qwen)!r}])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "pip install 'localprompt[serve]'" in run.stderr
