"""A local model as one of the LM evaluation harness, which knows it as `localprompt`. Level 9.

All requests of a task reach the engine in one call, so that what documents and choices share is computed once.
"""

from __future__ import annotations

import itertools
import re
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from localprompt.adapters.extras import needing
from localprompt.errors import ConfigError, ModelError, nearest
from localprompt.lm.base import LanguageModel
from localprompt.lm.loading import open_model
from localprompt.lm.rendered import Rendered
from localprompt.types import Message, Sampling

with needing("lm_eval", "lm-eval"):
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model

_MAX_NEW = 256
"""Tokens of a completion where a task does not say it, as in the harness."""
_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens")
_KNOWN = (*_LIMITS, "until", "do_sample", "temperature", "top_p", "top_k", "min_p", "seed")
_SPARE = 8
"""Tokens by which a piece of a long text may be longer with the word before it than alone."""
_LAST_WORD = re.compile(r"\S{1,100}\s{0,100}\Z")


@register_model("localprompt")
class LocalPromptLM(LM):  # type: ignore[misc]
    """A model of localprompt, as `lm_eval.simple_evaluate(model=LocalPromptLM(...))` takes it.

    A context that has no room is an error, not cut. What a chat template wrote as control tokens is read as such; all
    else is text, whatever it looks like.

    Args:
        model: a name as `--model` takes it, or a loaded model, which stays open.
        batch_size, device, max_batch_size: of the harness; without effect.
        engine: settings of the engine, such as `n_ctx=4096`.

    Raises:
        ConfigError: for an unknown name or setting, or a model that gives no log-probabilities.
        ModelError: if it cannot be found or loaded.
    """

    def __init__(
        self,
        model: str | LanguageModel = "",
        *,
        batch_size: object = None,
        device: object = None,
        max_batch_size: object = None,
        **engine: Any,
    ) -> None:
        super().__init__()
        self._stack = ExitStack()
        if isinstance(model, str):
            if not model:
                raise ConfigError("no model was named", "write --model_args model=NAME, or LocalPromptLM(NAME)")
            model = self._stack.enter_context(open_model(model, **engine))
        elif engine:
            raise ConfigError("engine settings have no effect on a model that is loaded", "pass them to load_model")
        self.lm: LanguageModel = model
        """The model."""
        self._chats: dict[str, Rendered] = {}

    def close(self) -> None:
        """End a model that was opened by its name."""
        self._stack.close()

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return nats and whether each token was the likeliest, of each (context, continuation), in one call.

        Blank space at the end of a context is scored with the continuation, as the harness has it; in a chat it is not.
        """
        pairs = [self._split(*each.args) for each in requests]
        return [(each.logprob, each.greedy) for each in self.lm.loglikelihood(pairs)]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the nats of each text. A text that the context does not hold is read in pieces that do.

        Pieces end between words. Each has the last word of the one before as its context, where the harness gives its
        last token.
        """
        pieces = [self._pieces(each.args[0]) for each in requests]
        found = iter(self.lm.loglikelihood([pair for each in pieces for pair in each]))
        return [sum(next(found).logprob for _ in each) for each in pieces]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return a completion of each context; those that are drawn in the same way are drawn in one call.

        What is asked again, as a task's `repeats` are, is another draw: with the next seed.

        Raises:
            ConfigError: for a setting of generation that is not known, before anything is computed.
        """
        how = [_sampling(each.args[1]) for each in requests]
        texts = [""] * len(requests)
        for wanted in dict.fromkeys(how):
            chosen = [i for i, each in enumerate(how) if each == wanted]
            sampling, seed = wanted
            prompts = [self._read(requests[i].args[0]) for i in chosen]
            seeds = {prompt: itertools.count(seed) for prompt in prompts}
            found = self.lm.generate(prompts, sampling, [next(seeds[prompt]) for prompt in prompts])
            for i, generation in zip(chosen, found, strict=True):
                texts[i] = generation.text
        return texts

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> Rendered:
        """Return a chat up to the assistant's answer; without a new turn, its last message is the answer's beginning.

        Raises:
            ModelError: if the model has no chat template, or it refuses the messages.
        """
        if not self.lm.facts.has_chat:
            raise ModelError(f"{self.lm.facts.name} has no chat template", "leave out --apply_chat_template")
        turns = [Message(each["role"], each["content"]) for each in chat_history]  # type: ignore[arg-type]
        opening = "" if add_generation_prompt or not turns else turns.pop().content
        text = self.lm.chat(turns, opening)
        rendered = text if isinstance(text, Rendered) else Rendered(text, ())
        self._chats[str(rendered)] = rendered
        return rendered

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return what tells one template from another: a chat of two words as it writes it.

        Raises:
            ConfigError: if one is named: a GGUF file has one.
        """
        if isinstance(chat_template, str):
            raise ConfigError(f"there is no chat template {chat_template!r}", "write --apply_chat_template alone")
        return str(self.apply_chat_template([{"role": "user", "content": "hello"}])) if chat_template else ""

    @property
    def tokenizer_name(self) -> str:
        """What tells the model from others."""
        return f"localprompt-{self.lm.facts.fingerprint}"

    def get_model_info(self) -> dict[str, object]:
        """Return what the harness writes beside its results."""
        facts = self.lm.facts
        return {"model_name": facts.name, "model_fingerprint": facts.fingerprint, "model_n_ctx": facts.n_ctx}

    def _read(self, context: str) -> str:
        """Return a context with its control tokens, should the harness have made a plain text of it."""
        return context if isinstance(context, Rendered) else self._chats.get(context, context)

    def _split(self, context: str, continuation: str) -> tuple[str, str]:
        context = self._read(context)
        if isinstance(context, Rendered):
            return context, continuation
        kept = context.rstrip()
        return kept, context[len(kept) :] + continuation

    def _pieces(self, text: str) -> list[tuple[str, str]]:
        room = self.lm.facts.n_ctx - _SPARE
        pairs: list[tuple[str, str]] = []
        before = ""
        while text:
            piece = self._first(before, text, room)
            pairs.append((before, piece))
            last = _LAST_WORD.search(piece)
            before, text = last[0].rstrip() if last else "", text[len(piece) :]
        return pairs

    def _first(self, before: str, text: str, room: int) -> str:
        """Return as much of a text as there is room for, up to a blank."""
        if self._n_tokens(before + text) <= room:
            return text
        end = bisect_right(range(1, len(text)), room, key=lambda n: self._n_tokens(before + text[:n])) or 1
        blank = max(text.rfind(" ", 1, end), text.rfind("\n", 1, end))
        return text[: blank if blank > 0 else end]

    def _n_tokens(self, text: str) -> int:
        (n,) = self.lm.count_tokens([text])
        return n


def run_command_line(arguments: Sequence[str]) -> None:
    """Run the harness's own command line, which knows `--model localprompt` now."""
    from lm_eval.__main__ import cli_evaluate  # noqa: PLC0415 - it sets up logging for a program

    before = sys.argv
    sys.argv = ["localprompt lm-eval", *arguments]
    try:
        cli_evaluate()
    finally:
        sys.argv = before


def _sampling(arguments: Mapping[str, Any]) -> tuple[Sampling, int]:
    """Return how a completion is drawn, and its seed; greedily where no sampling is asked for."""
    for name in arguments:
        if name not in _KNOWN:
            raise ConfigError(f"the setting of generation {name!r} is not known", nearest(name, _KNOWN))
    until = arguments.get("until") or []
    stop = tuple(each for each in ([until] if isinstance(until, str) else until) if each)
    limit = next((int(arguments[name]) for name in _LIMITS if arguments.get(name) is not None), _MAX_NEW)
    temperature = float(arguments.get("temperature") or 0.0)
    if arguments.get("do_sample", temperature > 0):
        drawn = {name: arguments[name] for name in ("top_p", "top_k", "min_p") if arguments.get(name) is not None}
        sampling = Sampling(limit, temperature=temperature if "temperature" in arguments else 1.0, stop=stop, **drawn)
    else:
        sampling = Sampling(limit, stop=stop)
    return sampling, int(arguments.get("seed") or 0)
