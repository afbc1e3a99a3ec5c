"""What tests of adapters share: a real model, rows of the examples, and what a program outside needs to load it too."""

from __future__ import annotations

import json
import os
import sysconfig
from collections.abc import Iterator
from typing import Any

from outside_programs import ROOT

from localprompt.lm.local import LocalModel, load_model

MODEL = os.environ.get("OUTSIDE_MODEL", "smollm2-135m-instruct")
N_ROWS = 50
INSIDE = {"INSIDE_ROOT": str(ROOT), "INSIDE_PACKAGES": sysconfig.get_paths()["purelib"]}


def model(**engine: Any) -> Iterator[LocalModel]:
    with load_model(MODEL, tune=False, n_threads=1, **engine) as lm:
        yield lm


def rows(file: str) -> list[dict[str, str]]:
    """The first rows of an example's data."""
    lines = (ROOT / "examples" / file).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:N_ROWS]]
