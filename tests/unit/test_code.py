"""Python that a task names: each task has its own."""

from __future__ import annotations

import copy
import json
import os
import pickle  # noqa: TID251 - users send tasks to other processes
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from localprompt.errors import TaskError
from localprompt.tasks import load_task
from localprompt.tasks.metrics import CodeMetric, Metric, find_metric, metric_hash


def _write(folder: Path, **modules: str) -> Path:
    for name, code in modules.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    return folder


def _returns(value: object) -> str:
    return f"def f(p, t):\n    return {value}\n"


def _metric(folder: Path, name: str = "score:f") -> Metric:
    return find_metric(name, folder=folder, allow_code=True)


def _score(folder: Path, name: str = "score:f") -> float:
    return _metric(folder, name)("x", ("x",))


def test_two_tasks_have_each_the_module_beside_it(tmp_path: Path) -> None:
    a, b = _write(tmp_path / "a", score=_returns(1.0)), _write(tmp_path / "b", score=_returns(0.0))
    first, second = _metric(a), _metric(b)
    assert [first("x", ()), second("x", ()), first("x", ())] == [1.0, 0.0, 1.0]
    assert "score" not in sys.modules
    assert metric_hash(first) != metric_hash(second)


def test_an_edit_is_used_when_the_task_is_loaded_again(tmp_path: Path) -> None:
    before = _metric(_write(tmp_path, score=_returns(0.25)))
    after = _metric(_write(tmp_path, score=_returns(0.75)))  # as long, and in the same second
    assert (before("x", ()), after("x", ())) == (0.25, 0.75)
    assert metric_hash(before) != metric_hash(after)
    assert _score(_write(tmp_path, score=_returns(0.25))) == 0.25


def test_what_is_loaded_again_unchanged_is_run_once(tmp_path: Path) -> None:
    _write(tmp_path, score="import itertools\nn = itertools.count()\ndef f(p, t): return min(1, next(n))\n")
    assert (_score(tmp_path), _score(tmp_path)) == (0, 1)


@pytest.mark.parametrize(
    "imports",
    [
        "import helpers\ndef f(p, t): return helpers.g()\n",
        "from helpers import g\ndef f(p, t): return g()\n",
        "from helpers import *\ndef f(p, t): return g()\n",
        "from . import helpers as h\ndef f(p, t): return h.g()\n",
        "def f(p, t):\n    import helpers\n    return helpers.g()\n",
        "import os.path, helpers\ndef f(p, t): return helpers.g()\n",
    ],
)
def test_modules_that_it_imports_from_its_folder_are_its_own_and_part_of_its_hash(tmp_path: Path, imports: str) -> None:
    a, b = (_write(tmp_path / name, score=imports, helpers="from deeper import g\n") for name in "ab")
    _write(a, deeper="def g(): return 0.1\n")
    _write(b, deeper="def g(): return 0.2\n")
    first, second = _metric(a), _metric(b)
    assert (first("x", ()), second("x", ()), first("x", ())) == (0.1, 0.2, 0.1)
    assert metric_hash(first) != metric_hash(second)
    assert metric_hash(_metric(a)) == metric_hash(first)
    assert _score(_write(a, deeper="def g(): return 0.3\n")) == 0.3
    assert not {"score", "helpers", "deeper"} & set(sys.modules)


def test_a_package_beside_the_task_is_its_own_too(tmp_path: Path) -> None:
    imports = "from ours import more\nimport ours.even.deep\nfrom .more import g\n"
    code = f"{imports}def f(p, t): return g() + ours.even.deep.x\n"
    for name, value in (("a", 0.1), ("b", 0.2)):
        _write(
            tmp_path / name,
            ours__in____init__="import ours.more\n",
            ours__in__score=code,
            ours__in__even__in__deep="x = 0.5\n",
        )
        _write(tmp_path / name, ours__in__more=f"def g(): return {value}\n")
    assert [_score(tmp_path / name, "ours.score:f") for name in "aba"] == [0.6, 0.7, 0.6]
    assert _score(_write(tmp_path / "a", spread__in__score=_returns(0.9)), "spread.score:f") == 0.9
    assert "ours" not in sys.modules


@pytest.mark.parametrize("name", ["json", "metrics", "yaml", "regex", "localprompt", "builtins", "test_code"])
def test_a_module_may_be_called_like_one_that_is_installed(tmp_path: Path, name: str) -> None:
    code = f"import {name}, json, yaml\nassert json.dumps and yaml.safe_load and {name}.__name__ == {name!r}\n"
    code = code if name != "metrics" else ""
    _write(tmp_path, **{name: code + _returns(0.5)})
    assert _score(tmp_path, f"{name}:f") == 0.5
    assert _score(_write(tmp_path, score="import json\nx = json.dumps(1)\n" + _returns(0.25))) == 0.25


def test_a_module_on_the_path_is_found_and_loaded_again_after_an_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = _write(
        tmp_path / "lib", common_of_tasks="import beside_it\n" + _returns("beside_it.x"), beside_it="x = 0.1\n"
    )
    monkeypatch.syspath_prepend(str(common))
    assert _score(tmp_path, "common_of_tasks:f") == 0.1
    _write(common, beside_it="x = 0.2\n")
    assert _score(tmp_path, "common_of_tasks:f") == 0.2
    assert _score(_write(tmp_path, common_of_tasks=_returns(0.3)), "common_of_tasks:f") == 0.3


def test_a_module_that_the_program_has_imported_is_the_programs(tmp_path: Path) -> None:
    metric = find_metric(f"{__name__}:_of_the_program", folder=tmp_path, allow_code=True)
    assert isinstance(metric, CodeMetric)
    assert metric.function is _of_the_program
    assert _score(tmp_path, "operator:eq") == 0.0
    assert len(metric.digest) == 64


def test_a_package_of_this_name_beside_the_task_is_no_copy_of_this_one(tmp_path: Path) -> None:
    code = "from localprompt.errors import TaskError\ndef f(p, t): return TaskError\n"
    _write(tmp_path, score=code, localprompt__in____init__="", localprompt__in__errors="")
    metric = _metric(tmp_path)
    assert isinstance(metric, CodeMetric)
    assert metric.function("x", ()) is TaskError


def _of_the_program(prediction: str, targets: tuple[str, ...]) -> float:
    return 0.5


def test_what_needs_its_own_module_to_be_known_works(tmp_path: Path) -> None:
    code = (
        "from __future__ import annotations\nimport dataclasses, enum, typing\nfrom pathlib import Path\n"
        "@dataclasses.dataclass\nclass A:\n    x: typing.ClassVar[float] = 0.5\n"
        "def f(p, t): return typing.get_type_hints(A) and float((Path(__file__).parent / 'x.txt').read_text())\n"
    )
    (tmp_path / "x.txt").write_text("0.5")
    assert _score(_write(tmp_path, score=code)) == 0.5
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    "code", ["import sys\nsys.exit(3)\n", "import no_such_module_at_all\n", "from helpers import h\n", "x = (\n"]
)
def test_a_module_that_cannot_be_imported_leaves_nothing_behind(tmp_path: Path, code: str) -> None:
    _write(tmp_path, score=code, helpers="g = 1\n")
    before = set(sys.modules)
    with pytest.raises(TaskError, match="'score:f' cannot be imported"):
        _metric(tmp_path)
    assert {name for name in set(sys.modules) - before if name.startswith("_localprompt")} == set()
    assert _score(_write(tmp_path, score=_returns(1.0))) == 1.0


# ---- pickling


def _task(folder: Path, keys: str, **modules: str) -> Path:
    rows = [json.dumps({"input": f"w{n}", "target": str(n % 2)}) for n in range(20)]
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (folder / "task.yaml").write_text(f"data: {{file: rows.jsonl}}\n{keys}\n", encoding="utf-8")
    _write(folder, **modules)
    return folder / "task.yaml"


@pytest.mark.parametrize(
    "keys",
    [
        *(
            "",
            "labels: ['0', '1']",
            r"answer: {regex: '(\d)'}",
            "answer: {after_marker: is}",
            "answer: {json_field: a}",
        ),
        *("answer: whole", "answer: last_number\nmetric: numeric", "metric: multiple_choice", "metric: score:f"),
    ],
)
def test_a_task_can_be_sent_to_another_process_and_answers_alike_there(tmp_path: Path, keys: str) -> None:
    path = _task(tmp_path / "task", keys, score="import helpers\ndef f(p, t): return helpers.x\n", helpers="x = 0.5\n")
    task = load_task(path, allow_code=True)
    texts = ['<think>0</think>It is 1\n{"a": "1"}', "nothing", "0, or so"]
    expected = [[task.answer(text), task.metric(text, ("1",))] for text in texts]
    code = (
        "import json, pickle, sys\ntask = pickle.load(sys.stdin.buffer)\n"
        f"print(json.dumps([[[task.answer(t), task.metric(t, ('1',))] for t in {texts!r}], task.fingerprint]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(task),
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ},
    )
    assert json.loads(run.stdout) == [expected, task.fingerprint]
    assert pickle.loads(pickle.dumps(task)) == copy.deepcopy(task) == task


def test_code_that_has_changed_since_is_not_taken_for_what_was_pickled(tmp_path: Path) -> None:
    task = load_task(_task(tmp_path, "metric: score:f", score=_returns(1.0)), allow_code=True)
    pickled = pickle.dumps(task)
    _write(tmp_path, score=_returns(0.0))
    assert copy.deepcopy(task).metric("x", ()) == 1.0
    with pytest.raises(TaskError, match="has changed since its task was pickled"):
        pickle.loads(pickled)
    (tmp_path / "score.py").unlink()
    with pytest.raises(TaskError, match="cannot be imported"):
        pickle.loads(pickled)


@pytest.mark.parametrize("name", ["answer", "metric"])
def test_what_cannot_be_pickled_is_named_in_one_sentence(tmp_path: Path, name: str) -> None:
    task = load_task(_task(tmp_path, ""))
    local = replace(task, **{name: lambda *_: "x"})  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=f"the task's {name} cannot be pickled") as caught:
        pickle.dumps(local)
    assert "\n" not in str(caught.value)
    assert getattr(copy.deepcopy(local), name) is getattr(copy.copy(local), name) is getattr(local, name)
