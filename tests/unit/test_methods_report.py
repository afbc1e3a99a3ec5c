"""The benchmark of the methods says which code its numbers come from."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("methods")


def _said(methods: ModuleType, *codes: str | None) -> str:
    runs = tuple({} if code is None else {"code": code} for code in codes)
    return str(methods.versions({("task", "empty", "ape"): SimpleNamespace(runs=runs)}))


def test_runs_of_one_version_need_no_word(methods: ModuleType) -> None:
    assert _said(methods) == _said(methods, "a", "a") == ""
    assert _said(methods, None, None) == "", "a file from before the versions were recorded"


def test_runs_of_several_versions_are_told(methods: ModuleType) -> None:
    assert _said(methods, "a", "b", "a").startswith("These runs come from 2 versions of the code:")
    assert _said(methods, "a", None, None).startswith("These runs come from 1 version of the code and, 2 of them, from")


def test_the_hash_is_of_code_and_meta_prompts(methods: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    hashes = []
    for name, text in (("inner/a.py", "x"), ("inner/a.py", "y"), ("b.txt", "x"), ("c.pyc", "x")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        hashes.append(methods.code_hash(tmp_path))
    assert len(set(hashes)) == 3
    assert hashes[2] == hashes[3]
