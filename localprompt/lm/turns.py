"""Two models that do not fit into memory together and take turns. Level 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Protocol, runtime_checkable

from localprompt.engine.settings import EngineSettings
from localprompt.lm.base import LanguageModel
from localprompt.lm.cached import Reporting
from localprompt.types import EngineStats, Generation, Loglikelihood, Message, Sampling


@runtime_checkable
class _WithVocabulary(Protocol):
    """A model that can be had without its weights, to tokenise and render."""

    def vocabulary(self) -> AbstractContextManager[LanguageModel]: ...


class ModelSwapper(AbstractContextManager["ModelSwapper"]):
    """Which of several models is in memory: the one that was asked last; a context manager, which frees it."""

    def __init__(self) -> None:
        self.swaps = 0
        """How often a model had to go for another one."""
        self._current: SwappedModel | None = None
        self._vocabularies = ExitStack()

    def __exit__(self, *_: object) -> None:
        if self._current is not None:
            self._current.unload()
        self._vocabularies.close()

    def keep(self, vocabulary: AbstractContextManager[LanguageModel]) -> LanguageModel:
        """Return what takes no turns because it is small, kept until the end."""
        return self._vocabularies.enter_context(vocabulary)

    def acquire(self, model: SwappedModel) -> None:
        """Give `model` the memory; the one that has it is unloaded."""
        if self._current is model:
            return
        if self._current is not None:
            self._current.unload()
            self.swaps += 1
        self._current = model


class SwappedModel:
    """A model that is in memory while it is its turn. See `LanguageModel` for the contract.

    A run asks in calls of many requests, so a turn is long. Tokenising and rendering, which methods do between them and
    estimates do all the time, take no turn where the model can be had without its weights.

    Args:
        load: loads the model; where that has engine settings, they are given to it, by name, from the second turn on.
        swapper: shared by the models that take turns.
    """

    def __init__(self, load: Callable[..., AbstractContextManager[LanguageModel]], swapper: ModelSwapper) -> None:
        self._load = load
        self._swapper = swapper
        self._loaded: LanguageModel | None = None
        self._memory = ExitStack()
        self._before = EngineStats()
        self.on_progress: Callable[[int, int], None] = lambda *_: None
        """Called during `loglikelihood` and `generate` with (requests done, requests in all)."""
        model = self._model()
        self.facts = model.facts
        """Those of the model."""
        if isinstance(settings := getattr(model, "settings", None), EngineSettings):
            # Measured again they might be others, and the answers those of another model than the facts say.
            self._load = partial(load, **settings.numerics())
        self.doubts: tuple[str, ...] = getattr(model, "doubts", ())
        self._vocabulary = swapper.keep(model.vocabulary()) if isinstance(model, _WithVocabulary) else None

    @property
    def stats(self) -> EngineStats:
        """Cumulative work, of all turns."""
        return self._before + self._loaded.stats if self._loaded else self._before

    @property
    def swaps(self) -> int:
        """How often one of the models had to go for another one."""
        return self._swapper.swaps

    def unload(self) -> None:
        """Free the memory; the next question loads the model again."""
        if self._loaded is not None:
            self._before += self._loaded.stats
            self._loaded = None
            self._memory.close()

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text; see `LanguageModel`."""
        return self._reader().tokenize(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has; see `LanguageModel`."""
        return self._reader().count_tokens(texts)

    def chat(self, messages: Sequence[Message], opening: str = "") -> str:
        """Return the text of a chat up to the answer; see `LanguageModel`."""
        return self._reader().chat(messages, opening)

    def fim(self, prefix: str, suffix: str) -> str:
        """Return a fill-in-the-middle prompt; see `LanguageModel`."""
        return self._reader().fim(prefix, suffix)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Return how probable each continuation is; see `LanguageModel`."""
        return self._model().loglikelihood(pairs)

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return one completion per prompt; see `LanguageModel`."""
        return self._model().generate(prompts, sampling, seeds)

    def _reader(self) -> LanguageModel:
        """Return what tokenises and renders."""
        return self._vocabulary or self._model()

    def _model(self) -> LanguageModel:
        """Return the loaded model."""
        self._swapper.acquire(self)
        if self._loaded is None:
            self._loaded = self._memory.enter_context(self._load())
            if isinstance(self._loaded, Reporting):
                # Looked up at each report: the caller sets it for every call.
                self._loaded.on_progress = lambda done, total: self.on_progress(done, total)  # noqa: PLW0108
        return self._loaded
