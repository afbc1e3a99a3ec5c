"""Files that settings name (meta-prompts, lists of prompts), kept with their text. Level 7.

They are written out again where a run is repeated: neither the task file nor any other file has to be there then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localprompt.errors import ConfigError, StoreError

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_MOST_CHARACTERS = 1024 * 1024


def inline_files(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON, each path replaced by the texts that lie there: {"files": {name: text}, "folder": bool}.

    Raises:
        ConfigError: if a file cannot be read, or is too large to be kept with a run.
    """
    return {name: _inline_file(value) if isinstance(value, Path) else value for name, value in settings.items()}


def write_files(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return settings in which enclosed texts lie in files below `folder` again.

    Raises:
        StoreError: if a name is none for a file here: a run can come from anywhere.
    """
    return {
        name: _write_file(value, folder / str(number)) if isinstance(value, dict) else value
        for number, (name, value) in enumerate(settings.items())
    }


def _inline_file(path: Path) -> dict[str, Any]:
    is_folder = path.is_dir()
    named = {file.name: file for file in sorted(path.glob("*.txt")) if _FILE_NAME.fullmatch(file.name)}
    files = named if is_folder else {"file.txt": path}
    try:
        texts = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error})", "give a UTF-8 text file, or a folder of .txt files"
        ) from error
    if any(len(text) > _MOST_CHARACTERS for text in texts.values()):
        raise ConfigError(f"{path} has a text of more than {_MOST_CHARACTERS:,} characters", "give a part of it")
    return {"files": texts, "folder": is_folder}


def _write_file(value: dict[str, Any], folder: Path) -> Path:
    files = value.get("files")
    if not isinstance(files, dict) or (value.get("folder") is not True and len(files) != 1):
        raise StoreError("the files of the run's settings are damaged", "it was not written by localprompt")
    folder.mkdir(parents=True)
    for name, text in files.items():
        if not _FILE_NAME.fullmatch(name) or not isinstance(text, str) or len(text) > _MOST_CHARACTERS:
            raise StoreError(f"the run's settings have an invalid file: {name[:100]!r}", "do not trust this run")
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return folder if value.get("folder") is True else folder / next(iter(files))
