"""Records as plain data and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from localprompt.stats.intervals import Interval
from localprompt.store.plain import plain, read
from localprompt.types import Candidate, Demo, Prompt, Spend

UGLY = "a\x00\ud800\u202e"


def test_a_record_goes_through_json_and_back_with_any_text() -> None:
    candidate = Candidate(Prompt(UGLY, (Demo({UGLY: "x"}, UGLY),)), "seed", ("a", "b"), is_proposed=False)
    assert read(Candidate, json.loads(json.dumps(plain(candidate)))) == candidate


def test_what_a_record_has_by_default_may_be_missing_and_whole_numbers_fit_for_others() -> None:
    assert read(Spend, {"seconds": 3, "calls": 2}) == Spend(seconds=3.0, calls=2)
    assert read(Interval | None, None) is None


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [
        (str, 3, "a text was expected"),
        (int, True, "a whole number was expected"),
        (int, 10**19, "a whole number was expected"),
        (float, float("nan"), "a number was expected"),
        (float, 10**400, "a number was expected"),
        (bool, 1, "true or false was expected"),
        (Literal["a", "b"], ["a"], "one of a, b was expected"),
        (Spend, [], "an object was expected"),
        (Spend, {"calls": None}, "calls: a whole number was expected"),
        (Spend, {"coins": 1}, "coins is unknown"),
        (Prompt, {"demos": []}, "an object with the key 'instruction' was expected"),
        (Prompt, {"instruction": "", "demos": [{"inputs": {"x": 1}, "output": ""}]}, r"demos\[0\]\.inputs\.x: a text"),
        (tuple[str, ...], {}, "a list was expected"),
        (Mapping[str, Any], [], "an object was expected"),
    ],
)
def test_data_of_another_shape_is_refused_by_its_place(kind: Any, value: object, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        read(kind, value)
