"""Everything a run needs to be run again, as plain data: what the store keeps of how it was begun. Level 7.

Files that settings name (meta-prompts, lists of prompts) are kept with their text, and written out again where the run
is repeated: neither the task file nor any other file has to be there then.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, get_type_hints, runtime_checkable

from localprompt.engine.settings import EngineSettings
from localprompt.errors import ConfigError, RunMismatch, StoreError
from localprompt.interface.advice import command
from localprompt.interface.values import read_value, told
from localprompt.interface.version import __version__
from localprompt.lm.base import LanguageModel
from localprompt.lm.replayed import facts_of
from localprompt.optimizers import Optimizer, configure
from localprompt.proposals.metaprompts import shipped_hash
from localprompt.run.estimate import Estimate
from localprompt.store.records import item, object_of, text_of
from localprompt.tasks import Task
from localprompt.tasks.stored import to_plain

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_MAX_FILE_BYTES = 1024 * 1024
_MAX_ENGINE_SETTING = 2**31 - 1
"""What llama.cpp can count to."""
_FOREIGN = "it was not written by localprompt"
_SHOWN = 100
"""Characters of a value that a file brought."""
_SEARCH = 3
"""Raised where the same settings, models and seed make another search than before."""
_MOST = 10**15  # an estimate goes a little beyond a limit, and the store keeps whole numbers up to 10 ** 18


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a search ends; None: nowhere.

    Raises:
        ConfigError: naming the limit that is none.
    """

    max_tokens: int | None = None
    max_calls: int | None = None
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_calls"):
            if (value := getattr(self, name)) is not None:
                check_count(name, value)
        minutes = self.max_minutes
        # `nan` is below no number, so no time would ever be over.
        is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
        if minutes is not None and not (is_number and 0 < minutes <= _MOST):
            raise ConfigError(f"max_minutes is {told(minutes)}", "give a number above 0, or none for no limit")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Check that something is a number of things, or with `least` 0 the seed of everything random.

    Raises:
        ConfigError: naming it.
    """
    if not (type(value) is int and least <= value <= _MOST):
        raise ConfigError(f"{name} is {told(value)}", f"give a whole number from {least} to {_MOST}")


@runtime_checkable
class _Identified(Protocol):
    """A model that can say what its fingerprint is a hash of."""

    @property
    def identity(self) -> dict[str, object]: ...


def program(method: str) -> dict[str, object]:
    """Return what of the project itself makes a search; between two releases the last two change under one version."""
    return {"version": __version__, "search": _SEARCH, "meta_prompts": shipped_hash(method)}


def describe(  # noqa: PLR0913 - what a run is made of
    task: Task,
    lm: LanguageModel,
    writer: LanguageModel | None,
    optimizer: Optimizer,
    *,
    method: str,
    seed: int,
    limits: Limits,
    sources: Mapping[str, str | None],
    use_cache: bool,
    expected: Estimate | None = None,
) -> dict[str, Any]:
    """Return the configuration of a new run, JSON throughout.

    Args:
        task: goes in with all its rows.
        lm: the task LM.
        writer: the proposer; None where it is the task LM.
        optimizer: its fields go in, files with their text.
        method: its name.
        seed: of everything random.
        limits: with which it begins.
        sources: `model` and `proposer` to the name or path to load each from; None for one that was given loaded.
        use_cache: False: the run shares no answers.
        expected: what the search is expected to cost.
    """
    settings = inline_files(asdict(optimizer))
    models = {"model": describe_model(lm), "proposer": None if writer is None else describe_model(writer)}
    return {
        "identity": {
            "version": __version__,
            "task": task.fingerprint,
            # The task's fingerprint covers what changes a score; the seed prompts change the search too.
            "seeds": [prompt.id for prompt in task.seeds],
            "model": lm.fingerprint,
            "proposer": (writer or lm).fingerprint,
            "method": method,
            "settings": settings,
            "seed": seed,
            "limits": asdict(limits),
        },
        **program(method),
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "llama_cpp": importlib.metadata.version("llama-cpp-python"),
        },
        "task": to_plain(task),
        **models,
        "sources": dict(sources),
        "method": method,
        "settings": settings,
        "seed": seed,
        "limits": asdict(limits),
        "use_cache": use_cache,
        "expected": None if expected is None else asdict(expected),
    }


def describe_model(lm: LanguageModel) -> dict[str, Any]:
    """Return what stands for a model where it is not loaded, and what tells it from others, by name."""
    identity = lm.identity if isinstance(lm, _Identified) else {"fingerprint": lm.fingerprint}
    return {**facts_of(lm), "identity": identity}


def resume_command(run_id: str, configuration: Mapping[str, Any] | None, store: Path, *more: str) -> str:
    """Return the command that goes on with a run, with the options that it needs.

    Args:
        run_id: of the run.
        configuration: of the run; None where it is not known.
        store: that it is kept in.
        more: further options.
    """
    known = configuration or {}
    sources, needed = known.get("sources"), []
    for role in ("model", "proposer"):
        if known.get(role) is not None and isinstance(sources, Mapping) and sources.get(role) is None:
            needed += [f"--{role}", role.upper()]  # it was given loaded
    if needs_code(known):
        needed.append("--allow-code")
    return command("resume", run_id, *needed, *more, store=store)


def needs_code(configuration: Mapping[str, Any]) -> bool:
    """Return whether the answers of a run are judged by code that a task file named."""
    task = configuration.get("task")
    metric = task.get("metric") if isinstance(task, Mapping) else None
    return isinstance(metric, Mapping) and ":" in str(metric.get("name"))


def check_same(configuration: Mapping[str, Any], role: str, lm: LanguageModel) -> None:
    """Check that `lm` is the model that the run began with, in the role `model` or `proposer`.

    Raises:
        RunMismatch: naming what differs.
    """
    then, now = configuration[role], describe_model(lm)
    if then["fingerprint"] == now["fingerprint"]:
        return
    before, after = then["identity"], now["identity"]
    changed = [name for name in (*before, *after) if before.get(name) != after.get(name)] or ["fingerprint"]
    name = changed[0]
    raise RunMismatch(
        f"the {role} differs: {name} was {before.get(name)!r} when the run began and is {after.get(name)!r}",
        "use the model and settings that the run was begun with, or pass --force",
    )


def check_version(
    configuration: Mapping[str, Any],
    hint: str = "use the version that the run was begun with, or pass --force",
) -> None:
    """Check that this version of the project would begin the run as it was begun.

    Raises:
        ConfigError: if this version has no such method.
        RunMismatch: naming what differs, with the hint.
    """

    def check(key: str, now: object, what: str) -> None:
        if (then := configuration.get(key)) != now:
            raise RunMismatch(f"{what} was {repr(then)[:_SHOWN]} when the run began and is {now!r}", hint)

    method = configuration["method"]
    check("version", __version__, "the version of localprompt")
    check("search", _SEARCH, "the version of its methods")
    configure(method, {})  # an unknown name must not become that of a folder
    check("meta_prompts", shipped_hash(method), f"the hash of the meta-prompts of {method}")


def engine_settings(configuration: Mapping[str, Any], role: str) -> dict[str, object]:
    """Return the engine settings with which a model was loaded, none where that is not known.

    Raises:
        ConfigError: if one of them has a value of the wrong kind.
        StoreError: if one of them is no number that can be.
    """
    identity, wanted = configuration[role]["identity"], get_type_hints(EngineSettings)
    found = {
        name: read_value(f"the run's engine setting {name}", identity[name], wanted[name])
        for name in wanted
        if name in identity
    }
    for name, value in found.items():
        if isinstance(value, int) and abs(value) > _MAX_ENGINE_SETTING:
            raise StoreError(f"the run's engine setting {name} is too large", _FOREIGN)
    return found


def limits_of(configuration: Mapping[str, Any]) -> Limits:
    """Return the limits on tokens and calls; minutes are those of one sitting and not read back.

    Raises:
        StoreError: if the configuration is damaged.
    """
    limits = configuration["limits"]
    try:
        return Limits(limits.get("max_tokens"), limits.get("max_calls"))
    except ConfigError as error:
        raise StoreError(f"the limits of the run are damaged: {error.message}", _FOREIGN) from error


def expected_of(configuration: Mapping[str, Any]) -> Estimate | None:
    """Return what the search was expected to cost when the run began.

    Raises:
        StoreError: if the configuration is damaged.
    """
    expected, wanted = configuration.get("expected"), get_type_hints(Estimate)
    if expected is None:
        return None
    try:
        values: dict[str, Any] = {
            name: read_value(name, value, wanted[name]) for name, value in object_of(expected).items()
        }
        return Estimate(**values)
    except (KeyError, TypeError, ValueError, OverflowError, ConfigError) as error:
        raise StoreError("the estimate of the run is damaged", _FOREIGN) from error


def optimizer_of(configuration: Mapping[str, Any], folder: Path) -> Optimizer:
    """Return the optimiser of a run; files of its settings are written below `folder`.

    Raises:
        ConfigError: if this version has no such method or setting, or one of them is beyond all reason.
        StoreError: if the configuration is damaged.
    """
    optimizer = configure(configuration["method"], write_files(configuration["settings"], folder))
    for name, value in asdict(optimizer).items():
        if isinstance(value, Path) and not value.is_relative_to(folder):
            raise StoreError(f"the run's setting {name} is a file of this machine", _FOREIGN)
    return optimizer


def check_shape(configuration: Mapping[str, Any]) -> None:
    """Check that a configuration, which may come from anywhere, has the parts that this file reads.

    Raises:
        StoreError: if it has not.
    """
    try:
        for key in ("version", "method"):
            text_of(item(configuration, key))
        for key in ("task", "sources", "settings", "limits"):
            object_of(item(configuration, key))
        text_of(item(item(configuration, "identity"), "task"))
        for role in ("model", "proposer"):
            source = configuration["sources"].get(role)
            if source is not None:
                text_of(source)
            if role == "model" or item(configuration, role) is not None:
                model = object_of(item(configuration, role))
                for key in ("name", "fingerprint"):
                    text_of(item(model, key))
                object_of(item(model, "identity"))
        if type(item(configuration, "seed")) is not int or type(item(configuration, "use_cache")) is not bool:
            raise ValueError("a seed and use_cache were expected")
    except ValueError as error:
        hint = "it was not written by localprompt, or by another version"
        raise StoreError(f"the configuration of the run is damaged ({error})", hint) from error


def inline_files(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON, each path replaced by the texts that lie there: {"files": {name: text}, "folder": bool}.

    Raises:
        ConfigError: if a file cannot be read.
    """
    return {name: _inline_file(value) if isinstance(value, Path) else value for name, value in settings.items()}


def write_files(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return settings in which enclosed texts lie in files below `folder` again.

    Raises:
        StoreError: if a name is none for a file here: a run can come from anywhere.
    """
    return {
        name: _write_file(value, folder / str(number)) if isinstance(value, dict) else value
        for number, (name, value) in enumerate(settings.items())
    }


def _inline_file(path: Path) -> dict[str, Any]:
    is_folder = path.is_dir()
    named = {file.name: file for file in sorted(path.glob("*.txt")) if _FILE_NAME.fullmatch(file.name)}
    files = named if is_folder else {"file.txt": path}
    try:
        return {"files": {name: file.read_text(encoding="utf-8") for name, file in files.items()}, "folder": is_folder}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error})", "give a UTF-8 text file, or a folder of .txt files"
        ) from error


def _write_file(value: dict[str, Any], folder: Path) -> Path:
    files = value.get("files")
    if not isinstance(files, dict) or (value.get("folder") is not True and len(files) != 1):
        raise StoreError("the files of the run's settings are damaged", _FOREIGN)
    folder.mkdir(parents=True)
    for name, text in files.items():
        if not _FILE_NAME.fullmatch(name) or not isinstance(text, str) or len(text) > _MAX_FILE_BYTES:
            raise StoreError(f"the run's settings have a file that cannot be: {name[:100]!r}", "do not trust this run")
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return folder if value.get("folder") is True else folder / next(iter(files))
