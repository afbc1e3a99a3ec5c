"""A model by its name: a card's, a path, or `scheme:text`, which a registered loader opens. Level 3."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from localprompt.engine.parts import split_paths
from localprompt.errors import ConfigError, nearest
from localprompt.hub.elsewhere import PROGRAMS
from localprompt.hub.files import card_named, file_at, installed, kept_elsewhere
from localprompt.interface.paths import expanded
from localprompt.lm.base import LanguageModel

Loader = Callable[..., AbstractContextManager[LanguageModel]]
"""(text behind the colon, **engine settings) to a model, as a context manager that closes it."""

_NAME = re.compile("[a-z][a-z0-9_-]+")
"""Two characters or more: `C:` is a drive of Windows."""


@dataclass(frozen=True, slots=True)
class _Scheme:
    load: Loader
    names_file: bool
    is_trusted: bool = True
    """False: opening it runs code or contacts a server, which nobody but the user who names it may cause."""


def _later(module: str, function: str, *first: str) -> Loader:
    """Return a loader that is imported when it is called: as few modules as a command needs."""
    return lambda text, **engine: getattr(import_module(f"localprompt.lm.{module}"), function)(*first, text, **engine)


_SCHEMES = {
    "scripted": _Scheme(_later("script", "load_script"), names_file=True),
    "python": _Scheme(_later("function", "load_function_model"), names_file=False, is_trusted=False),
    **{s: _Scheme(_later("server", "load_server", s), names_file=False, is_trusted=False) for s in ("http", "https")},
}


def register_scheme(name: str, loader: Loader, *, names_file: bool = False) -> None:
    """Let `loader` open every model that is named `name:...`: in Python, in commands, and where a run is resumed.

    Args:
        name: two or more of a-z, 0-9, `-` and `_`, the first a letter.
        loader: gets the text behind the colon and the engine settings by name; raises ConfigError and ModelError.
        names_file: the text is a path: a run keeps it absolute, so that it is found from everywhere.

    Raises:
        ValueError: if the name is another's already, or none.
    """
    is_taken = name in _SCHEMES or name in PROGRAMS
    if is_taken or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is {'already registered' if is_taken else 'not a valid scheme name'}")
    _SCHEMES[name] = _Scheme(loader, names_file)


@contextmanager
def scheme(name: str, loader: Loader) -> Iterator[None]:
    """Register a scheme for a time; see `register_scheme`."""
    register_scheme(name, loader)
    try:
        yield
    finally:
        del _SCHEMES[name]


def open_model(name_or_path: str | Path, /, **engine: Any) -> AbstractContextManager[LanguageModel]:
    """Return a loaded model by card name, by path, or by `scheme:text`.

    Raises:
        ConfigError: for an unknown name or scheme, or an unknown or impossible engine setting.
        ModelError: if it cannot be found or loaded.
    """
    if (found := _scheme_of(name_or_path)) is not None:
        return found.load(_parts(name_or_path)[1], **engine)
    from localprompt.lm.local import load_model  # noqa: PLC0415 - llama.cpp starts slowly

    return load_model(name_or_path, **engine)


def open_vocabulary(name_or_path: str | Path) -> AbstractContextManager[LanguageModel]:
    """Return what tokenises and renders as the model of that name does, without its weights where they are a file.

    Raises:
        ConfigError, ModelError: as `open_model`.
    """
    if _scheme_of(name_or_path) is not None:
        return open_model(name_or_path)
    from localprompt.lm.local import load_vocabulary  # noqa: PLC0415 - llama.cpp starts slowly

    return load_vocabulary(name_or_path)


def is_trusted(name: str) -> bool:
    """Return whether a model may be opened by a name that comes from the store: it runs no code, contacts no server."""
    scheme_name, _ = _parts(name)
    return scheme_name not in _SCHEMES or _SCHEMES[scheme_name].is_trusted


def check_trusted(name: str, role: str) -> None:
    """Check that what a run in the store names may be opened without being named again.

    Raises:
        ConfigError: if it runs code or contacts a server.
    """
    if not is_trusted(name):
        raise ConfigError(
            f"the run's {role} is {name}, and a run's record may come from anywhere",
            f"name the {role} again to run that code or to contact that server",
        )


def source_of(model: str | Path | LanguageModel | None) -> str | None:
    """Return what a later session can load a model from, wherever it is started; None for one that came loaded."""
    if not isinstance(model, str | Path):
        return None
    name, text = _parts(model)
    if name in _SCHEMES:
        return f"{name}:{expanded(text).absolute()}" if _SCHEMES[name].names_file else str(model)
    file = file_at(model)
    if file is None:
        return str(model)
    target = file.resolve()
    # A hub's cache names its files by their hash, and by such a name the other parts of a split model are not found.
    return str(target if len(split_paths(target)) == len(split_paths(file)) else file)


def place_of(model: str | Path) -> str:
    """Return the same for two names of one model: its path, or what else it would be opened by.

    Raises:
        ConfigError, ModelError: for a name of no card, file, scheme or model of another program; nothing is opened.
    """
    path: Path | None = None
    if _scheme_of(model) is None:
        path = kept_elsewhere(model) or (None if file_at(model) else installed(card_named(model)))
    return str(path.resolve()) if path else source_of(model) or str(model)


def _scheme_of(name_or_path: str | Path) -> _Scheme | None:
    """Return what opens a model by its name; None for one in a file: a card's, a path's, another program's.

    Raises:
        ConfigError: for an unknown scheme.
    """
    name, _ = _parts(name_or_path)
    if name and name not in _SCHEMES and name not in PROGRAMS and file_at(name_or_path) is None:
        problem = f"there is neither a file {str(name_or_path)!r} nor a scheme {name!r} of models"
        raise ConfigError(problem, nearest(name, [*_SCHEMES, *PROGRAMS]))
    return _SCHEMES.get(name)


def _parts(name_or_path: str | Path) -> tuple[str, str]:
    """Return what may be a scheme, and the text behind it; an empty scheme for what can only be a card or a path."""
    name, colon, text = str(name_or_path).partition(":")
    is_scheme = colon and isinstance(name_or_path, str) and _NAME.fullmatch(name)
    return (name, text) if is_scheme else ("", "")
