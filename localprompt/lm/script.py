"""A scripted model from a file of replies: a task, a layout or a pipeline is tried without a model. Level 3."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localprompt.errors import ModelError, nearest
from localprompt.interface.paths import expanded
from localprompt.lm.scripted import ScriptedLM

_KEYS = {"replies": dict, "has_chat": bool, "has_fim": bool}
_EXAMPLE = 'write {"replies": {"PATTERN": "REPLY"}}'
_SAID, _BEGUN, _NOT_SAID = -0.1, -1.0, -5.0
"""Nats of a continuation that is the reply, of one with which it begins, and of any other."""

Replies = list[tuple[re.Pattern[str], list[str]]]


def load_script(file: str, **engine: object) -> ScriptedLM:
    r"""Return a model that replies as a JSON file says, named like the file; a changed file is another model.

    `replies` has patterns and replies. The first pattern that is found in a prompt has the reply; of a list of replies
    the seed takes one; `\1` is what the first group has matched; without any pattern the reply is empty. A label or
    another continuation is probable where it is the reply's first line, and less so where that begins with it (labels
    may be compared by their first words). `has_chat` (true) and `has_fim` (false) say how prompts are rendered; see
    `ScriptedLM`. Engine settings have no effect.

    Raises:
        ModelError: if the file cannot be read, or holds something else.
    """
    path = expanded(file)
    try:
        content = path.read_bytes()
        plain = json.loads(content)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", "give the path of a file of replies") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}", _EXAMPLE) from error
    replies = _replies(path, plain)

    def answer(prompt: str, seed: int) -> str:
        for pattern, texts in replies:
            if match := pattern.search(prompt):
                return _filled(texts[seed % len(texts)], match)
        return ""

    def logprob(context: str, continuation: str) -> float:
        said, text = answer(context, 0).strip().partition("\n")[0].strip(), continuation.strip()
        return _SAID if said == text else _BEGUN if text and said.startswith(text) else _NOT_SAID

    marks = {key: value for key, value in plain.items() if key != "replies"}
    lm = ScriptedLM(answer=answer, logprob=logprob, name=path.stem, **marks)
    lm.fingerprint = f"scripted-{hashlib.sha256(content).hexdigest()[:16]}"
    return lm


def _replies(path: Path, plain: Any) -> Replies:
    """Return the replies by pattern, in the order of the file.

    Raises:
        ModelError: naming the file and what is wrong in it.
    """
    if not isinstance(plain, Mapping) or "replies" not in plain:
        raise ModelError(f"{path} holds no replies", _EXAMPLE)
    for key, value in plain.items():
        if key not in _KEYS:
            raise ModelError(f"{path}: unknown key {key!r}", nearest(key, _KEYS))
        if not isinstance(value, _KEYS[key]):
            raise ModelError(f"{path}: {key} is {value!r:.100}", _EXAMPLE if key == "replies" else "true or false")
    found: Replies = []
    for pattern, reply in plain["replies"].items():
        texts = reply if isinstance(reply, list) else [reply]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ModelError(f"{path}: the reply to {pattern!r} is {reply!r:.100}", "give a text or a list of texts")
        try:
            found.append((re.compile(pattern), texts))
        except re.error as error:
            raise ModelError(f"{path}: {pattern!r} is not a regular expression: {error}", _EXAMPLE) from error
    return found


def _filled(reply: str, match: re.Match[str]) -> str:
    r"""Return the reply with `\1` and its kin replaced by what the pattern's groups hold; other numbers stay."""
    groups = ("", *match.groups(""))

    def group(reference: re.Match[str]) -> str:
        number = int(reference[1])
        return groups[number] if number < len(groups) else reference[0]

    return re.sub(r"\\([1-9])", group, reply)
