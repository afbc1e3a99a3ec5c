"""GGUF files in the folders of LM Studio, Jan, GPT4All and of older llama.cpp. Level 3.

Source: LM Studio's `findLMStudioHome.ts`, Jan's `commands.rs`, GPT4All's `mysettings.cpp`, llama.cpp's `common.cpp`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import platformdirs

from localprompt.hub.found import Look, Stated, first_parts
from localprompt.interface.paths import expanded

_JAN_DEPTH = 4
"""Folders of an id such as `publisher/model/level`."""


def lmstudio_folders() -> list[Path]:
    """Return where LM Studio keeps models, which its settings may have moved."""
    home = Path.home()
    pointer, older = home / ".lmstudio-home-pointer", home / ".cache" / "lm-studio"
    told = os.environ.get("LMSTUDIO_HOME") or (_quiet(pointer).strip().splitlines() or [""])[0]
    of_studio = expanded(told) if told else older if os.path.lexists(older) else home / ".lmstudio"
    moved = _setting(of_studio / "settings.json", "downloadsFolder")
    return [expanded(moved) if moved else of_studio / "models"]


def find_lmstudio(folder: Path, look: Look) -> None:
    """Enter `PUBLISHER/MODEL/FILE.gguf`; PUBLISHER/MODEL means the only file of a folder."""
    for publisher in look.entries(folder):
        for model in look.entries(publisher):
            for file in _first_parts(model, look):
                short = f"{publisher.name}/{model.name}"
                look.add(f"{short}/{file.name}", file, Stated(), (short, model.name, file.name, file.stem))


def jan_folders() -> list[Path]:
    """Return where Jan keeps models."""
    data = platformdirs.user_data_path("Jan", appauthor=False, roaming=True)
    told = os.environ.get("JAN_DATA_FOLDER") or _setting(data / "settings.json", "data_folder")
    return [(expanded(told) if told else data / "data") / "llamacpp" / "models"]


def find_jan(folder: Path, look: Look) -> None:
    """Enter the model of each `ID/model.yml`, whose file may lie elsewhere; an ID may have slashes."""
    _find_jan(folder, folder, look, _JAN_DEPTH)


def _find_jan(folder: Path, root: Path, look: Look, depth: int) -> None:
    for path in look.entries(folder):
        if path.name == "model.yml":
            name = folder.relative_to(root).as_posix()
            match = re.search(r"^model_path:(.*)$", look.text(path) or "", re.MULTILINE)
            file = match[1].strip().strip("'\"") if match else ""
            if file and "\0" not in file:
                look.add(name, root.parents[1] / file, Stated(), (folder.name,))
            else:
                look.refuse(name, path, "has a model.yml that names no file")
        elif depth:
            _find_jan(path, root, look, depth - 1)


def gpt4all_folders() -> list[Path]:
    """Return where GPT4All keeps models, which its settings may have moved."""
    config = platformdirs.user_config_path("nomic.ai", appauthor=False, roaming=True) / "GPT4All.ini"
    moved = re.search(r"^modelPath=(.+)$", _quiet(config), re.MULTILINE)
    usual = platformdirs.user_data_path("nomic.ai", appauthor=False) / "GPT4All"
    return [expanded(moved[1].strip()) if moved else usual]


def find_flat(folder: Path, look: Look) -> None:
    """Enter `FILE.gguf`; GPT4All's `incomplete-FILE.gguf` is a download that has not ended."""
    for file in _first_parts(folder, look):
        if file.name.startswith("incomplete-"):
            look.refuse(file.name, file, "is a download that has not ended")
        else:
            look.add(file.name, file, Stated(), (file.stem,))


def llamacpp_folders() -> list[Path]:
    """Return where builds of llama.cpp of before 2026 keep what `-hf` and `-mu` downloaded."""
    told = os.environ.get("LLAMA_CACHE")
    return [expanded(told) if told else platformdirs.user_cache_path("llama.cpp", appauthor=False, opinion=False)]


def _first_parts(folder: Path, look: Look) -> list[Path]:
    """Return the GGUF files of a folder, of a split model one."""
    return first_parts(path for path in look.entries(folder) if path.suffix == ".gguf")


def _setting(path: Path, key: str) -> str:
    """Return a text of settings in JSON; empty where there is none."""
    try:
        found = json.loads(_quiet(path))[key]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def _quiet(path: Path) -> str:
    """Return the text of a settings file; empty where there is none that can be read: then what is usual holds."""
    return (Look().text(path) or "") if os.path.lexists(path) else ""
