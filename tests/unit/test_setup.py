"""scripts/setup.sh, as far as its looks for a compiler and for a browser."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "scripts" / "setup.sh"


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("compiler", "found"), [("cc", True), ("ccache cc", True), ("ccache nothing", False), ("nothing", False)]
)
def test_a_compiler_may_be_named_in_several_words(tmp_path: Path, compiler: str, found: bool) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for tool in ("bash", "cat", "dirname", "id", "rm", "uname"):
        (programs / tool).symlink_to(shutil.which(tool) or tool)
    program(programs, "cc", 'cat >"$(dirname "$0")/seen"')
    program(programs, "ccache", 'exec "$@"')
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(SETUP, tmp_path / "scripts")
    env = {"PATH": str(programs), "CC": compiler, "CXX": compiler}
    run = subprocess.run(["bash", script], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    complaint = "needs Python" if found else "no working C++ compiler was found"  # here there is no Python either
    assert complaint in run.stderr
    assert (programs / "seen").exists() == found


@pytest.mark.parametrize(
    ("has_amx", "knows_flags", "flags"),
    [(True, True, "-fno-tree-dse -fno-dse -O2"), (True, False, "-O2"), (False, True, "-O2")],
)
def test_llama_cpp_is_built_so_that_amx_keeps_its_configuration(
    tmp_path: Path, has_amx: bool, knows_flags: bool, flags: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for tool in ("bash", "cat", "dirname", "sleep", "tail"):
        (programs / tool).symlink_to(shutil.which(tool) or tool)
    program(programs, "grep", f"exit {0 if has_amx else 1}")
    program(programs, "cc", "cat >/dev/null")
    refusal = "" if knows_flags else 'case "$*" in *-dse*) exit 1 ;; esac; '
    program(programs, "c++", f"{refusal}cat >/dev/null")
    python = tmp_path / ".venv" / "bin"
    python.mkdir(parents=True)
    there = 'case "$*" in *metadata*) exit 1 ;; *pip*) echo "$CXXFLAGS" >"$(dirname "$0")/flags" ;; esac'
    program(python, "python", there)
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(SETUP, tmp_path / "scripts")
    env = {"PATH": str(programs), "CXXFLAGS": "-O2"}
    run = subprocess.run(["bash", script], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert (python / "flags").read_text(encoding="utf-8").strip() == flags


@pytest.mark.parametrize(
    ("there", "user", "called", "said"),
    [
        (("apt-get", "chromium"), 0, False, ""),
        (("apt-get", "google-chrome"), 1000, False, ""),
        (("apt-get",), 0, True, "installing chromium"),
        (("apt-get",), 1000, False, "install it with: sudo apt-get install chromium"),
        ((), 0, False, "install it with: your system's package of Chromium"),
    ],
)
def test_a_browser_is_installed_for_the_tests_where_that_is_possible(
    tmp_path: Path, there: tuple[str, ...], user: int, called: bool, said: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for tool in ("bash", "cat", "dirname", "grep", "sleep", "tail", "touch"):
        (programs / tool).symlink_to(shutil.which(tool) or tool)
    program(programs, "id", f"echo {user}")
    for each in there:
        program(programs, each, f'echo "$@" >>"{tmp_path}/{each}"')
    python = tmp_path / ".venv" / "bin"
    python.mkdir(parents=True)
    program(python, "python", "exit 0")
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(SETUP, tmp_path / "scripts")
    command = ["bash", script, "--dev"]
    run = subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "apt-get").exists() == called
    assert said in run.stdout + run.stderr
    assert ("chromium" in (run.stdout + run.stderr).lower()) == bool(said)
    if called:
        assert "install -y --no-install-recommends chromium" in (tmp_path / "apt-get").read_text(encoding="utf-8")


def test_a_gpu_that_llama_cpp_is_not_built_for_is_refused() -> None:
    run = subprocess.run(["bash", SETUP, "--gpu", "tpu"], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert "unknown GPU 'tpu'; known: cuda, metal, rocm, vulkan" in run.stderr


def test_the_newest_llama_cpp_is_wanted_with_all_other_requirements_as_they_are() -> None:
    run = subprocess.run([sys.executable, SETUP.with_name("unpinned.py")], capture_output=True, text=True, check=True)
    lines, project = run.stdout.splitlines(), (SETUP.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert [line for line in lines if f'"{line}"' not in project] == ["llama-cpp-python"]
    assert len(lines) > 10
