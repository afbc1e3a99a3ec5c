"""No text is lost or changed on its way through the store, whatever it is made of."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from localprompt.store import Store
from localprompt.types import Candidate, Demo, Discard, Evaluation, Outcome, Prompt

TEXTS = st.text(st.characters(), max_size=20)  # with NUL and lone surrogates
DEMOS = st.lists(st.builds(Demo, st.dictionaries(TEXTS, TEXTS, max_size=2), TEXTS), max_size=2).map(tuple)
PROMPTS = st.lists(st.builds(Prompt, TEXTS, DEMOS), max_size=4, unique_by=lambda prompt: prompt.id)


@settings(max_examples=20, deadline=None)
@given(PROMPTS, st.lists(TEXTS, max_size=5), TEXTS)
def test_what_goes_in_comes_out_also_in_another_store(prompts: list[Prompt], texts: list[str], name: str) -> None:
    candidates = [Candidate(prompt, "seed", tuple(other.id for other in prompts)) for prompt in prompts]
    outcomes = tuple(Outcome(f"dev:{n}", text, 1.0, completion=text) for n, text in enumerate(["", *texts]))
    evaluations = [Evaluation(prompt, outcomes) for prompt in prompts]
    discards = [Discard(text, "too long") for text in texts]
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "a") as one, Store(Path(folder) / "b") as other:
        configuration = {"identity": {name: texts}}
        run = one.runs.create(configuration, task=name, model=name, proposer=name, method=name, seed=0)
        one.runs.add_candidates(run.id, candidates)
        one.runs.add_evaluations(run.id, "metric", evaluations)
        one.runs.add_discards(run.id, discards)
        one.runs.add_event(run.id, "note", name)
        one.runs.export(run.id, Path(folder) / "run")
        other.runs.import_(Path(folder) / "run")
        for store in (one, other):
            assert store.runs.get(run.id).configuration == configuration
            assert store.runs.candidates(run.id) == candidates
            assert store.runs.evaluations(run.id) == evaluations
            assert store.runs.discards(run.id) == discards
            assert [event.text for event in store.runs.events(run.id)] == [name]
            assert store.check() == []
