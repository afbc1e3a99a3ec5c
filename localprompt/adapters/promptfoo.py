"""A local model as a Python provider of promptfoo, which names a file with these functions. Level 9.

`config` of the provider: `model`, the fields of `localprompt.Sampling`, `seed`, `engine` (settings, by name), `chat`
(false: plain text), and for classifications `labels`. Nothing of promptfoo is needed to import it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from localprompt.adapters.waves import Waves, in_thread, shared
from localprompt.errors import ConfigError, LocalPromptError, nearest
from localprompt.lm.base import LanguageModel
from localprompt.types import Message, Sampling

_MAX_NEW = 1024
"""Tokens of a completion where the configuration does not say it."""
_SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "stop")
_OF_PROMPTFOO = ("basePath", "workers", "timeout", "pythonExecutable")
_KNOWN = (*_SAMPLING, *_OF_PROMPTFOO, "model", "engine", "seed", "chat", "labels")


async def call_api(prompt: str, options: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the completion of a prompt, which is a text or a chat as JSON, as promptfoo has it.

    What goes wrong is in `error`, which promptfoo counts as an error and not as an answer.
    """
    try:
        config = _config(options)
        known = {name: config[name] for name in _SAMPLING if name in config}
        sampling = Sampling(**{"max_tokens": _MAX_NEW, **known})
        asked = _asked(prompt, config)
        found, n_prompt, _ = await in_thread(_model(config).complete, asked, sampling, config.get("seed"))
    except LocalPromptError as error:
        return {"error": _said(error)}
    usage = {"prompt": n_prompt, "completion": found.n_tokens, "total": n_prompt + found.n_tokens, "numRequests": 1}
    return {"output": found.text, "tokenUsage": usage, "metadata": {"finish_reason": found.finish_reason}}


async def call_classification_api(prompt: str, options: Mapping[str, Any], context: Any = None) -> dict[str, Any]:
    """Return how probable each label of `config.labels` is behind the prompt, all of them together 1."""
    try:
        config = _config(options)
        labels = config.get("labels")
        if not isinstance(labels, list) or not labels or not all(isinstance(each, str) and each for each in labels):
            raise ConfigError("the configuration has no labels, or some are no text", 'write labels: ["LABEL", ...]')
        labels = list(dict.fromkeys(labels))
        asked = _asked(prompt, config)
        nats = await in_thread(_model(config).ask, lambda lm: _nats(lm, asked, labels))
    except LocalPromptError as error:
        return {"error": _said(error)}
    best = max(nats)
    weights = [math.exp(each - best) for each in nats]
    return {"classification": {label: each / sum(weights) for label, each in zip(labels, weights, strict=True)}}


def _nats(lm: LanguageModel, asked: Sequence[Message] | str, labels: Sequence[str]) -> list[float]:
    context, gap = (asked, " " * (not asked[-1:].isspace())) if isinstance(asked, str) else (lm.chat(asked), "")
    return [each.logprob for each in lm.loglikelihood([(context, gap + label) for label in labels])]


def _config(options: Mapping[str, Any]) -> Mapping[str, Any]:
    config: Mapping[str, Any] = options.get("config") or {}
    for name in config:
        if name not in _KNOWN:
            raise ConfigError(f"the configuration has an unknown key {name!r}", nearest(name, _KNOWN))
    if not isinstance(config.get("model"), str):
        raise ConfigError("the configuration names no model", "write model: NAME below config")
    if not isinstance(config.get("engine") or {}, Mapping):
        raise ConfigError("engine in the configuration is no mapping", "write engine: {NAME: VALUE, ...}")
    return config


def _asked(prompt: str, config: Mapping[str, Any]) -> Sequence[Message] | str:
    """Return the turns of a chat, or the text to go on with."""
    if not config.get("chat", True):
        return prompt
    try:
        turns = json.loads(prompt)
    except (ValueError, RecursionError):
        turns = None
    if (
        isinstance(turns, list)
        and turns
        and all(isinstance(each, dict) and {"role", "content"} <= {*each} for each in turns)
    ):
        roles: list[Any] = ["system" if each["role"] == "developer" else each["role"] for each in turns]
        return [Message(role, each["content"]) for role, each in zip(roles, turns, strict=True)]
    return [Message("user", prompt)]


def _model(config: Mapping[str, Any]) -> Waves:
    """Return the model of a configuration: one for all providers that load it alike."""
    return shared(config["model"], config.get("engine") or {})


def _said(error: LocalPromptError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
