"""Models with the store before them: of a run, and for whatever else asks a model. Level 7."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType

from localprompt.interface.arguments import checked
from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.cached import Answers, CachedLM, MemoryAnswers
from localprompt.run.models import Models, ModelSource, Named, check_engine, open_model
from localprompt.search.evaluator import Evaluator
from localprompt.search.observer import Observer, SilentObserver
from localprompt.store import Store
from localprompt.tasks import Task

StoreSource = Store | str | os.PathLike[str] | None
"""A store as a user gives it: open, by path, or the default one."""


@dataclass(frozen=True, slots=True)
class Session:
    """A model that answers from the store first, and a budget that everything asked is charged to."""

    lm: CachedLM
    store: Store | None
    """None: nothing is kept."""
    budget: Budget

    def evaluator(self, task: Task) -> Evaluator:
        """Return what scores prompts on examples of a task with this model, charged to the budget."""
        return Evaluator(self.lm, task, self.budget)


@contextmanager
@checked
def open_session(  # noqa: PLR0913 - options of a user
    model: Named,
    *,
    store: StoreSource = None,
    engine: Mapping[str, object] = MappingProxyType({}),
    use_cache: bool = True,
    budget: Budget | None = None,
    observer: Observer | None = None,
) -> Iterator[Session]:
    """Yield a model with store, cache and budget, for anything that is no search: evaluations, a server, a study.

    Args:
        model: by card name, path, or loaded; what is loaded here is closed here.
        store: where answers are kept: open, by path, or the default one.
        engine: settings of the engine, by name, where the model is loaded here.
        use_cache: False: compute everything, and touch no store.
        budget: what may be spent; by default everything.
        observer: told what happens.

    Raises:
        ConfigError: for an unknown name, or engine settings that cannot be or have no effect.
        ModelError: if the model cannot be found or loaded.
        StoreError: if the store cannot be opened, read or written.
    """
    check_engine(engine, model)
    observer = observer or SilentObserver()
    with ExitStack() as stack:
        home = stack.enter_context(opened_store(store)) if use_cache else None
        lm = open_model(ModelSource(model, engine), stack, observer)
        cached = CachedLM(lm, home.answers if home else MemoryAnswers())
        cached.on_progress = observer.progress
        yield Session(cached, home, budget or Budget())
        cached.flush()


def opened_store(store: StoreSource, *, create: bool = True) -> AbstractContextManager[Store]:
    """Return a context that has the store; one that was opened for it is closed with it.

    Raises:
        StoreError: if it cannot be opened, or without `create` is not there.
    """
    return nullcontext(store) if isinstance(store, Store) else Store(store, create=create)


@dataclass(frozen=True, slots=True)
class CachedModels:
    """The models of a run, each with the store before it."""

    lm: CachedLM
    """Answers the examples."""
    proposer: CachedLM
    """Writes prompts; the same object where one model does both."""
    again: CachedLM
    """The task LM knowing nothing of what `lm` was asked: for measuring again."""

    @property
    def n_failed(self) -> int:
        """Different requests so far that kill the engine; measuring again asks the same ones."""
        return self.lm.n_failed + (0 if self.proposer is self.lm else self.proposer.n_failed)

    def flush(self) -> None:
        """Commit what waits to be committed."""
        for model in (self.lm, self.proposer, self.again):
            model.flush()


def cached_models(models: Models, answers: Answers, run_id: str, namespace: str, observer: Observer) -> CachedModels:
    """Return the models of a run behind its store.

    Args:
        models: the open ones.
        answers: of the store.
        run_id: of the run, which uses the answers.
        namespace: apart from which no answers are shared; empty: shared with all runs that have none.
        observer: told how far a call is.
    """

    def behind(model: LanguageModel, space: str) -> CachedLM:
        cached = CachedLM(model, answers, space, run_id=run_id)
        cached.on_progress = observer.progress
        return cached

    lm = behind(models.lm, namespace)
    proposer = lm if models.other is None else behind(models.other, namespace)
    return CachedModels(lm, proposer, behind(models.lm, f"{namespace} again"))
