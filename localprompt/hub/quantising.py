"""A model at other levels of quantisation, as files beside it that are whole or not there. Level 3.

`plan` checks everything and writes nothing; `carry_out` makes the files of a plan one by one.

Not here: the quantiser itself, which is llama.cpp's (`engine/quantiser.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from localprompt.engine import memory
from localprompt.engine.gguf import FILE_TYPES, REQUANTISED_KEY, GGUFHeader
from localprompt.engine.gguf_validator import validate
from localprompt.engine.imatrix import read_importance
from localprompt.engine.quantiser import BUFFER_BYTES, Job, Measured, ask
from localprompt.engine.settings import default_threads
from localprompt.errors import ConfigError, ModelError, NotEnoughMemory, nearest
from localprompt.hub.files import kept_elsewhere, resolve
from localprompt.interface.paths import expanded

LEVELS = tuple(name for name in FILE_TYPES.values() if name != "F32")
_ENDING = ".quantising"
"""Of a file that is being made: `.NAME.gguf.quantising`."""
_LOCK = ".localprompt-quantising.lock"
_TELLING = ("general.name", "general.basename", "general.finetune", "general.version", "general.size_label")
"""What tells a model from others of the same shapes, and stays as it is at another level."""
_IMATRIX_KEY = "quantize.imatrix.file"
_MARK_BYTES = 127
"""Of a text that llama.cpp writes into the metadata."""
_NAME_BYTES = 255
_LEVEL_IN_NAME = re.compile(
    rf"[-._ ]({'|'.join(sorted([*FILE_TYPES.values(), 'FP16', 'FP32'], key=len, reverse=True))})(\.from-[\w-]+)?$",
    re.IGNORECASE,
)
_PART_IN_NAME = re.compile(r"-\d{5}-of-\d{5}$")
_FAST = "Q8_0"
"""The level that loses next to nothing and that AMX multiplies."""
Progress = Callable[[str, int, int], None]
"""Called with the level, weights done and weights in all."""


@dataclass(frozen=True, slots=True)
class Target:
    """A file that a plan makes, or leaves as it is where it is there."""

    level: str
    path: Path
    size_bytes: int
    """As it will be, from llama.cpp's own dry run: less than 20 kB off."""
    n_fallback: int
    """Weights whose rows the level's own type does not divide: they have another, mostly larger one."""
    is_kept: bool
    """True where the file is there already, and stays."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be made of a model."""

    header: GGUFHeader
    requantised_from: str
    """The level of the source, and those that it was made from, the first one first; empty for a full one."""
    targets: tuple[Target, ...]
    """In the order of the levels asked for."""
    imatrix: Path | None


@dataclass(frozen=True, slots=True)
class Quantised:
    """A file that is there now."""

    level: str
    path: Path
    size_bytes: int
    bits_per_weight: float
    """Of all weights together: levels are mixes of types."""
    n_fallback: int
    requantised_from: str
    seconds: float
    """0 where it was there already."""
    was_there: bool


def plan(
    name_or_path: str | os.PathLike[str],
    levels: Sequence[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    imatrix: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Plan:
    """Return what is made of a model, checked; nothing is written.

    Args:
        name_or_path: a card's name, whose model is pulled if it is missing, or a GGUF file.
        levels: such as `Q3_K_M`; repetitions count once.
        folder: where the files go; None: beside the model.
        imatrix: an importance matrix as GGUF.
        force: make files anew that are there.

    Raises:
        ConfigError: for an unknown level, with the nearest one; for a level that would make the model no smaller, but
            for Q8_0, which some processors (AMX) multiply several times faster.
        ModelError: if the model is malformed or of a kind that cannot be run, the importance matrix is malformed, of
            another model or missing where a level needs one, the disk has not the room, or a file that would be
            kept is another one.
        NotEnoughMemory: if the memory is not there.
    """
    wanted = _known_levels(levels)
    if folder is None and kept_elsewhere(name_or_path):
        raise ConfigError(f"{name_or_path} lies in a folder of another program's", "say with --out where files go")
    source = resolve(name_or_path)
    header = validate(source)
    matrix = None if imatrix is None else expanded(imatrix)
    if matrix is not None:
        read_importance(matrix, header.tensors)
    _check_memory(header)
    measured = dict(zip(wanted, ask(Job(str(source), wanted)), strict=True))
    origin = header.rounded_to
    _check_smaller(header, origin, measured)
    missing = [level for level in wanted if measured[level].needs_imatrix and matrix is None]
    if missing:
        raise ModelError(f"{' and '.join(missing)} cannot be made without an importance matrix", "give --imatrix FILE")
    where = source.parent if folder is None else expanded(folder).absolute()
    targets = tuple(_target(header, where, each, matrix, force) for each in measured.items())
    if where.exists():
        _check_disk(where, targets)
    return Plan(header, origin, targets, matrix)


def carry_out(
    the_plan: Plan, *, n_threads: int = 0, progress: Progress = lambda level, done, total: None
) -> Iterator[Quantised]:
    """Yield each file of a plan once it is there, in the plan's order; those that are kept too.

    A file has its name only when it is whole and its header has been read back. What a killed process has left in the
    folder is removed first.

    Args:
        the_plan: of `plan`.
        n_threads: 0: the physical cores this process may use.
        progress: called after each weight.

    Raises:
        ModelError: if llama.cpp refuses or its process dies, the disk is full, the folder cannot be written, or another
            process quantises into it; files that were yielded stay, of the others there is nothing.
    """
    folder = the_plan.targets[0].path.parent
    lock = FileLock(folder / _LOCK)
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock.acquire(blocking=False))
            for leftover in folder.glob(f".*.gguf{_ENDING}"):
                leftover.unlink()
            _check_disk(folder, the_plan.targets)
        except Timeout:
            raise ModelError(f"another process quantises into {folder}", "wait for it, or give another --out") from None
        except OSError as error:
            raise _unwritable(folder, error) from error
        threads = n_threads or default_threads()
        for target in the_plan.targets:
            yield _there(target) if target.is_kept else _make(the_plan, target, threads, progress)


def _known_levels(levels: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(level.strip().upper() for level in levels))
    for level in wanted:
        if level not in LEVELS:
            raise ConfigError(f"unknown level of quantisation {level!r}", nearest(level, LEVELS))
    if not wanted:
        raise ConfigError("no level of quantisation is given", "such as Q4_K_M")
    return wanted


def _check_memory(header: GGUFHeader) -> None:
    need, free = 4 * BUFFER_BYTES + memory.process_bytes(header), memory.available()
    if need > free:
        what = f"to quantise {header.path.name} takes about {need / 1e6:.0f} MB of memory, {free / 1e6:.0f} MB are free"
        raise NotEnoughMemory(what, "close other programs")


def _check_smaller(header: GGUFHeader, origin: str, measured: dict[str, Measured]) -> None:
    grown = (level for level, each in measured.items() if each.n_bytes >= each.source_bytes)
    larger = [level for level in grown if level != _FAST or origin.endswith(_FAST)]
    if larger:
        lost = f": it is quantised ({origin}), and no level gives back what rounding took" if origin else ""
        raise ConfigError(
            f"{', '.join(larger)} would make {header.path.name} no smaller{lost}",
            "leave out what is no smaller, or start from a file in F16, BF16 or F32",
        )


def _target(header: GGUFHeader, folder: Path, level: tuple[str, Measured], matrix: Path | None, force: bool) -> Target:
    name, measured = level
    origin = f".from-{header.rounded_to}" if header.rounded_to else ""
    file, ending = header.path.stem, header.path.suffix
    known_as = file if ending == ".gguf" else re.sub(r"[^\w.-]+", "-", header.name) or file  # blobs are named by hashes
    stem = _LEVEL_IN_NAME.sub("", _PART_IN_NAME.sub("", known_as)) or "model"
    path = folder / f"{stem}.{name}{origin}.gguf"
    if len(os.fsencode(_part(path).name)) > _NAME_BYTES:
        raise ModelError(f"{path.name} is too long for the name of a file", "link to the model as SHORTER.gguf")
    is_there = path.exists()
    if is_there and path.samefile(header.path):
        raise ConfigError(f"{path} is the model itself", "give another folder with --out")
    if is_there and not force and not _is_of(header, path, name, matrix):
        how = f"{name} with {matrix.name}" if matrix else f"{name} without an importance matrix"
        raise ModelError(f"{path} is there, and it is not this model at {how}", "--force makes it anew")
    size = header.data_offset + measured.n_bytes
    return Target(name, path, size, measured.n_fallback, is_there and not force)


def _check_disk(folder: Path, targets: Sequence[Target]) -> None:
    need = sum(target.size_bytes for target in targets if not target.is_kept)
    free = shutil.disk_usage(folder).free
    if need > free:
        what = f"the files take {need / 1e9:.2f} GB, and {folder} has {free / 1e9:.2f} GB free"
        raise ModelError(what, "make room, leave levels out, or give another folder with --out")


def _make(the_plan: Plan, target: Target, n_threads: int, progress: Progress) -> Quantised:
    began, source = time.monotonic(), the_plan.header
    part, matrix = _part(target.path), the_plan.imatrix
    told = {REQUANTISED_KEY: the_plan.requantised_from, _IMATRIX_KEY: _imatrix_name(source, matrix)}
    marks = {key: text for key, text in told.items() if text}
    job = Job(str(source.path), (target.level,), str(part), str(matrix or ""), marks, n_threads)
    try:
        ask(job, lambda done, total: progress(target.level, done, total))
        if not _is_of(source, part, target.level, matrix):
            raise ModelError(f"what llama.cpp wrote is not {source.path} at {target.level}", "nothing was kept of it")
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target.path)
    except OSError as error:
        raise _unwritable(target.path, error) from error
    except ModelError as error:
        written = part.stat().st_size if part.exists() else 0
        if shutil.disk_usage(part.parent).free < target.size_bytes - written:
            raise ModelError(f"the disk of {part.parent} is full", "make room or give another --out") from error
        raise
    finally:
        part.unlink(missing_ok=True)
    return _there(target, time.monotonic() - began)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}{_ENDING}")


def _imatrix_name(source: GGUFHeader, matrix: Path | None) -> str:
    """Return how the metadata of a file name the importance matrix: without one, as they name the source's own."""
    return os.fsencode(matrix.name)[:_MARK_BYTES].decode(errors="ignore") if matrix else source.text(_IMATRIX_KEY)


def _is_of(source: GGUFHeader, path: Path, level: str, matrix: Path | None) -> bool:
    """Return whether a file is the source at another level, made with that importance matrix, by its header."""
    try:
        made = validate(path)
    except ModelError:
        return False
    found = (_stays(made), made.file_type, made.text(_IMATRIX_KEY))
    return found == (_stays(source), level, _imatrix_name(source, matrix))


def _stays(header: GGUFHeader) -> object:
    """Return what is the same of a model at each level."""
    shapes = {(tensor.name, tensor.dims) for tensor in header.tensors}
    return header.architecture, shapes, [header.text(key) for key in _TELLING]


def _there(target: Target, seconds: float | None = None) -> Quantised:
    header = validate(target.path)
    n_bytes = sum(tensor.n_bytes for tensor in header.tensors)
    return Quantised(
        level=target.level,
        path=target.path,
        size_bytes=header.file_size,
        bits_per_weight=8 * n_bytes / header.parameters,
        n_fallback=target.n_fallback,
        requantised_from=header.requantised_from,
        seconds=seconds or 0.0,
        was_there=seconds is None,
    )


def _unwritable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"{path} cannot be written: {error.strerror or error}", "give another folder with --out")
