"""Everything fits on a screen or in a head: limits on the length of functions and files."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "localprompt").rglob("*.py"))
sys.path.insert(0, str(ROOT / "scripts"))
import size  # noqa: E402 - it counts for people too

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 450
# These only fall; one that must rise says why behind its number.
# 12,165 before exact statistics, data, scripts, thoughts; models by scheme 107; studies 87; budgets that size a search,
# in minutes and computed tokens, 440; diagnosis 340; choice and runner-up 155; races of worked
# examples 102, fronts of score and length 49; cross-validation 344; 15,717 before
# sensitivity, transfer, port, objectives, quantisation: variants 1,203, battery 1,193, cli 877, comparison 460,
# run 432, stats 429, engine 242, hub 183
# reports, lists and differences of runs, searches from earlier runs, auto: reports 1,201, run 443, cli 237, optimizers
# 208, comparison 129, store 56
# texts tokenised in pieces 55, one setting of a search ahead of the others 12, tasks made in Python checked as files 21
MAX_CODE_LINES = 29_662
# a step of each method is an operator of auto: 4 to 9 more
MAX_OF_OPTIMIZER = {"ape": 188, "manual": 43, "opro": 257, "pe2": 247, "protegi": 251, "random_search": 83}  # examples
MAX_OF_NEW_OPTIMIZER = 250
MAX_MEMBERS_OF_PROBLEM = 18  # 17 before `unseen`: the winner is chosen by rows that no method used
MAX_ON_TOP_LEVEL = 25  # 19 before variants, battery, reports, exports, adapters and serve, each a use of its own
MAX_CIRCLES = 0
MAX_LONG_SIGNATURES = 10  # 6 before sensitivity and its plan, `port` with the limits of `optimize`, and `transfer`


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PACKAGE, ids=_name)
def test_a_file_fits_in_a_head_and_its_functions_on_a_screen(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_FILE_LINES
    long = {
        node.name: lines
        for node in ast.walk(size.tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1 - _docstring_lines(node)) > MAX_FUNCTION_LINES
    }
    assert not long


def test_what_makes_the_project_large_only_falls() -> None:
    assert sum(size.by_package().values()) <= MAX_CODE_LINES
    sizes = size.by_optimizer()
    assert sizes.keys() >= MAX_OF_OPTIMIZER.keys()
    assert not {name: n for name, n in sizes.items() if n > MAX_OF_OPTIMIZER.get(name, MAX_OF_NEW_OPTIMIZER)}
    assert len(size.public_members(ROOT / "localprompt/search/problem.py", "Problem")) <= MAX_MEMBERS_OF_PROBLEM
    assert len(size.top_level()) <= MAX_ON_TOP_LEVEL
    assert len(size.circles()) <= MAX_CIRCLES
    assert len(size.long_signatures()) <= MAX_LONG_SIGNATURES


@pytest.mark.parametrize("path", PACKAGE, ids=_name)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    if path.read_text(encoding="utf-8").strip():  # an empty __init__.py only marks a package
        assert ast.get_docstring(size.tree(path))


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """A click command's docstring is its help page and a record of attributes may be long; code is what counts."""
    if ast.get_docstring(node) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or 0) - first.lineno + 1
