"""Requests that kill the engine: the others are answered, and nobody dies of them twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

from localprompt.cli.output import print_evaluation
from localprompt.cli.show import print_run
from localprompt.engine.process import RequestsDied
from localprompt.engine.settings import EngineSettings
from localprompt.errors import BudgetExhausted
from localprompt.exports.winner import find, winner
from localprompt.lm import local
from localprompt.lm.budget import Budget
from localprompt.lm.cached import CachedLM, MemoryAnswers
from localprompt.lm.metered import MeteredLM
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers.protegi import ProTeGi
from localprompt.proposals.parsing import ReplyFormat
from localprompt.run import api as runs
from localprompt.run import resume as resuming
from localprompt.search.evaluator import Evaluator
from localprompt.search.problem import Problem
from localprompt.search.proposer import Request
from localprompt.store import Store
from localprompt.types import Generation, Loglikelihood, Prompt, Sampling

GREEDY = Sampling(max_tokens=4)
BEST = Prompt(toy.BEST)


def _answer(prompt: str, seed: int) -> str:
    return toy.answer(prompt, seed) if "alpha" in prompt else "yes"


def _logprob(context: str, continuation: str) -> float:
    return toy.logprob(context, continuation) if "alpha" in context else -4.0


class Mortal(ScriptedLM):
    """Dies of every request that holds one of some words; gives up the search where `is_broken`."""

    def __init__(self, *killing: str, is_broken: bool = False, **rules: Any) -> None:
        super().__init__(**{"answer": _answer, "logprob": _logprob, "name": "mortal", **rules})
        self.deaths = 0
        self._killing = killing
        self._is_broken = is_broken

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        alive = self._living([context + continuation for context, continuation in pairs])
        return self._unless_dead(alive, super().loglikelihood([pairs[i] for i in alive]), len(pairs))

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        alive = self._living(prompts)
        found = super().generate([prompts[i] for i in alive], sampling, [seeds[i] for i in alive])
        return self._unless_dead(alive, found, len(prompts))

    def _living(self, texts: Sequence[str]) -> list[int]:
        return [i for i, text in enumerate(texts) if not any(word in text for word in self._killing)]

    def _unless_dead(self, alive: Sequence[int], found: list[Any], n: int) -> list[Any]:
        if len(alive) == n:
            return found
        self.deaths += 1
        results = dict(zip(alive, found, strict=True))
        killers = () if self._is_broken else [i for i in range(n) if i not in results]
        raise RequestsDied("requests killed", "", [results.get(i) for i in range(n)], killers)


class DiesOfCounting(Mortal):
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._unless_dead(self._living(texts), [1] * len(self._living(texts)), len(texts))


@pytest.mark.parametrize("kind", [Mortal, DiesOfCounting])
def test_the_others_are_answered_and_a_replay_does_not_die_again(kind: type[Mortal]) -> None:
    answers, first, second = MemoryAnswers(), kind("bad"), kind("bad")
    lm = CachedLM(first, answers)
    good, bad = lm.generate(["good", "bad"], GREEDY, [0, 0])
    assert (good.finish_reason, bad) == ("stop", Generation("", 0, "failed"))
    one, two = lm.loglikelihood([("bad", " x"), ("good", " x")])
    assert (one.failed, two.failed, two.logprob) == (True, False, -4.0)
    assert (first.deaths, lm.n_failed) == (2, 2)
    again = CachedLM(second, answers)
    assert again.generate(["good", "bad"], GREEDY, [0, 0]) == [good, bad]
    assert again.loglikelihood([("bad", " x"), ("good", " x")]) == [one, two]
    assert (second.deaths, second.seen, again.n_failed) == (0, [], 2)
    assert again.stats.tokens_requested == lm.stats.tokens_requested


@pytest.mark.parametrize("kind", [Mortal, DiesOfCounting])
def test_a_run_that_is_killed_beside_a_killer_goes_on(kind: type[Mortal]) -> None:
    class EndsAfterOneCommit(MemoryAnswers):
        def put(self, rows: Sequence[tuple[bytes, str, bytes]], run_id: str | None = None) -> None:
            if self.values:
                raise KeyboardInterrupt
            super().put(rows)

    answers = EndsAfterOneCommit()
    with suppress(KeyboardInterrupt):
        CachedLM(kind("bad"), answers).generate(["good", "bad"], GREEDY, [0, 0])
    good, bad = CachedLM(kind("bad"), answers).generate(["good", "bad"], GREEDY, [0, 0])
    assert (good.finish_reason, bad.finish_reason) == ("stop", "failed")


@pytest.mark.parametrize(("texts", "is_broken", "n_kept"), [(["bad1", "bad2"], False, 0), (["bad", "good"], True, 1)])
def test_an_engine_that_may_be_broken_marks_nobody(texts: list[str], is_broken: bool, n_kept: int) -> None:
    answers = MemoryAnswers()
    with pytest.raises(RequestsDied):
        CachedLM(Mortal("bad", is_broken=is_broken), answers).generate(texts, GREEDY, [0, 0])
    assert len(answers.values) == n_kept
    assert CachedLM(Mortal(), answers).generate(["bad", "good"], GREEDY, [0, 0])[0].finish_reason == "stop"


@pytest.mark.parametrize("labels", [(), ("yes", "no")])
def test_an_example_that_kills_scores_nothing_and_is_told_apart(labels: tuple[str, ...]) -> None:
    given = toy.task(labels=labels)
    evaluator = Evaluator(CachedLM(Mortal("alpha21"), MemoryAnswers()), given, Budget())
    (metric,) = evaluator.evaluate([BEST], given.dev)
    (likelihood,) = evaluator.likelihood([BEST], given.dev, norm="sequence")
    for evaluation in (metric, likelihood):
        assert [outcome.example_id for outcome in evaluation.outcomes if outcome.failed] == ["dev:21"]
    assert (metric.outcomes[1].prediction, metric.scores[1]) == (None, 0.0)
    assert likelihood.scores[1] < min(likelihood.scores[:1] + likelihood.scores[2:])


def test_content_free_inputs_that_kill_leave_the_others() -> None:
    given = toy.task(labels=("yes", "no"), label_score="calibrated")
    evaluator = Evaluator(CachedLM(Mortal("N/A"), MemoryAnswers()), given, Budget())
    (evaluation,) = evaluator.evaluate([Prompt("")], given.dev)
    assert not any(outcome.failed for outcome in evaluation.outcomes)


def test_a_run_goes_on_past_its_killers_and_counts_them() -> None:
    lm = Mortal("alpha21\n", "alpha61\n")  # one on dev, one on test
    result = runs.optimize(toy.task(), lm)
    assert result.best == BEST
    assert result.test is not None
    assert (result.dev.mean if result.dev else 0, result.test.best.mean) == (39 / 40, 39 / 40)
    assert result.test.best_unparsed == 0
    assert result.failed == result.to_json()["failed"] > 2
    assert {row["example_id"] for row in result.outcomes if row["failed"]} == {"dev:21", "test:61"}
    second = Mortal()
    assert resuming.replay(result.run_id).failed == result.failed
    assert runs.optimize(toy.task(), second).failed == result.failed
    assert second.seen == []


@pytest.mark.parametrize("labels", [("even", "odd"), ()], ids=["labels", "written"])
def test_an_export_rests_on_rows_that_have_an_answer(labels: tuple[str, ...]) -> None:
    given = toy.task(train=2, dev=4, test=4, labels=labels, label_score="calibrated")
    run = runs.optimize(given, Mortal("alpha2\n"), method="manual").run_id  # the first row of dev
    with Store() as home:
        found = find(home, run, "dev")
    assert len(found.label_priors) == len(labels)
    assert winner(found, Mortal()).example.id == "dev:3"


def test_the_pooled_scores_of_folds_count_killers_apart_from_what_held_no_answer() -> None:
    given = replace(toy.task(train=4, dev=8, test=0), folds=2)
    result = runs.optimize(given, Mortal("alpha7\n"), method="manual")
    assert result.test is not None
    assert (result.test.seed.mean, result.test.seed_unparsed) == (0.0, 0)


def test_an_evaluation_counts_its_killers_apart_from_what_held_no_answer() -> None:
    result = runs.evaluate(toy.task(), Mortal("alpha61\n"), BEST)
    assert (result.failed, result.unparsed, result.score.mean) == (1, 0, 39 / 40)
    assert result.to_json()["failed"] == 1


def test_proposals_that_died_are_discarded_by_that_name() -> None:
    given, budget = toy.task(), Budget()
    lm = CachedLM(Mortal("deadly"), MemoryAnswers())
    problem = Problem(given, Evaluator(lm, given, budget), MeteredLM(lm, budget), rng=random.Random(0))
    requests = [Request(text, ReplyFormat(), Prompt("")) for text in ("deadly alpha7", "Write of alpha7:")]
    dead, alive = problem.proposer.propose(requests, Sampling(max_tokens=20), "", n=4)
    assert (dead.accepted, {each.reason for each in dead.discarded}) == ((), {"engine died"})
    assert alive.accepted
    assert problem.proposer.discards["engine died"] == 4, "it is not asked once more: alone it would end the search"


def test_a_budget_that_ends_beside_a_death_with_nothing_accepted_is_told() -> None:
    given, budget = toy.task(), Budget(max_calls=2)
    lm = CachedLM(Mortal("deadly", answer=lambda prompt, seed: ""), MemoryAnswers())
    problem = Problem(given, Evaluator(lm, given, budget), MeteredLM(lm, budget), rng=random.Random(0))
    requests = [Request(text, ReplyFormat(), Prompt("")) for text in ("deadly", "other")]
    with pytest.raises(BudgetExhausted):
        problem.proposer.propose(requests, Sampling(max_tokens=20), "")


def test_a_group_of_errors_that_kills_is_not_asked_about_again() -> None:
    def answer(prompt: str, seed: int) -> str:
        return f" Say it in way {seed}." if toy.is_asked_to_write(prompt) else toy.answer(prompt, seed)

    given = replace(toy.task(), seeds=(Prompt("Say it."),))
    budget = Budget()
    lm = CachedLM(Mortal("Input: alpha3\nGiven answer", answer=answer), MemoryAnswers())
    problem = Problem(given, Evaluator(lm, given, budget), MeteredLM(lm, budget), rng=random.Random(0))
    # Every train example is wrong and in one of the groups.
    ProTeGi(rounds=1, minibatch=20, groups=4, errors=5, gradients=2, paraphrases=0, spread=False).run(problem)
    assert problem.proposer.discards == {"engine died": 2}
    assert {each.op for each in problem.ranking.candidates} == {"seed", "edit"}


class HalfDead:
    """An engine that dies of its second request, in one of its operations."""

    def __init__(self, deadly: str) -> None:
        self.info = {"n_ctx_train": 100, "start_token": 0}
        self._deadly = deadly

    def map(
        self, op: str, requests: Sequence[Any], progress: object = None, read: Callable[[Any], Any] = lambda each: each
    ) -> list[Any]:
        answer = {"encode": [1], "encode_pairs": ([1], 0), "score": (-1.0, 1, True), "generate": ("x", 1, "stop")}
        results = [read(answer[op]) for _ in requests]
        if op == self._deadly:
            raise RequestsDied("request 1 killed", "", [*results[:1], None, *results[2:]], [1])
        return results


@pytest.mark.parametrize(("deadly", "kept"), [("score", Loglikelihood(-1.0, 1, greedy=True)), ("encode_pairs", None)])
def test_a_local_model_that_dies_has_the_answers_of_the_others_and_no_tokens(
    deadly: str, kept: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(local, "EngineProcess", lambda path, settings, **_: HalfDead(deadly))
    lm = local.LocalModel(tmp_path / "x.gguf", EngineSettings())
    with pytest.raises(RequestsDied) as error:
        lm.loglikelihood([("a", "b"), ("c", "d"), ("e", "f")])
    assert (error.value.results, error.value.killers) == ((kept, None, kept), (1,))


@pytest.mark.parametrize(("deadly", "kept"), [("generate", Generation("x", 1, "stop")), ("encode", None)])
def test_the_same_of_completions(deadly: str, kept: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "EngineProcess", lambda path, settings, **_: HalfDead(deadly))
    with pytest.raises(RequestsDied) as error:
        local.LocalModel(tmp_path / "x.gguf", EngineSettings()).generate(["a", "b"], GREEDY, [0, 0])
    assert error.value.results == (kept, None)


def test_people_are_told_of_killers(capsys: pytest.CaptureFixture[str]) -> None:
    print_run(runs.optimize(toy.task(), Mortal("alpha21\n")), None)
    shown = capsys.readouterr().out
    assert "requests killed the engine: they count as unanswered." in shown
    assert "The final evaluation (noise, choice, test) computed " in shown
    print_evaluation(runs.evaluate(toy.task(), Mortal("alpha61\n"), "Say its omega."))
    assert "1 request killed the engine: they count as unanswered." in capsys.readouterr().out
