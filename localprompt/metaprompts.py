"""Meta-prompts: what a proposer is shown, as text files beside the optimisers. Level 4.

A file may be replaced by one of the same name in a folder of the user's. Slots are written `{{name}}` and filled in a
single pass, so nothing inside data is ever taken for a slot.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from localprompt.errors import ConfigError, nearest
from localprompt.tasks.template import fill, slots
from localprompt.types import Example

SHRINK = (1, 2, 4, 8, 16, 32)
"""What the length of a shown text is divided by until a request fits the context."""
MIN_SHOWN_CHARS = 40
_LONG_CHARS = 2400
"""A longer limit of shown texts is divided as if it were this one, or few contexts would have room."""
_BLANK = re.compile(r"\{\{[ \t]*blank[ \t]*\}\}")


@dataclass(frozen=True, slots=True)
class MetaPrompt:
    """The text of one meta-prompt, its slots checked."""

    name: str
    text: str

    def fill(self, **values: str) -> str:
        """Return the text with its slots filled."""
        return fill(self.text, values)

    @property
    def is_chat(self) -> bool:
        """True if it is one for a chat: its last paragraph is the opening of the answer."""
        return self.name == "cloze" or self.name.endswith("_chat")

    @property
    def turns(self) -> tuple[MetaPrompt, str]:
        """The user's turn, and the opening of the answer: the last paragraph, which has no slots."""
        user, _, opening = self.text.rpartition("\n\n")
        return MetaPrompt(self.name, user), opening

    @property
    def sides(self) -> tuple[MetaPrompt, MetaPrompt]:
        """What stands before and after the slot `{{blank}}`."""
        before, after = _BLANK.split(self.text)
        return MetaPrompt(self.name, before), MetaPrompt(self.name, after)

    @property
    def fixed(self) -> str:
        """The text without its slots: what a proposal must not repeat."""
        return fill(self.text, dict.fromkeys(slots(self.text), "\n"))


def load(optimizer: str, wanted: Mapping[str, tuple[str, ...]], folder: Path | None) -> dict[str, MetaPrompt]:
    """Return the meta-prompts of an optimiser by name.

    Args:
        optimizer: names the folder of the shipped files.
        wanted: name of each meta-prompt to the slots it must have, each of them exactly once.
        folder: the user's files; a name that is missing there is taken from the shipped ones.

    Raises:
        ConfigError: if the folder does not exist, holds an unknown `.txt` file or one that is not UTF-8, a slot is
            missing, unknown or there twice, or a meta-prompt for a chat does not end in the answer's opening.
    """
    own = _own_files(folder, wanted)
    shipped = _shipped(optimizer)
    loaded = {}
    for name, required in wanted.items():
        text = own[name] if name in own else shipped[name]
        # An editor's newline at the end of the file would be the first thing the model continues.
        loaded[name] = MetaPrompt(name, text.rstrip("\n"))
        _check(name, text, required)
        if loaded[name].is_chat:
            _check_turns(loaded[name])
    return loaded


def shipped_hash(optimizer: str) -> str:
    """Return a hash of the shipped meta-prompts of an optimiser, if it has any; 16 hexadecimal digits."""
    texts = _shipped(optimizer)
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]


def worked(template: MetaPrompt, example: Example, output: str, limit: int) -> str:
    """Return an example with its answer as a meta-prompt shows it, each text shortened to `limit` characters."""
    return template.fill(inputs=inputs_of(example, limit), output=shortened(output, limit))


def inputs_of(example: Example, limit: int) -> str:
    """Return the inputs of an example as a meta-prompt shows them, a line each, shortened to `limit` characters."""
    named = len(example.inputs) > 1
    lines = [
        f"{name.replace('_', ' ').capitalize() if named else 'Input'}: {shortened(text, limit)}"
        for name, text in example.inputs.items()
    ]
    return "\n".join(lines)


def shown_chars(limit: int, shrink: int) -> int:
    """Return how much of a text is shown where `limit` characters are allowed and there is little room."""
    return max(min(limit, MIN_SHOWN_CHARS), limit if shrink == 1 else min(limit, _LONG_CHARS) // shrink)


def shortened(text: str, limit: int) -> str:
    """Return `text` on one line, its middle left out where it is longer than `limit` characters."""
    flat = " ".join(text.split())
    if len(flat) <= limit:
        return flat
    half = (limit - 5) // 2
    return f"{flat[:half]} ... {flat[len(flat) - half :]}"


def _shipped(optimizer: str) -> dict[str, str]:
    """Return the texts of an optimiser's folder, and of the one that optimisers share, by name."""
    folders = [files("localprompt") / "optimizers" / "templates" / name for name in ("shared", optimizer)]
    found = (file for folder in folders if folder.is_dir() for file in folder.iterdir() if file.name.endswith(".txt"))
    return {file.name.removesuffix(".txt"): file.read_text(encoding="utf-8") for file in found}


def _own_files(folder: Path | None, wanted: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    if folder is None:
        return {}
    if not folder.is_dir():
        raise ConfigError(f"the template folder {folder} does not exist", "give a folder with .txt files")
    texts = {}
    for path in sorted(folder.glob("*.txt")):
        if path.stem not in wanted:
            raise ConfigError(f"{path} is no meta-prompt of this method", nearest(path.stem, wanted))
        try:
            texts[path.stem] = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8 text", "save it as UTF-8") from error
        except OSError as error:
            raise ConfigError(f"the meta-prompt {path} cannot be read: {error.strerror}", "give a text file") from error
    return texts


def _check_turns(template: MetaPrompt) -> None:
    user, opening = template.turns
    if not user.text.strip():
        problem, hint = "has no blank line", "the paragraph after the last blank line is how the answer begins"
    elif slots(opening):
        problem, hint = "has a slot in its last paragraph", "the last paragraph is how the answer begins: fixed text"
    else:
        return
    raise ConfigError(f"the meta-prompt {template.name}.txt {problem}", hint)


def _check(name: str, text: str, required: tuple[str, ...]) -> None:
    found = slots(text)
    for slot in required:
        if slot not in found:
            raise ConfigError(
                f"the meta-prompt {name}.txt lacks the slot {{{{{slot}}}}}", f"it needs {', '.join(required)}"
            )
        if len(re.findall(rf"\{{\{{[ \t]*{re.escape(slot)}[ \t]*\}}\}}", text)) > 1:
            raise ConfigError(
                f"the meta-prompt {name}.txt has the slot {{{{{slot}}}}} more than once", "keep one of them"
            )
    for slot in found:
        if slot not in required:
            raise ConfigError(
                f"the meta-prompt {name}.txt has the unknown slot {{{{{slot}}}}}", nearest(slot, required)
            )
