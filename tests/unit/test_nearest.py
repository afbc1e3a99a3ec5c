"""The hint that an unknown name gets."""

from __future__ import annotations

import pytest

from localprompt.errors import nearest

CARDS = [
    "codellama-7b",
    "deepseek-r1-distill-qwen-7b",
    "gemma-2-9b-it",
    "gemma-3-270m",
    "llama-3.1-8b-instruct",
    "mistral-7b-instruct-v0.3",
    "qwen2.5-7b-instruct",
    "qwen2.5-coder-0.5b-instruct",
    "qwen2.5-coder-1.5b-instruct",
    "qwen2.5-coder-7b-instruct",
    "qwen3-8b",
    "smollm2-135m-instruct",
]
"""Names as cards have them."""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("smollm2", ["smollm2-135m-instruct"]),
        ("smolm2", ["smollm2-135m-instruct"]),
        ("gemma", ["gemma-3-270m", "gemma-2-9b-it"]),
        ("gemma2", ["gemma-3-270m", "gemma-2-9b-it"]),
        ("llama3.1", ["llama-3.1-8b-instruct"]),
        ("Qwen3", ["qwen3-8b"]),
        ("distill", ["deepseek-r1-distill-qwen-7b"]),
    ],
)
def test_a_short_name_gets_the_cards_that_begin_so_or_hold_it(typed: str, offered: list[str]) -> None:
    assert nearest(typed, CARDS) == f"did you mean {' or '.join(map(repr, offered))}?"


def test_at_most_four_are_offered_the_shortest_first() -> None:
    hint = nearest("qwen", CARDS)
    assert hint.startswith("did you mean 'qwen3-8b' or ")
    assert hint.count("'") == 8


def test_where_nothing_is_near_all_are_listed() -> None:
    assert nearest("x", ["max", "ape"]) == "known: ape, max"
    assert nearest("", ["max", "ape"]) == "known: ape, max"
