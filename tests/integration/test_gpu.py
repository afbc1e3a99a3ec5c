"""The engine with all layers on a GPU, held against a naive decode on the CPU. Skipped where llama.cpp sees no GPU.

Backends of GPUs multiply in 16 bits where the device can, F32 weights too: what that moves is stated here, in nats.
`scripts/vulkan_software.sh` runs this, on a software device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import platformdirs
import pytest
from naive import EXACT, assert_on_expected_gpu, naive_scores
from tiny import CORPUS, Oracle, oracle
from tiny_architectures import ATTENTION, RECURRENT

from localprompt.engine.device_list import visible
from localprompt.engine.settings import EngineSettings
from localprompt.engine.tuning import tuned
from localprompt.hub import files as models
from localprompt.lm.check import check_model
from localprompt.lm.local import LocalModel, load_model
from localprompt.types import Loglikelihood, Sampling

pytestmark = pytest.mark.skipif(not visible(), reason="llama.cpp sees no GPU here")

FILES = {**ATTENTION, **RECURRENT}
IN_32_BITS = "GGML_VK_DISABLE_F16" in os.environ
FROM_CPU = 0.03 if IN_32_BITS else 0.15
"""Nats of a sum, between a plain decode on the CPU and the engine on a GPU: seen, up to 0.016 and 0.056."""
FROM_PLAIN = 0.01 if IN_32_BITS else 0.1
"""The same between a plain decode on the GPU and the engine there, whose batches have other shapes: 0.003 and 0.041."""
LONG = " ".join(CORPUS.split())[:440]
PAIRS = [(LONG[:n], f" {word}") for n in (0, 20, 200, 440) for word in ("positive", "negative and", "x")]
SENTENCES = [
    ("The capital of France is", " Paris"),
    ("The capital of France is", " Rome"),
    ("Two and two are", " four"),
    ("Two and two are", " five"),
    ("Once upon a time there was a", " king who had three sons"),
    ("def add(a, b):\n    return a", " + b"),
]


def difference(found: Sequence[Loglikelihood], expected: Sequence[Loglikelihood]) -> float:
    return max(abs(one.logprob - other.logprob) for one, other in zip(found, expected, strict=True))


@pytest.fixture(params=FILES)
def tiny(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalModel]:
    path = tmp_path / f"{request.param}.gguf"
    FILES[request.param](path)
    with load_model(path, **EXACT, n_ctx=2048, n_ubatch=64, n_seq_max=16, lanes=12) as lm:
        assert_on_expected_gpu(lm)
        yield lm


def test_all_layers_are_on_a_gpu_and_scores_are_those_of_the_cpu(tiny: LocalModel) -> None:
    assert tiny.on_gpus["layers"] == tiny.on_gpus["of"] > 1
    found, plain = tiny.loglikelihood(PAIRS), Oracle(tiny.path, on_gpu=True)
    from_cpu = difference(found, naive_scores(oracle(tiny.path), PAIRS))
    from_plain = difference(found, naive_scores(plain, PAIRS))
    plain.close()
    print(f"{tiny.name}: {from_cpu:.6f} nats from the CPU, {from_plain:.6f} from a plain decode")  # noqa: T201
    assert from_cpu < FROM_CPU
    assert from_plain < FROM_PLAIN


def test_no_layer_is_on_a_gpu_where_none_is_asked_for(tiny_llama: Path) -> None:
    with load_model(tiny_llama, **EXACT, n_gpu_layers=0) as lm:
        assert lm.on_gpus == {}
        on_cpu = lm.fingerprint, lm.loglikelihood(PAIRS)
    with load_model(tiny_llama, **EXACT) as lm:
        assert_on_expected_gpu(lm)
        assert lm.fingerprint != on_cpu[0], "answers of both must not be taken for one another"
        assert lm.facts.identity is not None
        assert lm.facts.identity["gpus"] == [gpu.description for gpu in visible()]
    expected = naive_scores(oracle(tiny_llama), PAIRS)
    assert [score.logprob for score in on_cpu[1]] == pytest.approx([score.logprob for score in expected], abs=1e-4)


def test_some_layers_may_stay_on_the_cpu(tiny_llama: Path) -> None:
    with load_model(tiny_llama, **EXACT, n_gpu_layers=1, main_gpu=0) as lm:
        assert lm.on_gpus["layers"] == 1
        found = [score.logprob for score in lm.loglikelihood(PAIRS)]
    expected = [score.logprob for score in naive_scores(oracle(tiny_llama), PAIRS)]
    assert found == pytest.approx(expected, abs=FROM_CPU)


def test_a_check_of_a_model_names_the_gpu(tiny_llama: Path) -> None:
    (said,) = (finding.said for finding in check_model(tiny_llama, {}) if finding.name == "devices")
    assert all(gpu.description in said for gpu in visible())
    assert "layers on" in said


def test_settings_are_measured_with_layers_on_the_gpu(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path))
    found = tuned(tiny_llama, "a hash", EngineSettings(n_ctx=4096), fixed=())
    assert {trial.of for trial in found.trials} == {"prefill", "completions"}
    assert {False, None} <= {trial.settings["flash_attn"] for trial in found.trials if trial.rate}
    assert {64, 192} == {trial.settings["lanes"] for trial in found.trials if trial.of == "completions" and trial.rate}
    print([f"{trial.settings}: {trial.rate:.0f}" for trial in found.trials if trial.rate])  # noqa: T201


def test_the_largest_batches_and_most_lanes_say_what_plain_decoding_says(tiny_llama: Path) -> None:
    pairs = [(f"{number} {context}", continuation) for number in range(75) for context, continuation in PAIRS]
    with load_model(tiny_llama, tune=False, n_ctx=8192, n_ubatch=2048, n_seq_max=256, lanes=192, kv_type="f32") as lm:
        assert_on_expected_gpu(lm)
        before, found = lm.stats, lm.loglikelihood(pairs)
        n_calls, n_rows = lm.stats.decode_calls - before.decode_calls, lm.stats.tokens_decoded - before.tokens_decoded
        assert n_rows / n_calls > 1024
        sampling = Sampling(max_tokens=4, temperature=0.0)
        written = lm.generate([LONG[:n] for n in range(200, 400)], sampling, list(range(200)))
        assert [each.text for each in lm.generate([LONG[:200]], sampling, [0])] == [written[0].text]
    plain = Oracle(tiny_llama, on_gpu=True)
    assert difference(found[-100:], naive_scores(plain, pairs[-100:])) < FROM_PLAIN
    plain.close()


@pytest.mark.real
def test_a_real_quantised_model_reads_and_writes_as_on_the_cpu() -> None:
    path = models.resolve("smollm2-135m-instruct")
    prompts = [context for context, _ in SENTENCES[::2]]
    sampling, seeds = Sampling(max_tokens=12, temperature=0.0), list(range(len(prompts)))
    with load_model(path, tune=False, n_ctx=1024, n_gpu_layers=0) as lm:
        on_cpu, written = lm.loglikelihood(SENTENCES), lm.generate(prompts, sampling, seeds)
    with load_model(path, tune=False, n_ctx=1024) as lm:
        assert_on_expected_gpu(lm)
        assert lm.on_gpus["layers"] == lm.on_gpus["of"] == 31
        on_gpu, rewritten = lm.loglikelihood(SENTENCES), lm.generate(prompts, sampling, seeds)
    moved = difference(on_cpu, on_gpu)
    same = sum(one.text == other.text for one, other in zip(written, rewritten, strict=True))
    print(f"smollm2: {moved:.6f} nats, {same} of {len(prompts)} completions equal")  # noqa: T201 - a measurement
    assert moved < 0.5, "as far as batches of quantised models move it on the CPU"
