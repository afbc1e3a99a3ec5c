"""Models that Ollama has pulled: manifests by name, and blobs named by their SHA-256. Level 3.

Source: Ollama's own `manifest/paths.go`, `manifest/manifest.go`, `types/model/config.go` and `envconfig/config.go`.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from localprompt.hub.found import Layer, Look, hexadecimal, listed
from localprompt.interface.paths import expanded

SERVICE = Path("/usr/share/ollama/.ollama/models")
"""Where the service of Linux keeps its models; not every user may look there."""
_LAYER = "application/vnd.ollama.image."
_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"


def folders() -> list[Path]:
    """Return where Ollama keeps models."""
    chosen = os.environ.get("OLLAMA_MODELS")
    return [expanded(chosen) if chosen else Path.home() / ".ollama" / "models", SERVICE]


def find(folder: Path, look: Look) -> None:
    """Enter the models of a folder: one for each `manifests/HOST/NAMESPACE/MODEL/TAG`."""
    for host in look.entries(folder / "manifests"):
        for namespace in look.entries(host):
            for model in look.entries(namespace):
                for manifest in look.entries(model):
                    parts = (host.name, namespace.name, model.name, manifest.name)
                    _enter(parts, look.table(manifest), folder / "blobs", look)


def _enter(parts: tuple[str, str, str, str], manifest: Layer, blobs: Path, look: Look) -> None:
    host, namespace, model, tag = parts
    full = f"{host}/{namespace}/{model}"
    short = full.removeprefix(f"{_HOST}/").removeprefix(f"{_NAMESPACE}/")
    name = f"{short}:{tag}"
    if not manifest:
        return  # it could not be read, and that was said
    by_kind: dict[str, list[Layer]] = {}
    for layer in listed(manifest):
        by_kind.setdefault(str(layer.get("mediaType")).removeprefix(_LAYER), []).append(layer)
    config = _config(manifest, blobs, look)
    models = by_kind.get("model", [])
    if remote := config.get("remote_host"):
        return look.refuse(name, blobs, f"runs at {str(remote)[:80]}, not on this machine")
    if (kind := str(config.get("model_format") or "gguf")) != "gguf" or not models:
        return look.refuse(name, blobs, f"is no GGUF model: its format is {kind[:40]}")
    if "adapter" in by_kind:
        return look.refuse(name, blobs, "is a model with an adapter, which is not applied here")
    level = config.get("file_type")
    known = level[:20] if isinstance(level, str) and level != "unknown" else ""
    names = (name, f"{full}:{tag}", *((short, full) if tag == _TAG else ()))
    look.add_layer(names, models, partial(_blob, blobs), known)


def _config(manifest: Layer, blobs: Path, look: Look) -> Layer:
    config = manifest.get("config")
    digest = hexadecimal(config.get("digest")) if isinstance(config, dict) else ""
    return look.table(_blob(blobs, digest)) if digest else {}


def _blob(blobs: Path, digest: str) -> Path:
    """Return the path of a blob; versions of before 2024 wrote a colon into its name."""
    path, older = blobs / f"sha256-{digest}", blobs / f"sha256:{digest}"
    return older if not os.path.lexists(path) and os.path.lexists(older) else path
