"""A real llama.cpp server as a model by its URL: it replies, and cannot score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from adapters_outside import MODEL, QUESTION, check_answers, rows

from localprompt.errors import ConfigError, ModelError
from localprompt.hub import files as models
from localprompt.lm.loading import open_model
from localprompt.types import Message, Sampling


@pytest.fixture
def url(serve: Callable[[Path], str]) -> str:
    return f"{serve(models.resolve(MODEL))}/v1"


def test_a_server_replies_as_the_engine_and_gives_no_log_probabilities_of_a_prompt(url: str) -> None:
    with open_model(url) as lm:
        assert (lm.facts.has_chat, lm.facts.can_score) == (True, False)
        asked = [QUESTION.format(each["message"]) for each in rows("support-routing/data.jsonl")]
        prompts = [lm.chat([Message("user", text)]) for text in asked]
        check_answers([each.text for each in lm.generate(prompts, Sampling(4), [0] * len(prompts))])
        with pytest.raises(ModelError, match="gives no log-probabilities"):
            lm.loglikelihood([("a", " b")])


def test_a_model_that_a_server_does_not_have_is_a_sentence(url: str) -> None:
    with pytest.raises(ConfigError, match="has no model 'other'"):
        open_model(f"{url}#other")
