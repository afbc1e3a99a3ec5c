"""What is said of a sensitivity study: no more than was measured, and no more than chance leaves."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.battery.results import Sensitivity
from localprompt.battery.verdict import verdict
from localprompt.errors import TaskError
from localprompt.lm.asked import AskedModel
from localprompt.lm.base import LanguageModel, ModelFacts
from localprompt.lm.scripted import ScriptedLM
from localprompt.reports.report import find
from localprompt.reports.sensitivity_report import SensitivityReport
from localprompt.stats.intervals import Interval
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


class Failing(ScriptedLM):
    """A model that does not get through with some rows, or with those of prompts that are not polite."""

    fails = frozenset({61, 62, 63})
    always = False

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        return [
            replace(each, failed=True)
            if _number(context) in self.fails and (self.always or "please" not in context.lower())
            else each
            for each, (context, _) in zip(super().loglikelihood(pairs), pairs, strict=True)
        ]


def test_rows_that_fail_are_no_probabilities() -> None:
    whole, failing = (cls(logprob=_knows, name="m") for cls in (ScriptedLM, Failing))
    options: dict[str, Any] = {"families": ("surface", "deletion"), "scorers": ()}
    expected, found = (_sensitivity(lm, **options).models[0] for lm in (whole, failing))
    assert max(each.failed for each in found.own.variants) == 3
    for name in ("entropy", "class_consistency"):
        of_whole, of_failing = (getattr(each.overall, name) for each in (expected, found))
        value = "mean" if name == "entropy" else "value"
        assert getattr(of_failing, value) == pytest.approx(getattr(of_whole, value))
    assert [each.nats for each in found.words if each.nats] == [each.nats for each in expected.words if each.nats]
    assert all(each.nats in (None, pytest.approx(0.0)) for each in found.own.variants)


def test_what_failed_is_no_change_of_a_written_targets_probability_and_is_named() -> None:
    lm = Failing(answer=lambda prompt, seed: f" omega{_number(prompt)}", logprob=lambda *_: -0.1, name="m")
    found = _sensitivity(lm, task=WRITTEN, families=("deletion",))
    (please,) = [each for each in found.models[0].words if "please" in each.text]
    assert please.nats is not None
    assert (please.nats.value, please.nats.low, please.nats.high) == pytest.approx((0.0, 0.0, 0.0))
    assert "3 answers could not be computed: what failed scores 0" in found.verdict


def test_where_all_rows_failed_nothing_is_known() -> None:
    lm = Failing(logprob=_knows, name="m")
    lm.always, lm.fails = True, frozenset(range(100))
    (model,) = _sensitivity(lm, families=("surface", "deletion")).models
    assert (model.overall.entropy, model.overall.class_consistency, model.overall.posix) == (None, None, None)
    assert all(each.nats is None for each in model.words)


def test_one_label_is_refused_before_anything_is_asked() -> None:
    task = replace(toy.task(labels=("even",), test=10), seeds=(Prompt("Say even."),))
    with pytest.raises(TaskError, match="the task toy has one label: a choice needs two"):
        _sensitivity(ScriptedLM(), task=task)


def _lucky(name: str) -> ScriptedLM:
    """A model that is right on 70 % of the rows, whatever the wording; which ones, each wording draws."""

    def logprob(context: str, continuation: str) -> float:
        is_right = continuation.strip().lower() == LABELS[_number(context) % 2]
        return -0.2 if is_right == (zlib.crc32(f"{name}{context}".encode()) % 100 < 70) else -1.0

    return ScriptedLM(logprob=logprob, name=name)


def _needs(word: str, name: str) -> ScriptedLM:
    """A model that is right where the prompt has a word, and else on every third row."""

    def logprob(context: str, continuation: str) -> float:
        knows = word in context.lower().rpartition("lpha")[0] or _number(context) % 3 == 0
        return -0.2 if (continuation.strip().lower() == LABELS[_number(context) % 2]) == knows else -1.0

    return ScriptedLM(logprob=logprob, name=name)


def test_models_that_no_wording_moves_are_not_ranked_and_neither_agree_nor_do_not() -> None:
    found = _sensitivity(_lucky("a"), _lucky("b"), families=("surface", "format", "deletion"))
    assert all(model.overall.spread and model.overall.spread.by_chance.p >= 0.05 for model in found.models)
    assert found.rank_agreement[0].tau is not None
    assert re.fullmatch("The wording moves the score of [ab] or [ab] by no more than chance.", found.verdict)


def test_of_several_models_those_that_the_wording_moves_are_ranked() -> None:
    models = [_lucky("a"), _needs("number", "b"), _needs("odd", "c"), _needs("number", "d")]
    found = _sensitivity(*models[:2], families=("surface", "deletion"))
    assert re.match(
        r"The wording moves b most: its score moves by 0\.\d\d .* It moves the score of a by no", found.verdict
    )
    assert "agree" not in found.verdict
    found = _sensitivity(*models, families=("surface", "deletion"))
    assert found.verdict.startswith("The wording moves b most: its score moves by 0.")
    assert "least" not in found.verdict  # d is moved as far
    assert found.verdict.endswith("The models agree on which wording is better (tau 1.00).")


def test_a_word_does_not_matter_where_other_batches_change_as_many_answers() -> None:
    rng = random.Random(0)

    def logprob(context: str, continuation: str) -> float:
        """Hesitates on every fifth row, whatever the wording."""
        return rng.uniform(-0.72, -0.68) if _number(context) % 5 == 0 else _knows(context, continuation)

    found = _sensitivity(ScriptedLM(logprob=logprob), families=("deletion",), scorers=())
    assert found.models[0].noise is not None
    assert found.models[0].noise.changed > 0
    assert any(each.flips and each.flips.mean for each in found.models[0].words)
    assert "No word is shown to change more answers than the " in found.verdict
    assert "matters most" not in found.verdict


def test_copies_of_a_row_are_no_further_evidence_that_a_word_matters() -> None:
    found = _sensitivity(_needs("number", "m"), families=("deletion",), scorers=())
    (model,) = found.models
    assert model.noise is not None
    word = replace(model.words[0], flips=Interval(0.2, 0.1, 0.4, 20))
    model = replace(model, words=(word,), noise=replace(model.noise, changed=0.02))
    for n_copies, matters in ((1, True), (4, False)):
        copies = tuple(row // n_copies for row in range(20))
        assert ("matters most" in verdict(replace(found, models=(model,), copies=copies))) == matters


@pytest.mark.parametrize(("n_right", "says"), [(3, ""), (8, "Calibration removes 40 % of it.")])
def test_a_scorer_is_said_to_remove_what_chance_would_not(n_right: int, says: str) -> None:
    found = _sensitivity(_needs("number", "m"), families=("surface", "deletion"), scorers=("calibrated",))
    (model,) = found.models
    worst = model.overall.worst
    table = [[float(i != worst)] * 20 for i in range(len(model.own.scores))]
    own = replace(model.own, scores=tuple(map(tuple, table)))
    table[worst][:n_right] = [1.0] * n_right
    other = replace(model.scorers[1], scores=tuple(map(tuple, table)))
    said = verdict(replace(found, models=(replace(model, scorers=(own, other)),)))
    assert ("Calibration" in said, says in said) == (bool(says), True)
