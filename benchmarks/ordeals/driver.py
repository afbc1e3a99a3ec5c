"""The command `localprompt` with models that write down what they are about to compute. A process of its own.

    python benchmarks/ordeals/driver.py LOG MAX_FILE_BYTES optimize|resume ...

LOG gets one line a model call, written before the call computes anything: a JSON list of the hashes of its requests.
MAX_FILE_BYTES, unless 0, is where writing a file fails. The model `watched:script` is a `ScriptedLM` that takes its
time; every other name is a real model.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from localprompt.cli.main import main
from localprompt.lm import local
from localprompt.lm.loading import register_scheme
from localprompt.lm.local import LocalModel
from localprompt.lm.scripted import ScriptedLM
from localprompt.run import prepare
from localprompt.types import Generation, Loglikelihood, Sampling

MANNERS = ("plainly", "at once", "with care", "in one word", "as a list", "by heart", "in small letters", "briefly")
DEEDS = ("say the omega of the alpha", "count the alphas", "turn the alpha round", "name what follows the alpha")
SECONDS_A_CALL, SECONDS_A_REQUEST = 0.012, 0.0003
"""So that the kills of a run of a second or two fall everywhere in it."""


class Log:
    """A file that grows by whole lines, whatever happens to the process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1

    def begin(self) -> None:
        """Make the file: from here on a kill meets a run."""
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def call(self, requests: Iterable[Sequence[object]]) -> None:
        """Write down one model call."""
        hashes = [hashlib.sha256(repr(request).encode("utf-8", "replace")).hexdigest()[:12] for request in requests]
        os.write(self._file, (json.dumps(hashes) + "\n").encode())


LOG = Log(sys.argv[1] if len(sys.argv) > 1 else os.devnull)


class WatchedScript(ScriptedLM):
    """A scripted model that writes down and takes its time."""

    def __init__(self) -> None:
        super().__init__(answer=_answer, logprob=_logprob, name="scripted")
        LOG.begin()

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Score, as any model does."""
        LOG.call(pairs)
        time.sleep(SECONDS_A_CALL + SECONDS_A_REQUEST * len(pairs))
        return super().loglikelihood(pairs)

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Complete, as any model does."""
        LOG.call([(prompt, sampling, seed) for prompt, seed in zip(prompts, seeds, strict=True)])
        time.sleep(SECONDS_A_CALL + SECONDS_A_REQUEST * len(prompts))
        return super().generate(prompts, sampling, seeds)


class WatchedModel(LocalModel):
    """A real model that writes down."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        LOG.begin()  # loading is a part of what can be killed
        super().__init__(*arguments, **keywords)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Score, as any model does."""
        LOG.call([(str(context), continuation) for context, continuation in pairs])
        return super().loglikelihood(pairs)

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Complete, as any model does."""
        LOG.call([(str(prompt), sampling, seed) for prompt, seed in zip(prompts, seeds, strict=True)])
        return super().generate(prompts, sampling, seeds)


def _answer(prompt: str, seed: int) -> str:
    if prompt.endswith("Output:"):
        number = _number(prompt)
        return f" omega{number}" if _knows(prompt, number) else " no idea"
    guess = f"Please {DEEDS[seed % len(DEEDS)]} {MANNERS[seed // 7 % len(MANNERS)]}, {MANNERS[seed // 59 % 8]}."
    return f"{guess}</prompt>" if prompt.endswith("<prompt>") else f" {guess}"


def _logprob(context: str, continuation: str) -> float:
    number = _number(context)
    right = continuation.strip() in (f"omega{number}", ("even", "odd")[number % 2])
    return -0.5 if right == _knows(context, number) else -3.0


def _number(prompt: str) -> int:
    digits = "".join(c for c in prompt.rpartition("Input:")[2] if c.isdecimal())
    return int(digits or "0")


def _knows(prompt: str, number: int) -> bool:
    """A prompt is as good as chance has made it, from 0 to 9 in 10."""
    quality = zlib.crc32(prompt.rpartition("Input:")[0].encode()) % 10
    return number * 7 % 10 < quality


if __name__ == "__main__":
    register_scheme("watched", lambda text, **engine: WatchedScript())
    prepare.measured_rates = lambda lm: None  # type: ignore[attr-defined]  # taken once a machine, not once a run: they would make runs differ
    local.LocalModel = WatchedModel  # type: ignore[misc]
    if limit := int(sys.argv[2]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    del sys.argv[1:3]
    main()
