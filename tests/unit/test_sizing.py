"""Budgets: tokens that are computed, a search sized to them, and minutes after which the result is there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import toy

from localprompt.comparison.plan import compare, resume_comparison
from localprompt.errors import BudgetExhausted, StoreError
from localprompt.lm.base import unique_tokens
from localprompt.lm.budget import Budget
from localprompt.lm.cached import CachedLM, MemoryAnswers
from localprompt.lm.deadline import Deadline, Rates, Work
from localprompt.lm.metered import MeteredLM
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import configure
from localprompt.optimizers.ape import APE
from localprompt.optimizers.registry import Optimizer, scaled
from localprompt.run import api as runs
from localprompt.run import resume as resuming
from localprompt.run import spec as specs
from localprompt.run.config import RunConfig
from localprompt.run.estimate import Estimate, rehearse
from localprompt.run.models import Models
from localprompt.run.prepare import Prepared, prepare
from localprompt.run.sizing import LEAST_DEV, SHARES, Speed, sized
from localprompt.run.spec import Limits, read_spec
from localprompt.search.evaluator import Evaluator
from localprompt.store import Store
from localprompt.types import Generation, Loglikelihood, Prompt, Sampling, Spend


class Clock:
    """Seconds that pass when a model says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(ScriptedLM):
    """Takes a time for each token that it computes, on a clock of its own."""

    def __init__(self, clock: Clock, rate: float, name: str = "slow", answer: toy.Answer = toy.answer) -> None:
        super().__init__(name=name, answer=answer, logprob=toy.logprob)
        self.clock = clock
        self.rate = rate

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        found = super().generate(prompts, sampling, seeds)
        self.clock.now += (unique_tokens(self, prompts) + sum(each.n_tokens for each in found)) / self.rate
        return found

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        self.clock.now += unique_tokens(self, [context + answer for context, answer in pairs]) / self.rate
        return super().loglikelihood(pairs)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all deadlines."""
    clock = Clock()
    monkeypatch.setattr(specs, "Deadline", lambda minutes: Deadline(minutes, clock))
    monkeypatch.setattr("localprompt.lm.metered.time.monotonic", clock)
    monkeypatch.setattr("localprompt.run.sizing.time.monotonic", clock)
    return clock


def test_each_prefix_of_a_call_counts_once_and_what_is_drawn() -> None:
    lm = toy.model(answer=lambda prompt, seed: "one two", logprob=lambda context, continuation: -1.0)
    for model in (lm, CachedLM(lm, MemoryAnswers())):
        budget = Budget()
        metered = MeteredLM(model, budget)
        metered.loglikelihood([("a b c", " x"), ("a b c", " y"), ("a b d", " x")], calls=2)
        assert budget.spend.tokens_computed == 5 + 2
        metered.generate(["a b", "a c"], Sampling(max_tokens=10), [0, 0])
        assert budget.spend.tokens_computed == 7 + 3 + 4


def test_known_answers_cost_the_same_and_the_count_is_known_without_a_model() -> None:
    answers = MemoryAnswers()
    spends = []
    for lm in (toy.model(), toy.model()):
        budget = Budget()
        cached = CachedLM(lm, answers)
        MeteredLM(cached, budget).generate(["a b", "a c"], Sampling(max_tokens=4), [0, 1])
        cached.flush()
        spends.append(replace(budget.spend, seconds=0, tokens_decoded=0, answers_cached=0))
    assert spends[0] == spends[1]
    assert spends[0].tokens_computed > 0


def test_a_limit_on_requested_tokens_keeps_its_meaning() -> None:
    budget = Budget(max_requested=10)
    with pytest.raises(BudgetExhausted, match="up to 12 requested tokens and 10 of 10"):
        MeteredLM(toy.model(), budget).loglikelihood([("a b c", " x"), ("a b c", " y"), ("a b c", " z")], calls=1)
    assert budget.spend.calls == 0


def test_sizes_follow_a_share_and_what_is_fixed_stays() -> None:
    ape = configure("ape", {"per_query": 6, "queries": 8})
    small = scaled(ape, 0.25, ("per_query",))
    assert (small.queries, small.per_query) == (4, 6)  # type: ignore[attr-defined]
    assert scaled(ape, 1, ()) == ape
    assert scaled(ape, 1e-9, ()).queries == 2  # type: ignore[attr-defined]


def _ready_and_cost(
    limits: Limits, settings: dict[str, object] | None = None, preset: str = "local"
) -> tuple[Prepared, Estimate]:
    lm = toy.model()
    spec = read_spec(toy.task(dev=200), ("ape", preset, settings or {}), 0, limits, allow_code=False)
    return sized(prepare(spec, Models(lm, lm)), Speed({}))


def _sized(limits: Limits, settings: dict[str, object] | None = None, preset: str = "local") -> specs.RunSpec:
    return _ready_and_cost(limits, settings, preset)[0].spec


def test_a_small_budget_makes_a_small_search_that_fits_it() -> None:
    def expected(limits: Limits) -> tuple[int, int, int]:
        ready, cost = _ready_and_cost(limits)
        return cost.tokens_computed, len(ready.spec.placed.dev), cost.proposals

    tokens = [500, 4_000, 20_000, 200_000]
    found = [expected(Limits(max_tokens=each)) for each in tokens]
    assert all(cost <= each for (cost, _, _), each in zip(found, tokens, strict=True))
    assert [n for _, n, _ in found] == sorted(n for _, n, _ in found)
    assert found[0][1] == LEAST_DEV
    assert found[-1][1] == 200
    assert found[0][2] < found[-1][2]
    assert runs.dry_run(toy.task(dev=200), toy.model(), max_tokens=4_000, method="ape").tokens_computed == found[1][0]


def test_single_settings_go_ahead_where_all_together_do_not_fit_the_next_size() -> None:
    ready, cost = _ready_and_cost(Limits(max_tokens=5_000))
    together = [scaled(configure("ape", {}), share, ()) for share in SHARES]

    def computed(optimizer: Optimizer) -> int:
        free = replace(ready.spec, optimizer=optimizer, limits=Limits())
        return rehearse(free, ready.models, {}, None).cost.tokens_computed

    n = next(n for n, each in enumerate(together) if computed(each) > 5_000)
    assert cost.tokens_computed <= computed(ready.spec.optimizer) <= 5_000

    def sizes(optimizer: Optimizer) -> list[int]:
        return [getattr(optimizer, name) for name in APE.SCALES]

    found, least, most = sizes(ready.spec.optimizer), sizes(together[n - 1]), sizes(together[n + 3])
    assert found != least
    assert all(low <= size <= high for low, size, high in zip(least, found, most, strict=True))
    assert _sized(Limits(max_tokens=5_000), {"queries": 2}).optimizer.queries == 2  # type: ignore[attr-defined]


def test_what_the_user_or_a_paper_fixes_no_budget_changes() -> None:
    assert _sized(Limits(max_tokens=500), {"queries": 9}).optimizer.queries == 9  # type: ignore[attr-defined]
    paper = _sized(Limits(max_tokens=500), preset="paper")
    assert paper.optimizer == configure("ape", {}, "paper")
    assert paper.n_dev is None
    free = _sized(Limits())
    assert (free.optimizer, free.n_dev) == (configure("ape", {}), None)


def test_a_search_that_has_no_room_for_a_single_prompt_says_so_before_it_begins() -> None:
    def told(limits: int | None, method: str = "ape", preset: str = "local") -> list[str]:
        diary = toy.Diary()
        runs.dry_run(toy.task(), toy.model(), method=method, preset=preset, max_tokens=limits, observer=diary)
        return [note for note in diary.notes if "single prompt" in note]

    said = r"protegi is not expected to write a single prompt within 60 tokens: in this size it takes about "
    for method, preset in (("protegi", "paper"), ("protegi", "local"), ("ape", "local"), ("pe2", "local")):
        (note,) = told(60, method, preset)
        found = re.fullmatch(said.replace("protegi", method) + r"([\d,]+) tokens and [\d,]+ calls", note)
        assert found is not None, note
        assert told(int(found[1].replace(",", "")), method, preset) == []
    assert told(50_000, "protegi") == told(None) == told(60, "manual") == []


def test_a_method_that_never_writes_sees_as_much_of_dev_as_its_budget_allows() -> None:
    def seen(max_tokens: int) -> tuple[int, int]:
        cost = runs.dry_run(toy.task(dev=100), toy.model(), method="manual", max_tokens=max_tokens)
        return cost.sizes.get("dev_examples", 100), cost.evaluations

    assert seen(100_000) == (100, 100)
    assert seen(300) == (LEAST_DEV, LEAST_DEV)


def test_dev_is_cut_with_each_label_in_proportion() -> None:
    task = toy.task(dev=90, labels=("yes", "no", "maybe"))
    labels = 30 * ["yes"] + 50 * ["no"] + 10 * ["maybe"]
    dev = [replace(each, targets=(label,)) for each, label in zip(task.dev, labels, strict=True)]
    cut = specs.seen_dev(replace(task, dev=tuple(dev)), 27, 0)
    counts = Counter(each.targets[0] for each in cut)
    assert all(abs(counts[label] - n) <= 1 for label, n in (("yes", 9), ("no", 15), ("maybe", 3)))
    assert [each.id for each in cut] == [each.id for each in dev if each.id in {example.id for example in cut}]


def test_dev_is_cut_and_so_it_is_again_when_the_run_goes_on() -> None:
    task = toy.task(dev=200)
    first = runs.optimize(task, toy.model(), max_tokens=1000)
    with Store() as store:
        config = RunConfig.read(store.runs.get(first.run_id).configuration)
    assert config.n_dev == LEAST_DEV
    assert first.dev is not None
    assert first.dev.n == LEAST_DEV
    again = resuming.replay(first.run_id)
    assert replace(again, spend=first.spend, final_evaluation=first.final_evaluation) == first
    longer = resuming.resume(first.run_id, model=toy.model(), max_tokens=100_000)
    assert longer.dev is not None
    assert longer.dev.n == LEAST_DEV
    assert first.expected is not None
    assert longer.expected is not None
    assert longer.expected.sizes == first.expected.sizes


@pytest.mark.parametrize(
    ("method", "rate"),
    [("ape", 2.0), ("ape", 20.0), ("ape", 5000.0), ("opro", 20.0), ("protegi", 20.0), ("pe2", 20.0), ("random", 20.0)],
)
def test_after_the_minutes_there_is_a_finished_result(clock: Clock, method: str, rate: float) -> None:
    task = toy.task(dev=100, test=200)
    result = runs.optimize(task, Slow(clock, rate), method=method, max_minutes=1, use_cache=False)
    assert result.status == "finished"
    assert result.test is not None
    if rate > 2:  # else not even the least fits
        assert clock.now <= 66
        assert result.test.seed.n >= 8
    else:
        assert result.best == result.seed_prompt


@pytest.mark.parametrize(("method", "preset"), [("random", "local"), ("ape", "paper")])
def test_a_search_that_minutes_end_is_expected_to_take_no_more_than_those(
    clock: Clock, method: str, preset: str
) -> None:
    task = toy.task(train=60, dev=60, test=60)
    expected = runs.dry_run(task, Slow(clock, 80), method=method, preset=preset, max_minutes=1)
    assert expected.seconds is not None
    assert 20 < expected.seconds <= 60
    assert 1000 < expected.tokens_computed < 80 * 60


def test_more_minutes_measure_more_of_test(clock: Clock) -> None:
    found = []
    for minutes in (1, 3, 10):
        clock.now = 0.0
        result = runs.optimize(toy.task(dev=100, test=200), Slow(clock, 15), max_minutes=minutes, use_cache=False)
        assert clock.now <= 66 * minutes
        assert result.test is not None
        found.append((result.test.best.mean, result.test.seed.n, result))
    assert [n for _, n, _ in found] == sorted(n for _, n, _ in found)
    assert found[0][1] < 200 == found[-1][1]
    first = found[0][2]
    assert f"resume {first.run_id} --model MODEL --max-minutes N` tests more" in first.notes[0]
    rest = resuming.resume(first.run_id, model=Slow(clock, 15), max_minutes=10)
    assert rest.test is not None
    assert rest.test.seed.n == 200
    assert found[-1][0] == 1.0


def test_a_final_evaluation_that_is_slower_than_the_search_keeps_the_promise(clock: Clock) -> None:
    """As it is where the winner shows many examples: its tokens stand behind thousands of others."""

    class Slowing(toy.Diary):
        def stage(self, text: str) -> None:
            if "again on dev" in text:
                lm.rate /= 1.8

    lm = Slow(clock, 80)
    task = toy.task(dev=100, test=600, labels=("even", "odd"))
    result = runs.optimize(task, lm, method="random", max_minutes=1, use_cache=False, observer=Slowing())
    assert clock.now <= 66
    assert 50 < toy.on_test(result).best.n < 600


def test_a_call_of_many_chunks_is_expected_to_take_as_long_again(clock: Clock) -> None:
    """With twenty labels a chunk has few rows, and what all begin with is a large part of each."""
    labels = tuple(f"label {i} of the many that there are" for i in range(20))
    prompt = Prompt(" ".join(f"word{i}" for i in range(600)))
    lm, deadline = Slow(clock, 900), Deadline(100, clock)
    deadline.expect({lm.facts.fingerprint: Rates(900, 900)}, {})
    task = toy.task(dev=100, test=100, labels=labels)
    evaluator = Evaluator(CachedLM(lm, MemoryAnswers()), task, Budget(deadline=deadline))
    evaluator.evaluate([prompt], task.dev)
    assert clock.now > 1.2 * evaluator.work([prompt], task.test).read / 900, "its chunks read more than is planned"
    assert deadline.seconds(evaluator.work([prompt], task.test)) == pytest.approx(clock.now, rel=0.1)


def test_a_run_that_a_deadline_ended_is_repeated_without_a_clock(clock: Clock) -> None:
    task = toy.task(dev=100, test=200)
    first = runs.optimize(task, Slow(clock, 25), method="protegi", settings={"rounds": 9}, max_minutes=1)
    assert first.refused
    assert "there was time for" in " ".join(first.notes)
    again = resuming.replay(first.run_id)
    apart = {"spend": Spend(), "final_evaluation": Spend()}
    assert replace(again, **apart) == replace(first, **apart)  # type: ignore[arg-type]
    assert again.spend.tokens_computed == first.spend.tokens_computed
    assert again.final_evaluation.tokens_computed == first.final_evaluation.tokens_computed
    assert resuming.resume(first.run_id, model=Slow(clock, 25), pause_after=5) == first, "that gives it no more time"
    clock.now = 0.0
    longer = resuming.resume(first.run_id, model=Slow(clock, 25), max_minutes=10)
    assert clock.now <= 660
    assert longer.spend.calls > first.spend.calls


def test_a_deadline_learns_how_slow_a_machine_is_and_how_long_completions_are() -> None:
    clock = Clock()
    deadline = Deadline(10, clock)
    deadline.expect({"m": Rates(100.0, 10.0), "other": Rates(100.0, 10.0)}, {})
    assert deadline.seconds(Work("m", 1000)) == pytest.approx(10)
    assert deadline.seconds(Work("m", 0, 10, 10)) == pytest.approx(5), "half of what may be drawn"
    deadline.expect({}, {10: 2.0})
    assert deadline.seconds(Work("m", 0, 10, 10)) == pytest.approx(2)
    deadline.learn(Work("m", 1000), 0, 50.0)
    assert deadline.seconds(Work("m", 1000)) > 40
    assert deadline.seconds(Work("other", 1000)) == pytest.approx(10), "each model has a pace of its own"
    for _ in range(20):
        deadline.learn(Work("m", 1000), 0, 10.0)
    assert deadline.seconds(Work("m", 1000)) == pytest.approx(10, rel=0.1)
    deadline.learn(Work("m", 0, 10, 10), 100, 10.0)
    assert deadline.seconds(Work("m", 0, 10, 10)) > 5


def test_a_machine_that_gets_slower_leaves_the_search_its_share_of_the_minutes() -> None:
    clock = Clock()
    deadline = Deadline(1 / 0.97, clock)
    deadline.expect({"m": Rates(100.0, 100.0)}, {})
    deadline.reserve([Work("m", 3000)], 0.35)
    assert deadline.left_for_search == pytest.approx(60 - 21), "a half of it needs more than may be kept"
    for _ in range(20):
        deadline.learn(Work("m", 100), 0, 5.0)
    assert deadline.left_for_search == pytest.approx(60 - 21)
    deadline.reserve([Work("m", 100)], 0.35)
    assert deadline.left_for_search == pytest.approx(60 - 5, rel=0.01)
    for _ in range(20):
        deadline.learn(Work("m", 100), 0, 1.0)
    assert deadline.left_for_search == pytest.approx(60 - 1, rel=0.01), "what is not needed is the search's"


def test_answers_much_shorter_than_they_may_be_do_not_end_a_search(clock: Clock) -> None:
    task = replace(toy.task(dev=100, test=100), sampling=Sampling(max_tokens=512))
    result = runs.optimize(task, Slow(clock, 300), method="protegi", max_minutes=2)
    assert result.dev is not None
    assert result.spend.calls > 100
    assert clock.now <= 132


def test_a_slow_proposer_is_known_to_be_slow(clock: Clock) -> None:
    lm, proposer = Slow(clock, 500), Slow(clock, 20, "writer")
    assert lm.facts.fingerprint != proposer.facts.fingerprint
    result = runs.optimize(toy.task(dev=60, test=60), lm, proposer=proposer, max_minutes=1)
    assert clock.now <= 66
    assert result.found_better


@pytest.mark.parametrize("limits", [{"max_tokens": 400}, {"max_calls": 12}, {}])
@pytest.mark.parametrize("method", ["ape", "pe2", "random"])
def test_a_replay_repeats_a_run_with_whatever_limits(method: str, limits: dict[str, int]) -> None:
    lm = toy.model(answer=lambda p, s: toy.answer(p, s) if toy.is_asked_to_write(p) or s % 2 == 0 else "no idea")
    first = runs.optimize(toy.task(dev=40), lm, method=method, **limits)  # type: ignore[arg-type]
    again = resuming.replay(first.run_id)
    assert replace(again, spend=first.spend, final_evaluation=first.final_evaluation) == first


def test_what_a_refused_call_computed_is_not_charged_and_the_replay_spends_the_same(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localprompt.lm.cached.CHUNK", 16)
    first = runs.optimize(toy.task(dev=100, test=100), Slow(clock, 20), method="protegi", max_minutes=1)
    assert first.refused
    again = resuming.replay(first.run_id)
    logical = ("tokens_requested", "tokens_computed", "calls", "answers")
    assert [getattr(again.spend, name) for name in logical] == [getattr(first.spend, name) for name in logical]


def test_a_foreign_model_keeps_the_promise_where_a_run_goes_on(clock: Clock) -> None:
    task = toy.task(dev=100, test=200)
    first = runs.optimize(task, Slow(clock, 20), max_minutes=1)
    assert first.test is not None
    clock.now = 0.0
    longer = resuming.resume(first.run_id, model=Slow(clock, 20), max_minutes=3)
    assert clock.now <= 198
    assert longer.test is not None
    assert longer.test.best.n > first.test.best.n


def _never_right(prompt: str, seed: int) -> str:
    """A model that writes 64 instructions, none of use."""
    names = ("sort", "weigh", "count", "paint", "fold", "mark", "lift", "bend")
    written = f"{names[seed % 8]} and {names[seed // 8 % 8]}"
    return f" {written} it." if toy.is_asked_to_write(prompt) else " no idea"


def test_a_replay_of_minutes_that_were_interrupted_measures_what_the_store_has(clock: Clock) -> None:
    class Interrupted(Slow):
        def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
            if any(re.search(r"alpha[6-9]\d\n", prompt) for prompt in prompts):  # of test
                raise KeyboardInterrupt
            return super().generate(prompts, sampling, seeds)

    with pytest.raises(KeyboardInterrupt):
        runs.optimize(toy.task(), Interrupted(clock, 200), method="random", max_minutes=2)
    with Store() as store:
        (record,) = store.runs.all()
    assert resuming.replay(record.id).noise is not None


@pytest.mark.parametrize(
    ("first", "then"), [({}, {"max_minutes": 99.0}), ({"max_minutes": 99.0}, {"pause_after": 99.0})]
)
def test_the_minutes_of_any_session_are_used_and_its_replay_goes_as_far(
    clock: Clock, first: dict[str, float], then: dict[str, float]
) -> None:
    """Random search ends after `proposals`, but under a limit goes on until nothing new comes."""

    def answer(prompt: str, seed: int) -> str:
        if next(left) == 0:
            raise KeyboardInterrupt
        return _never_right(prompt, seed)

    left = iter(range(99, -1, -1))
    task, few = toy.task(dev=20, test=20), {"proposals": 8}
    with pytest.raises(KeyboardInterrupt):
        runs.optimize(task, Slow(clock, 100, answer=answer), method="random", settings=few, **first)  # type: ignore[arg-type]
    with Store() as store:
        run_id = store.runs.all()[0].id
    clock.now = 0.0
    found = resuming.resume(run_id, model=Slow(clock, 100, answer=_never_right), **then)  # type: ignore[arg-type]
    with Store() as store:
        assert len(store.runs.candidates(run_id)) > 20
    apart = {"spend": Spend(), "final_evaluation": Spend()}
    again = resuming.replay(run_id)
    assert again.spend.calls == found.spend.calls
    assert replace(again, **apart) == replace(found, **apart)  # type: ignore[arg-type]


def test_a_run_that_minutes_cut_is_not_compared_with_others() -> None:
    task = toy.task(dev=30, test=30)
    compared = compare([task], toy.model(), methods=["manual"], n_seeds=1, max_tokens=5000)
    (run_id,) = (run.result.run_id for run in compared.runs)
    with Store() as store:
        result = dict(store.runs.get(run_id).result or {})
        store.runs.update(run_id, result={**result, "refused": [3]})
    with pytest.raises(StoreError, match="left out test examples"):
        resume_comparison(compared.id)
    again = compare([task], toy.model(), methods=["manual"], n_seeds=1, max_tokens=5000)
    assert again.runs[0].result.run_id != run_id


def test_the_last_examples_are_measured_too_where_there_is_time(clock: Clock) -> None:
    result = runs.optimize(toy.task(dev=30, test=15), Slow(clock, 500), max_minutes=1)
    assert result.test is not None
    assert result.test.best.n == 15


def test_the_minutes_that_a_run_was_begun_with_hold_beside_another_limit(clock: Clock) -> None:
    first = runs.optimize(toy.task(dev=100, test=600), Slow(clock, 20), max_minutes=1)
    clock.now = 0.0
    diary, told = toy.Diary(), "it has --max-minutes 1, as at first; more of them take it further"
    assert resuming.resume(first.run_id, model=Slow(clock, 20), max_calls=100_000, observer=diary).test is not None
    assert clock.now <= 66
    assert told in diary.notes, "only minutes let it go much further"
    again = toy.Diary()
    resuming.resume(first.run_id, model=Slow(clock, 20), max_minutes=2, observer=again)
    assert told not in again.notes
