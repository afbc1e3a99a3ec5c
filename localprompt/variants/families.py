"""The families there are, in the order in which they are asked. Level 6."""

from __future__ import annotations

from collections.abc import Sequence

from localprompt.errors import ConfigError, nearest
from localprompt.variants.chat import Chat
from localprompt.variants.deletion import Deletion
from localprompt.variants.examples import Examples
from localprompt.variants.format import Format
from localprompt.variants.labels import Labels
from localprompt.variants.order import Order
from localprompt.variants.paraphrase import Paraphrase
from localprompt.variants.position import Position
from localprompt.variants.sampling import Sampling
from localprompt.variants.spelling import Spelling
from localprompt.variants.surface import Surface
from localprompt.variants.synonym import Synonym
from localprompt.variants.variant import Family

FAMILIES: tuple[Family, ...] = (
    Position(), Chat(), Labels(), Surface(), Order(), Sampling(),
    Paraphrase(), Synonym(), Examples(), Spelling(), Deletion(), Format(),
)  # fmt: skip
"""Those that have few variants come first: what they cannot use goes to the later ones."""


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
