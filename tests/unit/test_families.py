from __future__ import annotations

import pytest

from localprompt.errors import ConfigError
from localprompt.variants.families import FAMILIES, find_families


def test_families_are_found_by_name_each_once_in_the_order_named() -> None:
    names = [family.name for family in find_families(["format", "surface", "format"])]
    assert names == ["format", "surface"]


def test_an_unknown_family_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="no family of variants 'surfaces'") as caught:
        find_families(["surfaces"])
    assert caught.value.hint == "did you mean 'surface'?"


def test_no_two_families_have_one_name() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
