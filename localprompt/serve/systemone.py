"""`/v1/systemone`: named questions about one state, each answered with probabilities. Level 9.

The interface of TypeSafe's decisions, as DSPy's client `typesafe` speaks it (lm15): a question is yes or no (`noul`),
a choice among keys, or a score among levels from low to high. Here the state comes first in every prompt, so it is read
once for all questions; the answers that a question allows are named in it, and their likelihoods compared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from localprompt.errors import ConfigError
from localprompt.serve.bodies import Body, ChatMessage, ChooseBody, Strict
from localprompt.serve.choose import ChooseRequest
from localprompt.serve.service import Service

_YES, _NO = "yes", "no"
_CUE = "Answer:"
"""Stands before the answer where a model has no chat template."""


class Question(Strict):
    """One question."""

    type: Literal["noul", "choice", "score"]
    instructions: str = Field(min_length=1)
    criteria: dict[str, str | None] | list[str] | None = None

    def options(self) -> dict[str, str | None]:
        """Return the answers that are possible, each with what it means.

        Raises:
            ConfigError: if the criteria do not fit the type.
        """
        if self.type == "noul" and self.criteria is None:
            return {_YES: None, _NO: None}
        if self.type == "choice" and isinstance(self.criteria, dict) and len(self.criteria) > 1:
            return dict(self.criteria)
        if self.type == "score" and isinstance(self.criteria, list) and len(self.criteria) > 1:
            n_digits = len(str(len(self.criteria) - 1))  # as many for each: "1" is never less probable than "10"
            return {f"{level:0{n_digits}}": text for level, text in enumerate(self.criteria)}
        wanted = {"noul": "none", "choice": "two or more keys with descriptions", "score": "two or more levels"}
        raise ConfigError(f"the criteria of a question of type {self.type} must be {wanted[self.type]}")


class SystemOneBody(Body):
    """`/v1/systemone`."""

    state: Any
    questions: dict[str, Question] = Field(min_length=1)


class SystemOneRequest(ChooseRequest):
    """One request, with its questions as tokens: each is a context, and its answers are choices."""

    def __init__(self, service: Service, body: SystemOneBody, name: str) -> None:
        self._questions = body.questions
        self._options = [question.options() for question in body.questions.values()]
        state = body.state if isinstance(body.state, str) else json.dumps(body.state, ensure_ascii=False)
        service.check_amount(sum(map(len, self._options)), len(state) * sum(map(len, self._options)))
        asked = zip(body.questions.values(), self._options, strict=True)
        prompts = [_prompt(state, question.instructions, options) for question, options in asked]
        has_chat = service.words.has_chat
        choose = ChooseBody(
            contexts=[[ChatMessage(role="user", content=p)] if has_chat else f"{p}\n{_CUE}" for p in prompts],
            choices=[[text if has_chat else f" {text}" for text in options] for options in self._options],
        )
        super().__init__(service, choose, name)

    def response(self, answers: Sequence[Any]) -> dict[str, Any]:
        """Return the body of the response, given the answers to `scores`."""
        chosen = super().response(answers)
        found = {}
        for (name, question), options, row in zip(self._questions.items(), self._options, chosen["data"], strict=True):
            probabilities = dict(zip(options, row["probabilities"], strict=True))
            found[name] = {"type": question.type, **_answer(question.type, probabilities)}
        n_read = chosen["usage"]["prompt_tokens"]
        head = {name: chosen[name] for name in ("id", "model", "system_fingerprint")}
        return {**head, "answers": found, "usage": {"input_tokens": n_read, "output_tokens": 0}}


def _prompt(state: str, instructions: str, options: dict[str, str | None]) -> str:
    meanings = [f"- {key}: {meaning}" for key, meaning in options.items() if meaning]
    return "\n".join([state, "", instructions, *meanings, f"Answer with one of: {', '.join(options)}."])


def _answer(kind: str, probabilities: dict[str, float]) -> dict[str, Any]:
    best = max(probabilities, key=probabilities.__getitem__)
    if kind == "noul":
        return {"noul": probabilities[_YES]}
    if kind == "choice":
        return {"choice": best, "confidence": probabilities[best], "probabilities": probabilities}
    levels = {int(level): probability for level, probability in probabilities.items()}
    mean = sum(level * probability for level, probability in levels.items())
    return {"score": mean, "probabilities": {str(level): each for level, each in levels.items()}}
