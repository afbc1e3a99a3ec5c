"""The log-probability of each token of a text, against a naive decode."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from naive import EXACT, TOLERANCE, Pair
from tiny import Oracle

from localprompt.adapters.prompt_tokens import token_logprobs
from localprompt.lm.local import load_model

TEXTS = ["the answer is positive and", "  café ☕☕ x", "a", "", "<|im_end|> the\nthe"]


@pytest.mark.parametrize("text", TEXTS)
def test_each_token_has_the_nats_of_a_naive_decode_after_all_before_it(tiny_model: Path, text: str) -> None:
    with load_model(tiny_model, **EXACT) as lm:
        found = token_logprobs(lm, text)
        has_bos = bool(lm.tokenize([""])[0])
    with closing(Oracle(tiny_model)) as naive:
        pair = Pair(naive, "", text)
        rows = naive.logprobs(pair.tokens) if text else np.zeros((1, 1))
        # Without BOS a start token stands before the first one, and nothing else is before it.
        tokens, start = (pair.tokens, pair.start) if has_bos else (pair.tokens[1:], 1)
        rows = rows if has_bos or not tokens else naive.logprobs(tokens)
        nats = [float(rows[i - 1, tokens[i]]) for i in range(start, len(tokens))]
    assert text.endswith("".join(token for token, _ in found))
    assert sum(each for _, each in found) == pytest.approx(sum(nats), abs=TOLERANCE)
    if len(found) == len(nats):  # no character of several tokens
        assert [each for _, each in found] == pytest.approx(nats, abs=TOLERANCE)


def test_a_text_is_read_once_however_long_it_is(tiny_model: Path) -> None:
    """Asked for by ways to part it in two, a text of the default context filled any memory."""
    with load_model(tiny_model, **EXACT) as lm:
        text = "the answer is positive and " * 30
        before = lm.stats.tokens_requested
        found = token_logprobs(lm, text)
        assert text[5:] in "".join(word for word, _ in found)
        assert lm.stats.tokens_requested - before <= lm.count_tokens([text])[0]
