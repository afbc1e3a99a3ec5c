"""Hostile files, texts and workers against the real engine, on tiny models."""

from __future__ import annotations

import importlib.util
import io
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from tiny import CHATML, Oracle, oracle

from localprompt.engine.frames import read_frame
from localprompt.engine.process import EngineProcess
from localprompt.engine.settings import EngineSettings
from localprompt.engine.watchdog import Timeouts
from localprompt.engine.worker import FrameWriter
from localprompt.errors import ContextOverflow, ModelError
from localprompt.lm.local import LocalModel, load_model
from localprompt.types import Message, Sampling

SMALL = EngineSettings(n_ctx=512, n_ubatch=64, n_seq_max=8, lanes=4, n_threads=1)


def _hostile() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "hostile.py"
    spec = importlib.util.spec_from_file_location("hostile", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hostile"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


hostile = _hostile()


@pytest.fixture(scope="module")
def qwen(tiny_qwen: Path) -> Iterator[LocalModel]:
    with load_model(tiny_qwen, tune=False, n_ctx=4096, n_ubatch=256, n_seq_max=16, lanes=8, n_threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def naive(tiny_qwen: Path) -> Oracle:
    return oracle(tiny_qwen)


def texts(n: int) -> list[str]:
    return list(itertools.islice(hostile.hostile_texts(random.Random(3)), n))


def as_bytes(text: str) -> bytes:
    """What UTF-8 can carry: pairs of surrogates are characters, lone ones are replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def test_of_a_plain_text_nothing_is_interpreted_and_nothing_dropped(qwen: LocalModel, naive: Oracle) -> None:
    sent = texts(200)
    for text, tokens in zip(sent, qwen.tokenize(sent), strict=True):
        assert b"".join(map(naive.piece, tokens)) == as_bytes(text)
        assert not any(map(naive.is_control, tokens))


def test_in_a_chat_only_the_templates_own_control_tokens_are_some(qwen: LocalModel, naive: Oracle) -> None:
    expected = CHATML.count("<|im_start|>") + CHATML.count("<|im_end|>")
    for text in texts(60):
        prompt = qwen.chat([Message("user", text)])
        (tokens,) = qwen.tokenize([prompt])
        assert sum(map(naive.is_control, tokens)) == expected
        assert b"".join(map(naive.piece, tokens)) == as_bytes(f"user\n{text}\nassistant\n".replace("\ufdd0", ""))


def test_every_hostile_request_is_answered_or_named_as_too_long(qwen: LocalModel) -> None:
    pairs = [(text, " " + other) for text, other in itertools.pairwise(texts(100))]
    fitting = []
    for pair in pairs:
        if len(as_bytes("".join(pair))) < 500:  # bytes bound tokens
            fitting.append(pair)
        elif len(as_bytes("".join(pair))) > 20_000:
            with pytest.raises(ContextOverflow, match="request 0"):
                qwen.loglikelihood([pair])
    scores = qwen.loglikelihood(fitting)
    assert len(scores) == len(fitting) > 20
    assert all(score.n_tokens > 0 and score.logprob <= 0 for score in scores)
    generated = qwen.generate(
        [c for c, _ in fitting], Sampling(max_tokens=2, stop=("\x00", "\ud800")), [0] * len(fitting)
    )
    assert len(generated) == len(fitting)


def test_mutants_of_a_file_never_harm_this_process(tiny_qwen: Path, tmp_path: Path) -> None:
    tried = hostile.try_mutants(tiny_qwen, 300, random.Random(5), n_load=6)
    assert tried.crashes == []
    assert tried.refused + tried.accepted == 300
    assert sum(tried.loads.values()) == 6


def test_a_template_that_never_ends_is_given_up_and_the_model_lives_on(tiny_qwen: Path, tmp_path: Path) -> None:
    source = "{%for i in range(99999)%}{%for j in range(99999)%}{%endfor%}{%endfor%}"
    path = tmp_path / "endless.gguf"
    old = CHATML.encode()
    path.write_bytes(tiny_qwen.read_bytes().replace(old, source.encode().ljust(len(old))))
    with load_model(path, tune=False, n_ctx=512, n_ubatch=64, n_seq_max=8, lanes=4) as model:
        pid = model.pid
        with pytest.raises(ModelError, match="given up: it computes for more than"):
            model.chat([Message("user", "Hi")])
        assert model.tokenize(["the answer"])[0]
        assert model.pid == pid


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_worker_that_is_stopped_is_replaced(tiny_qwen: Path) -> None:
    engine = EngineProcess(tiny_qwen, SMALL, timeouts=Timeouts(silence=2))
    try:
        expected = engine.map("encode", [["the answer is", None]])
        first = engine.pid
        os.kill(first, signal.SIGSTOP)
        assert engine.map("encode", [["the answer is", None]]) == expected
        assert engine.pid != first
        assert not psutil.pid_exists(first)
    finally:
        engine.close()


def test_a_worker_beats_while_it_computes_and_only_then() -> None:
    out = io.BytesIO()
    writer = FrameWriter(out)
    with writer.computing():
        time.sleep(2.2)
    n_bytes = len(out.getvalue())
    time.sleep(1.2)
    assert len(out.getvalue()) == n_bytes, "nobody reads between calls: the pipe would fill up"
    out.seek(0)
    assert read_frame(out) == {"heartbeat": 1}
