"""The record of a run: everything that it needs to be run again. Level 7.

The store keeps it as JSON. What is read back may come from anywhere: it is validated once, in `RunConfig.read`, and
frozen from then on.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from localprompt.engine.settings import EngineSettings
from localprompt.errors import ConfigError, RunMismatch, StoreError
from localprompt.interface.advice import command
from localprompt.interface.values import read_value
from localprompt.interface.version import __version__
from localprompt.lm.base import LanguageModel
from localprompt.lm.loading import is_trusted
from localprompt.optimizers import Optimizer, configure
from localprompt.optimizers.registry import settings_of
from localprompt.proposals.metaprompts import shipped_hash
from localprompt.run.estimate import Estimate
from localprompt.run.inlined import inline_files, write_files
from localprompt.run.models import Models
from localprompt.run.results import CrossValidation
from localprompt.run.spec import Limits, RunSpec
from localprompt.store.plain import plain, read
from localprompt.store.records import dumped, identity_hash
from localprompt.tasks import Task
from localprompt.tasks.stored import to_plain
from localprompt.types import Prompt
from localprompt.variants.robust import Objective

_FOREIGN = "it was written by another version, or not by localprompt"
_MAX_ENGINE_SETTING = 2**31 - 1
"""What llama.cpp can count to."""
_MAX_RESTARTS = 1_000_000
_SHOWN = 100
"""Characters of a value that a file brought."""
_SEARCH = 12
"""Raised where the same settings, models and seed make another search or choose otherwise than before."""
_REPEATED = (3, 4, 5, 6, 7, 8, 9, 10, 11)
"""Forms whose searches this one repeats but for rare cases (those with `shots`, replies that a deleted rule changed,
ties that went by characters, turns of `auto`, calibrated labels under a limit), so that their runs can be resumed;
where one goes another way, a replay says that the answers end."""
_SAME_VERSION = "use the version that the run was started with, or pass --force"
_BEFORE = {"shots": 0}
"""Settings that a run has where its record is older than the setting, and the default changes its search."""


_Text = Annotated[Any, AfterValidator(partial(read, str))]
"""A text; a `str` of pydantic has no lone surrogates, which paths and names can hold."""


def _record(kind: Any) -> BeforeValidator:
    """Return what reads a record from plain data."""
    return BeforeValidator(lambda stored: read(kind, stored))


_Prompts = Annotated[tuple[Prompt, ...], _record(tuple[Prompt, ...]), PlainSerializer(plain)]


class _Part(BaseModel):
    """JSON of the store: nothing is converted, and what another version added is kept."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())


class ModelConfig(_Part):
    """A model where it is not loaded."""

    name: _Text
    fingerprint: _Text
    identity: Mapping[str, Any]
    """What the fingerprint is a hash of, by name; its engine settings too."""

    @classmethod
    def of(cls, lm: LanguageModel) -> ModelConfig:
        """Return what stands for a model."""
        facts = asdict(lm.facts)
        return cls(**{**facts, "identity": facts["identity"] or {"fingerprint": facts["fingerprint"]}})

    def engine(self) -> dict[str, object]:
        """Return the engine settings with which the model was loaded, none where that is not known.

        Raises:
            ConfigError: if one of them has a value of the wrong kind.
            StoreError: if one of them is no number that can be.
        """
        wanted = get_type_hints(EngineSettings)
        found = {
            name: read_value(f"the run's engine setting {name}", self.identity[name], wanted[name])
            for name in wanted
            if name in self.identity
        }
        for name, value in found.items():
            if isinstance(value, int) and abs(value) > _MAX_ENGINE_SETTING:
                raise StoreError(f"the run's engine setting {name} is too large", _FOREIGN)
        return found

    def check_same(self, lm: LanguageModel, role: str) -> None:
        """Check that `lm` is this model.

        Raises:
            RunMismatch: naming the role, `model` or `proposer`, and what differs.
        """
        if self.fingerprint == lm.facts.fingerprint:
            return
        before, after = self.identity, ModelConfig.of(lm).identity
        name = next((each for each in (*before, *after) if before.get(each) != after.get(each)), "fingerprint")
        raise RunMismatch(
            f"the {role} differs: {name} was {before.get(name)!r} when the run started, now {after.get(name)!r}",
            "use the model and settings that the run was started with, or pass --force",
        )


class _Identity(_Part):
    """What makes two runs the same; the task's seeds, its models, method, settings and first limits are in it too."""

    task: _Text
    """Fingerprint of the task."""


class _Sources(_Part):
    model: _Text | None = None
    """Name or path that the task LM was loaded from; None for one that came loaded."""
    proposer: _Text | None = None


class RunConfig(_Part):
    """Everything that a run needs to be run again, and what it was begun with."""

    identity: _Identity
    version: _Text
    """Of localprompt."""
    search: int | None = None
    """Number of the form of its methods; with `meta_prompts` it changes between releases, under one version."""
    meta_prompts: str | None = None
    """Hash of the shipped meta-prompts of the method."""
    machine: Mapping[str, Any] = Field(default_factory=dict)
    """That it began on, for people."""
    task: Mapping[str, Any]
    """As `tasks.stored.to_plain` makes it, with all its rows."""
    model: ModelConfig
    proposer: ModelConfig | None
    """None where the task LM writes the prompts too."""
    sources: _Sources
    method: _Text
    settings: Mapping[str, Any]
    """Of the method, files with their text."""
    seed: int
    limits: Annotated[Limits, _record(Limits), PlainSerializer(plain)]
    """On tokens and calls those of now, on minutes those of the first session that had some."""
    n_dev: Annotated[int | None, Field(alias="dev_examples", ge=1)] = None
    """Dev examples that the search sees, where its budget was too small for all of them."""
    use_cache: bool
    """False: the run shares no answers with others."""
    expected: Annotated[Estimate | None, _record(Estimate | None), PlainSerializer(plain)] = None
    """What the search was expected to cost."""
    restarts: Annotated[int, Field(alias="anew", ge=0, lt=_MAX_RESTARTS)] = 0
    """How often the run was begun again with `--force`; each has a cache of its own."""
    test_seen: Annotated[bool, Field(alias="looked")] = False
    """True if the score on test was known before the search went on."""
    objective: Objective = "score"
    """What the search maximises; runs of before have the score."""
    warm: _Prompts = ()
    """What the search begins with beside the task's seeds, as in `RunSpec`."""
    tested_too: _Prompts = ()
    """What is measured on test beside the seed and the winner."""
    fixed: Annotated[tuple[str, ...], _record(tuple[str, ...])] = ()
    """Settings that no budget changes, as in `RunSpec`; all of them where a preset of a paper is followed."""
    notes: Annotated[tuple[_Text, ...], _record(tuple[str, ...])] = ()
    """What a reader of the result should know of how it began, as in `RunSpec`."""
    cross_validation: Annotated[CrossValidation | None, _record(CrossValidation | None), PlainSerializer(plain)] = None
    """What the searches on other rows found, of the last run of a cross-validated task."""

    @classmethod
    def new(cls, spec: RunSpec, models: Models, *, use_cache: bool, expected: Estimate | None = None) -> RunConfig:
        """Return the record of a run that is about to begin.

        Raises:
            ConfigError: if a file that a setting names cannot be read.
        """
        task, settings, limits = spec.task, inline_files(asdict(spec.optimizer)), plain(spec.limits)
        proposer = models.other
        found = {"warm": spec.warm, "tested_too": spec.tested_too}
        beside = {name: prompts for name, prompts in found.items() if prompts}
        fixed = tuple(settings) if spec.fixed is None else tuple(spec.fixed)
        objective = {} if spec.objective == "score" else {"objective": spec.objective}
        record = {
            "identity": {
                "version": __version__,
                "task": task.fingerprint,
                # The task's fingerprint covers what changes a score; the seed prompts change the search too.
                "seeds": [prompt.id for prompt in task.seeds],
                "model": models.lm.facts.fingerprint,
                "proposer": models.proposer.facts.fingerprint,
                "method": spec.method,
                "settings": settings,
                "seed": spec.seed,
                "limits": limits,
                **{name: [prompt.id for prompt in prompts] for name, prompts in beside.items()},
                **objective,
            },
            **_program(spec.method),
            "machine": {
                "system": platform.platform(),
                "python": platform.python_version(),
                "cpus": os.cpu_count(),
                "llama_cpp": importlib.metadata.version("llama-cpp-python"),
            },
            "task": to_plain(task),
            "model": ModelConfig.of(models.lm).model_dump(),
            "proposer": None if proposer is None else ModelConfig.of(proposer).model_dump(),
            "sources": dict(models.sources),
            "method": spec.method,
            "settings": settings,
            "seed": spec.seed,
            "limits": limits,
            "dev_examples": spec.n_dev,
            "use_cache": use_cache,
            "expected": plain(expected),
            **plain(found),
            "objective": spec.objective,
            "fixed": list(fixed),
            "notes": list(spec.notes),
        }
        return cls.read(json.loads(dumped(record)))  # as the store gives it back

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> RunConfig:
        """Return the record that the store keeps.

        Raises:
            StoreError: naming the first key whose value cannot be.
        """
        try:
            return cls(**plain)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        except ConfigError as error:
            why = f"limits: {error.message}"
        raise StoreError(f"the configuration of the run is damaged ({why[:_SHOWN]})", _FOREIGN)

    def to_json(self) -> dict[str, Any]:
        """Return the record as the store keeps it."""
        left_out = {name for name, field in type(self).model_fields.items() if getattr(self, name) == field.default}
        return self.model_dump(by_alias=True, exclude=left_out)

    def changed(self, **values: object) -> RunConfig:
        """Return the record with other values, by name."""
        return self.model_copy(update=values)

    def moved(self, now: Models) -> RunConfig:
        """Return the record with where its models are now; of one that came loaded, where it was."""
        places = {role: place for role, place in now.sources.items() if place}
        return self.changed(sources=self.sources.model_copy(update=places))

    def namespace(self, run_id: str) -> str:
        """Return where the run's answers are kept: empty where it shares them with others.

        A run that was begun again shares none either, also not with itself before.
        """
        restarts = f" anew {self.restarts}" if self.restarts else ""
        return "" if self.use_cache and not restarts else run_id + restarts

    def restarted(self, task: Task, models: Models) -> RunConfig:
        """Return the record of a run that begins again with a task, models and a version of now."""
        return self.changed(
            **_program(self.method),
            task=to_plain(task),
            model=ModelConfig.of(models.lm),
            proposer=None if models.other is None else ModelConfig.of(models.other),
            sources=_Sources(**models.sources),
            restarts=self.restarts + 1,
        )

    def optimizer(self, folder: Path) -> Optimizer:
        """Return the optimiser; files of its settings are written below `folder`.

        Raises:
            ConfigError: if this version has no such method or setting, or one of them is beyond all reason.
            StoreError: if the settings are damaged.
        """
        known = {setting.name for setting in settings_of(self.method)}
        before = {name: value for name, value in _BEFORE.items() if name in known}
        optimizer = configure(self.method, {**before, **write_files(self.settings, folder)})
        for name, value in asdict(optimizer).items():
            if isinstance(value, Path) and not value.is_relative_to(folder):
                raise StoreError(f"the run's setting {name} names a file on this machine", _FOREIGN)
        return optimizer

    @property
    def roles(self) -> dict[str, ModelConfig]:
        """`model` and, where there is one, `proposer`."""
        return {"model": self.model, **({} if self.proposer is None else {"proposer": self.proposer})}

    @property
    def names(self) -> dict[str, str]:
        """Of task, model and proposer, by these words, as the store lists a run."""
        proposer = self.proposer or self.model
        return {"task": str(self.task["name"]), "model": self.model.name, "proposer": proposer.name}

    @property
    def needs_code(self) -> bool:
        """True if answers are judged by code that a task file named."""
        metric = self.task.get("metric")
        return isinstance(metric, Mapping) and ":" in str(metric.get("name"))

    def is_same_search(self, other: RunConfig) -> bool:
        """Return whether two records are of one search: a run of one is a run of the other."""
        same = attrgetter(
            "version", "search", "meta_prompts", "model", "proposer", "method", "settings", "seed", "n_dev", "use_cache"
        )
        return (
            identity_hash(self.to_json()) == identity_hash(other.to_json())
            and self.limits == other.limits  # a run that went on with other ones is another search
            and same(self) == same(other)
            # Tables tell tasks by their names, which no fingerprint holds.
            and all(self.task.get(key) == other.task.get(key) for key in ("name", "fingerprint", "seeds"))
        )

    def check_version(self, hint: str = _SAME_VERSION, *, exactly: bool = False) -> None:
        """Check that this version of the project would begin the run as it was begun; `exactly`, in rare cases too.

        Raises:
            ConfigError: if this version has no such method.
            RunMismatch: naming what differs, with the hint.
        """
        configure(self.method, {})  # an unknown name must not become that of a folder
        what = {
            "version": "the version of localprompt",
            "search": "the version of its methods",
            "meta_prompts": f"the hash of the meta-prompts of {self.method}",
        }
        for key, now in _program(self.method).items():
            then = getattr(self, key)
            if then != now and (exactly or key != "search" or then not in _REPEATED):
                raise RunMismatch(f"{what[key]} was {repr(then)[:_SHOWN]} when the run started, now {now!r}", hint)

    @property
    def resume_options(self) -> list[str]:
        """The options that `localprompt resume` needs to go on with the run; words in capitals are the user's."""
        named = {role: getattr(self.sources, role) for role in self.roles}
        missing = [role for role, source in named.items() if source is None or not is_trusted(source)]
        needed = [part for role in missing for part in (f"--{role}", role.upper())]
        return [*needed, *(["--allow-code"] if self.needs_code else [])]


def resume_command(run_id: str, configuration: Mapping[str, Any] | None, store: Path, *more: str) -> str:
    """Return the command that goes on with a run, with `more` and the options that it needs as far as that is known.

    The last run of a cross-validated task goes on with all the others, by `optimize`, which needs no `--force`.

    Args:
        run_id: of the run.
        configuration: of the run, as the store keeps it; None where it is not known.
        store: that it is kept in.
        more: further options.
    """
    if configuration is not None and configuration.get("cross_validation"):  # it is as good as its other searches
        return command("optimize", "TASK", *(each for each in more if each != "--force"), store=store)
    options: list[str] = []
    if configuration is not None:
        with suppress(StoreError):  # of a damaged run as much as can be said
            options = RunConfig.read(configuration).resume_options
    return command("resume", run_id, *options, *more, store=store)


def _program(method: str) -> dict[str, Any]:
    """Return what of the project itself makes a search."""
    return {"version": __version__, "search": _SEARCH, "meta_prompts": shipped_hash(method)}
