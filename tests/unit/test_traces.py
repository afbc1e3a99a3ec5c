"""Golden traces of APE and random search; see `tracing`. REWRITE_TRACES=1 writes them again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
import toy
from tracing import golden, trace

from localprompt.optimizers import configure
from localprompt.types import Prompt

SEED = "Say something about the alpha."
FILLING = {"She was": "Paris", "His favourite": "dog", "They sell": "banana"}
REWORDED = ("In other words:", "Second way:", "Another wording:", "Wording B:")
GUESSES = (
    " copy what you are given, letter by letter.",
    " say something kind about the alpha.",
    "omega4",
    "",
    " Copy what you are given, letter by letter.",
    " write the word that you are given, and then write it once again, and again",
    " Please provide the input.",
    " Input: alpha3",
    " find a word that rhymes with it.",
    " describe it in a few plain words.",
    " say whether its number is even or odd.",
)
REWORDINGS = (" tell me of the alpha.", " say something about the alpha.", f" {toy.BEST}", " name the alpha.")


def _proposer() -> Callable[[str, int], str]:
    """Return a proposer whose guesses and rewordings come in turn, and that fills the blanks of the probe."""
    guesses, rewordings = cycle(GUESSES), cycle(REWORDINGS)

    def write(prompt: str, seed: int) -> str:
        blanks = (word for beginning, word in FILLING.items() if prompt.startswith(f"[prefix]{beginning}"))
        return next(blanks, "") or next(rewordings if prompt.endswith(REWORDED) else guesses)

    return write


APE = {"queries": 2, "per_query": 4, "demos": 2, "stages": (2, 4), "keep": 0.5, "finalists": 1, "max_tokens": 12}
VARIED = {**APE, "resample_rounds": 1, "resample_keep": 1, "variants": 3}
SIR = {**VARIED, "mode": "sir", "sir_examples": 4, "sir_keep": 2, "sir_temperature": 0.5}
RANDOM = {"proposals": 8, "per_round": 4, "per_request": 2, "demos": 2, "score_examples": 4, "finalists": 1}

SEARCHES: dict[str, tuple[dict[str, Any], tuple[str, ...], dict[str, Any]]] = {
    "ape/forward_chat": (VARIED, (SEED,), {}),
    "ape/forward_chat_labels": (APE, ("",), {"logprob": toy.parity}),
    "ape/forward_raw": (VARIED, (SEED,), {"has_chat": False}),
    "ape/sir": (SIR, (SEED,), {}),
    "ape/cloze": ({**APE, "mode": "cloze"}, (SEED,), {}),
    "ape/fim": ({**APE, "mode": "fim"}, ("",), {"has_fim": True}),
    "random/chat": (RANDOM, ("", SEED), {}),
    "random/chat_labels": (RANDOM, ("",), {"logprob": toy.parity}),
    "random/raw": (RANDOM, ("", SEED), {"has_chat": False}),
}
"""Trace to the settings, the seed prompts and the kind of model."""


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_goes_as_its_trace_says(name: str) -> None:
    settings, seeds, kind = SEARCHES[name]
    labels = ("even", "odd") if "logprob" in kind else ()
    given = replace(toy.task(dev=12, labels=labels), seeds=tuple(map(Prompt, seeds)))
    found = trace(configure(name.partition("/")[0], settings), given, _proposer(), **kind)
    assert found == golden(name, found)
