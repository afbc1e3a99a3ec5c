"""Folders laid out as other programs lay them out, in a home folder of the test; see `localprompt/hub/elsewhere.py`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

VARIABLES = [
    "OLLAMA_MODELS",
    "LMSTUDIO_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HOME",
    "LLAMA_CACHE",
    "MODELS_PATH",
    "JAN_DATA_FOLDER",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
]
LAYER = "application/vnd.ollama.image."


def empty_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every program keep its models below a home folder that holds none yet."""
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOCALPROMPT_MODELS", str(home / "pulled"))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("localprompt.hub.ollama.SERVICE", home / "service" / "models")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def ollama(
    models: Path,
    name: str,
    layers: Sequence[tuple[str, bytes]],
    config: Mapping[str, Any] | None = None,
    *,
    separator: str = "-",
) -> Path:
    """Write what `ollama pull` writes for HOST/NAMESPACE/MODEL/TAG; return the blob of the first layer."""
    blobs = models / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)

    def blob(content: bytes, kind: str) -> dict[str, Any]:
        (blobs / f"sha256{separator}{digest(content)}").write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest(content)}", "size": len(content)}

    stated = {"model_format": "gguf", "model_family": "qwen2", "model_type": "7.6B", "file_type": "Q4_K_M"}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": blob(
            json.dumps(stated if config is None else config).encode(), "application/vnd.docker.container.image.v1+json"
        ),
        "layers": [blob(content, LAYER + kind) for kind, content in layers],
    }
    path = models / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return blobs / f"sha256{separator}{digest(layers[0][1])}" if layers else blobs


def lmstudio(models: Path, name: str, file: Path) -> Path:
    """Put a file where LM Studio puts PUBLISHER/MODEL/FILE.gguf."""
    return _put(file, models / name)


def hub(cache: Path, repo: str, files: Mapping[str, Path], commit: str = "a" * 40, *, main: bool = True) -> list[Path]:
    """Write what a download of these files from a repository leaves in the hub's cache; return the links."""
    home = cache / f"models--{repo.replace('/', '--')}"
    links = []
    for name, file in files.items():
        blob = _put(file, home / "blobs" / digest(file.read_bytes()))
        link = home / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(*[".."] * (1 + len(Path(name).parts)), "blobs", blob.name))
        links.append(link)
    if main:
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / "main").write_text(commit, encoding="utf-8")
    return links


def docker(models: Path, tags: Sequence[str], layers: Sequence[tuple[str, bytes]]) -> Path:
    """Write what Docker Model Runner writes for a model; return the blob of the first layer."""
    blobs, index = models / "blobs" / "sha256", models / "models.json"
    blobs.mkdir(parents=True, exist_ok=True)
    described = []
    for kind, content in layers:
        (blobs / digest(content)).write_bytes(content)
        described.append({"mediaType": kind, "size": len(content), "digest": f"sha256:{digest(content)}"})
    manifest = json.dumps({"schemaVersion": 2, "layers": described}).encode()
    path = models / "manifests" / "sha256" / digest(manifest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(manifest)
    known = json.loads(index.read_text(encoding="utf-8"))["models"] if index.exists() else []
    entry = {"id": f"sha256:{digest(manifest)}", "tags": list(tags), "files": [each["digest"] for each in described]}
    index.write_text(json.dumps({"models": [*known, entry]}), encoding="utf-8")
    return blobs / str(described[0]["digest"]).removeprefix("sha256:")


def jan(data: Path, name: str, file: Path) -> Path:
    """Write what Jan writes for a model that it downloaded."""
    path = _put(file, data / "llamacpp" / "models" / name / "model.gguf")
    text = f"embedding: false\nmodel_path: llamacpp/models/{name}/model.gguf\nname: {name}\nsize_bytes: 1\n"
    (path.parent / "model.yml").write_text(text, encoding="utf-8")
    return path


def flat(folder: Path, name: str, file: Path) -> Path:
    """Put a file where GPT4All and older builds of llama.cpp put theirs."""
    return _put(file, folder / name)


def _put(file: Path, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, path)
    return path
