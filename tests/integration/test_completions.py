"""Completions one step at a time: requests come and go, and none changes what another one says.

F32 cells and no flash attention, so that rounding does not depend on the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from tiny import CHAIN
from tiny_architectures import write_mamba2
from tiny_delta_nets import write_qwen35

from localprompt.engine import engine as engine_module
from localprompt.engine.completions import GenerateRequest, held_back
from localprompt.engine.engine import Engine, ScoreRequest
from localprompt.engine.llama import Llama
from localprompt.engine.serving import ServedCompletions, ServedRequest, Told
from localprompt.engine.settings import EngineSettings
from localprompt.errors import ModelError
from localprompt.types import Generation, Sampling

SETTINGS: dict[str, Any] = {"flash_attn": False, "kv_type": "f32", "n_threads": 1, "n_ctx": 2048, "n_ubatch": 64}
LONG = "xyz, 12 of 34 and so on; then the end"
PROMPTS = ["the answer is", "the answer is positive", "x", "the review of the film says", "the answer is positive or"]


def request(llama: Llama, prompt: str, seed: int, n: int = 12, **sampling: Any) -> GenerateRequest:
    tokens = tuple(llama.tokenize(prompt, control=False))
    return GenerateRequest(tokens, Sampling(max_tokens=n, **{"temperature": 1.0, **sampling}), seed)


@pytest.fixture(scope="module", params=["cells", "states", "streams"])
def engine(
    request: pytest.FixtureRequest, tiny_qwen: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    path = tiny_qwen
    if request.param == "states":
        path = tmp_path_factory.mktemp("states") / "mamba2.gguf"
        write_mamba2(path)
    llama = Llama(path, EngineSettings(**SETTINGS, n_seq_max=16, lanes=6, stream_ctx=32768))
    with pytest.MonkeyPatch.context() as monkeypatch:
        if request.param == "streams":
            monkeypatch.setattr(engine_module, "_LEAST_STREAMED", 1)
            monkeypatch.setattr(engine_module, "_FEWEST_STREAMS", 1)
        yield Engine(llama)


@pytest.fixture(scope="module")
def alone(engine: Engine) -> dict[int, Generation]:
    llama = engine._llama
    return {k: engine.generate([request(llama, PROMPTS[k % 5], k)])[0] for k in range(15)}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_requests_come_and_go_between_steps(engine: Engine, alone: dict[int, Generation], data: st.DataObject) -> None:
    engine.forget()  # an example that was given up in the middle leaves lanes
    llama = engine._llama
    every = [request(llama, PROMPTS[k % 5], k) for k in range(15)]
    completions = engine.completions(every)
    numbers: dict[int, int] = {}  # key to the number of the request
    waiting = data.draw(st.permutations(range(15)))
    found: dict[int, Generation] = {}
    cancelled: set[int] = set()
    while waiting or completions.busy:
        n = data.draw(st.integers(0 if completions.busy else 1, 5)) if waiting else 0
        now, waiting = waiting[:n], waiting[n:]
        numbers |= dict(zip(completions.add([every[k] for k in now]), now, strict=True))
        if numbers and data.draw(st.integers(0, 4)) == 0:
            key = data.draw(st.sampled_from(sorted(numbers)))
            completions.cancel(key)
            cancelled.add(key)
        if completions.busy:
            for key, generation in completions.step():
                assert key not in cancelled
                assert key not in found
                found[key] = generation
    assert {numbers[key]: generation for key, generation in found.items()} == {
        k: alone[k] for key, k in numbers.items() if key in found
    }
    assert set(found) | cancelled == set(numbers)


def test_what_a_completion_has_said_is_never_taken_back(engine: Engine) -> None:
    """A stop string that may be on its way is held back, and so is half a character."""
    llama = engine._llama
    stop = CHAIN.decode()[:2] * 3
    wanted = [request(llama, "☕", 0, 40, temperature=0.0, stop=(stop,)), *(request(llama, p, 1, 30) for p in PROMPTS)]
    completions = engine.completions(wanted)
    keys = completions.add(wanted)
    said: dict[int, list[str]] = {key: [""] for key in keys}
    results: dict[int, Generation] = {}
    while completions.busy:
        results.update(completions.step())
        for key in keys:
            if key not in results:
                said[key].append(completions.said(key))
    for key in keys:
        for before, after in zip(said[key], [*said[key][1:], results[key].text], strict=True):
            assert after.startswith(before)


@given(
    st.text("ab", max_size=12).map(str.encode),
    st.lists(st.text("ab", min_size=1, max_size=6).map(str.encode), max_size=5).map(sorted),
)
def test_what_is_held_back_is_the_longest_beginning_of_a_stop_string(data: bytes, stops: list[bytes]) -> None:
    assume(not any(stop in data for stop in stops))
    begun = (n for stop in stops for n in range(1, len(stop)) if data.endswith(stop[:n]))
    assert held_back(data, stops) == max(begun, default=0)


def test_as_many_stop_strings_as_a_request_may_have_cost_little() -> None:
    stops = sorted(b"a" * 1023 + bytes([k]) for k in range(64))
    began = time.process_time()
    assert held_back(b"a" * 3000, [*stops, b"b"]) == 1023
    assert not any(held_back(b"a" * 3000 + b"b", stops) for _ in range(100))
    assert time.process_time() - began < 1


def test_long_completions_have_streams_and_short_ones_share_cells(
    tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_LEAST_STREAMED", 2048)
    monkeypatch.setattr(engine_module, "_FEWEST_STREAMS", 8)
    llama = Llama(tiny_qwen, EngineSettings(**SETTINGS, n_seq_max=64, lanes=32))
    engine = Engine(llama)
    short = [request(llama, "the answer is", k, 8) for k in range(32)]
    long = [request(llama, "the answer is", k, 200) for k in range(32)]
    assert engine._streams_for(short) is None
    shape = engine._streams_for(long)
    assert shape is not None
    assert (shape.has_streams, shape.n_seq_max, shape.longest) == (True, 40, 256)
    none = Engine(Llama(tiny_qwen, EngineSettings(**SETTINGS, n_seq_max=64, lanes=32, stream_ctx=0)))
    assert none._streams_for(long) is None
    assert engine.generate(long[:20]) == none.generate(long[:20])


@pytest.mark.parametrize("kind", ["states", "streams"])
def test_many_seeds_of_many_prompts_find_room(tiny_qwen: Path, tmp_path: Path, kind: str) -> None:
    """Each prompt stands still until all of its completions have begun, and takes an id meanwhile."""
    path = tiny_qwen
    if kind == "states":
        path = tmp_path / "mamba2.gguf"
        write_mamba2(path)
    llama = Llama(path, EngineSettings(**{**SETTINGS, "n_ubatch": 512}, n_seq_max=20, lanes=10))
    n = 3 if kind == "states" else 210
    wanted = [request(llama, f"{chr(97 + k % 26)}{k} " + LONG, seed, n) for k in range(30) for seed in range(4)]
    engine = Engine(llama)
    assert (engine._streams_for(wanted) is not None) == (kind == "streams")
    assert len(engine.generate(wanted)) == len(wanted)


def test_completions_of_one_prompt_wait_for_cells(tmp_path: Path) -> None:
    write_qwen35(tmp_path / "hybrid.gguf")
    llama = Llama(tmp_path / "hybrid.gguf", EngineSettings(**{**SETTINGS, "n_ctx": 512}, n_seq_max=16, lanes=8))
    wanted = [request(llama, "the answer is positive or negative and", seed, 200) for seed in range(8)]
    assert len(Engine(llama).generate(wanted)) == 8


def test_after_an_error_nothing_is_said_that_no_prompt_stands_behind(
    tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama = Llama(tiny_qwen, EngineSettings(**SETTINGS, n_seq_max=16, lanes=6))
    completions = Engine(llama).completions(())
    completions.add([request(llama, prompt, 0, 30) for prompt in PROMPTS])
    completions.step()
    with monkeypatch.context() as broken:
        broken.setattr("localprompt.engine.context.C.llama_decode", lambda *_: 1)
        with pytest.raises(ModelError, match="code 1"):
            completions.step()
    assert not completions.busy


def test_a_long_prompt_begins_although_shorter_ones_keep_coming(tiny_qwen: Path) -> None:
    llama = Llama(tiny_qwen, EngineSettings(**SETTINGS, n_seq_max=16, lanes=6))
    engine = Engine(llama)
    completions = engine.completions(())
    (key,) = completions.add([request(llama, "the review of the film says " * 30, 0, 4)])
    ended: set[int] = set()
    for _ in range(40):
        completions.add([request(llama, "a", 0, 2)])
        ended |= {each for each, _ in completions.step()}
    assert key in ended


INSTRUCTION = "the answer is positive or negative and the review of the film says that the end "


def served(number: int, tokens: tuple[int, ...], n: int = 6) -> ServedRequest:
    return ServedRequest(number, tokens, Sampling(n), 0, None, is_streamed=False)


@pytest.fixture(scope="module")
def narrow(tiny_qwen: Path) -> Engine:
    return Engine(
        Llama(tiny_qwen, EngineSettings(**{**SETTINGS, "n_ctx": 512, "n_ubatch": 128}, n_seq_max=80, lanes=4))
    )


def test_an_instruction_is_read_twice_however_often_it_comes(narrow: Engine) -> None:
    narrow.forget()
    completions = ServedCompletions(narrow)
    texts = [INSTRUCTION + row for row in ("x", "film", "order", "text", "letter")]
    prompts = [tuple(narrow._llama.tokenize(text, control=False)) for text in texts]
    decoded: list[int] = []
    before = narrow.stats.tokens_decoded
    for number, tokens in enumerate(prompts):
        while not completions.step([served(number, tokens, 2)] if tokens else [], []):
            tokens = ()  # noqa: PLW2901 - it has been added
        decoded.append(narrow.stats.tokens_decoded - before - sum(decoded))
    assert decoded[0] >= len(prompts[0])
    assert decoded[1] >= len(prompts[1])
    assert max(decoded[2:]) < len(prompts[0]) // 3
    assert narrow.score([ScoreRequest(prompts[0], len(prompts[0]) - 1)])
    assert narrow.stats.tokens_decoded - before - sum(decoded) < len(prompts[0]) // 3  # scores have it too


@pytest.fixture(scope="module")
def fresh(tiny_qwen: Path) -> Callable[[tuple[int, ...]], tuple[float, str]]:
    """The log-probability of the last two tokens, and the completion, in an empty memory."""
    engine = Engine(Llama(tiny_qwen, EngineSettings(**{**SETTINGS, "n_ctx": 512}, n_seq_max=8, lanes=4)))

    @cache
    def alone(tokens: tuple[int, ...]) -> tuple[float, str]:
        engine.forget()
        (score,) = engine.score([ScoreRequest(tokens, len(tokens) - 2)])
        engine.forget()
        return score.logprob, engine.generate([GenerateRequest(tokens, Sampling(6), 0)])[0].text

    return alone


@settings(max_examples=30, phases=[Phase.generate], deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_kept_changes_no_completion_and_no_score(
    narrow: Engine, fresh: Callable[[tuple[int, ...]], tuple[float, str]], data: st.DataObject
) -> None:
    """Completions come and go, walks are given up in the middle, requests need all cells, and scores come between."""
    narrow.forget()
    llama = narrow._llama
    completions = ServedCompletions(narrow)
    stems = [INSTRUCTION, INSTRUCTION[:40], INSTRUCTION * 2, "x", INSTRUCTION * 18]
    for _ in range(data.draw(st.integers(1, 4))):
        texts = data.draw(
            st.lists(st.tuples(st.sampled_from(stems), st.sampled_from("abcdef")), min_size=1, max_size=6)
        )
        requests = [tuple(llama.tokenize(stem + end, control=False)) for stem, end in texts]
        waiting, ends = list(range(len(requests))), dict[int, Told]()
        cancelled: set[int] = set()
        while len(ends) + len(cancelled) < len(requests):
            n = data.draw(st.integers(1, len(waiting))) if waiting else 0
            now, waiting = waiting[:n], waiting[n:]
            gone = {
                k for k in set(range(len(requests))) - {*waiting, *ends, *cancelled, *now} if data.draw(st.booleans())
            }
            cancelled |= gone
            for told in completions.step([served(k, requests[k]) for k in now], sorted(gone)):
                ends[told.key] = told
        scores = narrow.score([ScoreRequest(tokens, len(tokens) - 2) for tokens in requests])
        for tokens, score in zip(requests, scores, strict=True):
            assert score.logprob == pytest.approx(fresh(tokens)[0], abs=1e-4)
        for key, told in ends.items():
            assert told.text == fresh(requests[key])[1]
