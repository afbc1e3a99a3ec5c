"""Modules are found under the names that they had before."""

from __future__ import annotations

import subprocess
import sys

from localprompt.interface.moved import MOVED

SCRIPT = """
import importlib, sys
from localprompt import models
from localprompt.analysis.stats import interval
for old, new in {moved!r}.items():
    a, b = importlib.import_module(new), importlib.import_module(old)
    assert a is b and a.__name__ == new and a.__spec__.name == new, (old, a.__spec__)
try:
    import localprompt.nothing
except ModuleNotFoundError as error:
    print(error)
"""


def test_every_module_that_was_moved_is_one_object_under_both_names() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(moved=MOVED)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "No module named 'localprompt.nothing'\n"
