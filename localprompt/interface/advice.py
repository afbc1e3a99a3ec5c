"""Commands in hints, complete enough to be pasted. Level 1."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from localprompt.interface.paths import default_store


def command(*words: str, store: Path | None = None) -> str:
    """Return a command of this program in backquotes, each word quoted where a shell needs that.

    Args:
        words: behind `localprompt`; those in capitals, such as FILE, stand for what the reader puts there.
        store: which one the command is about; it is named unless it is the one that is taken anyway.
    """
    where = () if store is None or store.absolute() == default_store().absolute() else ("--store", str(store))
    line = ("localprompt", *words, *where)
    return f"`{subprocess.list2cmdline(line) if os.name == 'nt' else shlex.join(line)}`"
