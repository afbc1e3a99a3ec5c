"""Variants of one prompt from several families, each asked for its part of a number. Level 6."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from localprompt.variants.variant import Family, Origin, Variant

ORIGINAL = "original"
"""The family of the prompt itself."""
WEIGHTS = {"deletion": 3, "given": 10**9}
"""Parts that a family gets where others get one: the word map needs a variant for each word, and what is given is
measured."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What the families made of a prompt."""

    variants: tuple[Variant, ...]
    """The original first, then family by family; each shows the model something else."""
    none_of: tuple[str, ...] = ()
    """Families that do not apply to the task or the prompt."""


def collect(origin: Origin, families: Sequence[Family], n: int) -> Collected:
    """Return the original and at most `n` variants.

    Each family in turn is asked for its part of what is left, so the later ones get what the earlier cannot use.

    Raises:
        BudgetExhausted: if a family asks a model and there is no budget left.
    """
    task = origin.task
    original = Variant(ORIGINAL, "as it is", origin.prompt, task)
    kept, none_of = {_shown(original): original}, list[str]()
    weights = [WEIGHTS.get(family.name, 1) for family in families]
    for place, family in enumerate(families):
        left = n + 1 - len(kept)
        most = math.ceil(left * weights[place] / sum(weights[place:]))
        made = list(family.variants(origin, most))[:most] if most > 0 else []
        if most > 0 and not made:
            none_of.append(family.name)
        for variant in made:
            kept.setdefault(_shown(variant), variant)
    return Collected(tuple(kept.values()), tuple(none_of))


def _shown(variant: Variant) -> str:
    """Return a hash of all that the model is asked of a variant."""
    task, digest = variant.task, hashlib.sha256()
    for example in task.test:
        rendering = task.layout.render(variant.prompt, example.inputs)
        turns = [(turn.role, turn.content) for turn in rendering.messages]
        digest.update(repr((turns, rendering.text, rendering.opening)).encode())
    digest.update(repr((task.layout.separator, task.labels, task.sampling, variant.seed)).encode())
    return digest.hexdigest()
