"""An estimate runs the method without the model."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import platformdirs
import pytest
import toy

from localprompt.lm.base import tokens_behind, unique_tokens
from localprompt.lm.budget import Budget
from localprompt.lm.deadline import Rates, decodes_of
from localprompt.lm.scripted import ScriptedLM
from localprompt.lm.simulated import SimulatedLM
from localprompt.optimizers import configure, names
from localprompt.optimizers.ape import APE
from localprompt.run.estimate import Estimate, estimate, measured_rates
from localprompt.run.models import Models
from localprompt.run.prepare import Prepared
from localprompt.run.sizing import learn_speed
from localprompt.run.spec import Limits, RunSpec
from localprompt.tasks.answers import find_answer
from localprompt.types import Generation, Prompt, Sampling

QUARTERS = APE(queries=4, per_query=4, resample_rounds=0, tiebreak=False)


def _estimate(method: APE = QUARTERS, *, max_tokens: int | None = None, max_calls: int | None = None) -> Estimate:
    lm = toy.model()
    result = toy.expected(method, toy.task(), lm, rates=Rates(100.0, 50.0), max_tokens=max_tokens, max_calls=max_calls)
    assert (lm.n_generated, lm.n_scored) == (0, 0), "the model itself is asked for nothing"
    return result


def test_the_estimate_is_near_what_a_run_spends() -> None:
    sentence = " write thing {} down and then say in a few plain words what became of the input."
    lm = toy.model(answer=lambda p, s: sentence.replace("{}", str(s)) if toy.is_asked_to_write(p) else toy.answer(p, s))
    budget = Budget()
    QUARTERS.run(toy.problem(lm, budget=budget))
    expected = _estimate()
    assert expected.proposals == 16
    assert expected.proposals + expected.evaluations == pytest.approx(budget.spend.calls, rel=0.2)
    assert expected.tokens_requested == pytest.approx(budget.spend.tokens_requested, rel=0.4)


def test_made_up_answers_are_right_as_often_where_a_number_is_looked_for() -> None:
    lm, task = toy.model(), toy.task()
    climbing = configure("random", {"unproductive": 1})
    expected = toy.expected(climbing, task, lm)
    assert toy.expected(climbing, replace(task, answer=find_answer("last_number")), lm) == expected


def test_the_same_search_has_the_same_estimate() -> None:
    assert _estimate() == _estimate()


def test_shared_prefixes_are_decoded_once() -> None:
    assert 0 < _estimate().tokens_computed < _estimate().tokens_requested / 2


def test_where_a_limit_ends_a_search_it_is_said_how_far_the_length_of_prompts_moves_what_it_takes() -> None:
    free = _estimate()
    assert (free.tokens_least, free.tokens_most) == (None, None)
    ranges = []
    for max_tokens in range(400, free.tokens_computed, 100):
        limited = _estimate(max_tokens=max_tokens)
        assert limited.tokens_least is not None
        assert limited.tokens_most is not None
        assert limited.tokens_least <= limited.tokens_computed <= limited.tokens_most <= max_tokens
        ranges.append(limited.tokens_most / max(1, limited.tokens_least))
    assert max(ranges) > 1.25 > min(ranges), "only where the last step may just fit, or just not"


def test_seconds_follow_from_the_rates() -> None:
    lm = toy.model()
    slow = toy.expected(QUARTERS, toy.task(), lm, rates=Rates(10.0, 5.0))
    fast = toy.expected(QUARTERS, toy.task(), lm, rates=Rates(100.0, 50.0))
    assert slow.seconds is not None
    assert fast.seconds is not None
    assert slow.seconds == pytest.approx(10 * fast.seconds)
    assert toy.expected(QUARTERS, toy.task(), lm).seconds is None


def test_one_completion_by_itself_takes_a_decode_for_each_token() -> None:
    rates = Rates(prefill=100.0, generation=64.0, single=4.0)
    assert rates.seconds(200, 0, 0) == pytest.approx(2.0)
    assert rates.seconds(0, 8, decodes_of(8, 1)) == pytest.approx(2.0), "8 tokens at 4 a second"
    assert rates.seconds(0, 320, decodes_of(320, 32)) == pytest.approx(5.0), "320 tokens at 64 a second"
    assert 2.0 < rates.seconds(0, 16, decodes_of(16, 2)) < 4.0, "two at once: between"
    assert decodes_of(128 * 10, 128) == decodes_of(64 * 20, 64) == 20, "no more at once than there are lanes"
    assert decodes_of(0, 0) == 1, "a call of scores"
    same = Rates(prefill=100.0, generation=64.0)
    assert same.seconds(0, 64, decodes_of(64, 1)) == pytest.approx(1.0), "nothing is known of one by itself"


def test_a_method_that_asks_for_few_replies_at_once_takes_longer_where_one_by_itself_is_slow() -> None:
    def seconds(method: str, rates: Rates) -> float:
        expected = toy.expected(configure(method, {"shots": 0}), toy.task(), toy.model(), rates=rates, max_calls=400)
        assert expected.seconds is not None
        return expected.seconds

    even, uneven = Rates(1e9, 64.0), Rates(1e9, 64.0, single=4.0)
    ape, protegi = (seconds(method, uneven) / seconds(method, even) for method in ("ape", "protegi"))
    assert ape < 1.5 < protegi, "many answers at once hide what one decode costs"


def test_replies_are_expected_to_be_as_long_as_replies_are() -> None:
    lm = SimulatedLM(toy.model(), Sampling(max_tokens=8), 3, 0)
    drawn = [lm.generate(["x"], Sampling(max_tokens=most), [0])[0].n_tokens for most in (1, 50, 125, 4000)]
    assert drawn == [1, 20, 50, 170]
    assert lm.decodes == lm.generated == sum(drawn)
    assert lm.generate(["x"] * 4, Sampling(max_tokens=8), range(4))[0].n_tokens == 3, "an answer"
    assert lm.decodes == sum(drawn) + 3
    lm.loglikelihood([("x", " y"), ("x", " z")])
    assert lm.decodes == sum(drawn) + 4, "scores"


def test_a_limit_ends_the_estimate_where_it_ends_the_run() -> None:
    free, limited = _estimate(), _estimate(max_calls=100)
    assert limited.proposals + limited.evaluations <= 100 < free.proposals + free.evaluations
    assert _estimate(max_tokens=3000).tokens_computed <= 3000


@pytest.mark.parametrize("name", ["auto", "random"])
def test_what_goes_on_until_its_limit_is_expected_to(name: str) -> None:
    method = configure(name, {"orders": 1, "queries": 1} if name == "auto" else {"proposals": 16})
    free = toy.expected(method, toy.task(), toy.model()).tokens_computed
    twice = toy.expected(method, toy.task(), toy.model(), max_tokens=2 * free)
    assert twice.tokens_computed == pytest.approx(2 * free, rel=0.01)


def test_two_models_are_told_apart() -> None:
    task_lm, writer = toy.model(), toy.model(has_chat=False)
    result = toy.expected(QUARTERS, toy.task(), task_lm, writer)
    assert result.proposals == 16
    assert writer.seen == task_lm.seen == []


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("has_chat", [True, False])
def test_every_method_can_be_estimated(name: str, has_chat: bool) -> None:
    lm = toy.model(has_chat=has_chat)
    result = toy.expected(configure(name, {}), toy.task(), lm, max_calls=5000)
    assert lm.seen == []
    assert result.evaluations > 0
    assert (result.proposals > 0) == (name != "manual")


@pytest.mark.parametrize("name", ["opro", "pe2", "protegi"])
@pytest.mark.parametrize("dev", [1, 3])
def test_made_up_answers_to_a_few_dev_rows_end_no_search(name: str, dev: int) -> None:
    """Of many sets of worked examples some would be right on all of them by chance, and nothing would be written."""
    few = replace(toy.task(train=5, dev=dev), layout=toy.SHOWING, seeds=(Prompt("Say it."),))
    assert toy.expected(configure(name, {}), few, toy.model()).proposals > 20


def test_the_ability_to_fill_blanks_is_taken_for_granted() -> None:
    lm = toy.model(has_fim=True)
    assert toy.expected(APE(mode="fim"), toy.task(), lm).proposals >= 48


def test_labels_are_counted_too() -> None:
    lm = toy.model()
    result = toy.expected(QUARTERS, toy.task(labels=("yes", "no")), lm)
    assert result.evaluations > 0
    assert result.tokens_requested > result.tokens_computed


def test_what_is_no_local_model_has_no_rates() -> None:
    assert measured_rates(toy.model()) is None


class Timed(ScriptedLM):
    """A local model by its looks: it reads at one rate after the other, each but the last once."""

    def __init__(self, *rates: float, words: int = 0, shown: int = 0) -> None:
        """`words` in each answer, `shown` where the prompt has worked examples."""
        super().__init__(name="timed", answer=lambda prompt, seed: " word" * (shown if "omega" in prompt else words))
        self.rates = list(rates)
        self.probes: list[int] = []
        self.drawn: list[int] = []

    def prefill_rate(self, n_tokens: int = 512) -> float:
        self.probes.append(n_tokens)
        return self.rates.pop(0) if len(self.rates) > 1 else self.rates[0]

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        self.drawn.append(sampling.max_tokens)
        return super().generate(prompts, sampling, seeds)


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path))
    return tmp_path / "rates.json"


def test_a_model_that_ends_every_completion_at_once_has_a_rate(memory: Path) -> None:
    lm = Timed(10.0, 10.0, 10.0, 20.0)  # two probes tell how much to measure
    rates = measured_rates(lm)
    assert rates is not None
    assert rates.prefill == 20.0, "the faster of two tries"
    assert rates.generation > 0
    assert toy.expected(QUARTERS, toy.task(), toy.model(), rates=rates).seconds is not None


def test_rates_of_a_busy_machine_are_not_remembered_for_ever(memory: Path) -> None:
    measured_rates(Timed(10.0))
    slow, fast = measured_rates(Timed(9.0)), measured_rates(Timed(100.0, 100.0, 100.0, 80.0, 90.0))
    assert slow is not None
    assert fast is not None
    assert (slow.prefill, fast.prefill) == (10.0, 90.0)


@pytest.mark.parametrize("value", ["[10.0, 0.0, 1.0]", "[10.0, 9.0]", '"x"', "{}", "{"])
def test_a_memory_of_what_is_no_rate_is_measured_anew(value: str, memory: Path) -> None:
    memory.write_text(f'{{"scripted-timed": {value}}}')
    rates = measured_rates(Timed(40.0))
    assert rates is not None
    assert rates.prefill == 40.0


@pytest.mark.parametrize(("rate", "n_drawn"), [(5.0, 2), (30.0, 4), (100.0, 8), (200.0, 12), (3000.0, 12)])
def test_rates_are_measured_in_seconds_whatever_the_speed(rate: float, n_drawn: int, memory: Path) -> None:
    lm = Timed(rate)
    measured_rates(lm)
    assert sum(lm.probes) / rate < 17
    assert lm.drawn[::2] == [n_drawn, n_drawn], "of many completions"
    assert max(lm.drawn[1::2]) <= 16, "of one by itself"
    again = Timed(rate)
    measured_rates(again)
    assert again.drawn == []
    assert sum(again.probes) / rate < 3.5


def test_the_first_token_of_a_completion_is_not_counted_as_drawn(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes with the prompt, so of few tokens each it would be a large part of what is divided by the time."""
    monkeypatch.setattr("time.perf_counter", itertools.count().__next__)
    few, many = measured_rates(Timed(30.0, words=20)), measured_rates(Timed(300.0, words=20))
    assert few is not None
    assert many is not None
    assert few.single == 15.0
    assert few.generation == 32 * 3
    assert many.generation == 32 * 11


def _ready(lm: ScriptedLM, sampling: Sampling, *, labels: tuple[str, ...] = ()) -> Prepared:
    task = replace(toy.task(labels=labels), sampling=sampling)
    return Prepared(RunSpec(task, "ape", QUARTERS, 0, Limits()), Models(lm, lm))


def test_answers_are_expected_to_be_as_long_as_the_model_writes_them(memory: Path) -> None:
    """Targets have one word each; what a small model writes, or one that reasons first, has many."""
    brief, wordy = (Timed(30.0, words=n) for n in (1, 7))
    lengths = [learn_speed(_ready(lm, Sampling(max_tokens=50))).n_answer for lm in (brief, wordy)]
    assert lengths == [1, 7]
    short, long = (
        estimate(ready.spec, ready.models, n_answer=n).tokens_computed
        for ready, n in zip((_ready(lm, Sampling(max_tokens=50)) for lm in (brief, wordy)), lengths, strict=True)
    )
    assert long > short + 5 * 40, "40 rows of dev, for each prompt that is measured on all of them"


@pytest.mark.parametrize(("most", "n"), [(8, 8), (64, 8), (200, 2), (4000, 1)])
def test_long_answers_are_tried_on_fewer_rows(most: int, n: int, memory: Path) -> None:
    lm = Timed(30.0, words=1)
    measured_rates(lm)
    before = lm.n_generated
    learn_speed(_ready(lm, Sampling(max_tokens=most)))
    assert lm.n_generated - before == n


def test_a_prompt_with_worked_examples_is_tried_too_where_there_is_a_place_for_them(memory: Path) -> None:
    lm = Timed(30.0, words=5, shown=1)
    ready = _ready(lm, Sampling(max_tokens=8))
    shown = replace(ready, spec=replace(ready.spec, task=replace(ready.spec.task, layout=toy.SHOWING)))
    none = replace(shown, spec=replace(shown.spec, task=replace(shown.spec.task, train=())))
    assert [learn_speed(each).n_answer for each in (ready, shown, none)] == [5, 3, 5]


def test_an_answer_of_a_rehearsal_may_have_a_part_of_a_token() -> None:
    lm = SimulatedLM(toy.model(), Sampling(max_tokens=8), 2.25, 0)
    drawn = [each.n_tokens for each in lm.generate(["x"] * 8, Sampling(max_tokens=8), range(8))]
    assert (sum(drawn), max(drawn)) == (18, 3)


def test_for_an_estimate_no_foreign_model_and_no_task_with_labels_is_tried(memory: Path) -> None:
    foreign, local = toy.model(), Timed(30.0)
    assert learn_speed(_ready(foreign, Sampling(max_tokens=8))).n_answer is None
    assert foreign.seen == []
    assert learn_speed(_ready(local, Sampling(max_tokens=8), labels=("yes", "no"))).n_answer is None


def test_it_is_said_that_rates_are_measured(memory: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "localprompt"):
        measured_rates(Timed(30.0))
        measured_rates(Timed(30.0))
    assert [record.getMessage() for record in caplog.records] == [
        "timed: measuring its prompt and generation speed on this machine"
    ]


def test_the_final_evaluation_is_expected_too() -> None:
    expected = _estimate()
    assert expected.final_calls == 3 * 40 + 4 * 7 + 2 * 40, "7 rows of train are not used"
    assert expected.final_tokens_requested > 0
    assert expected.final_seconds is not None
    assert expected.final_seconds > 0


def test_a_rehearsal_tokenises_labels_behind_one_row_and_not_behind_each() -> None:
    class Counting(ScriptedLM):
        n_texts = 0

        def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
            self.n_texts += len(texts)
            return super().tokenize(texts)

    def n_texts(labels: tuple[str, ...]) -> int:
        lm = Counting(answer=toy.answer, logprob=toy.logprob)
        toy.expected(configure("ape", {"shots": 0}), toy.task(dev=60, labels=labels), lm, max_calls=400)
        return lm.n_texts

    assert n_texts(tuple(f"label {i}" for i in range(20))) < 1.5 * n_texts(("label 0", "label 1"))


def test_tokens_of_labels_are_counted_as_if_each_were_read() -> None:
    lm, rows = toy.model(), [f"Row {n}:" for n in range(9)]
    labels = [(row, f" {label}") for row in rows for label in ("yes", "yes and no", "never")]
    own = [(row, f" omega{number}") for number, row in enumerate(rows)]
    for pairs in (labels, own, labels + own, labels[:1] * 3):
        texts = list(dict.fromkeys(context + answer for context, answer in pairs))
        assert tokens_behind(lm, pairs) == (sum(lm.count_tokens(texts)), unique_tokens(lm, texts))
