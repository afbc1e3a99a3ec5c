"""GGUF files in the cache of the Hugging Face hub, which llama.cpp's `-hf` writes to as well. Level 3.

Source: huggingface_hub's `constants.py` and `file_download.py`, llama.cpp's `common/hf-cache.cpp`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from localprompt.engine.parts import split_paths
from localprompt.hub.found import Look, Stated, first_parts, level_in
from localprompt.interface.paths import expanded

_DEPTH = 3
"""Folders within a snapshot: some repositories keep each level in one of its own."""


def folders() -> list[Path]:
    """Return where the hub's cache lies; llama.cpp may have one of its own."""
    told = [os.environ.get(name) for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")]
    homes = [(os.environ.get("HF_HOME"), "hub"), (os.environ.get("XDG_CACHE_HOME"), "huggingface/hub")]
    of_hub = [expanded(path) for path in told if path] + [expanded(home) / below for home, below in homes if home]
    of_llama = os.environ.get("LLAMA_CACHE")
    first = (of_hub or [Path.home() / ".cache" / "huggingface" / "hub"])[0]
    return [first, *([expanded(of_llama)] if of_llama else [])]


def find(folder: Path, look: Look) -> None:
    """Enter the GGUF files of each repository: of the main revision where it is there, then of the others."""
    for home in look.entries(folder):
        if home.name.startswith("models--"):
            _enter(home, look)


def _enter(home: Path, look: Look) -> None:
    repo = home.name.removeprefix("models--").replace("--", "/", 1)
    main = home / "refs" / "main"
    wanted = (look.text(main) or "").strip() if os.path.lexists(main) else ""
    snapshots = sorted(look.entries(home / "snapshots"), key=lambda path: (path.name != wanted, path.name))
    seen: set[str] = set()
    for snapshot in snapshots:
        for path in first_parts(_files(snapshot, look, _DEPTH)):
            name = path.relative_to(snapshot).as_posix()
            if name not in seen:
                seen.add(name)
                level = level_in(path.name)
                spellings = (repo, *((f"{repo}:{level}",) if level else ()))
                look.add(f"{repo}:{name}", path, Stated(_digests(path, home)), spellings)


def _files(folder: Path, look: Look, depth: int) -> Iterator[Path]:
    for path in look.entries(folder):
        if path.name.endswith(".gguf"):
            yield path
        elif depth and not os.path.islink(path):  # noqa: PTH114 - links may lead anywhere; Path's raises
            yield from _files(path, look, depth - 1)


def _digests(path: Path, home: Path) -> tuple[str, ...]:
    """Return the hashes by which the blobs behind the links are named; nothing if one lies outside of its cache."""
    blobs = [Path(os.path.realpath(part)) for part in split_paths(path)]  # of links in a circle, one of them
    inside = Path(os.path.realpath(home / "blobs"))
    named = all(blob.parent == inside and re.fullmatch(r"[0-9a-f]{64}", blob.name) for blob in blobs)
    return tuple(blob.name for blob in blobs) if named else ()
