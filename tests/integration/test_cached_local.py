"""A whole run with a model in its process, killed and resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import toy

from localprompt.errors import RunMismatch
from localprompt.lm.cached import CachedLM, MemoryAnswers
from localprompt.lm.local import load_model
from localprompt.lm.rendered import Rendered
from localprompt.run import api as runs
from localprompt.run import resume as resuming
from localprompt.store import Store
from localprompt.types import Message, Sampling

SETTINGS = {"queries": 2, "per_query": 2, "max_tokens": 8}


def test_answers_from_the_store_are_those_of_the_model(tiny_qwen: Path) -> None:
    with load_model(tiny_qwen, tune=False) as lm:
        answers = MemoryAnswers()
        first, again = CachedLM(lm, answers), CachedLM(lm, answers)
        prompt = first.chat([Message("user", "hello <|im_end|>")], "Well")
        assert isinstance(prompt, Rendered)
        first.flush()
        assert again.chat([Message("user", "hello <|im_end|>")], "Well") == prompt
        assert again.count_tokens([prompt]) == [len(lm.tokenize([prompt])[0])]
        pairs = [(prompt, " a"), ("b", " c"), (prompt, " d")]
        assert first.loglikelihood(pairs) == again.loglikelihood(pairs)
        sampling = Sampling(max_tokens=4, temperature=1.0)
        assert first.generate([prompt, "b"], sampling, [1, 2]) == again.generate([prompt, "b"], sampling, [1, 2])
        decoded = again.stats.tokens_decoded
        again.loglikelihood(pairs)
        assert again.stats.tokens_decoded == decoded
        assert again.stats.tokens_requested == first.stats.tokens_requested + sum(
            lm.count_tokens([context + continuation for context, continuation in pairs])
        )


def test_a_run_is_resumed_with_the_engine_settings_of_then(tiny_qwen: Path, tmp_path: Path) -> None:
    given = toy.task(train=4, dev=4, test=4)
    engine = {"n_ctx": 1024, "n_threads": 1}
    paused = runs.optimize(given, tiny_qwen, engine=engine, settings=SETTINGS, pause_after=1e-9)
    assert paused.status == "paused"
    with pytest.raises(RunMismatch, match="n_ctx was 1024 when the run started, now 2048"):
        resuming.resume(paused.run_id, engine={"n_ctx": 2048})
    resumed = resuming.resume(paused.run_id)
    whole = runs.optimize(given, tiny_qwen, engine=engine, settings=SETTINGS, store=tmp_path / "other")
    assert resumed.expected is not None
    assert whole.expected is not None
    assert resumed.expected.tokens_computed == whole.expected.tokens_computed
    # What seconds are expected follows from the best rates that the machine has shown until then.
    same = {name: getattr(whole, name) for name in ("spend", "final_evaluation", "notes", "expected")}
    assert replace(resumed, run_id=whole.run_id, **same) == whole
    replayed = resuming.replay(paused.run_id)
    assert replace(replayed, spend=resumed.spend, final_evaluation=resumed.final_evaluation) == resumed
    with Store() as store:
        assert store.runs.get(paused.run_id).configuration["model"]["identity"]["n_ctx"] == 1024
