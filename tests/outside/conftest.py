"""What is outside: packages in an environment of their own, a llama.cpp server, Go and Node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from outside_programs import FIGURES, HERE, PACKAGES, PYTHON, QUIET, Recorder


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if FIGURES:
        terminalreporter.section("answers outside")
        for line in FIGURES:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def _outside() -> None:
    if not PYTHON.exists():
        pytest.exit("there is no .venv-outside: `bash scripts/setup.sh --outside` makes it", returncode=1)


@pytest.fixture(scope="session")
def node() -> str:
    """The command of Node, with promptfoo."""
    found = shutil.which("node")
    if found is None or not (PACKAGES / "node_modules" / "promptfoo").is_dir():
        pytest.skip("promptfoo is not installed: `bash scripts/setup.sh --outside` says why")
    return found


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, list[str]], list[str]]:
    """Renders a Modelfile's template with Go's own templates, for each message."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go: `bash scripts/setup.sh --outside` says why")
    program = tmp_path_factory.mktemp("go") / "render"
    subprocess.run([go, "build", "-o", str(program), str(HERE / "render_modelfile.go")], check=True, timeout=280)

    def render(modelfile: str, prompts: list[str]) -> list[str]:
        asked = json.dumps({"Modelfile": modelfile, "Prompts": prompts})
        run = subprocess.run([str(program)], input=asked, capture_output=True, text=True, check=False, timeout=60)
        assert run.returncode == 0, run.stderr
        found: list[str] = json.loads(run.stdout)
        return found

    return render


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Starts a llama.cpp server for a GGUF, once, and gives its address."""
    running: dict[Path, tuple[subprocess.Popen[str], str]] = {}

    def start(model: Path) -> str:
        if model not in running:
            process = subprocess.Popen(
                [str(PYTHON), str(HERE / "serve.py"), str(model)],
                env={**os.environ, **QUIET},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert process.stdout is not None
            line = next((each for each in process.stdout if each.startswith("listening on ")), "")
            assert line, "the server did not start"
            running[model] = process, line.split()[-1]
        return running[model][1]

    yield start
    for process, _ in running.values():
        process.kill()
        process.communicate()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
