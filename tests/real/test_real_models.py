"""Real quantised models, pulled once into the model cache. Neither wants a BOS; a tiny Gemma 3, which does, is tested
with the other architectures.

Quantised kernels round differently with the rows of a batch, so a score has a noise floor. It is measured and printed
here; what must hold exactly is tested on the tiny F32 models.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import Oracle

import localprompt
from localprompt.hub import files as models
from localprompt.lm.local import LocalModel, load_model
from localprompt.store import Store
from localprompt.types import Message, Sampling

pytestmark = pytest.mark.real

SMOL = "smollm2-135m-instruct"
NAMES = (SMOL, "qwen2.5-coder-0.5b-instruct")
CONTEXT = "Text: the film is a joy from start to end.\nSentiment:"
PAIRS = [
    (CONTEXT, " positive"),
    (CONTEXT, " negative"),
    ("The capital of France is", " Paris, and the capital of Italy is Rome."),
    ("The capital of Fra", "nce is Paris."),
    ("1, 2, 3, 4,", " 5, 6, 7"),
    ("def add(a, b):\n    return", " a + b"),
]
NOISE = 1.0  # nats, of a sum: several times what was seen


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def lm(name: str) -> Iterator[LocalModel]:
    with load_model(models.resolve(name), tune=False, n_ctx=4096) as model:
        yield model


@pytest.fixture(scope="module")
def smol() -> Iterator[LocalModel]:
    with load_model(SMOL, tune=False, n_ctx=4096) as model:
        yield model


def test_scores_are_aligned_with_their_tokens(lm: LocalModel, name: str) -> None:
    """Against one request a decode; a shift by one token would be off by many nats."""
    naive = Oracle(models.resolve(name))
    found = lm.loglikelihood(PAIRS)
    for (context, continuation), score in zip(PAIRS, found, strict=True):
        tokens = naive.tokenize(context + continuation)
        assert naive.bos not in tokens
        rows = naive.logprobs(tokens)
        scored = range(len(tokens) - score.n_tokens, len(tokens))
        assert b"".join(map(naive.piece, tokens[scored.start :])).decode().endswith(continuation)
        assert b"".join(map(naive.piece, tokens[scored.start + 1 :])).decode() in continuation
        expected = sum(float(rows[i - 1, tokens[i]]) for i in scored)
        shifted = sum(float(rows[i, tokens[i]]) for i in scored)
        assert score.logprob == pytest.approx(expected, abs=NOISE)
        if score.n_tokens > 2:  # a single token can have the same probability one place further by chance
            assert abs(score.logprob - shifted) > 3 * NOISE
    naive.close()


def test_likely_continuations_score_above_unlikely_ones(lm: LocalModel) -> None:
    pairs = [("The capital of France is", " Paris"), ("The capital of France is", " seven")]
    likely, unlikely = lm.loglikelihood(pairs)
    assert likely.logprob > unlikely.logprob + 3


def test_the_noise_floor_is_below_a_nat(lm: LocalModel, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same requests alone, together, and among neighbours that change the shapes of the batches."""
    neighbours = [(f"Word {n}: {'again ' * (n % 7)}", "and so on") for n in range(12)]
    alone = [lm.loglikelihood([pair])[0].logprob for pair in PAIRS]
    together = [score.logprob for score in lm.loglikelihood(PAIRS)]
    among = [score.logprob for score in lm.loglikelihood(neighbours + PAIRS)][len(neighbours) :]
    floor = max(abs(a - b) for other in (together, among) for a, b in zip(alone, other, strict=True))
    with capsys.disabled():
        print(f"\nnoise floor of {name}: {floor:.3f} nats")  # noqa: T201 - a measurement is to be seen
    assert floor < NOISE


def test_the_same_call_gives_the_same_numbers(smol: LocalModel) -> None:
    assert smol.loglikelihood(PAIRS) == smol.loglikelihood(PAIRS)


def test_a_chat_is_answered(smol: LocalModel) -> None:
    assert smol.has_chat
    prompt = smol.chat([Message("user", "Name the capital city of France.")])
    (answer,) = smol.generate([prompt], Sampling(max_tokens=24), [0])
    assert "Paris" in answer.text
    assert "<|im_end|>" not in answer.text
    assert answer.finish_reason == "stop"


def test_generation_repeats_with_its_seed(smol: LocalModel) -> None:
    prompts = ["Once upon a time", "The best way to learn", "Once upon a time"]
    sampling = Sampling(max_tokens=16, temperature=0.9, top_p=0.95)
    first = smol.generate(prompts, sampling, [1, 2, 3])
    assert smol.generate(prompts, sampling, [1, 2, 3]) == first
    assert first[0].text != first[2].text
    assert all(completion.text for completion in first)


TASK = """
name: colours
description: Name the group that the word belongs to.
data:
  file: words.jsonl
  split: {train: 16, dev: 16, test: 16}
labels: [colour, animal]
layout:
  template: "{{instruction}}\\n\\nWord: {{input}}\\nGroup:"
"""
COLOURS = ["red", "blue", "green", "yellow", "black", "white", "brown", "pink", "purple", "orange", "grey", "violet"]
ANIMALS = ["dog", "cat", "horse", "cow", "lion", "tiger", "wolf", "bear", "sheep", "goat", "mouse", "rabbit"]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task file, 16 rows a split, with two labels."""
    rows = [
        (f"{size}{word}", label)
        for label, words in (("colour", COLOURS), ("animal", ANIMALS))
        for word in words
        for size in ("", "light " if label == "colour" else "small ")
    ]
    (tmp_path / "words.jsonl").write_text("\n".join(json.dumps({"input": i, "target": t}) for i, t in rows))
    path = tmp_path / "task.yaml"
    path.write_text(TASK)
    return path


def test_a_small_optimisation_runs_end_to_end(task: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "localprompt",
        "optimize",
        str(task),
        "--model",
        SMOL,
        "--json",
        "--method",
        "ape",
        "--seed",
        "1",
        "--set",
        "queries=2",
        "--set",
        "per_query=3",
        "--set",
        "resample_rounds=0",
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert (result["method"], result["model"], result["test"]["best"]["n"]) == ("ape", SMOL, 16)
    assert 0 <= result["test"]["best"]["low"] <= result["test"]["best"]["mean"] <= result["test"]["best"]["high"] <= 1
    assert result["best"]["dev"]["n"] == 16
    assert result["test"]["difference"].keys() >= {"mean", "low", "high", "p"}
    assert result["spend"]["tokens_requested"] > result["spend"]["tokens_decoded"] > 0
    assert isinstance(result["best"]["prompt"]["instruction"], str)
    assert all(n > 0 for n in result["discards"].values())


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("protegi", {"rounds": 1, "minibatch": 8, "groups": 1, "gradients": 1, "paraphrases": 0, "max_tokens": 24}),
        ("opro", {"steps": 2, "per_step": 4, "draws": 2, "max_tokens": 24}),
        ("pe2", {"steps": 1, "expand": 1, "rewrites": 1, "reasoning_tokens": 16, "prompt_tokens": 24}),
    ],
)
def test_every_method_comes_to_a_result_whatever_the_model_writes(
    smol: LocalModel, task: Path, tmp_path: Path, method: str, settings: dict[str, object]
) -> None:
    """From an empty prompt to short texts; each method comes to its own requests before the budget ends."""
    max_calls, few = 120, {"init_prompts": 2} | ({} if method == "pe2" else {"init_tokens": 24})
    with Store(tmp_path / "store.sqlite") as store:
        result = localprompt.optimize(
            task, smol, method=method, settings=settings | few, seed=1, max_calls=max_calls, store=store
        )
        candidates, discards = store.runs.candidates(result.run_id), store.runs.discards(result.run_id)
    assert (result.status, result.method, result.model) == ("finished", method, SMOL)
    assert 0 < result.spend.calls <= max_calls
    assert result.spend.tokens_requested >= result.spend.tokens_decoded > 0
    assert result.test is not None
    assert (result.test.seed.n, result.test.best.n) == (16, 16)
    assert 0 <= result.test.best.low <= result.test.best.mean <= result.test.best.high <= 1
    assert result.dev is not None
    assert result.dev.n == 16
    assert result.noise is not None
    assert result.verdict
    # What was written is a candidate or was discarded for a reason that is counted.
    assert result.best in [each.prompt for each in candidates]
    assert result.discards == Counter(each.reason for each in discards)
    assert len(candidates) + len(discards) > 1
    assert json.loads(json.dumps(result.to_json()))["discards"] == dict(result.discards)
