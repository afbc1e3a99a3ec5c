"""Prompts as a user names them: the text, a file, a run. Level 10."""

from __future__ import annotations

import re
from os.path import expanduser, isfile
from pathlib import Path
from typing import TYPE_CHECKING

from localprompt.errors import ConfigError, StoreError
from localprompt.interface.paths import expanded

if TYPE_CHECKING:
    from localprompt.comparison.transfer_results import GivenPrompt
    from localprompt.types import Prompt

_RUN = re.compile(r"[0-9a-f]{6,}")
"""The beginning of a run's id."""


def named_prompt(prompt: str, store: Path | None) -> str | Prompt:
    """Return a prompt: the text itself, that of a file behind an @ without its last line break, or what a run found.

    Raises:
        ConfigError: if the file cannot be read, or the run has found nothing yet.
        StoreError: if no run or several have ids that begin so, or the store cannot be read.
    """
    if prompt.startswith("@"):
        return _content(expanded(prompt[1:])).removesuffix("\n")
    if not _RUN.fullmatch(prompt):
        return prompt
    from localprompt.comparison.transfer import of_run  # noqa: PLC0415 - only for runs
    from localprompt.store import Store  # noqa: PLC0415

    with Store(store, create=False) as opened:
        try:
            return of_run(opened.runs.get(prompt), opened.path).prompt
        except StoreError as error:
            raise StoreError(error.message, f"{error.hint}; a prompt of such letters is given as @FILE") from error


def listed_prompts(source: str, store: Path | None) -> list[GivenPrompt]:
    """Return prompts with where they come from: what a run found, a file's lines, or a text of two words or more.

    What is the path of a file that is there is that file, whatever its name.

    Raises:
        ConfigError: if the file cannot be read or holds none, or the run has found nothing yet.
        StoreError: if several runs have ids that begin so, or the store cannot be read.
    """
    from localprompt.comparison.transfer import of_run  # noqa: PLC0415 - `--help` must start fast
    from localprompt.comparison.transfer_results import GivenPrompt  # noqa: PLC0415
    from localprompt.store import Store  # noqa: PLC0415
    from localprompt.types import Prompt  # noqa: PLC0415

    if _RUN.fullmatch(source):
        with Store(store, create=False) as opened:
            return [of_run(opened.runs.get(source), opened.path)]
    is_there = isfile(expanduser(source))  # noqa: PTH111, PTH113 - Path's raise for a long text
    if not source.startswith("@") and len(source.split()) > 1 and not is_there:
        return [GivenPrompt(Prompt(source), "given")]
    path = expanded(source.removeprefix("@"))
    instructions = listed_instructions(path)
    return [GivenPrompt(Prompt(text), f"{path.name}:{n}") for n, text in enumerate(instructions, start=1)]


def listed_instructions(path: Path) -> list[str]:
    """Return the instructions of a file, one a line, without empty lines.

    Raises:
        ConfigError: if the file cannot be read, or holds none.
    """
    found = [line for line in _content(path).split("\n") if line.strip()]  # other breaks belong to a text
    if not found:
        raise ConfigError(f"the prompt file {path} holds no prompt", "write one prompt a line")
    return found


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the prompt file {path} cannot be read: {error.strerror}", "check its path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the prompt file {path} is not UTF-8 text", "save it as UTF-8") from error
