from __future__ import annotations

from dataclasses import replace

import pytest
import toy

from localprompt.errors import ConfigError
from localprompt.lm.budget import Budget
from localprompt.search.evaluator import Evaluator
from localprompt.variants.collect import collect
from localprompt.variants.families import FAMILIES, find_families
from localprompt.variants.variant import Family


def test_families_are_found_by_name_each_once_in_the_order_named() -> None:
    names = [family.name for family in find_families(["format", "surface", "format"])]
    assert names == ["format", "surface"]


def test_an_unknown_family_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="no family of variants 'surfaces'") as caught:
        find_families(["surfaces"])
    assert caught.value.hint == "did you mean 'surface'?"


def test_no_two_families_have_one_name() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_a_prompt_without_instruction_has_as_many_variants_as_are_asked_for() -> None:
    origin = toy.origin("", replace(toy.task(labels=("even", "odd")), layout=toy.SHOWING))
    collected = collect(origin, FAMILIES, 12)
    assert {"deletion", "spelling"} <= set(collected.none_of)
    assert len(collected.variants) == 1 + 12


@pytest.mark.parametrize("labels", [(), ("even", "odd")])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_variant_can_be_asked_as_it_is(family: Family, labels: tuple[str, ...]) -> None:
    task = replace(toy.task(labels=labels), layout=toy.SHOWING)
    origin = toy.origin("Turn every alpha into the omega that is even or odd.", task)
    variants = family.variants(origin, 8)
    # What the toy model writes need not be of use.
    assert family.name in ("paraphrase", "synonym") or bool(variants) == (
        family.name not in (["sampling"] if labels else ["labels", "order"])
    )
    for each in variants:
        (found,) = Evaluator(toy.model(), each.task, Budget()).evaluate([each.prompt], each.task.test[:4])
        answers = {each.outputs.get(label, label) for label in each.task.labels}
        assert answers == set(labels)
        assert [outcome.failed for outcome in found.outcomes] == [False] * 4
