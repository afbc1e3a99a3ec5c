"""A local model as an engine of DSPy: `dspy.LM("localprompt/x", engine=LocalPromptEngine("x"))`. Level 9.

DSPy asks one request at a time, from as many threads as its `Evaluate` has; those that come together are one call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from localprompt.adapters.extras import needing
from localprompt.adapters.waves import WINDOW, Waves
from localprompt.errors import ContextOverflow, LocalPromptError, ModelError
from localprompt.lm.base import LanguageModel
from localprompt.types import Message, Sampling

with needing("dspy", "dspy"):
    from dspy import lm15

_MAX_NEW = 1000
"""Tokens of a completion where the request does not say it."""
_REFUSED = ("tool_choice", "reasoning", "frequency_penalty", "presence_penalty", "logprobs", "extensions")
_FORMAT = "the model knows no grammar, so the answer's form is asked for in the prompt alone"
_ROLES: Mapping[str, str] = {"user": "user", "assistant": "assistant", "developer": "system"}


class LocalPromptEngine:
    """What DSPy's engine protocol asks of a model: one request to one response, from any number of threads.

    Without a temperature a completion is greedy. A form of answers (`response_format`) constrains what is drawn; of a
    model that knows no grammar the response says that it was dropped. What else cannot be honoured is refused before
    anything is computed.

    Args:
        model: a name as `--model` takes it, opened at the first request; or a loaded model, which stays open.
        window: seconds in which requests of other threads are waited for.
        engine: settings of the engine, such as `n_ctx=4096`, for a model that is named.
    """

    supported_params = frozenset({"temperature", "max_tokens", "top_p", "top_k", "stop", "seed", "response_format"})
    supports_response_schema = True
    """DSPy asks again for JSON where a small model missed the form of an answer: it cannot miss that one."""

    def __init__(self, model: str | LanguageModel, *, window: float = WINDOW, **engine: Any) -> None:
        self._named = {"model": model, **engine}
        self.waves = Waves(model, window, **engine)
        """The requests of all threads on their way to the model."""

    def complete(self, request: Any) -> Any:
        """Return a `dspy.lm15.Response` to a `dspy.lm15.Request`.

        Raises:
            UnsupportedFeatureError: of `dspy.lm15`, for tools, log-probabilities, penalties and parts that are no text.
            ContextLengthError: of `dspy.lm15`, if prompt and completion do not fit the context.
            ServerError: of `dspy.lm15`, if the model cannot be asked.
        """
        sampling = sampling_of(request)
        try:
            found, n_prompt, _ = self.waves.complete(_messages(request), sampling, request.config.seed)
        except ContextOverflow as error:
            raise lm15.ContextLengthError(str(error)) from error
        except ModelError as error:
            raise lm15.ServerError(str(error)) from error
        except LocalPromptError as error:
            raise lm15.InvalidRequestError(str(error)) from error
        dropped = sampling.grammar and not self.waves.ask(lambda lm: lm.facts.supports_grammar)
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant([lm15.TextPart(found.text)]),
            finish_reason="stop" if found.finish_reason == "stop" else "length",
            usage=lm15.Usage(input_tokens=n_prompt, output_tokens=found.n_tokens),
            adaptations=(lm15.Adaptation("config.response_format", "dropped", _FORMAT),) if dropped else (),
        )

    def stream(self, request: Any) -> Any:
        """Return the whole response as events."""
        return lm15.response_to_events(self.complete(request))

    def close(self) -> None:
        """End a model that was opened by its name."""
        self.waves.close()

    def dump_state(self) -> dict[str, Any]:
        """Return what a saved program needs to open the model again.

        Raises:
            TypeError: for a model that came loaded.
        """
        if not isinstance(self._named["model"], str):
            raise TypeError("an engine of a loaded model cannot be saved: make it with the model's name")
        return dict(self._named)

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalPromptEngine:
        """Return the engine itself: copies of a program, of which optimizers make many, ask the same model."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what is pickled with a program: what `dump_state` returns."""
        return type(self).load_state, (self.dump_state(),)

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> LocalPromptEngine:
        """Return the engine of a saved program."""
        return cls(**state)


def sampling_of(request: Any) -> Sampling:
    """Return how a `dspy.lm15.Request` wants its completion drawn; a form of answers is a grammar.

    Raises:
        UnsupportedFeatureError: of `dspy.lm15`, for tools, log-probabilities and penalties.
    """
    config = request.config
    for name in _REFUSED:
        if getattr(config, name) is not None:
            raise lm15.UnsupportedFeatureError(f"a local model has no {name}", feature=f"config.{name}")
    if request.tools or config.probabilities == "required":
        raise lm15.UnsupportedFeatureError("a local model has no tools and no probabilities here", feature="tools")
    form = config.response_format
    return Sampling(
        config.max_tokens or _MAX_NEW,
        temperature=config.temperature or 0.0,
        stop=tuple(config.stop),
        grammar="" if form is None else json.dumps({"type": "object"} | form.get("schema", {})),
        **{name: value for name in ("top_p", "top_k") if (value := getattr(config, name)) is not None},
    )


def _messages(request: Any) -> list[Message]:
    """Return the turns of a request; consecutive ones of one role are one, as templates want them."""
    told = request.system or ""
    system = told if isinstance(told, str) else "".join(part.text for part in told)
    turns = [Message("system", system)] if system else []
    for each in request.messages:
        if each.role not in _ROLES or any(part.type != "text" for part in each.parts):
            raise lm15.UnsupportedFeatureError(f"a local model reads text, not {each.role} parts", feature="messages")
        role, text = _ROLES[each.role], "".join(part.text for part in each.parts)
        if turns and turns[-1].role == role:
            text = f"{turns.pop().content}\n\n{text}"
        turns.append(Message(role, text))  # type: ignore[arg-type]
    return turns
