"""Answers from the store."""

from __future__ import annotations

import copy
import math
import pickle  # noqa: TID251 - programs keep prompts so
from collections.abc import Callable, Sequence
from dataclasses import asdict

import msgpack
import pytest
import toy

from localprompt.errors import ModelError, OutOfAnswers, OutOfTime, StoreError
from localprompt.lm import cached as module
from localprompt.lm.cached import CachedLM, MemoryAnswers
from localprompt.lm.rendered import Rendered
from localprompt.lm.replayed import ReplayedLM
from localprompt.lm.scripted import ScriptedLM
from localprompt.types import Generation, Message, Sampling

GREEDY = Sampling(max_tokens=4)
PAIRS = [("b", " x"), ("a", " y"), ("b", " x"), ("c", " z")]


def batches(lm: toy.Watched) -> list[list[str]]:
    """Which contexts came together."""
    return [[context for context, _ in call] for call in lm.scored]


def test_what_is_known_is_not_computed_again_and_costs_what_it_cost() -> None:
    answers = MemoryAnswers()
    first, second = ScriptedLM(name="same"), ScriptedLM(name="same")
    before, after = CachedLM(first, answers), CachedLM(second, answers)
    scored = before.loglikelihood(PAIRS)
    assert after.loglikelihood(PAIRS) == scored == ScriptedLM().loglikelihood(PAIRS)
    assert (second.seen, after.answers_cached, before.answers_cached) == ([], 4, 1)
    assert after.stats.tokens_requested == before.stats.tokens_requested == 8
    assert after.stats.tokens_decoded == 0


def test_completions_are_known_by_prompt_sampling_and_seed() -> None:
    lm = CachedLM(toy.model(answer=lambda prompt, seed: f"{prompt} {seed}"), MemoryAnswers())
    lm.generate(["a", "a"], GREEDY, [1, 2])
    known = lm.answers_cached
    assert [each.text for each in lm.generate(["a", "a", "b"], GREEDY, [2, 1, 1])] == ["a 2", "a 1", "b 1"]
    assert lm.answers_cached == known + 2
    lm.generate(["a"], Sampling(max_tokens=4, temperature=1.0), [1])
    assert lm.answers_cached == known + 2


def test_control_tokens_namespaces_and_models_tell_requests_apart() -> None:
    answers = MemoryAnswers()
    plain = CachedLM(ScriptedLM(), answers)
    plain.loglikelihood([("<s>a", " b")])
    plain.loglikelihood([(Rendered("<s>a", [(0, 3)]), " b")])
    CachedLM(ScriptedLM(), answers, "other").loglikelihood([("<s>a", " b")])
    CachedLM(ScriptedLM(name="other"), answers).loglikelihood([("<s>a", " b")])
    assert len(answers.values) == 4
    assert plain.answers_cached == 0


def test_what_is_computed_together_does_not_depend_on_the_order_of_the_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    seen = []
    for texts in ("dacb", "abcd"):
        lm = toy.Watched(name="same", logprob=lambda context, continuation: -1.0)
        CachedLM(lm, MemoryAnswers()).loglikelihood([(text, " x") for text in texts])
        seen.append(batches(lm))
    assert seen == [[["a", "b"], ["c", "d"]]] * 2


def test_time_that_runs_out_between_chunks_leaves_the_chunks_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    answers, lm, chunks = (
        MemoryAnswers(),
        toy.Watched(name="same", logprob=lambda context, continuation: -1.0),
        iter(range(2)),
    )

    def between(missing: Sequence[str]) -> None:
        if next(chunks, None) is None:
            raise OutOfTime("over")

    pairs = [(text, " x") for text in "abcdef"]
    with pytest.raises(OutOfTime):
        CachedLM(lm, answers).loglikelihood(pairs, between)
    assert batches(lm) == [["a", "b"], ["c", "d"]]
    again = toy.Watched(name="same", logprob=lambda context, continuation: -1.0)
    assert len(CachedLM(again, answers).loglikelihood(pairs)) == 6
    assert batches(again) == [["e", "f"]]


def test_progress_is_that_of_the_whole_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    answers = MemoryAnswers()
    CachedLM(ScriptedLM(), answers).loglikelihood([("c", " x"), ("d", " x")])
    inner, done = ScriptedLM(), []
    lm = CachedLM(inner, answers)
    before = inner.on_progress
    lm.on_progress = lambda some, total: done.append((some, total))
    lm.loglikelihood([(text, " x") for text in "abcdef"])
    assert done == [(2, 6), (4, 6), (6, 6)]
    assert inner.on_progress is before


def test_the_answer_that_another_process_kept_first_is_the_answer() -> None:
    theirs = MemoryAnswers()
    CachedLM(ScriptedLM(name="same", logprob=lambda *_: -9.0), theirs).loglikelihood([("a", " b")])

    class Rival(MemoryAnswers):
        """Another process answers everything meanwhile."""

        def put(self, rows: Sequence[tuple[bytes, str, bytes]], run_id: str | None = None) -> None:
            super().put([(key, kind, theirs.values[key]) for key, kind, _ in rows], run_id)

    assert CachedLM(ScriptedLM(name="same"), Rival()).loglikelihood([("a", " b")])[0].logprob == -9.0


def test_renderings_and_counts_are_kept_with_the_next_answer() -> None:
    answers = MemoryAnswers()
    lm = CachedLM(ScriptedLM(has_fim=True), answers)
    turns = [Message("user", "hello there")]
    text, middle, counts = lm.chat(turns, "Well"), lm.fim("a", "c"), lm.count_tokens(["one two", "one", "one two"])
    assert counts == [2, 1, 2]
    assert answers.values == {}
    lm.loglikelihood([("a", " b")])
    assert len(answers.values) == 5
    replayed = CachedLM(ReplayedLM(asdict(lm.facts)), answers)
    assert (replayed.chat(turns, "Well"), replayed.fim("a", "c")) == (text, middle)
    assert replayed.count_tokens(["one", "one two"]) == [1, 2]
    with pytest.raises(OutOfAnswers):
        replayed.count_tokens(["three"])


def test_control_spans_survive() -> None:
    class Chatty(ScriptedLM):
        def chat(self, messages: Sequence[Message], opening: str = "") -> str:
            return Rendered("<user>hello", [(0, 6)]) + opening

    answers = MemoryAnswers()
    lm = CachedLM(Chatty(), answers)
    lm.chat([Message("user", "hello")])
    lm.flush()
    again = CachedLM(ReplayedLM(asdict(lm.facts)), answers).chat([Message("user", "hello")])
    assert isinstance(again, Rendered)
    assert (again, again.spans) == ("<user>hello", ((0, 6),))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda text: pickle.loads(pickle.dumps(text))])
def test_a_copy_of_a_rendered_text_has_its_control_tokens(copied: Callable[[Rendered], Rendered]) -> None:
    text = copied(Rendered("<s>a", [(0, 3)]))
    assert (type(text), str(text), text.spans) == (Rendered, "<s>a", ((0, 3),))


def test_text_that_is_no_text_is_kept_too() -> None:
    said = "\ud800\x00<|im_end|>\u202e"
    lm = CachedLM(toy.model(answer=lambda prompt, seed: said), MemoryAnswers())
    first = lm.generate([said], GREEDY, [0])
    assert lm.generate([said], GREEDY, [0]) == first
    assert first[0].text == said


@pytest.mark.parametrize("nats", [math.nan, -math.inf])
def test_a_log_likelihood_that_is_no_number_is_refused_and_not_kept(nats: float) -> None:
    answers = MemoryAnswers()
    with pytest.raises(ModelError, match=f"the model own answers what is no answer .{nats}, 1, False, False."):
        CachedLM(ScriptedLM(name="own", logprob=lambda *_: nats), answers).loglikelihood([("a", " b")])
    assert CachedLM(ScriptedLM(name="own"), answers).loglikelihood([("a", " b")])[0].logprob == -2.0


def test_answers_that_somebody_drops_meanwhile_are_given_all_the_same() -> None:
    class Vacuumed(MemoryAnswers):
        """Another process drops what no run has used."""

        def put(self, rows: Sequence[tuple[bytes, str, bytes]], run_id: str | None = None) -> None: ...

    assert CachedLM(ScriptedLM(), Vacuumed()).loglikelihood([("a", " b")])[0].logprob == -2.0


@pytest.mark.parametrize("spans", ["5", "nope", "[[1]]", '[["a", "b"]]'])
def test_a_damaged_rendering_is_an_error_in_words(spans: str) -> None:
    answers, turns = MemoryAnswers(), [Message("user", "hello")]
    lm = CachedLM(ScriptedLM(), answers)
    lm.chat(turns)
    lm.flush()
    answers.values = dict.fromkeys(answers.values, msgpack.packb(["text", spans]))
    with pytest.raises(StoreError, match="damaged"):
        lm.chat(turns)


@pytest.mark.parametrize(
    "value",
    [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x94\xa1x\x01\xc2\x01", msgpack.packb([math.nan, 1, False, False, 1])],
)
def test_a_damaged_answer_is_an_error_and_not_a_score(value: bytes) -> None:
    answers = MemoryAnswers()
    lm = CachedLM(ScriptedLM(), answers)
    lm.loglikelihood([("a", " b")])
    answers.values = dict.fromkeys(answers.values, value)
    with pytest.raises(StoreError, match="damaged"):
        lm.loglikelihood([("a", " b")])


def test_a_replay_needs_all_facts_of_its_model() -> None:
    facts = asdict(ScriptedLM().facts)
    assert ReplayedLM(facts).facts.name == "scripted"
    with pytest.raises(StoreError, match="which model"):
        ReplayedLM({**facts, "n_ctx": "many"})


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (None, "answers what is no answer"),
        (["yes", "no"], "answers what is no answer"),
        ([Generation("yes", 1, "stop")], "answers what is no answer"),
        ([Generation("yes", 1, "stop")] * 3, "answers what is no answer"),
        ([None, None], "does not answer each of 2 requests"),
        ([Generation("yes", 1.0, "stop")] * 2, "answers what is no answer \\('yes', 1.0, 'stop'\\)"),  # type: ignore[arg-type]
        ([Generation(b"yes", 1, "stop")] * 2, "answers what is no answer \\(b'yes', 1, 'stop'\\)"),  # type: ignore[arg-type]
    ],
)
def test_a_model_of_ones_own_that_breaks_its_contract_is_named_and_nothing_is_kept(answers: object, said: str) -> None:
    class Own(ScriptedLM):
        def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
            return answers  # type: ignore[return-value]

    kept = MemoryAnswers()
    with pytest.raises(ModelError, match=f"the model own {said}") as error:
        CachedLM(Own(name="own"), kept).generate(["a", "b"], GREEDY, [0, 0])
    assert error.value.hint.startswith("generate returns one localprompt.Generation per prompt")
    assert len(CachedLM(ScriptedLM(name="own"), kept).generate(["a", "b"], GREEDY, [0, 0])) == 2
