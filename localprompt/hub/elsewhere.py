"""Models that other programs keep on this machine, by names such as `ollama:qwen2.5:7b`. Level 3.

They are used where they lie: nothing is copied, moved or written there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localprompt.errors import ConfigError, LocalPromptError, ModelError, nearest
from localprompt.hub import docker, gguf_folders, hub_cache, ollama
from localprompt.hub.found import FoundModel, Look

_SHOWN = 6
"""Most names that a hint lists."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that keeps models on this machine."""

    title: str
    folders: Callable[[], list[Path]]
    """Where it keeps them, by its own rules; they need not exist."""
    find: Callable[[Path, Look], None]
    """Enters what lies in one of the folders."""
    variable: str
    """The environment variable that says where, for hints."""


PROGRAMS = {
    "ollama": Program("Ollama", ollama.folders, ollama.find, "OLLAMA_MODELS"),
    "lmstudio": Program("LM Studio", gguf_folders.lmstudio_folders, gguf_folders.find_lmstudio, "LMSTUDIO_HOME"),
    "hf": Program("the Hugging Face cache", hub_cache.folders, hub_cache.find, "HF_HUB_CACHE"),
    "llamacpp": Program("llama.cpp", gguf_folders.llamacpp_folders, gguf_folders.find_flat, "LLAMA_CACHE"),
    "docker": Program("Docker Model Runner", docker.folders, docker.find, "MODELS_PATH"),
    "jan": Program("Jan", gguf_folders.jan_folders, gguf_folders.find_jan, "JAN_DATA_FOLDER"),
    "gpt4all": Program("GPT4All", gguf_folders.gpt4all_folders, gguf_folders.find_flat, "XDG_DATA_HOME"),
}
"""By what stands before the colon of a model's name; listed in this order."""


def look_into(scheme: str) -> Look:
    """Return what a program keeps, in the order of names; what cannot be read is a sentence and no error."""
    look = Look()
    try:
        for folder in PROGRAMS[scheme].folders():
            PROGRAMS[scheme].find(folder, look)
    except LocalPromptError as error:  # a variable or settings file that names no path
        look.problems.append(error.message)
    # Of two folders the user's own comes first.
    look.models = sorted({model.name: model for model in reversed(look.models)}.values(), key=lambda model: model.name)
    return look


def located(name: str) -> FoundModel | None:
    """Return the model that a program keeps under a name such as `ollama:qwen2.5:7b`; None for any other name.

    Raises:
        ConfigError: for a name that no model there has, with the nearest one, or that several have.
        ModelError: if the model cannot be used, or nothing can be found, with the reason.
    """
    scheme, colon, text = name.partition(":")
    if not colon or scheme not in PROGRAMS:
        return None
    look = look_into(scheme)
    found = _meant(text, look.models)
    if not found:
        raise _unknown(scheme, name, look)
    if len(found) > 1:
        names = " or ".join(f"{scheme}:{model.name}" for model in found[:_SHOWN])
        raise ConfigError(f"{name!r} may be any of {len(found)} models", f"give one: {names}")
    if found[0].refused:
        raise ModelError(
            f"{scheme}:{found[0].name} {found[0].refused}", "`localprompt models list --local` shows others"
        )
    return found[0]


def _meant(text: str, models: list[FoundModel]) -> list[FoundModel]:
    """Return the models that a text means: by name or, if none has it, by another spelling, whatever the case."""
    folded = text.casefold()
    by_name = [model for model in models if model.name == text] or [
        model for model in models if model.name.casefold() == folded
    ]
    spelt = [model for model in models if folded in (each.casefold() for each in model.spellings)]
    return by_name or [model for model in spelt if not model.refused] or spelt


def _unknown(scheme: str, name: str, look: Look) -> LocalPromptError:
    program = PROGRAMS[scheme]
    usable = [f"{scheme}:{model.name}" for model in look.models if not model.refused]
    unread = f"; {look.problems[0]}" if look.problems else ""
    if usable:
        hint = nearest(name, usable)
        if hint.startswith("known:") and len(usable) > _SHOWN:
            hint = "`localprompt models list --local` shows them"
        return ConfigError(f"{program.title} has no model {name!r}{unread}", hint)
    if unread:
        return ModelError(f"no model {name!r} was found{unread}", "can your user read what lies there?")
    places = " and ".join(str(folder) for folder in program.folders())
    return ModelError(
        f"no model {name!r} was found: {program.title} keeps none that can be used in {places}",
        f"{program.variable} says where they are, if elsewhere",
    )
