"""Prompts that people wrote, as variants of the first of them. Level 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localprompt.types import Prompt
from localprompt.variants.variant import Origin, Variant


@dataclass(frozen=True, slots=True)
class Given:
    """Other prompts that are meant to say the same."""

    prompts: tuple[Prompt, ...]
    name: str = "given"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return the prompts in their order."""
        others = [each for each in enumerate(self.prompts, start=2) if each[1].id != origin.prompt.id][:most]
        return [Variant(self.name, f"prompt {i}", prompt, origin.task) for i, prompt in others]
