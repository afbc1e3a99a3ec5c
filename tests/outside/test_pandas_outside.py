"""Tables of pandas as a task's data, with the package by name."""

from __future__ import annotations

from pathlib import Path

from adapters_outside import INSIDE
from outside_programs import HERE, PYTHON, called

PROGRAM = """
import json, sys
import inside
import pandas
from localprompt.errors import TaskError
from localprompt.tasks import load_task

frame = pandas.DataFrame({"text": [f"word {n}" for n in range(60)], "n": range(60)})
task = load_task("task.yaml", frames={"rows": frame})
print(json.dumps({"rows": sum(map(len, (task.train, task.dev, task.test))), "row": task.train[0].targets}))
for column in ([1, None] * 30, pandas.array([1, None] * 30, dtype="Int64")):
    try:
        load_task("task.yaml", frames={"rows": frame.assign(n=column)})
    except TaskError as error:
        print(json.dumps({"says": str(error)}))
"""


def test_a_frame_is_a_tasks_data_and_its_gaps_are_named(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        f"import os, sys\nsys.path.insert(0, {str(HERE)!r})\n{PROGRAM}", encoding="utf-8"
    )
    keys = "name: t\ndata: {file: rows, fields: {input: text, target: n}}\n"
    (tmp_path / "task.yaml").write_text(keys, encoding="utf-8")
    code = f"import os; os.chdir({str(tmp_path)!r}); exec(open('program.py').read())"
    found = called(PYTHON, "-c", code, folder=tmp_path, **INSIDE)
    assert found[0]["rows"] == 60
    assert found[0]["row"][0].isdigit()
    for each in found[1:]:
        assert each["says"].startswith("rows, row 2: 'n' is null, not text or a number")
    assert len(found) == 3
