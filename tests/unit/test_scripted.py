"""The shipped fake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localprompt.errors import ModelError
from localprompt.lm.base import LanguageModel
from localprompt.lm.cached import CachedLM
from localprompt.lm.scripted import ScriptedLM
from localprompt.store import Store
from localprompt.types import Message, Sampling


def test_it_is_a_language_model() -> None:
    lm: LanguageModel = ScriptedLM()
    assert lm.generate([], Sampling(max_tokens=1), []) == []
    assert lm.loglikelihood([]) == []


def test_it_says_what_its_functions_say_and_counts() -> None:
    lm = ScriptedLM(answer=lambda prompt, seed: f"{prompt} {seed}", logprob=lambda context, continuation: -len(context))
    first, second = lm.generate(["a", "b"], Sampling(max_tokens=9), [1, 2])
    assert (first.text, second.text) == ("a 1", "b 2")
    (scored,) = lm.loglikelihood([("abc", " d e")])
    assert (scored.logprob, scored.n_tokens) == (-3, 2)
    assert (lm.n_generated, lm.n_scored, lm.stats.decode_calls) == (2, 1, 2)
    assert lm.seen == ["a", "b", "abc d e"]
    assert lm.stats.tokens_requested == (1 + 2) + (1 + 2) + 3


def test_only_models_with_equal_names_are_taken_for_one_another(tmp_path: Path) -> None:
    def said(**changes: Any) -> str:
        with Store(tmp_path / "store") as store:
            (drawn,) = CachedLM(ScriptedLM(**changes), store.answers).generate(["?"], Sampling(max_tokens=9), [0])
        return drawn.text

    assert said(answer=lambda prompt, seed: "one") == "one"
    assert said(answer=lambda prompt, seed: "two") == "two"
    assert said(answer=lambda prompt, seed: "three", name="a") == "three"
    assert said(answer=lambda prompt, seed: "four", name="a") == "three"
    assert ScriptedLM().name == ScriptedLM().name == "scripted"


def test_stop_strings_and_the_token_limit_cut_the_completion() -> None:
    lm = ScriptedLM(answer=lambda prompt, seed: "one two three\nfour")
    (stopped,) = lm.generate(["x"], Sampling(max_tokens=9, stop=("\n",)), [0])
    (cut,) = lm.generate(["x"], Sampling(max_tokens=2), [0])
    assert (stopped.text, stopped.finish_reason) == ("one two three", "stop")
    assert (cut.text, cut.finish_reason) == ("one two", "length")


def test_a_base_model_refuses_a_chat_and_a_model_without_the_tokens_a_blank() -> None:
    lm = ScriptedLM(has_chat=False, has_fim=False)
    with pytest.raises(ModelError, match="chat template"):
        lm.chat([Message("user", "hi")])
    with pytest.raises(ModelError, match="fill-in-the-middle"):
        lm.fim("a", "b")


def test_a_chat_ends_in_the_opening_of_the_answer() -> None:
    assert ScriptedLM().chat([Message("user", "hi")], "Well,") == "[user] hi\n[assistant] Well,"


def test_progress_is_told_where_somebody_listens() -> None:
    lm = ScriptedLM()
    told: list[tuple[int, int]] = []
    lm.on_progress = lambda done, total: told.append((done, total))
    lm.generate(["a", "b"], Sampling(max_tokens=1), [0, 0])
    assert told == [(2, 2)]
