"""A model with store, cache and budget, for what is no search."""

from __future__ import annotations

import pytest
import toy

import localprompt
from localprompt import Prompt, Store, open_session
from localprompt.errors import BudgetExhausted, ConfigError
from localprompt.lm.budget import Budget

PROMPTS = [Prompt(toy.BEST), Prompt("Speak of the alpha.")]


def test_what_one_session_asked_the_next_one_knows() -> None:
    task = toy.task()
    for n_asked in (80, 0):
        lm = toy.model()
        with open_session(lm) as session:
            means = [each.mean for each in session.evaluator(task).evaluate(PROMPTS, task.dev)]
            spend = session.budget.spend
        assert (means, lm.n_generated) == ([1.0, 0.5], n_asked)
        assert (spend.calls, spend.answers_cached) == (80, 80 - n_asked)


def test_a_session_without_the_cache_touches_no_store() -> None:
    task, lm = toy.task(), toy.model()
    for _ in range(2):
        with open_session(lm, use_cache=False) as session:
            session.evaluator(task).evaluate(PROMPTS, task.dev)
        assert session.store is None
    assert lm.n_generated == 160
    with pytest.raises(localprompt.StoreError, match="there is no store"):
        Store(create=False)


def test_a_session_spends_no_more_than_its_budget() -> None:
    task, lm = toy.task(), toy.model()
    with open_session(lm, budget=Budget(max_calls=79)) as session, pytest.raises(BudgetExhausted):
        session.evaluator(task).evaluate(PROMPTS, task.dev)
    assert lm.n_generated == 0


def test_what_was_answered_is_kept_where_the_session_ends_in_an_error() -> None:
    task, lm = toy.task(), toy.model()

    def ends_early() -> None:
        with open_session(lm) as session:
            session.evaluator(task).evaluate(PROMPTS, task.dev)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ends_early()
    again = toy.model()
    with open_session(again) as session:
        session.evaluator(task).evaluate(PROMPTS, task.dev)
    assert again.n_generated == 0


def test_settings_of_an_engine_that_runs_already_are_refused() -> None:
    with (
        pytest.raises(ConfigError, match="no effect on a model that is loaded"),
        open_session(toy.model(), engine={"n_ctx": 512}),
    ):
        raise AssertionError


def test_other_work_than_runs_is_entered_in_the_store_and_found_again() -> None:
    with Store() as store:
        entered = store.studies.enter("sensitivity", "a key", {"prompts": ["\ud800"]}, ["0" * 12])
        again = store.studies.enter("sensitivity", "a key", {"prompts": ["other"]})
        assert (again.id, again.configuration, again.runs) == (entered.id, {"prompts": ["\ud800"]}, ("0" * 12,))
        store.studies.update(entered.id, status="finished", result={"spread": 0.25})
        (found,) = store.studies.all("sensitivity")
        assert (found.status, found.result, found.created) == ("finished", {"spread": 0.25}, entered.created)
        assert store.studies.get("sensitivity", entered.id[:4]) == found
        with pytest.raises(KeyboardInterrupt), store.studies.ending(entered.id):  # it was called again
            raise KeyboardInterrupt
        assert store.studies.get("sensitivity", entered.id).status == "finished"
        found = store.studies.get("sensitivity", entered.id)
        assert store.studies.all("comparison") == []
        with pytest.raises(localprompt.StoreError, match="no sensitivity begins with ''"):  # an empty variable
            store.studies.get("sensitivity", "")
        with pytest.raises(localprompt.StoreError, match="no comparison begins with"):
            store.studies.get("comparison", entered.id)
        assert store.check() == []
        with pytest.raises(localprompt.StoreError, match="is a sensitivity, not a comparison"):
            store.studies.enter("comparison", "a key", {}, ["1" * 12])
        assert store.studies.get("sensitivity", entered.id) == found, "nothing is half done"
        store.studies.delete(entered.id)
        assert store.studies.all("sensitivity") == []
