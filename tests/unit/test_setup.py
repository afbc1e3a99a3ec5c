"""scripts/setup.sh, as far as its look for a compiler."""

from __future__ import annotations

import shutil
import subprocess
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
