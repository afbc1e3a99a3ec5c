"""Texts that look the same and are not."""

from __future__ import annotations

import pytest

from localprompt.errors import nearest
from localprompt.lookalikes import look_the_same, told_apart

ALIKE = [
    ("cafe\u0301", "caf\u00e9", r"'cafe\u0301' is not 'caf\u00e9'"),
    ("spam\u200b", "spam", r"'spam\u200b' is not 'spam'"),
    ("New\u00a0York", "New York", r"'New\u00a0York' is not 'New York'"),
    ("p\u0430yp\u0430l", "paypal", r"'p\u0430yp\u0430l' is not 'paypal'"),
    ("\uff21\uff22", "AB", r"'\uff21\uff22' is not 'AB'"),
    ("don\u2019t", "don't", r"'don\u2019t' is not 'don't'"),
    ("a  b", "a b", "'a  b' is not 'a b'"),
    ("\u0434\u0430\u2060", "\u0434\u0430", "'\u0434\u0430\\u2060' is not '\u0434\u0430'"),
    ("x\U000e0041", "x", r"'x\U000e0041' is not 'x'"),
]


@pytest.mark.parametrize(("one", "other", "apart"), ALIKE)
def test_what_nobody_can_see_is_shown_by_escapes_and_nothing_else_is(one: str, other: str, apart: str) -> None:
    assert look_the_same(one, other)
    assert told_apart(one, other) == apart


@pytest.mark.parametrize(
    ("one", "other"), [("Cat", "cat"), ("resume", "r\u00e9sum\u00e9"), ("ab", "a b"), ("u", "\u0443")]
)
def test_what_a_reader_sees_does_not_look_the_same(one: str, other: str) -> None:
    assert not look_the_same(one, other)


def test_the_hint_for_a_name_that_looks_the_same_says_where_it_differs() -> None:
    hint = nearest("p\u0430ypal", ["paypal", "papyrus"])
    assert hint == "did you mean 'paypal'? They look the same, but 'p\\u0430ypal' is not 'paypal'"
    assert nearest("\u0410", ["A", "B"]).startswith("did you mean 'A'? They look the same")
    assert nearest("reponse", ["r\u00e9ponse"]) == "did you mean 'r\u00e9ponse'?"
