"""The vocabulary beside the engine: what looks like a control token is found, and deadly texts do not add up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localprompt.engine.process import RequestsDied
from localprompt.lm.rendered import spans_of
from localprompt.serve.words import Words
from localprompt.serve.work import RequestDied


class Vocabulary:
    """Dies of `deadly` and, having died twice with nothing answered between, of everything."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.pieces = [b"a", *[b""] * len(names)], dict(enumerate(names, start=1)), frozenset[int]()
        self.deaths = 0
        self.has_chat = False
        self.special_tokens: dict[str, tuple[int, str]] = {}
        self.engine = SimpleNamespace(info={"start_token": 0})

    def vocabulary(self) -> Vocabulary:
        return self

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        if "deadly" in texts or self.deaths == 2:
            self.deaths += 1
            raise RequestsDied("died", "", [None] * len(texts), [0])
        self.deaths = 0
        return [[0] for _ in texts]


def awaited(call: Coroutine[Any, Any, Any]) -> Any:
    """Return what a call comes to, in a thread of its own: another test's browser may have a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, call).result()


def test_deadly_texts_one_after_another_are_not_the_end_of_the_vocabulary() -> None:
    words = Words(Vocabulary())  # type: ignore[arg-type]
    for _ in range(5):
        with pytest.raises(RequestDied, match="kills the tokeniser"):
            awaited(words.tokenize(["deadly"]))
    assert awaited(words.tokenize(["good"])) == [[0]]


names = st.lists(st.text("<ab>|", min_size=1, max_size=5), min_size=1, max_size=8)


@given(names, st.text("<ab>|x", max_size=30))
def test_the_longest_control_token_counts_wherever_one_is_written(names: list[str], text: str) -> None:
    longest_first = re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)))
    found = Words(Vocabulary(names)).marked(text)  # type: ignore[arg-type]
    assert spans_of(found) == [list(match.span()) for match in longest_first.finditer(text)]
