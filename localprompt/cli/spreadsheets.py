"""CSV files that a command writes beside what it prints. Level 10."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from localprompt.errors import ConfigError, LocalPromptError


def check_folder(path: Path | None) -> None:
    """Check that a file can lie where it shall, before anything is done; None is no file.

    Raises:
        ConfigError: if there is no such folder.
    """
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(f"{path} cannot be written: its folder does not exist", "make the folder first")


def write_csv(path: Path | None, columns: Sequence[str], rows: Iterable[Mapping[str, object]], hint: str) -> None:
    """Write rows below the names of the columns; None is no file.

    Raises:
        LocalPromptError: with the hint, if the file cannot be written.
    """
    if path is None:
        return
    try:
        # Names and errors may hold what UTF-8 cannot say.
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise LocalPromptError(f"{path} cannot be written: {error.strerror}", hint) from error
