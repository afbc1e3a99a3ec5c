"""The two models of a run: opened where they lie, one object twice where one does both. Level 7."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from localprompt.engine.settings import read_settings
from localprompt.errors import ConfigError, NotEnoughMemory
from localprompt.lm import loading
from localprompt.lm.base import LanguageModel
from localprompt.lm.turns import ModelSwapper, SwappedModel
from localprompt.search.observer import Observer

Named = str | Path | LanguageModel
"""A model as a user gives it: by card name, by path, or loaded."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model is, and how it is loaded.

    Raises:
        ConfigError: for an engine setting that cannot be.
    """

    model: Named
    engine: Mapping[str, object] = field(default_factory=dict)
    """Settings of the engine, by name; without effect on a model that came loaded."""

    def __post_init__(self) -> None:
        read_settings(self.engine)

    @property
    def is_loaded(self) -> bool:
        """True if there is nothing left to load."""
        return not isinstance(self.model, str | Path)

    @property
    def path(self) -> str | None:
        """What it can be loaded from later, wherever that is started; None for one that came loaded."""
        return loading.source_of(self.model)


@dataclass(frozen=True, slots=True)
class Models:
    """The open models of a run."""

    lm: LanguageModel
    """The task LM, which answers the examples."""
    proposer: LanguageModel
    """Writes prompts; the same object where one model does both."""
    sources: Mapping[str, str | None] = field(default_factory=lambda: {"model": None, "proposer": None})
    """`model` and `proposer` to where each can be loaded from later; None for one that came loaded."""

    @property
    def other(self) -> LanguageModel | None:
        """The proposer, where it is not the task LM."""
        return None if self.proposer is self.lm else self.proposer


def check_engine(engine: Mapping[str, object], *models: object) -> None:
    """Check that engine settings can be, and that they have a model to be loaded with.

    Raises:
        ConfigError: naming the setting that cannot be, or if all models came loaded.
    """
    read_settings(engine)
    if engine and not any(isinstance(model, str | Path) for model in models):
        raise ConfigError("engine settings have no effect on a model that is loaded", "pass them to load_model")


def open_model(source: ModelSource, stack: ExitStack, observer: Observer) -> LanguageModel:
    """Return the model, loaded if need be and then closed with the stack; what is doubtful about its file is noted.

    Raises:
        ConfigError, ModelError: as `loading.open_model`.
    """
    model = source.model
    if isinstance(model, str | Path):
        observer.stage(f"loading {model}")
        model = stack.enter_context(loading.open_model(model, **source.engine))
    _note_doubts(model, observer)
    return model


def open_models(model: ModelSource, proposer: ModelSource | None, stack: ExitStack, observer: Observer) -> Models:
    """Return task LM and proposer, opened if need be and then closed with the stack; one object twice without another.

    Two models that memory does not hold together take turns: each is loaded when it is asked, and the other goes.

    Raises:
        ConfigError, ModelError: as `loading.open_model`.
    """
    sources = {"model": model.path, "proposer": None if proposer is None else proposer.path}
    with ExitStack() as first:
        lm = open_model(model, first, observer)
        if proposer is None or proposer.model == model.model:
            stack.push(first.pop_all())
            return Models(lm, lm, sources)
        try:
            other = open_model(proposer, stack, observer)
        except NotEnoughMemory as error:
            if model.is_loaded or proposer.is_loaded:
                raise
            observer.note(f"the two models do not fit into memory together, so they take turns: {error}")
        else:
            stack.push(first.pop_all())
            return Models(lm, other, sources)
    turns = stack.enter_context(ModelSwapper())
    pair = [SwappedModel(partial(loading.open_model, each.model, **each.engine), turns) for each in (model, proposer)]  # type: ignore[arg-type]
    _note_doubts(pair[1], observer)
    return Models(pair[0], pair[1], sources)


def _note_doubts(lm: LanguageModel, observer: Observer) -> None:
    for doubt in getattr(lm, "doubts", ()):
        observer.note(f"{lm.facts.name}: {doubt}")
