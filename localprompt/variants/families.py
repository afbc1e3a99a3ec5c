"""The families there are, in the order in which they are asked. Level 6."""

from __future__ import annotations

from localprompt.variants.variant import Family

FAMILIES: tuple[Family, ...] = ()
