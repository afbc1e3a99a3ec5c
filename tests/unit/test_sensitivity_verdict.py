"""What is said of a sensitivity study: no more than was measured, and no more than chance leaves."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.battery.results import Sensitivity
from localprompt.lm.asked import AskedModel
from localprompt.lm.base import LanguageModel, ModelFacts
from localprompt.lm.scripted import ScriptedLM
from localprompt.reports.report import find
from localprompt.reports.sensitivity_report import SensitivityReport
from localprompt.store import Store
from localprompt.types import Generation, Loglikelihood, Prompt

LABELS = ("even", "odd")
PROMPT = "Say whether the number is even or odd, please."
LABELLED = replace(toy.task(labels=LABELS, test=20), seeds=(Prompt(PROMPT),), layout=toy.SHOWING)
WRITTEN = replace(toy.task(test=20), seeds=(Prompt("Turn every alpha into the omega, please."),))


def _number(context: str) -> int:
    return int((re.findall(r"lpha(\d+)", context, re.IGNORECASE) or ["0"])[-1])


def _knows(context: str, continuation: str) -> float:
    return -0.1 if continuation.strip().lower() == LABELS[_number(context) % 2] else -3.0


def _sensitivity(*models: LanguageModel, **options: Any) -> Sensitivity:
    options = {"task": LABELLED, "size": "quick", "use_cache": False, **options}
    return localprompt.sensitivity(options.pop("task"), models, **options)


def _drawing(prompt: str, seed: int) -> str:
    return f" omega{_number(prompt)}" if (seed + _number(prompt)) % 2 else " nothing"


@pytest.mark.parametrize("unlabelled", [False, True])
def test_where_no_other_wording_was_measured_none_is_said_to_move_nothing(tmp_path: Path, *, unlabelled: bool) -> None:
    store, lm = Store(tmp_path / "s.sqlite"), ScriptedLM(answer=_drawing, name="drawn")
    options: dict[str, Any] = {"families": ("sampling",), "unlabelled": unlabelled}
    found = _sensitivity(lm, task=WRITTEN, store=store, use_cache=True, **options)
    assert found.models[0].overall.variants == 0
    assert found.verdict == "No other wording was measured."
    _, report = find(store, found.id)
    assert isinstance(report, SensitivityReport)
    assert (report.models[0].is_moved, report.models[0].unchanged) == (None, None)
    store.close()


def test_a_model_that_could_be_asked_none_of_the_wordings_is_named_where_there_are_several() -> None:
    facts = ModelFacts("server", "server", 4096, has_chat=True, can_score_chats=False)

    def score(context: str, continuation: str) -> Loglikelihood:
        return Loglikelihood(_knows(context, continuation), 1, greedy=False)

    server = AskedModel(facts, lambda _: Generation(" even", 1, "stop"), score)
    found = _sensitivity(server, families=("chat",))
    assert len(found.models[0].too_long) == len(found.variants) - 1
    assert found.verdict == "No other wording was measured."
    both = _sensitivity(server, ScriptedLM(logprob=_knows, name="asked"), families=("chat",))
    assert "No other wording was measured with server." in both.verdict
