"""The data of a report of each kind, kept in `golden/`: whoever reads them depends on every name.

Of long lists only the beginning is kept; what depends on the clock, the machine, the version or the place is masked.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from report_worlds import KINDS, WORLDS

from localprompt.reports.report import find
from localprompt.store import Store

GOLDEN = Path(__file__).parent / "golden"
KEPT = 2
"""Elements of a list."""
MASKED = ("version", "created", "updated", "at", "seconds", "machine", "search", "meta_prompts", "settings", "identity")
_ID = re.compile(r"\b[0-9a-f]{12}\b")
_TOOK = re.compile(r"(tokens|calls) and \d+ seconds?\b")


def masked(value: Any, key: str = "") -> Any:
    """Return JSON that is the same everywhere and every time."""
    if key in MASKED and value is not None:
        return f"({type(value).__name__})"
    if isinstance(value, dict):
        return {name: masked(part, name) for name, part in sorted(value.items())}
    if isinstance(value, list):
        more = [f"({len(value)} in all)"] if len(value) > KEPT else []
        return [masked(part) for part in value[:KEPT]] + more
    return round(value, 6) if isinstance(value, float) else value


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_of_a_report_are_as_they_were(kind: str, tmp_path: Path) -> None:
    """With REWRITE_GOLDEN=1 in the environment they are from now on as they are."""
    with Store(tmp_path / "store.sqlite") as store:
        what = WORLDS["labels" if kind == "run" else kind].build(store)
        plain = find(store, what)[1].to_json()
    found = _TOOK.sub(r"\1 and 0 seconds", _ID.sub("ID", json.dumps(masked(plain), indent=1))) + "\n"
    path = GOLDEN / f"{kind}.json"
    if os.environ.get("REWRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == found
