"""What measuring prompts with several models needs: which models they are, and what it takes. Level 7."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localprompt.engine.gguf_reader import read_header
from localprompt.engine.settings import typed
from localprompt.errors import ConfigError
from localprompt.interface.version import __version__
from localprompt.lm.base import LanguageModel
from localprompt.lm.deadline import Work, decodes_of
from localprompt.lm.loading import place_of
from localprompt.run.estimate import measured_rates
from localprompt.run.models import Named, check_engine
from localprompt.run.session import Session
from localprompt.store import Store
from localprompt.store.records import dumped


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model answered."""

    model: str
    fingerprint: str
    base: str
    """What the file says the model is called: the same for all its quantisations."""
    quantisation: str
    """Such as `Q4_K_M`; empty where it is not known, or the model is not a file."""


@dataclass(frozen=True, slots=True)
class MeasuringCost:
    """About what measuring takes with one model where no answer is known."""

    model: str
    n_prompts: int
    """At most, the variants of a prompt too; on all tasks."""
    n_rows: int
    """Of all tasks and splits."""
    tokens_computed: int
    """Each distinct prefix of a call once, and half of what may be drawn."""
    seconds: float | None
    """None where the rates of the model are not known."""

    @property
    def in_words(self) -> str:
        """For people, who wait for it."""
        minutes = "" if self.seconds is None else f" and {self.seconds / 60:.1f} minutes"
        return f"at most about {self.tokens_computed:,} tokens{minutes} with {self.model}; what is known costs nothing"


def check_models(models: Sequence[Named], engine: Mapping[str, object]) -> None:
    """Check that there are models, each once, and that the settings of the engine have one to be loaded with.

    A name of nothing is told before the models named earlier are measured, which may take hours.

    Raises:
        ConfigError, ModelError: otherwise.
    """
    if not models:
        raise ConfigError("models is empty: there is none to measure", "name one or more")
    check_engine(engine, *models)
    places = [place_of(each) if isinstance(each, str | Path) else each.facts.fingerprint for each in models]
    for number, (each, place) in enumerate(zip(models, places, strict=True)):
        if place in places[:number]:
            name = str(each) if isinstance(each, str | Path) else each.facts.name
            raise ConfigError(f"the model {name!r} is named twice", "name each once")


def begun(
    home: Store, kind: str, models: Sequence[Named], engine: Mapping[str, object], facts: Mapping[str, object]
) -> str:
    """Enter a study of models in the store, unless it is there, and return its id: the same call has the same.

    Args:
        home: the store.
        kind: of study.
        models: as they were named.
        engine: settings of the engine that were given for them.
        facts: what else makes two studies the same, plain data.
    """
    configuration = {
        **facts,
        "models": [str(each) if isinstance(each, str | Path) else each.facts.fingerprint for each in models],
        "version": __version__,
        **({"engine": typed(engine)} if engine else {}),
    }
    return home.studies.enter(kind, f"{kind} {dumped(configuration, canonical=True)}", configuration).id


def identity_of(lm: LanguageModel) -> ModelIdentity:
    """Return which model that is; what its file says of itself where it has one."""
    facts, path = lm.facts, getattr(lm, "path", None)
    if not isinstance(path, Path):
        return ModelIdentity(facts.name, facts.fingerprint, facts.name, "")
    header = read_header(path)
    return ModelIdentity(facts.name, facts.fingerprint, header.name or facts.name, header.file_type)


def told_apart(names: Sequence[str]) -> list[str]:
    """Return the names of models; where several have one, as files of one name in two folders, with their places."""
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]


def cost_of(session: Session, works: Sequence[Work], n_prompts: int, n_rows: int) -> MeasuringCost:
    """Return what some works take with the model of a session, answers half as long as they may get."""
    rates = measured_rates(session.lm.lm)
    tokens = sum(work.read + work.n * work.each // 2 for work in works)
    seconds = None
    if rates is not None:
        drawn = [work.n * work.each / 2 for work in works]
        seconds = math.fsum(rates.seconds(w.read, n, decodes_of(n, w.n)) for w, n in zip(works, drawn, strict=True))
    return MeasuringCost(session.lm.facts.name, n_prompts, n_rows, tokens, seconds)
