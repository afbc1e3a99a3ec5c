"""A function of the user's own as a model, named `python:module:function`. Level 3."""

from __future__ import annotations

import hashlib
from pathlib import Path

from localprompt.errors import LocalPromptError, ModelError, TaskError
from localprompt.lm.asked import AskedModel, Question, within
from localprompt.lm.base import ModelFacts
from localprompt.tasks.code import load_function
from localprompt.types import Generation, Message

_N_CTX = 131072
"""Tokens that a question may have, as far as is known here; whoever answers may take fewer."""


def load_function_model(name: str, **engine: object) -> AskedModel:
    """Return a model that replies what a function returns; a changed file is another model.

    The function gets the turns of a chat as a list of `localprompt.Message` (a plain text as one turn of the user), a
    `localprompt.Sampling` and a seed, and returns the reply as text. It is called from one thread at a time. Where the
    answer has an opening, that is the last turn, the assistant's. A reply is cut where it has more than
    `sampling.max_tokens` pieces of at most four letters. Engine settings have no effect.

    Raises:
        ModelError: if it cannot be imported, from the current folder or as installed.
    """
    try:
        function, digest = load_function(name, Path.cwd(), what="model")
    except TaskError as error:
        raise ModelError(error.message, error.hint) from error

    def reply(question: Question) -> Generation:
        role = "assistant" if question.messages else "user"
        last = (Message(role, question.text),) if question.text.strip() else ()  # type: ignore[arg-type]
        try:
            text = function([*question.messages, *last], question.sampling, question.seed)
        except LocalPromptError:
            raise
        except Exception as error:  # a user's function may raise anything
            raise ModelError(
                f"the model python:{name} failed ({type(error).__name__}: {error})",
                "it is called as function(messages, sampling, seed)",
            ) from error
        if not isinstance(text, str):
            raise ModelError(f"the model python:{name} returned {text!r:.100}, not text", "return the reply as a str")
        return within(text, question.sampling.max_tokens)

    identity = {"function": name, "files": digest}
    fingerprint = "python-" + hashlib.sha256(f"{name}\n{digest}".encode()).hexdigest()[:16]
    facts = ModelFacts(f"python:{name}", fingerprint, _N_CTX, has_chat=True, identity=identity, can_score=False)
    return AskedModel(facts, reply)
