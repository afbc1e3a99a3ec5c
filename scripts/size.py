"""Counts what makes the project large: run it before and after a change.

    python scripts/size.py

Code lines are those that hold something else than a comment, a blank or a string that stands alone, such as a
docstring. Import circles are groups of files that reach each other, imports for types alone included.
"""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "localprompt"
MANY_PARAMETERS = 6
_NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def sources() -> list[Path]:
    """Return all Python files of the package, sorted."""
    return sorted(PACKAGE.rglob("*.py"))


@functools.cache
def tree(path: Path) -> ast.Module:
    """Return a file as Python reads it; read once, so not to be changed."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def code_lines(path: Path) -> int:
    """Return how many lines of a file are code; counted once."""
    text = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def by_package() -> dict[str, int]:
    """Return the code lines of each folder of the package; files on its top level count as `.`."""
    found: Counter[str] = Counter()
    for path in sources():
        parts = path.relative_to(PACKAGE).parts
        found[parts[0] if len(parts) > 1 else "."] += code_lines(path)
    return dict(sorted(found.items()))


def by_optimizer() -> dict[str, int]:
    """Return the code lines of each method: its file and those whose names begin with it."""
    paths = sorted((PACKAGE / "optimizers").glob("*.py"))
    names = [path.stem for path in paths if "\n@optimizer(" in path.read_text(encoding="utf-8")]
    return {name: sum(code_lines(path) for path in paths if f"{path.stem}_".startswith(f"{name}_")) for name in names}


def top_level() -> list[str]:
    """Return the files and folders on the package's top level."""
    return sorted(path.name for path in PACKAGE.iterdir() if path.name != "__pycache__")


def long_signatures() -> list[str]:
    """Return the functions with more than six parameters, `self` and commands of the command line apart."""
    found = []
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and not _is_command(node):
                arguments = node.args
                every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                if sum(each.arg not in ("self", "cls") for each in every) > MANY_PARAMETERS:
                    found.append(f"{path.relative_to(PACKAGE).as_posix()}:{node.name}")
    return found


def public_members(path: Path, name: str) -> list[str]:
    """Return the public methods, properties and attributes of a class."""
    cls = next(node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef) and node.name == name)
    found = {node.name for node in cls.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(cls):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            found.add(node.attr)
    found |= {
        node.target.id for node in cls.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return sorted(each for each in found if not each.startswith("_"))


def circles() -> list[list[str]]:
    """Return the groups of files that import each other, directly or through others; sorted."""
    known = {_module(path) for path in sources()}
    graph = {_module(path): set(_imports(path, known)) for path in sources()}
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in graph}
    return sorted(list(group) for group in groups if len(group) > 1)


def _is_command(node: ast.FunctionDef) -> bool:
    return any("command" in ast.unparse(decorator) for decorator in node.decorator_list)


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path, known: set[str]) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in named)


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    left = [start]
    while left:
        for name in graph.get(left.pop(), ()):
            if name not in seen:
                seen.add(name)
                left.append(name)
    return seen


def main() -> None:
    """Print everything."""
    packages = by_package()
    print(f"code lines {sum(packages.values())}")
    for name, n in packages.items():
        print(f"  {name:12} {n}")
    print("optimizers")
    for name, n in by_optimizer().items():
        print(f"  {name:14} {n}")
    problem = next(path for path in sources() if path.name == "problem.py")
    print(f"public members of Problem {len(public_members(problem, 'Problem'))}")
    print(f"things on the top level {len(top_level())}")
    print(f"import circles {len(circles())}")
    for circle in circles():
        print(f"  {', '.join(circle)}")
    signatures = long_signatures()
    print(f"functions with more than {MANY_PARAMETERS} parameters {len(signatures)}")
    for signature in signatures:
        print(f"  {signature}")


if __name__ == "__main__":
    main()
