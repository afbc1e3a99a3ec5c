"""Python of the user's own that a task names: loaded for that task alone, told from other code by its content. Level 3.

Two folders may both hold a `score.py` and a `helpers.py` that it imports, and either may be edited and loaded again, or
be called like a module that is installed. So a module beside the task file, or on PYTHONPATH, is not imported under its
name: it stands in a package of its own, whose name is a hash of all its files, and so do the modules that it imports
from the same folder. No other module sees them.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import json
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

from localprompt.errors import TaskError

_PREFIX = "_localprompt_task_"
_SHARED = frozenset({*sys.stdlib_module_names, __name__.partition(".")[0]})
"""Never the folder's own when one of its modules imports them: all code expects the ones that are installed."""


def load_function(name: str, folder: Path, what: str = "metric") -> tuple[Callable[..., Any], str]:
    """Return the function `module:function` and the hash of its module's files, hexadecimal.

    It is looked for in `folder` first. The same files are loaded once in a process, and anew where they have changed.
    `what` it is for is named in errors.

    Raises:
        TaskError: if it cannot be imported or is no function.
    """
    module_name, _, function_name = name.partition(":")
    try:
        module, digest = _load(module_name, folder.resolve())
        function = getattr(module, function_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
        place = "beside the task file" if what == "metric" else "in this folder"
        hint = f"write module:function, and put module.py {place} or on PYTHONPATH"
        why = re.sub(rf"{_PREFIX}\w+\.", "", f"{type(error).__name__}: {error}")
        raise TaskError(f"the {what} {name!r} cannot be imported ({why})", hint) from error
    if not callable(function):
        raise TaskError(f"the {what} {name!r} is not a function", "write module:function")
    return function, digest


def _load(name: str, folder: Path) -> tuple[types.ModuleType, str]:
    root = next((each for each in (folder, *_own_paths(name)) if _is_in(each, name)), None)
    if root is None:
        module = importlib.import_module(name)
        file = getattr(module, "__file__", None)
        return module, _hash(Path(file).read_bytes()) if file else ""
    files = {path.relative_to(root).as_posix(): _hash(path.read_bytes()) for path in _files(root, name)}
    digest = next(iter(files.values())) if len(files) == 1 else _hash(json.dumps(sorted(files.items())).encode())
    if root != folder and _is_known(root, name):
        return importlib.import_module(name), digest
    package = _PREFIX + _hash(json.dumps([str(root), name, digest]).encode())[:16]
    if package not in sys.modules:
        _enter(package, root)
    try:
        return importlib.import_module(f"{package}.{name}"), digest
    except BaseException:
        for each in [each for each in sys.modules if each == package or each.startswith(f"{package}.")]:
            del sys.modules[each]
        raise


def _is_known(root: Path, name: str) -> bool:
    """Return whether the program that uses this package has imported that very module: then it is that one."""
    top = name.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    return file is not None and Path(file).resolve() == _source(root, top)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _own_paths(name: str) -> Iterator[Path]:
    """Yield the places where modules are looked for, up to the first of Python's own that has this one."""
    if name.partition(".")[0] in {*sys.builtin_module_names, __name__.partition(".")[0]}:
        return
    installed = {Path(path).resolve() for path in sysconfig.get_paths().values()}
    for entry in sys.path:
        path = Path(entry).resolve()
        if path in installed or not path.is_dir() or {"site-packages", "dist-packages", "lib-dynload"} & {*path.parts}:
            if path.is_dir() and _is_in(path, name):
                return
        else:
            yield path


def _is_in(root: Path, name: str) -> bool:
    top = name.partition(".")[0]
    if not all(map(str.isidentifier, name.split("."))):
        return False
    return _source(root, top) is not None or _source(root, name) is not None


def _source(root: Path, name: str) -> Path | None:
    """Return the file of a module in a folder, None if it holds none."""
    base = root.joinpath(*name.split("."))
    return next((path for path in (base / "__init__.py", base.parent / f"{base.name}.py") if path.is_file()), None)


def _is_beside(root: Path, name: str, importer: str) -> bool:
    """Return whether a module that one of the folder imports is the folder's own.

    A module does not import itself: a `metrics.py` that imports `metrics` means the installed one.
    """
    top = name.partition(".")[0]
    is_itself = top == importer and _source(root, top) == root / f"{top}.py"
    return top not in _SHARED and not is_itself and _is_in(root, name)


def _files(root: Path, name: str) -> list[Path]:
    """Return the files of a module, of its packages and of all that they import from the same folder, sorted."""
    found: dict[Path, str] = {}
    waiting = [name]
    while waiting:
        name = waiting.pop()
        parents = [name.rsplit(".", cut)[0] for cut in range(name.count(".") + 1)]
        for each in parents:
            path = _source(root, each)
            if path is not None and path not in found:
                found[path] = each
                waiting += [other for other in _imports(path, each) if _is_beside(root, other, each)]
    return sorted(found)


def _imports(path: Path, name: str) -> Iterator[str]:
    """Yield the modules that a file may import."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # importing it says more
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            yield from filter(None, (base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)))


def _enter(package: str, root: Path) -> None:
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    module = types.ModuleType(package)
    module.__path__ = [str(root)]
    sys.modules[package] = module


class _Finder(MetaPathFinder):
    """Finds the modules of the packages made here, and no others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX) or path is None:
            return None
        name = fullname.rpartition(".")[2]
        for folder in path:
            if (file := _source(Path(folder), name)) is not None:
                places = [str(file.parent)] if file.name == "__init__.py" else None
                loader = _Loader(fullname, str(file))
                return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=places)
        return PathFinder.find_spec(fullname, path)


class _Loader(SourceFileLoader):
    """Runs the file as it is now, with an `import` that looks in its own folder first."""

    def get_code(self, fullname: str) -> types.CodeType:
        # Not the cached bytecode: an edit within a second, of the same length, would not be seen.
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: types.ModuleType) -> None:
        package = module.__name__.partition(".")[0]
        root = Path(sys.modules[package].__path__[0])
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import_for(package, root)}
        super().exec_module(module)


def _import_for(package: str, root: Path) -> Callable[..., types.ModuleType]:
    """Return an `__import__` that looks among the modules of a package made here first."""

    def load(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        importer, wanted = str((globals or {}).get("__name__")).partition(".")[2], fromlist or ()
        if level or not any(_is_beside(root, each, importer) for each in (name, *(f"{name}.{f}" for f in wanted))):
            return __import__(name, globals, locals, wanted, level)
        module = importlib.import_module(f"{package}.{name}")
        for each in wanted:
            if not hasattr(module, each) and _source(root, f"{name}.{each}") is not None:
                importlib.import_module(f"{module.__name__}.{each}")
        return module if wanted else sys.modules[f"{package}.{name.partition('.')[0]}"]

    return load
