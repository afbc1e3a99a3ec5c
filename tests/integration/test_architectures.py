"""The engine on architectures beyond a plain transformer: tiny F32 files of each, held against the naive oracle.

First the files themselves: they load, they are what they claim to be, and the oracle gives the same numbers for a text
in one batch and token by token. Then the engine: scoring and generating are the oracle's, in shapes that force more
leaves than sequences and requests longer than a batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from naive import EXACT, TOLERANCE, Pair, Pairs, assert_on_expected_gpu, assert_same, greedy, naive_scores, texts, trees
from tiny import CORPUS, N_CTX, Oracle, oracle
from tiny_architectures import ATTENTION, RECURRENT, write_gemma3, write_gpt_oss, write_lfm2
from tiny_weights import WINDOW

from localprompt.engine.completions import GenerateRequest
from localprompt.engine.engine import Engine
from localprompt.engine.gguf_reader import read_header
from localprompt.engine.llama import Llama
from localprompt.engine.settings import EngineSettings
from localprompt.lm.local import LocalModel, load_model
from localprompt.types import Sampling

FILES = {**ATTENTION, **RECURRENT}
SHAPES: dict[str, dict[str, Any]] = {
    "few": {**EXACT, "n_ctx": N_CTX, "n_ubatch": 8, "n_seq_max": 3, "lanes": 2},
    "many": {**EXACT, "n_ctx": 2048, "n_ubatch": 64, "n_seq_max": 16, "lanes": 12},
}
MANY = frozenset({"gemma3", "gpt-oss", "granitehybrid", "kimi-linear", "lfm2-windowed", "mamba2", "qwen35", "rwkv7"})
"""Tried with many sequences too: one or two of each kind of memory that llama.cpp has."""
ONLY_WINDOWS = {
    "gemma3": lambda path: write_gemma3(path, every=100),
    "gpt-oss": lambda path: write_gpt_oss(path, every=100),
    "lfm2": lambda path: write_lfm2(path, windowed=True),
}
SEEN_LATE = 0.05  # nats that one early token moves the next one's log-probabilities, 200 tokens later
LONG = " ".join(CORPUS.split())[:440]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("architectures")


def written(folder: Path, name: str) -> Path:
    path = folder / f"{name}.gguf"
    if not path.exists():
        FILES[name](path)
    return path


# ---- the files


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, folder: Path) -> Oracle:
    return oracle(written(folder, request.param))


def moved_by(naive: Oracle, tokens: Sequence[int], position: int) -> npt.NDArray[np.float64]:
    """How far the log-probabilities after each token move at most, in nats, if the one at `position` is another."""
    changed = [*tokens[:position], tokens[position] + 1, *tokens[position + 1 :]]
    return np.asarray(np.abs(naive.logprobs(tokens) - naive.logprobs(changed)).max(axis=1))


def test_a_batch_and_single_tokens_give_the_same_numbers(file: Oracle) -> None:
    tokens = file.tokenize(LONG)
    assert np.abs(file.logprobs_one_by_one(tokens) - file.logprobs(tokens)).max() < TOLERANCE


@pytest.mark.parametrize("name", [name for name in FILES if name != "lfm2-windowed"])
def test_an_early_token_is_seen_late(folder: Path, name: str) -> None:
    """States do not decay to nothing, attention is not uniform, and full layers look beyond windows."""
    naive = oracle(written(folder, name))
    tokens = (naive.tokenize(LONG) * 2)[:200]
    assert moved_by(naive, tokens, 2)[-1] > SEEN_LATE


@pytest.mark.parametrize("name", ONLY_WINDOWS)
def test_windows_are_in_effect(folder: Path, name: str) -> None:
    """Without a full layer, a token beyond all windows is not seen, and one inside is."""
    path = folder / f"{name}-of-windows-only.gguf"
    ONLY_WINDOWS[name](path)
    header = read_header(path)
    assert header.integer(f"{header.architecture}.attention.sliding_window") == WINDOW
    naive = oracle(path)
    tokens = naive.tokenize(LONG)
    moved = moved_by(naive, tokens, 2)
    beyond = 2 + header.block_count * WINDOW
    assert moved[2 + WINDOW // 2] > SEEN_LATE
    assert beyond < len(tokens)
    assert moved[beyond:].max() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", FILES)
def test_llama_cpp_takes_for_recurrent_what_is(folder: Path, name: str) -> None:
    model = oracle(written(folder, name)).model
    is_so = llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model)
    assert is_so == (name in RECURRENT)


def test_heads_are_tied_and_untied(folder: Path) -> None:
    tied = {
        name
        for name in FILES
        if all(tensor.name != "output.weight" for tensor in read_header(written(folder, name)).tensors)
    }
    assert tied == {"gemma2", "gemma3", "gemma3n", "gemma4", "lfm2", "lfm2-windowed", "llama-tied", "mamba"}


def test_the_table_of_architectures_names_all_that_are_held_to_the_oracle(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| equal", page, re.MULTILINE)
    listed = {name for row in rows for name in re.split(r"[ ,]+", row)}
    held = {read_header(written(folder, name)).architecture for name in FILES}
    assert held <= listed
    assert {"qwen2", "llama"} <= listed


# ---- the engine


TRIED = [(name, shape) for name in FILES for shape in SHAPES if shape == "few" or name in MANY]


@pytest.fixture(scope="module", params=TRIED, ids="-".join)
def lm(request: pytest.FixtureRequest, folder: Path) -> Iterator[LocalModel]:
    name, shape = request.param
    with load_model(written(folder, name), **SHAPES[shape]) as model:
        assert_on_expected_gpu(model)
        yield model


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs=trees())
@example(pairs=[(LONG[: 20 * n], f" {word}") for n in range(7) for word in ("positive", "negative and", "x")])
@example(pairs=[(LONG, label) for label in ("a", " positive", "\n\n", " positive or", " positive or negative")])
def test_random_trees_are_scored_as_by_the_oracle(lm: LocalModel, pairs: Pairs) -> None:
    assert_same(lm.loglikelihood(pairs), naive_scores(oracle(lm.path), pairs))


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompts=st.lists(texts.map("the".__add__), max_size=8))
@example(prompts=[LONG[:n] + end for n in (3, 20, 200, 400) for end in ("", " x", " x\n")])
def test_greedy_generation_is_the_oracles(lm: LocalModel, prompts: list[str]) -> None:
    naive, max_tokens = oracle(lm.path), 12
    found = lm.generate(prompts, Sampling(max_tokens=max_tokens), list(range(len(prompts))))
    for prompt, completion in zip(prompts, found, strict=True):
        expected, margin = greedy(naive, prompt, max_tokens)
        if margin > TOLERANCE:  # else rounding decides
            assert (completion.text, completion.n_tokens) == (naive.text(expected), len(expected))


def test_a_completion_depends_on_its_own_prompt_and_seed_only(lm: LocalModel) -> None:
    prompts = ["the answer is", LONG[:100], "the answer is positive", "x", "the answer is", LONG]
    seeds, sampling = [1, 2, 3, 4, 1, 5], Sampling(max_tokens=12, temperature=1.0)
    together = lm.generate(prompts, sampling, seeds)
    alone = [lm.generate([prompt], sampling, [seed])[0] for prompt, seed in zip(prompts, seeds, strict=True)]
    assert together == alone
    assert together[0] == together[4]


TO_16_BITS, TO_8_BITS = 0.02, 0.3  # nats, of a sum: several times what was seen
PAIRS = [(LONG[:200], f" {word}") for word in ("positive", "negative", "x\n", "and the review")] + [(LONG, " is")]


@pytest.mark.parametrize("name", sorted(MANY))
def test_the_default_settings_differ_by_no_more_than_16_bits_round(folder: Path, name: str) -> None:
    """Flash attention and 16-bit cells are what people use, with windows and sinks too."""
    path = written(folder, name)
    with load_model(path, tune=False) as model:
        found = model.loglikelihood(PAIRS)
    expected = [score.logprob for score in naive_scores(oracle(path), PAIRS)]
    assert [score.logprob for score in found] == pytest.approx(expected, abs=TO_16_BITS)


def test_scores_of_a_quantised_gemma_are_aligned_with_their_tokens(folder: Path) -> None:
    """A BOS before each text, windows and rounded weights, as in real files; a shift by one would be off by nats."""
    path = folder / "gemma3-q8_0.gguf"
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    assert llama_cpp.llama_model_quantize(str(written(folder, "gemma3")).encode(), str(path).encode(), params) == 0
    naive, requests = oracle(path), [Pair(oracle(path), *pair) for pair in PAIRS]
    expected = [request.score(naive).logprob for request in requests]
    with load_model(path, tune=False) as model:
        together = model.loglikelihood(PAIRS)
        alone = [model.loglikelihood([pair])[0] for pair in PAIRS]
    for found in (together, alone):
        assert [score.logprob for score in found] == pytest.approx(expected, abs=TO_8_BITS)
    for request, logprob in zip(requests, expected, strict=True):
        rows, tokens = naive.logprobs(request.tokens), request.tokens
        assert tokens[0] == naive.bos
        shifted = sum(float(rows[i, tokens[i]]) for i in range(request.start, len(tokens)))
        assert abs(shifted - logprob) > 3 * TO_8_BITS


@pytest.mark.parametrize("name", ["mamba2", "qwen35"])
def test_many_short_stems_find_room(folder: Path, name: str) -> None:
    """More places where the tree branches than sequences, all of them in the rows of one batch."""
    stems = [f"{chr(97 + n)}z" for n in range(20)]
    pairs = [(stem, f"{mark}!?") for stem in stems for mark in "!?#$%&*+-="]
    with load_model(written(folder, name), **SHAPES["many"]) as model:
        assert_same(model.loglikelihood(pairs), naive_scores(oracle(model.path), pairs))


def test_windows_beside_states_lose_no_cell(folder: Path) -> None:
    """llama.cpp writes over what only one sequence holds and its window has passed, although the cache is large."""
    pairs = [(LONG[: 20 * n], f" {word}") for n in range(7) for word in ("positive", "negative and", "x")]
    with load_model(written(folder, "lfm2-windowed"), **SHAPES["few"]) as model:
        assert_same(model.loglikelihood(pairs), naive_scores(oracle(model.path), pairs))


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_a_prefix_that_waits_for_room_is_whole_behind_windows(folder: Path, name: str) -> None:
    """A long completion runs while the next prompt waits for cells; the one after it shares less of the prefix.

    llama.cpp writes over cells that only one sequence holds and whose window has passed. A completion that ends first
    leaves a gap before the prefix, which sends llama.cpp there.
    """
    rng = np.random.default_rng(1)

    def text(*tokens: int, n: int) -> tuple[int, ...]:
        return (*tokens, *rng.integers(3, 250, n).tolist())

    prefix = text(3, n=50)
    prompts = {text(1, n=20): 200, text(2, n=30): 6, text(*prefix, 10, n=3): 1, text(*prefix, 20, n=120): 200}
    last = text(*prefix[:25], 251, n=6)
    requests = [GenerateRequest(tokens, Sampling(max_tokens=n), 0) for tokens, n in {**prompts, last: 10}.items()]
    path = written(folder, name)
    exact = {key: value for key, value in EXACT.items() if key != "tune"}
    model = Llama(path, EngineSettings(n_ctx=N_CTX, n_ubatch=64, n_seq_max=8, lanes=4, **exact))
    found = Engine(model).generate(requests)[-1]
    assert found.text == oracle(path).text(oracle(path).greedy(last, 10))
