"""A run from end to end, with a scripted model."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.errors import ConfigError, ContextOverflow, OutOfTime, StoreError, TaskError
from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.loading import scheme
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers.manual import Manual
from localprompt.run import api as runs
from localprompt.run.choice import choose
from localprompt.run.config import RunConfig
from localprompt.run.noise import measure_noise
from localprompt.run.results import NoiseFloor, RunResult
from localprompt.search.evaluator import Evaluator
from localprompt.search.observer import SilentObserver
from localprompt.search.problem import Problem
from localprompt.search.ranking import Standing, choose_winner, contenders
from localprompt.store import Store
from localprompt.tasks import Layout, Task
from localprompt.types import Candidate, Demo, Evaluation, Example, Generation, Outcome, Prompt, Sampling


def test_the_found_prompt_is_measured_once_on_test_against_the_seed() -> None:
    lm = toy.model()
    given = toy.task()
    result = localprompt.optimize(given, lm)
    assert result.best == Prompt(toy.BEST)
    test = toy.on_test(result)
    assert (test.seed.mean, test.best.mean, test.difference.mean) == (0.0, 1.0, 1.0)
    assert (test.best.n, result.verdict) == (len(given.test), "significant improvement")
    on_test = [text for text in lm.seen if any(text.endswith(f"{ex.inputs['input']}\nOutput:") for ex in given.test)]
    assert lm.seen[-len(on_test) :] == on_test
    assert len(on_test) == 2 * len(given.test)


def test_the_test_measurement_is_not_charged_to_the_search() -> None:
    lm = toy.model()
    result = runs.optimize(toy.task(), lm, max_calls=60)
    assert result.spend.calls <= 60
    assert "model calls" in result.stopped
    assert toy.on_test(result).best.n == 40
    assert lm.n_generated == result.spend.calls + result.final_evaluation.calls


def test_the_json_has_its_shape() -> None:
    result = runs.optimize(toy.task(), toy.model(), seed=3, method="ape")
    plain = json.loads(json.dumps(result.to_json()))
    assert plain["best"]["prompt"] == {"instruction": toy.BEST, "demos": []}
    assert set(plain["best"]["dev"]) == {"mean", "low", "high", "n"}
    assert (plain["best"]["dev"]["mean"], plain["best"]["dev"]["n"]) == (1.0, 40)
    assert plain["noise"] == {"floor": 0.0, "changed": 0, "n": 120}
    assert set(plain["test"]) == {"seed", "best", "difference", "constant", "seed_variants", "best_variants"}
    assert set(plain["test"]["seed"]) == set(plain["test"]["best"]) == {"mean", "low", "high", "n", "unparsed"}
    assert set(plain["test"]["difference"]) >= {"mean", "low", "high", "p"}
    assert set(plain["spend"]) == {
        "tokens_requested",
        "tokens_decoded",
        "calls",
        "seconds",
        "answers",
        "answers_cached",
        "tokens_computed",
    }
    assert plain["discards"]["empty"] > 0
    assert (plain["task"], plain["model"], plain["method"]) == ("toy", "scripted", "ape")
    assert len(plain["run_id"]) == 12
    assert RunResult.from_json(plain) == result


def _identity(given: Task, lm: LanguageModel, **choices: object) -> object:
    """What the store counts runs by."""
    with Store() as store:
        result = runs.optimize(given, lm, store=store, **{"method": "ape", **choices})  # type: ignore[arg-type]
        return store.runs.get(result.run_id).configuration["identity"]


def test_the_identity_changes_with_whatever_can_change_the_result() -> None:
    given = toy.task()
    identities = [
        _identity(given, toy.model()),
        _identity(given, toy.model(), seed=1),
        _identity(given, toy.model(), settings={"queries": 2}),
        _identity(given, toy.model(name="other")),
        _identity(replace(given, seeds=(Prompt("Go."),)), toy.model()),
        _identity(given, toy.model(), max_calls=1),
        _identity(given, toy.model(), max_tokens=1),
        _identity(given, toy.model(), max_minutes=60),
    ]
    assert all(first != second for first, second in itertools.combinations(identities, 2))
    assert _identity(given, toy.model(), settings={"queries": "8"}) == identities[0]


def test_stores_with_the_same_history_give_runs_the_same_ids(tmp_path: Path) -> None:
    ids = [
        [runs.optimize(toy.task(), toy.model(), store=tmp_path / name, max_calls=100).run_id for _ in range(2)]
        for name in ("a", "b")
    ]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_the_identity_depends_on_what_a_template_folder_holds_and_not_on_its_path(tmp_path: Path) -> None:
    texts = {"mine": "{{demos}}\n\nIt is to", "same": "{{demos}}\n\nIt is to", "other": "{{demos}}\n\nIt was to"}
    found = {}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "forward.txt").write_text(text, encoding="utf-8")
        found[name] = _identity(toy.task(), toy.model(), settings={"templates": tmp_path / name})
    assert found["mine"] == found["same"] != found["other"]


def test_a_second_run_of_the_same_kind_computes_nothing() -> None:
    first, second = toy.model(), toy.model()
    before = runs.optimize(toy.task(), first)
    after = runs.optimize(toy.task(), second)
    assert second.seen == []
    assert (after.spend.hit_rate, after.spend.tokens_decoded) == (1.0, 0)
    assert after.spend.tokens_requested == before.spend.tokens_requested
    assert (after.best, after.test, after.run_id) == (before.best, before.test, after.run_id)
    assert after.run_id != before.run_id


def test_without_the_cache_a_run_shares_nothing() -> None:
    models = [toy.model() for _ in range(3)]
    for lm, use_cache in zip(models, (True, False, True), strict=True):
        runs.optimize(toy.task(), lm, use_cache=use_cache)
    assert sorted(models[1].seen) == sorted(models[0].seen)
    assert models[2].seen == []


def test_an_evaluation_takes_what_is_known_from_the_store() -> None:
    lm = toy.model()
    first = runs.evaluate(toy.task(), lm, toy.BEST)
    n = len(lm.seen)
    again = runs.evaluate(toy.task(), lm, toy.BEST)
    assert (len(lm.seen), again.score) == (n, first.score)
    assert again.spend.tokens_requested == first.spend.tokens_requested
    runs.evaluate(toy.task(), lm, toy.BEST, use_cache=False)
    assert len(lm.seen) == 2 * n


def test_minutes_that_are_over_pause_a_run_with_its_best_so_far() -> None:
    result = runs.optimize(toy.task(), toy.model(), pause_after=1e-9)
    assert (result.status, result.verdict) == ("paused", "nothing was compared")
    assert "minutes are over" in result.stopped


def test_a_pause_looks_at_no_row_of_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Manual, problem: Problem) -> None:
        problem.evaluate([*problem.seeds, Prompt(toy.BEST)])
        if is_over[0] and not problem.is_rehearsal:
            raise OutOfTime("the 5 minutes are over")

    is_over = [True]
    monkeypatch.setattr(Manual, "run", run)
    paused = runs.optimize(toy.task(), lm := toy.model(), method="manual")
    assert (paused.best, paused.noise, paused.test) == (Prompt(toy.BEST), None, None)
    assert paused.verdict == "not measured on test"
    assert not any("alpha6" in text for text in lm.seen)
    is_over[0] = False
    whole = localprompt.resume(paused.run_id, model=toy.model())
    assert toy.on_test(whole).best.n == 40
    assert not any("not a single look" in note for note in whole.notes)


def _wavering(prompt: str, seed: int) -> str:
    """Asked a second time about dev, a model that now and then changes its mind."""
    key = prompt.rpartition("Input:")[2]
    number = int("".join(c for c in key if c.isdigit()) or 0)
    _asked[prompt] = _asked.get(prompt, 0) + 1
    wavers = "omega" in prompt and _asked[prompt] > 1 and number % 4 == 0
    return " no idea" if wavers else toy.answer(prompt, seed)


_asked: dict[str, int] = {}


def test_the_noise_floor_is_the_change_of_a_mean_on_measuring_again() -> None:
    _asked.clear()
    result = runs.optimize(toy.task(), toy.model(answer=_wavering), settings={"tiebreak": False}, method="ape")
    assert result.noise is not None
    assert (result.noise.floor, result.noise.changed) == (0.25, 10)


def test_the_second_best_is_measured_again_also_where_it_is_hardly_ahead_of_the_seed() -> None:
    """One of two paraphrases is right everywhere, the other on one row more than the seed, within its error."""
    seed = Prompt("Say something about the alpha.")

    def answer(prompt: str, seed: int) -> str:
        if toy.is_asked_to_write(prompt):
            return f" {toy.BEST}" if seed % 2 else " Speak of alphas."
        if "Speak of alphas." in prompt:
            n = int(prompt.rpartition("alpha")[2].split()[0])
            return f" omega{n}" if n % 2 == 0 or n == 21 else " no idea"
        return toy.answer(prompt, seed)

    given = replace(toy.task(), seeds=(seed,))
    result = runs.optimize(given, toy.model(answer=answer), method="random", settings={"proposals": 16})
    assert result.noise is not None
    assert result.noise.n == 3 * 40


def _alone_or_not(prompts: list[str]) -> bool:
    """Whether a batch holds one instruction alone."""
    return len({prompt.rpartition("Input:")[0] for prompt in prompts}) == 1


def test_a_seed_that_is_known_on_a_few_examples_only_says_nothing_about_the_noise_of_all_of_dev() -> None:
    """The second stage does not fit the budget, and what is left measures the best prompt and not the empty seed."""
    settings = {"stages": "6,34", "keep": 1.0, "finalists": 1, "queries": 8, "per_query": 6, "tiebreak": True}
    result = runs.optimize(toy.task(), toy.model(), preset="paper", settings=settings, max_calls=170, method="ape")
    assert result.dev is not None
    assert result.noise is not None
    assert (result.op, result.dev.n, result.noise.n) == ("forward", 40, 40)


class Sensitive(ScriptedLM):
    """Answers otherwise in company than alone."""

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        found = super().generate(prompts, sampling, seeds)
        if toy.is_asked_to_write(prompts[0]) or _alone_or_not(list(prompts)):
            return found
        return [
            replace(each, text="no idea") if "alpha21\n" in p else each for p, each in zip(prompts, found, strict=True)
        ]


def test_a_prompt_that_was_measured_alone_is_measured_again_in_company() -> None:
    given, lm = toy.task(), Sensitive(answer=toy.answer, logprob=toy.logprob)
    prompts = [Prompt(toy.BEST), Prompt("Say something about the alpha.")]
    alone = [Evaluator(lm, given, Budget()).evaluate([prompt], given.dev)[0] for prompt in prompts]
    budget = Budget()
    noise = measure_noise(Evaluator(lm, given, budget).evaluate, given.dev, alone)
    assert (noise.floor, noise.changed, noise.n, budget.spend.calls) == (1 / 40, 1, 80, 80)


def test_a_difference_on_test_that_noise_may_make_is_not_significant() -> None:
    result = runs.optimize(toy.task(), toy.model())
    assert result.verdict == "significant improvement"
    noisy = replace(result, noise=NoiseFloor(1.0, 40, 120))
    assert noisy.verdict == "no significant difference"
    assert replace(result, noise=NoiseFloor(0.9, 36, 120)).verdict == "significant improvement"


def test_noise_unused_rows_and_test_are_counted_apart_from_the_search_and_expected() -> None:
    result = runs.optimize(toy.task(), toy.model(), method="ape")
    assert result.expected is not None
    assert result.final_evaluation.calls == result.expected.final_calls == 3 * 40 + 4 * 4 + 2 * 40
    assert result.final_evaluation.tokens_requested == pytest.approx(result.expected.final_tokens_requested, rel=0.5)
    stored = result.to_json()
    assert stored["proof"]["calls"] == stored["expected"]["proof_calls"] == 216
    assert RunResult.from_json(json.loads(json.dumps(stored))) == result


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spend", "tokens_requested"), "x"),
        (("proof",), {"calls": 1e400}),
        (("discards",), [1]),
        (("discards",), {"empty": "many"}),
        (("best", "dev", "mean"), 10**400),
        (("best", "dev", "mean"), float("nan")),
        (("test", "seed", "n"), 2.5),
        (("test", "best", "unparsed"), None),
        (("test", "difference"), [1]),
        (("noise", "floor"), "0"),
        (("expected", "seconds"), [0]),
        (("expected", "unknown"), 1),
        (("status",), "running"),
        (("seed",), "0"),
        (("best", "op"), None),
        (("notes",), "text"),
        (("failed",), True),
        (("best",), 5),
    ],
)
def test_a_result_from_elsewhere_is_checked_throughout(path: tuple[str, ...], value: object) -> None:
    plain = runs.optimize(toy.task(dev=8, test=8), toy.model(), max_calls=200).to_json()
    *parents, last = path
    part = plain
    for name in parents:
        part = part[name]
    part[last] = value
    with pytest.raises(StoreError, match="the result of the run is damaged"):
        RunResult.from_json(plain)


def test_of_equal_prompts_ahead_of_the_seed_the_shortest_wins() -> None:
    seed = _standing("the seed", "00000000", "seed")
    long, short, worse = (_standing(*each) for each in (("long", "11111110"), ("cut", "11111110"), ("s", "11111100")))
    assert choose_winner([seed, long, short, worse]) == short
    assert choose_winner([long, short, worse]) == short  # a search that never scored its seed


def test_lengths_that_are_counted_are_those_in_tokens() -> None:
    few, many = (_standing(text, "11111110") for text in ("a word of many characters", "x-y-z"))
    few, many = replace(few, length=5), replace(many, length=6)
    assert choose_winner([_standing("the seed", "00000000", "seed"), many, few]) == few


def test_the_winner_of_a_tie_is_what_the_model_reads_in_fewer_tokens() -> None:
    class Counting(ScriptedLM):
        def count_tokens(self, texts: Sequence[str]) -> list[int]:
            return [len(text.split()) for text in texts]

    lm, given = Counting(answer=toy.answer, name="counting"), toy.task()
    problem = toy.problem(lm, given)
    problem.evaluate([*problem.seeds, Prompt("Write omega, a b c d."), Prompt("Write omega, concatenated.")])
    assert problem.ranking.winner().candidate.prompt.instruction == "Write omega, a b c d."  # fewer characters
    chosen = choose(problem, Evaluator(lm, given, Budget()))
    assert chosen.winner.candidate.prompt.instruction == "Write omega, concatenated."


def test_of_equal_seeds_the_one_that_is_compared_stays() -> None:
    seeds = (Prompt("one two three four"), Prompt("a b c d"), Prompt("responsibilities"))
    result = runs.optimize(replace(toy.task(), seeds=seeds), toy.model(), method="manual")
    assert result.best == result.seed_prompt == Prompt("a b c d")


def _standing(text: str, scores: str, op: str = "any") -> Standing:
    outcomes = tuple(Outcome(f"dev:{n}", None, float(score)) for n, score in enumerate(scores))
    return Standing(Candidate(Prompt(text), op), Evaluation(Prompt(text), outcomes))


def test_a_seed_stays_unless_another_prompt_is_ahead_by_more_than_one_standard_error() -> None:
    seed = _standing("the longest of all seeds", "1111110000", "seed")
    one_more, two_more = _standing("one more", "1111111000"), _standing("two more", "1111111100")
    mixed = _standing("two won, one lost", "0111111100")
    assert choose_winner([seed, one_more]) == seed  # 1 of 10 is as much as the error
    assert choose_winner([mixed, seed]) == seed
    assert choose_winner([seed, two_more, one_more]) == two_more
    worse = _standing("seed", "1111100000", "seed")
    assert choose_winner([worse, seed, one_more]) == seed  # it has to beat the best seed, not the first


def test_a_seed_stays_where_one_example_or_none_tells_it_from_another_prompt() -> None:
    assert choose_winner([_standing("seed", "0", "seed"), _standing("any", "1")]).candidate.op == "seed"
    apart = Evaluation(Prompt("elsewhere"), (Outcome("dev:77", None, 1.0),))  # a race gave it other examples
    among = [_standing("seed", "0", "seed"), Standing(Candidate(apart.prompt, "any"), apart)]
    assert choose_winner(among).candidate.op == "seed"
    assert choose_winner([_standing("seed", "00", "seed"), _standing("any", "11")]).candidate.op == "any"


def test_copies_of_an_example_are_one_piece_of_evidence_that_a_prompt_is_ahead() -> None:
    seed, ahead = _standing("seed", "0000000000", "seed"), _standing("any", "1111100000")
    copies = {f"dev:{n}": n // 5 for n in range(10)}
    assert choose_winner([seed, ahead]) == ahead
    assert choose_winner([seed, ahead], copies) == seed  # one of two
    assert choose_winner([seed, ahead], dict.fromkeys(copies, 0)) == seed
    assert choose_winner([seed, _standing("any", "1" * 10)], copies).candidate.op == "any"


def test_a_gain_is_not_thrown_away_for_a_shorter_prompt_that_scores_less() -> None:
    seed = _standing("the seed prompt", "1" * 10 + "0" * 10, "seed")
    best = _standing("the longest instruction of all finalists", "1" * 14 + "0" * 6)
    short = _standing("short", "0" * 4 + "1" * 12 + "0" * 4)  # not ahead of the seed: +2, -4
    middle = _standing("a middling instruction", "1" * 13 + "0" * 7)  # ahead, and nearly as good
    assert choose_winner([seed, short, best, middle]) == best
    assert choose_winner([seed, short, middle]) == middle
    assert choose_winner([seed, short]) == seed


def test_only_the_best_that_are_not_clearly_behind_the_seed_may_still_win() -> None:
    seed, worse_seed = _standing("the seed", "1111110000", "seed"), _standing("seed", "1000000000", "seed")
    best, level = _standing("best", "1111111000"), _standing("level", "1111110000")
    behind = _standing("behind", "1111000000")
    assert contenders([behind, worse_seed, level, seed, best], 3) == [seed, best, level]
    assert contenders([behind, worse_seed, level, seed, best], 1) == [seed, best]
    assert contenders([behind, seed], 3) == [seed]
    assert contenders([behind, best], 3) == [best, behind]  # a search that never scored its seed


def test_a_prompt_that_is_only_shorter_than_the_seed_does_not_replace_it() -> None:
    problem = toy.problem(toy.model(), replace(toy.task(), seeds=(Prompt(toy.BEST),)))
    problem.evaluate([Prompt("Say the omega."), *problem.seeds])
    assert [each.evaluation and each.evaluation.mean for each in problem.ranking.finalists()] == [1.0, 1.0]
    assert problem.ranking.winner().candidate.op == "seed"


def test_a_winner_that_is_the_seed_is_said_to_be_the_seed() -> None:
    lm = toy.model(answer=lambda p, s: "" if toy.is_asked_to_write(p) else toy.answer(p, s))
    result = runs.optimize(toy.task(), lm, method="ape")
    assert result.verdict == "no better prompt found"
    assert not result.found_better
    assert (toy.on_test(result).difference.mean, toy.on_test(result).difference.p) == (0.0, 1.0)
    assert result.discards == {"empty": 96}


def test_a_budget_for_nothing_gives_the_seed_without_a_dev_score() -> None:
    result = runs.optimize(toy.task(), toy.model(), max_calls=1)
    assert result.best == Prompt("")
    assert result.verdict == "nothing was compared"
    assert result.to_json()["best"]["dev"] == {"mean": None, "n": 0}


def test_a_request_that_does_not_fit_the_context_ends_a_search_that_found_something_and_loses_nothing() -> None:
    overflow = ContextOverflow("it has 500 tokens", "raise n_ctx")
    given, settings = toy.task(labels=("omega1", "omega2")), {"resample_rounds": 1, "variants": 1}
    result = runs.optimize(given, toy.model(answer=toy.too_long_to_reword), settings=settings, method="ape")
    assert (result.status, result.stopped) == ("finished", "it has 500 tokens")
    assert result.dev is not None
    with pytest.raises(ContextOverflow, match="500 tokens"):  # in its first step, where nothing is found yet
        runs.optimize(given, toy.model(answer=toy.failing(overflow)), method="opro", settings={"init": "seeds"})


def test_the_store_keeps_what_was_written_on_test_and_what_the_proposer_was_asked() -> None:
    given = toy.task(dev=8, test=8)
    result = runs.optimize(given, toy.model(), max_calls=200)
    with Store() as store:
        on_test = {each.prompt.id: each for each in store.runs.evaluations(result.run_id, "test")}
        asked = store.runs.exchanges(result.run_id)
    assert set(on_test) == {result.seed_prompt.id, result.best.id}
    assert [each.example_id for each in on_test[result.best.id].outcomes] == [each.id for each in given.test]
    assert all(outcome.completion for outcome in on_test[result.best.id].outcomes)
    assert asked
    assert all(exchange.prompt and exchange.replies for exchange in asked)


def test_a_result_says_when_the_best_prompt_changed_and_reads_that_back() -> None:
    result = runs.optimize(toy.task(dev=8, test=8), toy.model(), max_calls=200)
    assert result.trajectory[-1].prompt_id == result.best.id
    spent = [each.tokens_requested for each in result.trajectory]
    assert spent == sorted(spent)
    assert spent[-1] <= result.spend.tokens_requested
    plain = result.to_json()
    assert RunResult.from_json(plain) == result
    plain["trajectory"].reverse()
    plain["trajectory"][-1]["tokens_requested"] = -1
    with pytest.raises(StoreError, match="spends more and more"):
        RunResult.from_json(plain)
    del plain["trajectory"]  # of a run before it was kept
    assert RunResult.from_json(plain).trajectory == ()


def test_a_result_keeps_what_no_other_prompt_beats_in_score_and_length_and_reads_that_back() -> None:
    result = runs.optimize(toy.task(), toy.model())
    known = {each.prompt.id: each for each in result.front}
    assert (known[result.seed_prompt.id].mean, known[result.seed_prompt.id].tokens) == (0.0, 2)
    assert (known[result.best.id].mean, known[result.best.id].tokens) == (1.0, 12)
    assert all(a.tokens < b.tokens and a.mean < b.mean for a, b in itertools.pairwise(result.front))
    plain = result.to_json()
    assert RunResult.from_json(plain) == result
    del plain["front"]  # of a run before it was kept
    assert RunResult.from_json(plain).front == ()


def _characters(prompts: Sequence[Prompt]) -> list[int]:
    return [len(prompt.instruction) + sum(len(demo.output) for demo in prompt.demos) for prompt in prompts]


def test_only_prompts_known_on_all_of_dev_are_on_the_front() -> None:
    demos = (Demo({"input": "alpha0"}, "omega0"),)
    problem = toy.problem(toy.model(), replace(toy.task(), layout=toy.SHOWING))
    longer, both = Prompt(f"Please! {toy.BEST}"), Prompt(toy.BEST, demos)
    half = Prompt("Say something kind about the alpha.")
    problem.evaluate([longer], problem.dev[:30])
    assert problem.ranking.front(_characters) == []
    problem.evaluate([longer, both, *problem.seeds, half, Prompt(toy.BEST)])
    assert [each.candidate.prompt for each in problem.ranking.front(_characters)] == [
        Prompt(""),
        half,
        Prompt(toy.BEST),
    ]


def test_whoever_waits_is_told_once_how_many_calls_are_expected() -> None:
    class Watcher(SilentObserver):
        def __init__(self) -> None:
            self.planned: list[int] = []

        def plan(self, calls: int) -> None:
            self.planned.append(calls)

    watcher = Watcher()
    result = runs.optimize(toy.task(), toy.model(), max_calls=200, observer=watcher)
    assert result.expected is not None
    assert watcher.planned == [result.expected.proposals + result.expected.evaluations]


def test_minutes_that_are_over_while_the_rest_of_a_budget_is_spent_pause_the_run() -> None:
    class Clock(toy.Diary):
        def stage(self, text: str) -> None:
            super().stage(text)
            if self.lines[-2:-1] and self.lines[-2].startswith("the search ends here"):
                assert text == "scoring 1 prompt on all of dev"
                raise OutOfTime("the minutes are over")

    settings = {"queries": 8, "per_query": 6, "tiebreak": True}
    result = runs.optimize(
        toy.task(), toy.model(), preset="paper", settings=settings, max_calls=130, observer=Clock(), method="ape"
    )
    assert (result.status, result.stopped) == ("paused", "the minutes are over")


def test_luck_on_dev_is_pointed_out() -> None:
    def answer(prompt: str, seed: int) -> str:
        """The instruction works on dev and on little else."""
        *_, last = re.findall(r"alpha(\d+)", prompt)
        return toy.answer(prompt, seed) if toy.is_asked_to_write(prompt) or int(last) < 60 else "no idea"

    result = runs.optimize(toy.task(), toy.model(answer=answer))
    assert (result.dev.mean if result.dev else 0, toy.on_test(result).best.mean) == (1.0, 0.0)
    assert "partly luck" in result.notes[0]
    assert result.verdict == "no significant difference"


def test_another_model_may_write_the_prompts() -> None:
    asked: list[str] = []

    def answer(prompt: str, seed: int) -> str:
        asked.append(prompt)
        return toy.answer(prompt, seed)

    writer = toy.model(name="writer")
    result = runs.optimize(toy.task(), toy.model(answer=answer), proposer=writer)
    assert (result.model, result.proposer) == ("scripted", "writer")
    assert all(toy.is_asked_to_write(text) for text in writer.seen)
    assert not any(toy.is_asked_to_write(text) for text in asked)
    assert result.best == Prompt(toy.BEST)


def test_unknown_settings_fail_before_a_model_is_loaded() -> None:
    with pytest.raises(ConfigError, match="no setting"):
        runs.optimize(toy.task(), "no-such-model", settings={"steps": 3})


def test_a_model_given_by_name_is_opened_and_closed() -> None:
    events: list[str] = []

    @contextmanager
    def load(name: str, **engine: object) -> Iterator[LanguageModel]:
        events.append(f"open {name}")
        yield toy.model()
        events.append("close")

    with scheme("toy", load):
        runs.evaluate(toy.task(), "toy:mine", "")
        runs.optimize(toy.task(), "toy:mine", proposer="toy:mine", max_calls=1)
    assert events == ["open mine", "close"] * 2


def test_engine_settings_reach_every_model_that_is_opened() -> None:
    opened: list[tuple[str, dict[str, object]]] = []

    def load(name: str, **engine: object) -> ScriptedLM:
        opened.append((name, engine))
        return toy.model()

    with scheme("toy", load):
        runs.optimize(toy.task(), "toy:a", proposer="toy:b", engine={"n_ctx": 512}, max_calls=1)
        runs.evaluate(toy.task(), "toy:a", "", engine={"lanes": 2})
    assert opened == [("a", {"n_ctx": 512}), ("b", {"n_ctx": 512}), ("a", {"lanes": 2})]
    with pytest.raises(ConfigError, match="no effect"):
        runs.evaluate(toy.task(), toy.model(), "", engine={"lanes": 2})


def test_a_row_that_does_not_fit_is_refused_before_anything_is_spent() -> None:
    given = toy.task()
    long = replace(given.test[-1], inputs={"input": "alpha " * 5000})
    lm = toy.model()
    with pytest.raises(ContextOverflow, match=r"test:99 has 500\d tokens"):
        runs.optimize(replace(given, test=(*given.test[:-1], long)), lm)
    with pytest.raises(ContextOverflow, match="test:99"):
        runs.evaluate(replace(given, test=(long,)), lm, "")
    assert lm.seen == []


def test_different_rows_with_one_id_are_refused_before_anything_is_spent() -> None:
    given, lm = toy.task(), toy.model()
    same = (*given.dev, replace(given.test[0], id=given.dev[3].id))
    with pytest.raises(TaskError, match="two different examples of the task toy have the id 'dev:23'"):
        runs.optimize(replace(given, dev=same), lm)
    assert lm.seen == []
    assert runs.evaluate(replace(given, test=given.dev), lm, "").score.n == 40, "the same row may be in two splits"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"labels": ("yes", "no", "yes")}, "has the label 'yes' twice"),
        ({"layout": Layout("{{input}}", "{{input}} {{output}}")}, "has no {{instruction}} slot"),
        ({"test": (Example("test:0", {"input": "x"}, ()),)}, "'test:0' of the task toy has no target"),
        ({"dev": (Example("dev:0", {"text": "x"}, ("yes",)),)}, "'dev:0' of the task toy has no input 'input'"),
        ({"train": (Example("train:0", {"input": "x"}, ("Yes",)),)}, "the target 'Yes' is not among the labels"),
    ],
)
def test_what_no_task_file_could_hold_is_refused_before_anything_is_spent(changed: dict[str, Any], says: str) -> None:
    given, lm = toy.task(labels=("yes", "no")), toy.model()
    with pytest.raises(TaskError, match=re.escape(says)):
        runs.optimize(replace(given, **changed), lm)
    assert lm.seen == []


def test_rows_of_a_task_made_in_python_may_be_called_anything() -> None:
    task, (dev, *rest) = toy.task(), toy.task().dev
    odd = replace(
        task,
        dev=(*(replace(each, id=each.inputs["input"]) for each in rest), replace(dev, id="train:x")),
        test=tuple(replace(each, id=f"{number}") for number, each in enumerate(task.test)),
        fingerprint="chosen",
    )
    result = runs.optimize(odd, toy.model(), method="random", max_tokens=20_000)
    assert all(row["n"] for row in result.candidates)
    assert {row["split"] for row in result.outcomes} == {"train", "dev", "test"}
    assert {"dev:alpha21", "dev:train:x", "test:0"} <= {row["example_id"] for row in result.outcomes}
    with Store() as store:
        config = RunConfig.read(store.runs.get(result.run_id).configuration)
    assert config.identity.task == config.task["fingerprint"] == "chosen"
    assert localprompt.resume(result.run_id, task=odd, max_tokens=40_000, model=toy.model()).best == result.best


def test_room_is_left_for_a_longer_instruction_in_a_search_alone() -> None:
    lm = toy.model()
    lm.n_ctx = 100
    with pytest.raises(ContextOverflow, match="128 are reserved for a longer prompt"):
        runs.optimize(toy.task(), lm)
    assert runs.evaluate(toy.task(), lm, "").score.n == 40


def test_rows_in_two_splits_are_noted_at_the_start_and_in_the_result() -> None:
    given = toy.task()
    diary = toy.Diary()
    result = runs.optimize(
        replace(given, test=(*given.test, replace(given.dev[0], id="test:x"))), toy.model(), observer=diary
    )
    assert result.notes == ("1 example has the same inputs in test and in dev: test:x = dev:20",)
    assert diary.lines[1] == result.notes[0]


def test_completions_without_an_answer_are_counted_for_seed_and_best() -> None:
    given = replace(toy.task(), answer=lambda text: text.strip() if "omega" in text else None)
    result = runs.optimize(given, toy.model())
    assert result.best == Prompt(toy.BEST)
    assert (toy.on_test(result).seed_unparsed, toy.on_test(result).best_unparsed) == (40, 0)


def test_an_observer_is_told_what_happens() -> None:
    diary = toy.Diary()
    lm = toy.model()
    before = lm.on_progress
    runs.optimize(toy.task(), lm, observer=diary, method="ape")
    assert diary.lines[0] == "40 test examples can show a gain of about 20 points or more"
    assert f"best 1.00 on 40: {toy.BEST}" in diary.lines
    assert diary.lines[-1] == "measuring the seed and the winner on 40 test examples"
    assert diary.done[0] == (48, 48)
    assert lm.on_progress is before


def test_one_prompt_is_evaluated_on_one_split() -> None:
    given = toy.task(dev=30)
    result = localprompt.evaluate(given, toy.model(), "Say something about the alpha.", split="dev")
    assert (result.score.mean, result.score.n, result.unparsed) == (0.5, 30, 0)
    assert result.spend.calls == 30
    plain = json.loads(json.dumps(result.to_json()))
    assert plain["prompt"] == {"instruction": "Say something about the alpha.", "demos": []}
    assert plain["split"] == "dev"


def test_missing_examples_are_refused_by_split() -> None:
    with pytest.raises(TaskError, match="no test examples"):
        runs.optimize(toy.task(test=0), toy.model())
    with pytest.raises(TaskError, match="no dev examples"):
        runs.optimize(toy.task(dev=0), toy.model())
    with pytest.raises(TaskError, match="no dev examples"):
        runs.evaluate(toy.task(dev=0), toy.model(), "", split="dev")
    with pytest.raises(ConfigError, match="training examples"):
        runs.optimize(toy.task(train=0), toy.model())


def test_the_public_names_are_loaded_when_they_are_used() -> None:
    assert localprompt.optimize is runs.optimize
    assert callable(localprompt.evaluate)
    with pytest.raises(AttributeError, match="optimise"):
        _ = localprompt.optimise
