"""The families there are, in the order in which they are asked. Level 6."""

from __future__ import annotations

from collections.abc import Sequence

from localprompt.errors import ConfigError, nearest
from localprompt.variants.format import Format
from localprompt.variants.surface import Surface
from localprompt.variants.variant import Family

FAMILIES: tuple[Family, ...] = (Surface(), Format())


def find_families(names: Sequence[str]) -> tuple[Family, ...]:
    """Return the families of these names in their order, each once.

    Raises:
        ConfigError: naming one that there is not, and the nearest.
    """
    known = {family.name: family for family in FAMILIES}
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no family of variants {name!r}", nearest(name, known))
    return tuple(known[name] for name in dict.fromkeys(names))
