"""The engine against a naive oracle on tiny F32 models: one request a decode, its own fresh cache, no code shared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from naive import EXACT, TOLERANCE, Pair, Pairs, assert_on_expected_gpu, assert_same, naive_scores, texts, trees
from scipy import stats
from tiny import CHAIN, N_CTX, Oracle, oracle

from localprompt.engine.process import EngineProcess
from localprompt.engine.settings import EngineSettings
from localprompt.errors import ContextOverflow, ModelError, WorkerDied
from localprompt.lm.local import LocalModel, load_model
from localprompt.types import Message, Sampling

SHAPES: dict[str, dict[str, Any]] = {
    "wide": {**EXACT, "n_ctx": 4096, "n_ubatch": 512, "n_seq_max": 128, "lanes": 64},
    "narrow": {**EXACT, "n_ctx": N_CTX, "n_ubatch": 8, "n_seq_max": 3, "lanes": 2},
}


def n_prefixes(naive: Oracle, pairs: Pairs) -> int:
    """Rows that need decoding: distinct prefixes of all requests, each without its last token."""
    tokens = [Pair(naive, *pair).tokens[:-1] for pair in pairs]
    return len({tuple(request[:end]) for request in tokens for end in range(1, len(request) + 1)})


@pytest.fixture(scope="module")
def naive(tiny_model: Path) -> Oracle:
    return oracle(tiny_model)


@pytest.fixture(scope="module", params=SHAPES)
def lm(request: pytest.FixtureRequest, tiny_model: Path) -> Iterator[LocalModel]:
    with load_model(tiny_model, **SHAPES[request.param]) as model:
        assert_on_expected_gpu(model)
        yield model


@pytest.fixture(scope="module")
def wide(tiny_model: Path) -> Iterator[LocalModel]:
    with load_model(tiny_model, **SHAPES["wide"]) as model:
        assert_on_expected_gpu(model)
        yield model


@pytest.fixture(scope="module")
def qwen(tiny_qwen: Path) -> Iterator[LocalModel]:
    with load_model(tiny_qwen, **SHAPES["wide"]) as model:
        yield model


# ---- scoring


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs=trees())
@example(pairs=[])
@example(pairs=[("the answer is", " positive")])
@example(pairs=[("the answer is", " positive")] * 5)
@example(pairs=[("the answer", " is"), ("the answer is", " positive"), ("the answer is positive", " and")])
@example(pairs=[("the answer is", f" {letter}") for letter in "abcdefghijklmnopqrstuvwxyz"])
@example(pairs=[("the answer is positive or negative " * 12, label) for label in ("a", " positive", "\n\n")])
def test_random_trees_equal_the_oracle(lm: LocalModel, naive: Oracle, pairs: Pairs) -> None:
    assert_same(lm.loglikelihood(pairs), naive_scores(naive, pairs))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs=trees())
def test_each_prefix_is_decoded_once_and_last_tokens_never(lm: LocalModel, naive: Oracle, pairs: Pairs) -> None:
    before = lm.stats
    lm.loglikelihood(pairs)
    after = lm.stats
    reused = after.tokens_reused - before.tokens_reused
    assert after.tokens_decoded - before.tokens_decoded + reused == n_prefixes(naive, pairs)
    assert after.tokens_requested - before.tokens_requested >= after.tokens_decoded - before.tokens_decoded
    assert after.output_rows - before.output_rows <= after.tokens_decoded - before.tokens_decoded


def test_a_second_round_has_the_prompts_of_the_first(wide: LocalModel, naive: Oracle) -> None:
    stem = "of the word then the answer is the end of the film and the review of the order is positive "
    prompts = [f"write the {what} {stem}" for what in ("plural", "letter")]
    rounds = [
        [(prompt + row, f" {word}") for prompt in prompts for row in rows for word in ("x", "positive or")]
        for rows in (("a", "film", "negative"), ("b", "order", "text"))
    ]
    before = wide.stats
    for pairs in rounds:
        assert_same(wide.loglikelihood(pairs), naive_scores(naive, pairs))
    reused = wide.stats.tokens_reused - before.tokens_reused
    decoded = wide.stats.tokens_decoded - before.tokens_decoded
    assert decoded + reused == sum(n_prefixes(naive, pairs) for pairs in rounds)
    assert reused > 0.8 * n_prefixes(naive, [(prompt, " x") for prompt in prompts])
    wide.generate(["the answer is"] * 2, Sampling(max_tokens=3), [0, 1])
    assert_same(wide.loglikelihood(rounds[0]), naive_scores(naive, rounds[0]))


def test_what_a_measurement_between_two_rounds_forgets_is_computed_again(wide: LocalModel, naive: Oracle) -> None:
    stem = "of the word then the answer is the end of the film and the review of the order is positive "
    pairs = [(f"write the letter {stem}{row}", " x") for row in ("a", "film", "negative")]
    for _ in range(2):
        assert_same(wide.loglikelihood(pairs), naive_scores(naive, pairs))
        wide._engine.call("generation_rate", n_tokens=4)


def test_the_default_settings_differ_by_no_more_than_16_bits_round(tiny_model: Path, naive: Oracle) -> None:
    context = "the answer is positive or negative and the review of the film says that " * 3
    pairs = [(context[:n], f" {word}") for n in (20, 60, 200) for word in ("positive", "negative", "x")]
    with load_model(tiny_model, tune=False) as model:
        found = model.loglikelihood(pairs)
    assert [score.logprob for score in found] == pytest.approx([s.logprob for s in naive_scores(naive, pairs)], abs=0.1)


def test_the_order_of_requests_only_permutes_the_results(lm: LocalModel) -> None:
    pairs = [("the answer is" + " and" * n, label) for n in range(5) for label in (" positive", " negative", "e")]
    assert lm.loglikelihood(pairs[::-1])[::-1] == lm.loglikelihood(pairs)


def test_only_the_rows_that_are_needed_get_logits(wide: LocalModel, naive: Oracle) -> None:
    pairs = [("the answer is positive or negative and", f" {word}") for word in ("the", "positive", "x")]
    before = wide.stats.output_rows
    wide.loglikelihood(pairs)
    needed = {
        tuple(request.tokens[:i])
        for request in (Pair(naive, *pair) for pair in pairs)
        for i in range(request.start, len(request.tokens))
    }
    assert wide.stats.output_rows - before == len(needed)


def test_an_empty_context_is_scored_from_bos(lm: LocalModel, naive: Oracle) -> None:
    pairs = [("", "the answer is"), ("", "x"), ("", ""), ("x", "")]
    found = lm.loglikelihood(pairs)
    assert_same(found, naive_scores(naive, pairs))
    assert [score.n_tokens > 0 for score in found] == [True, True, False, False]


def test_bos_comes_first_and_once_where_the_model_wants_it(tiny_llama: Path, tiny_qwen: Path) -> None:
    for path, bos in ((tiny_llama, [1]), (tiny_qwen, [])):
        with load_model(path, **SHAPES["wide"]) as model:
            tokens = model.tokenize(["the answer", ""])
        assert tokens == [oracle(path).tokenize("the answer"), bos]
        assert tokens[0][: len(bos)] == bos
        assert not any(oracle(path).is_control(token) for token in tokens[0][len(bos) :])


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_tokens_are_those_of_the_model_and_hold_the_text(wide: LocalModel, naive: Oracle, text: str) -> None:
    (tokens,) = wide.tokenize([text])
    assert tokens == naive.tokenize(text)
    assert b"".join(map(naive.piece, tokens)).decode().endswith(text.replace("▁", " ") if tokens[:1] == [1] else text)


@pytest.mark.parametrize(
    ("context", "continuation"),
    [
        ("the answer is posi", "tive"),  # one token, begun in the context
        ("the answer is ", "positive"),  # the space belongs to the token of the continuation
        ("caf\u00e9 the ans", "wer is"),
        ("the word is \u2581 th", "e"),  # SentencePiece writes spaces as this character: three bytes become one
    ],
)
def test_a_token_across_the_border_is_scored(lm: LocalModel, naive: Oracle, context: str, continuation: str) -> None:
    request = Pair(naive, context, continuation)
    merged = naive.piece(request.tokens[request.start])
    assert not continuation.encode().startswith(merged)  # the token reaches back into the context
    assert_same(lm.loglikelihood([(context, continuation)]), [request.score(naive)])


def test_loglikelihood_is_aligned_with_its_tokens(wide: LocalModel, naive: Oracle) -> None:
    """A chain rule that a shift by one would break: scores of the pieces add up to the score of the whole."""
    pieces = ["the answer is", "\n", "☕", "\n", "x", "\n", "é"]
    pairs = [("".join(pieces[:i]), pieces[i]) for i in range(1, len(pieces))]
    whole = wide.loglikelihood([(pieces[0], "".join(pieces[1:]))])[0]
    parts = wide.loglikelihood(pairs)
    assert sum(part.n_tokens for part in parts) == whole.n_tokens
    assert sum(part.logprob for part in parts) == pytest.approx(whole.logprob, abs=TOLERANCE)
    assert_same(parts, naive_scores(naive, pairs))


def test_greedy_is_true_for_what_the_model_would_write_itself(lm: LocalModel, naive: Oracle) -> None:
    (written,) = lm.generate(["the answer ☕"], Sampling(max_tokens=9), [0])
    assert written.text == "é🦙☕"
    yes, no = lm.loglikelihood([("the answer ☕", "é🦙☕"), ("the answer ☕", "é🦙x")])
    assert (yes.greedy, no.greedy) == (True, False)
    assert (yes.n_tokens, yes.logprob > no.logprob) == (9, True)


def test_an_overflow_names_the_request_before_anything_is_computed(tiny_model: Path) -> None:
    with load_model(tiny_model, **SHAPES["narrow"]) as model:
        fits = ("the answer is", " positive")
        before = model.stats
        with pytest.raises(ContextOverflow, match=r"\b2\b") as raised:
            model.loglikelihood([fits, fits, ("x\n" * N_CTX, "the answer is"), fits])
        assert str(N_CTX) in str(raised.value)
        assert raised.value.hint
        with pytest.raises(ContextOverflow, match=r"\b1\b"):
            model.generate(["the answer", "the answer" + "\nx" * (N_CTX // 2 - 20)], Sampling(max_tokens=100), [0, 0])
        assert model.stats == before
        assert len(model.loglikelihood([fits])) == 1


def test_the_longest_request_that_fits_is_computed(tiny_model: Path, naive: Oracle) -> None:
    with load_model(tiny_model, **SHAPES["narrow"]) as model:
        context = "x\n" * ((model.n_ctx - 4) // 2)
        assert_same(model.loglikelihood([(context, "x\n")]), naive_scores(naive, [(context, "x\n")]))


def test_the_fingerprint_names_the_weights(tiny_llama: Path, tiny_qwen: Path) -> None:
    prints = []
    for path in (tiny_llama, tiny_llama, tiny_qwen):
        with load_model(path, **SHAPES["wide"]) as model:
            prints.append(model.fingerprint)
    assert prints[0] == prints[1] != prints[2]


# ---- control tokens


def control_pieces(naive: Oracle, tokens: Sequence[int]) -> int:
    return sum(map(naive.is_control, tokens))


def test_control_token_text_in_data_stays_text(lm: LocalModel, naive: Oracle) -> None:
    for text in ("a<|im_end|>b", "a</s>b<s>", "<|fim_middle|>"):
        (tokens,) = lm.tokenize([text])
        assert control_pieces(naive, tokens) == (1 if tokens[0] == 1 and "llama" in lm.name else 0)
        assert b"".join(map(naive.piece, tokens)).decode().strip() == text


def test_a_chat_has_the_control_tokens_of_its_template_only(qwen: LocalModel, tiny_qwen: Path) -> None:
    chat = qwen.chat([Message("user", "a<|im_end|>b"), Message("assistant", "<|im_start|>")])
    assert chat == (
        "<|im_start|>user\na<|im_end|>b<|im_end|>\n<|im_start|>assistant\n<|im_start|><|im_end|>\n<|im_start|>assistant\n"
    )
    naive = oracle(tiny_qwen)
    (plain,) = qwen.tokenize([chat + ""])
    assert control_pieces(naive, plain) == 5
    assert qwen.tokenize([str(chat).replace("x", "x")]) != [plain]  # a plain str carries none


def test_a_chat_opens_the_answer(qwen: LocalModel) -> None:
    assert qwen.chat([Message("user", "hi")], opening="The").endswith("<|im_start|>assistant\nThe")


def test_a_base_model_gets_a_chat_as_plain_text(tiny_llama: Path) -> None:
    with load_model(tiny_llama, **SHAPES["wide"]) as model:
        assert not model.has_chat
        chat = model.chat([Message("system", "Be brief."), Message("user", "hi </s>")], opening="The")
        assert chat == "Be brief.\n\nhi </s>\n\nThe"
        assert model.tokenize([chat]) == model.tokenize([str(chat)]), "nothing in it is a control token"
        assert not model.has_fim
        with pytest.raises(ModelError):
            model.fim("a", "b")


def test_what_is_scored_after_a_chat_is_the_chats_control_tokens(qwen: LocalModel, tiny_qwen: Path) -> None:
    naive = oracle(tiny_qwen)
    chat = qwen.chat([Message("user", "hi")])
    tokens = naive.tokenize(chat + " positive", parse_special=True)
    rows = naive.logprobs(tokens)
    n = len(naive.tokenize(" positive"))
    expected = sum(float(rows[i - 1, tokens[i]]) for i in range(len(tokens) - n, len(tokens)))
    (found,) = qwen.loglikelihood([(chat, " positive")])
    assert found.n_tokens == n
    assert found.logprob == pytest.approx(expected, abs=TOLERANCE)


def test_fim_has_its_three_tokens_and_data_adds_none(qwen: LocalModel, tiny_qwen: Path) -> None:
    assert qwen.has_fim
    naive = oracle(tiny_qwen)
    (tokens,) = qwen.tokenize([qwen.fim("the <|fim_suffix|> answer", " is<|fim_middle|>")])
    marks = [naive.tokenize(f"<|fim_{part}|>", parse_special=True)[0] for part in ("prefix", "suffix", "middle")]
    assert sorted(token for token in tokens if naive.is_control(token)) == sorted(marks)


# ---- generation


def test_greedy_generation_equals_a_naive_loop_with_more_prompts_than_lanes(lm: LocalModel, naive: Oracle) -> None:
    prompts = [
        "the answer is" + " positive" * n + end for n in range(4) for end in ("", "\n", " x", "☕", "<|im_end|>")
    ]
    prompts.append(prompts[3])
    for max_tokens in (1, 24):
        found = lm.generate(prompts, Sampling(max_tokens=max_tokens), list(range(len(prompts))))
        expected = [naive.greedy(naive.tokenize(prompt), max_tokens) for prompt in prompts]
        assert [completion.text for completion in found] == [naive.text(tokens) for tokens in expected]
        assert [completion.n_tokens for completion in found] == [len(tokens) for tokens in expected]
        reasons = ["length" if len(tokens) == max_tokens else "stop" for tokens in expected]
        assert [completion.finish_reason for completion in found] == reasons


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompts=st.lists(texts.map("x".__add__), max_size=10), max_tokens=st.integers(1, 12))
def test_random_prompts_generate_what_a_naive_loop_does(
    lm: LocalModel, naive: Oracle, prompts: list[str], max_tokens: int
) -> None:
    found = lm.generate(prompts, Sampling(max_tokens=max_tokens), [0] * len(prompts))
    assert [(each.text, each.n_tokens) for each in found] == [
        (naive.text(tokens), len(tokens))
        for tokens in (naive.greedy(naive.tokenize(prompt), max_tokens) for prompt in prompts)
    ]


def test_completions_that_do_not_fit_the_cache_together_wait_for_one_another(tiny_model: Path, naive: Oracle) -> None:
    """Eight lanes, but cells for one or two of the prompts with their completions; one fills the cache alone."""
    prompts = [word + "\n" + "x\n" * n for n in (90, 120) for word in ("the answer", "a review", "e")]
    prompts.append("x\n" * ((N_CTX - 150) // 2))
    with load_model(
        tiny_model, **{**SHAPES["wide"], "n_ctx": N_CTX, "n_ubatch": 64, "n_seq_max": 16, "lanes": 8}
    ) as model:
        for max_tokens in (20, 140):
            found = model.generate(prompts, Sampling(max_tokens=max_tokens), [0] * len(prompts))
            expected = [naive.greedy(naive.tokenize(prompt), max_tokens) for prompt in prompts]
            assert [completion.n_tokens for completion in found] == [len(tokens) for tokens in expected]
            assert [completion.text for completion in found] == [naive.text(tokens) for tokens in expected]


def test_a_prompt_shared_by_many_is_decoded_once(wide: LocalModel, naive: Oracle) -> None:
    prompt = "the answer is positive or negative and"
    before = wide.stats.tokens_decoded
    found = wide.generate([prompt] * 30, Sampling(max_tokens=4, temperature=1.0), list(range(30)))
    drawn = sum(completion.n_tokens for completion in found)
    assert wide.stats.tokens_decoded - before <= len(naive.tokenize(prompt)) + drawn


def test_no_prompts_give_no_completions(lm: LocalModel) -> None:
    assert lm.generate([], Sampling(max_tokens=3), []) == []
    assert lm.loglikelihood([]) == []
    assert lm.tokenize([]) == []


def test_a_completion_depends_on_its_own_prompt_and_seed_only(lm: LocalModel) -> None:
    prompts = ["the answer is", "the answer is", "the review\n", "x", "the answer is"]
    seeds = [1, 2, 3, 4, 1]
    sampling = Sampling(max_tokens=16, temperature=1.0)
    together = lm.generate(prompts, sampling, seeds)
    alone = [lm.generate([prompt], sampling, [seed])[0] for prompt, seed in zip(prompts, seeds, strict=True)]
    assert together == alone
    assert lm.generate(prompts[::-1], sampling, seeds[::-1])[::-1] == together
    assert together[0] == together[4]
    assert together[0] != together[1]


def test_sampled_completions_end_at_an_end_token_or_at_max_tokens(wide: LocalModel) -> None:
    found = wide.generate(["the answer is"] * 64, Sampling(max_tokens=40, temperature=1.5), list(range(64)))
    assert {completion.finish_reason for completion in found} == {"stop", "length"}
    for completion in found:
        assert (completion.n_tokens == 40) == (completion.finish_reason == "length")
        assert "</s>" not in completion.text
        assert "<|im_end|>" not in completion.text


@pytest.mark.parametrize("max_tokens", range(1, len(CHAIN) + 2))
def test_utf8_is_never_cut(lm: LocalModel, max_tokens: int) -> None:
    """The model writes one byte a token, so most lengths end inside a character."""
    (found,) = lm.generate(["the answer ☕"], Sampling(max_tokens=max_tokens), [0])
    chain = (CHAIN + CHAIN)[3 : 3 + max_tokens]
    assert found.text == chain.decode("utf-8", errors="ignore")
    assert (found.n_tokens, found.finish_reason) == (max_tokens, "length")


@pytest.mark.parametrize(
    ("stop", "text"), [("🦙", "é"), ("é🦙☕é", ""), ("🦙☕é🦙", "é"), ("☕", "é🦙"), ("no", "é🦙☕é🦙☕é")]
)
def test_a_stop_string_ends_the_text_before_it(lm: LocalModel, stop: str, text: str) -> None:
    n = len(("é🦙☕é🦙☕é").encode())
    (found,) = lm.generate(["the answer ☕"], Sampling(max_tokens=n, stop=("never", stop)), [0])
    assert (found.text, found.finish_reason) == (text, "length" if stop == "no" else "stop")
    assert found.n_tokens <= n


def test_a_stop_string_may_begin_and_end_inside_tokens(lm: LocalModel, naive: Oracle) -> None:
    prompts = [f"the answer {word}" for word in ("is", "was", "of", "to\n", "from", "q", "zz", "end", "12", "review")]
    whole = [completion.text for completion in lm.generate(prompts, Sampling(max_tokens=24), [0] * len(prompts))]
    assert any(len(naive.piece(token)) > 1 for prompt in prompts for token in naive.greedy(naive.tokenize(prompt), 24))
    for prompt, text in zip(prompts, whole, strict=True):
        for stop in {text[i : i + width] for i in range(min(len(text), 8)) for width in (1, 2, 3)} - {""}:
            if "\ufffd" in text[: text.index(stop) + len(stop)]:
                continue  # what stands for bytes that are no text is not in the model's output
            (found,) = lm.generate([prompt], Sampling(max_tokens=24, stop=(stop,)), [0])
            assert found.text == text[: text.index(stop)], (text, stop)


# ---- sampling

DRAWS = 4000


def draws(model: LocalModel, prompt: str, **sampling: Any) -> Counter[str]:
    """Texts of the first token over many seeds."""
    cut = Sampling(max_tokens=1, **sampling)
    return Counter(found.text for found in model.generate([prompt] * DRAWS, cut, list(range(DRAWS))))


def first_token(naive: Oracle, prompt: str, temperature: float = 1.0) -> Any:
    row = naive.logprobs(naive.tokenize(prompt))[-1] / temperature
    probability = np.exp(row - row.max())
    return probability / probability.sum()


def by_text(naive: Oracle, probability: Any) -> dict[str, float]:
    """Probability of each text; bytes of half a character and control tokens have none."""
    total: dict[str, float] = {}
    for token, p in enumerate(probability):
        text = "" if naive.is_end(token) else naive.text([token])
        total[text] = total.get(text, 0.0) + float(p)
    return total


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_draws_follow_the_softmax_at_the_temperature(wide: LocalModel, naive: Oracle, temperature: float) -> None:
    prompt = "the answer is"
    found = draws(wide, prompt, temperature=temperature)
    expected = by_text(naive, first_token(naive, prompt, temperature))
    common = [text for text, p in expected.items() if p * DRAWS >= 8]
    rest = [DRAWS - sum(found[text] for text in common), DRAWS * (1 - sum(expected[text] for text in common))]
    test = stats.chisquare(
        [*(found[text] for text in common), rest[0]], [*(DRAWS * expected[text] for text in common), rest[1]]
    )
    assert len(common) > 5
    assert test.pvalue > 1e-3


def test_a_cut_to_one_token_is_greedy(wide: LocalModel) -> None:
    prompts = ["the answer is", "the review", "x\n"]
    greedy = wide.generate(prompts, Sampling(max_tokens=16), [0, 0, 0])
    for cut in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 0.999999}):
        sampling = Sampling(max_tokens=16, temperature=1.0, **cut)
        assert wide.generate(prompts, sampling, [1, 2, 3]) == greedy, cut


@pytest.mark.parametrize("cut", ["top_k", "top_p", "min_p"])
def test_draws_stay_inside_the_cut_and_reach_all_of_it(wide: LocalModel, naive: Oracle, cut: str) -> None:
    prompt = "the answer is"
    probability = first_token(naive, prompt)
    order = np.argsort(-probability)
    mass = np.cumsum(probability[order])
    sampling: dict[str, Any]
    if cut == "top_k":
        sampling, kept = {"top_k": 4}, order[:4]
    elif cut == "top_p":
        top_p = float((mass[4] + mass[5]) / 2)  # the sixth token crosses it and is the last one kept
        sampling, kept = {"top_p": top_p}, order[:6]
    else:
        min_p = float((probability[order[4]] + probability[order[5]]) / 2 / probability[order[0]])
        sampling, kept = {"min_p": min_p}, order[:5]
    assert set(draws(wide, prompt, temperature=1.0, **sampling)) == {
        "" if naive.is_end(token) else naive.text([token]) for token in kept
    }


# ---- the process


class Killer:
    """A progress observer that kills the engine at the first reports it hears, `times` of them."""

    def __init__(self, model: LocalModel, times: int) -> None:
        self.model, self.times = model, times

    def __call__(self, _done: int, _total: int) -> None:
        if self.times > 0:
            self.times -= 1
            os.kill(self.model.pid, signal.SIGKILL)


def test_a_killed_engine_starts_again_and_the_call_has_its_result(tiny_qwen: Path) -> None:
    prompts, sampling = ["the answer is"] * 100, Sampling(max_tokens=40, temperature=1.0)
    seeds = list(range(len(prompts)))
    pairs = [("the answer is", f" {word}") for word in ("positive", "negative")]
    with load_model(tiny_qwen, **SHAPES["narrow"]) as model:
        generated, scored, first = model.generate(prompts, sampling, seeds), model.loglikelihood(pairs), model.pid
        assert first != os.getpid()
        model.on_progress = Killer(model, times=1)
        assert model.generate(prompts, sampling, seeds) == generated
        assert model.loglikelihood(pairs) == scored
        assert model.pid != first


def test_a_request_that_kills_every_engine_is_named_and_the_next_call_works(tiny_qwen: Path) -> None:
    with load_model(tiny_qwen, **SHAPES["narrow"]) as model:
        model.on_progress = Killer(model, times=100)
        with pytest.raises(WorkerDied, match="request 0"):
            model.generate(["the answer is", "x"], Sampling(max_tokens=400), [0, 0])
        model.on_progress = Killer(model, times=0)
        assert model.loglikelihood([("the answer is", " positive")])[0].n_tokens > 0


def test_an_engine_killed_between_calls_starts_again(tiny_qwen: Path) -> None:
    pairs = [("the answer is", " positive"), ("the answer is", " negative")]
    with load_model(tiny_qwen, **SHAPES["wide"]) as model:
        expected = model.loglikelihood(pairs)
        os.kill(model.pid, signal.SIGKILL)
        assert model.loglikelihood(pairs) == expected


def test_closing_ends_the_process(tiny_qwen: Path) -> None:
    with load_model(tiny_qwen, **SHAPES["wide"]) as model:
        process = psutil.Process(model.pid)
    process.wait(timeout=5)


LONG_RUN = """
    import signal
    import sys
    from localprompt.lm.local import load_model
    from localprompt.types import Sampling

    # A shell starts background jobs with Ctrl-C ignored, and Python inherits that: these tests may run in such a job.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if __name__ == "__main__":
        with load_model(sys.argv[1], tune=False, n_threads=1, n_ctx=4096, n_ubatch=512) as model:
            print(model.pid, flush=True)
            model.generate(["the answer is"] * 20000, Sampling(max_tokens=400, temperature=1.0), list(range(20000)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("to_group", [False, True], ids=["to the process", "to its group, as a terminal does"])
def test_ctrl_c_stops_within_a_second(tiny_qwen: Path, tmp_path: Path, to_group: bool) -> None:
    script = tmp_path / "long_run.py"
    script.write_text(textwrap.dedent(LONG_RUN))
    with subprocess.Popen(
        [sys.executable, str(script), str(tiny_qwen)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        engine = psutil.Process(int(run.stdout.readline()))
        time.sleep(0.7)
        assert run.poll() is None
        (os.killpg if to_group else os.kill)(run.pid, signal.SIGINT)
        start = time.monotonic()
        try:
            _, stderr = run.communicate(timeout=20)
        finally:
            run.kill()  # leaving the block would wait for ever
        assert time.monotonic() - start < 5  # a second, the interpreter's own end, and a busy machine
        assert run.returncode != 0
        assert stderr.count("KeyboardInterrupt") == 1
        engine.wait(timeout=5)


def test_a_second_call_during_a_call_is_refused_and_the_first_one_unharmed(qwen: LocalModel) -> None:
    """Answers carry no names: two calls at once would get each other's."""
    refused: list[str] = []

    def meddle(_done: int, _total: int) -> None:
        try:
            qwen.tokenize(["x"])
        except ModelError as error:
            refused.append(error.message)

    pairs = [("the answer is", f" {word}") for word in ("positive", "negative", "the")]
    expected = qwen.loglikelihood(pairs)
    qwen.on_progress = meddle
    try:
        assert qwen.loglikelihood(pairs) == expected
    finally:
        qwen.on_progress = lambda *_: None
    assert refused
    assert set(refused) == {"this model is answering another call"}


def test_an_error_in_a_progress_callback_is_not_taken_for_a_dead_worker(qwen: LocalModel) -> None:
    def broken(_done: int, _total: int) -> None:
        raise BrokenPipeError("the reader of my output is gone")

    qwen.on_progress = broken
    try:
        with pytest.raises(BrokenPipeError, match="the reader"):
            qwen.loglikelihood([("the answer is", " positive")])
    finally:
        qwen.on_progress = lambda *_: None
    assert len(qwen.loglikelihood([("the answer is", " positive")])) == 1


def test_an_underline_that_stands_for_a_space_does_not_shift_the_border(tiny_llama: Path) -> None:
    """SentencePiece vocabularies write spaces as U+2581: one byte comes back for the three of the text."""
    with load_model(tiny_llama, **SHAPES["wide"]) as model:
        (one,) = model.loglikelihood([("the answer is", " \u2581\u2581")])
        (other,) = model.loglikelihood([("the answer is", "   ")])
        assert one.n_tokens == other.n_tokens
        (alone,) = model.loglikelihood([("", "\u2581\u2581x")])
        assert alone.n_tokens == 3, "neither BOS nor the space that the vocabulary puts before a text is scored"


def test_an_empty_prompt_that_fills_the_context_is_refused(qwen: LocalModel) -> None:
    with pytest.raises(ContextOverflow):
        qwen.generate([""], Sampling(max_tokens=qwen.n_ctx), [0])


def test_a_mistake_in_the_worker_is_reported_and_does_not_end_it(tiny_qwen: Path) -> None:
    with closing(EngineProcess(tiny_qwen, EngineSettings(n_threads=1))) as engine:
        pid = engine.pid
        with pytest.raises(ModelError, match="failed over 'chat'"):
            engine.call("chat", requests=[[["user"]]])
        assert engine.pid == pid
