"""The exception tree. Level 0.

    LocalPromptError            what the command line shows as one sentence and a hint
    ├── ConfigError             an unknown name or an impossible setting, with the nearest known one
    ├── TaskError               a task file or a row of data, with file and line
    ├── ModelError              a model that cannot be found, verified, loaded or run
    │   ├── ContextOverflow     a request longer than the context, named, before anything is computed
    │   ├── Unscored            log-likelihoods of a model of which only replies are seen
    │   ├── NotEnoughMemory     a model that does not fit beside what is loaded, with the numbers
    │   └── WorkerDied          the engine process died again and again on one request, named
    └── StoreError              the store of runs and answers
        ├── RunInUse            a run that another process has, which is named
        └── RunMismatch         a run cannot go on as it began: another model, version or setting, named
    SearchEnded                 control flow, not an error: the search goes no further
    ├── BudgetExhausted         the next call does not fit the budget; a smaller one may
    ├── OutOfTime               the minutes are over: the run pauses
    └── OutOfAnswers            a replay, which computes nothing, came to the end of what the store knows

An answer that cannot be parsed is data (`Outcome.prediction` is None), never an exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from localprompt.lookalikes import look_the_same, told_apart

_TELLING = 3
"""Characters from which on it says something that a name holds them."""
_SHOWN = 4
"""Most names that a hint offers."""


class LocalPromptError(Exception):
    """Root of everything that a user can cause or mend.

    Args:
        message: one sentence that names file, line, key or request.
        hint: what to do about it, one sentence; empty if there is nothing to say.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(LocalPromptError):
    """An unknown name or an impossible setting."""


class TaskError(LocalPromptError):
    """A task file or its data is wrong."""


class ModelError(LocalPromptError):
    """A model cannot be found, verified, loaded or run."""


class ContextOverflow(ModelError):  # noqa: N818 - says what happened
    """A request is longer than the model's context; raised before anything is computed."""


class Unscored(ModelError):  # noqa: N818 - says what is the matter
    """A model tells no log-likelihoods where they are asked for; raised before anything is computed."""


class NotEnoughMemory(ModelError):  # noqa: N818 - says what is the matter
    """A model needs more memory than is free; raised before it is loaded."""


class WorkerDied(ModelError):  # noqa: N818 - says what happened
    """The engine process died repeatedly; the message names the request."""


class StoreError(LocalPromptError):
    """The store of runs and answers is damaged, locked or not writable."""


class RunInUse(StoreError):  # noqa: N818 - says what is the matter
    """Another process has a run; the message names it."""


class RunMismatch(StoreError):  # noqa: N818 - says what happened
    """A run cannot go on as it began: something that changes numbers is another one now; the message names it."""


class SearchEnded(Exception):  # noqa: N818 - an outcome of a run, not an error
    """A search goes no further; what it has found counts."""


class BudgetExhausted(SearchEnded):
    """The next call does not fit the budget, nothing of it was spent, and a smaller one may fit."""


class OutOfTime(SearchEnded):
    """The minutes are over; whatever is known already can still be had."""


class OutOfAnswers(SearchEnded):
    """A replay needs an answer that the store does not have."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as `did you mean 'ape'?`, or the list of known names where none is near.

    Nearest are names that begin with what was typed, then names that hold it, then names that begin much like it; of
    several, the shortest. One that looks the same is named alone, with escapes where the two differ.
    """
    known, typed = sorted(known), name.lower()
    for each in known:
        if look_the_same(each, name) and each != name:
            return f"did you mean {each!r}? They look the same, but {told_apart(name, each)}"
    by_length = sorted(known, key=len)
    holding = [each for each in by_length if typed in each.lower()] if len(typed) >= _TELLING else []
    beginning = [each for each in holding if each.lower().startswith(typed)]
    close = (beginning or holding or _alike(typed, by_length))[:_SHOWN]
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(known)}"


def _alike(typed: str, known: Sequence[str]) -> list[str]:
    """Return the names whose beginning, as long as what was typed, is most like it; none where none is."""
    beginnings = [each[: len(typed)].lower() for each in known]
    best = difflib.get_close_matches(typed, beginnings, n=1)
    return [each for each, beginning in zip(known, beginnings, strict=True) if beginning and beginning in best]
