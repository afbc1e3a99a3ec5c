"""What `import localprompt` offers."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import localprompt

SOURCE = Path(localprompt.__file__).read_text(encoding="utf-8")


def _imported_names() -> set[str]:
    """Public names that the package's own `from localprompt... import ...` lines bind, lazy ones included."""
    return {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("localprompt")
        for alias in node.names
        if not (alias.asname or alias.name).startswith("_")
    }


def test_all_is_sorted_and_complete() -> None:
    assert list(localprompt.__all__) == sorted(localprompt.__all__)
    assert _imported_names() - set(localprompt.__all__) == set()


def test_every_public_name_exists_and_is_documented() -> None:
    for name in localprompt.__all__:
        thing = getattr(localprompt, name)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert inspect.getdoc(thing), name


def test_dir_offers_every_public_name() -> None:
    assert set(localprompt.__all__) <= set(dir(localprompt))
