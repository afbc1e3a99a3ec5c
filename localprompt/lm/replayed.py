"""A language model that computes nothing: behind a `CachedLM` it gives the answers of a store alone. Level 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from localprompt.errors import OutOfAnswers, StoreError
from localprompt.lm.base import ModelFacts
from localprompt.store import Answers
from localprompt.types import EngineStats

_FACTS: Mapping[str, type] = {
    "name": str, "fingerprint": str, "n_ctx": int, "has_chat": bool, "has_fim": bool, "supports_grammar": bool
}  # fmt: skip


class ReadAnswers:
    """The answers that a store has, of which nothing is written, not even that they were read."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def get(self, keys: Sequence[bytes], run_id: str | None = None) -> list[bytes | None]:
        """Return each key's value, None for an unknown key, same order and length as `keys`."""
        return self._answers.get(keys, run_id, is_use=False)

    def put(self, rows: Sequence[tuple[bytes, str, bytes]], run_id: str | None = None) -> NoReturn:
        """Refuse: nobody computes anything."""
        raise OutOfAnswers(f"{len(rows)} answers were computed in a replay")


class ReplayedLM:
    """The model of which the store has the facts; whatever it is asked to compute ends the search.

    Args:
        facts: those of `ModelFacts`, as plain data.

    Raises:
        StoreError: if the facts are not complete.
    """

    def __init__(self, facts: Mapping[str, object]) -> None:
        if {name: type(facts.get(name)) for name in _FACTS} != _FACTS:
            raise StoreError("the run does not say which model it had", "it was not written by localprompt")
        known: dict[str, Any] = {name: facts.get(name, True) for name in (*_FACTS, "can_score", "can_score_chats")}
        self.facts = ModelFacts(**known)
        self.stats = EngineStats()

    def _refuse(self, *_: object) -> NoReturn:
        raise OutOfAnswers("the answers that the store has of this run end here")

    tokenize = count_tokens = chat = fim = loglikelihood = generate = _refuse
