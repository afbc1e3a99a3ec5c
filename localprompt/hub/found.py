"""What is found in the folders of another program, and a sentence for what could not be read. Level 3.

Everything in those folders is hostile until it is checked: a file that should be small is read up to a bound, a digest
is 64 hexadecimal digits or none, and links are followed only as far as a folder is deep.

Not here: how each program lays out its folders (`ollama.py`, `hub_cache.py`, `docker.py`, `gguf_folders.py`).
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localprompt.engine.gguf import FILE_TYPES, GGUFHeader
from localprompt.engine.gguf_reader import read_beginning
from localprompt.engine.gguf_validator import other_kind
from localprompt.engine.parts import split_paths
from localprompt.errors import ModelError

MAX_TEXT_BYTES = 1 << 20
"""Of a manifest or a settings file; real ones have a few kilobytes."""
MAX_ENTRIES = 20_000
"""Files and folders that are looked at for one program."""
MAX_PROBLEMS = 20
"""Sentences for one program."""
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_LEVEL = re.compile(
    rf"(?:^|[-._ :])({'|'.join(sorted([*FILE_TYPES.values(), 'MXFP4'], key=len, reverse=True))})(?![0-9A-Za-z_])", re.I
)
Layer = Mapping[str, Any]
"""A JSON object of a manifest, or the manifest itself."""
Blobs = Callable[[str], Path]
_EMBEDS = "is an embedding model, which writes no text"


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that another program keeps."""

    name: str
    """What stands behind the colon of its full name."""
    path: Path
    """Of the first part, where it is split."""
    size_bytes: int
    """Of all parts; 0 where they are not there."""
    sha256: tuple[str, ...]
    """Of each part, as its store names it, lower-case hexadecimal; empty where the store does not say."""
    architecture: str
    quantisation: str
    """The level, as the program or the file says, or as its name does; else empty."""
    refused: str = ""
    """Why it cannot be used, such as `is a projector`; empty where it may be."""
    spellings: tuple[str, ...] = ()
    """Other names that mean it, as long as they mean no other one."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a store says of a model's file beside its name."""

    sha256: tuple[str, ...] = ()
    """Of each part, where files are named by their hash."""
    size_bytes: int | None = None
    """Of the one file."""
    quantisation: str = ""


@dataclass
class Look:
    """What one program keeps. Its folders are looked into with the methods, which raise nothing."""

    models: list[FoundModel] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """A sentence for each folder or file that could not be read."""
    n_entries: int = 0

    def entries(self, folder: Path) -> list[Path]:
        """Return what lies in a folder, in the order of names; nothing if it is not there."""
        try:
            with os.scandir(folder) as found:
                names = []
                for entry in found:
                    names.append(entry.name)
                    self.n_entries += 1
                    if self.n_entries > MAX_ENTRIES:
                        self.problem(folder, f"more than {MAX_ENTRIES:,} files and folders; the rest was not looked at")
                        break
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.problem(folder, f"cannot be read: {error.strerror or error}")
            return []
        return [folder / name for name in sorted(names) if not name.startswith(".")]

    def text(self, path: Path) -> str | None:
        """Return the text of a small file; None, with a sentence, if it cannot be had."""
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
                self.problem(path, "not a regular file")
                return None
            with path.open("rb") as file:
                content = file.read(MAX_TEXT_BYTES + 1)
        except OSError as error:
            self.problem(path, f"cannot be read: {error.strerror or error}")
            return None
        if len(content) > MAX_TEXT_BYTES:
            self.problem(path, f"larger than {MAX_TEXT_BYTES >> 20} MiB, so it was not read")
            return None
        return content.decode("utf-8", "replace")

    def table(self, path: Path) -> Mapping[str, Any]:
        """Return a small JSON file that holds an object; an empty one, with a sentence, if it does not."""
        text = self.text(path)
        if text is None:
            return {}
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self.problem(path, "not a JSON object")
            return {}
        return found

    def problem(self, path: Path, what: str) -> None:
        """Say what is the matter with a file or folder."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{path}: {what}")
        elif len(self.problems) == MAX_PROBLEMS:
            self.problems.append(f"more than {MAX_PROBLEMS} files and folders cannot be read; the others are not named")

    def refuse(self, name: str, path: Path, why: str) -> None:
        """Enter a model that is named there and cannot be used, with the reason, such as `is a projector`."""
        self.models.append(FoundModel(name, path, 0, (), "", "", why))

    def add(self, name: str, path: Path, stated: Stated, spellings: tuple[str, ...] = ()) -> None:
        """Enter a model, or why it cannot be used.

        Args:
            name: what stands behind the colon.
            path: its file, or the first of a split model.
            stated: what the store says of it.
            spellings: other names that mean it.
        """
        try:
            sizes = [part.stat().st_size for part in split_paths(path)]
            beginning = read_beginning(path)
            refused = _kind(beginning, path)
        except FileNotFoundError as error:
            return self.refuse(name, path, f"lacks the file {error.filename}")
        except OSError as error:
            return self.refuse(name, path, f"cannot be read: {error.strerror or error}")
        except ModelError as error:
            return self.refuse(name, path, f"cannot be read: {error.message}")
        if stated.size_bytes is not None and sizes != [stated.size_bytes]:
            refused = f"has a file of {sum(sizes):,} bytes instead of {stated.size_bytes:,}: pull it again"
        level = stated.quantisation or beginning.file_type or level_in(path.name) or level_in(name)
        found = FoundModel(name, path, sum(sizes), stated.sha256, beginning.architecture, level, refused, spellings)
        self.models.append(found)

    def add_layer(self, names: Sequence[str], layers: Sequence[Layer], blobs: Blobs, level: str = "") -> None:
        """Enter the model of a manifest, or why it cannot be used.

        Args:
            names: what stands behind the colon, and other names that mean it.
            layers: those of a model, at least one.
            blobs: the path of a file by its SHA-256.
            level: of quantisation, as the manifest says.
        """
        name, *spellings = names
        digest, size = hexadecimal(layers[0].get("digest")), layers[0].get("size")
        if len(layers) > 1:
            self.refuse(name, blobs(""), f"is in {len(layers)} files, which llama.cpp cannot find by their names")
        elif not digest or not isinstance(size, int):
            self.refuse(name, blobs(""), "has a manifest without the SHA-256 and size of its file")
        else:
            self.add(name, blobs(digest), Stated((digest,), size, level), tuple(spellings))


def first_parts(files: Iterable[Path]) -> list[Path]:
    """Return of each model the file, or its first part; the next one where that is missing. Sorted."""
    return sorted({split_paths(path, 1)[0]: path for path in sorted(files, reverse=True)}.values())


def listed(table: Mapping[str, Any], key: str = "layers") -> list[Layer]:
    """Return the objects that a JSON object lists under a key: the layers of a manifest."""
    found = table.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def hexadecimal(digest: object) -> str:
    """Return the 64 digits of `sha256:...`; empty for anything else, which is then no part of a path."""
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    return match[1] if match else ""


def level_in(name: str) -> str:
    """Return the level that a file's name holds, such as `Q4_K_M`; empty if it holds none."""
    match = _LEVEL.search(name.removesuffix(".gguf"))
    return match[1].upper() if match else ""


def _kind(header: GGUFHeader, path: Path) -> str:
    """Return why a file is no model that writes text; empty if it is one."""
    kind = other_kind(header) or ("a projector of pictures or sound" if path.name.startswith("mmproj") else "")
    pools = (header.integer(f"{header.architecture}.pooling_type") or 0) > 0
    return f"is {kind}" if kind else _EMBEDS if pools else ""
