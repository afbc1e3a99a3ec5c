"""The levels and the fences around third-party packages, as pyproject.toml states them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_file_imports_only_from_its_own_level_and_below() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_help_page_loads_neither_the_engine_nor_heavy_packages() -> None:
    heavy = ("llama_cpp", "scipy", "huggingface_hub", "jinja2", "pydantic")
    code = f"import sys, localprompt.cli.main; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
