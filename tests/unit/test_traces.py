"""What APE and random search show a proposer, word for word: `traces/`. REWRITE_TRACES=1 writes them anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure
from localprompt.types import Prompt

TRACES = Path(__file__).parent / "traces"
CLOSED = toy.task(labels=("omega", "psi"))
SMALL_APE = {"queries": 1, "per_query": 7, "demos": 3, "resample_rounds": 1, "resample_keep": 1, "variants": 1}
SMALL_RANDOM = {"proposals": 2, "per_round": 2, "per_request": 1, "demos": 3}
FILLING = {"She was": "Paris", "His favourite": "dog", "They sell": "banana"}


def _answer(prompt: str, seed: int) -> str:
    """Guess as the toy does, but fill the blanks of the probe."""
    blanks = (word for beginning, word in FILLING.items() if prompt.startswith(f"[prefix]{beginning}"))
    return next(blanks, "") or toy.answer(prompt, seed)


def _shown(title: str, method: str, settings: Mapping[str, object], lm: ScriptedLM, *seeds: str) -> str:
    given = toy.task() if "outputs" not in title else CLOSED
    problem = toy.problem(lm, replace(given, seeds=tuple(Prompt(seed) for seed in seeds)))
    configure(method, settings).run(problem)
    texts = dict.fromkeys(text for text in lm.seen if _is_for_a_proposer(text))
    return "\n".join([f"##### {title} #####", *(f"{text}\n-----" for text in texts)])


def _is_for_a_proposer(text: str) -> bool:
    """Return False for the task's own prompts, with or without an answer, and for the probe of `fim`."""
    if text.startswith("[prefix]"):
        return text.startswith("[prefix]Instruction")
    return "Output:" not in text.rpartition("\n")[2]


def _ape() -> list[str]:
    seed = "Say something about the alpha."
    return [
        _shown("chat", "ape", SMALL_APE, toy.model(answer=_answer), seed),
        _shown("chat, few outputs", "ape", SMALL_APE, toy.model(answer=_answer), seed),
        _shown("plain text", "ape", SMALL_APE, toy.model(answer=_answer, has_chat=False), seed),
        _shown("cloze", "ape", {**SMALL_APE, "mode": "cloze", "resample_rounds": 0}, toy.model(answer=_answer), seed),
        _shown(
            "fim",
            "ape",
            {**SMALL_APE, "mode": "fim", "resample_rounds": 0},
            toy.model(answer=_answer, has_fim=True),
            "",
        ),
    ]


def _random() -> list[str]:
    seed = "Say something about the alpha."
    return [
        _shown("chat", "random", SMALL_RANDOM, toy.model(answer=_answer), "", seed),
        _shown("chat, few outputs", "random", SMALL_RANDOM, toy.model(answer=_answer), ""),
        _shown("plain text", "random", SMALL_RANDOM, toy.model(answer=_answer, has_chat=False), "", seed),
    ]


@pytest.mark.parametrize(("method", "shown"), [("ape", _ape), ("random", _random)])
def test_the_proposer_is_shown_what_the_trace_says(method: str, shown: Callable[[], list[str]]) -> None:
    trace, path = "\n".join(shown()) + "\n", TRACES / f"{method}.txt"
    if os.environ.get("REWRITE_TRACES"):
        path.write_text(trace, encoding="utf-8")
    assert trace == path.read_text(encoding="utf-8")
