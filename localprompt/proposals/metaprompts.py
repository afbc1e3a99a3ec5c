"""Meta-prompts: what a proposer is shown, as text files beside the optimisers. Level 4.

A file may be replaced by one of the same name in a folder of the user's. Slots are written `{{name}}` and filled in a
single pass, so nothing inside data is ever taken for a slot.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
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
_MODULES: dict[str, str] = {}
"""Optimiser to its module."""
_RENAMED = {"forward": "induce", "forward_chat": "induce_chat", "demo": "induce_pair"}
"""Former names of meta-prompts, which a user's folder may still have."""
_HASHES = {
    "8d31ce2b28ca8542": "5b0b005fe85e79d4",
    "9e80d1e49d43479d": "7f74986d6aa15e0c",
    "abdacc06b15c79bb": "52e6b7d2bf1e9f15",
    "38409e9e7be4ac3a": "fd8bdb527b548db1",
    "ea4f0fce0ee4b1f8": "47ca6c0bb61c457a",
}
"""Hash of texts to the one that they had when some of them lay in other files: kept runs have that one."""
_BLANK = re.compile(r"\{\{[ \t]*blank[ \t]*\}\}")


@dataclass(frozen=True, slots=True)
class MetaPrompt:
    """The text of one meta-prompt, its slots checked."""

    name: str
    text: str

    def fill(self, **values: str) -> str:
        """Return the text with its slots filled; before a value that begins with a line break stand no blanks."""
        text = self.text
        for name in (name for name, value in values.items() if value.startswith("\n")):
            text = re.sub(rf"[ \t]+(?=\{{\{{[ \t]*{re.escape(name)}[ \t]*\}}\}})", "", text)
        return fill(text, values)

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


def ship(optimizer: str, module: str) -> None:
    """Remember in which module an optimiser lies: its meta-prompts are in the folder `templates/NAME` beside it."""
    _MODULES[optimizer] = module


def shipped_hash(optimizer: str) -> str:
    """Return a hash of the shipped meta-prompts of an optimiser, if it has any; 16 hexadecimal digits."""
    texts = _shipped(optimizer)
    found = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]
    return _HASHES.get(found, found)


def worked(template: MetaPrompt, example: Example, output: str, limit: int) -> str:
    """Return an example with its answer as a meta-prompt shows it, each text shortened to `limit` characters."""
    return template.fill(inputs=inputs_of(example, limit), output=set_off(output, limit))


def inputs_of(example: Example, limit: int) -> str:
    """Return the inputs of an example as a meta-prompt shows them, each after its name, shortened to `limit`."""
    named = len(example.inputs) > 1
    return "\n".join(
        beside(f"{name.replace('_', ' ').capitalize() if named else 'Input'}:", set_off(text, limit))
        for name, text in example.inputs.items()
    )


def set_off(text: str, limit: int) -> str:
    """Return `text`, shortened to `limit` characters, so that one sees where it ends.

    One line stands as it is. Several begin on a line of their own, between fences: a blank line or an
    `Output:` within them would be taken for the end.
    """
    shown = shortened(text, limit)
    return f"\n{fence(shown)}\n{shown}\n{fence(shown)}" if "\n" in shown else shown


def fence(text: str) -> str:
    """Return backticks that stand around `text`: three, or more than there are in a row in it."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def beside(before: str, text: str) -> str:
    """Return what stands before a text that is `set_off`, and the text: on the same line if it has only one."""
    return f"{before}{text}" if text.startswith("\n") else f"{before} {text}"


def in_a_row(texts: Sequence[str]) -> str:
    """Return short texts one after the other with commas between; those of several lines as JSON writes them."""
    return ", ".join(json.dumps(text, ensure_ascii=False) if len(text.splitlines()) > 1 else text for text in texts)


def shown_chars(limit: int, shrink: int) -> int:
    """Return how much of a text is shown where `limit` characters are allowed and there is little room."""
    return max(min(limit, MIN_SHOWN_CHARS), limit if shrink == 1 else min(limit, _LONG_CHARS) // shrink)


def flat(text: str) -> str:
    """Return `text` on one line, without needless blanks: how a remark of the proposer is shown back to it."""
    return " ".join(text.split())


def shortened(text: str, limit: int) -> str:
    """Return `text`, its middle left out where it is longer than `limit` characters.

    One line loses needless blanks. Several keep line breaks and indentation, without which code, tables and lettered
    options are ruined; what is left out are whole lines where these are short.
    """
    lines = text.splitlines()
    while lines and not lines[0].strip():
        del lines[0]
    while lines and not lines[-1].strip():
        del lines[-1]
    kept = "\n".join(lines).rstrip() if len(lines) > 1 else flat(text)
    if len(kept) <= limit:
        return kept
    half = (limit - 5) // 2
    return f"{_beginning(kept, half)}...{_beginning(kept[::-1], half)[::-1]}"


def _beginning(text: str, room: int) -> str:
    """Return the lines at the beginning of `text` that have room, or all that has where the next is a long one."""
    end = text.rfind("\n", 0, room + 1)
    next_line = text[end + 1 :].partition("\n")[0]
    is_whole = end == room or (end > 0 and len(next_line) <= room)
    return text[:end].rstrip("\n") + "\n" if is_whole else f"{text[:room]} "


def _shipped(optimizer: str) -> dict[str, str]:
    """Return the texts of an optimiser's folder, and of the one that optimisers share, by name."""
    package = _MODULES.get(optimizer, "").rpartition(".")[0]
    folders = [files("localprompt") / "optimizers" / "templates" / "shared"]
    folders += [files(package) / "templates" / optimizer] if package else []
    found = (file for folder in folders if folder.is_dir() for file in folder.iterdir() if file.name.endswith(".txt"))
    return {file.name.removesuffix(".txt"): file.read_text(encoding="utf-8") for file in found}


def _own_files(folder: Path | None, wanted: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    if folder is None:
        return {}
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where nobody may look
        raise ConfigError(f"the template folder {folder} does not exist", "give a folder with .txt files")
    texts = {}
    for path in sorted(folder.glob("*.txt")):
        name = path.stem if path.stem in wanted else _RENAMED.get(path.stem, path.stem)
        if name not in wanted:
            raise ConfigError(f"{path} is no meta-prompt of this method", nearest(path.stem, wanted))
        try:
            texts[name] = path.read_text(encoding="utf-8-sig")
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
    for slot in dict.fromkeys((*required, *found)):
        named = f"slot {{{{{slot}}}}}"
        if slot not in found:
            problem, hint = f"lacks the {named}", f"it needs {', '.join(required)}"
        elif slot not in required:
            problem, hint = f"has the unknown {named}", nearest(slot, required)
        elif len(re.findall(rf"\{{\{{[ \t]*{re.escape(slot)}[ \t]*\}}\}}", text)) > 1:
            problem, hint = f"has the {named} more than once", "keep one of them"
        else:
            continue
        raise ConfigError(f"the meta-prompt {name}.txt {problem}", hint)
