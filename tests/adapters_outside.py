"""What tests of adapters share: a real model, rows of the examples, and what a program outside needs to load it too."""

from __future__ import annotations

import json
import os
import sysconfig
from collections.abc import Iterator, Sequence
from typing import Any

from outside_programs import ROOT

from localprompt.lm.local import LocalModel, load_model
from localprompt.types import Message, Sampling

MODEL = os.environ.get("OUTSIDE_MODEL", "smollm2-135m-instruct")
N_ROWS = 50
MAX_OTHER, MAX_NATS = 20, 5.0
INSIDE = {"INSIDE_ROOT": str(ROOT), "INSIDE_PACKAGES": sysconfig.get_paths()["purelib"]}


def model(**engine: Any) -> Iterator[LocalModel]:
    with load_model(MODEL, tune=False, n_threads=1, **engine) as lm:
        yield lm


def rows(file: str) -> list[dict[str, str]]:
    """The first rows of an example's data."""
    lines = (ROOT / "examples" / file).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:N_ROWS]]


QUESTION = "Which team answers this message? {}"


def check_answers(found: Sequence[str]) -> None:
    """Hold completions of four tokens to `QUESTION` about 50 rows against the engine's own.

    Kernels round differently with the rows of a batch, which are the threads' luck: where two tokens are nearly as
    probable, the other one may be drawn. Such an answer is about as probable as the engine's; one that belongs to
    another row is not.
    """
    for lm in model(n_ctx=1024):
        asked = [QUESTION.format(each["message"]) for each in rows("support-routing/data.jsonl")]
        prompts = [lm.chat([Message("user", text)]) for text in asked]
        native = [each.text for each in lm.generate(prompts, Sampling(4), [0] * len(prompts))]
        assert len(found) == len(native) == N_ROWS
        other = [i for i, (a, b) in enumerate(zip(found, native, strict=True)) if a != b]
        assert len(other) <= MAX_OTHER
        nats = lm.loglikelihood([(prompts[i], text) for i in other for text in (found[i], native[i])])
        for one, two in zip(nats[::2], nats[1::2], strict=True):
            assert abs(one.logprob - two.logprob) < MAX_NATS
