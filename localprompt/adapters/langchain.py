"""A local model as a chat model of LangChain. Level 9."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localprompt.adapters.extras import needing
from localprompt.adapters.waves import Waves, shared
from localprompt.errors import ConfigError
from localprompt.types import Message, Sampling

with needing("langchain_core", "langchain"):
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult
    from pydantic import Field, PrivateAttr

_ROLES: Mapping[str, str] = {"system": "system", "human": "user", "ai": "assistant"}
_SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "min_p")


class ChatLocalPrompt(BaseChatModel):  # type: ignore[misc]
    """A chat model; what `batch` and threads ask at once is computed together.

    `stop` and the fields on sampling may also be given with each call, as in `invoke(messages, max_tokens=8)`. It has
    no tools.
    """

    model: Any
    """A name as `--model` takes it, opened at the first request; or a loaded model, which stays open."""
    max_tokens: int = 1024
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    """None: asking again is another draw."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Settings of the engine, such as `{"n_ctx": 4096}`, for a model that is named."""
    _waves: Waves = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Make the way to the model; nothing is loaded."""
        super().model_post_init(context)
        is_named = isinstance(self.model, str)  # with `configurable_fields` each call makes an instance
        self._waves = shared(self.model, self.engine) if is_named else Waves(self.model, **self.engine)

    def close(self) -> None:
        """End a model that was opened by its name; whoever asks it next opens it again."""
        self._waves.close()

    @property
    def _llm_type(self) -> str:
        return "localprompt"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        name = self.model if isinstance(self.model, str) else self.model.facts.fingerprint
        return {"model": name, **{each: getattr(self, each) for each in ("engine", "seed", *_SAMPLING)}}

    def _generate(
        self, messages: Sequence[Any], stop: str | Sequence[str] | None = None, run_manager: object = None, **given: Any
    ) -> Any:
        seed = given.pop("seed", self.seed)
        known = {name: given.pop(name, getattr(self, name)) for name in _SAMPLING}
        if given:
            raise ConfigError(f"a local model does not take {', '.join(sorted(given))}", "leave it out")
        sampling = Sampling(stop=(stop,) if isinstance(stop, str) else tuple(stop or ()), **known)
        found, n_prompt, _ = self._waves.complete(_turns(messages), sampling, seed)
        usage = {"input_tokens": n_prompt, "output_tokens": found.n_tokens, "total_tokens": n_prompt + found.n_tokens}
        message = AIMessage(
            content=found.text, usage_metadata=usage, response_metadata={"finish_reason": found.finish_reason}
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


def _turns(messages: Sequence[Any]) -> list[Message]:
    for each in messages:
        blocks = [] if isinstance(each.content, str) else [part for part in each.content if not isinstance(part, str)]
        is_text = all(block.get("type") == "text" for block in blocks)
        if each.type not in _ROLES or not is_text or getattr(each, "tool_calls", None):
            raise ConfigError(
                f"a local model reads text, not a message of {each.type!r} with other parts or tool calls"
            )
    return [Message(_ROLES[each.type], str(each.text)) for each in messages]  # type: ignore[arg-type]
