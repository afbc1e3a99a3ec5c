"""Models that Docker Model Runner has pulled: an index, manifests, and blobs named by their SHA-256. Level 3.

Source: `pkg/distribution/internal/store` and `pkg/distribution/types/config.go` of docker/model-runner.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localprompt.hub.found import Look, hexadecimal, listed
from localprompt.interface.paths import expanded

_GGUF = ("application/vnd.docker.ai.gguf.v3", "application/vnd.cncf.model.weight.v1.gguf")
_MAX_TAG = 512
"""Characters; a registry allows 255 for the name and 128 for the tag."""
_HOSTS = ("index.docker.io/", "docker.io/")


def folders() -> list[Path]:
    """Return where Docker Model Runner keeps models; with Docker Engine on Linux that is a volume of Docker's own."""
    chosen = os.environ.get("MODELS_PATH")
    return [expanded(chosen) if chosen else Path.home() / ".docker" / "models"]


def find(folder: Path, look: Look) -> None:
    """Enter the models of a folder, by the first of their tags."""
    index = folder / "models.json"
    if not any(path == index for path in look.entries(folder)):
        return
    for entry in listed(look.table(index), "models"):
        if identity := hexadecimal(entry.get("id")):
            manifest = look.table(folder / "manifests" / "sha256" / identity)
            names, blobs = _names(entry, identity), folder / "blobs" / "sha256"
            if models := [layer for layer in listed(manifest) if layer.get("mediaType") in _GGUF]:
                look.add_layer(names, models, blobs.joinpath)
            else:
                look.refuse(names[0], blobs, "is no GGUF model")


def _names(entry: Mapping[str, Any], identity: str) -> tuple[str, ...]:
    tags = entry.get("tags")
    every = tags if isinstance(tags, list) else []
    found = sorted(tag for tag in every if isinstance(tag, str) and len(tag) <= _MAX_TAG)
    short = [tag.removeprefix(_HOSTS[0]).removeprefix(_HOSTS[1]) for tag in found]
    latest = [tag.removesuffix(":latest") for tag in short if tag.endswith(":latest")]
    return (*short, *latest, *found, identity[:12], f"sha256:{identity}")
