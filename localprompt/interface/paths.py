"""Paths as people write them: `~` is the home folder wherever one is given. Files for them. Level 1."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from localprompt.errors import ConfigError, StoreError

_SHOWN = 200


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` or `~user` at its beginning replaced by that home folder; nothing else is replaced.

    A shell does that too, but not behind `--store=`, in quotes, in a task file, or in Python.

    Raises:
        ConfigError: if there is no such user, or the text is no path, such as one that holds NUL or is too long.
    """
    given = Path(path)
    try:
        found = given.expanduser() if os.fspath(path).startswith("~") else given  # ./~ is a file of that name
        os.fsencode(found)
    except RuntimeError as error:
        raise ConfigError(f"{given} begins with a home folder that is not known", "write the path out") from error
    except UnicodeEncodeError as error:
        raise ConfigError(f"{str(given)!r} is no path: it holds what no file name can", "give a path") from error
    if "\0" in str(found):
        raise ConfigError(f"{str(given)!r} is no path: it holds NUL", "give a path")
    try:
        found.exists()
    except PermissionError:
        pass  # whoever opens it knows what it is for
    except OSError as error:
        raise ConfigError(f"{str(found)[:_SHOWN]!r}... is no path: {error.strerror}", "give a path") from error
    return found


def default_store() -> Path:
    """Return where the store lies if nobody says: $LOCALPROMPT_STORE, or the user's data folder."""
    if chosen := os.environ.get("LOCALPROMPT_STORE"):
        return expanded(chosen)
    import platformdirs  # noqa: PLC0415 - the command line's `--help` must start fast

    return platformdirs.user_data_path("localprompt", appauthor=False) / "store.sqlite"


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; a link stays one, and the mode of a file that is there stays.

    Raises:
        StoreError: if it cannot be written.
    """
    data = text.encode("utf-8", "backslashreplace")
    if not path.name or path.is_dir():
        raise StoreError(f"{str(path)!r} is no name of a file", "choose another file")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():  # a pipe or a device
            target.write_bytes(data)
            return
        part = target.with_name(part.name)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            file.write(data)
        part.replace(target)
    except OSError as error:
        hint = "choose another file, in a folder that is there"
        raise StoreError(f"{path} cannot be written ({error.strerror or error})", hint) from error
    finally:
        with suppress(OSError):  # it was replaced, or there is no such folder: the first error says more
            part.unlink()
