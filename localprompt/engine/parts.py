"""A model in several files: its parts, and what can be wrong with them. Level 2: headers and names, nothing native.

llama.cpp is given the first part and finds the others by its name, `NAME-00001-of-0000N.gguf`.

Source: llama.cpp's own loader and `llama-gguf-split`, which writes `split.no`, `split.count` and `split.tensors.count`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from localprompt.engine.gguf import GGUFHeader
from localprompt.engine.gguf_reader import read_header, unusable
from localprompt.errors import ModelError

MAX_PARTS = 1_000

_PART_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)


def split_paths(path: str | os.PathLike[str], most: int = MAX_PARTS) -> tuple[Path, ...]:
    """Return the first `most` files of a model in order: the parts of a `-00001-of-0000N` set, else the file alone.

    Only the name is looked at; the files need not exist.
    """
    path = Path(path)
    match = _PART_NAME.fullmatch(path.name)
    if match is None or not 1 <= int(match[3]) <= MAX_PARTS:
        return (path,)
    numbers = range(1, min(most, int(match[3])) + 1)
    return tuple(path.with_name(_part_name(match[1], number, int(match[3]))) for number in numbers)


def files_of(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the files that hold a valid model: all its parts, or the one file, whatever its name."""
    parts = split_paths(path)
    return parts if all(part.exists() for part in parts) else (Path(path),)


def other_parts(header: GGUFHeader) -> list[GGUFHeader]:
    """Return the headers of the parts after the first one; empty for a model in one file.

    Raises:
        ModelError: if this is not the first part, or parts are missing, of another model, or put together in one file.
    """
    count = header.integer("split.count") or 1
    if count == 1:
        return []
    number = (header.integer("split.no") or 0) + 1
    if not 1 <= number <= count <= MAX_PARTS:
        raise unusable(header.path, f"it says that it is part {number} of {count}")
    if _holds_another_file(header):
        raise ModelError(
            f"{header.path} is the {count} parts of a split model put together by cat, which makes no model",
            "give the first part and keep the others beside it, or put them together with `llama-gguf-split --merge`",
        )
    paths = split_paths(header.path)
    if number != 1:
        raise _later_part(header.path, number, count)
    if len(paths) != count or paths[0] != header.path:
        raise _misnamed(header.path, count)
    others = [_read_part(path, number, header) for number, path in enumerate(paths[1:], start=2)]
    _check_together([header, *others])
    return others


def _part_name(stem: str, number: int, count: int) -> str:
    return f"{stem}-{number:05}-of-{count:05}.gguf"


def _holds_another_file(header: GGUFHeader) -> bool:
    """Return whether behind the data of this file another one begins."""
    end = header.data_offset + max((tensor.offset + tensor.n_bytes for tensor in header.tensors), default=0)
    aligned = -(-end // header.alignment) * header.alignment
    with header.path.open("rb") as file:
        for place in (end, aligned):
            if place < header.file_size:
                file.seek(place)
                if file.read(4) == b"GGUF":
                    return True
    return False


def _later_part(path: Path, number: int, count: int) -> ModelError:
    first = split_paths(path)[0]
    if _PART_NAME.fullmatch(path.name) is None or first == path:
        first = path.with_name(_part_name("NAME", 1, count))
        return ModelError(f"{path} is part {number} of {count} of a split model", f"give its first part, {first.name}")
    if first.is_file():
        return ModelError(f"{path} is part {number} of {count}: give {first}", "the others are found beside it")
    return ModelError(
        f"{path} is part {number} of {count}, and the first part {first.name} is not beside it",
        "put all parts into one folder and give the first",
    )


def _misnamed(path: Path, count: int) -> ModelError:
    """The first part under a name by which the others are not found."""
    what = f"{path} is part 1 of {count} of a split model, and by this name the other parts are not found"
    for other in _names_of(path):
        paths = split_paths(other)
        if len(paths) == count and paths[0] == other:
            return ModelError(what, f"give {other}")
    beside = (_PART_NAME.fullmatch(each.name) for each in path.parent.glob(f"*-of-{count:05}.gguf"))
    stems = sorted({match[1] for match in beside if match})
    stem = stems[0] if len(stems) == 1 else "NAME"
    return ModelError(what, f"name it {_part_name(stem, 1, count)}, as the others are named, beside them")


def _names_of(path: Path) -> list[Path]:
    """Return other paths of the same file: what a link leads to, and the links of a hub's cache to a blob."""
    target = path.resolve()
    snapshots = target.parent.parent / "snapshots"
    links = sorted(snapshots.rglob("*.gguf")) if target.parent.name == "blobs" else []
    return [target, *(link for link in links if link.resolve() == target)]


def _read_part(path: Path, number: int, first: GGUFHeader) -> GGUFHeader:
    count = first.integer("split.count")
    if not path.exists():
        raise ModelError(
            f"{path} is missing: {first.path.name} is part 1 of {count}",
            "fetch it too, and keep all parts in one folder",
        )
    part = read_header(path)
    its_number, its_count = part.integer("split.no"), part.integer("split.count") or 1
    if its_number is None or its_count == 1:
        raise ModelError(f"{path} is not part {number} of {count}: it is a whole model", "is it in the right folder?")
    if (its_number + 1, its_count) != (number, count):
        raise ModelError(
            f"{path} is not part {number} of {count}: it says that it is part {its_number + 1} of {its_count}",
            "keep only parts of one model under one name",
        )
    return part


def _check_together(parts: list[GGUFHeader]) -> None:
    """Check that the parts make one model as the first says; later ones do not say of which model they are."""
    owners: dict[str, GGUFHeader] = {}
    for part in parts:
        for tensor in part.tensors:
            owner = owners.setdefault(tensor.name, part)
            if owner is not part:
                both = f"{owner.path.name} and {part.path.name} both hold the tensor {tensor.name!r}"
                raise ModelError(
                    f"{both}: one is of another model ({part.path.parent})", "fetch all parts from one place"
                )
    said, n = parts[0].integer("split.tensors.count"), len(owners)
    if said is not None and said != n:
        raise ModelError(
            f"the {len(parts)} parts of {parts[0].path} hold {n} tensors and not {said}: one is of another model",
            "fetch all parts from one place",
        )
