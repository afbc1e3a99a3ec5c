"""A found prompt moved to another model."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.errors import ConfigError, RunInUse, TaskError
from localprompt.optimizers import names
from localprompt.run.config import RunConfig
from localprompt.run.port import OldRun
from localprompt.run.ported import Port
from localprompt.run.results import RunResult
from localprompt.store import Store
from localprompt.types import Prompt

NEXT = "Turn every alpha into the omicron that has its number."
OTHER = "Say something kind about the alpha."


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "here.db") as store:
        yield store


def _answer_of_new(prompt: str, seed: int) -> str:
    """The omega is nothing to the new model, which answers half of the rows then; it knows what an omicron is."""
    if toy.is_asked_to_write(prompt):
        return " turn every alpha into the omicron that has its number."
    return f" {toy.solved(prompt.replace('omega', 'beta').replace('omicron', 'omega'))}\n"


def _new(**changes: Any) -> toy.Watched:
    return toy.Watched(**{"answer": _answer_of_new, "name": "new", **changes})


def _old(store: Store, **choices: Any) -> RunResult:
    given = replace(toy.task(train=10, dev=20, test=30), seeds=(Prompt(OTHER), Prompt("")))
    return localprompt.optimize(given, toy.model(name="old"), store=store, **{"method": "ape", **choices})


def test_what_the_swap_lost_and_a_warm_search_won_back(home: Store) -> None:
    old = _old(home)
    assert old.best.instruction.lower().endswith("omega that has its number.")
    lm, diary = _new(), toy.Diary()
    found = localprompt.port(old.run_id[:5], lm, store=home, observer=diary)
    assert (found.old_model, found.model, found.task) == ("old", "new", "toy")
    assert found.old_best.old_test is not None
    assert (found.old_best.old_test.mean, found.old_best.new_test.mean, found.new_best.new_test.mean) == (1.0, 0.5, 1.0)
    assert (found.swap.mean, found.gain.mean, found.regret) == (-0.5, 0.5, 0.5)
    assert found.old_best.old_dev is not None
    assert found.old_best.new_dev is not None
    assert (found.old_best.old_dev.mean, found.old_best.new_dev.mean) == (1.0, 0.5)
    assert found.is_worth_it
    assert found.conclusion.startswith(
        "on test the swap to new lost 0.500 for the old prompt (1.000 to 0.500); the new search won back 0.500"
    )
    assert found.conclusion.endswith("it was worth it")
    assert "the old winner on 20 dev examples: 1.000 with old, 0.500 with the new model" in diary.notes
    assert Port.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_new_search_is_a_run_that_begins_with_what_the_old_one_found(home: Store) -> None:
    old = _old(home)
    found = localprompt.port(old.run_id, _new(), store=home)
    candidates = home.runs.candidates(found.run_id)
    assert [each.prompt for each in candidates if each.op == "seed"] == [old.best]
    warm = [each.prompt for each in candidates if each.op == "warm"]
    assert warm[-2:] == [Prompt(OTHER), Prompt("")]
    assert 0 < len(warm) - 2 <= 4
    of_old = {each.prompt.id for each in home.runs.candidates(old.run_id)}
    assert {each.id for each in warm} <= of_old
    result = localprompt.resume(found.run_id, model=_new(), store=home)
    assert (result.seed_prompt, result.best) == (old.best, found.new_best.prompt)
    replayed = localprompt.replay(found.run_id, store=home)
    assert (replayed.best, replayed.test) == (result.best, result.test)


def test_test_rows_that_a_run_before_the_old_one_saw_are_told_of(home: Store) -> None:
    given = toy.task(train=10, dev=20, test=30)
    seen = tuple(replace(row, id=row.id.replace("dev", "test")) for row in given.dev)
    old = localprompt.optimize(
        replace(given, dev=given.test, test=seen),
        toy.model(name="old"),
        method="ape",
        from_run=_old(home).run_id,
        store=home,
    )
    notes = localprompt.port(old.run_id, _new(), store=home).notes
    assert any(f"the old run {old.run_id}: 20 of 20 test rows were train or dev rows" in note for note in notes)


def test_test_rows_are_asked_in_one_call_at_the_end_with_three_prompts(home: Store) -> None:
    old = _old(home)
    lm = _new()
    found = localprompt.port(old.run_id, lm, store=home)
    numbers = range(30, 60)
    calls = [call for call in lm.asked if any(f"alpha{n}\n" in text for n in numbers for text in call.prompts)]
    assert len(calls) == 1
    assert calls[0] is lm.asked[-1]
    prompts = (old.best, old.seed_prompt, found.new_best.prompt)
    assert len({each.id for each in prompts}) == 3
    assert len(calls[0].prompts) == len(set(calls[0].prompts)) == 3 * 30
    kept = {each.prompt.id for each in home.runs.evaluations(found.run_id, "test")}
    assert kept == {each.id for each in prompts}


def test_the_same_call_repeats_nothing_and_another_is_another_port(home: Store) -> None:
    old = _old(home)
    first = localprompt.port(old.run_id, _new(), store=home)
    again = _new()
    assert localprompt.port(old.run_id, again, store=home) == first
    assert not again.seen
    (study,) = home.studies.all("port")
    assert (study.id, study.runs, study.status) == (first.id, (first.run_id,), "finished")
    other = localprompt.port(old.run_id, _new(), store=home, max_tokens=3000)
    assert other.id != first.id
    home.runs.delete(first.run_id)
    anew = localprompt.port(old.run_id, _new(), store=home)
    assert (anew.id, anew.new_best.prompt) == (first.id, first.new_best.prompt)
    assert anew.run_id != first.run_id


def test_the_limits_and_the_method_are_those_of_the_old_run_unless_given(home: Store) -> None:
    old = _old(home, method="random", settings={"max_tokens": 33}, max_tokens=20_000)
    first = RunConfig.read(home.runs.get(localprompt.port(old.run_id, _new(), store=home).run_id).configuration)
    assert (first.method, first.limits.max_tokens, first.settings["max_tokens"]) == ("random", 20_000, 33)
    given = localprompt.port(old.run_id, _new(), method="manual", max_calls=500, store=home)
    second = RunConfig.read(home.runs.get(given.run_id).configuration)
    assert (second.method, second.limits.max_tokens, second.limits.max_calls) == ("manual", None, 500)


def test_minutes_are_those_of_the_call_and_of_each_later_session(home: Store) -> None:
    old = _old(home)
    found = localprompt.port(old.run_id, _new(), max_minutes=5, store=home)
    config = RunConfig.read(home.runs.get(found.run_id).configuration)
    assert (config.limits.max_minutes, config.limits.max_tokens) == (5, None)
    assert found.gain.n == 30
    assert found.seconds < 300


def test_what_the_old_budget_made_of_the_method_is_sized_anew(home: Store) -> None:
    old = _old(home, max_tokens=6_000)
    small = RunConfig.read(home.runs.get(old.run_id).configuration)
    assert small.expected is not None
    assert "queries" in small.expected.sizes
    found = localprompt.port(old.run_id, _new(), max_tokens=10**6, store=home)
    large = RunConfig.read(home.runs.get(found.run_id).configuration)
    assert large.settings["queries"] > small.settings["queries"]


def test_what_the_user_fixed_at_its_default_is_not_sized(home: Store) -> None:
    old = _old(home, max_tokens=6_000, settings={"queries": 8})
    config = RunConfig.read(home.runs.get(old.run_id).configuration)
    assert (config.settings["queries"], "queries" in config.fixed) == (8, True)
    found = localprompt.port(old.run_id, _new(), max_tokens=10**6, store=home)
    large = RunConfig.read(home.runs.get(found.run_id).configuration)
    assert large.settings["queries"] == 8
    assert large.settings["per_query"] > config.settings["per_query"]


@pytest.mark.parametrize("name", names())
def test_every_method_searches_from_several_prompts(name: str, home: Store) -> None:
    old = _old(home)
    found = localprompt.port(old.run_id, _new(), method=name, store=home, max_tokens=60_000)
    known = {each.prompt.id: len(each.outcomes) for each in home.runs.evaluations(found.run_id)}
    begun = [each for each in home.runs.candidates(found.run_id) if each.op in ("seed", "warm")]
    assert len(begun) > 3
    if name != "manual":  # which measures the finalists and the seeds
        assert all(known[each.prompt.id] >= 20 for each in begun)
    assert found.new_best.new_test.mean >= found.old_best.new_test.mean


def test_a_model_to_which_it_makes_no_difference_is_told_so(home: Store) -> None:
    old = _old(home)
    found = localprompt.port(old.run_id, toy.model(name="new"), store=home)
    assert (found.new_best.prompt, found.swap.mean, found.gain.mean) == (old.best, 0.0, 0.0)
    assert "shows no difference for the old prompt (1.000 to 1.000)" in found.conclusion
    assert "found no better prompt" in found.conclusion
    assert found.conclusion.endswith("it was not worth it: keep the old prompt")


def test_a_port_that_ends_early_goes_on_with_the_same_call(home: Store, tmp_path: Path) -> None:
    old = _old(home)
    whole = localprompt.port(old.run_id, _new(), store=home)
    for after in (0, 10, 45, 90, 200):
        with Store(tmp_path / f"{after}.db") as store:
            assert _old(store).run_id == old.run_id
            left = [after]

            def answer(prompt: str, seed: int, left: list[int] = left) -> str:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return _answer_of_new(prompt, seed)

            with pytest.raises(KeyboardInterrupt):
                localprompt.port(old.run_id, _new(answer=answer), store=store)
            assert store.studies.all("port")[0].status == "paused"
            resumed = localprompt.port(old.run_id, _new(), store=store)
            assert replace(resumed, seconds=0.0) == replace(whole, seconds=0.0)


def test_the_same_call_in_another_process_leaves_a_port_to_the_one_that_works(home: Store) -> None:
    old, statuses = _old(home), list[str]()

    def answer(prompt: str, seed: int) -> str:
        if toy.is_asked_to_write(prompt) and not statuses:
            with Store(home.path) as other, pytest.raises(RunInUse):
                localprompt.port(old.run_id, _new(), store=other)
            statuses.extend(each.status for each in home.studies.all("port"))
        return _answer_of_new(prompt, seed)

    localprompt.port(old.run_id, _new(answer=answer), store=home)
    assert statuses == ["running"]


def test_the_seconds_of_a_port_are_those_of_all_sessions_of_its_search(home: Store) -> None:
    old = _old(home)

    slept = list[float]()

    def slow(prompt: str, seed: int) -> str:
        if toy.is_asked_to_write(prompt):
            slept.append(0.1)
            time.sleep(slept[-1])
        return _answer_of_new(prompt, seed)

    def interrupted_in_the_end() -> toy.Watched:
        def answer(prompt: str, seed: int) -> str:
            if re.search(r"alpha[3-5]\d\nOutput:$", prompt):  # a test row
                raise KeyboardInterrupt
            return slow(prompt, seed)

        return _new(answer=answer)

    with pytest.raises(KeyboardInterrupt):
        localprompt.port(old.run_id, interrupted_in_the_end(), store=home)
    found = localprompt.port(old.run_id, _new(), store=home)
    assert len(slept) > 5
    assert found.seconds > sum(slept), "in a session that the second one knows the answers of"


def test_a_port_whose_limit_let_it_compare_nothing_says_so(home: Store) -> None:
    conclusion = localprompt.port(_old(home).run_id, _new(), store=home, max_tokens=5).conclusion
    assert "; the new search was over before it compared any prompts, for " in conclusion
    assert conclusion.endswith("; a higher limit may tell whether it is worth it")


def test_what_cannot_be_ported_is_one_sentence(home: Store, tmp_path: Path) -> None:
    def refused(run_id: str, lm: Any = None, **choices: Any) -> str:
        with pytest.raises((ConfigError, TaskError)) as error:
            localprompt.port(run_id, lm or _new(), store=home, **choices)
        return error.value.message

    old = _old(home)
    assert "is the model of the run itself" in refused(old.run_id, toy.model(name="old"))
    folded = replace(toy.task(train=10, dev=20, test=0), folds=2)
    crossed = localprompt.optimize(folded, toy.model(name="old"), store=home, method="manual")
    assert "cross-validated" in refused(crossed.run_id)
    with pytest.raises(KeyboardInterrupt):
        localprompt.optimize(toy.task(), toy.model(answer=toy.failing(KeyboardInterrupt(), 5)), store=home)
    assert "only a finished one can be ported" in refused(home.runs.all()[0].id)
    home.runs.export(old.run_id, tmp_path / "run.json")
    with Store(tmp_path / "there.db") as there:
        imported = there.runs.import_(tmp_path / "run.json")
        with pytest.raises(ConfigError, match="was imported"):
            localprompt.port(imported.id, _new(), store=there)
    judged = replace(toy.task(), metric=lambda prediction, targets: float(prediction in targets))
    of_code = localprompt.optimize(judged, toy.model(name="old"), store=home, method="manual")
    assert "Python object" in refused(of_code.run_id)
    assert localprompt.port(of_code.run_id, _new(), task=judged, store=home).old_best.prompt == of_code.best


def test_candidates_that_say_the_same_are_begun_with_once(home: Store) -> None:
    given = replace(
        toy.task(train=10, dev=20, test=30),
        seeds=(Prompt(toy.BEST), Prompt(f"Please {toy.BEST.lower()}"), Prompt(OTHER)),
    )
    old = localprompt.optimize(given, toy.model(name="old"), store=home, method="manual")
    warm = OldRun.of(home, old.run_id).others
    assert [each.instruction for each in warm] == [f"Please {toy.BEST.lower()}", OTHER]  # seeds all, and once each


def test_the_conclusion_says_what_was_shown_and_what_was_not(home: Store) -> None:
    found = localprompt.port(_old(home).run_id, _new(), store=home)
    assert "tokens and 0 seconds" in replace(found, seconds=0.1).conclusion
    assert "tokens and 1 second;" in replace(found, seconds=1.2).conclusion
    assert "tokens and 2.5 minutes" in replace(found, seconds=150.0).conclusion
    none = replace(found.swap, mean=-0.01, p=0.7)
    for verdict, what, is_worth in (
        ("significant improvement", "the new search gained 0.500", True),
        ("no significant difference", "the prompt of the new search shows no difference", False),
        ("significantly worse", "the prompt of the new search is worse by 0.500", False),
        ("no better than one constant answer", "no more than one answer to everything would score", False),
        ("no better prompt found", "the new search found no better prompt than the old one", False),
    ):
        other = replace(found, verdict=verdict, swap=none)
        assert "on test the swap to new shows no difference" in other.conclusion
        assert what in other.conclusion
        assert other.is_worth_it == is_worth
        assert other.conclusion.endswith("it was worth it" if is_worth else "keep the old prompt")
