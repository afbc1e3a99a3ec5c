"""README.md and ARCHITECTURE.md against the tree.

ARCHITECTURE.md holds one table row a file, which begins with the file's path in backticks:

    | `localprompt/types.py` | 0 | shared records |
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| *`(localprompt/[^`]+\.py)` *\|", re.MULTILINE)
NAMED_PATH = re.compile(
    r"[`(]((?:localprompt|benchmarks|examples|models|scripts|tests)/[\w./-]*|[A-Z]+\.md|LICENSE)[`)#]"
)
MAKE_TARGET = re.compile(r"\bmake ([a-z][a-z-]*)")


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _modules() -> list[str]:
    """The package's files; an empty __init__.py only marks a package."""
    files = (path for path in (ROOT / "localprompt").rglob("*.py") if path.stat().st_size > 0)
    return sorted(path.relative_to(ROOT).as_posix() for path in files)


def test_the_table_of_architecture_names_every_file_once() -> None:
    rows = ROW.findall(_read("ARCHITECTURE.md"))
    missing, gone = sorted(set(_modules()) - set(rows)), sorted(set(rows) - set(_modules()))
    assert rows, "ARCHITECTURE.md has no table rows such as: | `localprompt/types.py` | shared records |"
    assert not missing, f"files without a row: {missing}"
    assert not gone, f"rows without a file: {gone}"
    assert len(rows) == len(set(rows)), "a file has two rows"


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_every_path_that_a_document_names_exists(document: str) -> None:
    text = _read(document)
    assert text.strip(), f"{document} is empty"
    places = (ROOT, (ROOT / document).parent)
    assert [path for path in NAMED_PATH.findall(text) if not any((place / path).exists() for place in places)] == []


def test_the_readmes_name_every_benchmark_and_every_example() -> None:
    scripts = (path for path in (ROOT / "benchmarks").glob("*.py") if "def main(" in path.read_text(encoding="utf-8"))
    benchmarks = [path.name for path in scripts]
    examples = [path.parent.name for path in (ROOT / "examples").glob("*/task.yaml")]
    assert benchmarks
    assert examples
    assert [name for name in benchmarks if name not in _read("benchmarks/README.md")] == []
    assert [name for name in examples if name not in _read("README.md")] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_a_document_names_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", _read("Makefile"), re.MULTILINE))
    code = re.findall(r"`[^`]*`|^    .*$|^make .*$", _read(document), re.MULTILINE)
    named = {target for line in code for target in MAKE_TARGET.findall(line)}
    assert named, f"{document} names no make target"
    assert named <= targets
